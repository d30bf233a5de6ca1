// One span of a trace: a piece of work with its begin, end and attributes (OpenTelemetry's data model).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace fairlead::api {

using TraceId = std::array<uint8_t, 16>;
using SpanId = std::array<uint8_t, 8>;  // all 0: none
using AttributeValue = std::variant<std::string, int64_t, bool>;

struct Span {
  TraceId trace{};
  SpanId id{};
  SpanId parent{};
  bool parent_remote = false;
  bool server = false;  // a call that was served; else a step inside of it
  uint8_t flags = 1;    // W3C's
  bool failed = false;
  std::string trace_state;
  std::string name;
  int64_t began_unix_ns = 0;
  int64_t ended_unix_ns = 0;
  std::vector<std::pair<std::string, AttributeValue>> attributes;
  std::string message;    // why it failed
  std::string exception;  // an error inside, as an event
};

}  // namespace fairlead::api
