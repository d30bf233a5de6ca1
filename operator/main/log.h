// Log lines as JSON, one object a line, on stderr:
// {"level":"info","ts":"2026-...Z","msg":"...","cluster":"ns/demo",...}.
//
// Threads: any; one write(2) a line, so that lines do not mix. Nothing is buffered. A blocked
// stderr blocks the caller: the operator has no work that may not wait for its log.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace fairlead::ops {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

Result<LogLevel> parse_log_level(std::string_view text);
void set_log_level(LogLevel level);

using LogFields = std::initializer_list<std::pair<std::string_view, std::string>>;
void log_line(LogLevel level, std::string_view message, LogFields fields);

inline void log_debug(std::string_view m, LogFields f = {}) { log_line(LogLevel::kDebug, m, f); }
inline void log_info(std::string_view m, LogFields f = {}) { log_line(LogLevel::kInfo, m, f); }
inline void log_warn(std::string_view m, LogFields f = {}) { log_line(LogLevel::kWarn, m, f); }
inline void log_error(std::string_view m, LogFields f = {}) { log_line(LogLevel::kError, m, f); }

}  // namespace fairlead::ops
