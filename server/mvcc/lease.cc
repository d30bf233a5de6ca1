#include "server/mvcc/lease.h"

#include <algorithm>

namespace fairlead::mvcc {

int64_t min_ttl(int64_t election_timeout_ms) { return (3 * election_timeout_ms / 2 + 999) / 1000; }

int64_t granted_ttl(int64_t requested_ttl, int64_t min) { return std::max(requested_ttl, min); }

void LeaseClock::schedule(int64_t id, Lease& lease, int64_t expiry_ms) {
  queue_.erase({lease.expiry_ms, id});
  lease.expiry_ms = expiry_ms;
  if (in_force_) queue_.insert({expiry_ms, id});
}

void LeaseClock::granted(int64_t id, int64_t ttl, int64_t now_ms) {
  Lease& lease = leases_[id];
  lease.ttl = ttl;
  lease.checkpoint_at_ms = now_ms;
  schedule(id, lease, now_ms + ttl * 1000);
}

void LeaseClock::revoked(int64_t id) {
  auto it = leases_.find(id);
  if (it == leases_.end()) return;
  queue_.erase({it->second.expiry_ms, id});
  leases_.erase(it);
}

void LeaseClock::checkpointed(int64_t id, int64_t remaining_ttl) {
  auto it = leases_.find(id);
  if (it != leases_.end()) it->second.checkpointed_ttl = remaining_ttl;
}

void LeaseClock::clear() {
  leases_.clear();
  queue_.clear();
  in_force_ = false;
}

void LeaseClock::promote(int64_t now_ms) {
  queue_.clear();
  in_force_ = true;
  for (auto& [id, lease] : leases_) {
    int64_t ttl = lease.checkpointed_ttl > 0 ? std::min(lease.checkpointed_ttl, lease.ttl) : lease.ttl;
    lease.revoking = false;
    lease.checkpoint_at_ms = now_ms;
    lease.expiry_ms = now_ms + ttl * 1000;
    queue_.insert({lease.expiry_ms, id});
  }
}

void LeaseClock::demote() {
  in_force_ = false;
  queue_.clear();
  for (auto& [id, lease] : leases_) lease.revoking = false;
}

LeaseClock::Renewal LeaseClock::renew(int64_t id, int64_t now_ms) {
  if (!in_force_) return {Renewal::State::kNotLeader, 0};
  auto it = leases_.find(id);
  if (it == leases_.end()) return {Renewal::State::kNotFound, 0};
  Lease& lease = it->second;
  if (lease.revoking) return {Renewal::State::kRevoking, 0};
  lease.checkpointed_ttl = 0;
  lease.checkpoint_at_ms = now_ms;
  schedule(id, lease, now_ms + lease.ttl * 1000);
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

std::vector<std::pair<int64_t, int64_t>> LeaseClock::to_checkpoint(int64_t now_ms, int64_t interval_ms, size_t max) {
  std::vector<std::pair<int64_t, int64_t>> out;
  if (!in_force_) return out;
  for (auto& [id, lease] : leases_) {
    if (out.size() == max) break;
    if (lease.revoking || now_ms - lease.checkpoint_at_ms < interval_ms) continue;
    int64_t left = std::max<int64_t>(0, lease.expiry_ms - now_ms) / 1000;
    if (left == 0) continue;
    lease.checkpoint_at_ms = now_ms;
    out.emplace_back(id, left);
  }
  return out;
}

}  // namespace fairlead::mvcc
