#include "server/discovery/dns.h"

#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>

#include <cstring>
#include <optional>

#include "server/io/real/address.h"

namespace fairlead::discovery {
namespace {

constexpr size_t kMessageBytesMax = 65536;
constexpr int kPointersMax = 64;  // of compression in one name
constexpr uint16_t kTypeSrv = 33;

// Reads a DNS message without ever leaving it.
class MessageReader {
 public:
  explicit MessageReader(std::string_view message) : message_(message) {}
  bool ok() const { return ok_; }
  uint16_t u16() {
    if (at_ + 2 > message_.size()) return fail(), 0;
    auto high = static_cast<unsigned char>(message_[at_]), low = static_cast<unsigned char>(message_[at_ + 1]);
    at_ += 2;
    return static_cast<uint16_t>(high << 8 | low);
  }
  void skip(size_t bytes) {
    if (bytes > message_.size() - at_) return fail();
    at_ += bytes;
  }
  size_t position() const { return at_; }

  // A name, with compression; dots between labels, none at the end.
  std::string name() {
    std::string out;
    size_t at = at_;
    std::optional<size_t> after;
    for (int pointers = 0;;) {
      if (at >= message_.size()) return fail(), out;
      auto length = static_cast<unsigned char>(message_[at]);
      if ((length & 0xC0) == 0xC0) {
        if (at + 1 >= message_.size() || ++pointers > kPointersMax) return fail(), out;
        if (!after) after = at + 2;
        at = static_cast<size_t>((length & 0x3F) << 8 | static_cast<unsigned char>(message_[at + 1]));
        continue;
      }
      if (length > 63 || at + 1 + length > message_.size() || out.size() + length > 255) return fail(), out;
      if (length == 0) break;
      if (!out.empty()) out += '.';
      out += message_.substr(at + 1, length);
      at += 1 + length;
    }
    at_ = after.value_or(at + 1);
    return out;
  }

 private:
  void fail() {
    ok_ = false;
    at_ = message_.size();
  }
  std::string_view message_;
  size_t at_ = 0;
  bool ok_ = true;
};

class SystemResolver final : public Resolver {
 public:
  Result<std::vector<SrvRecord>> srv(const std::string& name) override {
    struct __res_state state {};
    if (res_ninit(&state) != 0) return unavailable("the resolver cannot be set up");
    std::string answer(kMessageBytesMax, '\0');
    int n = res_nquery(&state, name.c_str(), C_IN, kTypeSrv, reinterpret_cast<unsigned char*>(answer.data()),
                       static_cast<int>(answer.size()));
    int why = state.res_h_errno;
    res_nclose(&state);
    if (n < 0) {
      if (why == HOST_NOT_FOUND || why == NO_DATA) return not_found("lookup " + name + ": no such host");
      return unavailable("lookup " + name + ": " + hstrerror(why));
    }
    return parse_srv_answer(
        std::string_view(answer).substr(0, std::min<size_t>(static_cast<size_t>(n), answer.size())));
  }

  Result<std::vector<std::string>> addresses(const std::string& host, const std::string& port) override {
    ASSIGN_OR_RETURN(std::vector<io::SocketAddress> found, io::resolve({host, port}));
    std::vector<std::string> out;
    for (const io::SocketAddress& address : found) out.push_back(io::to_string(address));
    return out;
  }
};

}  // namespace

Result<std::vector<SrvRecord>> parse_srv_answer(std::string_view message) {
  MessageReader in(message);
  in.skip(4);  // id, flags
  uint16_t questions = in.u16(), answers = in.u16();
  in.skip(4);  // authority, additional
  for (uint16_t i = 0; i < questions && in.ok(); ++i) {
    in.name();
    in.skip(4);
  }
  std::vector<SrvRecord> out;
  for (uint16_t i = 0; i < answers && in.ok(); ++i) {
    in.name();
    uint16_t type = in.u16();
    in.skip(6);  // class, time to live
    uint16_t length = in.u16();
    size_t begin = in.position();
    if (type != kTypeSrv) {  // a CNAME on the way
      in.skip(length);
      continue;
    }
    SrvRecord record;
    record.priority = in.u16();
    record.weight = in.u16();
    record.port = in.u16();
    record.target = in.name();
    if (!in.ok() || in.position() != begin + length || record.target.empty())
      return data_loss("a malformed SRV answer");
    out.push_back(std::move(record));
    if (out.size() > kSrvRecordsMax) return data_loss("an SRV answer with too many records");
  }
  if (!in.ok()) return data_loss("a malformed SRV answer");
  return out;
}

std::string host_port(const std::string& host, uint16_t port) {
  std::string h = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return h + ":" + std::to_string(port);
}

std::unique_ptr<Resolver> system_resolver() { return std::make_unique<SystemResolver>(); }

}  // namespace fairlead::discovery
