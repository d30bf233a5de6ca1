#include "server/api/audit.h"

#include "base/text.h"

namespace fairlead::api {
namespace {

std::string_view permission_name(int32_t type) {
  switch (type) {
    case mvcc::Permission::kRead:
      return "READ";
    case mvcc::Permission::kWrite:
      return "WRITE";
    case mvcc::Permission::kReadWrite:
      return "READWRITE";
  }
  return "unknown";
}

std::string_view change_name(node::ChangeKind kind) {
  switch (kind) {
    case node::ChangeKind::kAdd:
      return "add";
    case node::ChangeKind::kRemove:
      return "remove";
    case node::ChangeKind::kUpdate:
      return "update";
    case node::ChangeKind::kPromote:
      return "promote";
    case node::ChangeKind::kAlone:
      return "force-new-cluster";
  }
  return "unknown";
}

}  // namespace

void log_auth_change(io::Logger& log, const Asker& asker, const mvcc::AuthChange& c) {
  using Kind = mvcc::AuthChange::Kind;
  io::Field by{"by-user", asker.user}, from{"remote-address", asker.address};
  switch (c.kind) {
    case Kind::kEnable:
      return log.info("enabled authentication", {by, from});
    case Kind::kDisable:
      return log.info("disabled authentication", {by, from});
    case Kind::kUserAdd:
      return log.info("added a user", {{"user-name", c.name}, by, from});
    case Kind::kUserDelete:
      return log.info("deleted a user", {{"user-name", c.name}, by, from});
    case Kind::kUserPassword:
      return log.info("changed a password of a user", {{"user-name", c.name}, by, from});
    case Kind::kUserGrant:
      return log.info("granted a role to a user", {{"user-name", c.name}, {"added-role-name", c.role}, by, from});
    case Kind::kUserRevoke:
      return log.info("revoked a role from a user", {{"user-name", c.name}, {"revoked-role-name", c.role}, by, from});
    case Kind::kRoleAdd:
      return log.info("created a role", {{"role-name", c.name}, by, from});
    case Kind::kRoleDelete:
      return log.info("deleted a role", {{"role-name", c.name}, by, from});
    case Kind::kRoleGrant:
      return log.info("granted/updated a permission to a role",
                      {{"role-name", c.name},
                       {"permission-name", permission_name(c.permission.type)},
                       {"key", c.permission.key},
                       {"range-end", c.permission.range_end},
                       by,
                       from});
    case Kind::kRoleRevoke:
      return log.info(
          "revoked a permission on range",
          {{"role-name", c.name}, {"key", c.permission.key}, {"range-end", c.permission.range_end}, by, from});
    case Kind::kToken:
      return;  // a log-in changes nothing
  }
}

void log_member_change(io::Logger& log, const Asker& asker, const node::MemberChange& change) {
  std::string urls;
  for (const std::string& url : change.peer_urls) urls += (urls.empty() ? "" : ",") + url;
  log.info("a client changed the members", {{"change", change_name(change.kind)},
                                            {"member-id", hex(change.id.value)},
                                            {"peer-urls", urls},
                                            {"by-user", asker.user},
                                            {"remote-address", asker.address}});
}

}  // namespace fairlead::api
