// Runs seeds in child processes, so that a failed CHECK, a crash or an endless loop of one seed is a finding about that
// seed and not the end of the run.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "server/sim/simulation.h"

namespace fairlead::sim {

constexpr int kSeedWallSecondsMax = 180;  // real time: then the seed counts as stuck

struct PoolOptions {
  uint64_t first_seed = 1;
  uint64_t seeds = 1;
  int jobs = 1;
  double seconds = 0;         // no new seed is begun after this much real time; 0 = no limit
  uint64_t twice_every = 10;  // every n-th seed runs twice and must agree; 0 = none
  bool stop_at_first_failure = false;
  std::function<void()> in_child;  // called in every child before its first seed
};

struct PoolResult {
  uint64_t passed = 0;
  uint64_t failed = 0;
  uint64_t compared = 0;  // seeds that ran twice
  uint64_t first_failure = 0;
  std::string first_failure_text;
  Counters counters;
};

// Calls `on_seed` for every seed that ended.
PoolResult run_pool(const PoolOptions& options,
                    const std::function<void(uint64_t seed, const std::string& wrong)>& on_seed);

}  // namespace fairlead::sim
