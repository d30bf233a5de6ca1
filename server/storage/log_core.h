// Inside of Log (log.h has the contract). One object per log; Log, outstanding writes and jobs share it, so that a
// write in flight keeps its file open when the Log is gone.
//
// State: recent_ holds the newest entries, at least all that are not durable; entries before it are read from segments
// through refs_. Whatever is submitted waits in recent_ (from unwritten_) and in the header fields; encode_batch()
// takes as much of it as fits, and every batch header repeats term, vote and log start.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/storage/log.h"
#include "server/storage/log_format.h"
#include "server/storage/log_recovery.h"

namespace fairlead::storage {

constexpr io::Nanos kPrepareRetry = io::kSecond;  // after a failure that nobody waits for yet

class Log::Core : public std::enable_shared_from_this<Log::Core> {
 public:
  Core(io::World& world, std::string dir, uint64_t log_id, const LogOptions& options);

  Status adopt(LogScan scan);  // blocking: makes spares, prepares the first segment

  void append(std::optional<raft::HardState> hard_state, std::span<const raft::Entry> entries, WriteSeq seq);
  void release(Index start);
  void restart_at(Index index, Term term, std::optional<raft::HardState> hard_state, WriteSeq seq);
  void read(Index from, Index to, size_t bytes_max, std::function<void(Result<Entries>)> done);
  void stop(std::function<void()> done);
  void report_early_failure();
  void detach();  // the Log goes: no callback any more

  std::optional<Term> term_at(Index index) const;
  bool idle() const;
  uint64_t bytes_total() const;

  io::World world_;
  const std::string dir_;
  const uint64_t log_id_;
  const LogOptions options_;
  LogStats stats_;
  std::function<void(WriteSeq)> on_durable_;
  std::function<void(Status)> on_fatal_;

  // What Raft knows.
  raft::HardState hard_state_;
  Index start_{1};
  Term term_before_start_;
  Index last_;
  Index durable_index_;
  std::map<Index, Term> terms_;  // first index of each run of one term, from start_ on

 private:
  struct InFlight {
    Index last;    // newest entry in it that is still valid; 0 = none
    WriteSeq seq;  // highest submission that is wholly written with it
    io::Nanos submitted = 0;
    uint64_t declared = 0;  // what it says is durable
    bool link = false;      // the segment ends with it
    bool mark = false;
    uint64_t bytes = 0;
    uint32_t entries = 0;
  };
  struct Submission {  // where a submission's entries end, so that a split batch reports rightly
    WriteSeq seq;
    Index last;  // 0 = no entries
  };

  void read_files(Index from, Index to, size_t bytes_max, std::function<void(Result<Entries>)> done);
  void cut_suffix(Index first);
  void note_term(Index index, Term term);
  void kick();
  bool anything_to_write() const;
  bool take_segment_for(uint64_t bytes);  // false: waits for a segment or for the link batch
  uint64_t next_body_bytes(uint32_t& entries) const;
  void write_batch(uint16_t flags, uint32_t entries, uint64_t body_bytes);
  WriteSeq take_finished();
  void take_over_refs(const BatchHeader& h);
  void idle_check();
  void written(Status status);
  void fail(Status status);
  void trim_recent();
  void arm_mark();
  void prepare(uint64_t bytes_min);
  void prepared(Status status);
  void release_files();
  bool front_may_go() const;
  void recent_pop_front();

  std::deque<raft::Entry> recent_;
  size_t recent_bytes_ = 0;
  Index unwritten_{1};              // first entry that no batch holds yet
  std::deque<Submission> waiting_;  // not durable; those of the batch in flight are already out
  bool header_dirty_ = false;       // term, vote or start changed since the last batch
  bool restart_pending_ = false;
  uint64_t truncations_ = 0;  // readers in flight notice a replaced suffix

  std::deque<BatchRef> refs_;
  std::deque<std::shared_ptr<LogSegment>> segments_;  // in use, oldest first; back() is written to
  std::shared_ptr<LogSegment> next_;                  // prepared successor
  bool current_open_ = false;                         // segments_.back() was begun by this process and is not ended
  bool after_link_ = false;                           // next_'s first batch follows a link, not a start
  bool preparing_ = false;
  bool waiting_for_segment_ = false;  // kick() stopped for want of one
  uint64_t next_number_ = 1;
  std::deque<uint64_t> spares_;
  bool releasing_ = false;

  std::optional<InFlight> in_flight_;
  uint64_t sequence_ = 0;  // of the newest batch
  uint32_t crc_ = 0;
  uint64_t durable_batch_ = 0;
  uint64_t declared_durable_ = 0;  // in the newest durable batch
  uint64_t last_data_batch_ = 0;   // newest batch that is no mark
  io::Nanos last_activity_ = 0;
  bool mark_armed_ = false;
  bool failed_ = false;
  Status early_failure_;  // before set_callbacks()
  bool stopping_ = false;
  std::function<void()> stopped_;
  friend class Log;
};

}  // namespace fairlead::storage
