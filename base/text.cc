#include "base/text.h"

#include <charconv>

namespace fairlead {
namespace {

constexpr std::string_view kSymbols = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kUrlSymbols = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// A symbol's six bits; 64 for what is none.
uint32_t symbol_value(char c, bool url) {
  if (c >= 'A' && c <= 'Z') return static_cast<uint32_t>(c - 'A');
  if (c >= 'a' && c <= 'z') return static_cast<uint32_t>(c - 'a' + 26);
  if (c >= '0' && c <= '9') return static_cast<uint32_t>(c - '0' + 52);
  if (c == (url ? '-' : '+')) return 62;
  if (c == (url ? '_' : '/')) return 63;
  return 64;
}

bool is_plain(char c, JsonEscapes escapes) {
  auto u = static_cast<unsigned char>(c);
  if (u < 0x20 || u >= 0x80 || c == '"' || c == '\\') return false;
  return escapes == JsonEscapes::kNeeded || (c != '<' && c != '>' && c != '&');
}

void append_escape(std::string& out, uint32_t rune) {
  static constexpr std::string_view kFrom = "\"\\\b\f\n\r\t", kTo = "\"\\bfnrt", kHex = "0123456789abcdef";
  size_t known = rune < 0x80 ? kFrom.find(static_cast<char>(rune)) : std::string_view::npos;
  out += '\\';
  if (known != std::string_view::npos) {
    out += kTo[known];
    return;
  }
  out += 'u';
  for (int shift = 12; shift >= 0; shift -= 4) out += kHex[rune >> shift & 15];
}

}  // namespace

std::string hex(uint64_t id) {
  char out[16];
  return {out, std::to_chars(out, out + sizeof out, id, 16).ptr};
}

size_t decode_rune(std::string_view s, uint32_t& rune) {
  if (s.empty()) return 0;
  auto c = static_cast<unsigned char>(s[0]);
  if (c < 0x80) return rune = c, 1;
  size_t n = c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
  if (n == 0 || n > s.size()) return 0;
  rune = c & (0xffu >> (n + 1));
  for (size_t k = 1; k < n; ++k) {
    auto b = static_cast<unsigned char>(s[k]);
    if ((b >> 6) != 2) return 0;
    rune = rune << 6 | (b & 0x3f);
  }
  bool surrogate = rune >= 0xd800 && rune < 0xe000;
  if ((n == 3 && (rune < 0x800 || surrogate)) || (n == 4 && (rune < 0x10000 || rune > 0x10ffff))) return 0;
  return n;
}

void append_rune(std::string& out, uint32_t rune) {
  auto tail = [&](int shift) { out += static_cast<char>(0x80 | (rune >> shift & 0x3f)); };
  if (rune < 0x80) {
    out += static_cast<char>(rune);
  } else if (rune < 0x800) {
    out += static_cast<char>(0xc0 | rune >> 6);
    tail(0);
  } else if (rune < 0x10000) {
    out += static_cast<char>(0xe0 | rune >> 12);
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xf0 | (rune >> 18 & 7));
    tail(12);
    tail(6);
    tail(0);
  }
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    uint32_t rune = 0;
    size_t n = decode_rune(text, rune);
    if (n == 0) return false;
    text.remove_prefix(n);
  }
  return true;
}

void append_base64(std::string& out, std::string_view in) {
  size_t at = out.size();
  out.resize(at + (in.size() + 2) / 3 * 4, '=');
  char* p = out.data() + at;
  auto byte = [&](size_t i) -> uint32_t { return static_cast<unsigned char>(in[i]); };
  size_t i = 0;
  for (; i + 3 <= in.size(); i += 3, p += 4) {
    uint32_t v = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    p[0] = kSymbols[v >> 18];
    p[1] = kSymbols[v >> 12 & 63];
    p[2] = kSymbols[v >> 6 & 63];
    p[3] = kSymbols[v & 63];
  }
  if (i == in.size()) return;
  uint32_t v = byte(i) << 16 | (i + 1 < in.size() ? byte(i + 1) << 8 : 0);
  p[0] = kSymbols[v >> 18];
  p[1] = kSymbols[v >> 12 & 63];
  if (i + 1 < in.size()) p[2] = kSymbols[v >> 6 & 63];
}

std::string base64(std::string_view bytes) {
  std::string out;
  append_base64(out, bytes);
  return out;
}

std::string base64url(std::string_view bytes) {
  std::string out = base64(bytes);
  while (!out.empty() && out.back() == '=') out.pop_back();
  for (char& c : out) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return out;
}

std::optional<std::string> decode_base64(std::string_view text, const Base64& rules) {
  auto ignored = [&](char c) { return rules.ignored.find(c) != std::string_view::npos; };
  std::string out;
  out.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  int have = 0;
  size_t i = 0, symbols = 0, pads = 0;
  for (; i < text.size(); ++i) {
    uint32_t v = symbol_value(text[i], rules.url);
    if (v == 64 && ignored(text[i])) continue;
    if (v == 64) break;
    ++symbols;
    bits = bits << 6 | v;
    have += 6;
    if (have >= 8) out += static_cast<char>(bits >> (have -= 8) & 0xff);
  }
  for (; i < text.size(); ++i) {
    if (ignored(text[i])) continue;
    if (text[i] != '=') return std::nullopt;
    ++pads;
  }
  size_t needed = (4 - symbols % 4) % 4;
  if (needed == 3) return std::nullopt;  // six bits alone are no byte
  bool may_be_bare = rules.padding != Base64::Padding::kRequired;
  bool may_be_padded = rules.padding != Base64::Padding::kNone;
  if (pads == 0 ? needed > 0 && !may_be_bare : pads != needed || !may_be_padded) return std::nullopt;
  if (rules.canonical && (bits & ((1u << have) - 1)) != 0) return std::nullopt;
  return out;
}

void append_json_string(std::string& out, std::string_view text, JsonEscapes escapes) {
  out += '"';
  while (!text.empty()) {
    size_t plain = 0;
    while (plain < text.size() && is_plain(text[plain], escapes)) ++plain;
    out.append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) break;
    uint32_t rune = 0;
    size_t n = decode_rune(text, rune);
    bool separator = escapes == JsonEscapes::kHtml && (rune == 0x2028 || rune == 0x2029);
    if (n == 0)
      append_escape(out, 0xfffd);
    else if (n == 1 || separator)
      append_escape(out, rune);
    else
      out.append(text.substr(0, n));
    text.remove_prefix(n == 0 ? 1 : n);
  }
  out += '"';
}

std::string json_string(std::string_view text, JsonEscapes escapes) {
  std::string out;
  append_json_string(out, text, escapes);
  return out;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    size_t end = std::min(text.find(separator, begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

namespace {

struct DurationUnit {
  std::string_view name;
  uint64_t nanos;
};
constexpr DurationUnit kDurationUnits[] = {
    {"ns", 1},         {"us", 1000},      {"\u00b5s", 1000},  // both letters that look like it
    {"\u03bcs", 1000}, {"ms", 1'000'000}, {"s", 1'000'000'000}, {"m", 60'000'000'000}, {"h", 3'600'000'000'000}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "1.5h" from the front of the text, added to `nanos`; false where there is none, or too much.
bool take_duration(std::string_view& text, uint64_t& nanos) {
  constexpr double kFractionMax = 1e15;  // further digits are below a nanosecond
  uint64_t whole = 0;
  double fraction = 0, scale = 1;
  size_t at = 0, digits = 0;
  for (; at < text.size() && is_digit(text[at]); ++at, ++digits) {
    if (__builtin_mul_overflow(whole, uint64_t{10}, &whole)) return false;
    if (__builtin_add_overflow(whole, static_cast<uint64_t>(text[at] - '0'), &whole)) return false;
  }
  if (at < text.size() && text[at] == '.') {
    for (++at; at < text.size() && is_digit(text[at]); ++at, ++digits) {
      if (scale >= kFractionMax) continue;
      fraction = fraction * 10 + (text[at] - '0');
      scale *= 10;
    }
  }
  if (digits == 0) return false;
  size_t end = at;
  while (end < text.size() && text[end] != '.' && !is_digit(text[end])) ++end;
  for (const DurationUnit& unit : kDurationUnits) {
    if (text.substr(at, end - at) != unit.name) continue;
    text.remove_prefix(end);
    if (__builtin_mul_overflow(whole, unit.nanos, &whole)) return false;
    whole += static_cast<uint64_t>(fraction * (static_cast<double>(unit.nanos) / scale));
    return !__builtin_add_overflow(nanos, whole, &nanos) && nanos <= INT64_MAX;
  }
  return false;
}

}  // namespace

std::optional<int64_t> parse_duration(std::string_view text) {
  bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text == "0") return 0;
  if (text.empty()) return std::nullopt;
  uint64_t nanos = 0;
  while (!text.empty())
    if (!take_duration(text, nanos)) return std::nullopt;
  return negative ? -static_cast<int64_t>(nanos) : static_cast<int64_t>(nanos);
}

std::string prefix_end(std::string_view prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.remove_suffix(1);
  if (prefix.empty()) return std::string(1, '\0');
  std::string end(prefix);
  end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

}  // namespace fairlead
