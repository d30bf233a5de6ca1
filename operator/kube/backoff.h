// Exponential backoff with jitter. No clock: it only says how long to wait. Deterministic from its seed.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>

namespace fairlead::kube {

struct BackoffOptions {
  std::chrono::milliseconds first{100};
  std::chrono::milliseconds max{30'000};
};

// Not thread-safe.
class Backoff {
 public:
  Backoff(BackoffOptions options, uint64_t seed) : options_(options), random_(seed) {}

  // Half of the nominal delay is fixed, half random: waiters spread, and none is immediate.
  std::chrono::milliseconds next() {
    const int64_t nominal = nominal_ms(failures_++);
    std::uniform_int_distribution<int64_t> jitter(0, std::max<int64_t>(nominal / 2, 0));
    return std::chrono::milliseconds(nominal - nominal / 2 + jitter(random_));
  }
  void reset() { failures_ = 0; }
  int failures() const { return failures_; }

 private:
  int64_t nominal_ms(int failures) const {
    const int64_t doubled = options_.first.count() << std::min(failures, 20);
    return std::min<int64_t>(doubled, options_.max.count());
  }
  BackoffOptions options_;
  std::mt19937_64 random_;
  int failures_ = 0;
};

}  // namespace fairlead::kube
