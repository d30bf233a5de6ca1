// etcd's errors for the key space, code and text to the letter: Go clients match on the text.
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

}  // namespace fairlead::mvcc
