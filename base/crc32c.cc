#include "base/crc32c.h"

#include <array>
#include <cstring>

#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

namespace fairlead {
namespace {

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82F63B78u : 0);
    table[i] = crc;
  }
  return table;
}
constexpr auto kTable = make_table();

}  // namespace

namespace crc32c_internal {
uint32_t extend_portable(uint32_t seed, std::string_view data) {
  uint32_t crc = ~seed;
  for (unsigned char c : data) crc = kTable[(crc ^ c) & 0xff] ^ (crc >> 8);
  return ~crc;
}
}  // namespace crc32c_internal

uint32_t crc32c_extend(uint32_t seed, std::string_view data) {
#ifdef __SSE4_2__
  const char* p = data.data();
  size_t n = data.size();
  uint64_t crc = static_cast<uint32_t>(~seed);
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    crc = _mm_crc32_u64(crc, word);
  }
  auto crc32 = static_cast<uint32_t>(crc);
  for (; n > 0; --n, ++p) crc32 = _mm_crc32_u8(crc32, static_cast<unsigned char>(*p));
  return ~crc32;
#else
  return crc32c_internal::extend_portable(seed, data);
#endif
}

}  // namespace fairlead
