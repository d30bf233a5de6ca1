// Text where bytes meet people and other programs: UTF-8 (RFC 3629), base64 (RFC 4648, sections 4 and 5), JSON strings
// (RFC 8259, section 7), Go's durations, and the end of a range of keys with one prefix.
//
// Pure functions of their arguments. Errors: an empty optional, or 0 for a length. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fairlead {

// An id as etcd prints it: hexadecimal, without zeroes in front.
std::string hex(uint64_t id);

// The parts between separators: one more than there are of them.
std::vector<std::string> split(std::string_view text, char separator);

// --- UTF-8

// The length of the well-formed sequence at the front of `text`, with its code point in `rune`; 0 where there is none
// (also for overlong forms, surrogates, and code points above 10FFFF).
size_t decode_rune(std::string_view text, uint32_t& rune);
// Of any code point; whether it is a character is the caller's business.
void append_rune(std::string& out, uint32_t rune);
bool is_utf8(std::string_view text);

// --- base64

struct Base64 {
  enum class Padding : uint8_t { kRequired, kOptional, kNone };

  bool url = false;  // '-' and '_' in the places of '+' and '/'
  Padding padding = Padding::kRequired;
  std::string_view ignored = "\r\n";  // characters that may stand anywhere
  bool canonical = false;             // bits that belong to no byte must be zero: one text for one value
};

void append_base64(std::string& out, std::string_view bytes);
std::string base64(std::string_view bytes);
std::string base64url(std::string_view bytes);  // without padding
std::optional<std::string> decode_base64(std::string_view text, const Base64& rules = {});

// --- JSON

enum class JsonEscapes : uint8_t {
  kNeeded,  // what JSON asks for
  kHtml,    // also < > & and the line separators, as Go's encoding/json
};
// A JSON string with its quotes. Bytes that are no UTF-8 become U+FFFD, one for each: the result is always JSON.
void append_json_string(std::string& out, std::string_view text, JsonEscapes escapes = JsonEscapes::kNeeded);
std::string json_string(std::string_view text, JsonEscapes escapes = JsonEscapes::kNeeded);

// --- durations

// A duration as Go's time.ParseDuration reads it ("1h30m", "-500ms", "0"), in nanoseconds.
std::optional<int64_t> parse_duration(std::string_view text);

// --- ranges

// The first key behind all keys with this prefix, as etcd's clients make it; one zero byte ("no end") where there is
// none: for an empty prefix and one of 0xff alone.
std::string prefix_end(std::string_view prefix);

}  // namespace fairlead
