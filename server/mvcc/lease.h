// Leases, the leader's part: when they end. The replicated part (which leases exist, their TTL, their keys) is the
// keyspace's; this is the clock beside it, kept by every member and in force only on the leader.
//
// Time is passed in: milliseconds of any monotonic clock, never going back. A new leader starts every lease from its
// full TTL (or the checkpointed rest), so a change of leader can lengthen a lease, never shorten it.
//
// Checkpoints. What is left of a lease that runs long enough without a renewal is written through the log from time to
// time, so that a change of leader lengthens it by no more than that. A rest that is recorded, or may be soon, must be
// taken back through the log before a renewal counts: else the next leader would end a renewed lease too early.
//
// A lease whose revoke has been proposed is *revoking*: keepalives for it must wait for the outcome, because the revoke
// may already be committed. The outcome is revoked() or, when the proposal was dropped, revoke_failed().
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/status.h"

namespace fairlead::mvcc {

constexpr int64_t kLeaseTtlMax = 9'000'000'000;  // seconds, etcd's
constexpr size_t kRevokesDueMax = 1000;          // a second, etcd's
constexpr int64_t kRevokeRetryMs = 3000;

// etcd: the smallest TTL granted is ceil(3 * election ticks / 2) in seconds.
int64_t min_ttl(int64_t election_timeout_ms);
// What a grant must carry through the log.
int64_t granted_ttl(int64_t requested_ttl, int64_t min_ttl);

class LeaseClock {
 public:
  // Mirrors of the replicated state: call for every applied grant and revoke, and for every lease of a start.
  void granted(int64_t id, int64_t ttl, int64_t now_ms);
  void revoked(int64_t id);
  // Remembered for the next promote(); 0: the full TTL again. Answers to_checkpoint().
  void checkpointed(int64_t id, int64_t remaining_ttl, int64_t now_ms);
  void clear();

  // For how long a lease runs before its rest is worth a checkpoint; 0: for ever.
  void set_checkpoint_interval(int64_t interval_ms) { checkpoint_interval_ms_ = interval_ms; }

  // Becoming leader: every lease runs anew, and `extend_ms` longer, for the time without a leader. Losing it: nothing
  // expires any more, nothing is revoking.
  void promote(int64_t now_ms, int64_t extend_ms = 0);
  void demote();
  bool in_force() const { return in_force_; }

  struct Renewal {
    // kCheckpointed: nothing changed; a checkpoint with a rest of 0 has to be applied first.
    enum class State : uint8_t { kRenewed, kNotFound, kRevoking, kNotLeader, kCheckpointed } state = State::kNotFound;
    int64_t ttl = 0;  // of a renewed one
  };
  Renewal renew(int64_t id, int64_t now_ms);

  // Leases whose time is over, oldest expiry first, at most `max`; each is revoking from here on, and named again only
  // after revoke_failed() or kRevokeRetryMs.
  std::vector<int64_t> due(int64_t now_ms, size_t max = kRevokesDueMax);
  void revoke_failed(int64_t id, int64_t now_ms);
  // When due() may have something, for a timer; -1: never.
  int64_t next_due_ms() const;

  // Whole seconds left, never below 0; -1: no such lease. The full TTL on a member that is not in force.
  int64_t remaining_ttl(int64_t id, int64_t now_ms) const;
  std::vector<int64_t> by_expiry() const;  // ids, soonest first (ties: by id)
  // Leases with what is left of them, in whole seconds, rounded up: those that have run for the interval since their
  // start, renewal or checkpoint, and had more than the interval then; at most `max`. Each is answered by
  // checkpointed(), or by checkpoint_failed() where its entry was certainly not written.
  std::vector<std::pair<int64_t, int64_t>> to_checkpoint(int64_t now_ms, size_t max);
  void checkpoint_failed(int64_t id);
  size_t size() const { return leases_.size(); }

 private:
  struct Lease {
    int64_t ttl = 0;
    int64_t checkpointed_ttl = 0;  // 0: none
    int64_t expiry_ms = 0;         // while revoking: when to try again
    int64_t checkpoint_at_ms = 0;  // the next one; 0: none
    bool checkpointing = false;    // one is on its way
    bool revoking = false;
    int64_t full_ttl() const { return checkpointed_ttl > 0 && checkpointed_ttl < ttl ? checkpointed_ttl : ttl; }
  };
  void schedule(int64_t id, Lease& lease, int64_t expiry_ms);
  void plan_checkpoint(int64_t id, Lease& lease, int64_t now_ms);

  bool in_force_ = false;
  int64_t checkpoint_interval_ms_ = 0;
  std::map<int64_t, Lease> leases_;
  std::set<std::pair<int64_t, int64_t>> queue_;        // (expiry, id)
  std::set<std::pair<int64_t, int64_t>> checkpoints_;  // (checkpoint_at_ms, id)
};

}  // namespace fairlead::mvcc
