#include "server/node/node.h"

#include <algorithm>

#include "base/codec.h"
#include "base/crc32c.h"
#include "base/failpoint.h"
#include "base/planted.h"
#include "base/text.h"
#include "server/node/entry.h"
#include "server/node/snapshot.h"

namespace fairlead::node {
namespace {

constexpr uint64_t kManifestBytes = 4096;  // also keeps tools that divide by the size happy with an empty store
constexpr io::Nanos kRefusalPause = 10 * io::kSecond;  // between two warnings of the same refusal
constexpr io::Nanos kPublishRetry = 100 * io::kMillisecond;

}  // namespace

Node::Node(const io::World& world, Config config)
    : world_(world), config_(std::move(config)), tokens_(config_.auth_token_ttl) {}

Node::~Node() {
  *alive_ = false;
  if (turn_hook_ != 0) world_.loop->remove_turn_hook(turn_hook_);
  for (io::TimerId timer : {tick_timer_, stop_timer_, progress_timer_, lease_timer_, alarm_timer_, corrupt_timer_,
                            space_timer_, compact_hash_timer_})
    world_.loop->cancel_timer(timer);
  cleaner_.reset();
  receiver_.reset();
  senders_.clear();
  fetches_.clear();
  close_range_jobs();  // they hold pins of the keyspace, and closures that outlive this hold them
}

Result<std::unique_ptr<Node>> Node::open(const io::World& world, Config config) {
  std::unique_ptr<Node> node(new Node(world, std::move(config)));
  RETURN_IF_ERROR(node->recover());
  return node;
}

// ---- start

Result<bool> Node::first_start(const io::World& world, const std::string& data_dir) {
  io::World copy = world;
  ASSIGN_OR_RETURN(std::optional<storage::Identity> known, storage::Store::peek(copy, data_dir));
  return !known;
}

Status Node::first_start_args(storage::OpenArgs& args) {
  if (!config_.initial_cluster_new) return join_args(args);
  ASSIGN_OR_RETURN(members_, bootstrap_members(config_.initial_cluster, config_.initial_cluster_token));
  auto own = config_.initial_cluster.find(config_.name);
  if (own == config_.initial_cluster.end())
    return invalid_argument(
        "couldn't find local name \"" + config_.name +
        "\" in the initial cluster configuration: --name must be one of the names in --initial-cluster");
  std::vector<MemberId> ids;
  for (const auto& [id, member] : members_) ids.push_back(id);
  args.member = bootstrap_member_id(own->second, config_.initial_cluster_token);
  args.cluster = bootstrap_cluster_id(ids);
  args.first_config = encode_config();
  return {};
}

// Into a cluster that runs: with an identity, the addresses of the others, and no state but what they send.
Status Node::join_args(storage::OpenArgs& args) {
  if (!config_.join)
    return failed_precondition("the data directory " + config_.data_dir +
                               " is empty and --initial-cluster-state is existing, but the cluster was not asked");
  const Config::Join& join = *config_.join;
  auto own = join.members.find(join.member);
  CHECK(own != join.members.end(), "who joins is one of the members");
  if (!own->second.name.empty() || !own->second.client_urls.empty())
    return failed_precondition(
        "the data directory " + config_.data_dir +
        " is empty and --initial-cluster-state is existing: a member that lost its data must not come back under its "
        "old identity; remove it and add a new one, or restore the directory");
  members_ = join.members;
  joining_ = true;
  args.member = join.member;
  args.cluster = join.cluster;
  args.first_config = encode_config();
  return {};
}

// A directory of another member or cluster is refused by name.
Status Node::check_identity(const storage::Identity& identity) {
  if (std::binary_search(removed_.begin(), removed_.end(), identity.member))
    return failed_precondition("the data directory " + config_.data_dir + " belongs to member " +
                               hex(identity.member.value) +
                               ", which is not part of its own cluster any more: it was removed; start with an empty "
                               "directory as a new member");
  auto it = members_.find(identity.member);
  if (it == members_.end()) return {};  // it joined, and has not yet applied that
  // Another name is published, as with etcd; the name of another member means that directories were mixed up.
  if (config_.name_given && it->second.name != config_.name) {
    auto owner = std::find_if(members_.begin(), members_.end(), [this, &identity](const auto& m) {
      return m.first != identity.member && m.second.name == config_.name;
    });
    if (owner != members_.end() && !it->second.name.empty())
      return failed_precondition("the data directory " + config_.data_dir + " belongs to member \"" + it->second.name +
                                 "\" (" + hex(identity.member.value) + ") of cluster " + hex(identity.cluster.value) +
                                 ", but this process was started as \"" + config_.name + "\", which is member " +
                                 hex(owner->first.value) + ": point --data-dir at this member's own directory");
    if (!it->second.name.empty())
      world_.log->info(
          "this member takes another name",
          {{"local-member-id", hex(identity.member.value)}, {"old-name", it->second.name}, {"name", config_.name}});
  }
  // IDs are made from the token at bootstrap only: a member that joined later, or a cluster that changed, tells
  // nothing.
  bool as_bootstrapped = config_.initial_cluster_new && removed_.empty();
  if (as_bootstrapped && config_.token_given && config_.initial_cluster.contains(config_.name)) {
    Result<MemberMap> wanted = bootstrap_members(config_.initial_cluster, config_.initial_cluster_token);
    MemberId own = bootstrap_member_id(config_.initial_cluster[config_.name], config_.initial_cluster_token);
    // The same peer URLs under another token give another id: the directory is left over from another cluster.
    bool known = wanted.is_ok() && std::any_of(wanted->begin(), wanted->end(),
                                               [this](const auto& m) { return members_.contains(m.first); });
    if (wanted.is_ok() && !known && it->second.peer_urls == wanted->at(own).peer_urls)
      return failed_precondition(
          "the data directory " + config_.data_dir + " belongs to cluster " + hex(identity.cluster.value) +
          " which was made with another --initial-cluster-token; use an empty directory for the new cluster");
  }
  return {};
}

Status Node::recover() {
  storage::OpenArgs args;
  args.dir = config_.data_dir;
  args.log_dir = config_.log_dir;
  args.options.log.first_segment_bytes = config_.log_first_segment_bytes;
  args.options.log.segment_bytes = config_.log_segment_bytes;
  args.options.log.cache_bytes_max = config_.recent_entries_bytes;
  ASSIGN_OR_RETURN(std::optional<storage::Identity> known, storage::Store::peek(world_, config_.data_dir));
  if (known) {
    args.may_create = false;
  } else {
    RETURN_IF_ERROR(first_start_args(args));
  }
  ASSIGN_OR_RETURN(storage::Store::Opened opened, storage::Store::open(world_, args));
  store_ = std::move(opened.store);
  log_ = std::move(opened.log.log);
  const storage::StoreState& state = store_->state();
  raft::Configuration config;
  RETURN_IF_ERROR(decode_config(state.config, config));
  RETURN_IF_ERROR(check_identity(store_->identity()));

  keyspace_ = std::make_unique<mvcc::Keyspace>(mvcc::KeyspaceOptions{config_.value_cache_bytes});
  RETURN_IF_ERROR(load_keyspace(*keyspace_));
  RETURN_IF_ERROR(auth_.load(keyspace_->side()));
  RETURN_IF_ERROR(load_version());
  hub_ = std::make_unique<mvcc::WatchHub>(keyspace_.get());
  alarms_.load(keyspace_->side());
  applied_ = state.applied;
  applied_term_ = state.applied_term;
  log_floor_ = opened.log.start - 1;
  load_leases();

  raft::Options options;
  options.id = store_->identity().member;
  options.start_counter = store_->identity().start_counter;
  options.seed = world_.random->next();
  options.heartbeat_ticks = 1;
  options.election_ticks =
      static_cast<uint32_t>(std::max<io::Nanos>(3, config_.election_timeout / config_.heartbeat_interval));
  options.memory_bytes_max = config_.recent_entries_bytes;
  raft::Restored restored;
  restored.hard_state = opened.log.hard_state;
  restored.applied = applied_;
  restored.config = std::move(config);
  restored.log_start = opened.log.start - 1;
  restored.log_start_term = opened.log.term_before_start;
  restored.needs_snapshot = joining_;
  for (const raft::Entry& entry : opened.log.entries) {
    note_attributes(entry);
    if (entry.index > applied_) note_member_change(entry);
  }
  restored.entries = std::move(opened.log.entries);
  if (config_.force_alone && known) {
    ASSIGN_OR_RETURN(restored.take_over, go_on_alone());
  }
  raft_ = std::make_unique<raft::Raft>(options, std::move(restored));
  request_base_ = store_->identity().start_counter << 40;
  make_cleaner();
  log_->set_callbacks([this](raft::WriteSeq upto) { on_durable(upto); }, [this](Status why) { fatal(why); });
  world_.log->info(opened.first_start ? "started with a new data directory" : "recovered the data directory",
                   {{"data-dir", config_.data_dir},
                    {"cluster-id", hex(cluster_id().value)},
                    {"member-id", hex(member_id().value)},
                    {"applied-index", applied_.value},
                    {"last-index", raft_->last_index().value},
                    {"revision", keyspace_->revision()},
                    {"start-counter", store_->identity().start_counter},
                    {"log-io", world_.disk->log_mode()}});
  return {};
}

// The change that makes this member its cluster; empty if it is already. All that is in its log counts, also what may
// not have been committed: what was acknowledged may be among it. (etcd drops what it does not know to be committed.)
Result<Bytes> Node::go_on_alone() {
  if (joining_)
    return failed_precondition("--force-new-cluster: the data directory " + config_.data_dir +
                               " has joined a cluster and received nothing of its data yet");
  for (const auto& [index, change] : members_pending_)
    if (change.kind == MemberChange::Kind::kRemove && change.id == store_->identity().member)
      return failed_precondition("--force-new-cluster: the log of " + config_.data_dir + " removes this member");
  MemberMap all = members_to_come();
  auto self = all.find(store_->identity().member);
  if (self == all.end())
    return failed_precondition("--force-new-cluster: " + config_.data_dir + " does not know its own member");
  if (all.size() == 1 && !self->second.is_learner) return Bytes();
  for (const auto& [id, member] : all)
    if (id != self->first) told_removed_.insert(id);
  forced_alone_ = true;
  world_.log->warn("forced to go on alone: every other member is removed", {{"members-removed", all.size() - 1}});
  MemberChange change;
  change.kind = MemberChange::Kind::kAlone;
  change.id = self->first;
  std::string entry;
  append_envelope(entry, kEntryMembers, self->first, 0);
  entry += encode_change(change);
  return Bytes::take(std::move(entry));
}

Status Node::load_keyspace(mvcc::Keyspace& keyspace) {
  std::unique_ptr<mvcc::BulkLoader> loader = keyspace.load(store_->state().revision, store_->state().compact_revision);
  RETURN_IF_ERROR(store_->load(*loader));
  return loader->finish();
}

// The part of the replicated state that is not the keyspace's.
std::string Node::encode_config() const {
  // As of what is applied: Raft itself may be a change ahead.
  raft::Configuration config = joining_ ? raft::Configuration() : configuration_of(members_);
  return encode_cluster_config(config, members_, removed_, change_log_, requests_);
}

Status Node::decode_config(std::string_view bytes, raft::Configuration& config) {
  ASSIGN_OR_RETURN(ClusterConfig decoded, decode_cluster_config(bytes));
  config = std::move(decoded.raft);
  members_ = std::move(decoded.members);
  removed_ = std::move(decoded.removed);
  change_log_ = std::move(decoded.changes);
  requests_ = std::move(decoded.requests);
  joining_ = config.voters.empty();
  return {};
}

void Node::start() {
  CHECK(!started_);
  started_ = true;
  last_tick_ = last_turn_ = last_checkpoint_ = started_at_ =
      world_.loop->now_precise();  // recovery may have taken long
  make_transport();
  turn_hook_ = world_.loop->add_turn_hook([this] {
    last_turn_ = world_.loop->now();
    turn();
  });
  schedule_tick();
  lease_tick();
  alarm_tick();
  watch_space();
  cleaner_->start();
  if (config_.watch_progress_interval > 0) {
    auto progress = std::make_shared<std::function<void()>>();
    *progress = [this, weak = std::weak_ptr(progress)] {
      hub_->progress_tick();
      if (auto self = weak.lock())
        progress_timer_ = world_.loop->add_timer(world_.loop->now() + config_.watch_progress_interval, *self);
    };
    progress_tick_ = progress;
    progress_timer_ = world_.loop->add_timer(world_.loop->now() + config_.watch_progress_interval, *progress);
  }
  start_hash_checks();
  if (config_.initial_corrupt_check && !forced_alone_ && members_.size() > 1 && applied_.value > 0)
    initial_hash_check(world_.loop->now() + config_.request_timeout());
  else
    publish();
  go_on_soon();
}

void Node::publish() {
  if (stopping_ || published_ || leaving_) return;
  auto known = members_.find(member_id());
  if (known == members_.end()) {  // a newcomer that has not applied its own addition
    world_.loop->add_timer(world_.loop->now() + kPublishRetry, [this, alive = alive_] {
      if (*alive) publish();
    });
    return;
  }
  FAILPOINT(beforePublishing);
  Member self = known->second;
  self.name = config_.name_given || self.name.empty() ? config_.name : self.name;
  self.client_urls = config_.advertise_client_urls;
  self.store = store_->identity().store;
  self.start_counter = store_->identity().start_counter;
  propose_entry(
      kEntryAttributes, encode_member(self), false,
      [this, alive = alive_](const Status& status, const mvcc::ApplyResult*) {
        if (!*alive || stopping_) return;
        if (!status.is_ok()) {
          world_.log->warn("could not publish this member to the cluster; trying again", {{"error", status.message()}});
          world_.loop->add_timer(world_.loop->now() + kPublishRetry, [this, alive] {
            if (*alive) publish();
          });
          return;
        }
        note_published();
      });
}

// Once it is in the applied state, whether this start's proposal came back or a snapshot brought it.
void Node::note_published() {
  auto self = members_.find(member_id());
  if (published_ || stopping_ || self == members_.end() || self->second.store != store_->identity().store ||
      self->second.start_counter != store_->identity().start_counter)
    return;
  published_ = true;
  if (on_published_) on_published_();
}

// ---- peers

void Node::make_transport() {
  peer::TransportCallbacks callbacks;
  callbacks.hello = [this](MemberId to, peer::ChannelKind kind) { return own_hello(to, kind); };
  callbacks.name = [this](MemberId id) { return name_of(id); };
  callbacks.judge = [this](const peer::Hello& theirs) { return judge(theirs); };
  callbacks.on_message = [this](raft::Message m) { raft_->step(std::move(m)); };
  if (config_.disturb_messages) {
    callbacks.on_message = [this](raft::Message m) {
      config_.disturb_messages(std::move(m), [this, alive = alive_](raft::Message late) {
        if (!*alive || stopped_) return;
        raft_->step(std::move(late));
        go_on_soon();
      });
    };
  }
  callbacks.on_app = [this](MemberId from, std::string_view head) { on_app(from, head); };
  callbacks.on_connected = [this](MemberId id, bool up) {
    raft_->connected(id, up);
    if (!up) fail_app_calls(id, MemberId(), err_connection_lost());
  };
  callbacks.on_refused = [this](MemberId by, const peer::Verdict& verdict) { on_refused(by, verdict); };
  callbacks.on_snapshot_channel = [this](std::unique_ptr<peer::Channel> channel) {
    receive_snapshot(std::move(channel));
  };
  transport_ = std::make_unique<peer::Transport>(world_, member_id(), std::move(callbacks));
  follow_members();
}

peer::Hello Node::own_hello(MemberId to, peer::ChannelKind kind) const {
  peer::Hello hello;
  hello.kind = kind;
  hello.cluster = cluster_id();
  hello.from = member_id();
  hello.to = to;
  hello.store = store_->identity().store;
  hello.start_counter = store_->identity().start_counter;
  hello.removed = removed_;
  return hello;
}

// Who may count here. The texts are for the refused member's log.
peer::Verdict Node::judge(const peer::Hello& theirs) {
  using peer::Refusal;
  if (theirs.cluster != cluster_id())
    return {Refusal::kCluster, "this is cluster " + hex(cluster_id().value) + ", not " + hex(theirs.cluster.value) +
                                   ": check --initial-cluster, its token and the peer URLs"};
  if (PLANTED(kRemovedCounts) && std::binary_search(removed_.begin(), removed_.end(), theirs.from)) return {};
  for (MemberId id : theirs.removed) {
    if (PLANTED(kRemovedCounts)) break;
    if (id == member_id()) {
      told_of_removal("peer " + hex(theirs.from.value) +
                      " says that the member has been permanently removed from the cluster: its data directory cannot "
                      "be used again");
      return {Refusal::kRemoved, "this member was removed"};
    }
    if (members_.contains(id)) told_removed_.insert(id);
  }
  if (std::binary_search(removed_.begin(), removed_.end(), theirs.from) || told_removed_.contains(theirs.from))
    return {Refusal::kRemoved,
            "the member has been permanently removed from the cluster: its data directory cannot be used again"};
  MemberMap all = members_to_come();
  auto it = all.find(theirs.from);
  if (it == all.end()) return {Refusal::kUnknown, "member " + hex(theirs.from.value) + " is not known here (yet)"};
  if (PLANTED(kAmnesiacVoter)) return {};
  const Member& known = it->second;
  auto logged = logged_stores_.find(theirs.from);
  if ((known.started() && known.store != theirs.store) ||
      (logged != logged_stores_.end() && logged->second != theirs.store))
    return {Refusal::kAmnesia, "member " + hex(theirs.from.value) +
                                   " has already been bootstrapped: it was known with another data directory, so it "
                                   "lost what it acknowledged; remove it and add it again as a new member"};
  uint64_t& newest = live_start_counters_[theirs.from];
  newest = std::max(newest, known.store == theirs.store ? known.start_counter : 0);
  if (theirs.start_counter < newest)
    return {Refusal::kOldStart,
            "the same data directory was started again elsewhere: two processes must not share it, nor may a copy of "
            "it come back beside the original"};
  newest = std::max(newest, theirs.start_counter);
  return {};
}

// Who a member said it is counts from the moment it is in the log: after a start, what was committed long ago may not
// be applied yet, and a member that lost its data must find nobody who has forgotten it.
void Node::note_attributes(const raft::Entry& entry) {
  if (entry.type != raft::EntryType::kNormal || entry.data.empty() ||
      static_cast<uint8_t>(entry.data.data()[0]) != kEntryAttributes)
    return;
  Result<Envelope> envelope = decode_envelope(entry.data.view());
  if (!envelope.is_ok()) return;
  Result<Member> member = decode_member(envelope->payload);
  if (member.is_ok()) logged_stores_[member->id] = member->store;
}

void Node::on_refused(MemberId by, const peer::Verdict& verdict) {
  using peer::Refusal;
  std::string text = "refused by peer " + hex(by.value) + ": " + verdict.text;
  switch (verdict.refusal) {
    case Refusal::kRemoved:
      return told_of_removal(text);
    case Refusal::kAmnesia:
    case Refusal::kOldStart:
      return fatal(failed_precondition(text));
    default:
      break;
  }
  // Both dial again twice a second: the same is said once in a while.
  auto& [told, when] = refusals_told_[by];
  io::Nanos now = world_.loop->now();
  if (told == verdict.text && now - when < kRefusalPause) return;
  told = verdict.text;
  when = now;
  bool alone = raft_->leader().value == 0 && verdict.refusal == Refusal::kCluster;
  world_.log->warn(
      "a peer refused this member",
      {{"peer", hex(by.value)},
       {"peer-name", name_of(by)},
       {"reason", refusal_name(verdict.refusal)},
       {"error", verdict.text},
       {"hint", alone ? "the data directory " + config_.data_dir + " belongs to cluster " + hex(cluster_id().value) +
                            ": if this member is to join the peer's cluster, stop it, remove the "
                            "directory (a first start with --initial-cluster-state new made it) and "
                            "start again with --initial-cluster-state existing"
                      : std::string()}});
}

// ---- end

void Node::fatal(const Status& why) {
  if (fatal_told_) return;
  fatal_told_ = true;
  world_.log->log(io::LogLevel::kFatal, "this member cannot go on", {{"error", why.message()}});
  stopping_ = true;
  stopped_ = true;
  if (on_fatal_) on_fatal_(why);
}

void Node::stop(std::function<void()> done) {
  if (stopping_) {
    world_.loop->post(std::move(done));
    return;
  }
  stopping_ = true;
  stop_done_ = std::move(done);
  if (!started_) return finish_stop();
  MemberId to = raft_->is_leader() ? raft_->transfer_candidate() : MemberId();
  if (to.value != 0 && raft_->transfer_leader(to).is_ok()) {
    world_.log->info("handing leadership over before stopping", {{"to", hex(to.value)}, {"to-name", name_of(to)}});
    stop_timer_ = world_.loop->add_timer(world_.loop->now() + config_.election_timeout, [this] {
      stop_timer_ = 0;
      finish_stop();
    });
    go_on_soon();
    return;
  }
  finish_stop_soon();
}

// Not inside a turn, which may still have something to write.
void Node::finish_stop_soon() {
  world_.loop->post([this, alive = alive_] {
    if (*alive) finish_stop();
  });
}

// Called again as its steps complete: the checkpoint, then the log's durable mark.
void Node::finish_stop() {
  if (stopped_ || !stop_done_) return;
  world_.loop->cancel_timer(stop_timer_);
  stop_timer_ = 0;
  while (!pending_.empty()) {
    // Not in the map's order: oldest first.
    uint64_t id = deadlines_.front().second;
    deadlines_.pop_front();
    fail_pending(id, err_stopped());
  }
  fail_reads(err_stopped());
  fail_changes(err_stopped());
  serve_pins();
  fail_hashes(err_stopped());
  cleaner_->stop();
  if (checkpoint_running_ || installing_ || store_->busy()) {
    stop_timer_ = world_.loop->add_timer(world_.loop->now() + 10 * io::kMillisecond, [this] { finish_stop(); });
    return;
  }
  if (!stop_checkpoint_tried_ && applied_ != store_->state().applied && applied_ <= raft_->durable_index()) {
    stop_checkpoint_tried_ = true;
    checkpoint_wanted_ = true;
    maybe_checkpoint();
    if (checkpoint_running_) return finish_stop();
  }
  stopped_ = true;
  senders_.clear();
  receiver_.reset();
  log_->stop([this, alive = alive_] {
    if (*alive) std::exchange(stop_done_, nullptr)();
  });
}

// ---- looking

bool Node::is_learner() const {
  auto it = members_.find(member_id());
  return it != members_.end() && it->second.is_learner;
}

NodeStatus Node::status() const {
  NodeStatus out;
  out.cluster = cluster_id();
  out.member = member_id();
  out.leader = raft_->leader();
  out.term = raft_->term();
  out.raft_index = raft_->commit();
  out.applied = applied_;
  out.is_learner = is_learner();
  out.revision = keyspace_->revision();
  mvcc::KeyspaceStats k = keyspace_->stats();
  out.db_size_in_use_bytes = k.bytes_logical;
  out.db_size_bytes = std::max(kManifestBytes + store_->stats().bytes + k.bytes_tail, k.bytes_logical);
  out.db_quota_bytes = config_.quota_bytes < 0 ? config_.quota_bytes : static_cast<int64_t>(quota_bytes());
  return out;
}

uint64_t Node::state_hash() const {
  uint32_t crc = crc32c(encode_config());
  return keyspace_->state_hash() * 0x9E3779B97F4A7C15ull ^ crc;
}

}  // namespace fairlead::node
