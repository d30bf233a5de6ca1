// Leases: granted and revoked through the log; their time is the leader's. Other members ask it.
#include <algorithm>

#include "base/codec.h"
#include "base/failpoint.h"
#include "server/node/node.h"

namespace fairlead::node {
namespace {

constexpr io::Nanos kLeaseTick = 500 * io::kMillisecond;  // etcd's scan
constexpr size_t kRevokesPerTick = mvcc::kRevokesDueMax / 2;
constexpr io::Nanos kRevokingRetry = 50 * io::kMillisecond;
constexpr io::Nanos kLeaderRetry = 50 * io::kMillisecond;
constexpr size_t kAppCallsMax = 100'000;
constexpr size_t kRestsPerEntryMax = 1000;  // etcd's; one entry a tick
constexpr size_t kRestBytesMax = 32;        // of one, encoded

constexpr bool is_reply(uint8_t kind) { return kind % 2 == 0; }

std::string encode_ttl(const LeaseTimeToLive& t) {
  std::string out;
  put_varint(out, zigzag(t.ttl));
  put_varint(out, zigzag(t.granted_ttl));
  put_varint(out, t.keys.size());
  for (const std::string& key : t.keys) put_lengthed(out, key);
  return out;
}

}  // namespace

void Node::lease_grant(int64_t id, int64_t ttl, ApplyDone done) {
  mvcc::LeaseGrantRequest request{id, ttl};
  if (Status s = mvcc::check(request); !s.is_ok()) {
    world_.loop->post([done = std::move(done), s] { done(s, nullptr); });
    return;
  }
  while (request.id == 0) request.id = static_cast<int64_t>(world_.random->next() & INT64_MAX);
  request.ttl = mvcc::granted_ttl(ttl, mvcc::min_ttl(config_.election_timeout / io::kMillisecond));
  if (over_quota(request)) return refuse_for_space(std::move(done));
  propose_command(Caller(), request, false, std::move(done));
}

void Node::lease_tick() {
  if (stopped_) return;
  lease_timer_ = world_.loop->add_timer(world_.loop->now() + kLeaseTick, [this] { lease_tick(); });
  if (!raft_->is_leader() || !lease_clock_.in_force() || stopping_) return;
  for (int64_t id : lease_clock_.due(now_ms(), kRevokesPerTick)) {
    ++stats_.leases_expired;
    propose_command(Caller::cluster(), mvcc::LeaseRevokeRequest{id}, true,
                    [this, id](const Status& status, const mvcc::ApplyResult*) {
                      // Of unknown outcome it may be committed yet: the lease stays revoking, and is named again after
                      // a while.
                      if (!status.is_ok() && status != err_timeout()) lease_clock_.revoke_failed(id, now_ms());
                    });
  }
  checkpoint_leases(lease_clock_.to_checkpoint(
                        now_ms(), std::clamp(config_.request_bytes_max / kRestBytesMax, size_t{1}, kRestsPerEntryMax)),
                    {});
}

// Rests of leases, through the log; 0 takes one back.
void Node::checkpoint_leases(const std::vector<std::pair<int64_t, int64_t>>& rests, Done done) {
  if (rests.empty()) return;
  mvcc::LeaseCheckpointRequest request;
  std::vector<int64_t> ids;
  for (const auto& [id, left] : rests) {
    request.items.push_back({id, left});
    ids.push_back(id);
  }
  propose_command(Caller::cluster(), request, true,
                  [this, ids = std::move(ids), done = std::move(done)](const Status& status, const mvcc::ApplyResult*) {
                    // Of unknown outcome, renewals go on taking it back.
                    if (!status.is_ok() && status != err_timeout())
                      for (int64_t id : ids) lease_clock_.checkpoint_failed(id);
                    if (done) done(status);
                  });
}

// A new leader's clock begins when an entry of its own term is applied: only then has it seen every promise of those
// before it, a checkpoint that a renewal took back above all. Until then nothing expires and renewals wait.
void Node::lead_leases() {
  if (lease_clock_.in_force() || soft_.role != raft::Role::kLeader || applied_term_ != soft_.term) return;
  lease_clock_.promote(now_ms(), config_.election_timeout / io::kMillisecond);
}

void Node::load_leases() {
  lease_clock_.clear();
  lease_clock_.set_checkpoint_interval(config_.lease_checkpoint ? config_.lease_checkpoint_interval / io::kMillisecond
                                                                : 0);
  for (const mvcc::Keyspace::LeaseInfo& lease : keyspace_->leases()) {
    lease_clock_.granted(lease.id, lease.ttl, now_ms());
    lease_clock_.checkpointed(lease.id, lease.remaining_ttl, now_ms());
  }
}

void Node::lease_keep_alive(int64_t id, std::function<void(const Status&, int64_t)> done) {
  keep_alive_until(id, world_.loop->now() + config_.request_timeout(), std::move(done));
}

// A renewal may be asked for twice, so a leader that goes away is waited out: its successor is asked as soon as it is
// known, and a lease outlives a failover.
void Node::keep_alive_until(int64_t id, io::Nanos deadline, std::function<void(const Status&, int64_t)> answer) {
  auto done = [this, id, deadline, answer = std::move(answer), alive = alive_](const Status& status, int64_t ttl) {
    bool gone = status == err_no_leader() || status == err_leader_changed() || status == err_connection_lost();
    if (!gone || !*alive || stopping_ || world_.loop->now() >= deadline) return answer(status, ttl);
    world_.loop->add_timer(world_.loop->now() + kLeaderRetry, [this, id, deadline, answer, alive] {
      if (*alive) keep_alive_until(id, deadline, answer);
    });
  };
  if (raft_->is_leader()) return keep_alive_here(id, std::move(done));
  std::string payload;
  put_varint(payload, zigzag(id));
  call_leader(kAppKeepAlive, std::move(payload),
              [done = std::move(done)](const Status& status, std::string_view reply) {
                if (!status.is_ok()) return done(status, 0);
                Reader in(reply);
                done(Status(), unzigzag(in.varint()));
              });
}

// A renewal counts only while this member certainly leads: one barrier serves all keepalives of a turn.
void Node::keep_alive_here(int64_t id, std::function<void(const Status&, int64_t)> done) {
  linearizable([this, id, done = std::move(done)](const Status& status) {
    if (!status.is_ok()) return done(status, 0);
    FAILPOINT(beforeCheckpointInLeaseRenew);
    mvcc::LeaseClock::Renewal renewal = lease_clock_.renew(id, now_ms());
    switch (renewal.state) {
      case mvcc::LeaseClock::Renewal::State::kRenewed:
        ++stats_.leases_renewed;
        return done(Status(), renewal.ttl);
      case mvcc::LeaseClock::Renewal::State::kNotFound:
        return done(Status(), 0);
      case mvcc::LeaseClock::Renewal::State::kNotLeader:
        return done(err_leader_changed(), 0);
      case mvcc::LeaseClock::Renewal::State::kCheckpointed:
        return checkpoint_leases({{id, 0}}, [this, id, done](const Status& taken_back) {
          if (!taken_back.is_ok()) return done(taken_back, 0);
          keep_alive_here(id, done);
        });
      case mvcc::LeaseClock::Renewal::State::kRevoking:
        break;
    }
    // Its end has been proposed: the answer waits for the outcome, which comes or is given up within seconds.
    world_.loop->add_timer(world_.loop->now() + kRevokingRetry, [this, id, done, alive = alive_] {
      if (*alive) keep_alive_here(id, done);
    });
  });
}

// The time is the leader's to tell. The keys are replicated, and may be more than a call between members carries: they
// are this member's own, as of after the leader's answer.
void Node::lease_time_to_live(int64_t id, bool keys, std::function<void(const Status&, const LeaseTimeToLive*)> done) {
  if (raft_->is_leader()) return time_to_live_here(id, keys, std::move(done));
  std::string payload;
  put_varint(payload, zigzag(id));
  put_varint(payload, false);  // without keys
  call_leader(kAppTimeToLive, std::move(payload),
              [this, id, keys, done = std::move(done), alive = alive_](const Status& status, std::string_view reply) {
                if (!status.is_ok()) return done(status, nullptr);
                Reader in(reply);
                LeaseTimeToLive out;
                out.id = id;
                out.ttl = unzigzag(in.varint());
                out.granted_ttl = unzigzag(in.varint());
                if (!in.ok()) return done(internal_error("a reply from the leader is malformed"), nullptr);
                if (!keys || out.ttl < 0 || !*alive) return done(Status(), &out);
                linearizable([this, out, done](const Status& here) mutable {
                  if (here.is_ok()) out.keys = keyspace_->lease_keys(out.id);
                  done(here, here.is_ok() ? &out : nullptr);
                });
              });
}

void Node::time_to_live_here(int64_t id, bool keys, std::function<void(const Status&, const LeaseTimeToLive*)> done) {
  linearizable([this, id, keys, done = std::move(done)](const Status& status) {
    if (!status.is_ok()) return done(status, nullptr);
    if (!raft_->is_leader()) return done(err_leader_changed(), nullptr);
    FAILPOINT(beforeLookupWhenLeaseTimeToLive);
    LeaseTimeToLive out;
    out.id = id;
    if (std::optional<mvcc::Keyspace::LeaseInfo> lease = keyspace_->lease(id)) {
      out.ttl = lease_clock_.remaining_ttl(id, now_ms());
      out.granted_ttl = lease->ttl;
      if (keys) out.keys = keyspace_->lease_keys(id);
    }
    done(Status(), &out);
  });
}

void Node::lease_list(std::function<void(const Status&, const std::vector<int64_t>*)> done) {
  linearizable([this, done = std::move(done)](const Status& status) {
    if (!status.is_ok()) return done(status, nullptr);
    std::vector<int64_t> ids = lease_clock_.by_expiry();
    done(Status(), &ids);
  });
}

void Node::call_leader(uint8_t kind, std::string payload, std::function<void(const Status&, std::string_view)> done) {
  call_member(raft_->leader(), kind, std::move(payload), config_.request_timeout(), std::move(done));
}

void Node::call_member(MemberId to, uint8_t kind, std::string payload, io::Nanos timeout,
                       std::function<void(const Status&, std::string_view)> done) {
  std::string head;
  put_fixed<uint8_t>(head, kind);
  uint64_t id = next_app_call_++;
  put_fixed(head, id);
  head += payload;
  if (stopping_ || to.value == 0 || app_calls_.size() >= kAppCallsMax || !transport_->send_app(to, head)) {
    Status why = stopping_ ? err_stopped() : to.value == 0 ? err_no_leader() : err_connection_lost();
    world_.loop->post([done = std::move(done), why] { done(why, {}); });
    return;
  }
  app_calls_.emplace(id, AppCall{to, std::move(done), world_.loop->now() + timeout});
}

// Calls to `only` (if not 0), or to anybody but `but`, will not be answered.
void Node::fail_app_calls(MemberId only, MemberId but, const Status& why) {
  std::vector<AppCall> lost;
  std::erase_if(app_calls_, [&](auto& call) {
    bool hit = only.value != 0 ? call.second.to == only : call.second.to != but;
    if (hit) lost.push_back(std::move(call.second));
    return hit;
  });
  for (AppCall& call : lost) call.done(why, {});
}

void Node::answer_app(MemberId to, uint8_t kind, uint64_t call, const Status& status, std::string_view payload) {
  std::string head;
  put_fixed<uint8_t>(head, static_cast<uint8_t>(kind + 1));
  put_fixed(head, call);
  put_fixed(head, static_cast<uint8_t>(status.code()));
  put_lengthed(head, status.message());
  head += payload;
  if (head.size() > peer::kHeadBytesMax)
    return answer_app(to, kind, call,
                      {Code::kResourceExhausted, "etcdserver: the answer is too large for a call between members"}, {});
  transport_->send_app(to, head);
}

void Node::on_app(MemberId from, std::string_view head) {
  Reader in(head);
  auto kind = in.fixed<uint8_t>();
  auto call = in.fixed<uint64_t>();
  if (!in.ok()) return;
  if (is_reply(kind)) {
    auto code = static_cast<Code>(in.fixed<uint8_t>());
    std::string message(in.lengthed());
    auto it = app_calls_.find(call);
    if (!in.ok() || it == app_calls_.end()) return;
    auto done = std::move(it->second.done);
    app_calls_.erase(it);
    return done(Status(code, std::move(message)), in.rest());
  }
  if (kind == kAppHashKv) return answer_hash_call(from, kind, call, in.rest());
  if (kind == kAppMemberChange) return on_change_asked(from, call, in.rest());
  int64_t id = unzigzag(in.varint());
  bool keys = kind == kAppTimeToLive && in.varint() != 0;
  if (!in.ok()) return;
  if (!raft_->is_leader()) return answer_app(from, kind, call, err_leader_changed(), {});
  if (kind == kAppKeepAlive) {
    FAILPOINT(beforeServeHTTPLeaseRenew);
    keep_alive_here(id, [this, from, kind, call, alive = alive_](const Status& status, int64_t ttl) {
      std::string payload;
      put_varint(payload, zigzag(ttl));
      if (*alive) answer_app(from, kind, call, status, payload);
    });
  } else if (kind == kAppTimeToLive) {
    FAILPOINT(beforeLookupWhenForwardLeaseTimeToLive);
    time_to_live_here(id, keys,
                      [this, from, kind, call, alive = alive_](const Status& status, const LeaseTimeToLive* ttl) {
                        if (*alive) answer_app(from, kind, call, status, ttl ? encode_ttl(*ttl) : std::string());
                      });
  }
}

}  // namespace fairlead::node
