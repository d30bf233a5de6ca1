// What the cleaner does next: a pure function of the manifest. docs/formats/segments.md, "The cleaner".
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "server/io/io.h"
#include "server/storage/manifest.h"

namespace fairlead::storage {

struct CleanerOptions {
  uint64_t dead_bytes_min = 64 << 20;  // it rests below this,
  uint64_t dead_percent_min = 25;      // and below this share of all segments
  uint64_t dead_percent_urgent = 33;   // from here on kUrgentFactor times as fast
  size_t join_segments_min = 8;        // that many small neighbours become one
  uint64_t bytes_per_second_min = 16 << 20;
  size_t piece_bytes = 1 << 20;  // read and copied at once by a worker
  io::Nanos look_interval = 1 * io::kSecond;
  io::Nanos manifest_interval = 1 * io::kSecond;      // at most one swap in that time
  io::Nanos log_latency_max = 50 * io::kMillisecond;  // above that it pauses
};

// A run of neighbours, by file number, in order.
struct CleanPlan {
  std::vector<uint64_t> segments;
  uint64_t bytes = 0;  // of their files
};

struct DeadShare {
  uint64_t bytes = 0;
  uint64_t dead_bytes = 0;
  bool at_least(uint64_t percent) const { return dead_bytes > 0 && dead_bytes * 100 >= percent * bytes; }
};
DeadShare dead_share(const SharedManifest& manifest);

// The deadest run whose live records fit into one segment of output_bytes_max, if enough is dead; else a run of small
// neighbours to be joined: no segment of it is larger than the others together, so each record is copied about
// log2(n) times in its life. Segments in `damaged` are left alone.
// `below` != 0: a forced round: every segment with dead records and a number below it, whatever the share.
std::optional<CleanPlan> plan_clean(const SharedManifest& manifest, const CleanerOptions& options,
                                    uint64_t output_bytes_max, const std::set<uint64_t>& damaged, uint64_t below = 0);

}  // namespace fairlead::storage
