// The consensus core: a deterministic state machine. Calls go in (messages, ticks, proposals, completions), one Ready
// comes out; equal calls give equal outputs. It has no clock, thread, file, socket or randomness of its own: the jitter
// of election timeouts comes from the seed in Options.
//
// What is decided here, after the thesis and its later practice:
//   - Appending and applying are asynchronous, and there is no other mode. A write is handed out with a WriteSeq and
//   counts
//     when log_durable() says so. Nothing that promises durability leaves earlier: a granted vote, a vote request (a
//     candidate that forgot its term could lead it twice), an append acknowledgement. The core holds these back itself.
//   - The leader sends entries before its own write is durable (10.2.1); its own copy counts for commit only once
//   durable.
//   - Entries of earlier terms commit only together with one of the leader's own term (3.6.2).
//   - Pre-vote (9.6), check-quorum and leader stickiness (4.2.3, 6.2) are always on.
//   - Reads (6.4): one barrier covers all reads asked for since the last; it rides on appends that go out anyway, else
//   on
//     one heartbeat round; no read is answered before the leader committed in its own term. Followers ask the leader.
//   - Membership (4.1): one voter or learner at a time; a configuration is in force once appended, and is rolled back
//     if its entry is truncated. A change is validated before it is appended, against applied membership, with none
//     pending. Its entry, and what is before it, commits by a majority of the new configuration or of the one before,
//     whichever is first (see Raft::reached()): a second member can be added to a single one before it runs.
//
// Durability bookkeeping. submitted: handed out for writing. durable: known to be on disk, always a prefix of the
// current log: truncating a suffix lowers it at once, and lowers what every write in flight can still prove, so a late
// completion of an overwritten write proves nothing about the entries that took their place.
//
// Threads: one owner. Errors: what another member may cause (stale, repeated, malformed messages) is ignored or
// answered; what only we can cause is a CHECK. Units: ticks are the shell's.
//
// The turn of a shell is described in README.md.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "server/raft/log.h"
#include "server/raft/progress.h"
#include "server/raft/roles.h"
#include "server/raft/types.h"

namespace fairlead::raft {

struct Options {
  MemberId id;
  // Start counter of the data directory: makes read and forward ids unique over restarts. At most 24 bits are used.
  uint64_t start_counter = 1;
  uint64_t seed = 0;             // of the election jitter; differs between members and between starts
  uint32_t election_ticks = 10;  // timeouts are drawn from [election_ticks, 2 * election_ticks)
  uint32_t heartbeat_ticks = 1;  // less than election_ticks

  // Limits. A single entry above a limit in bytes still goes, alone.
  size_t message_bytes_max = size_t{1} << 20;       // entries of one Append
  size_t inflight_messages_max = 256;               // unacknowledged Appends per follower
  size_t inflight_bytes_max = size_t{16} << 20;     // and their entries' bytes
  size_t uncommitted_bytes_max = size_t{64} << 20;  // beyond it the leader refuses proposals
  size_t apply_bytes_max = size_t{4} << 20;         // committed entries handed out and not yet applied()
  size_t memory_bytes_max = size_t{32} << 20;       // entries kept for slow followers once durable and applied
};

// What a start found on disk.
struct Restored {
  HardState hard_state;
  Index applied;         // of the state machine's checkpoint; 0 = nothing
  Configuration config;  // as of `applied`; at bootstrap the initial one, the same on all its members
  Index log_start;       // the entry before the first of `entries` (0 if they begin at 1), and its term
  Term log_start_term;
  std::vector<Entry> entries;  // consecutive, all durable; must reach from at most applied + 1 to the end of the log
  // It joins a cluster that runs already, with an empty state and an empty `config`: it takes a snapshot before any
  // entry, and does not campaign before it finds itself in a configuration. It votes, as every member does.
  bool needs_snapshot = false;
  // Not empty: the member goes on alone, because the others are lost for good. An entry with the configuration of it
  // alone and this context is put behind the log, in a term of its own. Against the rules of Raft, and safe only if
  // nobody of the others is ever asked again.
  Bytes take_over = {};
};

// All reads asked for under ids up to read_id may be served once the state machine has applied index.
struct ReadReady {
  ReadId read_id;
  Index index;
};

// A follower needs entries that are no longer in memory: answer with log_entries(), at once or in a later turn. One
// request per follower at a time.
struct ReadLogRequest {
  MemberId to;
  Index from;        // first entry wanted
  Index to_index;    // last entry wanted
  size_t bytes_max;  // stop earlier at this many bytes, but give at least one entry
};

// A follower needs entries that the log no longer has: send it a snapshot, then call snapshot_sent or snapshot_failed.
struct SnapshotRequest {
  MemberId to;
};

// The log starts anew after (index, term), an installed snapshot: everything in it goes, also above index.
struct LogReset {
  Index index;
  Term term;
};

// Everything there is to do. The order of the fields is a possible order of doing it.
struct Ready {
  // Write as one batch, in order of write_seq; then log_durable(write_seq). 0: nothing to write.
  WriteSeq write_seq;
  std::optional<LogReset> log_reset;    // if set, there are no entries and no truncation in this Ready
  Index truncate_from;                  // 0 = none: else drop entries from here on before appending
  std::vector<Entries> to_append;       // consecutive runs
  std::optional<HardState> hard_state;  // in the same batch, before or behind the entries

  // Send now, without waiting for the write. What must wait is not in here yet.
  std::vector<Message> messages;

  // Apply in order; then applied(). May be handed out before they are durable here: a checkpoint must not go past
  // Raft::durable_index().
  std::vector<Entries> committed;

  std::vector<ReadReady> reads;
  std::vector<ProposeReply> forwarded;  // answers to forward()
  std::vector<ReadLogRequest> read_log;
  std::vector<SnapshotRequest> snapshots;

  std::optional<SoftState> soft_state;  // if it changed since the last Ready
  bool transfer_aborted = false;        // transfer_leader() ran out of time, or its target left
};

struct Proposed {
  ProposeError error = ProposeError::kNone;  // if set, nothing was appended
  Term term{};
  Index first_index{};
  bool ok() const { return error == ProposeError::kNone; }
};

// A follower as the leader sees it.
struct MemberProgress {
  MemberId id;
  bool learner = false;
  ProgressState state = ProgressState::kProbe;
  Index match;
  Index next;
  bool active = false;  // heard from within the last election timeout
  bool lost = false;    // its disk went back in time (AppendReply::lost)
};

class Raft {
 public:
  Raft(const Options& options, Restored restored);
  Raft(const Raft&) = delete;
  Raft& operator=(const Raft&) = delete;

  // --- inputs: each may change state; what comes of it is in the next ready() ---

  void tick();
  void step(Message message);

  // Appends all as one batch of consecutive entries, if this member leads.
  Proposed propose(std::vector<Bytes> data);
  // Replaces the configuration. Before a newcomer is added, whoever may lead should have a checkpoint to start it
  // from: a quorum may need it, and then nothing can be applied, and no first checkpoint made, before. Errors
  // (kFailedPrecondition: not leader, another change pending, nothing committed in this term yet, transfer under way;
  // kInvalidArgument: not exactly one member's step from the current configuration).
  Result<Proposed> propose_config(const Configuration& next, Bytes context);
  // Sends a batch to the leader, the answer comes in Ready::forwarded, or never (then its outcome is unknown).
  // kUnavailable if no leader is known; a leader must propose() instead (CHECK).
  Result<ForwardId> forward(std::vector<Bytes> data);

  // A linearizable read: may be served when a ReadReady with at least the returned id came, and its index is applied.
  // Reads asked for between two ready() share one id. Works on any member, and survives changes of leader; ids only
  // rise.
  ReadId read();

  // All writes up to seq are on disk.
  void log_durable(WriteSeq seq);
  // The state machine has applied up to index.
  void applied(Index index);
  // Answers a ReadLogRequest: consecutive entries from its `from` on; empty if the log does not have them (any more).
  void log_entries(MemberId to, Entries entries);
  // The log on disk now begins at `first`: older entries can no longer be read. first <= applied + 1.
  void compacted(Index first);

  // The outcome of a SnapshotRequest: the follower has installed one up to `index` (or refused it because it has all up
  // to `index`), or has not.
  void snapshot_sent(MemberId to, Index index);
  void snapshot_failed(MemberId to);
  // Follower: is a snapshot up to index of use? Ask before receiving and again before switching over to it.
  bool wants_snapshot(Index index) const { return index > commit_; }
  // Follower: the state machine now is the snapshot. Entries handed out before and not applied are void; what is above
  // index is handed out again.
  void installed_snapshot(Index index, Term term, const Configuration& config);

  // Leader: hand leadership to a voter. Refused (kFailedPrecondition: not leader, target no voter, or another
  // transfer). Proposals are refused until it ends: by a new leader (soft state), or transfer_aborted after an election
  // timeout.
  Status transfer_leader(MemberId to);
  // The best target of a transfer: the active voter that has most of the log; 0 = none.
  MemberId transfer_candidate() const;

  // The own log write stalled beyond an election timeout, or the process wakes from a pause: a leader steps down.
  void stalled();
  // The transport has, or has lost, a connection to a member.
  void connected(MemberId member, bool is_connected);

  // --- output ---

  bool has_ready() const { return dirty_; }
  Ready ready();

  // --- looking ---

  MemberId id() const { return options_.id; }
  SoftState soft_state() const;
  Role role() const { return static_cast<Role>(state_.index()); }
  bool is_leader() const { return role() == Role::kLeader; }
  Term term() const { return hard_.term; }
  MemberId vote() const { return hard_.vote; }
  MemberId leader() const { return leader_; }
  Index commit() const { return commit_; }
  Index applied_index() const { return applied_; }
  Index last_index() const { return log_.last_index(); }
  Index durable_index() const { return durable_; }
  const HardState& durable_hard_state() const { return durable_hard_; }
  Index first_index() const { return log_.start_index() + 1; }  // oldest entry that followers can still be given
  std::optional<Term> term_at(Index index) const { return log_.term_at(index); }
  // The configuration in force (appended) and the index of its entry (0 or a checkpoint's for the restored one).
  const Configuration& config() const { return configs_.back().config; }
  Index config_index() const { return configs_.back().index; }
  MemberId transferee() const;
  std::vector<MemberProgress> progress() const;  // leader only, else empty; sorted by id
  // Leader: lowest match of members heard from lately: what the log should keep for them. Else the commit index.
  Index slowest_active_match() const;

 private:
  // A write handed out and not yet durable.
  struct WriteInFlight {
    WriteSeq seq;
    HardState hard;
    Index last;  // the log's end as this write leaves it, lowered by truncation
    Term last_term;
  };
  struct ConfigAt {
    Index index;
    Configuration config;
  };
  struct Handed {  // committed entries handed out and not applied
    Index last;
    size_t bytes;
  };

  // roles (raft.cc)
  void become_follower(Term term, MemberId leader);
  void become_pre_candidate();
  void become_candidate(bool transfer);
  void become_leader();
  void set_term(Term term, MemberId vote);
  void reset_election_timer();
  bool promotable() const;
  void campaign();
  void request_votes();
  void count_votes();
  bool quorum_connected() const;
  void maybe_campaign_at_bootstrap();
  void take_over(Bytes context);

  // messages (raft.cc, follower.cc, leader.cc)
  bool term_admits(const Message& m);
  void answer_stale(const Message& m);
  void on_vote(const Message& m, const Vote& v);
  void on_vote_reply(const Message& m, const VoteReply& r);
  void on_append(const Message& m, Append& a);
  void on_heartbeat(const Message& m, const Heartbeat& h);
  void on_timeout_now(const Message& m);
  void on_append_reply(const Message& m, const AppendReply& r);
  void on_heartbeat_reply(const Message& m, const HeartbeatReply& r);
  void on_propose(const Message& m, Propose& p);
  void on_read_index(const Message& m, const ReadIndex& r);
  void on_read_index_reply(const ReadIndexReply& r);

  // follower (follower.cc)
  void follow(MemberId leader);
  void reject_append(MemberId to, Index prev_index, Term prev_term);
  void take_entries(const Entries& entries);
  bool memory_full() const;
  void note_match(Index match);
  bool lost() const { return durable_ < lost_floor_; }
  void send_due_replies();
  void truncate(Index from);
  void append_to_log(const Entries& entries);

  // leader (leader.cc)
  Progress* find_peer(MemberId id);
  void sync_peers();
  void tick_leader();
  bool quorum_active();
  void on_accepted(Progress& peer, const AppendReply& r);
  void on_rejected(Progress& peer, const AppendReply& r);
  void advance_commit();
  Index reached(const Configuration& by) const;
  void after_commit(Index before);
  void leave_after_removal();
  void maybe_send_timeout_now(Progress& peer);
  void abort_transfer();
  void start_read_round();
  void note_read_ack(Progress& peer, ReadId id);
  void finish_reads();
  void send_to_peers();
  void send_entries(Progress& peer);
  bool may_send(const Progress& peer) const;
  void send_heartbeat_if_due(Progress& peer);
  void send_append(Progress& peer, Entries entries);

  // output (raft.cc)
  template <typename Body>
  void send(MemberId to, Body body) {
    send_at(hard_.term, to, std::move(body));
  }
  template <typename Body>
  void send_at(Term term, MemberId to, Body body) {
    out_.messages.push_back(Message{options_.id, to, term, std::move(body)});
  }
  void forward_reads();
  void hand_out_committed();
  void hand_out_write();
  bool hard_durable() const { return durable_hard_ == hard_; }
  void after_durable();
  void commit_to(Index index);
  uint64_t unique_base() const { return (options_.start_counter & 0xFFFFFF) << 40; }

  Options options_;
  uint64_t jitter_state_;
  HardState hard_;
  LogView log_;
  std::vector<ConfigAt> configs_;  // applied one first, then those appended above it
  Index commit_;
  Index applied_;
  Index handed_;  // last entry handed out for apply
  std::deque<Handed> handed_out_;
  size_t handed_bytes_ = 0;

  std::variant<Follower, PreCandidate, Candidate, Leader> state_;  // in the order of Role
  MemberId leader_;
  uint32_t election_elapsed_ = 0;
  uint32_t election_timeout_ = 0;
  std::vector<MemberId> connected_;  // sorted
  Index lost_floor_;                 // acknowledged once, missing now: silent until held again
  bool needs_snapshot_ = false;      // joined with nothing: takes no entries before a snapshot

  WriteSeq write_seq_;
  Index submitted_;
  Index truncate_from_;
  std::optional<LogReset> log_reset_;
  HardState submitted_hard_;
  HardState durable_hard_;
  Index durable_;
  std::deque<WriteInFlight> writes_;
  MemberId vote_reply_due_;  // granted in this term, held back until durable

  ReadId read_requested_;  // newest id given to the shell
  ReadId read_closed_;     // newest one that was ever sent: a later read must not share it
  ReadId read_sent_;       // newest one that is on its way now (round or message)
  ReadId read_done_;
  uint32_t read_retry_elapsed_ = 0;
  ForwardId forward_last_;

  SoftState soft_reported_;
  Ready out_;
  bool dirty_ = true;
};

}  // namespace fairlead::raft
