// Any bytes as a name server's answer to a question for SRV records.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "server/discovery/dns.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fairlead::discovery;
  auto records = parse_srv_answer({reinterpret_cast<const char*>(data), size});
  if (!records.is_ok()) return 0;
  CHECK(records->size() <= kSrvRecordsMax, "more records than are taken");
  for (const SrvRecord& r : *records) CHECK(r.target.size() <= 1024, "a name is longer than a name can be");
  return 0;
}
