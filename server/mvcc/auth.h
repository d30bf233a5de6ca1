// Users, roles and what they may do: the rules of authentication, as replicated state.
//
// Rules (etcd's): a role is a list of permissions READ, WRITE or READWRITE on [key, range_end); a user has roles; the
// role root may do everything. Every change raises the auth revision (but switching authentication on, which changes no
// right). A command or read is judged where it takes effect, in the name of an identity that carries the auth revision
// at which it was established: an older one is refused ("revision of auth store is old"), so that nothing is done with
// rights that are no longer there.
//
// State lives in side records (record.h): kAuth (one, id ""): u8 enabled | var revision; kUser and kRole (id: name):
// etcd's own messages authpb.User and authpb.Role, so that a public snapshot takes them over as they are.
//
// While authentication is off everything is permitted, and users and roles may be changed by anybody.
// A user's merged rights are computed once per user and auth revision.
//
// Passwords are here only as bcrypt hashes, made before a change is proposed.
// Threads: one. Pure: equal changes in equal order give equal state and equal errors. Errors are etcd's, to the letter.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "server/mvcc/auth_ranges.h"
#include "server/mvcc/side.h"
#include "server/mvcc/types.h"

namespace fairlead::mvcc {

class Keyspace;

struct Permission {
  enum Type : int32_t { kRead = 0, kWrite = 1, kReadWrite = 2 };
  int32_t type = kRead;  // others are kept as they came, and permit nothing
  std::string key;
  std::string range_end;
  bool operator==(const Permission&) const = default;
};

struct User {
  std::string name;
  std::string password;            // bcrypt hash; empty: nobody can log in with a password
  std::vector<std::string> roles;  // sorted
  bool no_password = false;
  bool operator==(const User&) const = default;
};

struct Role {
  std::string name;
  std::vector<Permission> permissions;  // by key
  bool operator==(const Role&) const = default;
};

std::string encode_user(const User& user);  // authpb.User
std::string encode_role(const Role& role);  // authpb.Role
// Of a side record or of etcd's database; nothing when malformed. Unknown fields are skipped.
bool decode_user(std::string_view in, User& out);
bool decode_role(std::string_view in, Role& out);

// In whose name something is done. An empty user is nobody.
struct Identity {
  std::string_view user;
  uint64_t auth_revision = 0;
};

// What the log carries for users and roles.
struct AuthChange {
  enum class Kind : uint8_t {
    kEnable = 1,
    kDisable = 2,
    kUserAdd = 3,       // name, password, no_password
    kUserDelete = 4,    // name
    kUserPassword = 5,  // name, password
    kUserGrant = 6,     // name, role
    kUserRevoke = 7,    // name, role
    kRoleAdd = 8,       // name
    kRoleDelete = 9,    // name
    kRoleGrant = 10,    // name, permission
    kRoleRevoke = 11,   // name, permission's key and range_end
    kToken = 12,        // name, token: changes no state; members give the user this token
  };
  Kind kind = Kind::kEnable;
  std::string name;
  std::string role;
  std::string password;
  bool no_password = false;
  Permission permission;
  std::string token;
};

std::string encode_auth_change(const AuthChange& change);
Result<AuthChange> decode_auth_change(std::string_view in);

class Auth {
 public:
  // After a start or an install: takes over what the side table holds. kDataLoss when it cannot be read.
  Status load(const SideTable& side);

  bool enabled() const { return enabled_; }
  uint64_t revision() const { return revision_; }
  const std::map<std::string, User, std::less<>>& users() const { return users_; }
  const std::map<std::string, Role, std::less<>>& roles() const { return roles_; }
  const User* user(std::string_view name) const;
  bool has_role(std::string_view user, std::string_view role) const;

  // Judges and makes one change; `applied` is the index of its entry. An error is the client's; nothing changed then.
  Status apply(const Identity& by, const AuthChange& change, Index applied, SideTable& side);
  // What a log-in needs: authentication is on, the user is there and has a password.
  Status check_log_in(std::string_view user) const;

  // ---- Judging. OK while authentication is off. ----
  Status check_admin(const Identity& who) const;
  Status check_read(const Identity& who, std::string_view key, std::string_view range_end) const;
  Status check_write(const Identity& who, std::string_view key, std::string_view range_end) const;
  Status check_lease_read(const Identity& who, int64_t lease, const Keyspace& keyspace) const;
  Status check_lease_write(const Identity& who, int64_t lease, const Keyspace& keyspace) const;
  Status check(const Identity& who, const TxnRequest& request, const Keyspace& keyspace) const;
  Status check(const Identity& who, const Command& command, const Keyspace& keyspace) const;

  // Whether credentials shown at this auth revision still stand: the user was neither deleted nor given another
  // password since, nor was authentication off meanwhile. Not replicated: after a start older ones do not.
  bool credentials_stand(std::string_view user, uint64_t auth_revision) const;

 private:
  struct Rights {
    bool root = false;
    KeyRanges read, write;
  };
  class Writer;

  const Rights& rights(const User& user) const;
  Status check_range(const Identity& who, std::string_view key, std::string_view range_end, bool write) const;
  Status check_put(const Identity& who, const PutRequest& request, const Keyspace& keyspace) const;
  Status check_delete(const Identity& who, const DeleteRangeRequest& request) const;
  Status check_ops(const Identity& who, const std::vector<RequestOp>& ops, const Keyspace& keyspace) const;
  Status enable(Writer& out);
  Status change_user(const AuthChange& change, Writer& out);
  Status grant_role(User& user, const AuthChange& change, Writer& out);
  Status revoke_role(User& user, const AuthChange& change, Writer& out);
  Status change_role(const AuthChange& change, Writer& out);
  Status delete_role(const AuthChange& change, Writer& out);
  static Status grant(Role& role, const AuthChange& change);
  static Status revoke(Role& role, const AuthChange& change);

  bool enabled_ = false;
  uint64_t revision_ = 1;
  std::map<std::string, User, std::less<>> users_;
  std::map<std::string, Role, std::less<>> roles_;
  // Derived, of this process only.
  mutable std::map<std::string, Rights, std::less<>> rights_;  // of users that were judged since the last change
  std::map<std::string, uint64_t, std::less<>> credentials_since_;
  uint64_t all_credentials_since_ = 0;
};

}  // namespace fairlead::mvcc
