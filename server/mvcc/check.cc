// What etcd refuses before it proposes.
#include <algorithm>
#include <set>

#include "server/mvcc/errors.h"
#include "server/mvcc/lease.h"
#include "server/mvcc/types.h"

namespace fairlead::mvcc {
namespace {

Status check_ops(const TxnRequest& request, int64_t ops_max);

Status check_op(const RequestOp& op, int64_t ops_max) {
  if (const auto* range = std::get_if<RangeRequest>(&op.op)) return check(*range);
  if (const auto* put = std::get_if<PutRequest>(&op.op)) return check(*put);
  if (const auto* del = std::get_if<DeleteRangeRequest>(&op.op)) return check(*del);
  if (const auto* txn = std::get_if<TxnRequest>(&op.op)) return check_ops(*txn, ops_max);
  return err_key_not_found();  // an empty operation: etcd's answer
}

Status check_ops(const TxnRequest& request, int64_t ops_max) {
  auto ops = static_cast<int64_t>(std::max({request.compares.size(), request.success.size(), request.failure.size()}));
  if (ops > ops_max) return err_too_many_ops();
  for (const Compare& c : request.compares) {
    if (c.key.empty()) return err_empty_key();
  }
  for (const auto* branch : {&request.success, &request.failure}) {
    for (const RequestOp& op : *branch) RETURN_IF_ERROR(check_op(op, ops_max - ops));
  }
  return {};
}

// The keys a branch puts and the ranges it deletes, as etcd's checkIntervals gathers them. A range up to "\0" (every
// key from here on) counts as an interval that ends at "\0", so it covers its own first key only: a put behind it is
// let through, as etcd does.
struct Touched {
  std::set<std::string_view> puts;
  std::vector<std::pair<std::string_view, std::string_view>> deletes;  // (key, range_end)

  bool deletes_key(std::string_view key) const {
    return std::any_of(deletes.begin(), deletes.end(),
                       [&](const auto& d) { return d.first == key || (d.first < key && key < d.second); });
  }
};

Status check_branch(const std::vector<RequestOp>& branch, Touched& out) {
  for (const RequestOp& op : branch) {
    if (const auto* del = std::get_if<DeleteRangeRequest>(&op.op)) out.deletes.emplace_back(del->key, del->range_end);
  }
  for (const RequestOp& op : branch) {
    const auto* txn = std::get_if<TxnRequest>(&op.op);
    if (!txn) continue;
    Touched then_branch, else_branch;
    RETURN_IF_ERROR(check_branch(txn->success, then_branch));
    RETURN_IF_ERROR(check_branch(txn->failure, else_branch));
    for (std::string_view key : then_branch.puts) {
      if (out.deletes_key(key) || !out.puts.insert(key).second) return err_duplicate_key();
    }
    for (std::string_view key : else_branch.puts) {
      // both branches may put one key: only one of them runs
      if (out.deletes_key(key)) return err_duplicate_key();
      if (!out.puts.insert(key).second && !then_branch.puts.contains(key)) return err_duplicate_key();
    }
    out.deletes.insert(out.deletes.end(), then_branch.deletes.begin(), then_branch.deletes.end());
    out.deletes.insert(out.deletes.end(), else_branch.deletes.begin(), else_branch.deletes.end());
  }
  for (const RequestOp& op : branch) {
    const auto* put = std::get_if<PutRequest>(&op.op);
    if (put && (out.deletes_key(put->key) || !out.puts.insert(put->key).second)) return err_duplicate_key();
  }
  return {};
}

template <typename Predicate>
bool any_op(const TxnRequest& request, Predicate predicate) {
  return std::any_of(request.success.begin(), request.success.end(), predicate) ||
         std::any_of(request.failure.begin(), request.failure.end(), predicate);
}

}  // namespace

Status check(const RangeRequest& r) {
  if (r.key.empty()) return err_empty_key();
  auto order = static_cast<int32_t>(r.sort_order), target = static_cast<int32_t>(r.sort_target);
  if (order < 0 || order > 2 || target < 0 || target > 4) return err_invalid_sort_option();
  return {};
}

Status check(const PutRequest& r) {
  if (r.key.empty()) return err_empty_key();
  if (r.ignore_value && !r.value.empty()) return err_value_provided();
  if (r.ignore_lease && r.lease != 0) return err_lease_provided();
  return {};
}

Status check(const DeleteRangeRequest& r) { return r.key.empty() ? err_empty_key() : Status(); }

Status check(const TxnRequest& request, const Limits& limits) {
  RETURN_IF_ERROR(check_ops(request, limits.txn_ops_max));
  for (const auto* branch : {&request.success, &request.failure}) {
    Touched touched;
    RETURN_IF_ERROR(check_branch(*branch, touched));
  }
  return {};
}

Status check(const LeaseGrantRequest& r) { return r.ttl > kLeaseTtlMax ? err_lease_ttl_too_large() : Status(); }

bool is_read_only(const TxnRequest& request) {
  return !any_op(request, [](const RequestOp& op) { return !std::holds_alternative<RangeRequest>(op.op); });
}

bool is_serializable(const TxnRequest& request) {
  return !any_op(request, [](const RequestOp& op) {
    const auto* range = std::get_if<RangeRequest>(&op.op);
    return !range || !range->serializable;
  });
}

bool has_put(const TxnRequest& request) {
  return any_op(request, [](const RequestOp& op) {
    const auto* txn = std::get_if<TxnRequest>(&op.op);
    return std::holds_alternative<PutRequest>(op.op) || (txn && has_put(*txn));
  });
}

}  // namespace fairlead::mvcc
