// The turn: what came in since the last one is proposed, written, sent, applied and answered, in batches.
#include <algorithm>

#include "base/failpoint.h"
#include "base/text.h"
#include "server/node/node.h"

namespace fairlead::node {

// Runs after all callbacks of a turn. See ARCHITECTURE.md, "Life of a Put".
void Node::turn() {
  if (!started_ || stopped_) return;
  io::Nanos began = world_.loop->now_precise();
  wake_posted_ = false;
  reads_of_turn_ = 0;
  propose_new();
  if (!new_reads_.empty()) {
    ReadBatch batch;
    batch.id = raft_->read();
    batch.deadline = world_.loop->now() + config_.request_timeout();
    batch.waiting = std::move(new_reads_);
    new_reads_.clear();
    read_batches_.push_back(std::move(batch));
  }
  drain_ready();
  // A log that already held the snapshot's last entry goes on as it is.
  if (!install_told_ && install_seq_.value == 0 && !store_->busy()) acknowledge_snapshot();
  apply_committed();
  drain_ready();  // what applying released: more to hand out, reads that are through
  serve_reads();
  run_change_tasks();
  housekeeping();
  deliver_watches();
  transport_->flush();
  auto took = static_cast<uint64_t>(world_.loop->now_precise() - began);
  stats_.turn_longest_ns = std::max(stats_.turn_longest_ns, took);
}

std::optional<Stages> Node::stages() const {
  if (answering_.since == 0) return std::nullopt;
  return marks_.of(answering_, world_.loop->now_precise());
}

// Work is left over: another turn at once.
void Node::go_on_soon() {
  if (wake_posted_) return;
  wake_posted_ = true;
  world_.loop->post([] {});
}

void Node::schedule_tick() {
  tick_timer_ = world_.loop->add_timer(last_tick_ + config_.heartbeat_interval, [this] { on_tick(); });
}

void Node::on_tick() {
  if (stopped_) return;
  io::Nanos now = world_.loop->now();
  // A pause of the process or a stalled disk: another leader may have been elected, or should be.
  bool paused = now - last_tick_ > config_.election_timeout + config_.heartbeat_interval;
  bool stalled = !writes_in_flight_.empty() && now - writes_in_flight_.front().second > config_.election_timeout;
  if (paused || stalled) {
    ++stats_.stalls;
    raft_->stalled();
  }
  if (raft_->is_leader() && now - last_tick_ > 2 * config_.heartbeat_interval) ++stats_.heartbeats_late;
  if (paused) {
    last_tick_ = now - config_.heartbeat_interval;  // missed ticks are not made up for
    world_.log->warn("the process did not run for longer than an election timeout",
                     {{"took-ms", (now - last_turn_) / io::kMillisecond}});
  }
  while (last_tick_ + config_.heartbeat_interval <= now) {
    last_tick_ += config_.heartbeat_interval;
    raft_->tick();
  }
  expire();
  tokens_.expire(now);
  tell_without_leader(now);
  schedule_tick();
}

void Node::drain_ready() {
  while (raft_->has_ready()) {
    raft::Ready ready = raft_->ready();
    if (ready.soft_state) on_soft_state(*ready.soft_state);
    if (ready.write_seq) submit_write(ready);
    if (!ready.messages.empty())
      raft_->is_leader() ? FAILPOINT(raftBeforeLeaderSend) : FAILPOINT(raftBeforeFollowerSend);
    for (const raft::Message& m : ready.messages) {
      if (transport_->send(m)) continue;
      // Never sent, so certainly not appended: these may go again.
      if (const auto* propose = std::get_if<raft::Propose>(&m.body))
        on_forwarded({propose->id, raft::ProposeError::kNotLeader, {}, {}});
    }
    for (raft::Entries& run : ready.committed) {
      if (run.empty()) continue;
      marks_.committed(run[run.size() - 1].index, world_.loop->now());
      to_apply_.push_back(std::move(run));
    }
    for (const raft::ReadReady& r : ready.reads)
      for (ReadBatch& batch : read_batches_)
        if (batch.id <= r.read_id && !batch.index) batch.index = r.index, batch.through = world_.loop->now();
    for (const raft::ProposeReply& reply : ready.forwarded) on_forwarded(reply);
    for (const raft::ReadLogRequest& request : ready.read_log) read_old_entries(request);
    for (const raft::SnapshotRequest& request : ready.snapshots) send_snapshot(request.to);
    if (ready.transfer_aborted) finish_leader_moves(MemberId());
    if (ready.transfer_aborted && stopping_) finish_stop_soon();
    FAILPOINT(raftBeforeAdvance);
  }
  stats_.proposals_committed = raft_->commit().value;
}

void Node::submit_write(raft::Ready& ready) {
  raft::WriteSeq seq = ready.write_seq;
  writes_in_flight_.emplace_back(seq, world_.loop->now());
  if (ready.truncate_from) drop_member_changes(ready.truncate_from, Index());
  if (ready.log_reset) {
    install_seq_ = seq;
    FAILPOINT(raftBeforeWALSaveSnaphot);
    log_->restart_at(ready.log_reset->index, ready.log_reset->term, ready.hard_state, seq);
    CHECK(ready.to_append.empty(), "a log that starts anew has no entries yet");
    return;
  }
  for (const raft::Entries& run : ready.to_append)
    for (const raft::Entry& entry : run) {
      note_attributes(entry);
      note_member_change(entry);
    }
  FAILPOINT(raftBeforeSave);
  if (!ready.to_append.empty() && !ready.to_append.back().empty()) {
    const raft::Entries& run = ready.to_append.back();
    marks_.written(seq, run[run.size() - 1].index, world_.loop->now());
  }
  if (ready.to_append.size() == 1) {
    const raft::Entries& run = ready.to_append.front();
    log_->append(ready.hard_state, {run.begin(), run.size()}, seq);
    return;
  }
  std::vector<raft::Entry> all;
  for (const raft::Entries& run : ready.to_append) all.insert(all.end(), run.begin(), run.end());
  log_->append(ready.hard_state, all, seq);
}

void Node::on_durable(raft::WriteSeq upto) {
  while (!writes_in_flight_.empty() && writes_in_flight_.front().first <= upto) writes_in_flight_.pop_front();
  FAILPOINT(raftAfterSave);
  marks_.durable(upto, world_.loop->now());
  raft_->log_durable(upto);
  if (install_seq_.value == 0 || upto < install_seq_) return;
  install_seq_ = {};
  // The log that belongs to the installed state stands: from now on its loss is an error, and the sender may know.
  store_->confirm_log(log_->durable_position(), [this, alive = alive_](Status status) {
    if (!*alive) return;
    if (!status.is_ok()) return fatal(status);
    FAILPOINT(raftAfterWALRelease);
    acknowledge_snapshot();
  });
}

void Node::on_soft_state(const raft::SoftState& state) {
  bool led = soft_.role == raft::Role::kLeader;
  bool leads = state.role == raft::Role::kLeader;
  if (state.leader != soft_.leader && state.leader.value != 0) {
    ++stats_.leader_changes_seen;
    world_.log->info(
        "the cluster has a leader",
        {{"leader-id", hex(state.leader.value)}, {"leader-name", name_of(state.leader)}, {"term", state.term.value}});
  } else if (state.leader.value == 0 && soft_.leader.value != 0) {
    world_.log->warn(
        "lost the leader",
        {{"leader-id", hex(soft_.leader.value)}, {"leader-name", name_of(soft_.leader)}, {"term", state.term.value}});
  }
  bool other_leader = state.leader != soft_.leader;
  if (led && (!leads || state.term != soft_.term)) lease_clock_.demote();
  soft_ = state;
  if (other_leader) fail_app_calls(MemberId(), state.leader, err_leader_changed());
  if (other_leader && state.leader.value != 0) finish_leader_moves(state.leader);
  if (leads && !led) {
    ++stats_.elections_won;
    lead_leases();
  } else if (!leads && led && stopping_) {
    finish_stop_soon();
  }
}

void Node::read_old_entries(const raft::ReadLogRequest& request) {
  log_->read(request.from, request.to_index + 1, request.bytes_max,
             [this, to = request.to, alive = alive_](Result<storage::Log::Entries> entries) {
               if (!*alive) return;
               if (!entries.is_ok() && entries.code() == Code::kDataLoss) return fatal(entries.status());
               raft_->log_entries(to, entries.is_ok() ? raft::Entries(std::move(*entries)) : raft::Entries());
             });
}

// A slice of a compaction, if one is due; true if more is left.
bool Node::compact_some() {
  if (!keyspace_->compaction_pending()) return false;
  io::Nanos began = world_.loop->now_precise();
  if (compaction_since_ == 0) compaction_since_ = began;
  FAILPOINT(compactBeforeCommitBatch);
  bool more = keyspace_->compact_slice(kTurnCompactKeys);
  FAILPOINT(compactAfterCommitBatch);
  io::Nanos now = world_.loop->now_precise();
  stats_.compaction_slice_ms.observe(static_cast<double>(now - began) / 1e6);
  if (!more) {
    FAILPOINT(compactBeforeSetFinishedCompact);
    stats_.compaction_ms.observe(static_cast<double>(now - std::exchange(compaction_since_, 0)) / 1e6);
    stats_.compaction_last_unix_s = world_.loop->wall_ms() / 1000;
    FAILPOINT(compactAfterSetFinishedCompact);
  }
  return more;
}

// Long work, cut into pieces: what is left makes the loop turn again.
void Node::housekeeping() {
  bool more = compact_some();
  more |= keyspace_->trim_cache(16);
  read_history();
  more |= hub_->catching_up();
  decide_version();
  serve_pins();
  maybe_checkpoint();
  maybe_defragment();
  serve_hashes();
  more |= !to_apply_.empty() && !apply_waits_;
  // Answers of this turn may have brought new calls.
  more |= proposals_fresh_ || !new_reads_.empty();
  if (more || raft_->has_ready()) go_on_soon();
}

}  // namespace fairlead::node
