#include "server/io/sim/prng.h"

namespace fairlead::io::sim {
namespace {

uint64_t splitmix(uint64_t& state) {
  uint64_t z = state += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

uint64_t rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

}  // namespace

Prng::Prng(uint64_t seed) {
  for (uint64_t& s : s_) s = splitmix(seed);
}

uint64_t Prng::next() {
  uint64_t result = rotate(s_[1] * 5, 7) * 9;
  uint64_t t = s_[1] << 17;
  s_[2] ^= s_[0];
  s_[3] ^= s_[1];
  s_[1] ^= s_[2];
  s_[0] ^= s_[3];
  s_[2] ^= t;
  s_[3] = rotate(s_[3], 45);
  return result;
}

uint64_t Prng::below(uint64_t bound) {
  if (bound == 0) return 0;
  return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
}

int64_t Prng::between(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(below(static_cast<uint64_t>(high - low) + 1));
}

double Prng::unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
bool Prng::chance(double probability) { return unit() < probability; }

Nanos Prng::delay(Nanos typical) {
  auto spread = static_cast<Nanos>(static_cast<double>(typical) * (0.5 + unit()));
  uint64_t dice = below(1000);
  if (dice == 0) return spread * 100;
  if (dice < 20) return spread * 10;
  return spread;
}

Prng Prng::fork(uint64_t tag) { return Prng(next() ^ (tag * 0xD1342543DE82EF95ull)); }

}  // namespace fairlead::io::sim
