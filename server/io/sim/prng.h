// The one source of chance in a simulation: xoshiro256**, seeded by splitmix64. Forks are independent streams, so that
// drawing more in one place does not shift every other place.
#pragma once

#include <cstdint>

#include "server/io/io.h"

namespace fairlead::io::sim {

class Prng final : public Random {
 public:
  explicit Prng(uint64_t seed);
  uint64_t next() override;
  uint64_t below(uint64_t bound);              // uniform in [0, bound); 0 if bound is 0
  int64_t between(int64_t low, int64_t high);  // uniform in [low, high]
  bool chance(double probability);
  double unit();  // [0, 1)
  // A delay with a long tail: mostly near `typical`, now and then many times that.
  Nanos delay(Nanos typical);
  Prng fork(uint64_t tag);

 private:
  uint64_t s_[4];
};

}  // namespace fairlead::io::sim
