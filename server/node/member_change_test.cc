#include "server/node/member_change.h"

#include <gtest/gtest.h>

namespace fairlead::node {
namespace {

using Kind = MemberChange::Kind;

MemberMap three() {
  MemberMap out;
  for (uint64_t id = 1; id <= 3; ++id) {
    Member m;
    m.id = MemberId(id);
    m.peer_urls = {"http://h" + std::to_string(id) + ":1"};
    m.store = StoreId(id);  // started
    out.emplace(m.id, m);
  }
  return out;
}

MemberChange change(Kind kind, uint64_t id, std::vector<std::string> urls = {}, bool learner = false) {
  MemberChange c;
  c.kind = kind;
  c.id = MemberId(id);
  c.peer_urls = std::move(urls);
  c.is_learner = learner;
  return c;
}

// The leader is member 1; who is named is connected for long enough.
Connections connected(std::vector<uint64_t> who) {
  auto has = [who](MemberId id) { return std::find(who.begin(), who.end(), id.value) != who.end(); };
  return {MemberId(1), has, has};
}

TEST(MemberChange, SurvivesEncodingAndDamageIsRefused) {
  MemberChange c = change(Kind::kAdd, 77, {"http://a:1", "http://b:2"}, true);
  c.request_id = "r-1";
  c.expected_members = "0123";
  c.fence = 300;
  std::string bytes = encode_change(c);
  auto back = decode_change(bytes);
  ASSERT_TRUE(back.is_ok());
  EXPECT_EQ(*back, c);
  for (size_t n = 0; n < bytes.size(); ++n)
    EXPECT_FALSE(decode_change(std::string_view(bytes).substr(0, n)).is_ok()) << n;
  for (size_t at : {0, 1}) {
    std::string bad = bytes;
    bad[at] = 9;
    EXPECT_FALSE(decode_change(bad).is_ok());
  }
}

// What etcd 3.7.1 printed for `member add` of this URL in this second.
TEST(MemberChange, AddedIdsAreEtcds) {
  MemberId id = added_member_id({}, {}, {"http://127.0.0.1:39783"}, 1795287030);
  EXPECT_EQ(id, bootstrap_member_id({"http://127.0.0.1:39783"}, "1795287030"));
  // The seconds go on until the ID is free: neither a member's nor a tombstone.
  MemberId next = added_member_id({}, {id}, {"http://127.0.0.1:39783"}, 1795287030);
  EXPECT_EQ(next, bootstrap_member_id({"http://127.0.0.1:39783"}, "1795287031"));
  MemberMap taken;
  taken[next].id = next;
  EXPECT_EQ(added_member_id(taken, {id}, {"http://127.0.0.1:39783"}, 1795287030),
            bootstrap_member_id({"http://127.0.0.1:39783"}, "1795287032"));
}

TEST(MemberChange, UrlsHaveEtcdsForm) {
  for (const char* good :
       {"http://h:1", "https://h:1", "http://127.0.0.1:2380", "http://[::1]:1", "unix://h:1", "unixs:///a"})
    EXPECT_TRUE(check_peer_urls({good}).is_ok()) << good;
  for (const char* bad : {"", "foo", "ftp://h:1", "http://h", "http://h:", "http://:1", "http://h:1/", "http://h:1/x",
                          "http://h:99999", "http://h:x", "http://a b:1", " http://h:1", "unix://"})
    EXPECT_EQ(check_peer_urls({bad}), err_bad_member_urls()) << bad;
  EXPECT_EQ(check_peer_urls({}), err_bad_member_urls());
  EXPECT_EQ(check_peer_urls({"http://h:1", "h"}), err_bad_member_urls());
  EXPECT_EQ(tidy_peer_urls({" http://b:1\t", "http://a:1"}), (std::vector<std::string>{"http://a:1", "http://b:1"}));
}

TEST(MemberChange, IsValidatedAsInEtcd) {
  MemberMap members = three();
  members.at(MemberId(3)).is_learner = true;
  std::vector<MemberId> removed = {MemberId(9)};
  auto check = [&](const MemberChange& c, size_t learners_max = 1) {
    return check_change(members, removed, c, learners_max);
  };
  EXPECT_TRUE(check(change(Kind::kAdd, 4, {"http://h4:1"})).is_ok());
  EXPECT_EQ(check(change(Kind::kAdd, 4, {"http://h4:1", "http://h2:1"})), err_peer_urls_exist());
  EXPECT_EQ(check(change(Kind::kAdd, 9, {"http://h4:1"})), err_member_not_found()) << "a tombstone";
  EXPECT_EQ(check(change(Kind::kRemove, 4)), err_member_not_found());
  EXPECT_EQ(check(change(Kind::kRemove, 9)), err_member_not_found());
  EXPECT_TRUE(check(change(Kind::kRemove, 3)).is_ok());
  EXPECT_EQ(check(change(Kind::kUpdate, 4, {"http://h4:1"})), err_member_not_found());
  EXPECT_EQ(check(change(Kind::kUpdate, 2, {"http://h1:1"})), err_peer_urls_exist());
  EXPECT_TRUE(check(change(Kind::kUpdate, 2, {"http://h2:1", "http://h5:1"})).is_ok()) << "its own URL may stay";
  EXPECT_TRUE(check(change(Kind::kPromote, 3)).is_ok());
  EXPECT_EQ(check(change(Kind::kPromote, 2)), err_not_a_learner());
  EXPECT_EQ(check(change(Kind::kPromote, 4)), err_member_not_found());
}

TEST(MemberChange, LearnersAreLimited) {
  MemberMap members = three();
  MemberChange learner = change(Kind::kAdd, 4, {"http://h4:1"}, true);
  EXPECT_EQ(check_change(members, {}, learner, 0), err_too_many_learners());
  EXPECT_TRUE(check_change(members, {}, learner, 1).is_ok());
  members.at(MemberId(3)).is_learner = true;
  EXPECT_EQ(check_change(members, {}, learner, 1), err_too_many_learners());
  EXPECT_TRUE(check_change(members, {}, learner, 2).is_ok());
}

TEST(MemberChange, TheLastVoterStays) {
  MemberMap members = three();
  members.erase(MemberId(3));
  members.at(MemberId(2)).is_learner = true;
  EXPECT_EQ(check_change(members, {}, change(Kind::kRemove, 1), 1), err_not_enough_started());
  EXPECT_TRUE(check_change(members, {}, change(Kind::kRemove, 2), 1).is_ok());
}

TEST(MemberChange, StrictCheckKeepsTheQuorum) {
  MemberMap members = three();
  MemberChange add = change(Kind::kAdd, 4, {"http://h4:1"});
  MemberChange learner = change(Kind::kAdd, 4, {"http://h4:1"}, true);
  EXPECT_TRUE(check_quorum_kept(members, add, connected({2, 3})).is_ok());
  EXPECT_EQ(check_quorum_kept(members, add, connected({2})), err_unhealthy()) << "three of four would be all";
  EXPECT_EQ(check_quorum_kept(members, learner, connected({2})), err_unhealthy());

  members.at(MemberId(3)).store = StoreId();
  EXPECT_EQ(check_quorum_kept(members, add, connected({2, 3})), err_not_enough_started());
  EXPECT_TRUE(check_quorum_kept(members, learner, connected({2, 3})).is_ok());
  EXPECT_TRUE(check_quorum_kept(members, change(Kind::kRemove, 3), connected({2})).is_ok());
  EXPECT_EQ(check_quorum_kept(members, change(Kind::kRemove, 2), connected({2, 3})), err_not_enough_started());

  members = three();
  EXPECT_TRUE(check_quorum_kept(members, change(Kind::kRemove, 3), connected({2, 3})).is_ok());
  EXPECT_TRUE(check_quorum_kept(members, change(Kind::kRemove, 3), connected({2})).is_ok()) << "it is down";
  EXPECT_EQ(check_quorum_kept(members, change(Kind::kRemove, 2), connected({2})), err_unhealthy()) << "it is needed";

  MemberMap one;
  one[MemberId(1)] = three().at(MemberId(1));
  EXPECT_TRUE(check_quorum_kept(one, add, connected({})).is_ok()) << "a single member may grow";
  EXPECT_EQ(check_quorum_kept(one, change(Kind::kRemove, 1), connected({})), err_not_enough_started());
  MemberMap two = three();
  two.erase(MemberId(3));
  two.at(MemberId(2)).store = StoreId();
  EXPECT_EQ(check_quorum_kept(two, change(Kind::kPromote, 4), connected({})).is_ok(), true);
  two.at(MemberId(1)).store = StoreId();
  EXPECT_EQ(check_quorum_kept(two, change(Kind::kPromote, 4), connected({})), err_not_enough_started());
}

TEST(MemberChange, DoesWhatItSays) {
  MemberMap members = three();
  std::vector<MemberId> removed;
  ChangeLog log;
  Membership all{members, removed, log};
  MemberChange add = change(Kind::kAdd, 7, {"http://h7:1"}, true);
  add.request_id = "one";
  add.fence = 5;
  apply_change(all, add);
  EXPECT_EQ(configuration_of(members).to_string(), "voters 1 2 3 learners 7");
  EXPECT_FALSE(members.at(MemberId(7)).started());
  apply_change(all, change(Kind::kPromote, 7));
  apply_change(all, change(Kind::kUpdate, 7, {"http://h8:1"}));
  EXPECT_EQ(members.at(MemberId(7)).peer_urls, std::vector<std::string>{"http://h8:1"});
  apply_change(all, change(Kind::kRemove, 2));
  apply_change(all, change(Kind::kRemove, 1));
  EXPECT_EQ(configuration_of(members).to_string(), "voters 3 7");
  EXPECT_EQ(removed, (std::vector<MemberId>{MemberId(1), MemberId(2)}));
  EXPECT_EQ(log.fence, 5u);
  ASSERT_EQ(log.done.size(), 1u);
  EXPECT_EQ(log.done[0].request_id, "one");
  EXPECT_EQ(log.done[0].member, MemberId(7));
}

TEST(MemberChange, RememberedRequestsAreBounded) {
  MemberMap members = three();
  std::vector<MemberId> removed;
  ChangeLog log;
  for (size_t i = 0; i < kDoneChangesMax + 3; ++i) {
    MemberChange c = change(Kind::kUpdate, 1, {"http://h1:1"});
    c.request_id = std::to_string(i);
    apply_change({members, removed, log}, c);
  }
  ASSERT_EQ(log.done.size(), kDoneChangesMax);
  EXPECT_EQ(log.done.front().request_id, "3");
}

TEST(MemberChange, GuardsOfAnOperator) {
  MemberMap members = three();
  ChangeLog log;
  log.fence = 7;
  MemberChange c = change(Kind::kRemove, 2);
  EXPECT_TRUE(check_guards(members, log, c).is_ok());
  c.fence = 6;
  EXPECT_EQ(check_guards(members, log, c).code(), Code::kFailedPrecondition);
  c.fence = 7;
  c.expected_members = members_hash(members);
  EXPECT_TRUE(check_guards(members, log, c).is_ok());
  members.at(MemberId(3)).is_learner = true;
  Status refused = check_guards(members, log, c);
  EXPECT_EQ(refused.code(), Code::kFailedPrecondition);
  EXPECT_NE(refused.message().find(members_hash(members)), std::string_view::npos) << "it says what it is now";
}

TEST(MemberChange, TheLogOfChangesGoesWithTheConfiguration) {
  ChangeLog log;
  log.fence = 9;
  log.done = {{"a", Kind::kAdd, MemberId(1)}, {"b", Kind::kRemove, MemberId(2)}};
  std::string bytes = encode_cluster_config(configuration_of(three()), three(), {MemberId(5)}, log);
  auto back = decode_cluster_config(bytes);
  ASSERT_TRUE(back.is_ok());
  EXPECT_EQ(back->changes, log);
  EXPECT_EQ(back->members, three());
  EXPECT_FALSE(decode_cluster_config(std::string_view(bytes).substr(0, bytes.size() - 1)).is_ok());
  // As the first version wrote it.
  std::string old = encode_cluster_config(configuration_of(three()), three(), {MemberId(5)});
  old[0] = 1;
  old.resize(old.size() - 2);
  auto read = decode_cluster_config(old);
  ASSERT_TRUE(read.is_ok());
  EXPECT_EQ(read->changes, ChangeLog());
  EXPECT_EQ(read->removed, std::vector<MemberId>{MemberId(5)});
}

}  // namespace
}  // namespace fairlead::node
