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

}  // namespace fairlead::mvcc
