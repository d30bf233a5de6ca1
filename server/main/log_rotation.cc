#include <nlohmann/json.hpp>

#include "server/main/options.h"

namespace fairlead::server {
namespace {

Status bad(const std::string& why) {
  return failed_precondition("improperly formatted log rotation config: " + why + " (--log-rotation-config-json)");
}

}  // namespace

Result<LogRotationConfig> parse_log_rotation(const std::string& json) {
  nlohmann::json parsed = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return bad("it is no JSON object");
  LogRotationConfig out;
  for (const auto& [key, value] : parsed.items()) {
    int64_t* number = key == "maxsize"      ? &out.size_mb_max
                      : key == "maxage"     ? &out.age_days_max
                      : key == "maxbackups" ? &out.backups_max
                                            : nullptr;
    bool* truth = key == "localtime" ? &out.local_time : key == "compress" ? &out.compress : nullptr;
    if (number && value.is_number_integer())
      *number = value.get<int64_t>();
    else if (truth && value.is_boolean())
      *truth = value.get<bool>();
    else
      return bad(number || truth ? key + " has a value of the wrong kind" : "unknown key " + key);
  }
  if (out.size_mb_max <= 0) out.size_mb_max = 100;
  return out;
}

}  // namespace fairlead::server
