// Proposals: from a call to a Raft entry, on this member or through the leader, and back to the call.
#include <algorithm>

#include "server/node/entry.h"
#include "server/node/node.h"

namespace fairlead::node {

Status err_not_for_learner() { return {Code::kFailedPrecondition, "etcdserver: rpc not supported for learner"}; }
Status err_timeout() { return {Code::kUnavailable, "etcdserver: request timed out"}; }
Status err_too_many_requests() { return {Code::kResourceExhausted, "etcdserver: too many requests"}; }
Status err_stopped() { return {Code::kUnavailable, "etcdserver: server stopped"}; }
Status err_no_leader() { return {Code::kUnavailable, "etcdserver: no leader"}; }
Status err_leader_changed() { return {Code::kUnavailable, "etcdserver: leader changed"}; }
Status err_connection_lost() {
  return {Code::kUnavailable, "etcdserver: request timed out, possibly due to connection lost"};
}

void Node::propose(const Caller& caller, const mvcc::Command& command, ApplyDone done) {
  if (over_quota(command)) return refuse_for_space(std::move(done));
  propose_command(caller, command, false, std::move(done));
}

void Node::propose_command(const Caller& caller, const mvcc::Command& command, bool leader_only, ApplyDone done) {
  thread_local std::string payload;  // keeps its capacity: a put then costs one allocation, for the entry
  payload.clear();
  if (!caller.nobody()) append_caller(payload, caller);
  mvcc::append_command(payload, command);
  if (payload.size() > config_.request_bytes_max) {
    world_.loop->post([done = std::move(done)] {
      done({Code::kInvalidArgument, "etcdserver: request is too large"}, nullptr);
    });
    return;
  }
  propose_entry(caller.nobody() ? kEntryCommand : kEntryAs, payload, leader_only, std::move(done));
}

void Node::propose_entry(uint8_t kind, std::string_view payload, bool leader_only, ApplyDone done) {
  Status refused;
  if (stopping_)
    refused = err_stopped();
  else if (pending_.size() >= kProposalsMax || pending_bytes_ + payload.size() > kProposalBytesMax)
    refused = err_too_many_requests();
  if (!refused.is_ok()) {
    ++stats_.proposals_failed;
    world_.loop->post([done = std::move(done), refused] { done(refused, nullptr); });
    return;
  }
  uint64_t id = request_base_ + next_request_++;
  BytesBuilder builder(kEnvelopeBytes + payload.size());
  char* p = builder.data();
  *p = static_cast<char>(kind);
  store_fixed(p + 1, member_id().value);
  store_fixed(p + 9, id);
  if (!payload.empty()) std::memcpy(p + kEnvelopeBytes, payload.data(), payload.size());
  Bytes entry = std::move(builder).finish(kEnvelopeBytes + payload.size());
  pending_bytes_ += entry.size();
  pending_.emplace(
      id, Pending{std::move(done), entry.size(), leader_only, operation_of(kind, payload), world_.loop->now()});
  deadlines_.emplace_back(world_.loop->now() + config_.request_timeout(), id);
  new_proposals_.push_back({id, std::move(entry)});
  proposals_fresh_ = true;
}

// Once a turn: everything new as one batch. What finds no leader, or a leader that cannot take more, waits for a later
// turn or for its deadline.
void Node::propose_new() {
  proposals_fresh_ = false;
  if (new_proposals_.empty()) return;
  if (!raft_->is_leader()) {
    std::vector<uint64_t> dropped;
    std::erase_if(new_proposals_, [&](const NewProposal& p) {
      auto it = pending_.find(p.id);
      if (it == pending_.end()) return true;  // timed out meanwhile
      if (it->second.leader_only) dropped.push_back(p.id);
      return it->second.leader_only;
    });
    for (uint64_t id : dropped) fail_pending(id, err_leader_changed());
    if (new_proposals_.empty() || raft_->leader().value == 0) return;
  }
  std::vector<Bytes> data;
  size_t bytes = 0;
  for (const NewProposal& p : new_proposals_) {
    bytes += p.entry.size();
    if (!data.empty() && bytes > kProposeBatchBytesMax) break;
    data.push_back(p.entry);
  }
  auto end = new_proposals_.begin() + static_cast<ptrdiff_t>(data.size());
  uint64_t last = std::prev(end)->id;
  if (raft_->is_leader()) {
    if (!raft_->propose(std::move(data)).ok()) return;
  } else {
    Result<raft::ForwardId> id = raft_->forward(std::move(data));
    if (!id.is_ok()) return;
    forwarded_[*id] = {std::make_move_iterator(new_proposals_.begin()), std::make_move_iterator(end)};
  }
  marks_.proposed(last, world_.loop->now());
  new_proposals_.erase(new_proposals_.begin(), end);
  if (!new_proposals_.empty()) go_on_soon();
}

// A refusal promises that nothing was appended: then, and only then, the batch may be proposed again.
void Node::on_forwarded(const raft::ProposeReply& reply) {
  auto it = forwarded_.find(reply.id);
  if (it == forwarded_.end()) return;
  if (reply.error != raft::ProposeError::kNone) {
    for (auto p = it->second.rbegin(); p != it->second.rend(); ++p)
      if (pending_.contains(p->id)) new_proposals_.push_front(std::move(*p));
  }
  forwarded_.erase(it);
}

void Node::observe_request(Operation operation, bool succeeded, io::Nanos since) {
  stats_.request.observe(operation, succeeded, static_cast<double>(world_.loop->now() - since) / 1e9);
}

void Node::fail_pending(uint64_t id, const Status& why) {
  auto it = pending_.find(id);
  if (it == pending_.end()) return;
  ApplyDone done = std::move(it->second.done);
  observe_request(it->second.operation, false, it->second.since);
  answering_ = {it->second.since, id, Index(), 0, 0, 0};
  pending_bytes_ -= it->second.bytes;
  pending_.erase(it);
  ++stats_.proposals_failed;
  done(why, nullptr);
  answering_ = {};
}

void Node::answer(uint64_t request, const Status& status, const mvcc::ApplyResult* result) {
  auto it = pending_.find(request);
  if (it == pending_.end()) return;  // timed out, or of an earlier start
  ApplyDone done = std::move(it->second.done);
  observe_request(operation_, status.is_ok(), it->second.since);
  // applied_ is still that of the entry before.
  answering_ = {it->second.since, request, applied_ + 1, 0, 0, apply_began_};
  pending_bytes_ -= it->second.bytes;
  pending_.erase(it);
  done(status, result);
  answering_ = {};
}

// Proposals whose outcome did not come in time: unknown to the client, never retried here.
void Node::expire() {
  io::Nanos now = world_.loop->now();
  while (!deadlines_.empty() && deadlines_.front().first <= now) {
    uint64_t id = deadlines_.front().second;
    deadlines_.pop_front();
    fail_pending(id, err_timeout());
  }
  // Answered ones in front cost nothing to drop.
  while (!deadlines_.empty() && !pending_.contains(deadlines_.front().second)) deadlines_.pop_front();
  std::erase_if(new_proposals_, [this](const NewProposal& p) { return !pending_.contains(p.id); });
  std::erase_if(forwarded_, [this](const auto& f) {
    return std::none_of(f.second.begin(), f.second.end(),
                        [this](const NewProposal& p) { return pending_.contains(p.id); });
  });
  std::vector<Done> late;
  // Also those that know their index and wait for it to be applied: deadlines rise from batch to batch.
  while (!read_batches_.empty() && read_batches_.front().deadline <= now) {
    for (Done& done : read_batches_.front().waiting) late.push_back(std::move(done));
    read_batches_.pop_front();
    ++stats_.read_indexes_failed;
    ++stats_.slow_read_indexes;
  }
  reads_waiting_ -= late.size();
  for (Done& done : late) done(err_timeout());
  std::vector<AppCall> lost;
  std::erase_if(app_calls_, [&](auto& call) {
    if (call.second.deadline > now) return false;
    lost.push_back(std::move(call.second));
    return true;
  });
  for (AppCall& call : lost) call.done(err_timeout(), {});
  expire_changes();
}

}  // namespace fairlead::node
