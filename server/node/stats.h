// Plain numbers counted on the loop; the metrics page reads them when it is asked for.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "base/histogram.h"
#include "base/ids.h"

namespace fairlead::node {

// What a request does, under the names that etcd's metrics have for it.
enum Operation : uint8_t {
  kOpPut,
  kOpDeleteRange,
  kOpTxn,
  kOpCompaction,
  kOpLeaseGrant,
  kOpLeaseRevoke,
  kOpLeaseCheckpoint,
  kOpMemberAttributes,
  kOpUnknown,
  kOpRange,        // reads: never applied
  kOpReadonlyTxn,  // likewise
  kOperationCount,
};
constexpr std::array<const char*, kOperationCount> kOperationNames = {"Put",
                                                                      "DeleteRange",
                                                                      "Txn",
                                                                      "Compaction",
                                                                      "LeaseGrant",
                                                                      "LeaseRevoke",
                                                                      "LeaseCheckpoint",
                                                                      "ClusterMemberAttrSet",
                                                                      "unknown",
                                                                      "Range",
                                                                      "ReadonlyTxn"};

// Snapshots to or from one other member.
struct SnapshotStats {
  uint64_t succeeded = 0;
  uint64_t failed = 0;
  uint64_t in_flight = 0;
  Histogram<10> seconds{.first_bound = 0.1};  // of those that succeeded
};

// One duration histogram for each operation that failed [0] or succeeded [1].
template <size_t kBuckets>
class OperationSeconds {
 public:
  explicit OperationSeconds(double first_bound) {
    for (auto& both : histograms_)
      for (auto& h : both) h.first_bound = first_bound;
  }
  void observe(Operation op, bool succeeded, double seconds, uint64_t times = 1) {
    histograms_[op][succeeded].observe(seconds, times);
  }
  const Histogram<kBuckets>& of(size_t op, bool succeeded) const { return histograms_[op][succeeded]; }

 private:
  std::array<std::array<Histogram<kBuckets>, 2>, kOperationCount> histograms_{};
};

struct Stats {
  uint64_t proposals_failed = 0;     // dropped, refused or timed out
  uint64_t proposals_committed = 0;  // highest index known committed
  uint64_t proposals_applied = 0;    // highest index applied
  uint64_t proposals_repeated = 0;   // entries that were in the log before, or came too late, and were left out
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
  uint64_t promotions = 0;          // of learners, by this member as the leader
  std::map<std::string, uint64_t> promotions_refused;  // by the error; a fixed few
  uint64_t slow_read_indexes = 0;                      // rounds that took longer than kSlowReadIndex or never came
  uint64_t heartbeats_late = 0;                        // the leader's, by more than a heartbeat interval
  uint64_t leases_granted = 0;
  uint64_t leases_revoked = 0;
  uint64_t leases_renewed = 0;                        // by this member as the leader
  int64_t compaction_last_unix_s = 0;                 // end of the last compaction; 0: none since the start
  OperationSeconds<20> apply{0.0001};                 // one entry: the mean of its batch
  OperationSeconds<14> request{0.001};                // from the call to its answer
  Histogram<20> range_failed{.first_bound = 0.0001};  // the part of a read that looks keys up
  Histogram<20> range{.first_bound = 0.0001};
  Histogram<14> checkpoint{.first_bound = 0.001};         // as etcd's backend commit
  Histogram<13> defragment{.first_bound = 0.1};           // a round of the cleaner that was asked for
  Histogram<24> lease_ttl{.first_bound = 1};              // seconds asked for
  Histogram<14> compaction_ms{.first_bound = 100};        // a whole compaction
  Histogram<14> compaction_slice_ms{.first_bound = 0.5};  // the piece of one turn
  std::map<MemberId, SnapshotStats> snapshots_to, snapshots_from;
};

}  // namespace fairlead::node
