// What must hold over a whole cluster after every step, as code. Used by the tests of this folder and by the simulator.
//
//   - at most one leader in a term (3.2, election safety)
//   - what one member commits, no other commits differently (3.2, state machine safety)
//   - a leader has every entry that was committed before (3.2, leader completeness)
//   - two logs that agree on an entry agree on all before it (3.2, log matching)
//   - term, commit and applied never go backwards while a member runs; applied <= commit <= last; durable <= last;
//   - a vote that was told is never told otherwise, restarts included (said()).
//   - a member that starts again remembers the term, vote and log that it counted as durable
//
// Call check() after every step of a member, at the very least before it is stopped. Memory grows with the number of
// committed entries: meant for tests.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "server/raft/raft.h"

namespace fairlead::raft {

class Invariants {
 public:
  // Members that run now, in any order. Empty if all is well, else the first broken rule in words.
  std::string check(const std::vector<const Raft*>& members);
  // A message left a member.
  std::string said(const Message& message);
  // This member lost its memory; what it told or wrote before still binds it.
  void restarted(MemberId member) { seen_.erase(member); }
  // This member lost its disk, or got an older one: on purpose, as a fault.
  void disk_replaced(MemberId member) {
    restarted(member);
    durable_.erase(member);
  }
  Index max_committed() const { return committed_.empty() ? Index() : committed_.rbegin()->first; }

 private:
  struct Seen {
    Term term;
    Index commit;
    Index applied;
  };
  struct Durable {
    HardState hard;
    Index last;
    Term last_term;
    Index applied;
  };
  std::string check_alone(const Raft& member);
  std::string check_memory(const Raft& member);
  std::string check_leader(const Raft& leader);
  std::string check_commits(const Raft& member);
  static std::string check_matching(const Raft& a, const Raft& b);

  std::map<MemberId, Seen> seen_;
  std::map<MemberId, Durable> durable_;
  std::map<Term, MemberId> leaders_;
  std::map<std::pair<MemberId, Term>, MemberId> votes_;  // those that were told to others
  std::map<Index, Term> committed_;
};

}  // namespace fairlead::raft
