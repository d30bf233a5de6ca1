// States on disk for long reads beside the loop (public snapshots), and the cluster's version.
#include <algorithm>

#include "server/node/entry.h"
#include "server/node/node.h"

namespace fairlead::node {

// ---- pins

void Node::pin_applied(std::function<void(Result<PinnedState>)> done) {
  if (stopping_) return world_.loop->post([done = std::move(done)] { done(err_stopped()); });
  if (pin_waits_.size() >= kPinWaitsMax)
    return world_.loop->post([done = std::move(done)] { done(err_too_many_requests()); });
  pin_waits_.push_back({applied_, world_.loop->now() + kPinTimeout, std::move(done)});
  serve_pins();
}

// Whoever waits for a state that the last checkpoint has reached gets it; for the others another one is made.
void Node::serve_pins() {
  if (pin_waits_.empty()) return;
  std::vector<PinWait> ready, late;
  std::erase_if(pin_waits_, [&](PinWait& wait) {
    bool reached = wait.applied <= store_->state().applied && !installing_;
    bool over = stopping_ || world_.loop->now() >= wait.deadline;
    if (reached || over) (reached ? ready : late).push_back(std::move(wait));
    return reached || over;
  });
  if (!pin_waits_.empty() && !checkpoint_running_) checkpoint_wanted_ = true;
  for (PinWait& wait : ready)
    world_.loop->post(
        [done = std::move(wait.done), state = PinnedState{store_->pin(), checkpoint_compacted_}] { done(state); });
  Status why = stopping_ ? err_stopped() : err_timeout();
  for (PinWait& wait : late) world_.loop->post([done = std::move(wait.done), why] { done(why); });
}

// ---- the cluster's version

Status Node::load_version() {
  cluster_version_ = {};
  const std::string* record = keyspace_->side().find(mvcc::SideKind::kNode, kVersionRecordId);
  if (record) {
    ASSIGN_OR_RETURN(cluster_version_, decode_cluster_version(*record));
  }
  note_version();
  return check_version();
}

// etcd's rule: a program that is older than what the cluster has agreed on must not serve its data.
Status Node::check_version() const {
  std::optional<ApiLevel> level = cluster_version_.level();
  if (!level || *level <= config_.level) return {};
  return failed_precondition("invalid downgrade; server version is lower than determined cluster version: this is " +
                             to_short(config_.level) + ", the cluster runs at " + to_short(*level));
}

void Node::note_version() {
  std::optional<ApiLevel> level = cluster_version_.level();
  if (level && std::find(versions_seen_.begin(), versions_seen_.end(), *level) == versions_seen_.end() &&
      versions_seen_.size() < kVersionsSeenMax)
    versions_seen_.insert(std::upper_bound(versions_seen_.begin(), versions_seen_.end(), *level), *level);
}

void Node::change_version(const VersionChange& change, Done done) {
  propose_entry(kEntryVersion, encode_version_change(change), false,
                [done = std::move(done)](const Status& status, const mvcc::ApplyResult*) { done(status); });
}

void Node::apply_version(const raft::Entry& entry, std::string_view payload) {
  Result<VersionChange> change = decode_version_change(payload);
  CHECK(change.is_ok(), "a committed change of the cluster's version is malformed");
  std::string before = cluster_version_.version;
  apply_version_change(*change, cluster_version_);
  keyspace_->side().set(mvcc::SideKind::kNode, kVersionRecordId, encode_cluster_version(cluster_version_),
                        {entry.index.value, 0});
  note_version();
  if (cluster_version_.version != before)
    world_.log->info(before.empty() ? "set initial cluster version" : "updated cluster version",
                     {{"from", before}, {"cluster-version", cluster_version_.version}});
  if (change->kind != VersionChange::Kind::kSet)
    world_.log->info(cluster_version_.downgrade_enabled() ? "a downgrade was enabled" : "the downgrade is over",
                     {{"target-version", cluster_version_.downgrade_target}});
  if (Status s = check_version(); !s.is_ok()) fatal(s);
}

// The leader's duty: at once while nothing is decided, later every few seconds.
void Node::decide_version() {
  if (!raft_->is_leader() || stopping_ || version_proposed_) return;
  io::Nanos now = world_.loop->now();
  std::optional<VersionChange> change;
  if (config_.downgrade_check_interval > 0 && now >= downgrade_check_at_) {
    downgrade_check_at_ = now + config_.downgrade_check_interval;
    change = end_of_downgrade(cluster_version_, config_.level);
  }
  if (!change && (cluster_version_.version.empty() || now >= version_check_at_)) {
    version_check_at_ = now + kVersionInterval;
    change = next_version_change(cluster_version_, config_.level);
  }
  if (!change) return;
  version_proposed_ = true;
  change_version(*change, [this, alive = alive_](const Status&) {
    if (*alive) version_proposed_ = false;  // if it failed, the next leader, or the next round, sees to it
  });
}

}  // namespace fairlead::node
