// Compaction by itself: --auto-compaction-mode periodic (keep so much time) or revision (keep so many revisions).
//
// Every member watches its revisions; only the leader compacts, through the log. Timing is etcd's. Periodic: a sample
// of the revision ten times an hour, or ten times a period below one; once a whole period has gone by, what was current
// a period ago is compacted, then again each hour (or each period below one). Revision: every five minutes.
//
// Threads: the loop. A compaction that fails is tried again at the next sample.
#pragma once

#include <deque>
#include <functional>

#include "base/status.h"
#include "server/io/io.h"

namespace fairlead::node {

struct AutoCompaction {
  enum class Mode { kPeriodic, kRevision };
  Mode mode = Mode::kPeriodic;
  io::Nanos period = 0;   // periodic; 0 = off
  int64_t revisions = 0;  // revision; 0 = off
  bool off() const { return mode == Mode::kPeriodic ? period <= 0 : revisions <= 0; }
};

// etcd's texts: "5m", "5" (hours) or, by revision, "1000".
Result<AutoCompaction> parse_auto_compaction(const std::string& mode, const std::string& retention);

class AutoCompactor {
 public:
  struct Store {
    std::function<int64_t()> revision;
    std::function<bool()> is_leader;
    // kOutOfRange: compacted already.
    std::function<void(int64_t revision, std::function<void(const Status&)> done)> compact;
  };
  AutoCompactor(const io::World& world, AutoCompaction rule, Store store);
  ~AutoCompactor();

 private:
  void later();
  void step();
  void periodic_step();
  void revision_step();
  void compact(int64_t revision);

  io::World world_;
  const AutoCompaction rule_;
  const Store store_;
  const io::Nanos interval_;
  size_t samples_max_ = 0;
  std::deque<int64_t> samples_;  // periodic: oldest first, one a step
  int64_t last_revision_ = 0;
  io::Nanos last_success_, wait_;
  bool running_ = false;
  io::TimerId timer_ = 0;
  std::shared_ptr<AutoCompactor*> self_;
};

}  // namespace fairlead::node
