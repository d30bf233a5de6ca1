// Raft's own invariants (server/raft/invariants.h) over the members of a simulated cluster: after every few
// milliseconds, at each end of a process, and for every message that reaches a member.
#pragma once

#include <array>
#include <string>

#include "server/raft/invariants.h"
#include "server/sim/cluster.h"

namespace fairlead::sim {

class RaftWatch {
 public:
  explicit RaftWatch(Cluster* cluster);
  // Empty if all is well so far, else the first broken rule in words. Stays as it is then.
  const std::string& check();
  // A start: what it remembers is judged before a leader can tell it to replace something.
  void opened(const node::Node& node) { note(invariants_.check({&node.raft()})); }
  void disk_wiped(size_t member);
  uint64_t checks() const { return checks_; }

 private:
  void note(std::string broken) {
    if (broken_.empty()) broken_ = std::move(broken);
  }
  Cluster* cluster_;
  raft::Invariants invariants_;
  std::string broken_;
  std::array<MemberId, kMachines> ids_{};
  uint64_t checks_ = 0;
};

}  // namespace fairlead::sim
