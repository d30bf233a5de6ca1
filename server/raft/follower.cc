// What a member does under a leader: take entries, acknowledge them once durable, follow the commit index.
#include <algorithm>

#include "base/check.h"
#include "server/raft/raft.h"

namespace fairlead::raft {

// The sender leads the current term.
void Raft::follow(MemberId leader) {
  if (role() != Role::kFollower) {
    become_follower(hard_.term, leader);
  } else if (leader_ != leader) {
    leader_ = leader;
    read_sent_ = read_done_;
  }
  election_elapsed_ = 0;
}

void Raft::on_append(const Message& m, Append& a) {
  if (is_leader()) return;  // no term has two leaders: not a message of ours
  follow(m.from);
  note_match(a.match);
  auto& self = std::get<Follower>(state_);
  self.read_seen = std::max(self.read_seen, a.read_id);
  if (needs_snapshot_) {
    AppendReply reply{.index = a.prev_index, .rejected = true, .read_id = self.read_seen, .needs_snapshot = true};
    return send(m.from, reply);
  }

  // What is committed here is the leader's too, and its terms may be compacted away: begin the comparison behind it.
  Index prev_index = a.prev_index;
  Term prev_term = a.prev_term;
  Entries entries = std::move(a.entries);
  if (prev_index < commit_) {
    size_t known = std::min<size_t>(commit_ - prev_index, entries.size());
    entries = entries.slice(known, entries.size() - known);
    prev_index = commit_;
    prev_term = *log_.term_at(commit_);
  }
  if (!entries.empty() && entries.front().index != prev_index + 1) return;  // malformed
  if (!log_.matches(prev_index, prev_term)) return reject_append(m.from, a.prev_index, a.prev_term);

  if (!entries.empty() && memory_full()) return;  // as if lost: the leader sends it again, at the pace of heartbeats
  Index last_new = prev_index + entries.size();
  take_entries(entries);
  self.matched = std::max(self.matched, last_new);
  self.ack_due = true;
  commit_to(std::min(a.commit, last_new));
}

// Appends what is new; where the logs differ the leader is right (3.5).
void Raft::take_entries(const Entries& entries) {
  size_t same = 0;
  while (same < entries.size() && log_.matches(entries[same].index, entries[same].term)) ++same;
  if (same == entries.size()) return;
  for (size_t i = same; i < entries.size(); ++i) {
    bool malformed = entries[i].type == EntryType::kConfig && !ConfigEntry::decode(entries[i].data).is_ok();
    CHECK(!malformed, "the transport lets no damaged entry through");
  }
  if (entries[same].index <= log_.last_index()) truncate(entries[same].index);
  append_to_log(entries.slice(same, entries.size() - same));
}

// Committed entries stay in memory until applied: a follower that applies too slowly takes no more. (What is not
// committed is bounded by the leader.)
bool Raft::memory_full() const {
  size_t bytes_max = options_.memory_bytes_max;
  return log_.memory_bytes() > bytes_max && log_.bytes_between(applied_ + 1, commit_) > bytes_max;
}

void Raft::reject_append(MemberId to, Index prev_index, Term prev_term) {
  // Up to the commit index all logs agree.
  Index hint = std::max(commit_, log_.last_with_term_at_most(std::min(prev_index, log_.last_index()), prev_term));
  send(to, AppendReply{.index = prev_index,
                       .rejected = true,
                       .lost = lost(),
                       .hint_index = hint,
                       .hint_term = *log_.term_at(hint),
                       .read_id = std::get<Follower>(state_).read_seen});
}

// The leader of this term says that we acknowledged everything up to match. Then it is here and like the leader's, also
// if we have been restarted since; if it is not, our disk went back in time.
void Raft::note_match(Index match) {
  auto& self = std::get<Follower>(state_);
  if (match <= log_.last_index()) {
    self.matched = std::max(self.matched, match);
  } else {
    lost_floor_ = std::max(lost_floor_, match);
  }
}

void Raft::on_heartbeat(const Message& m, const Heartbeat& h) {
  if (is_leader()) return;
  follow(m.from);
  note_match(h.match);
  auto& self = std::get<Follower>(state_);
  self.read_seen = std::max(self.read_seen, h.read_id);
  commit_to(std::min(h.commit, self.matched));
  if (h.match > log_.last_index()) {
    reject_append(m.from, h.match, hard_.term);
  } else if (h.reply_wanted) {
    self.heartbeat_due = true;
  }
}

// What may leave once it is durable, and what can wait for the end of the turn: one acknowledgement covers many
// appends.
void Raft::send_due_replies() {
  if (vote_reply_due_ && hard_durable()) {
    send(vote_reply_due_, VoteReply{.granted = true});
    vote_reply_due_ = MemberId();
  }
  auto* self = std::get_if<Follower>(&state_);
  if (!self || !leader_) return;
  Index index = std::min(self->matched, durable_);
  bool acknowledge = self->ack_due && hard_durable() && (index == self->matched || index > self->acked);
  if (acknowledge) {
    send(leader_, AppendReply{.index = index, .lost = lost(), .read_id = self->read_seen});
    self->acked = index;
    self->ack_due = index < self->matched;
  } else if (self->heartbeat_due) {
    send(leader_, HeartbeatReply{self->read_seen});
  }
  self->heartbeat_due = false;
}

void Raft::installed_snapshot(Index index, Term term, const Configuration& config) {
  CHECK(index > applied_, "a snapshot brings the state machine forward");
  dirty_ = true;
  needs_snapshot_ = false;
  // It came on a connection of its own, perhaps before any message of its term.
  if (term > hard_.term) become_follower(term, MemberId());
  if (!log_.matches(index, term)) {
    CHECK(!is_leader(), "a leader's log has all that is committed");
    log_.reset(index, term);
    for (WriteInFlight& write : writes_) write.last = Index();
    log_reset_ = LogReset{index, term};
    submitted_ = durable_ = index;
    truncate_from_ = Index();
    configs_.clear();
  }
  std::erase_if(configs_, [&](const ConfigAt& c) { return c.index <= index; });
  configs_.insert(configs_.begin(), {index, config});
  // A log that holds the entry goes on as it is, and what of it is still being written is not durable yet: a checkpoint
  // behind the snapshot would promise entries that a crash can lose.
  commit_ = std::max(commit_, index);
  applied_ = handed_ = index;
  handed_out_.clear();
  handed_bytes_ = 0;
  if (auto* self = std::get_if<Follower>(&state_)) {
    self->matched = std::max(self->matched, index);  // committed, so every leader has it
    self->ack_due = true;
  }
}

}  // namespace fairlead::raft
