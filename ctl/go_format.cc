#include "ctl/go_format.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace fairlead::ctl {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

std::string format(const char* f, auto... values) {
  char text[64];
  snprintf(text, sizeof text, f, values...);
  return text;
}

size_t columns(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) >> 6) != 2; }));
}

std::string repeat(std::string_view s, size_t n) {
  std::string out;
  while (n-- > 0) out += s;
  return out;
}

template <typename T>
std::string parse_number(const char* function, std::string_view text, int base, T& out) {
  bool sign = std::is_signed_v<T> && (text.starts_with('-') || text.starts_with('+'));
  std::string_view digits = text.substr(sign);
  if (base == 0) {
    base = 10;
    if (digits.size() > 1 && digits[0] == '0') {
      char c = static_cast<char>(digits[1] | 0x20);
      base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
      digits.remove_prefix(c == 'x' || c == 'b' || c == 'o' ? 2 : 1);
    }
  }
  std::string all = (sign && text[0] == '-' ? "-" : "") + std::string(digits);
  auto [end, error] = std::from_chars(all.data(), all.data() + all.size(), out, base);
  bool second_sign = digits.empty() || !isalnum(static_cast<unsigned char>(digits[0]));
  bool whole = error != std::errc::invalid_argument && end == all.data() + all.size() && !second_sign;
  if (whole && error == std::errc()) return "";
  out = 0;
  return std::string("strconv.") + function + ": parsing " + go_quote(text) + ": " +
         (whole ? "value out of range" : "invalid syntax");
}

}  // namespace

std::string go_parse_int(std::string_view text, int base, int64_t& out) {
  return parse_number("ParseInt", text, base, out);
}
std::string go_parse_uint(std::string_view text, int base, uint64_t& out) {
  return parse_number("ParseUint", text, base, out);
}

std::string go_quote(std::string_view s) {
  std::string out = "\"";
  static const std::string_view kFrom = "\a\b\f\n\r\t\v\\\"", kTo = "abfnrtv\\\"";
  for (size_t i = 0; i < s.size();) {
    uint32_t rune = 0;
    size_t n = decode_rune(s.substr(i), rune);
    if (n == 0) {
      out += format("\\x%02x", static_cast<unsigned char>(s[i++]));
      continue;
    }
    if (size_t k = rune < 0x80 ? kFrom.find(static_cast<char>(rune)) : std::string_view::npos;
        k != std::string_view::npos)
      out += std::string("\\") + kTo[k];
    else if (rune < 0x20 || rune == 0x7f)
      out += format("\\x%02x", rune);
    else if ((rune >= 0x80 && rune < 0xa1) || rune == 0xad || rune == 0xfeff || rune == 0x2028 || rune == 0x2029)
      out += format("\\u%04x", rune);
    else
      out += s.substr(i, n);
    i += n;
  }
  return out + "\"";
}

bool go_unquote(std::string_view& in, std::string& out) {
  out.clear();
  if (in.starts_with('`')) {
    size_t end = in.find('`', 1);
    if (end == std::string_view::npos) return false;
    out = in.substr(1, end - 1);
    in.remove_prefix(end + 1);
    return true;
  }
  if (!in.starts_with('"')) return false;
  size_t i = 1;
  auto hex = [&](size_t digits, uint32_t& value) {
    value = 0;
    for (size_t k = 0; k < digits; ++k, ++i) {
      if (i >= in.size() || !isxdigit(static_cast<unsigned char>(in[i]))) return false;
      char c = static_cast<char>(in[i] | 0x20);
      value = value << 4 | static_cast<uint32_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return true;
  };
  for (; i < in.size() && in[i] != '"';) {
    if (in[i] == '\n') return false;
    if (in[i] != '\\') {
      out += in[i++];
      continue;
    }
    if (++i >= in.size()) return false;
    char c = in[i++];
    static const std::string_view kFrom = "abfnrtv\\\"'", kTo = "\a\b\f\n\r\t\v\\\"'";
    uint32_t value = 0;
    if (size_t k = kFrom.find(c); k != std::string_view::npos) {
      out += kTo[k];
    } else if (c == 'x') {
      if (!hex(2, value)) return false;
      out += static_cast<char>(value);
    } else if (c == 'u' || c == 'U') {
      if (!hex(c == 'u' ? 4 : 8, value)) return false;
      append_rune(out, value);
    } else if (c >= '0' && c <= '7') {
      auto octal = [&](size_t at) { return at < in.size() && in[at] >= '0' && in[at] <= '7'; };
      if (!octal(i) || !octal(i + 1)) return false;
      value = static_cast<uint32_t>((c - '0') * 64 + (in[i] - '0') * 8 + (in[i + 1] - '0'));
      i += 2;
      out += static_cast<char>(value);
    } else {
      return false;
    }
  }
  if (i >= in.size()) return false;
  in.remove_prefix(i + 1);
  return true;
}

std::string go_duration(int64_t nanos) {
  if (nanos == 0) return "0s";
  std::string sign = nanos < 0 ? "-" : "";
  auto left = nanos < 0 ? 0 - static_cast<uint64_t>(nanos) : static_cast<uint64_t>(nanos);
  auto fraction = [](uint64_t value, uint64_t unit) {
    std::string text = std::to_string(value / unit);
    uint64_t rest = value % unit;
    if (rest == 0) return text;
    std::string digits = std::to_string(unit + rest).substr(1);
    while (digits.ends_with('0')) digits.pop_back();
    return text + "." + digits;
  };
  if (left < 1000) return sign + std::to_string(left) + "ns";
  if (left < 1'000'000) return sign + fraction(left, 1000) + "\xc2\xb5s";
  if (left < 1'000'000'000) return sign + fraction(left, 1'000'000) + "ms";
  uint64_t minutes = left / 60'000'000'000;
  std::string seconds = fraction(left % 60'000'000'000, 1'000'000'000) + "s";
  if (minutes == 0) return sign + seconds;
  if (minutes < 60) return sign + std::to_string(minutes) + "m" + seconds;
  return sign + std::to_string(minutes / 60) + "h" + std::to_string(minutes % 60) + "m" + seconds;
}

std::string go_hex16(uint64_t value) { return format("%016llx", static_cast<unsigned long long>(value)); }

std::string go_bytes(uint64_t bytes) {
  static const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  if (bytes < 10) return std::to_string(bytes) + " B";
  int e = static_cast<int>(std::floor(std::log(static_cast<double>(bytes)) / std::log(1000.0)));
  double value = std::floor(static_cast<double>(bytes) / std::pow(1000, e) * 10 + 0.5) / 10;
  return format(value < 10 ? "%.1f %s" : "%.0f %s", value, kUnits[e]);
}

namespace {

std::string json_value(const Message& m, const FieldDescriptor* f, int index) {
  const Reflection& r = *m.GetReflection();
  bool one = index < 0;
  switch (f->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return (one ? r.GetBool(m, f) : r.GetRepeatedBool(m, f, index)) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_INT32:
      return std::to_string(one ? r.GetInt32(m, f) : r.GetRepeatedInt32(m, f, index));
    case FieldDescriptor::CPPTYPE_UINT32:
      return std::to_string(one ? r.GetUInt32(m, f) : r.GetRepeatedUInt32(m, f, index));
    case FieldDescriptor::CPPTYPE_INT64:
      return std::to_string(one ? r.GetInt64(m, f) : r.GetRepeatedInt64(m, f, index));
    case FieldDescriptor::CPPTYPE_UINT64:
      return std::to_string(one ? r.GetUInt64(m, f) : r.GetRepeatedUInt64(m, f, index));
    case FieldDescriptor::CPPTYPE_ENUM:
      return std::to_string(one ? r.GetEnumValue(m, f) : r.GetRepeatedEnumValue(m, f, index));
    case FieldDescriptor::CPPTYPE_STRING: {
      std::string text = one ? r.GetString(m, f) : r.GetRepeatedString(m, f, index);
      return f->type() == FieldDescriptor::TYPE_BYTES ? "\"" + base64(text) + "\"" : go_json_string(text);
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return go_json(one ? r.GetMessage(m, f) : r.GetRepeatedMessage(m, f, index));
    default:
      return "null";  // the protocol has no floating-point fields
  }
}

std::string text_value(const Message& m, const FieldDescriptor* f, int index) {
  const Reflection& r = *m.GetReflection();
  bool one = index < 0;
  if (f->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
    int number = one ? r.GetEnumValue(m, f) : r.GetRepeatedEnumValue(m, f, index);
    const auto* value = f->enum_type()->FindValueByNumber(number);
    return value ? std::string(value->name()) : std::to_string(number);
  }
  if (f->cpp_type() == FieldDescriptor::CPPTYPE_STRING)
    return go_quote(one ? r.GetString(m, f) : r.GetRepeatedString(m, f, index));
  if (f->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
    return "{" + go_text(one ? r.GetMessage(m, f) : r.GetRepeatedMessage(m, f, index)) + "}";
  return json_value(m, f, index);
}

// Calls f(field, index) for every value that is there; index < 0 for fields that are not repeated.
template <typename F>
void for_each_value(const Message& m, F&& f) {
  const auto& type = *m.GetDescriptor();
  const Reflection& r = *m.GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    if (field->is_repeated()) {
      if (r.FieldSize(m, field) > 0) f(field, r.FieldSize(m, field));
    } else if (r.HasField(m, field)) {
      f(field, -1);
    }
  }
}

}  // namespace

std::string go_json(const Message& m) {
  std::string out;
  for_each_value(m, [&](const FieldDescriptor* f, int count) {
    out += (out.empty() ? "" : ",") + go_json_string(f->name()) + ":";
    if (count < 0) {
      out += json_value(m, f, -1);
      return;
    }
    out += '[';
    for (int i = 0; i < count; ++i) out += (i > 0 ? "," : "") + json_value(m, f, i);
    out += ']';
  });
  return "{" + out + "}";
}

std::string go_text(const Message& m) {
  std::string out;
  for_each_value(m, [&](const FieldDescriptor* f, int count) {
    for (int i = count < 0 ? -1 : 0; i < std::max(count, 0); ++i) {
      if (!out.empty()) out += "  ";
      out += std::string(f->name()) + ":" + text_value(m, f, i);
    }
  });
  return out;
}

std::string table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::string& h : header) widths.push_back(columns(h));
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], columns(row[i]));
  auto rule = [&](const char* left, const char* middle, const char* right) {
    std::string out = left;
    for (size_t i = 0; i < widths.size(); ++i) out += (i > 0 ? middle : "") + repeat("\u2500", widths[i] + 2);
    return out + right + "\n";
  };
  std::string out = rule("\u250c", "\u252c", "\u2510");
  out += "\u2502";
  for (size_t i = 0; i < header.size(); ++i) {
    std::string name = header[i];
    for (char& c : name) c = c == '_' ? ' ' : static_cast<char>(toupper(c));
    size_t left = (widths[i] - columns(name)) / 2;
    out += std::string(left + 1, ' ') + name + std::string(widths[i] - columns(name) - left + 1, ' ') + "\u2502";
  }
  out += "\n";
  if (!rows.empty()) out += rule("\u251c", "\u253c", "\u2524");
  for (const auto& row : rows) {
    out += "\u2502";
    for (size_t i = 0; i < row.size(); ++i)
      out += std::string(widths[i] - columns(row[i]) + 1, ' ') + row[i] + " \u2502";
    out += "\n";
  }
  return out + rule("\u2514", "\u2534", "\u2518");
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t change = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row[b.size()];
}

}  // namespace fairlead::ctl
