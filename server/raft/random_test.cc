// A cluster under random delays, losses, repetitions, crashes, cuts, slow disks and slow apply, many seeds. Invariants
// are checked after every call; at the end the world is healed and the cluster must make progress and agree.
//
//   RAFT_SEEDS=n   number of seeds (default 100); RAFT_SEED=s   only this one; RAFT_TRACE=1   print every step
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "base/check.h"
#include "base/planted.h"
#include "server/raft/cluster_for_test.h"

namespace fairlead::raft {
namespace {

struct Counters {
  uint64_t elections = 0, commits = 0, crashes = 0, snapshots = 0, reads = 0, configs = 0, transfers = 0, forwards = 0,
           old_entries = 0, seeds = 0;
};

class RandomRun {
 public:
  RandomRun(uint64_t seed, Counters& counters) : random_(seed), counters_(counters) {
    cluster_.seed = seed;
    if (std::getenv("RAFT_TRACE")) cluster_.log = [](const std::string& line) { std::puts(line.c_str()); };
    cluster_.options.message_bytes_max = 200;
    cluster_.options.inflight_messages_max = 4;
    cluster_.options.inflight_bytes_max = 600;
    cluster_.options.apply_bytes_max = 300;
    cluster_.options.memory_bytes_max = 400;
    cluster_.options.uncommitted_bytes_max = 4000;
    draw_weights();
    reorder_ = below(60);
    Configuration config;
    size_t size = 1 + below(5);
    for (size_t i = 1; i <= size; ++i) config.voters.push_back(MemberId(i));
    for (size_t i = 1; i <= kMembers; ++i)
      cluster_.add(MemberId(i), config.is_voter(MemberId(i)) ? config : Configuration{}, i > size && chance(50));
  }

  void run(int steps) {
    run_wild(steps);
    heal_and_converge();
  }
  void run_wild(int steps) {
    for (int i = 0; i < steps; ++i) step();
  }

 private:
  static constexpr size_t kMembers = 6;

  uint64_t below(uint64_t n) { return random_() % n; }
  bool chance(uint64_t percent) { return below(100) < percent; }
  MemberId any() { return MemberId(1 + below(kMembers)); }

  // What happens how often differs from seed to seed: a world with everything at once never gets far.
  struct Weights {
    uint64_t tick, ready, network, write, apply, propose, read, config, transfer, housekeeping, crash, cut, stall, slow,
        loss;
  };

  void draw_weights() {
    auto up_to = [&](uint64_t n) { return chance(30) ? 0 : below(n + 1); };
    w_ = {60 + below(100), 400,       600,      200,      150,      20 + below(60), up_to(30), up_to(6),
          up_to(3),        up_to(20), up_to(4), up_to(6), up_to(1), 30 + below(40), up_to(8)};
  }

  void step() {
    MemberId id = any();
    if (!cluster_.is_up(id)) {
      if (chance(5)) cluster_.start(id);
      return;
    }
    uint64_t total = 0;
    for (const uint64_t* w = &w_.tick; w <= &w_.slow; ++w) total += *w;
    uint64_t at = below(total);
    auto hit = [&](uint64_t weight) {
      bool is_hit = at < weight;
      at -= is_hit ? 0 : weight;
      return is_hit;
    };
    if (hit(w_.tick)) return cluster_.raft(id).tick();
    if (hit(w_.ready)) return void(cluster_.ready(id));
    if (hit(w_.network)) return network();
    if (hit(w_.write)) return void(cluster_.complete_write(id));
    if (hit(w_.apply)) return void(cluster_.apply(id, 1 + below(6)));
    if (hit(w_.propose)) return propose(id);
    if (hit(w_.read)) return cluster_.read(id);
    if (hit(w_.config)) return propose_config(cluster_.leader() ? cluster_.leader() : id);
    if (hit(w_.transfer)) return transfer(cluster_.leader() ? cluster_.leader() : id);
    if (hit(w_.housekeeping)) return housekeeping(id);
    if (hit(w_.crash)) return crash(id);
    if (hit(w_.cut)) return cut();
    if (hit(w_.stall)) return cluster_.raft(id).stalled();
    counters_.old_entries += cluster_.answer_read_log(id);
    cluster_.send_snapshot(id);
    if (chance(20)) counters_.snapshots += cluster_.finish_install(id);
  }

  void transfer(MemberId id) {
    counters_.transfers += cluster_.raft(id).transfer_leader(any()).is_ok();
    cluster_.check();
  }

  void network() {
    size_t n = cluster_.net().size();
    if (n == 0) return;
    if (n > 300) {
      cluster_.net().erase(cluster_.net().begin(), cluster_.net().begin() + 100);
      return;
    }
    size_t position = chance(reorder_) ? below(n) : 0;
    if (chance(w_.loss)) {
      cluster_.net().erase(cluster_.net().begin() + static_cast<ptrdiff_t>(position));
    } else {
      cluster_.deliver(position, chance(w_.loss));
    }
  }

  void propose(MemberId id) {
    std::vector<Bytes> data;
    for (size_t n = 1 + below(3); n > 0; --n)
      data.push_back(Bytes::copy("v" + std::to_string(++value_) + std::string(below(60), '.')));
    if (cluster_.raft(id).is_leader()) {
      (void)cluster_.raft(id).propose(std::move(data));
    } else {
      counters_.forwards += cluster_.raft(id).forward(std::move(data)).is_ok();
    }
    cluster_.check();
  }

  void propose_config(MemberId id) {
    Configuration next = cluster_.raft(id).config();
    // What a newcomer starts from is there first: see Raft::propose_config().
    for (MemberId voter : next.voters) {
      if (cluster_.is_up(voter)) cluster_.checkpoint(voter);
      if (!cluster_.member(voter).disk.checkpoint) return;
    }
    MemberId target = any();
    auto remove = [&](std::vector<MemberId>& ids) { return std::erase(ids, target) > 0; };
    auto insert = [&](std::vector<MemberId>& ids) {
      ids.insert(std::upper_bound(ids.begin(), ids.end(), target), target);
    };
    if (next.is_learner(target)) {
      remove(next.learners);
      if (chance(70)) insert(next.voters);
    } else if (next.is_voter(target)) {
      remove(next.voters);
    } else {
      insert(chance(50) ? next.voters : next.learners);
    }
    counters_.configs += cluster_.raft(id).propose_config(next, Bytes()).is_ok();
    cluster_.check();
  }

  void housekeeping(MemberId id) {
    cluster_.checkpoint(id);
    Index upto = cluster_.member(id).disk.checkpoint;
    if (chance(50) && upto.value > 3) cluster_.compact(id, upto - below(4));
  }

  void crash(MemberId id) {
    ++counters_.crashes;
    cluster_.crash(id);
    for (MemberId other : cluster_.ids()) {
      if (other != id && cluster_.is_up(other) && chance(50)) cluster_.raft(other).connected(id, false);
    }
  }

  void cut() {
    if (chance(40)) return cluster_.heal();
    MemberId a = any(), b = any();
    if (a != b) cluster_.cut(a, b);
  }

  void heal_and_converge() {
    cluster_.heal();
    std::vector<MemberId> all = cluster_.ids();
    for (MemberId id : all) {
      if (!cluster_.is_up(id)) cluster_.start(id);
    }
    auto rounds = [&](int n) {
      for (int i = 0; i < n; ++i) {
        for (MemberId id : all) cluster_.raft(id).tick();
        cluster_.stabilize(all);
      }
    };
    rounds(80);
    MemberId leader = cluster_.leader();
    ASSERT_TRUE(leader) << "no leader after healing";
    counters_.elections += cluster_.raft(leader).term().value;
    auto proposed = cluster_.raft(leader).propose({Bytes::literal("last")});
    ASSERT_TRUE(proposed.ok());
    for (MemberId id : all) cluster_.read(id);
    rounds(12);
    Index last = proposed.first_index;
    counters_.commits += last.value;
    const Configuration& config = cluster_.raft(leader).config();
    for (MemberId id : all) {
      if (!config.contains(id)) continue;
      EXPECT_GE(cluster_.raft(id).applied_index(), last) << "member " << id.value << " did not catch up";
      EXPECT_TRUE(cluster_.member(id).reads.empty()) << "member " << id.value << " has reads without an answer";
      counters_.reads += cluster_.member(id).reads_ready.size();
    }
  }

  std::mt19937_64 random_;
  Counters& counters_;
  TestCluster cluster_;
  Weights w_;
  uint64_t reorder_ = 0;
  uint64_t value_ = 0;
};

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value ? std::strtoull(value, nullptr, 10) : otherwise;
}

TEST(RaftRandom, SafeAndLive) {
  Counters c;
  uint64_t only = from_environment("RAFT_SEED", 0);
  uint64_t seeds = from_environment("RAFT_SEEDS", 100);
  for (uint64_t seed = only ? only : 1; seed <= (only ? only : seeds); ++seed) {
    SCOPED_TRACE("RAFT_SEED=" + std::to_string(seed));
    try {
      RandomRun(seed, c).run(12000);
    } catch (const std::exception& broken) {
      ADD_FAILURE() << broken.what();
    }
    if (HasFailure()) break;
  }
  std::printf(
      "terms %llu, entries %llu, crashes %llu, snapshots %llu, reads %llu, configurations %llu, transfers %llu, "
      "forwarded %llu, reads of old entries %llu\n",
      (unsigned long long)c.elections, (unsigned long long)c.commits, (unsigned long long)c.crashes,
      (unsigned long long)c.snapshots, (unsigned long long)c.reads, (unsigned long long)c.configs,
      (unsigned long long)c.transfers, (unsigned long long)c.forwards, (unsigned long long)c.old_entries);
  if (only || HasFailure()) return;
  // A run in which something never happened proves nothing about it.
  for (uint64_t n :
       {c.elections, c.commits, c.crashes, c.snapshots, c.reads, c.configs, c.transfers, c.forwards, c.old_entries}) {
    EXPECT_GT(n, 0u);
  }
}

#ifdef FAIRLEAD_PLANTED
// That the test can fail: each bug that is planted in the core is noticed.
TEST(RaftRandom, FindsWhatIsPlanted) {
  CheckHandler throws = [](const char*, int, const char* condition, const char* message) {
    throw std::runtime_error(std::string(condition) + ": " + message);
  };
  for (PlantedBug bug : {PlantedBug::kAnswerBeforeDurable, PlantedBug::kVoteNotPersisted}) {
    planted_bug = bug;
    std::string found;
    uint64_t seed = 0;
    while (found.empty() && ++seed <= 2000) {
      Counters c;
      set_check_handler(throws);  // a handler serves once
      try {
        RandomRun(seed, c).run_wild(12000);
      } catch (const std::exception& broken) {
        found = broken.what();
      }
    }
    EXPECT_NE(found, "");
    std::printf("seed %llu: %s\n", (unsigned long long)seed, found.c_str());
  }
  planted_bug = PlantedBug::kNone;
  set_check_handler(nullptr);
}
#endif

}  // namespace
}  // namespace fairlead::raft
