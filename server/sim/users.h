// Users and rights in the workload. An administrator switches authentication on; then gives the user `low` rights to a
// few keys, takes them away, changes other things, again and again. Some clients act as `low`, the others as root.
//
// What is judged, besides that members stay equal:
//   - low never reads or changes a key that nobody ever gave it;
//   - from the moment a loss of rights is acknowledged until new ones are asked for, nothing of the kind succeeds that
//     low asks for after it.
// Serializable reads of a member that is behind are not judged: they are answered by the rights of then.
//
// An attempt of unknown outcome may take effect later. So each period of rights has a role of its own, whose name is
// never used again once it is gone or its making is in doubt: nothing that comes late can bring rights back.
#pragma once

#include <functional>
#include <string>

#include "server/sim/cluster.h"
#include "server/sim/history.h"

namespace fairlead::sim {

class Users {
 public:
  Users(Cluster* cluster, Counters* counters, uint64_t keys);

  void start();
  void stop() { running_ = false; }
  // In whose name this client asks, at this member, now.
  node::Caller caller(node::Node& node, const Op& op) const;
  // Looks at an answer of low's; empty, or what is wrong with it.
  std::string judge(const Op& op);

  static bool is_low(uint32_t client) { return client == 2 || client == 5; }

 private:
  using Kind = mvcc::AuthChange::Kind;
  struct Change {
    mvcc::AuthChange change;
    bool grants_read = false, grants_write = false;  // takes effect with this
    bool ends_rights = false;
    bool unsure_is_over = false;  // of unknown outcome: not tried again, a new period begins
  };

  void next();
  void make_period();
  void ask(const Change& change);
  void answered(uint64_t attempt, const Change& change, const Status& status);
  void later(io::Nanos delay);
  static mvcc::AuthChange change_of(Kind kind, std::string name, std::string role = "");
  std::string check(const Op& op) const;

  Cluster* cluster_;
  Counters* counters_;
  io::sim::Prng prng_;
  std::string area_begin_, area_end_;  // all that low may ever get
  bool running_ = false;
  io::Nanos enabled_since_ = -1;  // known to be on
  uint64_t period_ = 0;
  uint64_t attempt_ = 0;
  std::deque<Change> plan_;
  io::Nanos no_read_since_ = 0;  // -1: low may have the right
  io::Nanos no_write_since_ = 0;
};

}  // namespace fairlead::sim
