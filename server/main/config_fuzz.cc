// Any bytes as a config file: options, or an error that says what is wrong.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "server/main/config_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > fairlead::server::kConfigFileBytesMax) return 0;
  auto options = fairlead::server::options_from_text({reinterpret_cast<const char*>(data), size});
  if (!options.is_ok()) CHECK(!options.status().message().empty(), "an error says what is wrong");
  return 0;
}
