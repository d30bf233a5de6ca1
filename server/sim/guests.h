// Members that come and go: machines beside the founding three. Each is added to the running cluster, as a learner or
// at once as a voter, joins with an empty disk by what a member tells it, is promoted, dies and comes back, and is
// removed; then its disk is wiped and it comes again as somebody else. All of it while the nemesis is at work, so that
// many a change has an unknown outcome: what is true is read from the members.
//
// Invariant: nothing that a removed member says reaches a member that has applied its removal.
#pragma once

#include <array>
#include <functional>
#include <set>
#include <string>

#include "server/sim/cluster.h"

namespace fairlead::sim {

class Guests {
 public:
  Guests(Cluster* cluster, Counters* counters, bool invited);

  void start();
  void calm();      // they are sent away
  bool all_gone();  // and the founders know it
  void ended(size_t machine);
  void gave_up(const Cluster::GaveUp& g);
  static bool is_guest(size_t machine) { return machine >= kMembers; }

  std::function<void(const std::string&)> on_wrong;
  bool trace = false;

 private:
  struct Guest {
    MemberId id;          // as a member; 0 = not known to be one
    bool asking = false;  // a change is under way
    bool joined = false;  // its process was started under this id
    uint64_t generation = 0;
  };

  void plan_next();
  void act(size_t machine);
  void look(size_t machine);
  void invite(size_t machine, const node::Node& host);
  void clear(size_t machine);
  void change(size_t machine, node::MemberChange change);
  node::Node* best_founder();
  void say(const std::string& what) const;

  Cluster* cluster_;
  Counters* counters_;
  io::sim::Prng prng_;
  bool invited_;
  bool calm_ = false;
  std::array<Guest, kGuests> guests_;
  std::set<MemberId> gone_;  // ids of removed guests that were cleared away
};

}  // namespace fairlead::sim
