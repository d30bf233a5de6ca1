#include "server/sim/nemesis.h"

#include <cstdio>

namespace fairlead::sim {

using io::kMillisecond;
using io::kSecond;
using io::sim::End;

Nemesis::Nemesis(Cluster* cluster, Counters* counters, bool with_wipe)
    : cluster_(cluster), counters_(counters), prng_(cluster->prng().fork(33)), with_wipe_(with_wipe) {}

void Nemesis::start() { plan_next(); }

void Nemesis::say(const std::string& what) const {
  cluster_->world().scheduler().mix(what);
  if (trace) std::fprintf(stderr, "%.6f nemesis: %s\n", static_cast<double>(cluster_->now()) / 1e9, what.c_str());
}

void Nemesis::plan_next() {
  cluster_->world().scheduler().after(prng_.between(200, 2500) * kMillisecond, nullptr, "nemesis", [this] {
    if (calm_) return;
    act();
    plan_next();
  });
}

void Nemesis::act() {
  switch (prng_.below(20)) {
    case 0:
    case 1:
    case 2:
      return end_one();
    case 3:
      return end_all();
    case 4:
    case 5:
      return crash_point();
    case 6:
    case 7:
    case 8:
      return partition();
    case 9:
    case 10:
      return heal();
    case 11:
      return clog();
    case 12:
      return reset();
    case 13:
      return pause();
    case 14:
      return slow_disk();
    case 15:
      return transfer();
    case 16:
      return storm();
    case 17:
      return isolate_long();
    case 18:
      return disturb_messages();
    default:
      if (with_wipe_ && !wiped_) return wipe();
      return end_one();
  }
}

size_t Nemesis::leader_or_any() {
  int leader = cluster_->leader();
  return leader >= 0 && prng_.chance(0.5) ? static_cast<size_t>(leader) : any();
}

void Nemesis::start_later(size_t member, io::Nanos low, io::Nanos high) {
  cluster_->world().scheduler().after(prng_.between(low, high), nullptr, "nemesis.start", [this, member] {
    if (!gone_[member]) cluster_->start(member);
  });
}

void Nemesis::member_ended(size_t member) {
  if (gone_[member]) return;
  if (calm_ || restarts_quick_)
    start_later(member, kMillisecond, 50 * kMillisecond);
  else if (prng_.chance(0.3))
    start_later(member, kMillisecond, 100 * kMillisecond);
  else
    start_later(member, 100 * kMillisecond, 6 * kSecond);
}

void Nemesis::end_one() {
  size_t member = leader_or_any();
  if (!cluster_->running(member)) return;
  uint64_t dice = prng_.below(5);
  if (dice == 0) {
    say("stop " + Cluster::name(member));
    ++counters_->kills;
    return cluster_->stop_orderly(member);
  }
  bool power = dice < 3;
  say((power ? "power cut " : "kill ") + Cluster::name(member));
  ++(power ? counters_->power_cuts : counters_->kills);
  cluster_->end(member, power ? End::kPowerCut : End::kKill);
}

void Nemesis::end_all() {
  say("power cut of all");
  for (size_t m = 0; m < kMembers; ++m) {
    if (!cluster_->running(m)) continue;
    ++counters_->power_cuts;
    cluster_->end(m, End::kPowerCut);
  }
}

void Nemesis::crash_point() {
  size_t member = leader_or_any();
  uint64_t n = 1 + prng_.below(prng_.chance(0.5) ? 10 : 200);
  say("crash point " + std::to_string(n) + " in " + Cluster::name(member));
  ++counters_->crash_points;
  cluster_->world().set_crash_point_end(prng_.chance(0.7) ? End::kPowerCut : End::kKill);
  cluster_->world().disk(cluster_->host(member)).crash_at_operation(n, prng_.chance(0.5));
}

void Nemesis::isolate(size_t member, bool incoming, bool outgoing) {
  for (size_t other = 0; other < kMembers; ++other) {
    if (other == member) continue;
    if (incoming) cluster_->world().set_link(cluster_->host(other), cluster_->host(member), false);
    if (outgoing) cluster_->world().set_link(cluster_->host(member), cluster_->host(other), false);
  }
}

void Nemesis::partition() {
  ++counters_->partitions;
  size_t member = leader_or_any();
  uint64_t dice = prng_.below(5);
  if (dice < 2) {
    say("isolate " + Cluster::name(member));
    isolate(member, true, true);
  } else if (dice == 2) {
    bool incoming = prng_.chance(0.5);
    say(std::string("isolate one way ") + (incoming ? "to " : "from ") + Cluster::name(member));
    isolate(member, incoming, !incoming);
  } else {  // two that see the third but not each other; one way or both
    size_t a = (member + 1) % kMembers, b = (member + 2) % kMembers;
    say("cut " + Cluster::name(a) + " from " + Cluster::name(b));
    cluster_->world().set_link(cluster_->host(a), cluster_->host(b), false);
    if (prng_.chance(0.7)) cluster_->world().set_link(cluster_->host(b), cluster_->host(a), false);
  }
  if (prng_.chance(0.7)) {
    cluster_->world().scheduler().after(prng_.between(100, 5000) * kMillisecond, nullptr, "nemesis.heal",
                                        [this] { heal(); });
  }
}

void Nemesis::heal() {
  say("heal");
  cluster_->world().heal_all_links();
}

void Nemesis::clog() {
  ++counters_->clogs;
  say("clog");
  // Link by link, in any order; they clear one by one later.
  for (size_t a = 0; a < kMembers; ++a) {
    for (size_t b = 0; b < kMembers; ++b) {
      if (a == b || !prng_.chance(0.5)) continue;
      cluster_->world().clog_link(cluster_->host(a), cluster_->host(b), prng_.between(1, 800) * kMillisecond);
      cluster_->world().scheduler().after(
          prng_.between(200, 4000) * kMillisecond, nullptr, "nemesis.unclog",
          [this, a, b] { cluster_->world().clog_link(cluster_->host(a), cluster_->host(b), 0); });
    }
  }
}

void Nemesis::reset() {
  ++counters_->resets;
  size_t a = any(), b = (a + 1 + prng_.below(kMembers - 1)) % kMembers;
  say("break connections of " + Cluster::name(a) + " and " + Cluster::name(b));
  cluster_->world().reset_connections(cluster_->host(a), cluster_->host(b));
}

void Nemesis::pause() {
  ++counters_->pauses;
  size_t member = leader_or_any();
  io::Nanos length = prng_.between(50, 4000) * kMillisecond;
  say("pause " + Cluster::name(member) + " for " + std::to_string(length / kMillisecond) + " ms");
  cluster_->world().pause(cluster_->host(member), length);
}

void Nemesis::slow_disk() {
  size_t member = leader_or_any();
  io::sim::DiskImage& disk = cluster_->world().disk(cluster_->host(member));
  if (prng_.chance(0.25)) {
    ++counters_->failed_syncs;
    say("failing sync on " + Cluster::name(member));
    disk.fail_next_sync(1);
    return;
  }
  ++counters_->slow_disks;
  disk.faults.slow_factor = static_cast<double>(prng_.between(10, 3000));
  say("slow disk of " + Cluster::name(member) + " x" + std::to_string(static_cast<int>(disk.faults.slow_factor)));
  cluster_->world().scheduler().after(prng_.between(200, 5000) * kMillisecond, nullptr, "nemesis.disk",
                                      [&disk] { disk.faults.slow_factor = 1; });
}

void Nemesis::transfer() {
  int leader = cluster_->leader();
  if (leader < 0) return;
  ++counters_->transfers;
  size_t to = (static_cast<size_t>(leader) + 1 + prng_.below(kMembers - 1)) % kMembers;
  node::Node* target = cluster_->node(to);
  if (target == nullptr) return;
  say("move leader to " + Cluster::name(to));
  cluster_->in_turn(static_cast<size_t>(leader), [id = target->member_id()](node::Node& node) {
    [[maybe_unused]] Status refused = node.transfer_leader(id);  // it may lead no more
  });
}

// Many short lives in a row: what was promised just before an end must hold just after it.
void Nemesis::storm() {
  say("storm");
  restarts_quick_ = true;
  uint64_t ends = 3 + prng_.below(8);
  io::Nanos at = 0;
  for (uint64_t i = 0; i < ends; ++i) {
    at += prng_.between(5, 400) * kMillisecond;
    cluster_->world().scheduler().after(at, nullptr, "nemesis.storm", [this] {
      if (calm_) return;
      size_t member = leader_or_any();
      if (!cluster_->running(member)) return;
      bool power = prng_.chance(0.5);
      ++(power ? counters_->power_cuts : counters_->kills);
      cluster_->end(member, power ? End::kPowerCut : End::kKill);
      if (prng_.chance(0.3))
        isolate(any(), true, true);
      else if (prng_.chance(0.5))
        heal();
    });
  }
  cluster_->world().scheduler().after(at + 100 * kMillisecond, nullptr, "nemesis.storm",
                                      [this] { restarts_quick_ = false; });
}

// Long enough that the others' logs go on without it: it will need a snapshot.
void Nemesis::isolate_long() {
  ++counters_->partitions;
  size_t member = any();
  say("isolate " + Cluster::name(member) + " for long");
  isolate(member, true, true);
  for (size_t m = 0; m < kMembers; ++m) {
    if (m == member) continue;
    for (int i = 1; i <= 3; ++i) {
      cluster_->world().scheduler().after(i * 2 * kSecond, nullptr, "nemesis.checkpoint", [this, m] {
        cluster_->in_turn(m, [](node::Node& node) { node.checkpoint_now(); });
      });
    }
  }
  cluster_->world().scheduler().after(8 * kSecond, nullptr, "nemesis.heal", [this] { heal(); });
}

void Nemesis::disturb_messages() {
  say("disturb messages");
  cluster_->message_loss = prng_.chance(0.5) ? 0.2 * prng_.unit() : 0;
  cluster_->message_repeat = 0.3 * prng_.unit();
  cluster_->message_delay = 0.3 * prng_.unit();
  cluster_->world().scheduler().after(prng_.between(500, 6000) * kMillisecond, nullptr, "nemesis.messages", [this] {
    cluster_->message_loss = cluster_->message_repeat = cluster_->message_delay = 0;
  });
}

// One follower behind, then the leader's machine dark and the other follower's disk gone: whoever lets the empty member
// vote loses what only the leader still has.
void Nemesis::wipe() {
  int leader = cluster_->leader();
  if (leader < 0) return;
  wiped_ = true;
  size_t a = static_cast<size_t>(leader), b = (a + 1) % kMembers, c = (a + 2) % kMembers;
  if (prng_.chance(0.5)) std::swap(b, c);
  heal();
  say("isolate " + Cluster::name(c) + ", then wipe " + Cluster::name(b));
  isolate(c, true, true);
  cluster_->world().scheduler().after(3 * kSecond, nullptr, "nemesis.wipe", [this, a, b] {
    if (calm_) return;
    ++counters_->wipes;
    ++counters_->power_cuts;
    say("wipe");
    gone_[b] = true;  // unless it is let in again, against the rules
    cluster_->end(a, End::kPowerCut);
    cluster_->end(b, End::kPowerCut);
    cluster_->world().disk(cluster_->host(b)).wipe();
    if (on_wiped) on_wiped(b);
    cluster_->world().disk(cluster_->host(b)).make_durable_dir("/vol");
    heal();
    cluster_->start(b);
  });
}

void Nemesis::replace(size_t member) {
  if (gone_[member]) return;
  say("take out " + Cluster::name(member));
  gone_[member] = true;
  cluster_->end(member, End::kKill);
}

void Nemesis::calm() {
  say("calm");
  calm_ = true;
  cluster_->world().heal_all_links();
  cluster_->message_loss = cluster_->message_repeat = cluster_->message_delay = 0;
  for (size_t m = 0; m < kMembers; ++m) {
    io::sim::DiskImage& disk = cluster_->world().disk(cluster_->host(m));
    disk.faults.slow_factor = 1;
    disk.crash_at_operation(0, false);
    disk.fail_next_sync(0);
    if (!gone_[m] && !cluster_->running(m)) cluster_->start(m);
  }
}

}  // namespace fairlead::sim
