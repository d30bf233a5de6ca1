// Plain numbers counted on the loop; the metrics page reads them when it is asked for.
#pragma once

#include <array>
#include <cstdint>

namespace fairlead::node {

// Cumulative histogram over doubling bounds: first, 2*first, ... ; the last bucket has no bound.
template <size_t kBuckets>
struct Histogram {
  double first_bound_seconds;
  std::array<uint64_t, kBuckets + 1> counts{};
  uint64_t count = 0;
  double sum_seconds = 0;

  void observe(double seconds) {
    double bound = first_bound_seconds;
    size_t i = 0;
    while (i < kBuckets && seconds > bound) ++i, bound *= 2;
    ++counts[i];
    ++count;
    sum_seconds += seconds;
  }
};

struct Stats {
  uint64_t proposals_failed = 0;     // dropped, refused or timed out
  uint64_t proposals_committed = 0;  // highest index known committed
  uint64_t proposals_applied = 0;    // highest index applied
  uint64_t leader_changes_seen = 0;
  uint64_t elections_won = 0;
  uint64_t read_indexes_failed = 0;
  uint64_t slow_applies = 0;
  uint64_t cold_reads = 0;   // values fetched from segments for a reply or an apply
  uint64_t apply_parks = 0;  // entries that waited for a cold value
  uint64_t checkpoints = 0;
  uint64_t snapshots_sent = 0;
  uint64_t snapshots_installed = 0;
  uint64_t leases_expired = 0;
  uint64_t free_bytes = 0;   // on the disk, at the last look; 0: none yet
  uint64_t hash_checks = 0;  // rounds in which the members' hashes were compared
  uint64_t hash_mismatches = 0;
  uint64_t space_alarms = 0;        // NOSPACE raised, for any member
  uint64_t watchers_continued = 0;  // carried over to an installed snapshot
  uint64_t stalls = 0;              // the process, or its log writes, stood still for longer than an election timeout
  uint64_t turn_longest_ns = 0;     // since the last scrape
  Histogram<20> apply{.first_bound_seconds = 0.0001};      // one entry
  Histogram<14> checkpoint{.first_bound_seconds = 0.001};  // as etcd's backend commit
  Histogram<13> defragment{.first_bound_seconds = 0.1};    // a round of the cleaner that was asked for
};

}  // namespace fairlead::node
