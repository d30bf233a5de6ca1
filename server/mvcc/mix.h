// A small deterministic hash for state comparison (not for security, not for anything on disk but the applied chain).
#pragma once

#include <cstdint>
#include <string_view>

#include "base/crc32c.h"

namespace fairlead::mvcc {

// Order matters: mix(mix(h, a), b) differs from mix(mix(h, b), a). Finalizer of splitmix64.
constexpr uint64_t mix(uint64_t h, uint64_t v) {
  uint64_t x = h * 0x9E3779B97F4A7C15ull + v + 0x2545F4914F6CDD1Dull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}
inline uint64_t mix_bytes(uint64_t h, std::string_view s) {
  return mix(mix(h, s.size()), static_cast<uint64_t>(crc32c(s)) << 32 | crc32c_extend(0x5bd1e995, s));
}

}  // namespace fairlead::mvcc
