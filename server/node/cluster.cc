// Changes of the members: asked for on any member, checked and appended by the leader, done by apply on all.
//
// A change's life: the member that was asked keeps the call (MemberCall) and hands the change to the leader, itself or
// by a call between members. The leader makes a ChangeTask of it, first confirms by a read barrier that a quorum is
// there, and appends it when no other change is unapplied: without quorum nothing is written. The call is answered
// when its entry is applied on the member that was asked. What the leader certainly did not append is asked again of
// the next leader; what may have been appended is not: then the log answers, or the deadline does.
#include <algorithm>

#include "base/codec.h"
#include "base/planted.h"
#include "base/text.h"
#include "server/node/entry.h"
#include "server/node/node.h"

namespace fairlead::node {
namespace {

constexpr size_t kMemberCallsMax = 256;  // at a time, of clients here and of other members each
constexpr io::Nanos kChangeRetry = 50 * io::kMillisecond;
constexpr io::Nanos kHealthInterval = 5 * io::kSecond;  // etcd's: how long a connection must have held
constexpr double kLearnerReady = 0.9;                   // of the leader's log, as etcd asks

// What a leader says to a change.
enum Outcome : uint8_t {
  kAppended = 0,  // its entry is in the log: apply answers
  kRefused = 1,   // for good; a status follows
  kAgain = 2,     // not appended: ask again
  kDone = 3,      // it was done before, under the same request id; the change follows
};

std::string_view change_name(MemberChange::Kind kind) {
  switch (kind) {
    case MemberChange::Kind::kAdd:
      return "added a member";
    case MemberChange::Kind::kRemove:
      return "removed a member";
    case MemberChange::Kind::kUpdate:
      return "updated a member's peer URLs";
    case MemberChange::Kind::kPromote:
      return "promoted a member";
    case MemberChange::Kind::kAlone:
      return "removed all other members";
  }
  return "?";
}

std::string outcome(Outcome what) { return std::string(1, static_cast<char>(what)); }

std::string refusal(const Status& status) {
  std::string out = outcome(kRefused);
  put_fixed(out, static_cast<uint8_t>(status.code()));
  put_lengthed(out, status.message());
  return out;
}

}  // namespace

// ---- the member that was asked

void Node::change_members(MemberChange change, io::Nanos deadline, ChangeDone done) {
  Status refused;
  bool has_urls = change.kind == MemberChange::Kind::kAdd || change.kind == MemberChange::Kind::kUpdate;
  if (change.kind == MemberChange::Kind::kAdd) change.peer_urls = tidy_peer_urls(std::move(change.peer_urls));
  if (has_urls) refused = check_peer_urls(change.peer_urls);
  if (change.request_id.size() > kRequestIdBytesMax)
    refused = invalid_argument("fairlead: a request id has at most " + std::to_string(kRequestIdBytesMax) + " bytes");
  if (stopping_) refused = err_stopped();
  if (member_calls_.size() >= kMemberCallsMax) refused = err_too_many_requests();
  if (!refused.is_ok()) {
    world_.loop->post([done = std::move(done), refused] { done(refused, nullptr); });
    return;
  }
  io::Nanos latest = world_.loop->now() + config_.request_timeout();
  if (deadline > 0) latest = std::min(latest, deadline);
  uint64_t id = request_base_ + next_request_++;
  member_calls_.emplace(id, MemberCall{std::move(change), latest, std::move(done)});
  ask_for_change(id);
}

void Node::ask_for_change(uint64_t id) {
  auto it = member_calls_.find(id);
  if (it == member_calls_.end() || stopping_) return;
  const MemberCall& call = it->second;
  if (raft_->is_leader()) return take_change(member_id(), id, call.change, call.deadline);
  if (!transport_->connected(raft_->leader())) return ask_again(id);
  std::string payload;
  put_fixed(payload, id);
  put_varint(payload, static_cast<uint64_t>(std::max<io::Nanos>(0, call.deadline - world_.loop->now())));
  put_lengthed(payload, encode_change(call.change));
  call_leader(kAppMemberChange, std::move(payload),
              [this, id, alive = alive_](const Status& status, std::string_view reply) {
                // A broken call says nothing about the change: the log tells, or the deadline.
                if (*alive && status.is_ok()) on_change_outcome(id, reply);
              });
}

void Node::ask_again(uint64_t id) {
  world_.loop->add_timer(world_.loop->now() + kChangeRetry, [this, id, alive = alive_] {
    if (*alive) ask_for_change(id);
  });
}

void Node::on_change_outcome(uint64_t id, std::string_view reply) {
  Reader in(reply);
  switch (in.fixed<uint8_t>()) {
    case kAppended:
      return;
    case kAgain:
      return ask_again(id);
    case kDone: {
      Result<MemberChange> change = decode_change(in.lengthed());
      if (!in.ok() || !change.is_ok()) return;
      // The answer speaks of members that this one may not have applied yet.
      return barrier([this, id, change = *change, alive = alive_](const Status& status) {
        if (*alive) finish_change(id, status, &change);
      });
    }
    default: {
      auto code = static_cast<Code>(in.fixed<uint8_t>());
      Status status(code, std::string(in.lengthed()));
      if (in.ok()) finish_change(id, status, nullptr);
    }
  }
}

void Node::finish_change(uint64_t id, const Status& status, const MemberChange* change) {
  auto it = member_calls_.find(id);
  if (it == member_calls_.end()) return;
  ChangeDone done = std::move(it->second.done);
  member_calls_.erase(it);
  done(status, change);
}

void Node::expire_changes() {
  std::vector<uint64_t> late;
  for (const auto& [id, call] : member_calls_)
    if (call.deadline <= world_.loop->now()) late.push_back(id);
  for (uint64_t id : late) finish_change(id, err_timeout(), nullptr);
}

void Node::fail_changes(const Status& why) {
  change_tasks_.clear();
  while (!member_calls_.empty()) finish_change(member_calls_.begin()->first, why, nullptr);
}

// ---- the leader

void Node::on_change_asked(MemberId from, uint64_t call, std::string_view payload) {
  Reader in(payload);
  auto request = in.fixed<uint64_t>();
  io::Nanos left = static_cast<io::Nanos>(std::min<uint64_t>(in.varint(), config_.request_timeout()));
  Result<MemberChange> change = decode_change(in.lengthed());
  if (!in.ok() || !change.is_ok() || change->kind == MemberChange::Kind::kAlone) return;
  if (!raft_->is_leader()) return answer_app(from, kAppMemberChange, call, Status(), outcome(kAgain));
  take_change(from, request, *std::move(change), world_.loop->now() + left, call);
}

void Node::take_change(MemberId asker, uint64_t request, MemberChange change, io::Nanos deadline, uint64_t call) {
  auto task = std::make_shared<ChangeTask>(ChangeTask{asker, request, call, std::move(change), deadline, {}, {}});
  if (change_tasks_.size() >= kMemberCallsMax) return answer_change(*task, refusal(err_too_many_requests()));
  change_tasks_.push_back(task);
  linearizable([this, task, alive = alive_](const Status& status) {
    if (!*alive) return;
    task->confirmed = true;
    task->failed = status;
    go_on_soon();
  });
}

// Never inside the call that asked.
void Node::answer_change(const ChangeTask& task, std::string reply) {
  if (task.asker != member_id()) return answer_app(task.asker, kAppMemberChange, task.call, Status(), reply);
  world_.loop->post([this, id = task.request, reply = std::move(reply), alive = alive_] {
    if (*alive) on_change_outcome(id, reply);
  });
}

// One at a time, in the order in which they were asked.
void Node::run_change_tasks() {
  while (!change_tasks_.empty()) {
    std::shared_ptr<ChangeTask> task = change_tasks_.front();
    std::string reply;
    if (world_.loop->now() >= task->deadline) {
      reply = refusal(err_timeout());
    } else if (!raft_->is_leader()) {
      reply = outcome(kAgain);
    } else if (!task->confirmed) {
      return;
    } else if (!task->failed.is_ok()) {
      reply = refusal(task->failed);
    } else {
      reply = try_change(*task);
      if (reply.empty()) return;  // later
    }
    change_tasks_.pop_front();
    answer_change(*task, std::move(reply));
  }
}

// Empty: not now.
std::string Node::try_change(ChangeTask& task) {
  if (!members_pending_.empty() || raft_->config_index() > applied_) return {};
  MemberChange& change = task.change;
  for (const ChangeLog::Done& done : change_log_.done) {
    if (change.request_id.empty() || done.request_id != change.request_id) continue;
    MemberChange known = change;
    known.id = done.member;
    std::string reply = outcome(kDone);
    put_lengthed(reply, encode_change(known));
    return done.kind == change.kind
               ? reply
               : refusal(failed_precondition("fairlead: the request id was used for another change"));
  }
  if (Status refused = check_change_now(change); !refused.is_ok()) {
    if (change.kind == MemberChange::Kind::kPromote) ++stats_.promotions_refused[std::string(refused.message())];
    return refusal(refused);
  }
  if (change.kind == MemberChange::Kind::kAdd) {
    // A newcomer starts from a checkpoint; without it nothing might be applied any more that one could be made of.
    if (store_->state().applied.value == 0) {
      checkpoint_wanted_ = true;
      return {};
    }
    change.id = added_member_id(members_, removed_, change.peer_urls, world_.loop->wall_ms() / 1000);
  }
  if (!append_change(task)) return {};
  if (change.kind == MemberChange::Kind::kPromote) ++stats_.promotions;
  return outcome(kAppended);
}

Status Node::check_change_now(const MemberChange& change) {
  RETURN_IF_ERROR(check_guards(members_, change_log_, change));
  if (change.kind == MemberChange::Kind::kPromote) RETURN_IF_ERROR(check_learner_ready(change.id));
  if (config_.strict_reconfig_check) {
    Connections connections;
    connections.self = member_id();
    connections.any = [this](MemberId id) { return transport_->connected(id); };
    connections.healthy = [this](MemberId id) {
      std::optional<io::Nanos> since = transport_->connected_since(id);
      return since && world_.loop->now() - *since >= kHealthInterval;
    };
    RETURN_IF_ERROR(check_quorum_kept(members_, change, connections));
  }
  return check_change(members_, removed_, change, config_.learners_max);
}

Status Node::check_learner_ready(MemberId id) {
  Index match;
  bool found = id == member_id();
  if (found) match = raft_->last_index();
  for (const raft::MemberProgress& p : raft_->progress()) {
    if (p.id != id) continue;
    found = true;
    match = p.lost ? Index() : p.match;
  }
  if (!found) return err_member_not_found();
  double share = static_cast<double>(match.value) / static_cast<double>(raft_->last_index().value);
  return share < kLearnerReady ? err_learner_not_ready() : Status();
}

bool Node::append_change(const ChangeTask& task) {
  std::string entry;
  append_envelope(entry, kEntryMembers, task.asker, task.request);
  entry += encode_change(task.change);
  if (task.change.kind == MemberChange::Kind::kUpdate) return raft_->propose({Bytes::take(std::move(entry))}).ok();
  MemberMap next = members_;
  std::vector<MemberId> removed = removed_;
  ChangeLog log;
  apply_change({next, removed, log}, task.change);
  Result<raft::Proposed> proposed = raft_->propose_config(configuration_of(next), Bytes::take(std::move(entry)));
  CHECK(proposed.is_ok() || proposed.code() == Code::kFailedPrecondition, "a checked change is one step");
  return proposed.is_ok();
}

// ---- every member

namespace {
// The change in an entry, if it is one.
std::optional<MemberChange> change_in(const raft::Entry& entry) {
  Bytes envelope_bytes = entry.data;
  if (entry.type == raft::EntryType::kConfig) {
    Result<raft::ConfigEntry> config = raft::ConfigEntry::decode(entry.data);
    if (!config.is_ok()) return std::nullopt;
    envelope_bytes = config->context;
  } else if (entry.type != raft::EntryType::kNormal || entry.data.empty() ||
             static_cast<uint8_t>(entry.data.data()[0]) != kEntryMembers) {
    return std::nullopt;
  }
  Result<Envelope> envelope = decode_envelope(envelope_bytes.view());
  if (!envelope.is_ok() || envelope->kind != kEntryMembers) return std::nullopt;
  Result<MemberChange> change = decode_change(envelope->payload);
  if (!change.is_ok()) return std::nullopt;
  return *std::move(change);
}
}  // namespace

// From the moment it is in the log a new member counts for Raft: it must be let in, and be found, before the change is
// applied. After a start nobody may know that it was committed before it has voted.
void Node::note_member_change(const raft::Entry& entry) {
  std::optional<MemberChange> change = change_in(entry);
  if (!change) return;
  members_pending_[entry.index] = *std::move(change);
  follow_members();
}

void Node::drop_member_changes(Index from, Index upto) {
  bool dropped = std::erase_if(members_pending_, [&](const auto& c) { return c.first >= from || c.first <= upto; }) > 0;
  if (dropped) follow_members();
}

MemberMap Node::members_to_come() const {
  MemberMap out = members_;
  for (const auto& [index, change] : members_pending_) {
    if (change.kind != MemberChange::Kind::kAdd || out.contains(change.id)) continue;
    Member& fresh = out[change.id];
    fresh.id = change.id;
    fresh.peer_urls = change.peer_urls;
    fresh.is_learner = change.is_learner;
  }
  return out;
}

// Connections to all members, and to nobody else.
void Node::follow_members() {
  if (!transport_) return;
  MemberMap all = members_to_come();
  for (const auto& [id, member] : all)
    if (id != member_id()) transport_->set_peer(id, addresses_of(member.peer_urls));
  for (MemberId id : transport_->peers())
    if (!all.contains(id) && !PLANTED(kRemovedCounts)) transport_->remove_peer(id);
}

void Node::apply_members(const Envelope& envelope, Index index, const raft::Configuration* config) {
  Result<MemberChange> change = decode_change(envelope.payload);
  CHECK(change.is_ok(), "a committed member change is malformed");
  CHECK(check_change(members_, removed_, *change, SIZE_MAX).is_ok(), "a change is checked before it is appended");
  apply_change({members_, removed_, change_log_}, *change);
  for (MemberId id : removed_) requests_.forget(id);
  CHECK(!config || *config == configuration_of(members_), "Raft's members are the members");
  world_.log->info(change_name(change->kind), {{"member-id", hex(change->id.value)},
                                               {"name", name_of(change->id)},
                                               {"members", members_.size()},
                                               {"index", index.value}});
  members_pending_.erase(index);
  follow_members();
  if (envelope.proposer == member_id()) finish_change(envelope.request, Status(), &*change);
  leave_if_removed();
}

// By a peer: its own log may never tell. A member in service stops as if it had applied its removal; one that starts
// on such data refuses to.
void Node::told_of_removal(const std::string& why) {
  if (leaving_) return;
  if (!published_ || !on_removed_) return fatal(failed_precondition(why));
  leaving_ = true;
  world_.log->warn("this member was removed from the cluster: it stops", {{"reason", why}});
  world_.loop->post([this, alive = alive_] {
    if (*alive && !stopped_) on_removed_();
  });
}

// What this member still has to say goes out first: as leader, that its removal is committed and who leads next.
void Node::leave_if_removed() {
  if (leaving_ || PLANTED(kRemovedCounts)) return;
  if (!std::binary_search(removed_.begin(), removed_.end(), member_id())) return;
  leaving_ = true;
  world_.log->warn("this member was removed from the cluster: it stops, and its data cannot be used again");
  world_.loop->add_timer(world_.loop->now() + config_.election_timeout, [this, alive = alive_] {
    if (!*alive || stopped_) return;
    if (on_removed_) return on_removed_();
    fatal(failed_precondition("this member was removed from the cluster"));
  });
}

void Node::probe_write(Done done) {
  propose_entry(kEntryProbe, {}, false,
                [done = std::move(done)](const Status& status, const mvcc::ApplyResult*) { done(status); });
}

void Node::move_leader(MemberId to, Done done) {
  Status refused;
  auto it = members_.find(to);
  if (!raft_->is_leader())
    refused = {Code::kFailedPrecondition, "etcdserver: not leader"};
  else if (it == members_.end() || it->second.is_learner)
    refused = {Code::kFailedPrecondition, "etcdserver: bad leader transferee"};
  else if (to != member_id())
    refused = raft_->transfer_leader(to);  // another one is under way
  bool wait = refused.is_ok() && to != member_id();
  if (wait) {
    leader_moves_.emplace_back(to, std::move(done));
    return go_on_soon();
  }
  world_.loop->post([done = std::move(done), refused] { done(refused); });
}

// A leader is known again, or the transfer was given up (0).
void Node::finish_leader_moves(MemberId leader) {
  std::vector<std::pair<MemberId, Done>> over = std::move(leader_moves_);
  leader_moves_.clear();
  for (auto& [to, done] : over)
    done(to == leader ? Status()
                      : Status(Code::kUnknown, "etcdserver: request timed out, leader transfer took too long"));
}

}  // namespace fairlead::node
