// Judging: may this identity do that, now?
#include "server/mvcc/auth.h"
#include "server/mvcc/errors.h"
#include "server/mvcc/keyspace.h"

namespace fairlead::mvcc {

const Auth::Rights& Auth::rights(const User& user) const {
  auto it = rights_.find(user.name);
  if (it != rights_.end()) return it->second;
  Rights& out = rights_[user.name];
  out.root = has_role(user.name, "root");
  for (const std::string& name : user.roles) {
    auto role = roles_.find(name);
    if (role == roles_.end()) continue;
    for (const Permission& p : role->second.permissions) {
      if (p.type == Permission::kRead || p.type == Permission::kReadWrite) out.read.add(p.key, p.range_end);
      if (p.type == Permission::kWrite || p.type == Permission::kReadWrite) out.write.add(p.key, p.range_end);
    }
  }
  out.read.finish();
  out.write.finish();
  return out;
}

Status Auth::check_admin(const Identity& who) const {
  if (!enabled_) return {};
  if (who.user.empty()) return err_user_empty();
  const User* found = user(who.user);
  if (!found) return err_user_not_found();
  return rights(*found).root ? Status() : err_permission_denied();
}

Status Auth::check_range(const Identity& who, std::string_view key, std::string_view range_end, bool write) const {
  if (!enabled_) return {};
  if (who.auth_revision == 0) return err_user_empty();
  if (who.auth_revision < revision_) return err_auth_old_revision();
  const User* found = user(who.user);
  if (!found) return err_permission_denied();
  const Rights& r = rights(*found);
  return r.root || (write ? r.write : r.read).contains(key, range_end) ? Status() : err_permission_denied();
}

Status Auth::check_read(const Identity& who, std::string_view key, std::string_view range_end) const {
  return check_range(who, key, range_end, false);
}
Status Auth::check_write(const Identity& who, std::string_view key, std::string_view range_end) const {
  return check_range(who, key, range_end, true);
}

// Who writes a key with a lease decides over its end, and with it over all keys of that lease.
Status Auth::check_lease_write(const Identity& who, int64_t lease, const Keyspace& keyspace) const {
  if (!enabled_ || check_admin(who).is_ok()) return {};
  Status status;
  keyspace.for_each_lease_key(lease, [&](std::string_view key) {
    status = check_write(who, key, {});
    return status.is_ok();
  });
  return status;
}

Status Auth::check_lease_read(const Identity& who, int64_t lease, const Keyspace& keyspace) const {
  if (!enabled_ || check_admin(who).is_ok()) return {};
  Status status;
  keyspace.for_each_lease_key(lease, [&](std::string_view key) {
    status = check_read(who, key, {});
    return status.is_ok();
  });
  return status;
}

Status Auth::check_put(const Identity& who, const PutRequest& r, const Keyspace& keyspace) const {
  RETURN_IF_ERROR(check_write(who, r.key, {}));
  if (r.lease != 0) RETURN_IF_ERROR(check_lease_write(who, r.lease, keyspace));
  // The value that is kept was never the writer's to know, but it stays where it is: ignore_value reads nothing out.
  return r.prev_kv ? check_read(who, r.key, {}) : Status();
}

Status Auth::check_delete(const Identity& who, const DeleteRangeRequest& r) const {
  RETURN_IF_ERROR(check_write(who, r.key, r.range_end));
  return r.prev_kv ? check_read(who, r.key, r.range_end) : Status();
}

Status Auth::check_ops(const Identity& who, const std::vector<RequestOp>& ops, const Keyspace& keyspace) const {
  for (const RequestOp& op : ops) {
    if (const auto* range = std::get_if<RangeRequest>(&op.op))
      RETURN_IF_ERROR(check_read(who, range->key, range->range_end));
    if (const auto* put = std::get_if<PutRequest>(&op.op)) RETURN_IF_ERROR(check_put(who, *put, keyspace));
    if (const auto* del = std::get_if<DeleteRangeRequest>(&op.op)) RETURN_IF_ERROR(check_delete(who, *del));
    if (const auto* txn = std::get_if<TxnRequest>(&op.op)) RETURN_IF_ERROR(check(who, *txn, keyspace));
  }
  return {};
}

// Both branches, whichever is taken: which one it was says something about the keys compared.
Status Auth::check(const Identity& who, const TxnRequest& request, const Keyspace& keyspace) const {
  if (!enabled_) return {};
  for (const Compare& c : request.compares) RETURN_IF_ERROR(check_read(who, c.key, c.range_end));
  RETURN_IF_ERROR(check_ops(who, request.success, keyspace));
  return check_ops(who, request.failure, keyspace);
}

Status Auth::check(const Identity& who, const Command& command, const Keyspace& keyspace) const {
  if (!enabled_) return {};
  if (const auto* put = std::get_if<PutRequest>(&command)) return check_put(who, *put, keyspace);
  if (const auto* del = std::get_if<DeleteRangeRequest>(&command)) return check_delete(who, *del);
  if (const auto* txn = std::get_if<TxnRequest>(&command)) return check(who, *txn, keyspace);
  if (const auto* revoke = std::get_if<LeaseRevokeRequest>(&command))
    return check_lease_write(who, revoke->id, keyspace);
  return {};  // compaction, grants: the caller's class was checked where the call came in
}

}  // namespace fairlead::mvcc
