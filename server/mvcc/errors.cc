#include "server/mvcc/errors.h"

namespace fairlead::mvcc {

Status err_empty_key() { return {Code::kInvalidArgument, "etcdserver: key is not provided"}; }
Status err_key_not_found() { return {Code::kInvalidArgument, "etcdserver: key not found"}; }
Status err_value_provided() { return {Code::kInvalidArgument, "etcdserver: value is provided"}; }
Status err_lease_provided() { return {Code::kInvalidArgument, "etcdserver: lease is provided"}; }
Status err_too_many_ops() { return {Code::kInvalidArgument, "etcdserver: too many operations in txn request"}; }
Status err_duplicate_key() { return {Code::kInvalidArgument, "etcdserver: duplicate key given in txn request"}; }
Status err_invalid_sort_option() { return {Code::kInvalidArgument, "etcdserver: invalid sort option"}; }
Status err_compacted() { return {Code::kOutOfRange, "etcdserver: mvcc: required revision has been compacted"}; }
Status err_future_revision() { return {Code::kOutOfRange, "etcdserver: mvcc: required revision is a future revision"}; }
Status err_lease_ttl_too_large() { return {Code::kOutOfRange, "etcdserver: too large lease TTL"}; }
Status err_lease_not_found() { return {Code::kNotFound, "etcdserver: requested lease not found"}; }
Status err_lease_exists() { return {Code::kFailedPrecondition, "etcdserver: lease already exists"}; }

Status err_root_user_not_exist() { return {Code::kFailedPrecondition, "etcdserver: root user does not exist"}; }
Status err_root_role_not_granted() {
  return {Code::kFailedPrecondition, "etcdserver: root user does not have root role"};
}
Status err_user_exists() { return {Code::kFailedPrecondition, "etcdserver: user name already exists"}; }
Status err_user_empty() { return {Code::kInvalidArgument, "etcdserver: user name is empty"}; }
Status err_user_not_found() { return {Code::kFailedPrecondition, "etcdserver: user name not found"}; }
Status err_role_exists() { return {Code::kFailedPrecondition, "etcdserver: role name already exists"}; }
Status err_role_not_found() { return {Code::kFailedPrecondition, "etcdserver: role name not found"}; }
Status err_role_empty() { return {Code::kInvalidArgument, "etcdserver: role name is empty"}; }
Status err_auth_failed() {
  return {Code::kInvalidArgument, "etcdserver: authentication failed, invalid user ID or password"};
}
Status err_permission_not_given() { return {Code::kInvalidArgument, "etcdserver: permission not given"}; }
Status err_permission_denied() { return {Code::kPermissionDenied, "etcdserver: permission denied"}; }
Status err_role_not_granted() { return {Code::kFailedPrecondition, "etcdserver: role is not granted to the user"}; }
Status err_permission_not_granted() {
  return {Code::kFailedPrecondition, "etcdserver: permission is not granted to the role"};
}
Status err_auth_not_enabled() { return {Code::kFailedPrecondition, "etcdserver: authentication is not enabled"}; }
Status err_invalid_auth_token() { return {Code::kUnauthenticated, "etcdserver: invalid auth token"}; }
Status err_invalid_auth_management() { return {Code::kInvalidArgument, "etcdserver: invalid auth management"}; }
Status err_auth_old_revision() { return {Code::kInvalidArgument, "etcdserver: revision of auth store is old"}; }
Status err_no_password_user() {
  return {Code::kUnknown, "auth: authentication failed, password was given for no password user"};
}

}  // namespace fairlead::mvcc
