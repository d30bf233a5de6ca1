// etcd's errors for keys, leases and users, code and text to the letter: Go clients match on the text.
#pragma once

#include "base/status.h"

namespace fairlead::mvcc {

Status err_empty_key();            // InvalidArgument "etcdserver: key is not provided"
Status err_key_not_found();        // InvalidArgument "etcdserver: key not found"
Status err_value_provided();       // InvalidArgument "etcdserver: value is provided"
Status err_lease_provided();       // InvalidArgument "etcdserver: lease is provided"
Status err_too_many_ops();         // InvalidArgument "etcdserver: too many operations in txn request"
Status err_duplicate_key();        // InvalidArgument "etcdserver: duplicate key given in txn request"
Status err_invalid_sort_option();  // InvalidArgument "etcdserver: invalid sort option"
Status err_compacted();            // OutOfRange "etcdserver: mvcc: required revision has been compacted"
Status err_future_revision();      // OutOfRange "etcdserver: mvcc: required revision is a future revision"
Status err_lease_ttl_too_large();  // OutOfRange "etcdserver: too large lease TTL"
Status err_lease_not_found();      // NotFound "etcdserver: requested lease not found"
Status err_lease_exists();         // FailedPrecondition "etcdserver: lease already exists"

// Authentication.
Status err_root_user_not_exist();    // FailedPrecondition "etcdserver: root user does not exist"
Status err_root_role_not_granted();  // FailedPrecondition "etcdserver: root user does not have root role"
Status err_user_exists();            // FailedPrecondition "etcdserver: user name already exists"
Status err_user_empty();             // InvalidArgument "etcdserver: user name is empty"
Status err_user_not_found();         // FailedPrecondition "etcdserver: user name not found"
Status err_role_exists();            // FailedPrecondition "etcdserver: role name already exists"
Status err_role_not_found();         // FailedPrecondition "etcdserver: role name not found"
Status err_role_empty();             // InvalidArgument "etcdserver: role name is empty"
Status err_auth_failed();            // InvalidArgument "etcdserver: authentication failed, invalid user ID or password"
Status err_permission_not_given();   // InvalidArgument "etcdserver: permission not given"
Status err_permission_denied();      // PermissionDenied "etcdserver: permission denied"
Status err_role_not_granted();       // FailedPrecondition "etcdserver: role is not granted to the user"
Status err_permission_not_granted();   // FailedPrecondition "etcdserver: permission is not granted to the role"
Status err_auth_not_enabled();         // FailedPrecondition "etcdserver: authentication is not enabled"
Status err_invalid_auth_token();       // Unauthenticated "etcdserver: invalid auth token"
Status err_invalid_auth_management();  // InvalidArgument "etcdserver: invalid auth management"
Status err_auth_old_revision();        // InvalidArgument "etcdserver: revision of auth store is old"
// Unknown, as etcd sends it: a log-in with a password as a user that has none.
Status err_no_password_user();  // "auth: authentication failed, password was given for no password user"

}  // namespace fairlead::mvcc
