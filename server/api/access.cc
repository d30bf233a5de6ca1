#include "server/api/access.h"

#include <unordered_map>

#include "server/api/api.h"

namespace fairlead::api {
namespace {

const std::unordered_map<std::string_view, Access>& table() {
  using enum Access;
  static const std::unordered_map<std::string_view, Access> classes = {
      {"/etcdserverpb.KV/Range", kKeys},
      {"/etcdserverpb.KV/RangeStream", kKeys},
      {"/etcdserverpb.KV/Put", kKeys},
      {"/etcdserverpb.KV/DeleteRange", kKeys},
      {"/etcdserverpb.KV/Txn", kKeys},
      {"/etcdserverpb.KV/Compact", kAdmin},
      {"/etcdserverpb.Watch/Watch", kKeys},
      {"/etcdserverpb.Lease/LeaseGrant", kAnyUser},
      {"/etcdserverpb.Lease/LeaseRevoke", kAnyUser},
      {"/etcdserverpb.Lease/LeaseKeepAlive", kKeys},
      {"/etcdserverpb.Lease/LeaseTimeToLive", kAnyUser},
      {"/etcdserverpb.Lease/LeaseLeases", kAnyUser},
      {"/etcdserverpb.Cluster/MemberAdd", kAdmin},
      {"/etcdserverpb.Cluster/MemberRemove", kAdmin},
      {"/etcdserverpb.Cluster/MemberUpdate", kAdmin},
      {"/etcdserverpb.Cluster/MemberPromote", kAdmin},
      {"/etcdserverpb.Cluster/MemberList", kAnyUser},
      {"/etcdserverpb.Maintenance/Alarm", kAnyUser},
      {"/etcdserverpb.Maintenance/Status", kAnyUser},
      {"/etcdserverpb.Maintenance/Defragment", kAdmin},
      {"/etcdserverpb.Maintenance/Hash", kAdmin},
      {"/etcdserverpb.Maintenance/HashKV", kAdmin},
      {"/etcdserverpb.Maintenance/Snapshot", kAdmin},
      {"/etcdserverpb.Maintenance/MoveLeader", kAdmin},
      {"/etcdserverpb.Maintenance/Downgrade", kAdmin},
      {"/etcdserverpb.Auth/AuthEnable", kAdmin},
      {"/etcdserverpb.Auth/AuthDisable", kAdmin},
      {"/etcdserverpb.Auth/AuthStatus", kOpen},
      {"/etcdserverpb.Auth/Authenticate", kOpen},
      {"/etcdserverpb.Auth/UserAdd", kAdmin},
      {"/etcdserverpb.Auth/UserGet", kAnyUser},
      {"/etcdserverpb.Auth/UserList", kAdmin},
      {"/etcdserverpb.Auth/UserDelete", kAdmin},
      {"/etcdserverpb.Auth/UserChangePassword", kAdmin},
      {"/etcdserverpb.Auth/UserGrantRole", kAdmin},
      {"/etcdserverpb.Auth/UserRevokeRole", kAdmin},
      {"/etcdserverpb.Auth/RoleAdd", kAdmin},
      {"/etcdserverpb.Auth/RoleGet", kAnyUser},
      {"/etcdserverpb.Auth/RoleList", kAdmin},
      {"/etcdserverpb.Auth/RoleDelete", kAdmin},
      {"/etcdserverpb.Auth/RoleGrantPermission", kAdmin},
      {"/etcdserverpb.Auth/RoleRevokePermission", kAdmin},
      {"/v3lockpb.Lock/Lock", kKeys},
      {"/v3lockpb.Lock/Unlock", kKeys},
      {"/v3electionpb.Election/Campaign", kKeys},
      {"/v3electionpb.Election/Proclaim", kKeys},
      {"/v3electionpb.Election/Leader", kKeys},
      {"/v3electionpb.Election/Observe", kKeys},
      {"/v3electionpb.Election/Resign", kKeys},
      {"/grpc.health.v1.Health/Check", kOpen},
      {"/grpc.health.v1.Health/List", kOpen},
      {"/grpc.health.v1.Health/Watch", kOpen},
      {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", kOpen},
      {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", kOpen},
  };
  return classes;
}

}  // namespace

const Access* access_of(std::string_view path) {
  auto it = table().find(path);
  return it == table().end() ? nullptr : &it->second;
}

Result<node::Caller> Api::caller(const net::CallRef&) { return node::Caller(); }
Status Api::require_user(const net::CallRef&) { return {}; }
Status Api::require_admin(const net::CallRef&) { return {}; }

}  // namespace fairlead::api
