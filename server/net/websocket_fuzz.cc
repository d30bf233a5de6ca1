// Any bytes as what a client sends on a WebSocket of the real server, behind the handshake. The first byte chooses
// where turns end (see http1_fuzz.cc); the first bit of it whether the client reads.
#include <cstdint>
#include <string>
#include <vector>

#include "server/net/fuzz_world.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using fairlead::net::test::FuzzServer;
  static FuzzServer& server = *new FuzzServer;  // never goes: what it shares ends with the thread
  if (size == 0) return 0;
  std::vector<std::string> pieces = {
      "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
      ""};
  for (size_t i = 1; i < size; ++i) {
    pieces.back().push_back(static_cast<char>(data[i]));
    if (data[0] != 0 && data[i] == data[0]) pieces.emplace_back();
  }
  server.run(pieces, 4096, (data[0] & 1) == 0);
  return 0;
}
