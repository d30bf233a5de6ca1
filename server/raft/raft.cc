// Roles, terms, elections, durability and output. Follower and leader have files of their own.
#include "server/raft/raft.h"

#include <algorithm>

#include "base/check.h"
#include "base/planted.h"

namespace fairlead::raft {

namespace {

bool sorted_contains(const std::vector<MemberId>& ids, MemberId id) {
  return std::binary_search(ids.begin(), ids.end(), id);
}

// The configurations that entries above `applied` bring.
template <typename Push>
void for_each_config(const Entries& entries, Index applied, Push push) {
  for (const Entry& e : entries) {
    if (e.type != EntryType::kConfig || e.index <= applied) continue;
    auto decoded = ConfigEntry::decode(e.data);
    CHECK(decoded.is_ok(), "a configuration entry in the log is well formed");
    push(e.index, decoded->config);
  }
}

}  // namespace

void Votes::record(MemberId from, bool is_granted) {
  if (std::find(granted.begin(), granted.end(), from) != granted.end()) return;
  if (std::find(rejected.begin(), rejected.end(), from) != rejected.end()) return;
  (is_granted ? granted : rejected).push_back(from);
}

Raft::Raft(const Options& options, Restored restored)
    : options_(options),
      jitter_state_(options.seed ^ (options.id.value * 0x9E3779B97F4A7C15ull)),
      hard_(restored.hard_state),
      log_(restored.log_start, restored.log_start_term),
      commit_(restored.applied),
      applied_(restored.applied),
      handed_(restored.applied),
      needs_snapshot_(restored.needs_snapshot),
      submitted_hard_(hard_),
      durable_hard_(hard_),
      read_requested_(unique_base()),
      read_closed_(read_requested_),
      read_sent_(read_requested_),
      read_done_(read_requested_),
      forward_last_(unique_base()) {
  CHECK(options.id, "a member has an ID");
  CHECK(options.heartbeat_ticks > 0 && options.heartbeat_ticks < options.election_ticks,
        "heartbeats come faster than elections");
  CHECK(restored.log_start <= restored.applied, "the log reaches down to the checkpoint");
  CHECK(!needs_snapshot_ || (restored.entries.empty() && restored.config == Configuration()), "it has nothing yet");
  configs_.push_back({restored.applied, std::move(restored.config)});
  if (!restored.entries.empty()) append_to_log(Entries(std::move(restored.entries)));
  CHECK(log_.last_index() >= applied_, "the log reaches up to the checkpoint");
  CHECK(hard_.term >= log_.last_term(), "the term is as new as the log");
  submitted_ = durable_ = log_.last_index();
  soft_reported_.term = hard_.term;
  reset_election_timer();
  if (!restored.take_over.empty()) take_over(std::move(restored.take_over));
  bool alone = config().voters.size() == 1 && config().is_voter(id());
  if (alone) become_candidate(false);  // nobody else could object
}

void Raft::take_over(Bytes context) {
  CHECK(!needs_snapshot_, "who has nothing cannot go on with it");
  set_term(hard_.term + 1, id());
  ConfigEntry alone{Configuration{{id()}, {}}, std::move(context)};
  append_to_log(Entries({Entry{hard_.term, log_.last_index() + 1, EntryType::kConfig, alone.encode()}}));
}

// --- roles
// ---------------------------------------------------------------------------------------------------------------

SoftState Raft::soft_state() const { return {role(), leader_, hard_.term}; }

void Raft::set_term(Term term, MemberId vote) {
  CHECK(term > hard_.term || (term == hard_.term && (!hard_.vote || hard_.vote == vote)),
        "terms rise, and one vote is given in each");
  hard_ = {term, vote};
  vote_reply_due_ = MemberId();
}

// splitmix64: small, and equal on every machine.
void Raft::reset_election_timer() {
  uint64_t z = (jitter_state_ += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  z ^= z >> 31;
  election_elapsed_ = 0;
  election_timeout_ = options_.election_ticks + static_cast<uint32_t>(z % options_.election_ticks);
}

// A member whose removal is in its log but not known to be committed may still be needed to commit it (4.2.2).
bool Raft::promotable() const {
  if (lost()) return false;
  if (config().is_voter(id())) return true;
  return configs_.size() > 1 && config_index() > commit_ && configs_[configs_.size() - 2].config.is_voter(id());
}

void Raft::become_follower(Term term, MemberId leader) {
  if (term > hard_.term) set_term(term, MemberId());
  if (leader != leader_) read_sent_ = read_done_;  // unanswered reads are asked again, of the next leader
  state_.emplace<Follower>();
  leader_ = leader;
  reset_election_timer();
}

void Raft::become_pre_candidate() {
  state_.emplace<PreCandidate>();
  leader_ = MemberId();
  reset_election_timer();
}

// Neither the own vote counts nor the requests leave before the new term is durable: see after_durable().
void Raft::become_candidate(bool transfer) {
  state_.emplace<Candidate>().transfer = transfer;
  set_term(hard_.term + 1, id());
  leader_ = MemberId();
  reset_election_timer();
  dirty_ = true;
}

void Raft::campaign() {
  dirty_ = true;
  become_pre_candidate();
  Vote request{.pre = true, .last_index = log_.last_index(), .last_term = log_.last_term()};
  for (MemberId voter : config().voters) {
    if (voter != id()) send_at(hard_.term + 1, voter, request);
  }
  std::get<PreCandidate>(state_).votes.record(id(), true);
  count_votes();
}

void Raft::request_votes() {
  auto& candidate = std::get<Candidate>(state_);
  candidate.requests_sent = true;
  Vote request{.transfer = candidate.transfer, .last_index = log_.last_index(), .last_term = log_.last_term()};
  for (MemberId voter : config().voters) {
    if (voter != id()) send(voter, request);
  }
  candidate.votes.record(id(), true);
  count_votes();
}

void Raft::count_votes() {
  auto* pre = std::get_if<PreCandidate>(&state_);
  const Votes& votes = pre ? pre->votes : std::get<Candidate>(state_).votes;
  auto count = [&](const std::vector<MemberId>& ids) {
    return static_cast<size_t>(std::count_if(ids.begin(), ids.end(), [&](MemberId m) { return config().is_voter(m); }));
  };
  if (count(votes.granted) >= config().quorum()) return pre ? become_candidate(false) : become_leader();
  if (count(votes.rejected) > config().voters.size() - config().quorum()) become_follower(hard_.term, MemberId());
}

bool Raft::quorum_connected() const {
  size_t up = 0;
  for (MemberId voter : config().voters) up += voter == id() || sorted_contains(connected_, voter);
  return up >= config().quorum();
}

// A fresh static cluster need not wait for a timeout: its members agree without words who goes first.
void Raft::maybe_campaign_at_bootstrap() {
  bool fresh = hard_.term == Term() && log_.last_index() == Index() && role() == Role::kFollower && !leader_;
  if (fresh && promotable() && config().voters.front() == id() && quorum_connected()) campaign();
}

void Raft::connected(MemberId member, bool is_connected) {
  auto at = std::lower_bound(connected_.begin(), connected_.end(), member);
  bool known = at != connected_.end() && *at == member;
  if (is_connected && !known) connected_.insert(at, member);
  if (!is_connected && known) connected_.erase(at);
  dirty_ = true;
  if (Progress* peer = find_peer(member)) {
    // What was sent on the old connection may be gone.
    if (!is_connected && peer->state == ProgressState::kReplicate) peer->become_probe(peer->match + 1);
    if (is_connected) peer->paused = false;
  }
  if (is_connected) maybe_campaign_at_bootstrap();
}

void Raft::tick() {
  if (is_leader()) return tick_leader();
  ++election_elapsed_;
  if (read_requested_ > read_done_ && ++read_retry_elapsed_ > options_.election_ticks / 2) {
    read_retry_elapsed_ = 0;
    read_sent_ = read_done_;  // question or answer may be lost; asking twice does no harm
    dirty_ = true;
  }
  if (election_elapsed_ < election_timeout_) return;
  if (promotable()) {
    campaign();
  } else if (leader_) {
    leader_ = MemberId();
    dirty_ = true;
  }
}

void Raft::stalled() {
  dirty_ = true;
  if (is_leader()) {
    become_follower(hard_.term, MemberId());
  } else {
    reset_election_timer();
  }
}

// --- messages
// --------------------------------------------------------------------------------------------------------------

void Raft::step(Message m) {
  if (m.to != id() || m.from == id()) return;
  dirty_ = true;
  if (!term_admits(m)) return;
  if (auto* append = std::get_if<Append>(&m.body)) return on_append(m, *append);
  if (auto* reply = std::get_if<AppendReply>(&m.body)) return on_append_reply(m, *reply);
  if (auto* heartbeat = std::get_if<Heartbeat>(&m.body)) return on_heartbeat(m, *heartbeat);
  if (auto* reply = std::get_if<HeartbeatReply>(&m.body)) return on_heartbeat_reply(m, *reply);
  if (auto* propose = std::get_if<Propose>(&m.body)) return on_propose(m, *propose);
  if (auto* reply = std::get_if<ProposeReply>(&m.body)) return out_.forwarded.push_back(*reply);
  if (auto* read = std::get_if<ReadIndex>(&m.body)) return on_read_index(m, *read);
  if (auto* reply = std::get_if<ReadIndexReply>(&m.body)) return on_read_index_reply(*reply);
  if (auto* vote = std::get_if<Vote>(&m.body)) return on_vote(m, *vote);
  if (auto* reply = std::get_if<VoteReply>(&m.body)) return on_vote_reply(m, *reply);
  on_timeout_now(m);
}

// Moves to the message's term where that is due. False if the message is to be ignored.
bool Raft::term_admits(const Message& m) {
  if (m.term == hard_.term) return true;
  if (m.term < hard_.term) {
    // Forwarded requests and their answers are not bound to a term.
    if (m.is<Propose>() || m.is<ReadIndex>() || m.is<ProposeReply>() || m.is<ReadIndexReply>()) return true;
    answer_stale(m);
    return false;
  }
  if (auto* vote = std::get_if<Vote>(&m.body)) {
    // Who hears from a leader does not help to replace it (4.2.3); else a member that was cut off would disturb.
    bool leader_is_alive = leader_ && election_elapsed_ < options_.election_ticks;
    if (leader_is_alive && !vote->transfer) return false;
    if (vote->pre) return true;
  }
  if (auto* reply = std::get_if<VoteReply>(&m.body); reply && reply->pre && reply->granted) return true;
  bool from_leader = m.is<Append>() || m.is<Heartbeat>();
  become_follower(m.term, from_leader ? m.from : MemberId());
  return true;
}

// A leader or candidate of the past learns the term, so that it can follow or campaign anew.
void Raft::answer_stale(const Message& m) {
  if (m.is<Append>() || m.is<Heartbeat>()) return send(m.from, HeartbeatReply{});
  if (auto* vote = std::get_if<Vote>(&m.body); vote && vote->pre) send(m.from, VoteReply{.pre = true});
}

void Raft::on_vote(const Message& m, const Vote& v) {
  bool free = hard_.vote == m.from || (!hard_.vote && !leader_) || (v.pre && m.term > hard_.term);
  bool up_to_date = v.last_term > log_.last_term() ||
                    (v.last_term == log_.last_term() && v.last_index >= log_.last_index());  // 3.6.1
  bool granted = free && up_to_date && !lost();
  if (!granted) return send(m.from, VoteReply{.pre = v.pre});
  if (v.pre) return send_at(m.term, m.from, VoteReply{.pre = true, .granted = true});
  set_term(hard_.term, m.from);
  election_elapsed_ = 0;
  vote_reply_due_ = m.from;
}

void Raft::on_vote_reply(const Message& m, const VoteReply& r) {
  if (auto* pre = std::get_if<PreCandidate>(&state_)) {
    if (!r.pre || (r.granted && m.term != hard_.term + 1)) return;
    pre->votes.record(m.from, r.granted);
    return count_votes();
  }
  auto* candidate = std::get_if<Candidate>(&state_);
  if (!candidate || r.pre || !candidate->requests_sent) return;
  candidate->votes.record(m.from, r.granted);
  count_votes();
}

void Raft::on_timeout_now(const Message&) {
  if (role() == Role::kLeader || !promotable()) return;
  become_candidate(true);
}

// --- log
// ---------------------------------------------------------------------------------------------------------------------

void Raft::append_to_log(const Entries& entries) {
  log_.append(entries);
  for_each_config(entries, applied_, [&](Index index, const Configuration& config) {
    configs_.push_back({index, config});
  });
}

// A suffix is replaced: nothing of it is durable any more, and no write in flight can prove more than what is below.
void Raft::truncate(Index from) {
  CHECK(from > commit_, "committed entries stay");
  log_.truncate(from);
  Index last = from - 1;
  durable_ = std::min(durable_, last);
  for (WriteInFlight& write : writes_) {
    if (write.last <= last) continue;
    write.last = last;
    write.last_term = *log_.term_at(last);
  }
  if (submitted_ > last) {
    truncate_from_ = truncate_from_ ? std::min(truncate_from_, from) : from;
    submitted_ = last;
  }
  while (configs_.back().index >= from) configs_.pop_back();
  CHECK(!configs_.empty(), "the applied configuration stays");
}

void Raft::log_durable(WriteSeq seq) {
  CHECK(seq <= write_seq_, "only what was handed out can become durable");
  dirty_ = true;
  while (!writes_.empty() && writes_.front().seq <= seq) {
    const WriteInFlight& write = writes_.front();
    durable_hard_ = write.hard;
    if (write.last > durable_) {
      CHECK(log_.matches(write.last, write.last_term), "truncation lowers the writes in flight");
      durable_ = write.last;
    }
    writes_.pop_front();
  }
  after_durable();
}

void Raft::after_durable() {
  if (auto* candidate = std::get_if<Candidate>(&state_); candidate && !candidate->requests_sent && hard_durable()) {
    request_votes();
  }
  if (is_leader()) advance_commit();
  log_.trim_memory(std::min(applied_, durable_), options_.memory_bytes_max);
}

void Raft::applied(Index index) {
  CHECK(index >= applied_ && index <= handed_, "applied in order, and only what was handed out");
  dirty_ = true;
  applied_ = index;
  while (!handed_out_.empty() && handed_out_.front().last <= index) {
    handed_bytes_ -= handed_out_.front().bytes;
    handed_out_.pop_front();
  }
  while (configs_.size() > 1 && configs_[1].index <= index) configs_.erase(configs_.begin());
  log_.trim_memory(std::min(applied_, durable_), options_.memory_bytes_max);
}

void Raft::compacted(Index first) {
  CHECK(first <= applied_ + 1, "the log reaches down to the applied index");
  if (first.value > 0) log_.compact(first - 1);
}

void Raft::commit_to(Index index) {
  if (index <= commit_) return;
  CHECK(index <= log_.last_index(), "only what is here can be committed here");
  commit_ = index;
}

// --- output
// --------------------------------------------------------------------------------------------------------------------

ReadId Raft::read() {
  dirty_ = true;
  if (read_requested_ <= read_closed_) ++read_requested_;
  return read_requested_;
}

Result<ForwardId> Raft::forward(std::vector<Bytes> data) {
  CHECK(!is_leader(), "a leader proposes");
  if (!leader_) return unavailable("raft: no leader");
  dirty_ = true;
  ++forward_last_;
  send(leader_, Propose{forward_last_, std::move(data)});
  return forward_last_;
}

void Raft::forward_reads() {
  if (!leader_ || read_requested_ == read_sent_) return;
  read_sent_ = read_closed_ = read_requested_;
  read_retry_elapsed_ = 0;
  send(leader_, ReadIndex{read_requested_});
}

void Raft::on_read_index_reply(const ReadIndexReply& r) {
  if (r.read_id <= read_done_ || r.read_id > read_requested_) return;
  read_done_ = r.read_id;
  read_sent_ = std::max(read_sent_, read_done_);
  out_.reads.push_back({r.read_id, r.index});
}

void Raft::hand_out_committed() {
  if (handed_ >= commit_ || handed_bytes_ >= options_.apply_bytes_max) return;
  size_t bytes = log_.runs(handed_ + 1, commit_, options_.apply_bytes_max - handed_bytes_, out_.committed);
  handed_ = out_.committed.back().back().index;
  handed_bytes_ += bytes;
  handed_out_.push_back({handed_, bytes});
}

void Raft::hand_out_write() {
  bool anything = log_reset_ || truncate_from_ || log_.last_index() > submitted_ || hard_ != submitted_hard_;
  if (!anything) return;
  out_.write_seq = ++write_seq_;
  if (hard_ != submitted_hard_) out_.hard_state = hard_;
  if (PLANTED(kVoteNotPersisted) && out_.hard_state) out_.hard_state->vote = MemberId();
  submitted_hard_ = hard_;
  out_.truncate_from = std::exchange(truncate_from_, Index());
  if (log_reset_) {
    out_.log_reset = std::exchange(log_reset_, std::nullopt);  // alone: entries above it come next
    dirty_ = dirty_ || log_.last_index() > submitted_;
  } else if (log_.last_index() > submitted_) {
    log_.runs(submitted_ + 1, log_.last_index(), SIZE_MAX, out_.to_append);
    submitted_ = log_.last_index();
  }
  writes_.push_back({write_seq_, hard_, submitted_, *log_.term_at(submitted_)});
  if (PLANTED(kAnswerBeforeDurable)) {
    durable_ = submitted_;
    if (is_leader()) advance_commit();
    dirty_ = true;
  }
}

Ready Raft::ready() {
  dirty_ = false;
  if (is_leader()) {
    start_read_round();
    send_to_peers();
  } else {
    forward_reads();
  }
  send_due_replies();
  hand_out_committed();
  hand_out_write();
  if (SoftState now = soft_state(); now != soft_reported_) out_.soft_state = soft_reported_ = now;
  return std::exchange(out_, Ready());
}

}  // namespace fairlead::raft
