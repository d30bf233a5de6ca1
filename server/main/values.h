// The forms that values of flags have: Go's, since etcd's users write them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fairlead::server {

// A whole number: decimal, 0x, 0o, 0b, 0 (octal), underscores between digits.
bool parse_integer(std::string_view text, int64_t& out);
bool parse_bool(std::string_view text, bool& out);
// "1h30m", "-1.5s", "300ms", "0"; milliseconds, what is below one is cut off.
bool parse_duration_ms(std::string_view text, int64_t& out);
std::string duration_text(int64_t ms);  // "1h30m0s", "300ms"; as Go prints it
// "1048576", "64MiB", "2GiB".
bool parse_bytes(std::string_view text, int64_t& out);

}  // namespace fairlead::server
