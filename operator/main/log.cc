#include "operator/main/log.h"

#include <unistd.h>

#include <atomic>
#include <chrono>

#include <nlohmann/json.hpp>

#include "operator/kube/object.h"

namespace fairlead::ops {
namespace {

std::atomic<LogLevel> g_level{LogLevel::kInfo};
constexpr std::string_view kNames[] = {"debug", "info", "warn", "error"};

}  // namespace

Result<LogLevel> parse_log_level(std::string_view text) {
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == text) return static_cast<LogLevel>(i);
  }
  return invalid_argument("unknown log level \"" + std::string(text) + "\": want debug, info, warn or error");
}

void set_log_level(LogLevel level) { g_level.store(level, std::memory_order_relaxed); }

void log_line(LogLevel level, std::string_view message, LogFields fields) {
  if (level < g_level.load(std::memory_order_relaxed)) return;
  const int64_t now =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  nlohmann::ordered_json line;
  line["level"] = kNames[static_cast<size_t>(level)];
  line["ts"] = kube::format_micro_time(now);
  line["msg"] = message;
  for (const auto& [key, value] : fields) line[std::string(key)] = value;
  // `replace`: a byte that is not UTF-8 must not end the process.
  std::string text = line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0) return;  // nowhere left to complain
}

}  // namespace fairlead::ops
