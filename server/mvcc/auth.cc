// Changes of users and roles.
#include "server/mvcc/auth.h"

#include <algorithm>

#include "base/codec.h"
#include "server/mvcc/errors.h"

namespace fairlead::mvcc {
namespace {

constexpr std::string_view kRoot = "root";  // the user, and the role
constexpr std::string_view kToTheEnd("\0", 1);

bool valid_range(const Permission& permission) {
  if (permission.key.empty()) return false;
  return permission.range_end.empty() || permission.key < permission.range_end || permission.range_end == kToTheEnd;
}

}  // namespace

// Side records of one change, in the order of writing.
class Auth::Writer {
 public:
  Writer(SideTable& side, Index applied) : side_(side), applied_(applied.value) {}
  void user(const User& user) { side_.set(SideKind::kUser, user.name, encode_user(user), next()); }
  void role(const Role& role) { side_.set(SideKind::kRole, role.name, encode_role(role), next()); }
  void erase_user(std::string_view name) { side_.erase(SideKind::kUser, name); }
  void erase_role(std::string_view name) { side_.erase(SideKind::kRole, name); }
  void setting(bool enabled, uint64_t revision) {
    std::string payload;
    put_fixed<uint8_t>(payload, enabled);
    put_varint(payload, revision);
    side_.set(SideKind::kAuth, {}, payload, next());
  }

 private:
  SidePosition next() { return {applied_, n_++}; }
  SideTable& side_;
  uint64_t applied_;
  uint64_t n_ = 0;
};

Status Auth::load(const SideTable& side) {
  Auth fresh;
  bool good = true;
  if (const std::string* setting = side.find(SideKind::kAuth, {})) {
    Reader in(*setting);
    fresh.enabled_ = in.fixed<uint8_t>() != 0;
    fresh.revision_ = in.varint();
    good = in.ok();
  }
  side.for_each(SideKind::kUser, [&](std::string_view name, std::string_view payload) {
    User user;
    good &= decode_user(payload, user) && user.name == name;
    fresh.users_.emplace(name, std::move(user));
  });
  side.for_each(SideKind::kRole, [&](std::string_view name, std::string_view payload) {
    Role role;
    good &= decode_role(payload, role) && role.name == name;
    fresh.roles_.emplace(name, std::move(role));
  });
  if (!good) return data_loss("the records of users and roles cannot be read");
  fresh.all_credentials_since_ = fresh.revision_;
  *this = std::move(fresh);
  return {};
}

const User* Auth::user(std::string_view name) const {
  auto it = users_.find(name);
  return it == users_.end() ? nullptr : &it->second;
}

bool Auth::has_role(std::string_view name, std::string_view role) const {
  const User* found = user(name);
  return found && std::binary_search(found->roles.begin(), found->roles.end(), role);
}

Status Auth::check_log_in(std::string_view name) const {
  if (!enabled_) return err_auth_not_enabled();
  const User* found = user(name);
  return found && !found->no_password ? Status() : err_auth_failed();
}

bool Auth::credentials_stand(std::string_view name, uint64_t auth_revision) const {
  if (!enabled_ || auth_revision < all_credentials_since_ || !user(name)) return false;
  auto since = credentials_since_.find(name);
  return since == credentials_since_.end() || auth_revision >= since->second;
}

Status Auth::apply(const Identity& by, const AuthChange& change, Index applied, SideTable& side) {
  using Kind = AuthChange::Kind;
  if (change.kind == Kind::kToken) return check_log_in(change.name);
  RETURN_IF_ERROR(check_admin(by));
  Writer out(side, applied);
  uint64_t before = revision_;
  switch (change.kind) {
    case Kind::kEnable:
      return enable(out);
    case Kind::kDisable:
      if (!enabled_) return {};
      enabled_ = false;
      all_credentials_since_ = ++revision_;
      break;
    case Kind::kUserAdd:
    case Kind::kUserDelete:
    case Kind::kUserPassword:
    case Kind::kUserGrant:
    case Kind::kUserRevoke:
      RETURN_IF_ERROR(change_user(change, out));
      break;
    default:
      RETURN_IF_ERROR(change_role(change, out));
  }
  if (revision_ == before) return {};  // it was so already
  out.setting(enabled_, revision_);
  rights_.clear();
  return {};
}

Status Auth::enable(Writer& out) {
  if (enabled_) return {};
  if (!user(kRoot)) return err_root_user_not_exist();
  if (!has_role(kRoot, kRoot)) return err_root_role_not_granted();
  enabled_ = true;
  all_credentials_since_ = revision_;
  out.setting(enabled_, revision_);
  rights_.clear();
  return {};
}

Status Auth::change_user(const AuthChange& change, Writer& out) {
  using Kind = AuthChange::Kind;
  bool guarded = enabled_ && change.name == kRoot;
  if (change.kind == Kind::kUserAdd) {
    if (change.name.empty()) return err_user_empty();
    if (user(change.name)) return err_user_exists();
    User& fresh = users_[change.name];
    fresh.name = change.name;
    fresh.no_password = change.no_password;
    if (!change.no_password) fresh.password = change.password;
    credentials_since_[change.name] = ++revision_;
    out.user(fresh);
    return {};
  }
  if (change.kind == Kind::kUserDelete && guarded) return err_invalid_auth_management();
  if (change.kind == Kind::kUserRevoke && guarded && change.role == kRoot) return err_invalid_auth_management();
  auto it = users_.find(change.name);
  if (it == users_.end()) return err_user_not_found();
  User& found = it->second;
  if (change.kind == Kind::kUserGrant) return grant_role(found, change, out);
  if (change.kind == Kind::kUserRevoke) return revoke_role(found, change, out);
  ++revision_;
  if (change.kind == Kind::kUserDelete) {
    out.erase_user(change.name);
    users_.erase(it);
    credentials_since_.erase(change.name);  // who is added again later begins then
    return {};
  }
  found.password = found.no_password ? std::string() : change.password;
  credentials_since_[change.name] = revision_;
  out.user(found);
  return {};
}

Status Auth::grant_role(User& found, const AuthChange& change, Writer& out) {
  if (change.role != kRoot && !roles_.contains(change.role)) return err_role_not_found();
  auto at = std::lower_bound(found.roles.begin(), found.roles.end(), change.role);
  if (at != found.roles.end() && *at == change.role) return {};
  found.roles.insert(at, change.role);
  ++revision_;
  out.user(found);
  return {};
}

Status Auth::revoke_role(User& found, const AuthChange& change, Writer& out) {
  if (std::erase(found.roles, change.role) == 0) return err_role_not_granted();
  ++revision_;
  out.user(found);
  return {};
}

Status Auth::change_role(const AuthChange& change, Writer& out) {
  using Kind = AuthChange::Kind;
  if (change.kind == Kind::kRoleAdd) {
    if (change.name.empty()) return err_role_empty();
    if (roles_.contains(change.name)) return err_role_exists();
    Role& fresh = roles_[change.name];
    fresh.name = change.name;
    ++revision_;
    out.role(fresh);
    return {};
  }
  if (change.kind == Kind::kRoleDelete) return delete_role(change, out);
  if (change.kind == Kind::kRoleGrant && !valid_range(change.permission)) return err_invalid_auth_management();
  auto it = roles_.find(change.name);
  if (it == roles_.end()) return err_role_not_found();
  RETURN_IF_ERROR(change.kind == Kind::kRoleGrant ? grant(it->second, change) : revoke(it->second, change));
  ++revision_;
  out.role(it->second);
  return {};
}

Status Auth::delete_role(const AuthChange& change, Writer& out) {
  if (enabled_ && change.name == kRoot) return err_invalid_auth_management();
  if (roles_.erase(change.name) == 0) return err_role_not_found();
  ++revision_;
  out.erase_role(change.name);
  for (auto& [name, holder] : users_)
    if (std::erase(holder.roles, change.name) != 0) out.user(holder);
  return {};
}

Status Auth::grant(Role& role, const AuthChange& change) {
  const Permission& wanted = change.permission;
  for (Permission& known : role.permissions) {
    if (known.key != wanted.key || known.range_end != wanted.range_end) continue;
    known.type = wanted.type;
    return {};
  }
  auto at = std::upper_bound(role.permissions.begin(), role.permissions.end(), wanted,
                             [](const Permission& a, const Permission& b) { return a.key < b.key; });
  role.permissions.insert(at, wanted);
  return {};
}

Status Auth::revoke(Role& role, const AuthChange& change) {
  size_t gone = std::erase_if(role.permissions, [&](const Permission& p) {
    return p.key == change.permission.key && p.range_end == change.permission.range_end;
  });
  return gone != 0 ? Status() : err_permission_not_granted();
}

}  // namespace fairlead::mvcc
