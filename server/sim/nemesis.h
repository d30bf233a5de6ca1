// What goes wrong: ends of processes (killed, without power, at the n-th disk operation), partitions of any shape,
// clogged links, broken connections, pauses, slow disks, failing syncs, moved leaders; and, in some seeds, a machine
// that comes back with an empty disk. One thing at a time every second or so, on top of what still goes on.
#pragma once

#include <array>
#include <string>

#include "server/sim/cluster.h"

namespace fairlead::sim {

class Nemesis {
 public:
  Nemesis(Cluster* cluster, Counters* counters, bool with_wipe);

  void start();
  // Heals everything and lets nothing new go wrong; members that are down are started.
  void calm();
  bool gone_for_good(size_t member) const { return gone_[member]; }
  bool calmed() const { return calm_; }
  // Its machine is taken out, and the rest of the seed goes on without it.
  void replace(size_t member);
  void member_ended(size_t member);
  std::function<void(size_t member)> on_wiped;
  bool trace = false;

 private:
  void plan_next();
  void act();
  void say(const std::string& what) const;
  size_t any() { return prng_.below(kMembers); }
  size_t leader_or_any();

  void end_one();
  void end_all();
  void crash_point();
  void partition();
  void heal();
  void clog();
  void reset();
  void pause();
  void slow_disk();
  void transfer();
  void storm();
  void isolate_long();
  void disturb_messages();
  void wipe();
  void start_later(size_t member, io::Nanos low, io::Nanos high);
  void isolate(size_t member, bool incoming, bool outgoing);

  Cluster* cluster_;
  Counters* counters_;
  io::sim::Prng prng_;
  bool with_wipe_;
  bool wiped_ = false;
  bool calm_ = false;
  bool restarts_quick_ = false;
  std::array<bool, kMembers> gone_{};
};

}  // namespace fairlead::sim
