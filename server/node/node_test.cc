// Rules of a node that no other test would miss at once, each on a few simulated members.
#include "server/node/node.h"

#include <gtest/gtest.h>

#include "server/node/cluster_for_test.h"

namespace fairlead::node {
namespace {

using io::kMillisecond;
using io::kSecond;

template <typename Body>
bool is(const raft::Message& m) {
  return std::holds_alternative<Body>(m.body);
}

// ---- snapshots

// While an install waits for a checkpoint of the receiver, a new leader may bring the missing entries from its log.
// Then nothing is left of the install: the member applies, takes checkpoints and installs again.
TEST(NodeSnapshot, ARefusedInstallLetsGoOfEverything) {
  TestCluster cluster(3, [](size_t member, Config& c) {
    c.checkpoint_interval = 3600 * kSecond;
    // The first leader soon needs a snapshot to help; the second has everything in its log.
    c.checkpoint_log_bytes = member == 0 ? 64 << 10 : 64 << 20;
    c.log_keep_bytes = 0;
    c.recent_entries_bytes = 1 << 20;
  });
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  cluster.run_for(2 * kSecond);  // the first checkpoints are made
  ASSERT_TRUE(cluster.put(2, "before", "1").is_ok());

  cluster.isolate(2, true);
  for (size_t m : {0, 1}) cluster.world().reset_connections(cluster.host(m), cluster.host(2));
  std::string value(2000, 'x');
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(cluster.put(0, "k" + std::to_string(i), value).is_ok());
  for (int i = 0; i < 2; ++i) {
    uint64_t checkpoints = cluster.node(0).stats().checkpoints;
    cluster.in_turn(0, [](Node& n) { n.checkpoint_now(); });
    ASSERT_TRUE(cluster.wait([&] { return cluster.node(0).stats().checkpoints > checkpoints; }));
    ASSERT_TRUE(cluster.put(0, "more", "1").is_ok());
  }
  ASSERT_GT(cluster.node(0).log().first_index(), cluster.node(2).raft().last_index());

  // The receiver is busy with a checkpoint of its own when the files are there.
  cluster.workers(2).hold_next();
  cluster.in_turn(2, [](Node& n) { n.checkpoint_now(); });
  ASSERT_TRUE(cluster.wait([&] { return cluster.workers(2).holding(); }));
  cluster.isolate(2, false);
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(2).installing(); }));

  ASSERT_TRUE(cluster.make_leader(1));
  ASSERT_TRUE(cluster.put(1, "after", "2").is_ok());
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(2).raft().commit() >= cluster.node(1).applied(); }));
  cluster.workers(2).let_go();

  ASSERT_TRUE(cluster.wait([&] { return cluster.node(2).applied() == cluster.node(1).applied(); }))
      << "the member applies nothing any more";
  EXPECT_EQ(cluster.get_local(2, "after"), "2");
  EXPECT_FALSE(cluster.node(2).installing());
  EXPECT_EQ(cluster.node(2).stats().snapshots_installed, 0u);
  uint64_t checkpoints = cluster.node(2).stats().checkpoints;
  cluster.in_turn(2, [](Node& n) { n.checkpoint_now(); });
  EXPECT_TRUE(cluster.wait([&] { return cluster.node(2).stats().checkpoints > checkpoints; }));
  EXPECT_EQ(cluster.fatal(2), "");
}

class Events final : public WatchSink {
 public:
  void on_batch(const mvcc::WatchBatch& batch) override {
    for (const mvcc::WatchMessage& m : batch.messages) canceled |= m.canceled;
    for (const Bytes& event : batch.events) seen.push_back(event.to_string());
  }
  std::vector<std::string> seen;
  bool canceled = false;
};

// A stream at a member that gets a snapshot loses nothing, sees nothing twice and is not ended (etcd#15271: a jump).
TEST(NodeSnapshot, WatchesGoOnBehindWhatTheyHaveSeen) {
  TestCluster cluster(3, [](size_t, Config& c) {
    c.checkpoint_interval = 3600 * kSecond;
    c.checkpoint_log_bytes = 64 << 10;
    c.log_keep_bytes = 0;
  });
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  Events events;
  cluster.in_turn(2, [&](Node& n) {
    mvcc::WatchCreateRequest request;
    request.key = "a";
    request.range_end = "z";
    request.prev_kv = true;
    n.watches().create(n.open_watch(&events), request);
  });
  size_t puts = 0;
  std::string value(2000, 'x');
  auto put = [&] {
    ASSERT_TRUE(cluster.put(0, "k" + std::to_string(puts % 7), value + std::to_string(puts)).is_ok());
    ++puts;
  };
  for (int i = 0; i < 10; ++i) put();
  ASSERT_TRUE(cluster.wait([&] { return events.seen.size() == puts; }));
  cluster.isolate(2, true);
  for (size_t m : {0, 1}) cluster.world().reset_connections(cluster.host(m), cluster.host(2));
  for (int i = 0; i < 200; ++i) put();
  for (int i = 0; i < 2; ++i) {
    uint64_t checkpoints = cluster.node(0).stats().checkpoints;
    cluster.in_turn(0, [](Node& n) { n.checkpoint_now(); });
    ASSERT_TRUE(cluster.wait([&] { return cluster.node(0).stats().checkpoints > checkpoints; }));
    put();
  }
  cluster.isolate(2, false);
  // One, or one more for what came while the first was on its way.
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(2).stats().snapshots_installed >= 1; }));
  EXPECT_GE(cluster.node(2).stats().watchers_continued, 1u);
  put();
  ASSERT_TRUE(cluster.wait([&] { return events.seen.size() >= puts; })) << events.seen.size() << " of " << puts;
  cluster.run_for(kSecond);
  EXPECT_EQ(events.seen.size(), puts);
  EXPECT_FALSE(events.canceled);
  for (size_t i = 0; i < puts && i < events.seen.size(); ++i)
    EXPECT_NE(events.seen[i].find(value + std::to_string(i)), std::string::npos) << "event " << i;
}

// A leader whose segment rotted cannot help: it is told so, and neither side goes on for ever. Another leader can.
TEST(NodeSnapshot, ADamagedOneIsNotAskedForWithoutEnd) {
  TestCluster cluster(3, [](size_t, Config& c) {
    c.checkpoint_interval = 3600 * kSecond;
    c.checkpoint_log_bytes = 64 << 10;
    c.log_keep_bytes = 0;
  });
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  cluster.isolate(2, true);
  for (size_t m : {0, 1}) cluster.world().reset_connections(cluster.host(m), cluster.host(2));
  std::string value(2000, 'x');
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(cluster.put(0, "k" + std::to_string(i), value).is_ok());
  for (size_t m : {0, 1, 0, 1}) {
    uint64_t checkpoints = cluster.node(m).stats().checkpoints;
    cluster.in_turn(m, [](Node& n) { n.checkpoint_now(); });
    ASSERT_TRUE(cluster.wait([&] { return cluster.node(m).stats().checkpoints > checkpoints; }));
    ASSERT_TRUE(cluster.put(0, "more", "1").is_ok());
  }
  io::sim::DiskImage& disk = cluster.world().disk(cluster.host(0));
  std::pair<std::string, uint64_t> largest;
  for (const auto& file : disk.files()) {
    if (file.first.find("/seg-") != std::string::npos && file.second > largest.second) largest = file;
  }
  ASSERT_GT(largest.second, 10'000u);
  ASSERT_TRUE(disk.flip_bit(largest.first, largest.second / 2, 3).is_ok());

  uint64_t bytes = cluster.world().net_stats().bytes;
  cluster.isolate(2, false);
  cluster.run_for(5 * kSecond);
  EXPECT_EQ(cluster.get_local(2, "k199"), "") << "a damaged snapshot was installed";
  EXPECT_LT(cluster.world().net_stats().bytes - bytes, 150 * largest.second) << "sent again and again, at full speed";

  ASSERT_TRUE(cluster.make_leader(1));
  EXPECT_TRUE(cluster.wait([&] { return cluster.node(2).applied() == cluster.node(1).applied(); }));
  EXPECT_EQ(cluster.get_local(2, "k199"), value);
}

// A member that dies when the installed state is durable, and before its sender knows, comes back with all of it. The
// leader offers the same snapshot again, is told so, and goes on behind it without waiting for another checkpoint.
TEST(NodeSnapshot, WhoDiedBehindAnInstallNeedsNoOtherSnapshot) {
  TestCluster cluster(3, [](size_t, Config& c) {
    c.checkpoint_interval = 3600 * kSecond;
    c.checkpoint_log_bytes = 64 << 10;
    c.log_keep_bytes = 0;
  });
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  cluster.run_for(2 * kSecond);  // the first checkpoints are made
  ASSERT_TRUE(cluster.put(2, "before", "1").is_ok());
  cluster.isolate(2, true);
  for (size_t m : {0, 1}) cluster.world().reset_connections(cluster.host(m), cluster.host(2));
  std::string value(2000, 'x');
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(cluster.put(0, "k" + std::to_string(i), value).is_ok());
  for (int i = 0; i < 2; ++i) {
    uint64_t checkpoints = cluster.node(0).stats().checkpoints;
    cluster.in_turn(0, [](Node& n) { n.checkpoint_now(); });
    ASSERT_TRUE(cluster.wait([&] { return cluster.node(0).stats().checkpoints > checkpoints; }));
    ASSERT_TRUE(cluster.put(0, "more", "1").is_ok());
  }
  ASSERT_GT(cluster.node(0).log().first_index(), cluster.node(2).raft().last_index());
  uint64_t checkpoints = cluster.node(0).stats().checkpoints;
  Index there = cluster.node(0).store().state().applied;

  // From job to job, to the one that loads the new keyspace: its state is durable, and nobody knows.
  cluster.workers(2).hold_next();
  cluster.isolate(2, false);
  ASSERT_TRUE(cluster.wait([&] { return cluster.workers(2).holding(); }));
  for (int jobs = 0; jobs < 100 && cluster.node(2).store().state().applied < there; ++jobs) {
    cluster.workers(2).let_go();
    cluster.workers(2).hold_next();
    ASSERT_TRUE(cluster.wait([&] { return cluster.workers(2).holding(); }));
  }
  ASSERT_EQ(cluster.node(2).store().state().applied, there);
  cluster.kill(2);
  cluster.start(2);
  ASSERT_TRUE(cluster.wait([&] { return cluster.running(2); }));

  EXPECT_TRUE(cluster.wait([&] { return cluster.node(2).applied() == cluster.node(0).applied(); }))
      << "the same snapshot is offered for ever";
  EXPECT_EQ(cluster.get_local(2, "more"), "1");
  EXPECT_EQ(cluster.node(0).stats().checkpoints, checkpoints) << "another checkpoint has helped: this proves nothing";
  EXPECT_EQ(cluster.node(2).stats().snapshots_installed, 0u);
}

// ---- leases

int64_t grant(TestCluster& cluster, size_t member, int64_t ttl) {
  int64_t id = 0;
  cluster.in_turn(member, [&](Node& n) {
    n.lease_grant(0, ttl, [&id](const Status& s, const mvcc::ApplyResult* r) {
      ASSERT_TRUE(s.is_ok());
      id = std::get<mvcc::LeaseGrantResult>(r->reply).id;
    });
  });
  EXPECT_TRUE(cluster.wait([&id] { return id != 0; }));
  return id;
}

struct KeepAlive {
  bool answered = false;
  Status status;
  int64_t ttl = -1;
  io::Nanos at = 0;
};

void keep_alive(TestCluster& cluster, size_t member, int64_t id, KeepAlive& answer) {
  cluster.in_turn(member, [&cluster, id, &answer](Node& n) {
    n.lease_keep_alive(id, [&cluster, &answer](const Status& s, int64_t ttl) {
      answer = {true, s, ttl, cluster.world().now()};
    });
  });
}

// More keys than a call between members carries: any member lists them all.
TEST(NodeLease, AFollowerListsAllKeysOfALease) {
  constexpr size_t kKeys = 3000, kKeyBytes = 200;
  static_assert(kKeys * kKeyBytes > 2 * peer::kHeadBytesMax);
  TestCluster cluster(3);
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  int64_t id = grant(cluster, 1, 60);
  size_t waiting = kKeys;
  cluster.in_turn(1, [&](Node& n) {
    for (size_t i = 0; i < kKeys; ++i) {
      std::string key = std::to_string(1'000'000 + i) + std::string(kKeyBytes, 'k');
      mvcc::PutRequest request;
      request.key = key;
      request.lease = id;
      n.propose(request, [&](const Status& s, const mvcc::ApplyResult*) { waiting -= s.is_ok(); });
    }
  });
  ASSERT_TRUE(cluster.wait([&] { return waiting == 0; }));
  for (size_t member : {0, 1}) {
    std::optional<LeaseTimeToLive> got;
    Status status;
    cluster.in_turn(member, [&](Node& n) {
      n.lease_time_to_live(id, true, [&](const Status& s, const LeaseTimeToLive* t) {
        status = s;
        got = t ? *t : LeaseTimeToLive();
      });
    });
    ASSERT_TRUE(cluster.wait([&] { return got.has_value(); }));
    EXPECT_EQ(status, Status());
    EXPECT_EQ(got->keys.size(), kKeys);
    EXPECT_EQ(got->granted_ttl, 60);
    EXPECT_GT(got->ttl, 50);
  }
}

// The leader dies with the question: its successor is asked, within the time of an election.
TEST(NodeLease, AKeepAliveThroughAFollowerOutlivesTheLeader) {
  TestCluster cluster(3);
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  int64_t id = grant(cluster, 1, 60);
  io::Nanos asked = cluster.world().now();
  KeepAlive answer;
  cluster.isolate(0, true);  // the question does not get there
  keep_alive(cluster, 1, id, answer);
  EXPECT_FALSE(answer.answered);
  cluster.kill(0);
  ASSERT_TRUE(cluster.wait([&] { return answer.answered; }));
  EXPECT_TRUE(answer.status.is_ok()) << answer.status.to_string();
  EXPECT_EQ(answer.ttl, 60);
  EXPECT_LT(answer.at - asked, 5 * kSecond);
}

// The same asked at the leader itself, which finds out that it leads no more.
TEST(NodeLease, AKeepAliveAtADeposedLeaderGoesToItsSuccessor) {
  TestCluster cluster(3);
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  int64_t id = grant(cluster, 0, 60);
  KeepAlive answer;
  cluster.isolate(0, true);
  keep_alive(cluster, 0, id, answer);
  ASSERT_TRUE(cluster.wait([&] { return !cluster.node(0).is_leader(); }));
  cluster.isolate(0, false);
  ASSERT_TRUE(cluster.wait([&] { return answer.answered; }));
  EXPECT_TRUE(answer.status.is_ok()) << answer.status.to_string();
  EXPECT_EQ(answer.ttl, 60);
}

// A revoke that was proposed and not answered in time may be committed later: no renewal may be promised before that is
// known. Two followers whose disks stand still answer heartbeats, so the leader goes on leading meanwhile.
TEST(NodeLease, ARevokeOfUnknownOutcomeHoldsRenewalsBack) {
  TestCluster cluster(3);
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  int64_t id = grant(cluster, 0, 2);
  for (size_t m : {1, 2}) {
    io::sim::DiskImage& disk = cluster.world().disk(cluster.host(m));
    disk.faults.write_latency = 12 * kSecond;
  }
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(0).stats().leases_expired > 0; }));
  KeepAlive answer;
  keep_alive(cluster, 0, id, answer);
  cluster.run_for(cluster.node(0).config().request_timeout() + kSecond);
  ASSERT_TRUE(cluster.node(0).is_leader());  // or this would prove nothing
  ASSERT_GT(cluster.node(0).stats().proposals_failed, 0u);
  for (size_t m : {1, 2}) cluster.world().disk(cluster.host(m)).faults.write_latency = 100 * io::kMicrosecond;
  ASSERT_TRUE(cluster.wait([&] { return answer.answered; }, 60 * kSecond));
  EXPECT_TRUE(answer.status.is_ok()) << answer.status.to_string();
  EXPECT_EQ(answer.ttl, 0) << "a lease was renewed whose revoke was on its way";
  EXPECT_TRUE(cluster.wait([&] { return cluster.node(0).keyspace().leases().empty(); }, 60 * kSecond));
}

// A leader that wakes from a pause longer than an election steps down before anything else: clients' renewals may have
// waited at its door, so it ends no lease, and what it still serves has passed a new quorum round.
TEST(NodeLease, ALeaderThatWakesFromAPauseRevokesNothing) {
  for (io::Nanos shift = 0; shift < 600 * kMillisecond; shift += 50 * kMillisecond) {
    TestCluster cluster(3);
    cluster.form();
    ASSERT_TRUE(cluster.make_leader(0));
    int64_t id = grant(cluster, 0, 3);
    cluster.run_for(shift);  // of its timers against the pause
    // Nobody is elected meanwhile: all of them stand still, as on a suspended machine.
    Term term = cluster.node(0).raft().term();
    for (size_t m : {0, 1, 2}) cluster.world().pause(cluster.host(m), 4 * kSecond);
    KeepAlive answer;
    cluster.world().post(cluster.host(0), [&] {
      cluster.node(0).lease_keep_alive(id, [&](const Status& s, int64_t ttl) { answer = {true, s, ttl, 0}; });
    });
    cluster.run_for(4 * kSecond);
    ASSERT_TRUE(cluster.wait([&] { return answer.answered; }));
    EXPECT_TRUE(answer.status.is_ok()) << answer.status.to_string();
    EXPECT_EQ(answer.ttl, 3) << "after " << shift / kMillisecond << " ms";
    EXPECT_EQ(cluster.node(0).keyspace().leases().size(), 1u);
    EXPECT_GE(cluster.node(0).stats().stalls, 1u);
    EXPECT_GT(cluster.node(0).raft().term(), term) << "it went on leading as if nothing had been";
  }
}

int64_t time_to_live(TestCluster& cluster, size_t member, int64_t id) {
  int64_t ttl = -2;
  cluster.in_turn(member, [&](Node& n) {
    n.lease_time_to_live(id, false,
                         [&ttl](const Status& s, const LeaseTimeToLive* lease) { ttl = s.is_ok() ? lease->ttl : -3; });
  });
  EXPECT_TRUE(cluster.wait([&ttl] { return ttl != -2; }));
  return ttl;
}

// The leader at 0 has had the lease for `seconds` when 1 takes over: what is left there.
int64_t left_after_a_change(bool checkpoints, int seconds, bool restart) {
  TestCluster cluster(3, [checkpoints](size_t, Config& c) {
    c.lease_checkpoint = checkpoints;
    c.lease_checkpoint_interval = 5 * kSecond;
  });
  cluster.form();
  EXPECT_TRUE(cluster.make_leader(0));
  int64_t id = grant(cluster, 0, 60);
  cluster.run_for(seconds * kSecond);
  EXPECT_TRUE(cluster.node(0).is_leader());
  if (restart) {
    for (size_t m : {0, 1, 2}) cluster.in_turn(m, [](Node& n) { n.checkpoint_now(); });
    cluster.run_for(kSecond);
    for (size_t m : {0, 1, 2}) cluster.kill(m);
    for (size_t m : {0, 1, 2}) cluster.start(m);
    EXPECT_TRUE(cluster.wait([&] { return cluster.running(0) && cluster.running(1) && cluster.running(2); }));
    return time_to_live(cluster, cluster.wait_for_leader(), id);
  }
  EXPECT_TRUE(cluster.make_leader(1));
  return time_to_live(cluster, 2, id);
}

TEST(NodeLease, WithoutCheckpointsANewLeaderStartsFromTheFullTime) {
  for (bool restart : {false, true}) {
    int64_t left = left_after_a_change(false, 22, restart);
    EXPECT_GE(left, 59);
    EXPECT_LE(left, 61);
  }
}

TEST(NodeLease, WithCheckpointsItStartsFromTheLastOne) {
  for (bool restart : {false, true}) {
    int64_t left = left_after_a_change(true, 22, restart);  // the last one was at 20
    EXPECT_GE(left, 37);
    EXPECT_LE(left, 42);
  }
}

TEST(NodeLease, ARenewalTakesACheckpointBackForAllLeadersToCome) {
  TestCluster cluster(3, [](size_t, Config& c) {
    c.lease_checkpoint = true;
    c.lease_checkpoint_interval = 5 * kSecond;
  });
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  int64_t id = grant(cluster, 0, 60);
  cluster.run_for(22 * kSecond);
  ASSERT_GT(cluster.node(1).keyspace().lease(id)->remaining_ttl, 0);
  KeepAlive answer;
  keep_alive(cluster, 2, id, answer);
  ASSERT_TRUE(cluster.wait([&] { return answer.answered; }));
  EXPECT_EQ(answer.ttl, 60);
  ASSERT_TRUE(cluster.make_leader(1));
  EXPECT_GE(time_to_live(cluster, 2, id), 58);
  EXPECT_EQ(cluster.node(1).keyspace().lease(id)->remaining_ttl, 0);
}

// The renewal's entry reached the others, and that it is committed did not: the successor must have applied it before
// its clock begins.
TEST(NodeLease, ARenewalCountsForASuccessorThatHasNotAppliedItYet) {
  TestCluster cluster(3, [](size_t, Config& c) {
    c.lease_checkpoint = true;
    c.lease_checkpoint_interval = 5 * kSecond;
  });
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  int64_t id = grant(cluster, 0, 60);
  cluster.run_for(22 * kSecond);
  Index known = cluster.node(0).applied();
  for (size_t follower : {1, 2}) {
    cluster.disturb(follower, [known](raft::Message m, const Config::Deliver& deliver) {
      if (auto* append = std::get_if<raft::Append>(&m.body)) append->commit = std::min(append->commit, known);
      if (auto* beat = std::get_if<raft::Heartbeat>(&m.body)) beat->commit = std::min(beat->commit, known);
      deliver(std::move(m));
    });
  }
  KeepAlive answer;
  keep_alive(cluster, 0, id, answer);
  ASSERT_TRUE(cluster.wait([&] { return answer.answered; }));
  EXPECT_EQ(answer.ttl, 60);
  ASSERT_EQ(cluster.node(1).applied(), known);
  cluster.kill(0);
  for (size_t follower : {1, 2}) cluster.disturb(follower, nullptr);
  EXPECT_GE(time_to_live(cluster, cluster.wait_for_leader(), id), 58);
}

// A program without the gate takes over what one with it has left behind.
TEST(NodeLease, ACheckpointIsTakenBackWithoutTheGateToo) {
  TestCluster cluster(3, [](size_t member, Config& c) {
    c.lease_checkpoint = member == 0;
    c.lease_checkpoint_interval = 5 * kSecond;
  });
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  int64_t id = grant(cluster, 0, 60);
  cluster.run_for(22 * kSecond);
  ASSERT_TRUE(cluster.make_leader(1));
  EXPECT_LE(time_to_live(cluster, 1, id), 42);
  KeepAlive answer;
  keep_alive(cluster, 1, id, answer);
  ASSERT_TRUE(cluster.wait([&] { return answer.answered; }));
  EXPECT_EQ(answer.ttl, 60);
  ASSERT_TRUE(cluster.make_leader(2));
  EXPECT_GE(time_to_live(cluster, 2, id), 58);
}

// ---- reads

// A follower that knows how far it must have applied, and is never given the entries, says so in time.
TEST(NodeRead, AReadThatWaitsForEntriesTimesOut) {
  TestCluster cluster(3);
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  cluster.disturb(2, [](raft::Message m, const Config::Deliver& deliver) {
    if (const auto* append = std::get_if<raft::Append>(&m.body); append && !append->entries.empty()) return;
    deliver(std::move(m));
  });
  ASSERT_TRUE(cluster.put(0, "k", "1").is_ok());
  bool answered = false;
  Status status;
  io::Nanos asked = cluster.world().now();
  cluster.in_turn(2, [&](Node& n) {
    mvcc::RangeRequest request;
    request.key = "k";
    n.range(Bytes(), request, [&](const Status& s, const mvcc::RangeResult*) {
      answered = true;
      status = s;
    });
  });
  ASSERT_TRUE(cluster.wait([&] { return answered; })) << "the read never ends";
  EXPECT_EQ(status, err_timeout());
  EXPECT_LE(cluster.world().now() - asked, cluster.node(2).config().request_timeout() + kSecond);
}

void put_many(TestCluster& cluster, int keys) {
  size_t waiting = 0;
  cluster.in_turn(0, [&](Node& n) {
    for (int i = 0; i < keys; ++i) {
      std::string key = "key" + std::to_string(1'000'000 + i);
      mvcc::PutRequest request;
      request.key = key;
      request.value = "v";
      ++waiting;
      n.propose(request, [&waiting](const Status& s, const mvcc::ApplyResult*) {
        EXPECT_TRUE(s.is_ok());
        --waiting;
      });
    }
  });
  ASSERT_TRUE(cluster.wait([&] { return waiting == 0; }));
}

mvcc::RangeRequest everything() {
  mvcc::RangeRequest request;
  request.key = "a";
  request.range_end = "z";
  request.serializable = true;
  return request;
}

TEST(NodeRead, LargeRangesUnderWayAreBounded) {
  TestCluster cluster(1);
  cluster.form();
  put_many(cluster, 6000);
  std::vector<Status> answers;
  auto ask = [&](size_t count) {
    cluster.in_turn(0, [&](Node& n) {
      for (size_t i = 0; i < count; ++i) {
        n.range(Bytes(), everything(), [&answers](const Status& s, const mvcc::RangeResult* r) {
          answers.push_back(s);
          if (s.is_ok()) {
            EXPECT_EQ(r->kvs.items.size(), 6000u);
          }
        });
      }
    });
  };
  ask(kPagedRangesMax + 3);
  ASSERT_TRUE(cluster.wait([&] { return answers.size() == kPagedRangesMax + 3; }));
  EXPECT_EQ(std::count(answers.begin(), answers.end(), err_too_many_requests()), 3);
  EXPECT_EQ(std::count(answers.begin(), answers.end(), Status()), static_cast<ptrdiff_t>(kPagedRangesMax));
  // The places are free again.
  answers.clear();
  ask(kPagedRangesMax);
  ASSERT_TRUE(cluster.wait([&] { return answers.size() == kPagedRangesMax; }));
  EXPECT_EQ(std::count(answers.begin(), answers.end(), Status()), static_cast<ptrdiff_t>(kPagedRangesMax));
}

TEST(NodeRead, ALargeRangeEndsWhenItsReaderHasGone) {
  TestCluster cluster(1);
  cluster.form();
  put_many(cluster, 6000);
  int asked = 0;
  std::vector<Status> answers;
  cluster.in_turn(0, [&](Node& n) {
    n.range(
        Bytes(), everything(), [&](const Status& s, const mvcc::RangeResult*) { answers.push_back(s); },
        [&asked] { return ++asked < 2; });
  });
  ASSERT_TRUE(cluster.wait([&] { return !answers.empty(); }));
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].code(), Code::kCancelled);
  EXPECT_EQ(asked, 2);
  // It holds no place any more.
  answers.clear();
  cluster.in_turn(0, [&](Node& n) {
    for (size_t i = 0; i < kPagedRangesMax; ++i)
      n.range(Bytes(), everything(), [&](const Status& s, const mvcc::RangeResult*) { answers.push_back(s); });
  });
  ASSERT_TRUE(cluster.wait([&] { return answers.size() == kPagedRangesMax; }));
  EXPECT_EQ(std::count(answers.begin(), answers.end(), Status()), static_cast<ptrdiff_t>(kPagedRangesMax));
}

struct ReadCounts {
  explicit ReadCounts(const Node& n)
      : keyspace(n.keyspace().stats().ranges_total),
        looked_up(n.stats().range.count),
        requests(n.stats().request.of(kOpRange, true).count),
        from_disk(n.stats().cold_reads) {}
  uint64_t keyspace, looked_up, requests, from_disk;
};

// Whatever a read has to go through: it is one read, in every metric.
TEST(NodeRead, AReadIsCountedOnce) {
  TestCluster cluster(1);
  cluster.form();
  put_many(cluster, 3 * static_cast<int>(kRangeDirectKeys));
  const std::vector<std::string> keys = {"a serializable", "a linearizable", "a both"};
  for (const std::string& key : keys) ASSERT_EQ(cluster.put(0, key, "v"), Status());
  bool on_disk = false;
  cluster.in_turn(0, [&](Node& n) { n.pin_applied([&](Result<PinnedState> pin) { on_disk = pin.is_ok(); }); });
  ASSERT_TRUE(cluster.wait([&] { return on_disk; }));
  cluster.kill(0);  // a start reads no values: all are on disk only
  cluster.start(0);
  ASSERT_TRUE(cluster.wait([&] { return cluster.running(0) && cluster.node(0).ready(); }));

  auto read = [&](const mvcc::RangeRequest& request, bool in_two_steps) {
    std::optional<size_t> got;
    RangeDone done = [&](const Status& s, const mvcc::RangeResult* r) { got = s.is_ok() ? r->kvs.items.size() : 0; };
    cluster.in_turn(0, [&](Node& n) {
      if (!in_two_steps) return n.range(Bytes(), request, done);
      mvcc::RangeResult now;
      EXPECT_FALSE(n.range_now(Caller(), request, now));
      n.range_later(Caller(), Bytes(), request, done);
    });
    EXPECT_TRUE(cluster.wait([&] { return got.has_value(); }));
    return got.value_or(0);
  };
  auto read_one = [&](const std::string& key, bool serializable, bool in_two_steps) {
    SCOPED_TRACE(key);
    mvcc::RangeRequest request;
    request.key = key;
    request.serializable = serializable;
    for (uint64_t from_disk : {1, 0}) {  // then it is in the cache
      ReadCounts before(cluster.node(0));
      EXPECT_EQ(read(request, in_two_steps && from_disk == 1), 1u);
      ReadCounts after(cluster.node(0));
      EXPECT_EQ(after.keyspace, before.keyspace + 1);
      EXPECT_EQ(after.looked_up, before.looked_up + 1);
      EXPECT_EQ(after.requests, before.requests + 1);
      EXPECT_EQ(after.from_disk, before.from_disk + from_disk);
    }
  };
  read_one(keys[0], true, false);
  read_one(keys[1], false, false);
  read_one(keys[2], true, true);
  ReadCounts before(cluster.node(0));
  EXPECT_EQ(read(everything(), false), 3 * kRangeDirectKeys + keys.size());  // page by page
  ReadCounts after(cluster.node(0));
  EXPECT_EQ(after.looked_up, before.looked_up + 1);
  EXPECT_EQ(after.requests, before.requests + 1);
}

// After a start all values are on disk, and all clients come back at once.
TEST(NodeRead, ReadsThatWaitForTheDiskAreBounded) {
  TestCluster cluster(1);
  cluster.form();
  ASSERT_EQ(cluster.put(0, "k", "v"), Status());
  bool on_disk = false;
  cluster.in_turn(0, [&](Node& n) { n.pin_applied([&](Result<PinnedState> pin) { on_disk = pin.is_ok(); }); });
  ASSERT_TRUE(cluster.wait([&] { return on_disk; }));
  cluster.kill(0);
  cluster.start(0);
  ASSERT_TRUE(cluster.wait([&] { return cluster.running(0) && cluster.node(0).ready(); }));
  for (bool serializable : {true, false}) {
    size_t good = 0, refused = 0;
    constexpr size_t kReads = kFetchesAtOnceMax + kFetchesWaitingMax + 3;
    static_assert(kFetchesWaitingMax > io::kWorkersQueueMax, "more than workers may be given");
    cluster.in_turn(0, [&](Node& n) {
      for (size_t i = 0; i < kReads; ++i) {
        mvcc::RangeRequest request;
        request.key = "k";
        request.serializable = serializable;
        n.range(Bytes(), request, [&](const Status& s, const mvcc::RangeResult* r) {
          EXPECT_TRUE(s == err_too_many_requests() || (s.is_ok() && r->kvs.items.at(0).value == "v"));
          ++(s.is_ok() ? good : refused);
        });
      }
    });
    ASSERT_TRUE(cluster.wait([&] { return good + refused == kReads; }));
    EXPECT_EQ(refused, serializable ? 3u : 0u) << "by then it is in the cache";
    EXPECT_EQ(cluster.node(0).fetches_waiting(), 0u);
  }
}

// ---- proposals

// What a follower forwards in one message, and what a leader appends in one go, has a limit; all of it gets through.
TEST(NodePropose, WhatReachesTheLeaderTwiceIsAppliedOnce) {
  TestCluster cluster(3);
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  cluster.disturb(0, [](raft::Message m, const Config::Deliver& deliver) {
    if (is<raft::Propose>(m)) deliver(m);
    deliver(std::move(m));
  });
  int64_t before = cluster.node(0).keyspace().revision();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(cluster.put(1 + i % 2, "k", std::to_string(i)).is_ok());
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(0).stats().proposals_repeated >= 20; }));
  EXPECT_EQ(cluster.node(0).keyspace().revision(), before + 20);
  EXPECT_EQ(cluster.get_local(0, "k"), "19");
}

// The second copy comes when the first is in checkpoints only, on members that have been restarted or installed a
// snapshot since.
TEST(NodePropose, ARepeatedProposalIsKnownAfterARestartAndASnapshot) {
  TestCluster cluster(3, [](size_t, Config& c) {
    c.checkpoint_log_bytes = 64 << 10;
    c.log_keep_bytes = 0;
  });
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  std::vector<std::function<void()>> copies;
  cluster.disturb(0, [&copies](raft::Message m, const Config::Deliver& deliver) {
    if (is<raft::Propose>(m)) copies.push_back([m, deliver] { deliver(m); });
    deliver(std::move(m));
  });
  ASSERT_TRUE(cluster.put(1, "k", "first").is_ok());
  cluster.disturb(0, {});
  cluster.kill(2);
  ASSERT_TRUE(cluster.put(1, "k", "second").is_ok());
  std::string value(2000, 'x');
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(cluster.put(0, "other", value).is_ok());
  for (int i = 0; i < 2; ++i) {
    for (size_t m : {0, 1}) cluster.in_turn(m, [](Node& n) { n.checkpoint_now(); });
    cluster.run_for(kSecond);
    ASSERT_TRUE(cluster.put(0, "other", value).is_ok());
  }
  cluster.kill(1);
  cluster.start(1);
  cluster.start(2);
  auto level = [&] {
    return cluster.running(1) && cluster.running(2) && cluster.node(1).applied() == cluster.node(0).applied() &&
           cluster.node(2).applied() == cluster.node(0).applied();
  };
  ASSERT_TRUE(cluster.wait(level));
  ASSERT_EQ(cluster.node(2).stats().snapshots_installed, 1u);  // or this proves less than it says
  int64_t before = cluster.node(0).keyspace().revision();
  ASSERT_FALSE(copies.empty());
  for (auto& copy : copies) cluster.in_turn(0, [&copy](Node&) { copy(); });
  ASSERT_TRUE(cluster.wait([&] { return cluster.node(2).stats().proposals_repeated > 0 && level(); }));
  for (size_t m : {0, 1, 2}) {
    EXPECT_GT(cluster.node(m).stats().proposals_repeated, 0u);
    EXPECT_EQ(cluster.node(m).keyspace().revision(), before);
    EXPECT_EQ(cluster.get_local(m, "k"), "second");
    EXPECT_EQ(cluster.node(m).state_hash(), cluster.node(0).state_hash());
  }
}

TEST(NodePropose, BatchesAreBounded) {
  TestCluster cluster(3);
  cluster.form();
  ASSERT_TRUE(cluster.make_leader(0));
  size_t batches = 0, bytes_max = 0;
  cluster.disturb(0, [&](raft::Message m, const Config::Deliver& deliver) {
    if (const auto* propose = std::get_if<raft::Propose>(&m.body)) {
      size_t bytes = 0;
      for (const Bytes& b : propose->data) bytes += b.size();
      bytes_max = std::max(bytes_max, bytes);
      ++batches;
    }
    deliver(std::move(m));
  });
  constexpr int kPuts = 24;
  std::string value(1 << 20, 'v');
  int ok = 0, failed = 0;
  cluster.in_turn(1, [&](Node& n) {
    for (int i = 0; i < kPuts; ++i) {
      std::string key = "big" + std::to_string(i);
      mvcc::PutRequest request;
      request.key = key;
      request.value = value;
      n.propose(request, [&](const Status& s, const mvcc::ApplyResult*) { ++(s.is_ok() ? ok : failed); });
    }
  });
  ASSERT_TRUE(cluster.wait([&] { return ok + failed == kPuts; }, 60 * kSecond));
  EXPECT_EQ(ok, kPuts);
  EXPECT_LE(bytes_max, kProposeBatchBytesMax);
  EXPECT_GE(batches, 3u);
}

}  // namespace
}  // namespace fairlead::node
