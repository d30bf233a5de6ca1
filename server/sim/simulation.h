// One seed: one whole history of three members, at least kSeedSeconds simulated seconds, kSeedOps operations and
// kSeedFaults faults long, then a calm phase in which they must serve and agree, then the judge.
#pragma once

#include <cstdint>
#include <string>

#include "server/sim/cluster.h"

namespace fairlead::sim {

constexpr int64_t kSeedSeconds = 60;
constexpr uint64_t kSeedOps = 1000;
constexpr uint64_t kSeedFaults = 5;
constexpr uint64_t kEventsMax = 30'000'000;  // of one seed: more means that something spins

struct SeedResult {
  std::string wrong;  // empty = nothing
  Counters counters;
  uint64_t hash = 0;  // of everything that happened
  uint64_t events = 0;
  double simulated_seconds = 0;
};

SeedResult run_seed(uint64_t seed, bool trace);

}  // namespace fairlead::sim
