// etcd's messages, encoded and read by hand: the generator must not be the limit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace fairlead::bench {

Bytes put_request(std::string_view key, std::string_view value);
Bytes range_request(std::string_view key, bool serializable);
Bytes watch_create_request(std::string_view key);
Bytes authenticate_request(std::string_view name, std::string_view password);
Bytes lease_grant_request(int64_t id, int64_t ttl);
Bytes lease_keep_alive_request(int64_t id);
// Everything from key to end (exclusive); limit and revision 0: none.
Bytes list_request(std::string_view key, std::string_view end, int64_t limit, int64_t revision);

// What counts of a RangeResponse. Views into it.
struct RangePart {
  bool good = false;
  int64_t revision = 0;
  bool more = false;
  uint64_t keys = 0;
  std::string_view last_key;
};
RangePart parse_range(std::string_view response);
RangePart parse_range_stream(std::string_view response);

// The first field of bytes, or of a number, with this tag; empty or 0 if there is none.
std::string_view bytes_field(std::string_view message, uint32_t field);
int64_t number_field(std::string_view message, uint32_t field);

}  // namespace fairlead::bench
