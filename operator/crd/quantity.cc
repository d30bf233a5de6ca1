#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <limits>

#include "operator/crd/types.h"

namespace fairlead::crd {
namespace {

struct Suffix {
  std::string_view text;
  double factor;
};

constexpr double kKi = 1024.0;
constexpr std::array<Suffix, 14> kSuffixes = {{{"Ki", kKi},
                                               {"Mi", kKi* kKi},
                                               {"Gi", kKi* kKi* kKi},
                                               {"Ti", kKi* kKi* kKi* kKi},
                                               {"Pi", kKi* kKi* kKi* kKi* kKi},
                                               {"Ei", kKi* kKi* kKi* kKi* kKi* kKi},
                                               {"m", 1e-3},
                                               {"", 1},
                                               {"k", 1e3},
                                               {"M", 1e6},
                                               {"G", 1e9},
                                               {"T", 1e12},
                                               {"P", 1e15},
                                               {"E", 1e18}}};

Status bad_quantity(std::string_view text) {
  return invalid_argument("\"" + std::string(text) + "\" is not a quantity: want a number with a suffix such as Gi");
}

bool is_leap(int year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

// Days since 1970-01-01 of a civil date, counted year by year: only dates near today occur.
int64_t days_from_civil(int year, int month, int day) {
  static constexpr int kBefore[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  int64_t days = 0;
  for (int y = 1970; y < year; ++y) days += is_leap(y) ? 366 : 365;
  days += kBefore[month - 1] + (month > 2 && is_leap(year) ? 1 : 0);
  return days + day - 1;
}

}  // namespace

Result<int64_t> parse_quantity(std::string_view text) {
  size_t end = 0;
  double number = 0, scale = 1;
  bool digits = false, point = false;
  for (; end < text.size(); ++end) {
    const char c = text[end];
    if (c == '.' && !point) {
      point = true;
      continue;
    }
    if (!std::isdigit(static_cast<unsigned char>(c))) break;
    digits = true;
    number = number * 10 + (c - '0');
    if (point) scale *= 10;
  }
  if (!digits) return bad_quantity(text);
  for (const Suffix& suffix : kSuffixes) {
    if (suffix.text != text.substr(end)) continue;
    const double bytes = std::ceil(number / scale * suffix.factor);
    if (bytes >= static_cast<double>(std::numeric_limits<int64_t>::max())) return bad_quantity(text);
    return static_cast<int64_t>(bytes);
  }
  return bad_quantity(text);
}

std::string format_quantity(int64_t bytes) {
  static constexpr const char* kUnits[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
  int unit = 0;
  while (bytes != 0 && bytes % 1024 == 0 && unit < 6) {
    bytes /= 1024;
    ++unit;
  }
  return std::to_string(bytes) + kUnits[unit];
}

std::string human_size(int64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 4) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 || value >= 10 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string to_hex(uint64_t id) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(id));
  return text;
}

Result<uint64_t> parse_hex(std::string_view text) {
  uint64_t value = 0;
  if (text.empty() || text.size() > 16) return invalid_argument("an ID has 1 to 16 hex digits");
  for (const char c : text) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return invalid_argument("\"" + std::string(text) + "\" is not a hex ID");
    value = value << 4 | static_cast<uint64_t>(digit);
  }
  return value;
}

std::string rfc3339(int64_t unix_ms) {
  int64_t seconds = unix_ms / 1000;
  int64_t days = seconds / 86400;
  const int rest = static_cast<int>(seconds % 86400);
  int year = 1970, month = 1;
  while (days >= (is_leap(year) ? 366 : 365)) days -= is_leap(year++) ? 366 : 365;
  while (month < 12 && days_from_civil(year, month + 1, 1) - days_from_civil(year, 1, 1) <= days) ++month;
  const int day = static_cast<int>(days - (days_from_civil(year, month, 1) - days_from_civil(year, 1, 1))) + 1;
  char text[40];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02dZ", year, month, day, rest / 3600, rest / 60 % 60,
                rest % 60);
  return text;
}

Result<int64_t> parse_rfc3339(std::string_view text) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, used = 0;
  const std::string copy(text);
  if (std::sscanf(copy.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second, &used) !=
          6 ||
      year < 1970 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31 || copy.back() != 'Z') {
    return invalid_argument("\"" + copy + "\" is not a UTC time such as 2026-01-02T03:04:05Z");
  }
  return (days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second) * 1000;
}

}  // namespace fairlead::crd
