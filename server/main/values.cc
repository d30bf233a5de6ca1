#include "server/main/values.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>
#include <string>

#include "base/text.h"

namespace fairlead::server {
namespace {

// Strips Go's base prefix and underscores; false where an underscore is not between digits.
bool strip_base(std::string_view text, int& base, std::string& digits) {
  base = 10;
  bool prefixed = false;
  if (text.size() > 1 && text[0] == '0') {
    char mark = static_cast<char>(std::tolower(static_cast<unsigned char>(text[1])));
    base = mark == 'x' ? 16 : mark == 'b' ? 2 : 8;
    prefixed = true;
    text.remove_prefix(mark == 'x' || mark == 'b' || mark == 'o' ? 2 : 1);
  }
  bool underscore_allowed = prefixed;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_') {
      if (!underscore_allowed || i + 1 == text.size()) return false;
      underscore_allowed = false;
      continue;
    }
    underscore_allowed = true;
    digits.push_back(text[i]);
  }
  return !digits.empty();
}

}  // namespace

bool parse_integer(std::string_view text, int64_t& out) {
  bool negative = !text.empty() && text[0] == '-';
  if (negative || (!text.empty() && text[0] == '+')) text.remove_prefix(1);
  if (text == "0") return out = 0, true;
  int base = 10;
  std::string digits;
  if (!strip_base(text, base, digits)) return false;
  uint64_t value = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size()) return false;
  if (value > static_cast<uint64_t>(INT64_MAX)) return false;
  out = negative ? -static_cast<int64_t>(value) : static_cast<int64_t>(value);
  return true;
}

bool parse_bool(std::string_view text, bool& out) {
  for (std::string_view yes : {"1", "t", "T", "true", "TRUE", "True"})
    if (text == yes) return out = true, true;
  for (std::string_view no : {"0", "f", "F", "false", "FALSE", "False"})
    if (text == no) return out = false, true;
  return false;
}

bool parse_duration_ms(std::string_view text, int64_t& out) {
  constexpr int64_t kNanosPerMs = 1'000'000;
  std::optional<int64_t> nanos = parse_duration(text);
  out = nanos.value_or(0) / kNanosPerMs;
  return nanos.has_value();
}

std::string duration_text(int64_t ms) {
  if (ms == 0) return "0s";
  std::string out;
  if (ms >= 3600'000) out += std::to_string(ms / 3600'000) + "h";
  if (ms >= 60'000) out += std::to_string(ms / 60'000 % 60) + "m";
  if (ms < 1000) return std::to_string(ms) + "ms";
  std::string fraction = std::to_string(1000 + ms % 1000).substr(1);
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  return out + std::to_string(ms / 1000 % 60) + (fraction.empty() ? "" : "." + fraction) + "s";
}

bool parse_bytes(std::string_view text, int64_t& out) {
  size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits]))) ++digits;
  int64_t number = 0;
  if (!parse_integer(text.substr(0, digits), number)) return false;
  std::string_view unit = text.substr(digits);
  int shift = unit.empty() || unit == "B"    ? 0
              : unit == "KiB" || unit == "K" ? 10
              : unit == "MiB" || unit == "M" ? 20
              : unit == "GiB" || unit == "G" ? 30
                                             : -1;
  if (shift < 0 || number > (INT64_MAX >> shift)) return false;
  out = number << shift;
  return true;
}

}  // namespace fairlead::server
