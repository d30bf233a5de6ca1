// The cleaner: gives the space of dead records back. It rewrites one segment, or a run of neighbours, into the same
// interval of places, without the records that the *durable* manifest lists as dead; the next manifest swaps the run
// for the output. Places do not change, so the index in memory knows nothing of it. docs/formats/segments.md.
//
// Invariants: only what the durable manifest lists is left out; every block is checked before it is copied, and a
// damaged segment is never copied on. What died while the copy was made is carried over as the output's dead list. A
// crash before the swap leaves output files that no manifest names; one after it leaves the old ones, likewise.
//
// Pace: pieces of piece_bytes on a worker, at max(bytes_per_second_min, twice the rate of the log), kUrgentFactor times
// that when very much is dead; a pause while the log is slow. One run at a time, one swap a second at most.
//
// Threads: the loop; copying is done by workers. Errors: a failed copy is abandoned and tried again later; a failed
// write of the manifest goes to on_fatal.
#pragma once

#include <functional>
#include <memory>
#include <set>

#include "server/storage/clean_plan.h"
#include "server/storage/log.h"
#include "server/storage/store.h"

namespace fairlead::storage {

constexpr uint64_t kUrgentFactor = 4;
constexpr io::Nanos kCleanRetryMin = 1 * io::kSecond;  // after a failure; doubles
constexpr io::Nanos kCleanRetryMax = 64 * io::kSecond;

struct CleanerStats {
  uint64_t runs = 0;         // swapped in
  uint64_t runs_failed = 0;  // abandoned: a failed write, damage, or segments that went meanwhile
  uint64_t segments_in = 0;  // rewritten or dropped
  uint64_t segments_out = 0;
  uint64_t bytes_read = 0;
  uint64_t bytes_written = 0;
  uint64_t bytes_freed = 0;  // by swaps
  uint64_t records_dropped = 0;
  uint64_t pauses = 0;  // pieces put off because the log was slow
  uint64_t rounds = 0;  // forced ones that are over
  double round_seconds_last = 0;
  double round_seconds_sum = 0;
  bool running = false;        // a run is being copied
  bool round_running = false;  // a forced round is under way
};

class CleanJob;

class Cleaner {
 public:
  struct Hooks {
    std::function<bool()> may_swap;  // false: not now (an install is under way, or the end)
    std::function<void(Status)> on_fatal;
  };
  // Store and Log must outlive it.
  Cleaner(const io::World& world, Store& store, const Log& log, const CleanerOptions& options, Hooks hooks);
  ~Cleaner();
  Cleaner(const Cleaner&) = delete;
  Cleaner& operator=(const Cleaner&) = delete;

  void start();
  void stop();  // nothing new begins; a swap that is under way ends (Store::busy())
  // A forced round: all segments that have dead records now, whatever their share. `done` when it is over.
  void round(std::function<void()> done);
  const CleanerStats& stats() const { return stats_; }

 private:
  void look();
  void look_later(io::Nanos after);
  void measure_log();
  bool begin();
  void piece();
  void next_piece();
  void swap();
  void end_job(const Status& status);
  void end_round();
  uint64_t bytes_per_second() const;

  io::World world_;
  Store& store_;
  const Log& log_;
  const CleanerOptions options_;
  Hooks hooks_;
  CleanerStats stats_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  io::TimerId timer_ = 0;
  bool stopped_ = false;

  std::shared_ptr<CleanJob> job_;
  io::Nanos piece_began_ = 0;
  uint64_t piece_bytes_ = 0;
  io::Nanos last_swap_ = 0;
  io::Nanos retry_at_ = 0;
  io::Nanos retry_after_ = kCleanRetryMin;
  std::set<uint64_t> damaged_;  // segments left alone until the member is replaced

  uint64_t round_below_ = 0;  // file number; 0 = no forced round
  io::Nanos round_began_ = 0;
  std::vector<std::function<void()>> round_done_;

  io::Nanos measured_at_ = 0;
  uint64_t log_bytes_ = 0;
  uint64_t log_syncs_ = 0;
  double log_sync_seconds_ = 0;
  uint64_t log_rate_ = 0;  // bytes a second
  bool log_slow_ = false;
};

}  // namespace fairlead::storage
