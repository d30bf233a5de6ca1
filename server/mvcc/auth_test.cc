// The rules of users and roles: every change with its errors, every judgement with its way around it.
#include "server/mvcc/auth.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "server/mvcc/errors.h"
#include "server/mvcc/keyspace.h"

namespace fairlead::mvcc {
namespace {

using Kind = AuthChange::Kind;
using namespace std::string_literals;

const std::string kEnd("\0", 1);

AuthChange change_of(Kind kind, std::string name = "", std::string role = "") {
  AuthChange c;
  c.kind = kind;
  c.name = std::move(name);
  c.role = std::move(role);
  if (kind == Kind::kUserAdd || kind == Kind::kUserPassword) c.password = "$2a$hash";
  return c;
}
AuthChange permission_of(Kind kind, std::string role, int32_t type, std::string key, std::string end = "") {
  AuthChange c = change_of(kind, std::move(role));
  c.permission = {type, std::move(key), std::move(end)};
  return c;
}

class AuthTest : public ::testing::Test {
 protected:
  Status make(const AuthChange& c, std::string_view by = "root") {
    Result<AuthChange> travelled = decode_auth_change(encode_auth_change(c));
    EXPECT_TRUE(travelled.is_ok());
    Status status = auth.apply({by, auth.revision()}, *travelled, Index{++index}, keyspace.side());
    // What is stored is what is in force, after every single step.
    Auth again;
    EXPECT_TRUE(again.load(keyspace.side()).is_ok());
    EXPECT_EQ(again.enabled(), auth.enabled());
    EXPECT_EQ(again.revision(), auth.revision());
    EXPECT_EQ(again.users(), auth.users());
    EXPECT_EQ(again.roles(), auth.roles());
    return status;
  }
  void must(const AuthChange& c) { ASSERT_EQ(make(c), Status()); }
  void enable() {
    must(change_of(Kind::kUserAdd, "root"));
    must(change_of(Kind::kUserGrant, "root", "root"));
    must(change_of(Kind::kEnable));
  }
  // A user whose only role permits this.
  void user_with(const std::string& name, int32_t type, std::string key, std::string end = "") {
    must(change_of(Kind::kUserAdd, name));
    must(change_of(Kind::kRoleAdd, name + "-role"));
    must(permission_of(Kind::kRoleGrant, name + "-role", type, std::move(key), std::move(end)));
    must(change_of(Kind::kUserGrant, name, name + "-role"));
  }
  Identity as(std::string_view user) const { return user.empty() ? Identity{} : Identity{user, auth.revision()}; }
  Status may(std::string_view user, const Command& command) { return auth.check(as(user), command, keyspace); }
  void apply(const Command& command) {
    ApplyResult out;
    keyspace.apply(command, Index{++index}, {}, out);
    ASSERT_EQ(out.status, Status());
  }

  Keyspace keyspace;
  Auth auth;
  uint64_t index = 0;
};

TEST(KeyRanges, NeighboursCoverWhatSpansThem) {
  KeyRanges r;
  r.add("a", "c");
  r.add("c", "f");
  r.add("k", "");
  r.add("k\0"s, "");
  r.add("x", kEnd);
  r.add("z", "y");  // holds nothing
  r.finish();
  EXPECT_EQ(r.size(), 3u);
  EXPECT_TRUE(r.contains("a", "f"));
  EXPECT_TRUE(r.contains("b", ""));
  EXPECT_TRUE(r.contains("b", "e"));
  EXPECT_FALSE(r.contains("a", "f\0"s));
  EXPECT_FALSE(r.contains("f", ""));
  EXPECT_FALSE(r.contains("b", kEnd));
  EXPECT_TRUE(r.contains("k", "k\0\0"s));
  EXPECT_FALSE(r.contains("k", "l"));
  EXPECT_TRUE(r.contains("x", kEnd));
  EXPECT_TRUE(r.contains("y", "zzz"));
  EXPECT_FALSE(r.contains("w", kEnd));
  EXPECT_FALSE(r.contains(kEnd, kEnd)) << "all keys";
  EXPECT_FALSE(r.contains("b", "a")) << "an empty range outside";
}

// Against a set of all keys of up to three letters out of a small alphabet.
TEST(KeyRanges, AsASetOfKeys) {
  std::vector<std::string> keys;
  for (char a : "ab"s) {
    keys.push_back({a});
    for (char b : "ab"s) {
      keys.push_back({a, b});
      for (char c : "ab"s) keys.push_back({a, b, c});
    }
  }
  std::mt19937 random(7);
  auto pick = [&] { return keys[random() % keys.size()]; };
  auto in_range = [&](const std::string& k, const std::string& from, const std::string& end) {
    if (end.empty()) return k == from;
    return k >= from && (end == kEnd || k < end);
  };
  for (int round = 0; round < 3000; ++round) {
    KeyRanges r;
    std::vector<std::pair<std::string, std::string>> added;
    for (size_t n = random() % 5; n > 0; --n) {
      std::string end = random() % 3 == 0 ? "" : random() % 8 == 0 ? kEnd : pick();
      added.emplace_back(pick(), end);
      r.add(added.back().first, added.back().second);
    }
    r.finish();
    std::string from = pick(), end = random() % 2 ? "" : pick();
    if (!end.empty() && end <= from) continue;
    bool all = true;
    for (const std::string& k : keys) {
      bool held = false;
      for (const auto& [f, e] : added) held |= in_range(k, f, e);
      all &= held || !in_range(k, from, end);
    }
    // The set has fewer keys than the real line: what the intervals cover, the keys do too.
    EXPECT_TRUE(all || !r.contains(from, end)) << from << " " << end;
    EXPECT_TRUE(!end.empty() || r.contains(from, end) == all) << from;
  }
}

TEST_F(AuthTest, Users) {
  EXPECT_EQ(make(change_of(Kind::kUserAdd, "")), err_user_empty());
  EXPECT_EQ(auth.revision(), 1u);
  must(change_of(Kind::kUserAdd, "ann"));
  EXPECT_EQ(auth.revision(), 2u);
  EXPECT_EQ(make(change_of(Kind::kUserAdd, "ann")), err_user_exists());
  EXPECT_EQ(make(change_of(Kind::kUserGrant, "ann", "r")), err_role_not_found());
  EXPECT_EQ(make(change_of(Kind::kUserGrant, "bob", "r")), err_user_not_found());
  EXPECT_EQ(make(change_of(Kind::kUserRevoke, "ann", "r")), err_role_not_granted());
  EXPECT_EQ(make(change_of(Kind::kUserPassword, "bob")), err_user_not_found());
  EXPECT_EQ(make(change_of(Kind::kUserDelete, "bob")), err_user_not_found());
  EXPECT_EQ(auth.revision(), 2u) << "a refused change is none";
  must(change_of(Kind::kRoleAdd, "z"));
  must(change_of(Kind::kRoleAdd, "r"));
  must(change_of(Kind::kUserGrant, "ann", "z"));
  must(change_of(Kind::kUserGrant, "ann", "r"));
  EXPECT_EQ(auth.user("ann")->roles, (std::vector<std::string>{"r", "z"}));
  uint64_t before = auth.revision();
  must(change_of(Kind::kUserGrant, "ann", "r"));
  EXPECT_EQ(auth.revision(), before) << "it was so already";
  must(change_of(Kind::kRoleDelete, "z"));
  EXPECT_EQ(auth.user("ann")->roles, (std::vector<std::string>{"r"}));
  must(change_of(Kind::kUserDelete, "ann"));
  EXPECT_EQ(auth.user("ann"), nullptr);
}

TEST_F(AuthTest, AUserWithoutPasswordNeverHasOne) {
  AuthChange add = change_of(Kind::kUserAdd, "tls");
  add.no_password = true;
  must(add);
  EXPECT_EQ(auth.user("tls")->password, "");
  must(change_of(Kind::kUserPassword, "tls"));
  EXPECT_EQ(auth.user("tls")->password, "");
  enable();
  EXPECT_EQ(auth.check_log_in("tls"), err_auth_failed());
  EXPECT_EQ(auth.check_log_in("root"), Status());
  EXPECT_EQ(auth.check_log_in("who"), err_auth_failed());
}

TEST_F(AuthTest, Roles) {
  EXPECT_EQ(make(change_of(Kind::kRoleAdd, "")), err_role_empty());
  must(change_of(Kind::kRoleAdd, "r"));
  EXPECT_EQ(make(change_of(Kind::kRoleAdd, "r")), err_role_exists());
  EXPECT_EQ(make(change_of(Kind::kRoleDelete, "s")), err_role_not_found());
  EXPECT_EQ(make(permission_of(Kind::kRoleGrant, "s", 0, "k")), err_role_not_found());
  EXPECT_EQ(make(permission_of(Kind::kRoleGrant, "r", 0, "")), err_invalid_auth_management());
  EXPECT_EQ(make(permission_of(Kind::kRoleGrant, "r", 0, "b", "a")), err_invalid_auth_management());
  EXPECT_EQ(make(permission_of(Kind::kRoleGrant, "r", 0, "b", "b")), err_invalid_auth_management());
  must(permission_of(Kind::kRoleGrant, "r", 0, "b", "c"));
  must(permission_of(Kind::kRoleGrant, "r", 0, "b", "d"));
  must(permission_of(Kind::kRoleGrant, "r", 1, "a", kEnd));
  must(permission_of(Kind::kRoleGrant, "r", 2, "b", "d"));  // another type of the same range, not one more
  const auto& permissions = auth.roles().at("r").permissions;
  ASSERT_EQ(permissions.size(), 3u);
  EXPECT_EQ(permissions[0].key, "a");
  EXPECT_EQ(permissions[2], (Permission{2, "b", "d"}));
  EXPECT_EQ(make(permission_of(Kind::kRoleRevoke, "r", 0, "b")), err_permission_not_granted());
  EXPECT_EQ(make(permission_of(Kind::kRoleRevoke, "s", 0, "b")), err_role_not_found());
  must(permission_of(Kind::kRoleRevoke, "r", 0, "b", "d"));
  EXPECT_EQ(permissions.size(), 2u);
}

TEST_F(AuthTest, EnableNeedsRootWithRoot) {
  EXPECT_EQ(make(change_of(Kind::kEnable)), err_root_user_not_exist());
  must(change_of(Kind::kUserAdd, "root"));
  EXPECT_EQ(make(change_of(Kind::kEnable)), err_root_role_not_granted());
  must(change_of(Kind::kUserGrant, "root", "root"));
  uint64_t before = auth.revision();
  must(change_of(Kind::kEnable));
  EXPECT_TRUE(auth.enabled());
  EXPECT_EQ(auth.revision(), before);
  must(change_of(Kind::kEnable));
  // What would lock everybody out is refused while it is on.
  EXPECT_EQ(make(change_of(Kind::kUserDelete, "root")), err_invalid_auth_management());
  EXPECT_EQ(make(change_of(Kind::kUserRevoke, "root", "root")), err_invalid_auth_management());
  EXPECT_EQ(make(change_of(Kind::kRoleDelete, "root")), err_invalid_auth_management());
  must(change_of(Kind::kDisable));
  EXPECT_EQ(auth.revision(), before + 1);
  must(change_of(Kind::kDisable));
  EXPECT_EQ(auth.revision(), before + 1);
  must(change_of(Kind::kUserDelete, "root"));
}

TEST_F(AuthTest, OnlyRootChangesUsersWhileItIsOn) {
  enable();
  user_with("ann", 2, "k");
  for (Kind kind :
       {Kind::kEnable, Kind::kDisable, Kind::kUserAdd, Kind::kUserDelete, Kind::kUserPassword, Kind::kUserGrant,
        Kind::kUserRevoke, Kind::kRoleAdd, Kind::kRoleDelete, Kind::kRoleGrant, Kind::kRoleRevoke}) {
    AuthChange c = change_of(kind, "ann", "root");
    uint64_t before = auth.revision();
    EXPECT_EQ(make(c, ""), err_user_empty());
    EXPECT_EQ(make(c, "ghost"), err_user_not_found());
    EXPECT_EQ(make(c, "ann"), err_permission_denied());
    EXPECT_EQ(auth.revision(), before);
  }
}

TEST_F(AuthTest, EverythingIsPermittedWhileItIsOff) {
  EXPECT_EQ(may("", PutRequest{"k", "v"}), Status());
  EXPECT_EQ(may("", DeleteRangeRequest{"a", kEnd, true}), Status());
  EXPECT_EQ(auth.check_admin({}), Status());
  EXPECT_EQ(auth.check_read({}, "a", kEnd), Status());
}

TEST_F(AuthTest, ReadAndWriteByRange) {
  enable();
  user_with("reader", 0, "a", "m");
  user_with("writer", 1, "a", "m");
  user_with("both", 2, "key");
  EXPECT_EQ(auth.check_read(as("reader"), "a", "m"), Status());
  EXPECT_EQ(auth.check_read(as("reader"), "a", "n"), err_permission_denied());
  EXPECT_EQ(auth.check_read(as("reader"), "a", kEnd), err_permission_denied());
  EXPECT_EQ(auth.check_write(as("reader"), "b", {}), err_permission_denied());
  EXPECT_EQ(auth.check_read(as("writer"), "b", {}), err_permission_denied());
  EXPECT_EQ(auth.check_write(as("writer"), "b", {}), Status());
  EXPECT_EQ(auth.check_read(as("both"), "key", {}), Status());
  EXPECT_EQ(auth.check_read(as("both"), "key", "key0"), err_permission_denied());
  EXPECT_EQ(auth.check_read(as("root"), "a", kEnd), Status());
  EXPECT_EQ(auth.check_read(as("ghost"), "a", {}), err_permission_denied());
  EXPECT_EQ(auth.check_read({}, "a", {}), err_user_empty());
}

TEST_F(AuthTest, OldRevisionsAreRefused) {
  enable();
  user_with("ann", 2, "k");
  Identity old = as("ann");
  must(change_of(Kind::kRoleAdd, "other"));
  EXPECT_EQ(auth.check_read(old, "k", {}), err_auth_old_revision());
  EXPECT_EQ(auth.check(old, Command(PutRequest{"k", "v"}), keyspace), err_auth_old_revision());
  EXPECT_EQ(auth.check_read({"root", 1}, "k", {}), err_auth_old_revision());
  EXPECT_TRUE(auth.credentials_stand("ann", old.auth_revision)) << "nothing about her has changed";
  must(change_of(Kind::kUserPassword, "ann"));
  EXPECT_FALSE(auth.credentials_stand("ann", old.auth_revision));
  uint64_t before = auth.revision();
  must(change_of(Kind::kUserDelete, "ann"));
  EXPECT_FALSE(auth.credentials_stand("ann", before));
  must(change_of(Kind::kUserAdd, "ann"));
  EXPECT_FALSE(auth.credentials_stand("ann", before)) << "another user of the same name";
  before = auth.revision();
  must(change_of(Kind::kDisable));
  EXPECT_FALSE(auth.credentials_stand("ann", before));
  must(change_of(Kind::kEnable));
  EXPECT_FALSE(auth.credentials_stand("ann", before));
}

TEST_F(AuthTest, RightsFollowEveryChange) {
  enable();
  user_with("ann", 2, "k");
  EXPECT_EQ(auth.check_write(as("ann"), "k", {}), Status());
  must(permission_of(Kind::kRoleGrant, "ann-role", 0, "k"));
  EXPECT_EQ(auth.check_write(as("ann"), "k", {}), err_permission_denied());
  EXPECT_EQ(auth.check_read(as("ann"), "k", {}), Status());
  must(change_of(Kind::kUserRevoke, "ann", "ann-role"));
  EXPECT_EQ(auth.check_read(as("ann"), "k", {}), err_permission_denied());
  must(change_of(Kind::kUserGrant, "ann", "ann-role"));
  EXPECT_EQ(auth.check_read(as("ann"), "k", {}), Status());
  must(change_of(Kind::kRoleDelete, "ann-role"));
  EXPECT_EQ(auth.check_read(as("ann"), "k", {}), err_permission_denied());
  must(change_of(Kind::kUserGrant, "ann", "root"));
  EXPECT_EQ(auth.check_read(as("ann"), "a", kEnd), Status());
  EXPECT_EQ(auth.check_admin(as("ann")), Status());
}

// CVE-2026-33343 and etcd's issues 21681, 21685: what came in through the back door.
TEST_F(AuthTest, PreviousValuesNeedTheRightToRead) {
  enable();
  user_with("writer", 1, "a", "m");
  PutRequest put{"b", "v"};
  EXPECT_EQ(may("writer", put), Status());
  put.prev_kv = true;
  EXPECT_EQ(may("writer", put), err_permission_denied());
  EXPECT_EQ(may("writer", DeleteRangeRequest{"b", "c"}), Status());
  EXPECT_EQ(may("writer", DeleteRangeRequest{"b", "c", true}), err_permission_denied());
  EXPECT_EQ(may("writer", DeleteRangeRequest{"b", "n"}), err_permission_denied());
  TxnRequest txn;
  txn.success.push_back({put});
  EXPECT_EQ(may("writer", txn), err_permission_denied());
  txn.success = {{DeleteRangeRequest{"b", "c", true}}};
  EXPECT_EQ(may("writer", txn), err_permission_denied());
}

TEST_F(AuthTest, NestedTransactionsAreJudgedToTheBottom) {
  enable();
  user_with("ann", 2, "a", "m");
  auto nest = [](TxnRequest inner, int levels, bool in_failure) {
    for (; levels > 0; --levels) {
      TxnRequest outer;
      (in_failure ? outer.failure : outer.success).push_back({std::move(inner)});
      inner = std::move(outer);
    }
    return inner;
  };
  TxnRequest mine, compares, reads, writes, deletes, previous;
  Compare compare;
  compare.key = "a";
  compare.range_end = "b";
  mine.compares.push_back(compare);
  mine.success.push_back({PutRequest{"b", "v"}});
  compare.range_end = "z";
  compares.compares.push_back(compare);
  RangeRequest range;
  range.key = "a";
  range.range_end = "z";
  reads.success.push_back({range});
  writes.failure.push_back({PutRequest{"z", "v"}});
  deletes.success.push_back({DeleteRangeRequest{"a", kEnd}});
  for (int levels : {0, 1, 2, 5}) {
    for (bool in_failure : {false, true}) {
      EXPECT_EQ(may("ann", nest(mine, levels, in_failure)), Status());
      for (const TxnRequest* foreign : {&compares, &reads, &writes, &deletes})
        EXPECT_EQ(may("ann", nest(*foreign, levels, in_failure)), err_permission_denied()) << levels;
      EXPECT_EQ(may("", nest(mine, levels, in_failure)), err_user_empty());
    }
  }
}

// A lease gives power over all of its keys: attaching to it, ending it and listing it are judged by all of them.
TEST_F(AuthTest, LeasesAreJudgedByTheirKeys) {
  enable();
  user_with("ann", 2, "a", "m");
  apply(LeaseGrantRequest{7, 60});
  PutRequest put{"b", "v", 7};
  EXPECT_EQ(may("ann", put), Status());
  apply(put);
  EXPECT_EQ(may("ann", LeaseRevokeRequest{7}), Status());
  EXPECT_EQ(auth.check_lease_read(as("ann"), 7, keyspace), Status());
  apply(PutRequest{"z", "v", 7});
  TxnRequest txn;
  txn.success.push_back({put});
  TxnRequest nested;
  nested.failure.push_back({txn});
  EXPECT_EQ(may("ann", put), err_permission_denied());
  EXPECT_EQ(may("ann", txn), err_permission_denied());
  EXPECT_EQ(may("ann", nested), err_permission_denied());
  EXPECT_EQ(may("ann", LeaseRevokeRequest{7}), err_permission_denied());
  EXPECT_EQ(auth.check_lease_read(as("ann"), 7, keyspace), err_permission_denied());
  EXPECT_EQ(auth.check_lease_write(as("ann"), 7, keyspace), err_permission_denied());
  EXPECT_EQ(may("root", put), Status());
  EXPECT_EQ(may("root", LeaseRevokeRequest{7}), Status());
  EXPECT_EQ(may("ann", PutRequest{"b", "v", 8}), Status()) << "an unknown lease has no keys; apply refuses it";
}

TEST(AuthCodec, UsersAndRolesAsProtocolBuffersWriteThem) {
  User user{"u", "p", {"r1", "r2"}, true};
  EXPECT_EQ(encode_user(user), "\x0a\x01u\x12\x01p\x1a\x02r1\x1a\x02r2\x22\x02\x08\x01"s);
  User read;
  ASSERT_TRUE(decode_user(encode_user(user), read));
  EXPECT_EQ(read, user);
  Role role{"r", {{2, "a", kEnd}, {0, "b", ""}}};
  EXPECT_EQ(encode_role(role), "\x0a\x01r\x12\x08\x08\x02\x12\x01"s + "a\x1a\x01\0\x12\x03\x12\x01"s + "b");
  Role read_role;
  ASSERT_TRUE(decode_role(encode_role(role), read_role));
  EXPECT_EQ(read_role, role);
}

TEST(AuthCodec, DamageIsSaid) {
  AuthChange c;
  c.name = "n", c.permission = {2, "a", "b"};
  std::string good = encode_auth_change(c);
  for (size_t cut = 0; cut < good.size(); ++cut) EXPECT_FALSE(decode_auth_change(good.substr(0, cut)).is_ok()) << cut;
  EXPECT_FALSE(decode_auth_change(good + "x").is_ok());
  std::mt19937 random(3);
  for (int i = 0; i < 20000; ++i) {
    std::string noise(random() % 24, '\0');
    for (char& byte : noise) byte = static_cast<char>(random());
    User user;
    Role role;
    (void)decode_user(noise, user);
    (void)decode_role(noise, role);
    (void)decode_auth_change(noise);
  }
  Keyspace keyspace;
  keyspace.side().set(SideKind::kUser, "ann", "\x0a\x09short", {1, 0});
  Auth auth;
  EXPECT_EQ(auth.load(keyspace.side()).code(), Code::kDataLoss);
}

}  // namespace
}  // namespace fairlead::mvcc
