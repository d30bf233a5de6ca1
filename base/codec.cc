#include "base/codec.h"

namespace fairlead {

size_t varint_size(uint64_t value) { return (static_cast<size_t>(std::bit_width(value | 1)) + 6) / 7; }

char* store_varint(char* out, uint64_t value) {
  while (value >= 0x80) {
    *out++ = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  *out++ = static_cast<char>(value);
  return out;
}

void put_varint(std::string& out, uint64_t value) {
  char raw[kVarintMax];
  out.append(raw, static_cast<size_t>(store_varint(raw, value) - raw));
}

uint64_t Reader::varint() {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 70; shift += 7) {
    if (p_ == end_) break;
    auto byte = static_cast<unsigned char>(*p_++);
    if (shift == 63 && byte > 1) break;  // more than 64 bits
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  fail();
  return 0;
}

}  // namespace fairlead
