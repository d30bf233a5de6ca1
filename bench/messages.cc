#include "bench/messages.h"

#include <algorithm>

#include "base/codec.h"

namespace fairlead::bench {

namespace {

enum Type : uint64_t { kVarint = 0, kLengthed = 2 };

void put_number(std::string& out, uint32_t field, int64_t value) {
  if (value == 0) return;
  put_varint(out, uint64_t{field} << 3 | kVarint);
  put_varint(out, static_cast<uint64_t>(value));
}

void put_text(std::string& out, uint32_t field, std::string_view value) {
  put_varint(out, uint64_t{field} << 3 | kLengthed);
  put_lengthed(out, value);
}

// Calls `use(field, bytes, number)` for each field; false if the message is malformed.
template <typename Use>
bool each_field(std::string_view message, Use use) {
  Reader in(message);
  while (in.ok() && !in.at_end()) {
    uint64_t tag = in.varint();
    if ((tag & 7) == kLengthed) {
      use(tag >> 3, in.lengthed(), uint64_t{0});
    } else if ((tag & 7) == kVarint) {
      use(tag >> 3, std::string_view(), in.varint());
    } else {
      return false;  // etcd's messages have no others
    }
  }
  return in.ok();
}

}  // namespace

Bytes put_request(std::string_view key, std::string_view value) {
  BytesBuilder out(key.size() + value.size() + 2 * (1 + kVarintMax));
  char* p = out.data();
  *p++ = 0x0a;  // key = 1
  p = store_varint(p, key.size());
  std::copy(key.begin(), key.end(), p);
  p += key.size();
  *p++ = 0x12;  // value = 2
  p = store_varint(p, value.size());
  std::copy(value.begin(), value.end(), p);
  p += value.size();
  auto size = static_cast<size_t>(p - out.data());
  return std::move(out).finish(size);
}

Bytes range_request(std::string_view key, bool serializable) {
  std::string out = "\x0a";
  put_lengthed(out, key);
  if (serializable) out += "\x38\x01";  // serializable = 7
  return Bytes::take(std::move(out));
}

Bytes watch_create_request(std::string_view key) {
  std::string create = "\x0a";  // key = 1
  put_lengthed(create, key);
  std::string out = "\x0a";  // create_request = 1
  put_lengthed(out, create);
  return Bytes::take(std::move(out));
}

Bytes authenticate_request(std::string_view name, std::string_view password) {
  std::string out;
  put_text(out, 1, name);
  put_text(out, 2, password);
  return Bytes::take(std::move(out));
}

Bytes lease_grant_request(int64_t id, int64_t ttl) {
  std::string out;
  put_number(out, 1, ttl);
  put_number(out, 2, id);
  return Bytes::take(std::move(out));
}

Bytes lease_keep_alive_request(int64_t id) {
  std::string out;
  put_number(out, 1, id);
  return Bytes::take(std::move(out));
}

Bytes list_request(std::string_view key, std::string_view end, int64_t limit, int64_t revision) {
  std::string out;
  put_text(out, 1, key);
  put_text(out, 2, end);
  put_number(out, 3, limit);
  put_number(out, 4, revision);
  return Bytes::take(std::move(out));
}

RangePart parse_range(std::string_view response) {
  RangePart out;
  std::string_view last;
  out.good = each_field(response, [&](uint64_t field, std::string_view bytes, uint64_t number) {
    if (field == 1) out.revision = number_field(bytes, 3);
    if (field == 2) {
      ++out.keys;
      last = bytes;
    }
    if (field == 3) out.more = number != 0;
  });
  out.last_key = bytes_field(last, 1);
  return out;
}

RangePart parse_range_stream(std::string_view response) { return parse_range(bytes_field(response, 1)); }

std::string_view bytes_field(std::string_view message, uint32_t wanted) {
  std::string_view found;
  (void)each_field(message, [&](uint64_t field, std::string_view bytes, uint64_t) {
    if (field == wanted && found.empty()) found = bytes;
  });
  return found;
}

int64_t number_field(std::string_view message, uint32_t wanted) {
  uint64_t found = 0;
  (void)each_field(message, [&](uint64_t field, std::string_view, uint64_t number) {
    if (field == wanted) found = number;
  });
  return static_cast<int64_t>(found);
}

}  // namespace fairlead::bench
