// A histogram over doubling bounds: first, 2*first, ... ; the last bucket has no bound. Plain counters of one thread;
// counts are per bucket, not cumulative.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace fairlead {

template <size_t kBuckets>
struct Histogram {
  double first_bound;
  std::array<uint64_t, kBuckets + 1> counts{};
  uint64_t count = 0;
  double sum = 0;

  void observe(double value, uint64_t times = 1) {
    double bound = first_bound;
    size_t i = 0;
    while (i < kBuckets && value > bound) ++i, bound *= 2;
    counts[i] += times;
    count += times;
    sum += value * static_cast<double>(times);
  }
};

}  // namespace fairlead
