// What a leader does: propose, send, count, commit; reads, membership, transfer.
#include <algorithm>

#include "base/check.h"
#include "server/raft/raft.h"

namespace fairlead::raft {

namespace {

// Rounds of read barriers without an answer. Beyond it, reads wait and share a later round.
constexpr size_t kReadRoundsMax = 64;
// Heartbeats without an answer to an Append after which a probe asks what arrived.
constexpr uint32_t kQuietHeartbeatsMax = 3;

// The value that at least a quorum has reached.
template <typename T>
T quorum_value(std::vector<T>& values) {
  auto nth = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), nth, values.end(), std::greater<>());
  return *nth;
}

// 0: absent, 1: learner, 2: voter.
int standing(const Configuration& config, MemberId id) {
  return config.is_voter(id) ? 2 : config.is_learner(id) ? 1 : 0;
}

Status check_one_step(const Configuration& from, const Configuration& to) {
  auto strictly_sorted = [](const std::vector<MemberId>& ids) {
    return std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) == ids.end();
  };
  if (to.voters.empty()) return invalid_argument("raft: a configuration needs a voter");
  if (!strictly_sorted(to.voters) || !strictly_sorted(to.learners)) {
    return invalid_argument("raft: members of a configuration are sorted");
  }
  std::vector<MemberId> all;
  for (const auto* ids : {&from.voters, &from.learners, &to.voters, &to.learners})
    all.insert(all.end(), ids->begin(), ids->end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  int steps = 0;
  for (MemberId id : all) {
    if (to.is_voter(id) && to.is_learner(id)) return invalid_argument("raft: a member is voter or learner, not both");
    steps += standing(from, id) != standing(to, id);
  }
  if (steps != 1) return invalid_argument("raft: a configuration changes by one member at a time");
  return Status::ok();
}

}  // namespace

void Raft::become_leader() {
  CHECK(hard_durable(), "a leader remembers its term");
  Leader& self = state_.emplace<Leader>();
  leader_ = id();
  election_elapsed_ = 0;
  read_sent_ = read_done_;
  self.uncommitted_bytes = log_.bytes_between(commit_ + 1, log_.last_index());
  sync_peers();
  self.term_start = log_.last_index() + 1;
  append_to_log(Entries({Entry{hard_.term, self.term_start, EntryType::kEmpty, Bytes()}}));
  dirty_ = true;
}

Progress* Raft::find_peer(MemberId member) {
  auto* self = std::get_if<Leader>(&state_);
  if (!self) return nullptr;
  auto at = std::lower_bound(self->peers.begin(), self->peers.end(), member,
                             [](const Progress& p, MemberId m) { return p.id < m; });
  return at != self->peers.end() && at->id == member ? &*at : nullptr;
}

// Makes the list of peers that of the configuration in force.
void Raft::sync_peers() {
  auto& self = std::get<Leader>(state_);
  std::vector<Progress> peers;
  auto add = [&](MemberId member, bool learner) {
    if (member == id()) return;
    Progress fresh;
    fresh.id = member;
    fresh.next = log_.last_index() + 1;
    Progress* known = find_peer(member);
    peers.push_back(known ? std::move(*known) : std::move(fresh));
    peers.back().learner = learner;
  };
  for (MemberId member : config().voters) add(member, false);
  for (MemberId member : config().learners) add(member, true);
  std::sort(peers.begin(), peers.end(), [](const Progress& a, const Progress& b) { return a.id < b.id; });
  self.peers = std::move(peers);
  if (self.transferee && !config().is_voter(self.transferee)) abort_transfer();
}

// --- proposals
// -----------------------------------------------------------------------------------------------------------

Proposed Raft::propose(std::vector<Bytes> data) {
  CHECK(!data.empty(), "a batch has entries");
  auto* self = std::get_if<Leader>(&state_);
  if (!self) return {.error = ProposeError::kNotLeader};
  if (self->transferee) return {.error = ProposeError::kTransferring};
  size_t bytes = 0;
  for (const Bytes& d : data) bytes += d.size() + Entry::kEntryOverheadBytes;
  if (self->uncommitted_bytes > 0 && self->uncommitted_bytes + bytes > options_.uncommitted_bytes_max) {
    return {.error = ProposeError::kTooMuchPending};
  }
  dirty_ = true;
  self->uncommitted_bytes += bytes;
  Index first = log_.last_index() + 1;
  std::vector<Entry> entries;
  entries.reserve(data.size());
  for (Bytes& d : data) entries.push_back({hard_.term, first + entries.size(), EntryType::kNormal, std::move(d)});
  log_.append(Entries(std::move(entries)));
  return {.term = hard_.term, .first_index = first};
}

Result<Proposed> Raft::propose_config(const Configuration& next, Bytes context) {
  auto* self = std::get_if<Leader>(&state_);
  if (!self) return failed_precondition("raft: not leader");
  if (self->transferee) return failed_precondition("raft: leadership is being transferred");
  if (configs_.size() > 1) return failed_precondition("raft: another configuration change is pending");
  if (commit_ < self->term_start) return failed_precondition("raft: nothing is committed in this term yet");
  RETURN_IF_ERROR(check_one_step(config(), next));
  dirty_ = true;
  Index index = log_.last_index() + 1;
  Entry entry{hard_.term, index, EntryType::kConfig, ConfigEntry{next, std::move(context)}.encode()};
  self->uncommitted_bytes += entry.size_bytes();
  append_to_log(Entries({std::move(entry)}));
  sync_peers();
  advance_commit();  // a smaller quorum may hold already for what is before it
  return Proposed{.term = hard_.term, .first_index = index};
}

void Raft::on_propose(const Message& m, Propose& p) {
  if (p.data.empty()) return;
  Proposed result = propose(std::move(p.data));
  send(m.from, ProposeReply{p.id, result.error, result.term, result.first_index});
}

// --- time
// ------------------------------------------------------------------------------------------------------------------

void Raft::tick_leader() {
  auto& self = std::get<Leader>(state_);
  if (self.transferee && ++self.transfer_elapsed >= options_.election_ticks) abort_transfer();
  if (++election_elapsed_ >= options_.election_ticks) {
    election_elapsed_ = 0;
    dirty_ = true;
    if (!quorum_active()) return become_follower(hard_.term, MemberId());
  }
  if (++self.heartbeat_elapsed < options_.heartbeat_ticks) return;
  self.heartbeat_elapsed = 0;
  self.heartbeat_due = true;
  dirty_ = true;
  for (Progress& peer : self.peers) {
    peer.paused = false;
    bool quiet = peer.state == ProgressState::kReplicate && !peer.inflights.empty();
    peer.quiet_heartbeats = quiet ? peer.quiet_heartbeats + 1 : 0;
    if (peer.quiet_heartbeats < kQuietHeartbeatsMax) continue;
    peer.quiet_heartbeats = 0;
    if (peer.next <= log_.start_index()) {
      peer.become_probe(peer.match + 1);  // and from there to a snapshot
    } else {
      send_append(peer, Entries());  // refused if what went before is lost
    }
  }
}

// Check-quorum: did a quorum answer since the last look?
bool Raft::quorum_active() {
  auto& self = std::get<Leader>(state_);
  size_t active = config().is_voter(id()) ? 1 : 0;
  for (Progress& peer : self.peers) {
    active += peer.active && !peer.learner;
    peer.active = false;
  }
  return active >= config().quorum();
}

// --- answers
// ---------------------------------------------------------------------------------------------------------------

void Raft::on_append_reply(const Message& m, const AppendReply& r) {
  Progress* peer = find_peer(m.from);
  if (!peer) return;
  peer->active = true;
  peer->quiet_heartbeats = 0;
  note_read_ack(*peer, r.read_id);
  if (r.rejected) {
    on_rejected(*peer, r);
  } else if (r.index <= log_.last_index()) {
    on_accepted(*peer, r);
  }
}

void Raft::on_accepted(Progress& peer, const AppendReply& r) {
  peer.inflights.free_to(r.index);
  if (r.lost) {  // it catches up with what it lost; none of it counts
    peer.lost = true;
    peer.match = Index();
    if (peer.state == ProgressState::kProbe) {
      peer.become_replicate();
      peer.next = std::max(peer.probe_last, r.index) + 1;
    }
    return;
  }
  peer.lost = false;
  peer.match = std::max(peer.match, r.index);
  peer.acked_max = std::max(peer.acked_max, peer.match);
  peer.next = std::max(peer.next, peer.match + 1);
  bool known = r.index == peer.match;  // not an answer from the past
  if (known && peer.state == ProgressState::kProbe) peer.become_replicate();
  if (peer.state == ProgressState::kSnapshot && peer.match >= log_.start_index()) peer.become_replicate();
  advance_commit();
  if (is_leader()) maybe_send_timeout_now(*find_peer(peer.id));
}

void Raft::on_rejected(Progress& peer, const AppendReply& r) {
  if (peer.state == ProgressState::kSnapshot) return;
  if (r.needs_snapshot) {
    peer.become_snapshot();
    out_.snapshots.push_back({peer.id});
    return;
  }
  if (r.lost) {
    peer.lost = true;
    peer.match = Index();
  } else if (peer.state == ProgressState::kReplicate) {
    if (r.index <= peer.match) return;  // an answer from the past
    return peer.become_probe(peer.match + 1);
  } else if (peer.next - 1 != r.index) {
    return;
  }
  // Below the hint all terms are at most hint_term: skip all of ours that are higher.
  Index agree = log_.last_with_term_at_most(std::min(r.hint_index, log_.last_index()), r.hint_term);
  peer.become_probe(std::max(peer.match, std::min(agree, r.index)) + 1);
}

void Raft::on_heartbeat_reply(const Message& m, const HeartbeatReply& r) {
  Progress* peer = find_peer(m.from);
  if (!peer) return;
  peer->active = true;
  note_read_ack(*peer, r.read_id);
}

// --- commit
// ----------------------------------------------------------------------------------------------------------------

// What a majority of the voters of this configuration holds.
Index Raft::reached(const Configuration& by) const {
  auto& self = std::get<Leader>(state_);
  std::vector<Index> matches;
  matches.reserve(by.voters.size());
  for (MemberId voter : by.voters) {
    auto at = std::lower_bound(self.peers.begin(), self.peers.end(), voter,
                               [](const Progress& p, MemberId m) { return p.id < m; });
    bool known = at != self.peers.end() && at->id == voter;
    matches.push_back(voter == id() ? durable_ : known ? at->match : Index());
  }
  return quorum_value(matches);
}

// An entry commits by a majority of the configuration in force. A configuration's own entry, with all before it, also
// commits by a majority of the one before it: from then on nobody who does not hold it wins a majority of the old
// configuration, and whoever campaigns with the new one holds it. Without this a single member could never take in a
// second one that does not run yet, and cannot before it is a member.
void Raft::advance_commit() {
  auto& self = std::get<Leader>(state_);
  Index index = reached(config());
  if (configs_.size() > 1 && config_index() > commit_) {
    const Configuration& before = configs_[configs_.size() - 2].config;
    index = std::max(index, std::min(reached(before), config_index()));
  }
  if (index <= commit_ || log_.term_at(index) != hard_.term) return;  // 3.6.2
  self.uncommitted_bytes -= log_.bytes_between(commit_ + 1, index);
  commit_to(index);
  dirty_ = true;
  if (!config().is_voter(id()) && config_index() <= commit_) leave_after_removal();
}

// The leader is no voter of the committed configuration (4.2.2): tell the others, name a successor, go.
void Raft::leave_after_removal() {
  send_to_peers();
  MemberId successor = transfer_candidate();
  if (successor) send(successor, TimeoutNow{});
  become_follower(hard_.term, MemberId());
}

Index Raft::slowest_active_match() const {
  Index slowest = commit_;
  if (auto* self = std::get_if<Leader>(&state_)) {
    for (const Progress& peer : self->peers) {
      if (peer.active && peer.state != ProgressState::kSnapshot) slowest = std::min(slowest, peer.match);
    }
  }
  return slowest;
}

std::vector<MemberProgress> Raft::progress() const {
  std::vector<MemberProgress> out;
  auto* self = std::get_if<Leader>(&state_);
  if (!self) return out;
  for (const Progress& p : self->peers) out.push_back({p.id, p.learner, p.state, p.match, p.next, p.active, p.lost});
  return out;
}

// --- leader transfer (3.10)
// ------------------------------------------------------------------------------------------------

MemberId Raft::transferee() const {
  auto* self = std::get_if<Leader>(&state_);
  return self ? self->transferee : MemberId();
}

MemberId Raft::transfer_candidate() const {
  const Progress* best = nullptr;
  auto* self = std::get_if<Leader>(&state_);
  if (!self) return MemberId();
  for (const Progress& peer : self->peers) {
    bool up = peer.active || std::binary_search(connected_.begin(), connected_.end(), peer.id);
    if (peer.learner || peer.lost || !up) continue;
    if (!best || peer.match > best->match) best = &peer;
  }
  return best ? best->id : MemberId();
}

Status Raft::transfer_leader(MemberId to) {
  auto* self = std::get_if<Leader>(&state_);
  if (!self) return failed_precondition("raft: not leader");
  if (self->transferee) return failed_precondition("raft: another transfer is under way");
  Progress* peer = find_peer(to);
  if (!peer || peer->learner) return failed_precondition("raft: the target of a transfer is another voter");
  dirty_ = true;
  self->transferee = to;
  self->transfer_elapsed = 0;
  self->timeout_now_sent = false;
  peer->paused = false;
  maybe_send_timeout_now(*peer);
  return Status::ok();
}

void Raft::maybe_send_timeout_now(Progress& peer) {
  auto& self = std::get<Leader>(state_);
  if (self.transferee != peer.id || self.timeout_now_sent || peer.match < log_.last_index()) return;
  self.timeout_now_sent = true;
  send(peer.id, TimeoutNow{});
}

void Raft::abort_transfer() {
  std::get<Leader>(state_).transferee = MemberId();
  out_.transfer_aborted = true;
  dirty_ = true;
}

// --- reads (6.4)
// -------------------------------------------------------------------------------------------------------------

void Raft::on_read_index(const Message& m, const ReadIndex& r) {
  auto* self = std::get_if<Leader>(&state_);
  if (!self || !config().contains(m.from)) return;  // the asker repeats it
  for (auto& [member, read_id] : self->waiting) {
    if (member == m.from) {
      read_id = std::max(read_id, r.read_id);
      return;
    }
  }
  self->waiting.push_back({m.from, r.read_id});
}

// One round for all reads that came since the last one. Its index is the commit index now, which is not below that of
// any moment at which they were asked.
void Raft::start_read_round() {
  auto& self = std::get<Leader>(state_);
  bool own = read_requested_ > read_sent_;
  if (!own && self.waiting.empty()) return;
  if (commit_ < self.term_start || self.rounds.size() >= kReadRoundsMax) return;
  ++self.barrier;
  self.rounds.push_back({self.barrier, commit_, own ? read_requested_ : ReadId(), std::move(self.waiting)});
  self.waiting.clear();
  if (own) read_sent_ = read_closed_ = read_requested_;
  if (config().quorum() == 1 && config().is_voter(id())) finish_reads();
}

void Raft::note_read_ack(Progress& peer, ReadId read_id) {
  auto& self = std::get<Leader>(state_);
  if (read_id <= peer.read_acked || read_id > self.barrier) return;
  peer.read_acked = read_id;
  if (!self.rounds.empty()) finish_reads();
}

void Raft::finish_reads() {
  auto& self = std::get<Leader>(state_);
  std::vector<ReadId> acked;
  acked.reserve(config().voters.size());
  if (config().is_voter(id())) acked.push_back(self.barrier);
  for (const Progress& peer : self.peers) {
    if (!peer.learner) acked.push_back(peer.read_acked);
  }
  ReadId confirmed = quorum_value(acked);
  while (!self.rounds.empty() && self.rounds.front().barrier <= confirmed) {
    ReadRound round = std::move(self.rounds.front());
    self.rounds.pop_front();
    if (round.local > read_done_) {
      read_done_ = round.local;
      out_.reads.push_back({round.local, round.index});
    }
    for (auto& [member, read_id] : round.followers) send(member, ReadIndexReply{read_id, round.index});
  }
}

// --- sending
// -----------------------------------------------------------------------------------------------------------------

void Raft::send_to_peers() {
  auto& self = std::get<Leader>(state_);
  for (Progress& peer : self.peers) {
    send_entries(peer);
    send_heartbeat_if_due(peer);
  }
  self.heartbeat_due = false;
}

bool Raft::may_send(const Progress& peer) const {
  if (peer.reading || peer.state == ProgressState::kSnapshot) return false;
  if (peer.state == ProgressState::kProbe) return !peer.paused;
  if (peer.next > log_.last_index()) return false;
  return !peer.inflights.full(options_.inflight_messages_max, options_.inflight_bytes_max);
}

void Raft::send_entries(Progress& peer) {
  while (may_send(peer)) {
    if (peer.next <= log_.start_index()) {
      if (!peer.active) return;  // no snapshot for who is not there
      peer.become_snapshot();
      out_.snapshots.push_back({peer.id});
      return;
    }
    Index last = log_.last_index();
    if (peer.next > last) return send_append(peer, Entries());  // a probe
    if (peer.next < log_.memory_first()) {
      peer.reading = true;
      Index to = std::min(last, log_.memory_first() - 1);
      out_.read_log.push_back({peer.id, peer.next, to, options_.message_bytes_max});
      return;
    }
    send_append(peer, log_.slice(peer.next, last, options_.message_bytes_max));
  }
}

// Sends what follows next - 1, and notes that it is on its way.
void Raft::send_append(Progress& peer, Entries entries) {
  auto& self = std::get<Leader>(state_);
  Index prev = peer.next - 1;
  Index last_sent = prev + entries.size();
  if (peer.state == ProgressState::kProbe) {
    peer.paused = true;
    peer.probe_last = last_sent;
    peer.probe_bytes = entries.size_bytes();
  } else if (!entries.empty()) {
    peer.next = last_sent + 1;
    peer.inflights.add(last_sent, entries.size_bytes());
  }
  peer.commit_sent = std::max(peer.commit_sent, std::min(commit_, last_sent));
  peer.read_sent = self.barrier;
  send(peer.id, Append{prev, *log_.term_at(prev), commit_, peer.acked_max, self.barrier, std::move(entries)});
}

void Raft::send_heartbeat_if_due(Progress& peer) {
  auto& self = std::get<Leader>(state_);
  Index commit = std::min(commit_, peer.match);
  bool barrier = !peer.learner && peer.read_sent < self.barrier;
  if (!self.heartbeat_due && !barrier && peer.commit_sent >= commit) return;
  peer.commit_sent = std::max(peer.commit_sent, commit);
  peer.read_sent = self.barrier;
  send(peer.id, Heartbeat{commit, peer.acked_max, self.barrier, self.heartbeat_due || barrier});
}

void Raft::log_entries(MemberId to, Entries entries) {
  Progress* peer = find_peer(to);
  if (!peer || !peer->reading) return;
  dirty_ = true;
  peer->reading = false;
  if (entries.empty()) {
    peer->become_snapshot();
    out_.snapshots.push_back({to});
    return;
  }
  // An answer to an earlier question, or from before a truncation: ask again.
  bool wanted = entries.front().index == peer->next && log_.matches(entries.back().index, entries.back().term);
  if (!wanted || peer->next <= log_.start_index()) return;
  send_append(*peer, std::move(entries));
}

void Raft::snapshot_sent(MemberId to, Index index) {
  Progress* peer = find_peer(to);
  if (!peer || peer->state != ProgressState::kSnapshot) return;
  dirty_ = true;
  peer->become_probe(std::max(peer->match, std::min(index, log_.last_index())) + 1);
}

void Raft::snapshot_failed(MemberId to) {
  Progress* peer = find_peer(to);
  if (!peer || peer->state != ProgressState::kSnapshot) return;
  dirty_ = true;
  peer->become_probe(peer->match + 1);
  peer->paused = true;  // till the next heartbeat: no hot loop of snapshots
}

}  // namespace fairlead::raft
