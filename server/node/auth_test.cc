// Users and rights on a few simulated members: what the log makes of them, whatever happens around it.
#include <gtest/gtest.h>

#include "server/mvcc/errors.h"
#include "server/node/cluster_for_test.h"

namespace fairlead::node {
namespace {

using Kind = mvcc::AuthChange::Kind;
using io::kSecond;

mvcc::AuthChange change_of(Kind kind, std::string name = "", std::string role = "") {
  mvcc::AuthChange c;
  c.kind = kind;
  c.name = std::move(name);
  c.role = std::move(role);
  return c;
}
mvcc::AuthChange grant_of(std::string role, int32_t type, std::string key, std::string end = "") {
  mvcc::AuthChange c = change_of(Kind::kRoleGrant, std::move(role));
  c.permission = {type, std::move(key), std::move(end)};
  return c;
}

class NodeAuth : public ::testing::Test {
 protected:
  void make(size_t size, TestCluster::Tweak tweak = {}) {
    cluster = std::make_unique<TestCluster>(size, std::move(tweak));
    cluster->form();
    ASSERT_TRUE(cluster->make_leader(0));
  }
  Caller as(size_t member, std::string user) {
    Caller c;
    c.user = std::move(user);
    c.kind = Caller::Kind::kSimpleToken;
    c.auth_revision = cluster->node(member).auth().revision();
    return c;
  }
  // Waits for what `ask` answers.
  Status answered(size_t member, const std::function<void(Node&, std::function<void(const Status&)>)>& ask) {
    std::optional<Status> got;
    cluster->in_turn(member, [&](Node& n) { ask(n, [&got](const Status& s) { got = s; }); });
    EXPECT_TRUE(cluster->wait([&] { return got.has_value(); }));
    return got.value_or(Status(Code::kUnknown, "no answer"));
  }
  Status change(const mvcc::AuthChange& c, size_t member = 0, const Caller& by = Caller()) {
    return answered(member,
                    [&](Node& n, auto done) { n.propose_auth(by, c, [done](const Status& s, Index) { done(s); }); });
  }
  Status put(const Caller& by, std::string key, size_t member = 0, int64_t lease = 0) {
    return answered(member, [&](Node& n, auto done) {
      n.propose(by, mvcc::PutRequest{key, "v", lease}, [done](const Status& s, const mvcc::ApplyResult*) { done(s); });
    });
  }
  Status get(const Caller& by, std::string key, size_t member = 0) {
    return answered(member, [&](Node& n, auto done) {
      mvcc::RangeRequest r;
      Bytes owner = Bytes::copy(key);
      r.key = owner.view();
      n.range(by, owner, r, [done](const Status& s, const mvcc::RangeResult*) { done(s); });
    });
  }
  // root, and ann who may do everything to [a, m).
  void enable() {
    for (const mvcc::AuthChange& c :
         {change_of(Kind::kUserAdd, "root"), change_of(Kind::kUserGrant, "root", "root"),
          change_of(Kind::kUserAdd, "ann"), change_of(Kind::kRoleAdd, "r"), grant_of("r", 2, "a", "m"),
          change_of(Kind::kUserGrant, "ann", "r"), change_of(Kind::kEnable)})
      ASSERT_EQ(change(c), Status());
    ASSERT_TRUE(cluster->wait([&] {
      for (size_t m = 0; m < cluster->size(); ++m)
        if (cluster->running(m) && !cluster->node(m).auth().enabled()) return false;
      return true;
    }));
  }
  std::unique_ptr<TestCluster> cluster;
};

TEST_F(NodeAuth, JudgedOnEveryMember) {
  make(3);
  enable();
  for (size_t m : {0, 1, 2}) {
    EXPECT_EQ(put(as(m, "ann"), "b", m), Status());
    EXPECT_EQ(put(as(m, "ann"), "z", m), mvcc::err_permission_denied());
    EXPECT_EQ(put(Caller(), "b", m), mvcc::err_user_empty());
    EXPECT_EQ(put(as(m, "root"), "z", m), Status());
    EXPECT_EQ(get(as(m, "ann"), "b", m), Status());
    EXPECT_EQ(get(as(m, "ann"), "z", m), mvcc::err_permission_denied());
    EXPECT_EQ(get(Caller(), "b", m), mvcc::err_user_empty());
    EXPECT_EQ(change(change_of(Kind::kRoleAdd, "x"), m, as(m, "ann")), mvcc::err_permission_denied());
    EXPECT_EQ(change(change_of(Kind::kDisable), m), mvcc::err_user_empty());
  }
  ASSERT_TRUE(cluster->wait([&] { return cluster->node(2).applied() == cluster->node(0).applied(); }));
  ASSERT_TRUE(cluster->wait([&] { return cluster->node(1).applied() == cluster->node(0).applied(); }));
  EXPECT_EQ(cluster->node(0).state_hash(), cluster->node(1).state_hash());
  EXPECT_EQ(cluster->node(0).state_hash(), cluster->node(2).state_hash());
}

// A command that was sent with rights which end before it is applied is refused there.
TEST_F(NodeAuth, ACommandBehindAChangeIsRefused) {
  make(1);
  enable();
  Caller ann = as(0, "ann"), root = as(0, "root");
  std::vector<Status> results;
  cluster->in_turn(0, [&](Node& n) {
    n.propose_auth(root, change_of(Kind::kUserRevoke, "ann", "r"),
                   [&](const Status& s, Index) { results.push_back(s); });
    n.propose(ann, mvcc::PutRequest{"b", "v"},
              [&](const Status& s, const mvcc::ApplyResult*) { results.push_back(s); });
  });
  ASSERT_TRUE(cluster->wait([&] { return results.size() == 2; }));
  EXPECT_EQ(results[0], Status());
  EXPECT_EQ(results[1], mvcc::err_auth_old_revision());
  EXPECT_EQ(put(as(0, "ann"), "b"), mvcc::err_permission_denied());
  EXPECT_EQ(cluster->get_local(0, "b"), "");
}

// A read is judged when it is served. A change that leaves its user alone does not disturb it; a JWT speaks of one
// revision only.
TEST_F(NodeAuth, AReadIsJudgedWhenItIsServed) {
  make(1);
  enable();
  auto read_behind = [&](const Caller& who, const mvcc::AuthChange& before) {
    std::optional<Status> read;
    Bytes owner = Bytes::copy(std::string("b"));
    cluster->in_turn(0, [&](Node& n) {
      n.propose_auth(as(0, "root"), before, [&](const Status& s, Index) {
        EXPECT_EQ(s, Status());
        mvcc::RangeRequest r;
        r.key = owner.view();
        n.range(who, owner, r, [&](const Status& s2, const mvcc::RangeResult*) { read = s2; });
      });
    });
    EXPECT_TRUE(cluster->wait([&] { return read.has_value(); }));
    return read.value_or(Status());
  };
  EXPECT_EQ(read_behind(as(0, "ann"), change_of(Kind::kRoleAdd, "other")), Status());
  Caller jwt = as(0, "ann");
  jwt.kind = Caller::Kind::kJwt;
  EXPECT_EQ(get(jwt, "b"), Status());
  EXPECT_EQ(read_behind(jwt, change_of(Kind::kRoleAdd, "another")), mvcc::err_auth_old_revision());
  EXPECT_EQ(read_behind(as(0, "ann"), change_of(Kind::kUserPassword, "ann")), mvcc::err_auth_old_revision());
  EXPECT_EQ(read_behind(as(0, "ann"), change_of(Kind::kUserRevoke, "ann", "r")), mvcc::err_permission_denied());
}

// Nobody's revoke is refused, but the cluster's own must go through, or no lease would ever end.
TEST_F(NodeAuth, LeasesEndAlsoWhileAuthenticationIsOn) {
  make(3);
  enable();
  std::optional<int64_t> id;
  cluster->in_turn(0, [&](Node& n) {
    n.lease_grant(
        0, 2, [&](const Status&, const mvcc::ApplyResult* r) { id = std::get<mvcc::LeaseGrantResult>(r->reply).id; });
  });
  ASSERT_TRUE(cluster->wait([&] { return id.has_value(); }));
  ASSERT_EQ(put(as(0, "root"), "z", 0, *id), Status());
  EXPECT_EQ(answered(0,
                     [&](Node& n, auto done) {
                       n.propose(as(0, "ann"), mvcc::LeaseRevokeRequest{*id},
                                 [done](const Status& s, const mvcc::ApplyResult*) { done(s); });
                     }),
            mvcc::err_permission_denied());
  EXPECT_EQ(answered(1,
                     [&](Node& n, auto done) {
                       n.lease_keep_alive(as(1, "ann"), *id, [done](const Status& s, int64_t) { done(s); });
                     }),
            mvcc::err_permission_denied());
  EXPECT_EQ(answered(1,
                     [&](Node& n, auto done) {
                       n.lease_time_to_live(as(1, "ann"), *id, true,
                                            [done](const Status& s, const LeaseTimeToLive*) { done(s); });
                     }),
            mvcc::err_permission_denied());
  EXPECT_EQ(answered(0,
                     [&](Node& n, auto done) {
                       n.lease_list(as(0, "ann"), [done](const Status& s, const std::vector<int64_t>*) { done(s); });
                     }),
            mvcc::err_permission_denied());
  EXPECT_TRUE(cluster->wait([&] { return !cluster->node(0).keyspace().lease(*id); })) << "the lease did not end";
  EXPECT_EQ(cluster->get_local(0, "z"), "");
}

TEST_F(NodeAuth, UsersOutliveARestartWithAndWithoutACheckpoint) {
  make(1);
  enable();
  uint64_t revision = cluster->node(0).auth().revision();
  for (bool checkpoint : {false, true}) {
    if (checkpoint) {
      uint64_t before = cluster->node(0).stats().checkpoints;
      cluster->in_turn(0, [](Node& n) { n.checkpoint_now(); });
      ASSERT_TRUE(cluster->wait([&] { return cluster->node(0).stats().checkpoints > before; }));
    }
    cluster->kill(0);
    cluster->start(0);
    ASSERT_TRUE(cluster->wait([&] { return cluster->running(0) && cluster->node(0).auth().enabled(); }));
    EXPECT_EQ(cluster->node(0).auth().revision(), revision);
    ASSERT_EQ(cluster->wait_for_leader(), 0u);
    EXPECT_EQ(put(as(0, "ann"), "b"), Status());
    EXPECT_EQ(put(as(0, "ann"), "z"), mvcc::err_permission_denied());
  }
}

// A token that one member gave opens every other, until its user changes.
TEST_F(NodeAuth, TokensAreKnownEverywhereAndEndEverywhere) {
  make(3);
  enable();
  auto known = [&](const std::string& token) {
    size_t n = 0;
    for (size_t m : {0, 1, 2}) n += cluster->node(m).tokens().use(token, cluster->io(m).loop->now()) != nullptr;
    return n;
  };
  auto log_in = [&](size_t member) {
    mvcc::AuthChange c = change_of(Kind::kToken, "ann");
    c.token = "abcdefghijklmnop";
    std::string token;
    cluster->in_turn(member, [&](Node& n) {
      n.propose_auth(Caller(), c, [&](const Status& s, Index at) {
        EXPECT_EQ(s, Status());
        token = c.token + "." + std::to_string(at.value);
      });
    });
    EXPECT_TRUE(cluster->wait([&] { return !token.empty() && known(token) == 3; }));
    return token;
  };
  auto gone = [&](const std::string& token) { return cluster->wait([&] { return known(token) == 0; }); };
  std::string token = log_in(1);
  EXPECT_NE(log_in(2), token);
  ASSERT_EQ(change(change_of(Kind::kUserPassword, "ann"), 0, as(0, "root")), Status());
  EXPECT_TRUE(gone(token));
  token = log_in(0);
  ASSERT_EQ(change(change_of(Kind::kUserDelete, "ann"), 0, as(0, "root")), Status());
  EXPECT_TRUE(gone(token));
  ASSERT_EQ(change(change_of(Kind::kUserAdd, "ann"), 0, as(0, "root")), Status());
  token = log_in(0);
  ASSERT_EQ(change(change_of(Kind::kDisable), 0, as(0, "root")), Status());
  EXPECT_TRUE(gone(token));
}

// What happened while a member was away is not known to it: users come with the snapshot, old tokens are worth nothing.
TEST_F(NodeAuth, AnInstalledSnapshotBringsUsersAndEndsTokens) {
  make(3, [](size_t, Config& c) {
    c.checkpoint_interval = 3600 * kSecond;
    c.checkpoint_log_bytes = 64 << 10;
    c.log_keep_bytes = 0;
    c.recent_entries_bytes = 1 << 20;
  });
  enable();
  cluster->in_turn(2, [&](Node& n) { n.tokens().assign("abcdefghijklmnop.1", "ann", cluster->io(2).loop->now()); });
  cluster->isolate(2, true);
  for (size_t m : {0, 1}) cluster->world().reset_connections(cluster->host(m), cluster->host(2));
  ASSERT_EQ(change(change_of(Kind::kUserDelete, "ann"), 0, as(0, "root")), Status());
  for (int i = 0; i < 2; ++i) {
    for (int k = 0; k < 100; ++k)
      ASSERT_EQ(put(as(0, "root"), "key" + std::to_string(k) + std::string(900, 'x')), Status());
    uint64_t before = cluster->node(0).stats().checkpoints;
    cluster->in_turn(0, [](Node& n) { n.checkpoint_now(); });
    ASSERT_TRUE(cluster->wait([&] { return cluster->node(0).stats().checkpoints > before; }));
  }
  cluster->isolate(2, false);
  ASSERT_TRUE(cluster->wait([&] { return cluster->node(2).stats().snapshots_installed == 1; }));
  ASSERT_TRUE(cluster->wait([&] { return cluster->node(2).applied() == cluster->node(0).applied(); }));
  EXPECT_EQ(cluster->node(2).auth().user("ann"), nullptr);
  EXPECT_TRUE(cluster->node(2).auth().enabled());
  EXPECT_EQ(cluster->node(2).tokens().size(), 0u);
  EXPECT_EQ(cluster->node(2).state_hash(), cluster->node(0).state_hash());
}

}  // namespace
}  // namespace fairlead::node
