// The log: what Raft must not forget (term, vote, entries), in the order in which it was decided.
// Bytes and recovery rule: docs/formats/log.md.
//
// Files: DIR/log-LOGID-NUMBER (segments) and DIR/spare-NUMBER (segments to be used again). The unit of writing is the
// batch: it starts on a block of its own, no block is written twice, its header carries the CRC of the batch before it
// and the sequence number up to which everything was known durable when it was written.
//
// What each crash leaves behind:
//   while a batch is written      any subset of its sectors; recovery cuts it, nothing in it was acknowledged
//   while a segment is prepared   a file without a batch of its own identity; recovery takes it as a spare
//   while segments are released   the new start is durable before the oldest file goes; one file at a time
//   after a process kill          batches that are visible but not durable: recovery syncs what it read before using it
// A start never goes on in an old segment: the first write after it opens a new one that names the batch it follows.
//
// Invariants: one batch in flight; submissions made meanwhile gather into the next one (group commit). on_durable is
// called in order of WriteSeq, once per batch. Entries within the log are contiguous.
//
// Threads: everything on the loop; recover() blocks and is for the start only. Preparing and releasing files, and
// reading old entries, run as Workers closures.
// Errors: a failed write or sync is final: on_fatal is called once and nothing after it becomes durable.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "server/io/io.h"
#include "server/raft/types.h"

namespace fairlead::storage {

using raft::WriteSeq;  // chosen by the caller, rising; names one submission

struct LogOptions {
  uint64_t first_segment_bytes = 1 << 20;  // first segment after a start; multiples of the block
  uint64_t segment_bytes = 64 << 20;       // the others
  size_t batch_bytes_max = 8 << 20;        // entries gathered into one batch; a larger entry has its own
  size_t cache_bytes_max = 32 << 20;       // recent entries kept in memory for slow followers
  io::Nanos idle_mark_after = 100 * io::kMillisecond;
  size_t spares_max = 2;  // released segments kept for reuse; more are removed
};

// Upper bounds, in seconds, of etcd_disk_wal_fsync_duration_seconds; one more bucket counts the rest.
constexpr std::array<double, 14> kSyncBucketsSeconds = {0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064,
                                                        0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192};

struct LogStats {
  uint64_t syncs = 0;  // batches made durable
  uint64_t bytes = 0;  // written, with padding
  uint64_t entries = 0;
  uint64_t marks = 0;     // batches that only say what is durable
  uint64_t segments = 0;  // in use now
  uint64_t segments_recycled = 0;
  uint64_t torn_tails_cut = 0;  // at this start: 1 if something was cut
  uint64_t torn_bytes_cut = 0;  // size of the cut batches whose header was readable
  std::array<uint64_t, kSyncBucketsSeconds.size() + 1> sync_buckets{};  // not cumulative
  double sync_seconds_sum = 0;
  io::Nanos last_latency = 0;  // of the last batch, submission to completion
};

class Log;

// What a start finds. `entries` are all entries from `start` on, contiguous; bounded because the log is.
struct RecoveredLog {
  std::unique_ptr<Log> log;
  raft::HardState hard_state;
  Index start{1};          // first index the log is responsible for
  Term term_before_start;  // term of the entry start-1 (0 for an empty log)
  std::vector<raft::Entry> entries;
  uint64_t batches_cut = 0;  // torn batches whose header was readable
};

class Log {
 public:
  // Blocking; at start. Reads every segment of log `log_id` in `dir`, cuts a torn tail (one log line), syncs what it
  // read. kDataLoss names file, offset and what to do. `may_create`: an empty or absent directory is an empty log;
  // otherwise it is refused.
  static Result<RecoveredLog> recover(io::World& world, const std::string& dir, uint64_t log_id, bool may_create,
                                      const LogOptions& options);
  ~Log();  // waits for nothing; outstanding callbacks are dropped
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // Before the first append. Both run on the loop, never inside a call of this class.
  void set_callbacks(std::function<void(WriteSeq upto)> on_durable, std::function<void(Status)> on_fatal);

  // Submit a change of term or vote and/or entries. entries[0].index <= last_index() + 1; a lower one replaces the
  // suffix. Nothing before the log's start may be replaced. `seq` must exceed every earlier one.
  void append(std::optional<raft::HardState> hard_state, std::span<const raft::Entry> entries, WriteSeq seq);

  // New log start: entries below it are not needed any more (start <= last_index() + 1, not below the current one).
  // Durable before any segment goes. Counts as durable work of its own; no WriteSeq.
  void release(Index start);

  // Forget all entries: the log starts anew behind (index, term). For an installed snapshot. Reported by on_durable.
  void restart_at(Index index, Term term, std::optional<raft::HardState> hard_state, WriteSeq seq);

  // Entries [from, to), as many as fit into bytes_max but at least one. `done` runs on the loop, never inside this
  // call. kOutOfRange when `from` is below the start or was released meanwhile.
  using Entries = std::vector<raft::Entry>;
  void read(Index from, Index to, size_t bytes_max, std::function<void(Result<Entries>)> done);

  // Orderly stop: writes what was submitted, then a durable mark, then calls done. No append afterwards.
  void stop(std::function<void()> done);

  Index first_index() const;                       // log start, even when no entry is there
  Index last_index() const;                        // last submitted
  Index durable_index() const;                     // lowered at once when a suffix is replaced
  std::optional<Term> term_at(Index index) const;  // start-1 .. last; else nothing
  uint64_t durable_position() const;               // sequence number of the last durable batch
  uint64_t bytes_total() const;                    // in segments, from the start on
  bool idle() const;                               // nothing in flight or waiting
  const LogStats& stats() const;
  const std::string& dir() const;

 private:
  class Core;  // outlives the Log until its last write has come back
  explicit Log(std::shared_ptr<Core> core);
  std::shared_ptr<Core> core_;
};

}  // namespace fairlead::storage
