// Checkpoints in the background, and the log's space back.
#include "base/failpoint.h"
#include "server/node/node.h"
#include "server/node/snapshot.h"

namespace fairlead::node {

// docs/formats/segments.md, "Life of a checkpoint". Applied state must be durable in the own log first: a checkpoint
// never runs ahead of it.
void Node::maybe_checkpoint() {
  if (checkpoint_running_ || installing_ || install_seq_.value != 0 || store_->busy() || fatal_told_) return;
  io::Nanos now = world_.loop->now();
  bool long_ago = now - last_checkpoint_ >= config_.checkpoint_interval;
  if (applied_ == store_->state().applied && !retry_) {
    // What compaction freed since is worth a checkpoint too, when somebody waits for it or after a while.
    if (!long_ago && !defragment_wanted_) return;
    if (keyspace_->stats().deaths_unwritten == 0) return;
  }
  mvcc::KeyspaceStats stats = keyspace_->stats();
  // A log that is kept long for a slow member must not make a checkpoint of every entry: it has to have grown.
  uint64_t log_bytes = log_->bytes_total();
  bool log_due = log_bytes >= config_.checkpoint_log_bytes + config_.log_keep_bytes &&
                 log_bytes >= log_bytes_after_checkpoint_ + config_.checkpoint_log_bytes / 4;
  bool idle = stats.bytes_tail >= kIdleCheckpointTailBytes && now - last_apply_ >= kIdleCheckpoint;
  // The first one comes early: a member that joins starts from one.
  bool first = store_->state().applied.value == 0 && now - started_at_ >= kFirstCheckpoint;
  bool due = checkpoint_wanted_ || first || retry_ || stats.bytes_tail >= config_.checkpoint_tail_bytes || log_due ||
             idle || long_ago;
  if (retry_ && now - last_checkpoint_ < kCheckpointRetry) return;
  if (!due || apply_waits_ || keyspace_->applying() || applied_ > raft_->durable_index()) return;
  storage::CheckpointArgs args;
  if (retry_) {
    args = *retry_;  // what was frozen then belongs to the index of then
  } else {
    FAILPOINT(commitBeforePreCommitHook);
    args.applied = applied_;
    args.applied_term = applied_term_;
    args.config = encode_config();
    FAILPOINT(commitAfterPreCommitHook);
    freeze_compacted_ = !keyspace_->compaction_pending();
    args.tail = std::make_shared<mvcc::FrozenTail>(keyspace_->freeze());
  }
  args.log_position = log_->durable_position();
  retry_ = args;
  checkpoint_running_ = true;
  checkpoint_wanted_ = false;
  FAILPOINT(beforeCommit);
  store_->checkpoint(args, [this, applied = args.applied, began = now, alive = alive_](Status status) {
    if (!*alive) return;
    stats_.checkpoint.observe(static_cast<double>(world_.loop->now() - began) / 1e9);
    on_checkpoint(status, applied);
  });
}

void Node::on_checkpoint(const Status& status, Index applied) {
  checkpoint_running_ = false;
  last_checkpoint_ = world_.loop->now();
  if (!status.is_ok()) {
    if (status.message().starts_with("fatal:")) return fatal(status);
    // The same frozen records are written again, under new file numbers.
    world_.log->error("a checkpoint failed; it will be tried again", {{"error", status.message()}});
    return;
  }
  FAILPOINT(afterCommit);
  retry_.reset();
  ++stats_.checkpoints;
  keyspace_->flushed();
  checkpoint_compacted_ = freeze_compacted_;
  world_.log->debug("checkpoint written", {{"applied-index", applied.value}});
  release_log(applied);
  log_bytes_after_checkpoint_ = log_->bytes_total();
  if (stop_done_) finish_stop();
}

// The log keeps what the checkpoint before the last one began with, so that a member which was away for a moment is
// served entries and not a snapshot, unless that is too much.
void Node::release_log(Index applied) {
  if (applied == log_floor_) return;
  Index start = log_floor_ + 1;
  log_floor_ = applied;
  if (log_->bytes_total() > config_.checkpoint_log_bytes + config_.log_keep_bytes) start = applied + 1;
  Index slowest = raft_->slowest_active_match();
  if (start > slowest + 1 && log_->bytes_total() <= 2 * (config_.checkpoint_log_bytes + config_.log_keep_bytes))
    start = slowest + 1;
  // A member that is being sent a snapshot goes on from its end: without the entries behind that it would need another.
  bool room = log_->bytes_total() <= kSnapshotLogFactorMax * (config_.checkpoint_log_bytes + config_.log_keep_bytes);
  uint64_t kept = std::min(config_.catchup_entries, applied.value);
  if (room) start = std::min(start, applied + 1 - kept);
  for (const auto& [to, sender] : senders_)
    if (room && !sender->over()) start = std::min(start, sender->applied() + 1);
  if (start <= log_->first_index()) return;
  log_->release(start);
  raft_->compacted(start);
}

void Node::make_cleaner() {
  storage::Cleaner::Hooks hooks;
  // An installed snapshot has the store to itself until its log stands and the sender knows.
  // And no manifest may speak of a log that is not durable up to its state.
  hooks.may_swap = [this] {
    return !installing_ && install_told_ && install_seq_.value == 0 && !fatal_told_ &&
           store_->state().applied <= raft_->durable_index();
  };
  hooks.on_fatal = [this](Status why) { fatal(why); };
  cleaner_ = std::make_unique<storage::Cleaner>(world_, *store_, *log_, config_.cleaner, std::move(hooks));
}

void Node::defragment() {
  defragment_wanted_ = true;
  checkpoint_wanted_ = true;
  go_on_soon();
}

// Only what a durable manifest lists as dead can be cleaned: first compaction has to be through, then a checkpoint.
void Node::maybe_defragment() {
  if (!defragment_wanted_ || keyspace_->compaction_pending() || checkpoint_running_ || retry_ || stopping_) return;
  if (keyspace_->stats().deaths_unwritten > 0 || (checkpoint_wanted_ && applied_ != store_->state().applied)) return;
  defragment_wanted_ = false;
  checkpoint_wanted_ = false;
  cleaner_->round([this, began = world_.loop->now(), alive = alive_] {
    if (*alive) stats_.defragment.observe(static_cast<double>(world_.loop->now() - began) / 1e9);
  });
}

void Node::send_snapshot(MemberId to) {
  if (store_->state().applied.value == 0) {  // there is none yet: a newcomer's, it asks again
    checkpoint_wanted_ = true;
    world_.loop->post([this, to, alive = alive_] {
      if (*alive) raft_->snapshot_failed(to);
    });
    return;
  }
  std::unique_ptr<SnapshotSender>& sender = senders_[to];
  if (sender && !sender->over()) return;
  if (sender) {
    std::shared_ptr<SnapshotSender> old(sender.release());
    world_.loop->post([old] {});
  }
  sender = std::make_unique<SnapshotSender>(*this, to);
  sender->start();
}

void Node::receive_snapshot(std::unique_ptr<peer::Channel> channel) {
  if (!receiver_) receiver_ = std::make_unique<SnapshotReceiver>(*this);
  receiver_->take(std::move(channel));
}

void Node::acknowledge_snapshot() {
  install_told_ = true;
  if (receiver_) receiver_->installed();
}

// Everything that stood on the old state goes on from the new one: clients' open reads are refused, watchers read what
// they have not seen from its history, leases start anew.
void Node::switch_to_snapshot(std::unique_ptr<mvcc::Keyspace> keyspace, const storage::StoreState& state) {
  raft::Configuration config;
  Status status = decode_config(state.config, config);
  if (!status.is_ok()) return fatal(status);
  ++generation_;
  fetches_.clear();
  fail_reads(err_leader_changed());
  fail_hashes(err_leader_changed());
  // Reads of history that are on their way belong to the generation before and are dropped.
  stats_.watchers_continued += hub_->stats().watchers;
  hub_->continue_on(keyspace.get());
  keyspace_ = std::move(keyspace);
  if (Status s = auth_.load(keyspace_->side()); !s.is_ok()) return fatal(s);
  tokens_.clear();  // their users may have changed in entries that were never seen here
  alarms_.load(keyspace_->side());
  retry_.reset();
  apply_cold_.clear();
  to_apply_.clear();
  to_apply_offset_ = 0;
  applied_ = state.applied;
  applied_term_ = state.applied_term;
  checkpoint_compacted_ = false;
  if (Status s = load_version(); !s.is_ok()) return fatal(s);
  log_floor_ = applied_;
  stats_.proposals_applied = applied_.value;
  load_leases();
  lead_leases();
  FAILPOINT(raftBeforeApplySnap);
  raft_->installed_snapshot(state.applied, state.applied_term, config);
  FAILPOINT(raftAfterApplySnap);
  drop_member_changes(raft_->last_index() + 1, state.applied);
  follow_members();
  install_told_ = false;
  ++stats_.snapshots_installed;
  last_checkpoint_ = world_.loop->now();
  installing_ = false;
  apply_waits_ = false;
  world_.log->info("installed a snapshot", {{"applied-index", state.applied.value}, {"revision", state.revision}});
  note_published();
  leave_if_removed();
  go_on_soon();
}

}  // namespace fairlead::node
