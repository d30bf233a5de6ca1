// What Go's standard library prints, where scripts read it: quoted strings, durations, JSON of messages, sizes, tables.
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"

namespace fairlead::ctl {

std::string go_quote(std::string_view text);  // %q
// strconv.ParseInt and ParseUint of 64 bits; base 0: as a prefix 0x, 0b, 0o or 0 says (without underscores). "", or
// their error's text.
std::string go_parse_int(std::string_view text, int base, int64_t& out);
std::string go_parse_uint(std::string_view text, int base, uint64_t& out);
bool go_unquote(std::string_view& in, std::string& out);          // a %q operand off the front of `in`
std::string go_duration(int64_t nanos);                           // time.Duration's String
inline std::string go_hex(uint64_t value) { return hex(value); }  // %x
std::string go_hex16(uint64_t value);                             // %016x
std::string go_bytes(uint64_t bytes);                             // humanize.Bytes: "20 kB"
// encoding/json's, with its escapes for HTML.
inline std::string go_json_string(std::string_view text) { return json_string(text, JsonEscapes::kHtml); }
// encoding/json of a generated message: field names of the .proto, numbers as numbers, bytes in base64, enums as
// numbers, zero values left out. For oneofs see print.cc.
std::string go_json(const google::protobuf::Message& message);
// A message as fmt's %+v prints it: name:value pairs.
std::string go_text(const google::protobuf::Message& message);

// A table with rules of box characters, headings in capitals, as tablewriter draws it.
std::string table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);

size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace fairlead::ctl
