// Any bytes as HTTP/2 and gRPC on the real server's connection (RFC 9113). The first byte chooses: bytes as they are,
// behind a proper preface or not; or an input that is cut into frames, so that what is changed is their contents and
// order and not only their framing.
//
//   frame: type u8 | flags u8 | stream u8 | length u8 | payload; type bit 7 ends a turn; type 0x40: a canned one
#include <cstdint>
#include <string>
#include <vector>

#include "server/net/fuzz_world.h"

using namespace fairlead;
using namespace fairlead::net;

namespace {

constexpr std::string_view kHello("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);

void add_frame(std::string& out, uint8_t type, uint8_t flags, uint8_t stream, std::string_view payload) {
  for (int shift : {16, 8, 0}) out.push_back(static_cast<char>(payload.size() >> shift));
  out.push_back(static_cast<char>(type));
  out.push_back(static_cast<char>(flags));
  for (int i = 0; i < 3; ++i) out.push_back('\0');
  out.push_back(static_cast<char>(stream));
  out.append(payload);
}

void add_field(std::string& out, std::string_view name, std::string_view value) {
  out.push_back('\0');  // literal, not indexed
  for (std::string_view text : {name, value}) {
    out.push_back(static_cast<char>(text.size()));
    out.append(text);
  }
}

// The headers of a good call, or one with something of the input in them.
std::string headers(uint8_t kind, std::string_view extra) {
  static constexpr std::string_view kPaths[] = {"/t.S/Echo", "/t.S/Hold", "/t.S/Busy", "/t.S/Late", "/t.S/Refuse"};
  std::string out;
  add_field(out, ":method", kind & 0x40 ? "GET" : "POST");
  add_field(out, ":scheme", "http");
  add_field(out, ":path", kind & 0x20 ? extra.substr(0, 120) : kPaths[kind % std::size(kPaths)]);
  add_field(out, "content-type", kind & 0x10 ? extra.substr(0, 120) : "application/grpc");
  if (kind & 0x08) add_field(out, "grpc-timeout", extra.substr(0, 120));
  if (kind & 0x80) add_field(out, "grpc-encoding", extra.substr(0, 120));
  return out;
}

std::vector<std::string> frames(std::string_view in) {
  std::vector<std::string> pieces(1, std::string(kHello));
  while (in.size() >= 4) {
    auto byte = [&](size_t i) { return static_cast<uint8_t>(in[i]); };
    uint8_t type = byte(0), flags = byte(1), stream = byte(2);
    std::string_view payload = in.substr(4, byte(3));
    in.remove_prefix(4 + payload.size());
    if (type & 0x40 && (type & 0x3f) == 1) {  // a call
      add_frame(pieces.back(), 1, 4 | (flags & 1), stream | 1, headers(flags, payload));
    } else if (type & 0x40) {  // a whole message
      std::string message(1, '\0');
      for (int shift : {24, 16, 8, 0}) message.push_back(static_cast<char>(payload.size() >> shift));
      add_frame(pieces.back(), 0, flags & 1, stream | 1, message.append(payload));
    } else {
      add_frame(pieces.back(), type & 0x3f, flags, stream, payload);
    }
    if (type & 0x80) pieces.emplace_back();
  }
  pieces.back().append(in);
  return pieces;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static test::FuzzServer& server = *new test::FuzzServer;  // never goes: what it shares ends with the thread
  if (size == 0) return 0;
  std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
  size_t capacity = data[0] & 8 ? 500 : 64 * 1024;
  bool reads = !(data[0] & 16);
  if (data[0] & 1) {
    server.run(frames(in), capacity, reads);
  } else {
    std::string bytes(data[0] & 2 ? kHello : std::string_view());
    bytes.append(in);
    server.run(std::vector<std::string>{bytes}, capacity, reads);
  }
  return 0;
}
