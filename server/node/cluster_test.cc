// Members that come and go, on simulated machines.
#include <gtest/gtest.h>

#include <array>

#include "server/node/cluster_for_test.h"

namespace fairlead::node {
namespace {

using io::kSecond;
using Kind = MemberChange::Kind;

struct Changed {
  Status status;
  MemberId id;
};

Changed change(TestCluster& cluster, size_t by, MemberChange what, io::Nanos time = 0) {
  Changed out;
  bool answered = false;
  io::Nanos deadline = time == 0 ? 0 : cluster.io(by).loop->now() + time;
  cluster.in_turn(by, [&](Node& n) {
    n.change_members(std::move(what), deadline, [&](const Status& status, const MemberChange* done) {
      answered = true;
      out.status = status;
      if (done) out.id = done->id;
    });
  });
  EXPECT_TRUE(cluster.wait([&] { return answered; })) << "every change is answered in time";
  return out;
}

MemberChange add(size_t member, bool learner = false) {
  MemberChange c;
  c.peer_urls = {"http://" + TestCluster::address(member) + ":2380"};
  c.is_learner = learner;
  return c;
}
MemberChange of(Kind kind, MemberId id) {
  MemberChange c;
  c.kind = kind;
  c.id = id;
  return c;
}

// The first `first` members are the cluster; the others' machines stand ready and join by what `asked` says.
class Growing {
 public:
  Growing(size_t machines, size_t first)
      : cluster(machines, [this, first](size_t m, Config& c) { tweak(m, c, first); }) {
    for (size_t m = 0; m < first; ++m) cluster.start(m);
    EXPECT_TRUE(cluster.wait([&] {
      for (size_t m = 0; m < first; ++m)
        if (!cluster.running(m) || !cluster.node(m).published()) return false;
      return true;
    }));
  }

  // As the real program does: it asks a member's page who is there.
  void join(size_t member, MemberId id, size_t asked) {
    Config::Join join;
    join.cluster = cluster.node(asked).cluster_id();
    join.member = id;
    join.members = cluster.node(asked).members_to_come();
    for (auto& [other, m] : join.members) m.store = StoreId();  // the page does not tell
    joins[member] = join;
    cluster.start(member);
  }
  bool serves(size_t member) {
    return cluster.wait([&] { return cluster.running(member) && cluster.node(member).published(); });
  }
  size_t grow(size_t by, size_t member) {
    Changed added;
    // Refused until the connections have held for a while.
    EXPECT_TRUE(cluster.wait([&] {
      added = change(cluster, by, add(member));
      return added.status.is_ok();
    })) << added.status.to_string();
    join(member, added.id, by);
    EXPECT_TRUE(serves(member)) << "member " << member;
    return member;
  }

  std::map<size_t, Config::Join> joins;
  bool strict = true;
  TestCluster cluster;

 private:
  void tweak(size_t member, Config& c, size_t first) {
    for (auto it = c.initial_cluster.begin(); it != c.initial_cluster.end();)
      it = std::stoul(it->first.substr(1)) > first ? c.initial_cluster.erase(it) : std::next(it);
    c.strict_reconfig_check = strict;
    if (!joins.contains(member)) return;
    c.initial_cluster_new = false;
    c.join = joins.at(member);
  }
};

TEST(Cluster, OneBecomesThreeAndOneAgain) {
  Growing g(3, 1);
  ASSERT_TRUE(g.cluster.put(0, "k", "1").is_ok());
  g.grow(0, 1);
  ASSERT_TRUE(g.cluster.put(1, "k", "2").is_ok());
  g.grow(1, 2);  // asked of a follower
  ASSERT_TRUE(g.cluster.put(2, "k", "3").is_ok());
  EXPECT_TRUE(g.cluster.wait([&] { return g.cluster.get_local(1, "k") == "3"; }));
  EXPECT_EQ(g.cluster.node(2).members().size(), 3u);
  EXPECT_TRUE(g.cluster.wait([&] { return g.cluster.node(0).state_hash() == g.cluster.node(2).state_hash(); }));

  ASSERT_TRUE(g.cluster.make_leader(0));
  g.cluster.run_for(6 * kSecond);
  for (size_t m : {2, 1}) {
    MemberId id = g.cluster.node(m).member_id();
    ASSERT_TRUE(change(g.cluster, 0, of(Kind::kRemove, id)).status.is_ok());
    EXPECT_TRUE(g.cluster.wait([&] { return !g.cluster.running(m); })) << "it does not stop";
    EXPECT_NE(g.cluster.fatal(m), "");
    EXPECT_EQ(change(g.cluster, 0, of(Kind::kRemove, id)).status, err_member_not_found());
  }
  ASSERT_TRUE(g.cluster.put(0, "k", "4").is_ok());
  EXPECT_EQ(g.cluster.node(0).members().size(), 1u);
  EXPECT_EQ(g.cluster.node(0).removed_members().size(), 2u);
  MemberId last = g.cluster.node(0).member_id();
  EXPECT_EQ(change(g.cluster, 0, of(Kind::kRemove, last)).status, err_not_enough_started());
}

// Between the addition and the start of the second member a single one is half of two: it must come back, and be found.
TEST(Cluster, ASingleMemberThatDiesBeforeTheSecondStarts) {
  Growing g(2, 1);
  Changed added = change(g.cluster, 0, add(1));
  ASSERT_TRUE(added.status.is_ok());
  g.cluster.kill(0);
  g.cluster.start(0);
  ASSERT_TRUE(g.cluster.wait([&] { return g.cluster.running(0); }));
  EXPECT_TRUE(g.cluster.node(0).members_to_come().contains(added.id));
  g.join(1, added.id, 0);
  EXPECT_TRUE(g.serves(1));
  EXPECT_TRUE(g.cluster.put(0, "k", "1").is_ok());
}

TEST(Cluster, ANewcomerThatDiesBeforeItHasAnythingGoesOn) {
  Growing g(2, 1);
  Changed added = change(g.cluster, 0, add(1));
  g.cluster.world().set_link(g.cluster.host(0), g.cluster.host(1), false);
  g.cluster.world().set_link(g.cluster.host(1), g.cluster.host(0), false);
  g.join(1, added.id, 0);
  g.cluster.run_for(2 * kSecond);
  g.cluster.kill(1);
  g.cluster.start(1);
  g.cluster.run_for(kSecond);
  g.cluster.isolate(1, false);
  EXPECT_TRUE(g.serves(1)) << g.cluster.fatal(1);
}

TEST(Cluster, ALearnerIsPromotedWhenItHasCaughtUp) {
  Growing g(2, 1);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(g.cluster.put(0, "k" + std::to_string(i), "1").is_ok());
  Changed added = change(g.cluster, 0, add(1, true));
  ASSERT_TRUE(added.status.is_ok());
  EXPECT_EQ(change(g.cluster, 0, add(5, true)).status, err_too_many_learners());
  EXPECT_EQ(change(g.cluster, 0, of(Kind::kPromote, added.id)).status, err_learner_not_ready());
  EXPECT_TRUE(g.cluster.put(0, "alone", "1").is_ok()) << "a learner counts for nothing";
  g.join(1, added.id, 0);
  ASSERT_TRUE(g.serves(1));
  EXPECT_TRUE(g.cluster.node(1).is_learner());
  // Asked of the learner itself: the leader knows.
  Changed promoted;
  EXPECT_TRUE(g.cluster.wait([&] {
    promoted = change(g.cluster, 1, of(Kind::kPromote, added.id));
    return promoted.status.is_ok();
  })) << promoted.status.to_string();
  EXPECT_FALSE(g.cluster.node(1).is_learner());
  EXPECT_EQ(change(g.cluster, 0, of(Kind::kPromote, added.id)).status, err_not_a_learner());
  EXPECT_EQ(change(g.cluster, 0, of(Kind::kPromote, MemberId(1))).status, err_member_not_found());
  ASSERT_TRUE(g.cluster.make_leader(1));
}

TEST(Cluster, WithoutAQuorumNothingIsWritten) {
  TestCluster cluster(3);
  cluster.form();
  size_t leader = cluster.wait_for_leader();
  cluster.run_for(6 * kSecond);
  for (size_t m = 0; m < 3; ++m)
    if (m != leader) cluster.isolate(m, true);
  // The leader does not know yet that it is alone.
  Index last = cluster.node(leader).raft().last_index();
  MemberId other = cluster.node((leader + 1) % 3).member_id();
  for (MemberChange c : {add(7), add(7, true), of(Kind::kRemove, other), of(Kind::kPromote, other)}) {
    Changed refused = change(cluster, leader, c, 2 * kSecond);
    EXPECT_FALSE(refused.status.is_ok());
    EXPECT_EQ(refused.status, err_timeout()) << refused.status.to_string();
  }
  for (size_t m = 0; m < 3; ++m) cluster.isolate(m, false);
  leader = cluster.wait_for_leader();
  ASSERT_TRUE(cluster.put(leader, "k", "1").is_ok());
  for (size_t m = 0; m < 3; ++m) EXPECT_EQ(cluster.node(m).members().size(), 3u);
  EXPECT_LT(cluster.node(leader).raft().config_index(), last + 1) << "no configuration came later";
}

TEST(Cluster, OneRequestIsDoneOnce) {
  Growing g(2, 1);
  MemberChange once = add(1);
  once.request_id = "grow-1";
  Changed first = change(g.cluster, 0, once);
  ASSERT_TRUE(first.status.is_ok());
  g.join(1, first.id, 0);
  ASSERT_TRUE(g.serves(1));
  for (size_t by : {0, 1}) {
    Changed again = change(g.cluster, by, once);
    EXPECT_TRUE(again.status.is_ok()) << again.status.to_string();
    EXPECT_EQ(again.id, first.id);
  }
  EXPECT_EQ(g.cluster.node(0).members().size(), 2u);
  MemberChange other = of(Kind::kRemove, first.id);
  other.request_id = "grow-1";
  EXPECT_EQ(change(g.cluster, 0, other).status.code(), Code::kFailedPrecondition);
  other.request_id = "";
  other.expected_members = "0000000000000000";
  EXPECT_EQ(change(g.cluster, 0, other).status.code(), Code::kFailedPrecondition);
}

TEST(Cluster, UrlsAreUpdatedEverywhereAndAfterARestart) {
  TestCluster cluster(3);
  cluster.form();
  MemberChange update = of(Kind::kUpdate, cluster.node(1).member_id());
  update.peer_urls = {"http://" + TestCluster::address(1) + ":2380", "http://10.9.9.9:1"};
  ASSERT_TRUE(change(cluster, 2, update).status.is_ok());
  auto urls = [&](size_t m) { return cluster.node(m).members().at(update.id).peer_urls; };
  EXPECT_TRUE(cluster.wait([&] { return urls(0) == update.peer_urls && urls(1) == update.peer_urls; }));
  cluster.kill(0);
  cluster.start(0);
  EXPECT_TRUE(cluster.wait([&] { return cluster.running(0) && cluster.node(0).published(); }));
  EXPECT_EQ(urls(0), update.peer_urls);
  update.id = cluster.node(0).member_id();
  EXPECT_EQ(change(cluster, 2, update).status, err_peer_urls_exist());
  update.peer_urls = {"nonsense"};
  EXPECT_EQ(change(cluster, 2, update).status, err_bad_member_urls());
}

// A member that was away when it was removed learns it from whoever it meets, and never counts again.
TEST(Cluster, WhoWasAwayWhenItWasRemovedIsTold) {
  TestCluster cluster(3);
  cluster.form();
  cluster.run_for(6 * kSecond);
  ASSERT_TRUE(cluster.make_leader(0));
  for (size_t away : {1, 2}) {
    MemberId id = cluster.node(away).member_id();
    cluster.kill(away);
    cluster.run_for(kSecond);
    ASSERT_TRUE(change(cluster, 0, of(Kind::kRemove, id)).status.is_ok());
    cluster.start(away);
    EXPECT_TRUE(cluster.wait([&] { return cluster.fatal(away) != ""; }));
    EXPECT_NE(cluster.fatal(away).find("permanently removed"), std::string::npos) << cluster.fatal(away);
    ASSERT_TRUE(cluster.put(0, "k", "1").is_ok());
    if (away == 1) break;  // of two, one that is away costs the quorum
  }
}

TEST(Cluster, AProbeProvesWritesAndChangesNothing) {
  TestCluster cluster(3);
  cluster.form();
  auto probe = [&](size_t by) {
    Status out;
    bool answered = false;
    cluster.in_turn(by, [&](Node& n) {
      n.probe_write([&](const Status& s) {
        answered = true;
        out = s;
      });
    });
    EXPECT_TRUE(cluster.wait([&] { return answered; }));
    return out;
  };
  ASSERT_TRUE(cluster.put(0, "k", "1").is_ok());
  int64_t revision = cluster.node(0).keyspace().revision();
  for (size_t m = 0; m < 3; ++m) {
    Index before = cluster.node(m).applied();
    EXPECT_TRUE(probe(m).is_ok());
    EXPECT_GT(cluster.node(m).applied(), before);
    EXPECT_EQ(cluster.node(m).keyspace().revision(), revision);
  }
  for (size_t m : {0, 1, 2}) cluster.isolate(m, true);
  EXPECT_EQ(probe(0), err_timeout());
}

TEST(Cluster, LeadershipIsMovedOrRefused) {
  TestCluster cluster(3);
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  auto move = [&](size_t by, MemberId to) {
    Status out;
    bool answered = false;
    cluster.in_turn(by, [&](Node& n) {
      n.move_leader(to, [&](const Status& s) {
        answered = true;
        out = s;
      });
    });
    EXPECT_TRUE(cluster.wait([&] { return answered; }));
    return out;
  };
  EXPECT_EQ(move(1, cluster.node(1).member_id()).message(), "etcdserver: not leader");
  EXPECT_EQ(move(0, MemberId(5)).message(), "etcdserver: bad leader transferee");
  EXPECT_TRUE(move(0, cluster.node(0).member_id()).is_ok());
  EXPECT_TRUE(move(0, cluster.node(2).member_id()).is_ok());
  EXPECT_TRUE(cluster.wait([&] { return cluster.node(2).is_leader(); }));
  cluster.isolate(1, true);
  EXPECT_EQ(move(2, cluster.node(1).member_id()).message(),
            "etcdserver: request timed out, leader transfer took too long");
}

// A member that goes on alone: what --force-new-cluster does.
class Forced : public ::testing::Test {
 protected:
  void go_on_alone(size_t member) {
    force[member] = true;
    cluster.start(member);
    ASSERT_TRUE(cluster.wait([&] { return cluster.running(member) && cluster.node(member).published(); }));
  }
  void expect_alone(size_t member) {
    const Node& n = cluster.node(member);
    EXPECT_EQ(n.members().size(), 1u);
    EXPECT_TRUE(n.members().contains(n.member_id()));
    EXPECT_EQ(n.removed_members().size(), 2u);
    EXPECT_EQ(n.raft().config(), configuration_of(n.members()));
    EXPECT_TRUE(n.is_leader());
  }
  std::array<bool, 3> force{};
  TestCluster cluster{3, [this](size_t m, Config& c) { c.force_alone = force[m]; }};
};

TEST_F(Forced, TheSurvivorKeepsAllThatWasAcknowledged) {
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(1));
  cluster.isolate(2, true);
  // Acknowledged by 0 and 1; 0 ends at once and may not know that it is committed.
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(cluster.put(1, "k" + std::to_string(i), "v").is_ok());
  ClusterId before = cluster.node(0).cluster_id();
  for (size_t m : {0, 1, 2}) cluster.kill(m);
  go_on_alone(0);
  expect_alone(0);
  EXPECT_EQ(cluster.node(0).cluster_id(), before);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(cluster.get_local(0, "k" + std::to_string(i)), "v") << i;
  EXPECT_TRUE(cluster.put(0, "after", "1").is_ok());
  // It stays so without the flag, and with it nothing more happens.
  for (bool again : {false, true}) {
    cluster.kill(0);
    force[0] = again;
    cluster.start(0);
    ASSERT_TRUE(cluster.wait([&] { return cluster.running(0) && cluster.node(0).published(); }));
    expect_alone(0);
    EXPECT_EQ(cluster.get_local(0, "after"), "1");
  }
}

TEST_F(Forced, TheOthersAreToldThatTheyAreOut) {
  cluster.form();
  ASSERT_TRUE(cluster.put(0, "k", "v").is_ok());
  for (size_t m : {0, 1, 2}) cluster.kill(m);
  go_on_alone(0);
  cluster.isolate(2, true);
  cluster.start(1);
  ASSERT_TRUE(cluster.wait([&] { return !cluster.fatal(1).empty(); }, 60 * kSecond));
  EXPECT_NE(cluster.fatal(1).find("removed"), std::string::npos) << cluster.fatal(1);
  EXPECT_TRUE(cluster.put(0, "k", "w").is_ok());
  expect_alone(0);
}

// A change that was under way is settled by the forced one behind it.
TEST_F(Forced, AnAdditionThatNobodyCouldCommitIsGone) {
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  cluster.run_for(6 * kSecond);
  for (size_t m : {1, 2}) cluster.kill(m);
  bool answered = false;
  cluster.in_turn(0, [&](Node& n) {
    MemberChange c;
    c.peer_urls = {"http://10.0.0.9:2380"};
    n.change_members(c, 0, [&](const Status&, const MemberChange*) { answered = true; });
  });
  ASSERT_TRUE(cluster.wait([&] { return answered; }));
  cluster.kill(0);
  go_on_alone(0);
  EXPECT_EQ(cluster.node(0).members().size(), 1u);
  EXPECT_TRUE(cluster.put(0, "k", "v").is_ok());
}

// The level of a program is what its cluster may go back to (--downgrade-check-time looks whether it has).
TEST(Cluster, ADowngradeIsOverWhenAllHaveArrived) {
  for (io::Nanos interval : {io::Nanos{0}, 2 * kSecond}) {
    bool old_program = false;
    TestCluster cluster(3, [&](size_t, Config& c) {
      c.level = old_program ? ApiLevel{3, 6} : ApiLevel{3, 7};
      c.downgrade_check_interval = interval;
    });
    cluster.form();
    auto all = [&](auto condition) {
      return cluster.wait([&] {
        for (size_t m : {0, 1, 2})
          if (!cluster.running(m) || !condition(cluster.node(m).cluster_version())) return false;
        return true;
      });
    };
    ASSERT_TRUE(all([](const ClusterVersion& v) { return v.version == "3.7.0"; }));
    cluster.in_turn(0, [](Node& n) {
      n.change_version({VersionChange::Kind::kEnableDowngrade, "3.6.0"}, [](const Status&) {});
    });
    ASSERT_TRUE(all([](const ClusterVersion& v) { return v.version == "3.6.0" && v.downgrade_enabled(); }));
    old_program = true;
    // The older program must find the version in a checkpoint, as after an orderly stop.
    for (size_t m : {0, 1, 2}) cluster.in_turn(m, [](Node& n) { n.checkpoint_now(); });
    cluster.run_for(kSecond);
    for (size_t m : {0, 1, 2}) cluster.kill(m);
    for (size_t m : {0, 1, 2}) cluster.start(m);
    cluster.wait_for_leader();
    if (interval > 0) {
      EXPECT_TRUE(all([](const ClusterVersion& v) { return !v.downgrade_enabled(); }));
    } else {
      cluster.run_for(30 * kSecond);
      EXPECT_TRUE(all([](const ClusterVersion& v) { return v.downgrade_enabled(); }));
    }
    EXPECT_TRUE(all([](const ClusterVersion& v) { return v.version == "3.6.0"; }));
  }
}

}  // namespace
}  // namespace fairlead::node
