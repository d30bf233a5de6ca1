// Any bytes as HTTP/1.1 on the real server's connection. The first byte chooses where turns end: nowhere, or at each
// byte that equals it.
#include <cstdint>
#include <string>
#include <vector>

#include "server/net/fuzz_world.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using fairlead::net::test::FuzzServer;
  static FuzzServer& server = *new FuzzServer;  // never goes: what it shares ends with the thread
  if (size == 0) return 0;
  std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::vector<std::string> pieces(1);
  for (char c : in) {
    pieces.back().push_back(c);
    if (data[0] != 0 && static_cast<uint8_t>(c) == data[0]) pieces.emplace_back();
  }
  server.run(pieces);
  return 0;
}
