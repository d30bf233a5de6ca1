#include "server/mvcc/lease.h"

#include <algorithm>
#include <utility>

#include "base/planted.h"

namespace fairlead::mvcc {

int64_t min_ttl(int64_t election_timeout_ms) { return (3 * election_timeout_ms / 2 + 999) / 1000; }

int64_t granted_ttl(int64_t requested_ttl, int64_t min) { return std::max(requested_ttl, min); }

void LeaseClock::schedule(int64_t id, Lease& lease, int64_t expiry_ms) {
  queue_.erase({lease.expiry_ms, id});
  lease.expiry_ms = expiry_ms;
  if (in_force_) queue_.insert({expiry_ms, id});
}

// As etcd: a lease that has no more than the interval left is not worth one.
void LeaseClock::plan_checkpoint(int64_t id, Lease& lease, int64_t now_ms) {
  if (lease.checkpoint_at_ms != 0) checkpoints_.erase({std::exchange(lease.checkpoint_at_ms, 0), id});
  if (!in_force_ || checkpoint_interval_ms_ == 0 || lease.full_ttl() * 1000 <= checkpoint_interval_ms_) return;
  lease.checkpoint_at_ms = now_ms + checkpoint_interval_ms_;
  checkpoints_.insert({lease.checkpoint_at_ms, id});
}

void LeaseClock::granted(int64_t id, int64_t ttl, int64_t now_ms) {
  Lease& lease = leases_[id];
  lease.ttl = ttl;
  schedule(id, lease, now_ms + ttl * 1000);
  plan_checkpoint(id, lease, now_ms);
}

void LeaseClock::revoked(int64_t id) {
  auto it = leases_.find(id);
  if (it == leases_.end()) return;
  queue_.erase({it->second.expiry_ms, id});
  checkpoints_.erase({it->second.checkpoint_at_ms, id});
  leases_.erase(it);
}

void LeaseClock::checkpointed(int64_t id, int64_t remaining_ttl, int64_t now_ms) {
  auto it = leases_.find(id);
  if (it == leases_.end()) return;
  it->second.checkpointed_ttl = remaining_ttl;
  it->second.checkpointing = false;
  plan_checkpoint(id, it->second, now_ms);
}

void LeaseClock::checkpoint_failed(int64_t id) {
  if (auto it = leases_.find(id); it != leases_.end()) it->second.checkpointing = false;
}

void LeaseClock::clear() {
  leases_.clear();
  queue_.clear();
  checkpoints_.clear();
  in_force_ = false;
}

void LeaseClock::promote(int64_t now_ms, int64_t extend_ms) {
  demote();
  in_force_ = true;
  for (auto& [id, lease] : leases_) {
    lease.expiry_ms = now_ms + lease.full_ttl() * 1000 + extend_ms;
    queue_.insert({lease.expiry_ms, id});
    plan_checkpoint(id, lease, now_ms);
  }
}

void LeaseClock::demote() {
  in_force_ = false;
  queue_.clear();
  checkpoints_.clear();
  for (auto& [id, lease] : leases_) {
    lease.revoking = lease.checkpointing = false;
    lease.checkpoint_at_ms = 0;
  }
}

LeaseClock::Renewal LeaseClock::renew(int64_t id, int64_t now_ms) {
  if (!in_force_) return {Renewal::State::kNotLeader, 0};
  auto it = leases_.find(id);
  if (it == leases_.end()) return {Renewal::State::kNotFound, 0};
  Lease& lease = it->second;
  if (lease.revoking) return {Renewal::State::kRevoking, 0};
  if ((lease.checkpointed_ttl > 0 || lease.checkpointing) && !PLANTED(kLeaseRestKept))
    return {Renewal::State::kCheckpointed, 0};
  schedule(id, lease, now_ms + lease.ttl * 1000);
  plan_checkpoint(id, lease, now_ms);
  return {Renewal::State::kRenewed, lease.ttl};
}

std::vector<int64_t> LeaseClock::due(int64_t now_ms, size_t max) {
  std::vector<int64_t> ids;
  for (auto it = queue_.begin(); it != queue_.end() && it->first <= now_ms && ids.size() < max; ++it) {
    ids.push_back(it->second);
  }
  for (int64_t id : ids) {
    Lease& lease = leases_[id];
    lease.revoking = true;
    schedule(id, lease, now_ms + kRevokeRetryMs);
  }
  return ids;
}

void LeaseClock::revoke_failed(int64_t id, int64_t now_ms) {
  auto it = leases_.find(id);
  if (it == leases_.end() || !it->second.revoking) return;
  it->second.revoking = false;
  schedule(id, it->second, now_ms);
}

int64_t LeaseClock::next_due_ms() const { return queue_.empty() ? -1 : queue_.begin()->first; }

int64_t LeaseClock::remaining_ttl(int64_t id, int64_t now_ms) const {
  auto it = leases_.find(id);
  if (it == leases_.end()) return -1;
  if (!in_force_) return it->second.ttl;
  if (it->second.revoking) return 0;
  return std::max<int64_t>(0, it->second.expiry_ms - now_ms) / 1000;
}

std::vector<int64_t> LeaseClock::by_expiry() const {
  std::vector<std::pair<int64_t, int64_t>> order;
  order.reserve(leases_.size());
  for (const auto& [id, lease] : leases_) order.emplace_back(lease.expiry_ms, id);
  std::sort(order.begin(), order.end());
  std::vector<int64_t> ids;
  ids.reserve(order.size());
  for (const auto& entry : order) ids.push_back(entry.second);
  return ids;
}

std::vector<std::pair<int64_t, int64_t>> LeaseClock::to_checkpoint(int64_t now_ms, size_t max) {
  std::vector<std::pair<int64_t, int64_t>> out;
  while (out.size() < max && !checkpoints_.empty() && checkpoints_.begin()->first <= now_ms) {
    int64_t id = checkpoints_.begin()->second;
    checkpoints_.erase(checkpoints_.begin());
    Lease& lease = leases_.at(id);
    lease.checkpoint_at_ms = 0;
    int64_t left = (lease.expiry_ms - now_ms + 999) / 1000;
    if (lease.revoking || left <= 0) continue;
    plan_checkpoint(id, lease, now_ms);  // should this one fail
    if (left >= lease.ttl) continue;
    lease.checkpointing = true;
    out.emplace_back(id, left);
  }
  return out;
}

}  // namespace fairlead::mvcc
