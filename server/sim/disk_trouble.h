// Disks that fail, beside what the nemesis does to processes and links:
//
//   - for a while: writes that end with EIO, no space left. The member may have to stop; it must come back whole.
//   - for good: bits that rot in closed segments and in log batches known to be durable, blocks that cannot be read.
//     At most one member of a seed. It may go on, and refuse what it cannot read, or give up, naming the file; then it
//     is taken out, as one takes out a machine. What it served until then is judged like everything else.
//
// The very last batch of a log is spared: docs/formats/log.md, "What remains ambiguous".
#pragma once

#include <array>
#include <set>
#include <string>

#include "server/sim/cluster.h"

namespace fairlead::sim {

class DiskTrouble {
 public:
  DiskTrouble(Cluster* cluster, Counters* counters, bool with_damage);

  void start();
  // No new trouble; disks work again. Damage stays.
  void calm();
  // A member gave up for this reason. False if no fault of this class explains it.
  bool explains(size_t member, const Status& why);
  bool is_damaged(size_t member) const { return static_cast<int>(member) == victim_ && !damaged_.empty(); }
  bool trace = false;

 private:
  void plan_next();
  void act();
  void say(const std::string& what) const;
  void failing_writes(size_t member);
  void no_space(size_t member);
  void damage();
  void rot_segment(const std::string& path, uint64_t size);
  bool rot_log();
  void make_unreadable(const std::string& path, uint64_t size);
  io::sim::DiskImage& disk(size_t member) { return cluster_->world().disk(cluster_->host(member)); }

  Cluster* cluster_;
  Counters* counters_;
  io::sim::Prng prng_;
  int victim_ = -1;  // whose disk rots; -1: none in this seed
  std::set<std::string> damaged_;
  std::array<io::Nanos, kMembers> failed_until_{};  // a give-up by an injected error is expected until then
  bool calm_ = false;
};

}  // namespace fairlead::sim
