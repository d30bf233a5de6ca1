// Quota, alarms, hashes and the cleaner of whole nodes, on a few simulated members.
#include <gtest/gtest.h>

#include "server/mvcc/errors.h"
#include "server/node/cluster_for_test.h"

namespace fairlead::node {
namespace {

using io::kMillisecond;
using io::kSecond;

struct Answer {
  bool there = false;
  Status status;
  std::vector<Alarm> alarms;
};

Answer alarm(TestCluster& cluster, size_t member, AlarmAction action, Alarm what) {
  Answer out;
  cluster.in_turn(member, [&](Node& n) {
    n.alarm(action, what, [&out](const Status& s, const std::vector<Alarm>& alarms) { out = {true, s, alarms}; });
  });
  EXPECT_TRUE(cluster.wait([&] { return out.there; }));
  return out;
}

template <typename Request>
Status ask(TestCluster& cluster, size_t member, const Request& request) {
  bool there = false;
  Status status;
  cluster.in_turn(member, [&](Node& n) {
    n.propose(request, [&](const Status& s, const mvcc::ApplyResult*) { there = true, status = s; });
  });
  EXPECT_TRUE(cluster.wait([&] { return there; }));
  return status;
}

mvcc::DeleteRangeRequest delete_of(std::string_view key) {
  mvcc::DeleteRangeRequest r;
  r.key = key;
  return r;
}

struct Hashed {
  bool there = false;
  Status status;
  HashReply reply;
};
Hashed hash(TestCluster& cluster, size_t member, int64_t revision) {
  Hashed out;
  cluster.in_turn(member, [&](Node& n) {
    n.hash_kv(revision, [&out](const Status& s, const HashReply& r) { out = {true, s, r}; });
  });
  EXPECT_TRUE(cluster.wait([&] { return out.there; }));
  return out;
}

// ---- quota and alarms

TEST(NodeAlarm, ReachingTheQuotaRaisesItEverywhereBeforeTheClientKnows) {
  TestCluster cluster(3, [](size_t, Config& c) {
    c.quota_bytes = 20'000;
    c.auto_disarm_delay = 0;
  });
  cluster.form();
  size_t follower = (cluster.wait_for_leader() + 1) % 3;
  Status status;
  for (int i = 0; i < 50 && status.is_ok(); ++i) status = cluster.put(follower, "k", std::string(1000, 'x'));
  EXPECT_EQ(status, err_no_space());
  Alarm raised{cluster.node(follower).member_id(), AlarmType::kNoSpace};
  EXPECT_TRUE(cluster.node(follower).alarms().all().contains(raised)) << "it is on when the client reads the error";
  ASSERT_TRUE(cluster.wait([&] {
    for (size_t m = 0; m < 3; ++m)
      if (!cluster.node(m).alarms().all().contains(raised)) return false;
    return true;
  }));
  size_t other = (follower + 1) % 3;
  mvcc::TxnRequest with_put, without;
  mvcc::PutRequest put;
  put.key = "t";
  with_put.failure.push_back({put});
  without.success.push_back({delete_of("nothing")});
  without.failure.push_back({delete_of("nothing")});
  EXPECT_EQ(cluster.put(other, "a", "b"), err_no_space());
  EXPECT_EQ(ask(cluster, other, with_put), err_no_space()) << "whichever branch is taken";
  EXPECT_TRUE(ask(cluster, other, without).is_ok());
  EXPECT_TRUE(ask(cluster, other, delete_of("k")).is_ok());
  mvcc::CompactRequest compact;
  compact.revision = cluster.node(other).keyspace().revision();
  EXPECT_TRUE(ask(cluster, other, compact).is_ok());
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(other).keyspace().bytes_logical() < 5000; }));
  EXPECT_EQ(cluster.put(other, "a", "b"), err_no_space()) << "room alone does not end it";
  EXPECT_EQ(alarm(cluster, other, AlarmAction::kDeactivate, raised).alarms, std::vector<Alarm>{raised});
  EXPECT_EQ(alarm(cluster, other, AlarmAction::kDeactivate, raised).alarms, std::vector<Alarm>{});
  EXPECT_TRUE(cluster.put(other, "a", "b").is_ok());
}

TEST(NodeAlarm, LivesThroughRestartsAndSnapshots) {
  TestCluster cluster(3, [](size_t, Config& c) {
    c.checkpoint_log_bytes = 64 << 10;
    c.log_keep_bytes = 0;
    c.recent_entries_bytes = 64 << 10;
  });
  cluster.form();
  cluster.isolate(2, true);
  size_t leader = cluster.wait_for_leader();
  if (leader == 2) {
    ASSERT_TRUE(cluster.wait([&] { return cluster.node(0).is_leader() || cluster.node(1).is_leader(); }));
  }
  ASSERT_TRUE(alarm(cluster, 0, AlarmAction::kActivate, {MemberId(7), AlarmType::kNoSpace}).status.is_ok());
  EXPECT_EQ(cluster.put(0, "a", "b"), err_no_space());
  ASSERT_TRUE(alarm(cluster, 0, AlarmAction::kDeactivate, {MemberId(7), AlarmType::kNoSpace}).status.is_ok());
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(cluster.put(0, "k", std::string(2000, 'x')).is_ok());
  ASSERT_TRUE(alarm(cluster, 0, AlarmAction::kActivate, {MemberId(8), AlarmType::kNoSpace}).status.is_ok());
  for (int i = 0; i < 2; ++i) {
    uint64_t checkpoints = cluster.node(0).stats().checkpoints;
    cluster.in_turn(0, [](Node& n) { n.checkpoint_now(); });
    cluster.in_turn(1, [](Node& n) { n.checkpoint_now(); });
    ASSERT_TRUE(cluster.wait([&] { return cluster.node(0).stats().checkpoints > checkpoints; }));
    ASSERT_TRUE(ask(cluster, 0, delete_of("nothing")).is_ok());
  }
  cluster.isolate(2, false);
  std::set<Alarm> want = {{MemberId(8), AlarmType::kNoSpace}};
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(2).alarms().all() == want; })) << "by the log or a snapshot";
  cluster.kill(0);
  ASSERT_TRUE(cluster.wait([&] { return !cluster.running(0); }));
  cluster.start(0);
  ASSERT_TRUE(cluster.wait([&] { return cluster.running(0) && cluster.node(0).alarms().all() == want; }));
}

TEST(NodeAlarm, EndsByItselfOnlyAfterItsTimeBelowTheMark) {
  TestCluster cluster(1, [](size_t, Config& c) {
    c.quota_bytes = 20'000;
    c.auto_disarm_delay = 10 * kSecond;
  });
  cluster.form();
  Status status;
  for (int i = 0; i < 50 && status.is_ok(); ++i) status = cluster.put(0, "k", std::string(1000, 'x'));
  cluster.run_for(20 * kSecond);
  EXPECT_TRUE(cluster.node(0).alarms().any(AlarmType::kNoSpace)) << "there is no room yet";
  mvcc::CompactRequest compact;
  compact.revision = cluster.node(0).keyspace().revision();
  ASSERT_TRUE(ask(cluster, 0, compact).is_ok());
  cluster.run_for(8 * kSecond);
  EXPECT_TRUE(cluster.node(0).alarms().any(AlarmType::kNoSpace)) << "not for long enough";
  cluster.run_for(5 * kSecond);
  EXPECT_FALSE(cluster.node(0).alarms().any(AlarmType::kNoSpace));
  EXPECT_TRUE(cluster.put(0, "k", "1").is_ok());
}

TEST(NodeAlarm, AFullDiskIsAnAlarmBeforeItIsAFailure) {
  TestCluster cluster(3, [](size_t, Config& c) {
    c.free_space_floor_bytes = 200'000;
    c.ballast_bytes = 50'000;
    c.space_look_interval = kSecond;
    c.auto_disarm_delay = 3 * kSecond;
  });
  cluster.form();
  size_t full = (cluster.wait_for_leader() + 1) % 3;
  io::sim::DiskImage& disk = cluster.world().disk(cluster.host(full));
  uint64_t before = disk.used_bytes();
  cluster.run_for(3 * kSecond);
  EXPECT_GE(disk.used_bytes(), before + 50'000) << "the ballast is there in advance";
  uint64_t unlimited = disk.faults.capacity_bytes;
  disk.faults.capacity_bytes = disk.used_bytes() + 150'000;
  std::set<Alarm> want = {{cluster.node(full).member_id(), AlarmType::kNoSpace}};
  for (size_t m = 0; m < 3; ++m) ASSERT_TRUE(cluster.wait([&] { return cluster.node(m).alarms().all() == want; }));
  EXPECT_LT(disk.used_bytes(), before + 50'000) << "the ballast is given up";
  EXPECT_EQ(cluster.put(0, "k", "1"), err_no_space());
  EXPECT_TRUE(ask(cluster, 0, delete_of("k")).is_ok());
  cluster.run_for(20 * kSecond);
  EXPECT_EQ(cluster.node(0).alarms().all(), want) << "nobody else can tell that there is room";
  disk.faults.capacity_bytes = unlimited;
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(0).alarms().all().empty(); }));
  EXPECT_TRUE(cluster.put(0, "k", "1").is_ok());
  EXPECT_EQ(cluster.fatal(full), "");
}

TEST(NodeAlarm, CorruptStopsWritesAndNotReads) {
  TestCluster cluster(1);
  cluster.form();
  ASSERT_TRUE(cluster.put(0, "k", "1").is_ok());
  ASSERT_TRUE(alarm(cluster, 0, AlarmAction::kActivate, {MemberId(), AlarmType::kCorrupt}).status.is_ok());
  EXPECT_EQ(cluster.put(0, "k", "2"), err_corrupt());
  EXPECT_EQ(ask(cluster, 0, delete_of("k")), err_corrupt());
  EXPECT_EQ(ask(cluster, 0, mvcc::CompactRequest{2, false}), err_corrupt());
  EXPECT_EQ(cluster.get_local(0, "k"), "1");
  EXPECT_EQ(alarm_text({MemberId(), AlarmType::kCorrupt}), "alarm:CORRUPT");
}

// ---- hashes

TEST(NodeHash, EqualOnMembersWhateverTheirDisksLookLike) {
  TestCluster cluster(3, [](size_t member, Config& c) {
    c.checkpoint_tail_bytes = member == 0 ? 4 << 10 : 32 << 20;
    c.cleaner.dead_bytes_min = 1;
    c.cleaner.dead_percent_min = member == 1 ? 1 : 101;
  });
  cluster.form();
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(cluster.put(0, "k" + std::to_string(i % 7), std::to_string(i)).is_ok());
  for (int round = 0; round < 4; ++round) {
    int64_t newest = cluster.node(0).keyspace().revision();
    for (int64_t revision : {int64_t{0}, newest, newest - 10}) {
      Hashed first = hash(cluster, 0, revision);
      ASSERT_TRUE(first.status.is_ok()) << first.status.to_string();
      for (size_t m : {1, 2}) {
        ASSERT_TRUE(cluster.wait([&] { return cluster.node(m).applied() == cluster.node(0).applied(); }));
        Hashed other = hash(cluster, m, revision);
        EXPECT_EQ(other.reply.kv.hash, first.reply.kv.hash) << "revision " << revision << " member " << m;
        EXPECT_EQ(other.reply.kv.compact_revision, first.reply.kv.compact_revision);
      }
    }
    ASSERT_TRUE(ask(cluster, 0, mvcc::CompactRequest{newest - 10, false}).is_ok());
    ASSERT_TRUE(ask(cluster, 0, delete_of("k" + std::to_string(round))).is_ok());
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(cluster.put(0, "k" + std::to_string(i % 5), "again").is_ok());
    cluster.run_for(3 * kSecond);
  }
  EXPECT_EQ(hash(cluster, 0, 2).status, mvcc::err_compacted());
  EXPECT_EQ(hash(cluster, 0, 100'000).status, mvcc::err_future_revision());
}

// Declares one live record of the stopped member dead: what a bug in a disk or in us would look like.
void damage(TestCluster& cluster, size_t member) {
  cluster.kill(member);
  ASSERT_TRUE(cluster.wait([&] { return !cluster.running(member); }));
  io::World world = cluster.world().start_process(cluster.host(member));
  bool done = false;
  std::unique_ptr<storage::Store> store;
  storage::RecoveredLog log;
  cluster.world().post(cluster.host(member), [&] {
    storage::OpenArgs args;
    args.dir = cluster.data_dir(member);
    args.may_create = false;
    auto opened = storage::Store::open(world, args);
    ASSERT_TRUE(opened.is_ok()) << opened.status().to_string();
    store = std::move(opened->store);
    log = std::move(opened->log);
    auto tail = std::make_shared<mvcc::FrozenTail>();
    tail->revision = store->state().revision;
    tail->compact_revision = store->state().compact_revision;
    tail->dead_keys.push_back({3, 0});
    storage::CheckpointArgs checkpoint;
    checkpoint.applied = store->state().applied;
    checkpoint.applied_term = store->state().applied_term;
    checkpoint.config = store->state().config;
    checkpoint.log_position = log.log->durable_position();
    checkpoint.tail = tail;
    store->checkpoint(checkpoint, [&](Status s) {
      EXPECT_TRUE(s.is_ok()) << s.to_string();
      done = true;
    });
  });
  ASSERT_TRUE(cluster.wait([&] { return done; }));
  store.reset();
  log.log.reset();
  cluster.kill(member);
}

void prepare(TestCluster& cluster) {
  cluster.form();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(cluster.put(0, "k" + std::to_string(i), "value").is_ok());
  for (size_t m = 0; m < 3; ++m) {
    uint64_t before = cluster.node(m).stats().checkpoints;
    cluster.in_turn(m, [](Node& n) { n.checkpoint_now(); });
    ASSERT_TRUE(cluster.wait([&] { return cluster.node(m).stats().checkpoints > before; }));
  }
}

// A hash that waits for a checkpoint while a snapshot is switched in: the files are the new state's already, compacted
// further than the old keyspace knows. Such a hash would be nobody's, and its member taken for corrupt.
TEST(NodeHash, AStateThatIsBeingSwitchedInIsNotHashed) {
  TestCluster cluster(3, [](size_t, Config& c) {
    c.checkpoint_interval = 3600 * kSecond;
    c.log_keep_bytes = 0;
  });
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  auto put = [&](int times) {
    for (int i = 0; i < times; ++i)
      ASSERT_TRUE(cluster.put(0, "k" + std::to_string(i % 5), std::string(2000, 'x')).is_ok());
  };
  put(10);
  int64_t seen = cluster.node(0).keyspace().revision();
  cluster.workers(2).hold_next();
  cluster.in_turn(2, [](Node& n) { n.checkpoint_now(); });
  ASSERT_TRUE(cluster.wait([&] { return cluster.workers(2).holding(); }));
  put(10);
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(2).keyspace().revision() == seen + 10; }));
  cluster.isolate(2, true);
  for (size_t m : {0, 1}) cluster.world().reset_connections(cluster.host(m), cluster.host(2));
  Hashed late;
  cluster.in_turn(2, [&](Node& n) {
    n.hash_kv(seen + 10, [&late](const Status& s, const HashReply& r) { late = {true, s, r}; });
  });
  put(100);
  ASSERT_TRUE(ask(cluster, 0, mvcc::CompactRequest{cluster.node(0).keyspace().revision(), false}).is_ok());
  for (int i = 0; i < 2; ++i) {
    uint64_t checkpoints = cluster.node(0).stats().checkpoints;
    cluster.in_turn(0, [](Node& n) { n.checkpoint_now(); });
    ASSERT_TRUE(cluster.wait([&] { return cluster.node(0).stats().checkpoints > checkpoints; }));
    put(1);
  }
  cluster.isolate(2, false);
  cluster.run_for(2 * kSecond);  // the snapshot is there, and waits for the checkpoint
  ASSERT_FALSE(late.there);
  // From job to job, to the one that loads the new keyspace: the disk is ahead of what the loop knows.
  for (int jobs = 0; jobs < 10 && cluster.node(2).store().state().revision <= seen + 10; ++jobs) {
    cluster.workers(2).let_go();
    cluster.workers(2).hold_next();
    ASSERT_TRUE(cluster.wait([&] { return cluster.workers(2).holding(); }));
  }
  ASSERT_EQ(cluster.node(2).stats().snapshots_installed, 0u);
  ASSERT_GT(cluster.node(2).store().state().revision, seen + 10);
  cluster.run_for(kSecond);
  EXPECT_FALSE(late.there);
  cluster.workers(2).let_go();
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(2).stats().snapshots_installed == 1; }));
  ASSERT_TRUE(cluster.wait([&] { return late.there; }));
  EXPECT_EQ(late.status, err_leader_changed());
}

TEST(NodeCorrupt, TheDifferingMemberIsFoundByThePeriodicCheck) {
  TestCluster cluster(3, [](size_t, Config& c) { c.corrupt_check_interval = 2 * kSecond; });
  prepare(cluster);
  cluster.run_for(10 * kSecond);
  for (size_t m = 0; m < 3; ++m) EXPECT_TRUE(cluster.node(m).alarms().all().empty()) << "equal data is not corrupt";
  damage(cluster, 1);
  cluster.start(1);
  ASSERT_TRUE(cluster.wait([&] { return cluster.running(1) && cluster.node(1).published(); }));
  std::set<Alarm> want = {{cluster.node(1).member_id(), AlarmType::kCorrupt}};
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(0).alarms().all() == want; }));
  EXPECT_EQ(cluster.put(0, "k", "1"), err_corrupt());
}

// A leader of an hour ago has in its log what it has not applied yet: the compaction of the others is no news that
// nobody may have. Here its entries do not reach the others, so that it cannot commit, and still it leads.
TEST(NodeCorrupt, ALeaderThatHasNotAppliedYetAccusesNobody) {
  TestCluster cluster(3, [](size_t, Config& c) { c.corrupt_check_interval = 2 * kSecond; });
  prepare(cluster);
  ASSERT_TRUE(cluster.make_leader(0));
  cluster.disturb(1, [](raft::Message m, const Config::Deliver& deliver) {
    if (auto* append = std::get_if<raft::Append>(&m.body)) append->commit = Index();
    if (auto* beat = std::get_if<raft::Heartbeat>(&m.body)) beat->commit = Index();
    deliver(std::move(m));
  });
  ASSERT_TRUE(ask(cluster, 0, mvcc::CompactRequest{8, false}).is_ok());
  cluster.run_for(kSecond);
  ASSERT_LT(cluster.node(1).keyspace().compact_revision(), 8);
  cluster.disturb(1, [](raft::Message m, const Config::Deliver& deliver) {
    if (!m.is<raft::AppendReply>()) deliver(std::move(m));
  });
  ASSERT_TRUE(cluster.make_leader(1));
  uint64_t before = cluster.node(1).stats().hash_checks;
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(1).stats().hash_checks > before; }));
  ASSERT_TRUE(cluster.node(1).is_leader());
  ASSERT_LT(cluster.node(1).keyspace().compact_revision(), cluster.node(0).keyspace().compact_revision());
  cluster.disturb(1, {});
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(1).keyspace().compact_revision() == 8; }));
  cluster.run_for(5 * kSecond);
  for (size_t m = 0; m < 3; ++m) EXPECT_TRUE(cluster.node(m).alarms().all().empty()) << "member " << m;
}

TEST(NodeCorrupt, TheDifferingMemberIsFoundAtACompaction) {
  TestCluster cluster(3, [](size_t, Config& c) {
    c.compact_hash_check = true;
    c.compact_hash_check_interval = 2 * kSecond;
  });
  prepare(cluster);
  damage(cluster, 2);
  cluster.start(2);
  ASSERT_TRUE(cluster.wait([&] { return cluster.running(2) && cluster.node(2).published(); }));
  cluster.run_for(10 * kSecond);
  EXPECT_TRUE(cluster.node(0).alarms().all().empty()) << "only compactions are compared";
  ASSERT_TRUE(ask(cluster, 0, mvcc::CompactRequest{8, false}).is_ok());
  std::set<Alarm> want = {{cluster.node(2).member_id(), AlarmType::kCorrupt}};
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(0).alarms().all() == want; }));
}

TEST(NodeCorrupt, AStartThatFindsADifferenceIsRefused) {
  TestCluster cluster(3, [](size_t, Config& c) { c.initial_corrupt_check = true; });
  prepare(cluster);
  cluster.kill(0);
  ASSERT_TRUE(cluster.wait([&] { return !cluster.running(0); }));
  cluster.start(0);
  ASSERT_TRUE(cluster.wait([&] { return cluster.running(0) && cluster.node(0).published(); })) << "equal data starts";
  damage(cluster, 1);
  cluster.start(1);
  ASSERT_TRUE(cluster.wait([&] { return !cluster.fatal(1).empty(); }));
  EXPECT_NE(cluster.fatal(1).find("data inconsistency"), std::string::npos) << cluster.fatal(1);
}

// ---- cleaning

TEST(NodeDefragment, WritesDownWhatIsDeadThenCleansIt) {
  TestCluster cluster(1);
  cluster.form();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(cluster.put(0, "k", std::string(1000, 'x')).is_ok());
  cluster.in_turn(0, [](Node& n) { n.checkpoint_now(); });
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(0).store().stats().bytes > 50'000; }));
  ASSERT_TRUE(ask(cluster, 0, mvcc::CompactRequest{cluster.node(0).keyspace().revision(), false}).is_ok());
  cluster.run_for(5 * kSecond);
  cluster.in_turn(0, [](Node& n) { n.defragment(); });
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(0).cleaner().rounds == 1; }));
  EXPECT_LT(cluster.node(0).store().stats().bytes, 5'000u);
  EXPECT_EQ(cluster.node(0).store().stats().dead_records, 0u);
  EXPECT_EQ(cluster.node(0).stats().defragment.count, 1u);
  EXPECT_EQ(cluster.get_local(0, "k"), std::string(1000, 'x'));
}

}  // namespace
}  // namespace fairlead::node
