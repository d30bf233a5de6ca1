#include "server/sim/simulation.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <vector>

#include "base/planted.h"
#include "server/sim/checker.h"
#include "server/sim/disk_trouble.h"
#include "server/sim/guests.h"
#include "server/sim/nemesis.h"
#include "server/sim/outside.h"
#include "server/sim/raft_watch.h"
#include "server/sim/watcher.h"
#include "server/sim/workload.h"

namespace fairlead::sim {
namespace {

using io::kMillisecond;
using io::kSecond;

constexpr int kOuterWatchers = 6;
constexpr Nanos kStep = 50 * kMillisecond;
constexpr Nanos kRaftStep = 5 * kMillisecond;  // from one look at Raft's invariants to the next

class Simulation {
 public:
  Simulation(uint64_t seed, bool trace)
      : trace_(trace),
        cluster_(seed, choose_config(seed), &result_.counters),
        raft_watch_(&cluster_),
        with_wipe_(io::sim::Prng(seed ^ 0x77).chance(0.15) || PLANTED(kAmnesiacVoter)),
        nemesis_(&cluster_, &result_.counters, with_wipe_),
        disks_(&cluster_, &result_.counters, !with_wipe_ && with_disk_trouble(seed)),
        guests_(&cluster_, &result_.counters, with_guests(seed) && !with_wipe_ && !with_disk_trouble(seed)),
        workload_(&cluster_, &history_, &result_.counters, choose_workload(seed)) {
    guests_.trace = trace;
    guests_.on_wrong = [this](const std::string& what) { wrong(what); };
    cluster_.trace = nemesis_.trace = disks_.trace = workload_.trace = trace;
    workload_.on_wrong = [this](std::string what) { wrong(std::move(what)); };
    history_.clock_error_max = static_cast<double>(kDriftPpmMax) / 1e6;
    if (trace) cluster_.world().set_log(io::LogLevel::kDebug, true);
    nemesis_.on_wiped = [this](size_t member) { raft_watch_.disk_wiped(member); };
    cluster_.on_gave_up = [this](const Cluster::GaveUp& g) { gave_up(g); };
    cluster_.on_ended = [this](size_t member, io::sim::End) {
      if (Guests::is_guest(member)) return guests_.ended(member);
      for (auto& w : watchers_) w->member_ended(member);
      nemesis_.member_ended(member);
    };
    cluster_.on_opened = [this](size_t member, node::Node& node) {
      raft_watch_.opened(node);
      if (Guests::is_guest(member)) return;
      for (auto& w : watchers_) {
        if (w->log().inside && w->attached_to() < 0 && inner_member(*w) == member) w->attach(member);
      }
    };
  }

  SeedResult run() {
    for (auto phase : {&Simulation::form, &Simulation::trouble, &Simulation::recover, &Simulation::settle}) {
      (this->*phase)();
      if (!result_.wrong.empty()) break;
    }
    finish();
    return std::move(result_);
  }

 private:
  static bool with_disk_trouble(uint64_t seed) {
    return io::sim::Prng(seed ^ 0xD15C).chance(0.3) || PLANTED(kServeDamaged);
  }
  static bool with_guests(uint64_t seed) { return io::sim::Prng(seed ^ 0x6E57).chance(0.5); }
  static bool with_lease_checkpoints(uint64_t seed) {
    return io::sim::Prng(seed ^ 0x1EA5E).chance(0.5) || PLANTED(kLeaseRestKept);
  }
  static bool through_bytes(uint64_t seed) { return io::sim::Prng(seed ^ 0xB17E5).chance(0.25); }
  static ClusterConfig choose_config(uint64_t seed) {
    io::sim::Prng prng(seed ^ 0xC0F16);
    ClusterConfig c;
    c.heartbeat = prng.between(20, 100) * kMillisecond;
    c.election = c.heartbeat * prng.between(5, 10);
    c.checkpoint_tail_bytes = prng.chance(0.2) ? 4 << 10 : 32 << 20;
    c.checkpoint_log_bytes = size_t{32 << 10} << prng.below(4);
    c.checkpoint_interval = prng.between(500, 20000) * kMillisecond;
    c.log_first_segment_bytes = size_t{32 << 10} << prng.below(3);
    c.log_segment_bytes = size_t{64 << 10} << prng.below(3);
    c.log_keep_bytes = prng.chance(0.5) ? 0 : size_t{16 << 10} << prng.below(4);
    c.value_cache_bytes = size_t{1 << 10} << prng.below(10);
    c.watch_progress_interval = prng.between(1, 10) * kSecond;
    if (with_lease_checkpoints(seed))
      c.lease_checkpoint_interval = io::sim::Prng(seed ^ 0x1EA5E1).between(300, 2500) * kMillisecond;
    if (io::sim::Prng log(seed ^ 0xCA7C4); log.chance(0.3)) c.catchup_entries = uint64_t{8} << log.below(6);
    io::sim::Prng extra(seed ^ 0xD21F7);
    c.strict_reconfig_check = io::sim::Prng(seed ^ 0x57A1C7).chance(0.3);
    if (extra.chance(0.5)) {
      for (int64_t& drift : c.drift_ppm) drift = extra.between(-kDriftPpmMax, kDriftPpmMax);
    }
    c.front_door = through_bytes(seed);
    c.cleaner.dead_bytes_min = uint64_t{128} << prng.below(8);
    c.cleaner.dead_percent_min = static_cast<uint64_t>(prng.between(1, 30));
    c.cleaner.join_segments_min = static_cast<size_t>(prng.between(2, 10));
    c.cleaner.piece_bytes = size_t{256} << prng.below(8);
    c.cleaner.bytes_per_second_min = uint64_t{4 << 10} << prng.below(10);
    c.cleaner.look_interval = prng.between(50, 2000) * kMillisecond;
    c.cleaner.manifest_interval = prng.between(0, 1000) * kMillisecond;
    if (prng.chance(0.5)) c.corrupt_check_interval = prng.between(500, 5000) * kMillisecond;
    // Room for all that can be alive at once and for some history: compaction makes room again.
    WorkloadConfig w = choose_workload(seed);
    if (prng.chance(0.5)) c.free_space_floor_bytes = uint64_t{8 << 10} << prng.below(6);
    if (prng.chance(0.3)) c.quota_bytes = static_cast<int64_t>((w.keys + 20) * (w.value_bytes_max + 400)) * 2;
    return c;
  }
  static WorkloadConfig choose_workload(uint64_t seed) {
    io::sim::Prng prng(seed ^ 0x3090AD);
    WorkloadConfig w;
    w.clients = static_cast<uint32_t>(prng.between(4, 10));
    w.keys = static_cast<uint32_t>(prng.between(3, 20));
    w.think = prng.between(40, 200) * kMillisecond;
    w.timeout = prng.between(1000, 8000) * kMillisecond;
    w.loss = prng.chance(0.5) ? 0.03 * prng.unit() : 0;
    w.value_bytes_max = size_t{16} << prng.below(9);
    w.compact_every = prng.between(2, 15) * kSecond;
    if (with_lease_checkpoints(seed)) {  // long enough to be checkpointed, and seldom enough renewed
      w.leases = 10;
      w.ttl_max = 14;
    }
    w.users = !through_bytes(seed) && io::sim::Prng(seed ^ 0xA0778).chance(0.35);
    if (through_bytes(seed)) w.byte_clients = 1 + static_cast<uint32_t>(prng.below(w.clients));
    return w;
  }

  void wrong(std::string what) {
    if (!result_.wrong.empty()) return;
    result_.wrong = "at " + std::to_string(static_cast<double>(cluster_.now()) / 1e9) + " s: " + std::move(what);
  }

  size_t inner_member(const Watcher& w) const { return static_cast<size_t>(w.log().id - 1); }
  bool in_service(size_t member) { return !nemesis_.gone_for_good(member); }

  void gave_up(const Cluster::GaveUp& g) {
    if (Guests::is_guest(g.member)) return guests_.gave_up(g);
    // A member whose disk was wiped must be refused; a failed sync must end the process. Nothing else may.
    bool failed_sync = g.why.message().find("Input/output error") != std::string_view::npos;
    bool expected = nemesis_.gone_for_good(g.member) || failed_sync || disks_.explains(g.member, g.why);
    if (expected && disks_.is_damaged(g.member)) nemesis_.replace(g.member);
    if (!expected) wrong(Cluster::name(g.member) + " gave up: " + g.why.to_string());
  }

  // Runs until the condition holds; false if it does not within the time.
  template <typename Condition>
  bool wait(Nanos limit, Condition condition) {
    Nanos end = cluster_.now() + limit;
    while (!condition()) {
      if (cluster_.now() >= end || !result_.wrong.empty()) return false;
      step();
    }
    return true;
  }

  void step() {
    for (Nanos end = cluster_.now() + kStep; cluster_.now() < end;) {
      cluster_.world().run_for(kRaftStep);
      if (const std::string& broken = raft_watch_.check(); !broken.empty()) return wrong("Raft: " + broken);
    }
    if (cluster_.world().scheduler().events_run() > kEventsMax) wrong("too many events: something spins");
    if (++steps_ % 20 == 0) compare_members();
    if (steps_ % 4 == 0) reattach_watchers();
  }

  // Members at the same applied index hold the same state, at any time.
  void compare_members() {
    for (size_t a = 0; a < kMembers; ++a) {
      for (size_t b = a + 1; b < kMembers; ++b) {
        node::Node *x = cluster_.node(a), *y = cluster_.node(b);
        if (x == nullptr || y == nullptr || x->applied() != y->applied()) continue;
        if (x->state_hash() != y->state_hash()) {
          return wrong(Cluster::name(a) + " and " + Cluster::name(b) + " differ at applied index " +
                       std::to_string(x->applied().value));
        }
      }
    }
  }

  void reattach_watchers() {
    for (auto& w : watchers_) {
      if (w->log().inside) {
        if (w->attached_to() < 0 && cluster_.node(inner_member(*w)) != nullptr) w->attach(inner_member(*w));
      } else if (w->attached_to() < 0) {
        size_t member = cluster_.prng().below(kMembers);
        if (cluster_.node(member) != nullptr) w->attach(member);
      } else if (!nemesis_.calmed() && cluster_.prng().chance(0.02)) {
        w->detach();
      }
    }
  }

  void add_watcher(WatchLog log, int inner) {
    log.id = history_.watches.size() + 1;
    log.inside = inner >= 0;
    history_.watches.push_back(std::make_shared<WatchLog>(log));
    watchers_.push_back(
        std::make_unique<Watcher>(&cluster_, &history_, &result_.counters, history_.watches.back(), inner));
    watchers_.back()->damaged = [this](size_t member) { return disks_.is_damaged(member); };
  }

  void add_watchers() {
    WatchLog all;
    all.key = all.range_end = std::string(1, '\0');
    all.prev_kv = true;
    all.start = all.next = 2;
    for (size_t m = 0; m < kMembers; ++m) add_watcher(all, static_cast<int>(m));
    io::sim::Prng& prng = cluster_.prng();
    for (int i = 0; i < kOuterWatchers; ++i) {
      WatchLog log;
      log.key = "k" + std::to_string(100 + prng.below(8));
      if (prng.chance(0.3))
        log.range_end = "l";
      else if (prng.chance(0.3))
        log.range_end = "k" + std::to_string(108 + prng.below(10));
      log.prev_kv = prng.chance(0.5);
      log.no_put = prng.chance(0.1);
      log.no_delete = prng.chance(0.1);
      if (prng.chance(0.5)) log.start = log.next = prng.between(1, 3);
      add_watcher(log, -1);
    }
    reattach_watchers();
  }

  // The members find each other, and all know all.
  void form() {
    for (size_t m = 0; m < kMembers; ++m) cluster_.start(m);
    bool formed = wait(30 * kSecond, [&] {
      for (size_t m = 0; m < kMembers; ++m) {
        node::Node* node = cluster_.node(m);
        if (node == nullptr || !node->published()) return false;
        for (const auto& [id, member] : node->members()) {
          if (!member.started()) return false;
        }
      }
      return true;
    });
    if (!formed) wrong("the members formed no cluster");
  }

  void trouble() {
    add_watchers();
    workload_.start();
    nemesis_.start();
    disks_.start();
    guests_.start();
    constexpr Nanos kLongest = 600 * kSecond;
    bool enough = wait(kLongest, [&] {
      return cluster_.now() >= (kSeedSeconds - 8) * kSecond && workload_.ops_asked() >= kSeedOps &&
             result_.counters.faults() >= kSeedFaults;
    });
    if (!enough) wrong("not enough happened");
  }

  // Faults stop: soon every member in service serves writes again, and leases that nobody renews end.
  void recover() {
    nemesis_.calm();
    disks_.calm();
    guests_.calm();
    for (size_t m = 0; m < kMembers; ++m) {
      if (disks_.is_damaged(m)) nemesis_.replace(m);  // as an operator would: it has lost what others still have
    }
    cluster_.lift_quota();  // compaction may be too slow for a quota this small; the alarm has to end by itself now
    workload_.stop_losses();
    bool everybody_in_service = true;
    for (size_t m = 0; m < kMembers; ++m) everybody_in_service &= in_service(m);
    if (everybody_in_service && !wait(90 * kSecond, [&] { return guests_.all_gone(); }))
      wrong("guests cannot be sent away, long after faults have stopped");
    wait(std::max(6 * kSecond, kSeedSeconds * kSecond - cluster_.now()), [] { return false; });
    nobody_accused();
    for (size_t m = 0; m < kMembers; ++m) {
      if (!in_service(m)) continue;
      bool served = false;
      bool asked = false;
      wait(30 * kSecond, [&] {
        if (!asked) {
          asked = true;
          workload_.probe(m, [&served, &asked](bool ok) {
            served |= ok;
            asked = false;
          });
        }
        return served;
      });
      wait(20 * kSecond, [&] { return !asked; });  // the callback refers to this frame
      if (!served) wrong(Cluster::name(m) + " serves no writes, long after faults have stopped");
    }
    workload_.stop();
    if (!wait(30 * kSecond, [&] { return workload_.idle(); })) wrong("operations never end");
  }

  // No fault here changes data unseen: damage is refused by its checksum. Whoever is said to differ does not.
  void nobody_accused() {
    for (size_t m = 0; m < kMembers; ++m) {
      const node::Node* node = cluster_.node(m);
      if (node == nullptr) continue;
      for (const node::Alarm& alarm : node->alarms().all())
        if (alarm.type == node::AlarmType::kCorrupt) wrong("the alarm CORRUPT stands at " + Cluster::name(m));
    }
  }

  void settle() {
    auto leases_over = [&] {
      for (size_t m = 0; m < kMembers; ++m) {
        node::Node* node = cluster_.node(m);
        if (in_service(m) && (node == nullptr || !node->keyspace().leases().empty())) return false;
      }
      return true;
    };
    if (!wait(60 * kSecond, leases_over)) wrong("leases that nobody renews do not end");
    auto agreed = [&] {
      const node::Node* first = nullptr;
      for (size_t m = 0; m < kMembers; ++m) {
        if (!in_service(m)) continue;
        const node::Node* node = cluster_.node(m);
        if (node == nullptr || (first != nullptr && node->applied() != first->applied())) return false;
        first = node;
      }
      return true;
    };
    if (!wait(30 * kSecond, agreed)) wrong("members do not come to the same applied index");
    compare_members();
    compare_hashes();
    wait(30 * kSecond, [&] { return watchers_caught_up(); });  // who is not is the judge's to name
    read_finals();
  }

  // What is on the disks, read back and hashed, is the same too.
  void compare_hashes() {
    size_t wanted = 0;
    std::map<uint32_t, std::string> hashes;
    size_t answers = 0;
    for (size_t m = 0; m < kMembers; ++m) {
      if (!in_service(m)) continue;
      ++wanted;
      cluster_.in_turn(m, [this, m, &hashes, &answers](node::Node& node) {
        node.hash_kv(0, [this, m, &hashes, &answers](const Status& status, const node::HashReply& reply) {
          ++answers;
          if (!status.is_ok()) return wrong("a hash fails: " + status.to_string());
          hashes[reply.kv.hash] += Cluster::name(m) + " ";
        });
      });
    }
    if (!wait(60 * kSecond, [&] { return answers == wanted; })) wrong("hashes are not answered");
    if (hashes.size() > 1) wrong("hashes differ: " + hashes.begin()->second + "from the others");
  }

  bool watchers_caught_up() {
    int64_t last = 1;
    for (size_t m = 0; m < kMembers; ++m) {
      if (cluster_.node(m) != nullptr) last = std::max(last, cluster_.node(m)->keyspace().revision());
    }
    for (auto& w : watchers_) {
      if (w->log().inside && !w->caught_up(last)) return false;
    }
    // The others need not have seen the last revisions: their ranges may not hold them. A little longer for them.
    return ++calm_steps_ > 40;
  }

  void read_finals() {
    size_t wanted = 0;
    for (size_t m = 0; m < kMembers; ++m) {
      if (!in_service(m)) continue;
      ++wanted;
      cluster_.in_turn(m, [this, m](node::Node& node) {
        static constexpr char kZero[1] = {0};
        mvcc::RangeRequest request;
        request.key = std::string_view(kZero, 1);
        request.range_end = std::string_view(kZero, 1);
        request.serializable = true;
        node.range(node::Caller::cluster(), Bytes(), request,
                   [this, m](const Status& status, const mvcc::RangeResult* range) {
                     if (!status.is_ok()) return wrong("a last read fails: " + status.to_string());
                     History::Final final{Cluster::name(m), range->revision, {}};
                     for (const auto& kv : range->kvs.items) {
                       final.kvs.push_back({std::string(kv.key), std::string(kv.value), kv.create_revision,
                                            kv.mod_revision, kv.version, kv.lease});
                     }
                     history_.finals.push_back(std::move(final));
                   });
      });
    }
    if (!wait(20 * kSecond, [&] { return history_.finals.size() == wanted; })) wrong("last reads are not answered");
  }

  void finish() {
    result_.simulated_seconds = static_cast<double>(cluster_.now()) / 1e9;
    for (size_t m = 0; m < kMachines; ++m) cluster_.end(m, io::sim::End::kKill);
    for (auto& log : history_.watches) log->cut_off = log->inside && nemesis_.gone_for_good(log->id - 1);
    // What the members did wrong comes first; a history that ends early cannot be judged as if it were whole.
    if (result_.wrong.empty()) result_.wrong = check_history(history_);
    result_.hash = cluster_.world().scheduler().trace_hash();
    result_.events = cluster_.world().scheduler().events_run();
  }

  bool trace_;
  SeedResult result_;
  History history_;
  std::vector<std::unique_ptr<Watcher>> watchers_;
  Cluster cluster_;
  RaftWatch raft_watch_;
  bool with_wipe_;
  Nemesis nemesis_;
  DiskTrouble disks_;
  Guests guests_;
  Workload workload_;
  uint64_t steps_ = 0;
  int calm_steps_ = 0;
};

}  // namespace

SeedResult run_seed(uint64_t seed, bool trace) {
  NoOutside guard;
  SeedResult result = Simulation(seed, trace).run();
  if (result.wrong.empty() && NoOutside::calls() > 0)
    result.wrong = "something asked the system and not the simulation: " + NoOutside::first_call();
  return result;
}

}  // namespace fairlead::sim
