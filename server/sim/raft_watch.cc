#include "server/sim/raft_watch.h"

#include <vector>

namespace fairlead::sim {

RaftWatch::RaftWatch(Cluster* cluster) : cluster_(cluster) {
  cluster_->on_message = [this](const raft::Message& message) { note(invariants_.said(message)); };
  // What it counted as durable just before its end binds its next life.
  cluster_->on_ending = [this](size_t member, node::Node& node) {
    ids_[member] = node.member_id();
    note(invariants_.check({&node.raft()}));
    invariants_.restarted(node.member_id());
  };
}

const std::string& RaftWatch::check() {
  std::vector<const raft::Raft*> running;
  for (size_t m = 0; m < kMachines; ++m) {
    if (cluster_->node(m) != nullptr) running.push_back(&cluster_->node(m)->raft());
  }
  ++checks_;
  note(invariants_.check(running));
  return broken_;
}

void RaftWatch::disk_wiped(size_t member) { invariants_.disk_replaced(ids_[member]); }

}  // namespace fairlead::sim
