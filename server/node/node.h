// One member: the only place where Raft, keyspace, storage and peers meet.
//
// Threads: the loop owns everything; every callback given to a call runs on the loop, exactly once. It never runs
// inside the call, but for range() and read_txn() of serializable requests, which are answered at once where they can
// be. open() blocks and is for the start.
//
// Turns: work that came in during a turn is collected; the turn hook then proposes all of it as one batch, starts one
// read barrier for all linearizable reads, submits the log write, sends, applies, and hands watch batches out. Make the
// Node before the net::Server, so that answers of a turn leave in it.
//
// Errors are etcd's, to the letter, where a client sees them. What ends the process (a failed write of log, manifest or
// directory; being refused as removed or amnesiac) is told once to on_fatal.
//
// Bounds: proposals waiting (kProposalsMax, kProposalBytesMax) and given to Raft at once (kProposeBatchBytesMax), reads
// waiting for their barrier (kReadsMax) and for the disk (kFetches*), large ranges under way (kPagedRangesMax), time
// and keys per turn (kTurn*).
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "server/io/io.h"
#include "server/mvcc/auth.h"
#include "server/mvcc/keyspace.h"
#include "server/mvcc/lease.h"
#include "server/mvcc/range.h"
#include "server/mvcc/watch.h"
#include "server/node/alarm.h"
#include "server/node/caller.h"
#include "server/node/config.h"
#include "server/node/entry.h"
#include "server/node/hash.h"
#include "server/node/member_change.h"
#include "server/node/membership.h"
#include "server/node/public_snapshot.h"
#include "server/node/requests.h"
#include "server/node/stages.h"
#include "server/node/stats.h"
#include "server/node/tokens.h"
#include "server/node/version.h"
#include "server/peer/transport.h"
#include "server/raft/raft.h"
#include "server/storage/cleaner.h"
#include "server/storage/store.h"

namespace fairlead::node {

constexpr size_t kProposalsMax = 50'000;  // accepted and not yet answered
constexpr size_t kProposalBytesMax = 256 << 20;
constexpr size_t kProposeBatchBytesMax = 8 << 20;          // of one turn; the rest goes in the next
constexpr size_t kReadsMax = 200'000;                      // linearizable reads waiting for their barrier
constexpr size_t kFetchesAtOnceMax = 64;                   // reads that have a worker fetch what is not in memory
constexpr size_t kFetchesWaitingMax = 32 * 1024;           // behind those
constexpr size_t kPagedRangesMax = 64;                     // each costs one page a turn
constexpr io::Nanos kTurnApplyMax = 5 * io::kMillisecond;  // then the rest waits for the next turn
constexpr size_t kTurnApplyKeys = 2000;                    // of one entry, a delete of very many keys
constexpr size_t kTurnCompactKeys = 2000;
constexpr io::Nanos kIdleCheckpoint = 5 * io::kSecond;   // without a new entry: the tail goes to disk, its memory back
constexpr io::Nanos kFirstCheckpoint = 1 * io::kSecond;  // after the start of a member that has none
constexpr io::Nanos kCheckpointRetry = 1 * io::kSecond;  // after a failed one
constexpr size_t kIdleCheckpointTailBytes = 1 << 20;
constexpr size_t kTurnHistoryRecords = 4000;
constexpr size_t kPinWaitsMax = 16;                      // long reads that wait for a checkpoint
constexpr io::Nanos kPinTimeout = 60 * io::kSecond;      // should checkpoints fail
constexpr io::Nanos kVersionInterval = 4 * io::kSecond;  // as etcd's
constexpr size_t kVersionsSeenMax = 8;
constexpr size_t kSnapshotLogFactorMax = 4;  // times its usual limit, the log may grow while a snapshot is on its way
constexpr size_t kStreamChunkBytes = 512 << 10;  // of a range stream, about
constexpr size_t kStreamChunkKeysMax = 2000;
constexpr size_t kRangeDirectKeys = 1000;  // larger ranges go page by page
constexpr size_t kRangeCallsKept = 4096;   // of those that are over
constexpr size_t kScanRecords = 64;        // fetched at once: a list, which pushes nothing out of the cache

// The result lives until the callback returns. Null together with an error that is not apply's own.
using ApplyDone = std::function<void(const Status& status, const mvcc::ApplyResult* result)>;
using RangeDone = std::function<void(const Status& status, const mvcc::RangeResult* result)>;
using TxnReadDone = std::function<void(const Status& status, const mvcc::TxnResult* result)>;
using Done = std::function<void(const Status& status)>;
using AuthDone = std::function<void(const Status& status, Index entry)>;
using AlarmDone = std::function<void(const Status& status, const std::vector<Alarm>& alarms)>;
// What was done, with the ID that the leader chose; null with an error.
using ChangeDone = std::function<void(const Status& status, const MemberChange* change)>;

// A client's watch stream. Batches come once a turn. Only its client, or the end of the member, ends a stream.
class WatchSink {
 public:
  virtual ~WatchSink() = default;
  virtual void on_batch(const mvcc::WatchBatch& batch) = 0;
};

// Reader of open_range(). Never called inside it.
class RangeSink {
 public:
  virtual ~RangeSink() = default;
  // Keys in order; revision, count and more are not set. False: no more until resume_range().
  virtual bool on_chunk(const mvcc::RangeResult& chunk) = 0;
  // The last chunk, with revision, count and more; or null and why.
  virtual void on_end(const Status& status, const mvcc::RangeResult* last) = 0;
};

struct LeaseTimeToLive {
  int64_t id = 0;
  int64_t ttl = -1;  // seconds left; -1: no such lease
  int64_t granted_ttl = 0;
  std::vector<std::string> keys;
};

struct NodeStatus {
  ClusterId cluster;
  MemberId member;
  MemberId leader;
  Term term;
  Index raft_index;  // committed
  Index applied;
  bool is_learner = false;
  int64_t revision = 1;
  uint64_t db_size_bytes = 0;         // segments, and what waits in memory to be written there
  uint64_t db_size_in_use_bytes = 0;  // logical bytes of records
  int64_t db_quota_bytes = 0;         // of those; negative: none
};

class SnapshotSender;
class SnapshotReceiver;

class Node {
 public:
  // Blocking: recovers the directory (or makes it, at a first start) and loads the index.
  // Blocking: the directory holds no member yet.
  static Result<bool> first_start(const io::World& world, const std::string& data_dir);
  static Result<std::unique_ptr<Node>> open(const io::World& world, Config config);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  void set_on_fatal(std::function<void(const Status&)> on_fatal) { on_fatal_ = std::move(on_fatal); }
  void start();
  // Orderly: hands leadership over, writes a checkpoint and a durable mark. Requests end with kUnavailable.
  void stop(std::function<void()> done);
  // A connection on the peer port that begins with peer_magic().
  static std::string_view peer_magic() { return peer::kMagic; }
  void accept_peer(std::unique_ptr<io::Stream> stream, std::string first) {
    if (!stopping_) transport_->accept(std::move(stream), std::move(first));
  }

  // --- keys. Requests are checked by the caller (mvcc::check); views need to live only during the call, except where
  // `owner` keeps them.
  // In the name of a caller (caller.h); without one it is nobody's, who may do nothing once authentication is on.
  void propose(const Caller& caller, const mvcc::Command& command, ApplyDone done);
  void propose(const mvcc::Command& command, ApplyDone done) { propose(Caller(), command, std::move(done)); }
  // The read of one key that this member may answer by itself and has in memory: the common read by far, at once.
  // Nothing where it takes more: then range_later(), in the same turn, goes on from there.
  std::optional<Status> range_now(const Caller& caller, const mvcc::RangeRequest& request, mvcc::RangeResult& result);
  void range_later(const Caller& caller, Bytes owner, const mvcc::RangeRequest& request, RangeDone done,
                   std::function<bool()> wanted = {});
  // Both.
  // `wanted`, if given, is asked between pages: a reader that has gone away costs no more.
  void range(const Caller& caller, Bytes owner, const mvcc::RangeRequest& request, RangeDone done,
             std::function<bool()> wanted = {});
  void range(Bytes owner, const mvcc::RangeRequest& request, RangeDone done, std::function<bool()> wanted = {}) {
    range(Caller(), std::move(owner), request, std::move(done), std::move(wanted));
  }
  void read_txn(const Caller& caller, Bytes owner, mvcc::TxnRequest request, TxnReadDone done);
  void read_txn(Bytes owner, mvcc::TxnRequest request, TxnReadDone done) {
    read_txn(Caller(), std::move(owner), std::move(request), std::move(done));
  }
  // A range in chunks at one revision. The sink must stay until on_end() came or close_range() was called.
  uint64_t open_range(const Caller& caller, Bytes owner, const mvcc::RangeRequest& request, RangeSink* sink);
  void resume_range(uint64_t id);
  void close_range(uint64_t id);
  // Once all that was acknowledged anywhere before this call is applied here.
  void barrier(Done done);

  // --- watches
  mvcc::StreamId open_watch(WatchSink* sink);
  void close_watch(mvcc::StreamId stream);
  mvcc::WatchHub& watches() { return *hub_; }

  // --- leases
  void lease_grant(int64_t id, int64_t ttl, ApplyDone done);
  void lease_keep_alive(int64_t id, std::function<void(const Status&, int64_t ttl)> done);  // ttl 0: no such lease
  void lease_time_to_live(int64_t id, bool keys, std::function<void(const Status&, const LeaseTimeToLive*)> done);
  void lease_list(std::function<void(const Status&, const std::vector<int64_t>*)> done);

  // In the name of a caller: a lease is judged by its keys (auth.cc).
  void lease_keep_alive(const Caller& caller, int64_t id, std::function<void(const Status&, int64_t ttl)> done);
  void lease_time_to_live(const Caller& caller, int64_t id, bool keys,
                          std::function<void(const Status&, const LeaseTimeToLive*)> done);
  void lease_list(const Caller& caller, std::function<void(const Status&, const std::vector<int64_t>*)> done);

  // --- users and rights (auth.cc)
  const mvcc::Auth& auth() const { return auth_; }
  SimpleTokens& tokens() { return tokens_; }
  // Judged when it is applied, in the caller's name. `entry`: where the change is in the log.
  void propose_auth(const Caller& caller, const mvcc::AuthChange& change, AuthDone done);
  // Judged by what is applied here now; OK while authentication is off.
  Status check_read(const Caller& caller, std::string_view key, std::string_view range_end) const;
  Status check_txn(const Caller& caller, const mvcc::TxnRequest& request) const;
  Status check_admin(const Caller& caller) const;
  // Asks `judge` now, and if it refuses once more behind a barrier: this member may be behind the cluster, and a right
  // that was granted must not be refused. `done` may run inside the call.
  void when_permitted(std::function<Status()> judge, Done done);
  // --- alarms and quota
  void alarm(AlarmAction action, Alarm alarm, AlarmDone done);  // what changed, as etcd reports it
  void list_alarms(AlarmType type, AlarmDone done);             // after a barrier
  const Alarms& alarms() const { return alarms_; }              // as applied here
  uint64_t quota_bytes() const;                                 // 0: none
  void lift_quota() { config_.quota_bytes = -1; }               // for the simulator

  // --- hashes. 0: the newest revision. etcd's errors for a revision that is compacted or not there yet.
  void hash_kv(int64_t revision, HashDone done);
  uint32_t side_hash() const;  // of the state that has no revision: leases, alarms, users

  // All that was applied here before the call, as a state on disk: a checkpoint is made for it if need be. Learners
  // have it too. Nothing of it is on the loop from then on.
  void pin_applied(std::function<void(Result<PinnedState>)> done);

  // --- cluster
  const ClusterVersion& cluster_version() const { return cluster_version_; }
  const std::vector<ApiLevel>& versions_seen() const { return versions_seen_; }  // since this start, rising
  void change_version(const VersionChange& change, Done done);
  const MemberMap& members() const { return members_; }
  // Also those whose addition is in the log, and not yet known to be committed: what a newcomer must find.
  MemberMap members_to_come() const;
  const std::vector<MemberId>& removed_members() const { return removed_; }
  // Answered once the change is applied here, or certainly was not appended; a timeout says that it is not known.
  // deadline (loop time, 0 = none): after it nothing is written.
  void change_members(MemberChange change, io::Nanos deadline, ChangeDone done);
  // Proves that the cluster takes writes: a proposal that changes nothing, answered when it is applied here.
  void probe_write(Done done);
  // etcd's MoveLeader: answered when the other leads.
  void move_leader(MemberId to, Done done);
  // This member was removed, and has said what it had to: it is to be stopped for good.
  void set_on_removed(std::function<void()> on_removed) { on_removed_ = std::move(on_removed); }
  bool leaving() const { return leaving_; }
  bool is_learner() const;
  NodeStatus status() const;
  bool has_leader() const { return raft_->leader().value != 0; }
  bool is_leader() const { return raft_->is_leader(); }
  Status transfer_leader(MemberId to) { return raft_->transfer_leader(to); }
  bool published() const { return published_; }  // own attributes are in the replicated state
  bool ready() const { return published_ && !stopping_; }
  void on_published(std::function<void()> callback) { on_published_ = std::move(callback); }

  // --- looking (metrics, tests, the simulator)
  const Config& config() const { return config_; }
  const mvcc::Keyspace& keyspace() const { return *keyspace_; }
  const raft::Raft& raft() const { return *raft_; }
  const storage::Store& store() const { return *store_; }
  const storage::Log& log() const { return *log_; }
  size_t fetches_waiting() const { return fetches_.size(); }
  const storage::CleanerStats& cleaner() const { return cleaner_->stats(); }
  const peer::Transport& transport() const { return *transport_; }
  const mvcc::WatchHub& watch_hub() const { return *hub_; }
  const Stats& stats() const { return stats_; }
  // Where the time of the request went whose callback runs right now; nothing outside of one.
  std::optional<Stages> stages() const;
  size_t proposals_pending() const { return pending_.size(); }
  Index applied() const { return applied_; }
  ClusterId cluster_id() const { return store_->identity().cluster; }
  MemberId member_id() const { return store_->identity().member; }
  uint64_t state_hash() const;  // keyspace and members; equal on members at equal applied index
  // Hands the longest turn since the last call out.
  uint64_t take_turn_longest_ns() { return std::exchange(stats_.turn_longest_ns, 0); }
  void checkpoint_now() { checkpoint_wanted_ = true; }
  bool installing() const { return installing_; }  // a snapshot; nothing is applied meanwhile
  // A round of the cleaner over all that is dead now; starts as soon as a checkpoint has written that down.
  void defragment();

 private:
  friend class SnapshotSender;
  friend class SnapshotReceiver;

  struct Pending {  // a proposal of ours
    ApplyDone done;
    size_t bytes = 0;
    bool leader_only = false;  // dropped, not kept or forwarded, when this member does not lead
    Operation operation = kOpUnknown;
    io::Nanos since = 0;
  };
  struct NewProposal {
    uint64_t id = 0;
    Bytes entry;
  };
  struct ReadBatch {
    ReadId id;
    io::Nanos deadline = 0;
    io::Nanos through = 0;       // when the index was known
    std::optional<Index> index;  // once the barrier is through
    std::vector<Done> waiting;
  };
  struct HashJob;
  // A range that waits for its barrier; RangeJob if it takes more than one look.
  struct RangeCall {
    Caller caller;
    Bytes owner;  // keeps the request's views alive
    mvcc::RangeRequest request;
    RangeDone done;
    std::function<bool()> wanted;
    io::Nanos since = 0;  // the call; of no meaning for a stream, whose time is its client's
  };
  struct RangeJob;
  struct TxnJob;

  explicit Node(const io::World& world, Config config);

  // node.cc: life
  Status recover();
  Status first_start_args(storage::OpenArgs& args);
  Status join_args(storage::OpenArgs& args);
  Status check_identity(const storage::Identity& identity);
  Result<Bytes> go_on_alone();
  Status load_keyspace(mvcc::Keyspace& keyspace);
  void make_transport();
  peer::Hello own_hello(MemberId to, peer::ChannelKind kind) const;
  peer::Verdict judge(const peer::Hello& theirs);
  void note_attributes(const raft::Entry& entry);
  void on_refused(MemberId by, const peer::Verdict& verdict);
  void fatal(const Status& why);
  void publish();
  std::string encode_config() const;
  Status decode_config(std::string_view bytes, raft::Configuration& config);
  void finish_stop();
  void finish_stop_soon();

  // cluster.cc: changes of the members
  struct MemberCall {  // of a client of this member
    MemberChange change;
    io::Nanos deadline = 0;
    ChangeDone done;
  };
  struct ChangeTask {  // the leader's, for itself or another member
    MemberId asker;
    uint64_t request = 0;
    uint64_t call = 0;
    MemberChange change;
    io::Nanos deadline = 0;
    bool confirmed = false;  // a quorum was there
    Status failed;
  };
  void ask_for_change(uint64_t id);
  void ask_again(uint64_t id);
  void on_change_outcome(uint64_t id, std::string_view reply);
  void finish_change(uint64_t id, const Status& status, const MemberChange* change);
  void expire_changes();
  void fail_changes(const Status& why);
  void on_change_asked(MemberId from, uint64_t call, std::string_view payload);
  void take_change(MemberId asker, uint64_t request, MemberChange change, io::Nanos deadline, uint64_t call = 0);
  void answer_change(const ChangeTask& task, std::string reply);
  void run_change_tasks();
  std::string try_change(ChangeTask& task);
  Status check_change_now(const MemberChange& change);
  Status check_learner_ready(MemberId id);
  bool append_change(const ChangeTask& task);
  void note_member_change(const raft::Entry& entry);
  void drop_member_changes(Index from, Index upto);
  void follow_members();
  void apply_members(const Envelope& envelope, Index index, const raft::Configuration* config);
  void leave_if_removed();
  void told_of_removal(const std::string& why);
  void finish_leader_moves(MemberId leader);
  void note_published();

  // turn.cc: the turn
  void turn();
  void schedule_tick();
  void on_tick();
  void drain_ready();
  void submit_write(raft::Ready& ready);
  void on_durable(raft::WriteSeq upto);
  void on_soft_state(const raft::SoftState& state);

  // leaderless.cc
  std::string name_of(MemberId id) const;
  void tell_without_leader(io::Nanos now);
  std::string unreachable_voters(const MemberMap& members, size_t& connected) const;
  void read_old_entries(const raft::ReadLogRequest& request);
  void housekeeping();
  void go_on_soon();

  // propose.cc
  void propose_entry(uint8_t kind, std::string_view payload, bool leader_only, ApplyDone done);
  void propose_command(const Caller& caller, const mvcc::Command& command, bool leader_only, ApplyDone done);
  void propose_new();
  void fail_pending(uint64_t id, const Status& why);
  void fail_new_proposals(const Status& why);
  void on_forwarded(const raft::ProposeReply& reply);
  void expire();

  // apply.cc
  void apply_committed();
  bool apply_entry(const raft::Entry& entry);  // false: parked
  bool apply_envelope(const raft::Entry& entry, const Envelope& envelope);
  bool applies_first(const Envelope& envelope) const;
  void drop_repeated(const Envelope& envelope);
  // who: in whose name; null: the cluster's own.
  bool apply_command(const raft::Entry& entry, const mvcc::Identity* who, std::string_view payload, uint64_t request,
                     bool mine);
  void fetch_for_apply(std::vector<mvcc::Position> positions);
  void apply_attributes(std::string_view payload);
  void apply_alarm(const raft::Entry& entry, std::string_view payload);
  void mirror_leases(const mvcc::Command& command, const mvcc::ApplyResult& result);
  void answer(uint64_t request, const Status& status, const mvcc::ApplyResult* result);

  // read.cc
  void linearizable(Done ready);
  void serve_reads();
  std::optional<Status> read_point(const Caller& caller, const mvcc::RangeRequest& request, mvcc::RangeResult& result);
  RangeCall* take_range_call();
  RangeCall give_range_call(RangeCall* call);
  std::shared_ptr<RangeJob> job_of(RangeCall* call);
  void serve_range(RangeCall* call, const Status& status);
  void start_range(std::shared_ptr<RangeJob> job);
  void run_range(std::shared_ptr<RangeJob> job);
  void fetch_range(std::shared_ptr<RangeJob> job, std::vector<mvcc::Position> missing);
  void page_range(std::shared_ptr<RangeJob> job);
  void stream_page(std::shared_ptr<RangeJob> job, mvcc::RangePage page);
  void finish_range_job(std::shared_ptr<RangeJob> job, const Status& status);
  void run_txn(std::shared_ptr<TxnJob> job);
  void finish_txn(std::shared_ptr<TxnJob> job, const Status& status, const mvcc::TxnResult* result);
  struct Fetch {
    storage::Pin pin;
    std::vector<mvcc::Position> missing;
    std::shared_ptr<mvcc::ColdRecords> into;
    Done done;
  };
  void fetch(const storage::Pin& pin, std::vector<mvcc::Position> missing, std::shared_ptr<mvcc::ColdRecords> into,
             Done done);
  void start_fetches();
  void fetched(const Fetch& fetch, Result<storage::Store::Records> records);
  void fail_reads(const Status& why);
  void close_range_jobs();

  // auth.cc
  static void append_caller(std::string& out, const Caller& caller);
  bool apply_as(const raft::Entry& entry, std::string_view payload, uint64_t request, bool mine);
  void apply_auth(const raft::Entry& entry, std::string_view payload, uint64_t request, bool mine);
  mvcc::Identity identity(const Caller& caller) const;
  Status check_fresh(const Caller& caller) const;

  // watch.cc
  void deliver_watches();
  bool compact_some();
  void observe_request(Operation operation, bool succeeded, io::Nanos since);
  void read_history();
  void history_failed(uint64_t read, const Status& why);

  // lease.cc
  void lease_tick();
  void lead_leases();
  void load_leases();
  void checkpoint_leases(const std::vector<std::pair<int64_t, int64_t>>& rests, Done done);
  void keep_alive_here(int64_t id, std::function<void(const Status&, int64_t)> done);
  void time_to_live_here(int64_t id, bool keys, std::function<void(const Status&, const LeaseTimeToLive*)> done);
  void on_app(MemberId from, std::string_view head);
  int64_t now_ms() const { return world_.loop->now() / io::kMillisecond; }

  // quota.cc
  bool over_quota(const mvcc::Command& command) const;
  void refuse_for_space(ApplyDone done);
  void alarm_tick();
  bool ends_alarm_of(MemberId member) const;

  // space.cc
  void watch_space();
  void take_free_space(uint64_t free_bytes);

  // hash.cc
  void serve_hashes();
  void run_hash(std::shared_ptr<HashJob> job);
  void step_hash(std::shared_ptr<HashJob> job);
  void finish_hash(HashJob& job, const Status& status);
  void fail_hashes(const Status& why);

  // corrupt.cc
  void start_hash_checks();
  void check_later(io::TimerId& timer, io::Nanos interval, void (Node::*check)(std::function<void()>));
  void periodic_hash_check(std::function<void()> over);
  void compact_hash_check(std::function<void()> over);
  void initial_hash_check(io::Nanos deadline);
  void ask_hashes(int64_t revision, PeerHashesDone done);  // of all other voters
  void answer_hash_call(MemberId from, uint8_t kind, uint64_t call, std::string_view payload);
  void judge_hashes(const storage::HashKv& own, const std::vector<PeerHash>& peers);
  void judge_compactions(std::vector<PeerHash> peers, std::function<void()> over);
  void raise_corrupt(MemberId member);

  // checkpoint.cc
  void maybe_checkpoint();
  void on_checkpoint(const Status& status, Index applied);
  void release_log(Index applied);

  // pin.cc
  void serve_pins();
  Status load_version();
  Status check_version() const;
  void note_version();
  void apply_version(const raft::Entry& entry, std::string_view payload);
  void decide_version();
  void send_snapshot(MemberId to);
  void receive_snapshot(std::unique_ptr<peer::Channel> channel);
  void acknowledge_snapshot();
  void make_cleaner();
  void maybe_defragment();
  void switch_to_snapshot(std::unique_ptr<mvcc::Keyspace> keyspace, const storage::StoreState& state);

  io::World world_;
  Config config_;
  std::function<void(const Status&)> on_fatal_;
  bool fatal_told_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  std::unique_ptr<storage::Store> store_;
  std::unique_ptr<storage::Log> log_;
  std::unique_ptr<storage::Cleaner> cleaner_;
  std::unique_ptr<mvcc::Keyspace> keyspace_;
  std::unique_ptr<mvcc::WatchHub> hub_;
  std::unique_ptr<raft::Raft> raft_;
  std::unique_ptr<peer::Transport> transport_;
  mvcc::LeaseClock lease_clock_;
  mvcc::Auth auth_;  // as the side records say
  SimpleTokens tokens_;
  Index auth_change_index_;  // of the last change of users and roles, while its proposer is answered

  MemberMap members_;
  std::vector<MemberId> removed_;  // tombstones, sorted
  ChangeLog change_log_;
  std::map<Index, MemberChange> members_pending_;  // in the own log, not applied: by index of their entries
  std::set<MemberId> told_removed_;                // tombstones heard of from others before they are applied here
  bool forced_alone_ = false;
  bool joining_ = false;  // no state yet: it comes with a snapshot
  bool leaving_ = false;
  std::function<void()> on_removed_;
  std::map<uint64_t, MemberCall> member_calls_;  // by request id
  std::deque<std::shared_ptr<ChangeTask>> change_tasks_;
  std::vector<std::pair<MemberId, Done>> leader_moves_;
  std::map<MemberId, uint64_t> live_start_counters_;
  std::map<MemberId, StoreId>
      logged_stores_;  // from attributes in the own log, applied yet or not: see note_attributes()
  raft::SoftState soft_;
  io::Nanos leaderless_since_ = 0;  // 0: there is a leader
  io::Nanos leaderless_told_ = 0;
  std::map<MemberId, std::pair<std::string, io::Nanos>> refusals_told_;  // by peer: what, and when
  Stats stats_;
  Operation operation_ = kOpUnknown;                                         // of the entry that is applied now
  std::array<std::array<uint64_t, 2>, kOperationCount> batch_operations_{};  // failed, succeeded: of this batch
  io::Nanos compaction_since_ = 0;
  StageMarks marks_;
  Answering answering_;  // since is 0 outside of a callback

  // turn
  uint64_t turn_hook_ = 0;
  io::TimerId tick_timer_ = 0;
  io::Nanos last_tick_ = 0;
  io::Nanos last_turn_ = 0;
  bool started_ = false;
  bool stopping_ = false;
  bool stopped_ = false;
  std::function<void()> stop_done_;
  io::TimerId stop_timer_ = 0;
  bool stop_checkpoint_tried_ = false;
  bool wake_posted_ = false;
  std::deque<std::pair<raft::WriteSeq, io::Nanos>> writes_in_flight_;  // write seq, when submitted

  // proposals
  uint64_t request_base_ = 0;  // start counter in the high bits: ids of an earlier start never match
  uint64_t next_request_ = 1;
  std::unordered_map<uint64_t, Pending> pending_;  // looked up by id only
  std::deque<std::pair<io::Nanos, uint64_t>> deadlines_;
  size_t pending_bytes_ = 0;
  std::deque<NewProposal> new_proposals_;  // not yet given to Raft
  bool proposals_fresh_ = false;           // some came since the last propose_new()
  std::map<raft::ForwardId, std::vector<NewProposal>> forwarded_;
  bool published_ = false;
  std::function<void()> on_published_;

  // apply
  AppliedRequests requests_;
  std::deque<raft::Entries> to_apply_;
  size_t to_apply_offset_ = 0;  // in the front run
  Index applied_;
  Term applied_term_;
  bool apply_waits_ = false;  // parked at an entry, or a snapshot is being switched in
  mvcc::ColdRecords apply_cold_;
  mvcc::ApplyResult result_;
  io::Nanos apply_began_ = 0;  // of this turn's batch

  // reads
  std::vector<Done> new_reads_;
  std::deque<ReadBatch> read_batches_;
  size_t reads_waiting_ = 0;
  size_t paged_ranges_ = 0;
  std::map<uint64_t, std::shared_ptr<RangeJob>> range_jobs_;
  // Those that wait, and used ones: thousands come and go at a time, more than malloc keeps at hand.
  std::deque<RangeCall> range_calls_;
  std::vector<RangeCall*> range_calls_free_;
  mvcc::RangeResult point_result_;
  std::vector<mvcc::Position> point_missing_;  // what the last look at one key has not found in memory
  uint32_t reads_of_turn_ = 0;
  double range_seconds_ = 0;  // of the last read that was timed
  std::map<uint64_t, std::shared_ptr<TxnJob>> txn_jobs_;
  uint64_t next_job_ = 1;
  std::deque<Fetch> fetches_;  // that wait for a worker
  size_t fetches_running_ = 0;
  uint64_t generation_ = 0;  // of the keyspace: raised by an install

  // watches
  std::map<mvcc::StreamId, WatchSink*> sinks_;
  io::TimerId progress_timer_ = 0;
  std::shared_ptr<std::function<void()>> progress_tick_;

  // leases
  struct AppCall {
    MemberId to;
    std::function<void(const Status&, std::string_view payload)> done;
    io::Nanos deadline = 0;
  };
  uint64_t next_app_call_ = 1;
  std::map<uint64_t, AppCall> app_calls_;
  void fail_app_calls(MemberId only, MemberId but, const Status& why);
  void keep_alive_until(int64_t id, io::Nanos deadline, std::function<void(const Status&, int64_t)> done);
  void call_member(MemberId to, uint8_t kind, std::string payload, io::Nanos timeout,
                   std::function<void(const Status&, std::string_view)> done);
  void call_leader(uint8_t kind, std::string payload, std::function<void(const Status&, std::string_view)> done);
  void answer_app(MemberId to, uint8_t kind, uint64_t call, const Status& status, std::string_view payload);
  io::TimerId lease_timer_ = 0;

  // hashes
  size_t hashes_ = 0;
  std::vector<std::shared_ptr<HashJob>> hash_jobs_waiting_;  // for a checkpoint
  int64_t compact_hash_checked_ = 0;                         // compact revision that all members agreed at
  io::TimerId corrupt_timer_ = 0;
  io::TimerId compact_hash_timer_ = 0;

  // alarms
  Alarms alarms_;
  bool alarm_changed_ = false;                // by the entry whose proposer is being answered
  std::vector<ApplyDone> refused_for_space_;  // answered when the alarm is on
  io::Nanos below_quota_since_ = 0;           // 0: not
  io::TimerId alarm_timer_ = 0;
  bool low_space_ = false;  // on the disk
  io::TimerId space_timer_ = 0;

  // the cluster's version
  ClusterVersion cluster_version_;
  std::vector<ApiLevel> versions_seen_;
  bool version_proposed_ = false;
  io::Nanos version_check_at_ = 0;
  io::Nanos downgrade_check_at_ = 0;

  // checkpoints and snapshots
  struct PinWait {
    Index applied;  // at the call
    io::Nanos deadline = 0;
    std::function<void(Result<PinnedState>)> done;
  };
  std::vector<PinWait> pin_waits_;
  bool checkpoint_compacted_ = false;  // see PinnedState::compacted
  bool freeze_compacted_ = false;      // of the checkpoint that is running or tried again
  bool checkpoint_running_ = false;
  bool checkpoint_wanted_ = false;
  bool defragment_wanted_ = false;
  io::Nanos started_at_ = 0;
  io::Nanos last_checkpoint_ = 0;
  io::Nanos last_apply_ = 0;
  uint64_t log_bytes_after_checkpoint_ = 0;
  Index log_floor_;                               // applied index of the checkpoint before the last
  std::optional<storage::CheckpointArgs> retry_;  // of the checkpoint that is running, or failed and is tried again
  std::map<MemberId, std::unique_ptr<SnapshotSender>> senders_;
  std::unique_ptr<SnapshotReceiver> receiver_;
  bool installing_ = false;
  bool install_told_ = true;    // the sender of the last installed snapshot knows
  raft::WriteSeq install_seq_;  // the write that restarts the log behind an installed snapshot, if it needs one
};

// Calls between members: kind u8 | call id u64 | payload; a reply's kind is one more than its call's: code u8, message
// | payload. Numbers are format.
enum AppKind : uint8_t {
  kAppKeepAlive = 1,
  kAppTimeToLive = 3,
  kAppHashKv = 5,
  kAppMemberChange = 7,
};

// etcd's errors that come from the cluster, not from the keyspace.
Status err_not_for_learner();    // FailedPrecondition "etcdserver: rpc not supported for learner"
Status err_timeout();            // Unavailable "etcdserver: request timed out"
Status err_too_many_requests();  // ResourceExhausted "etcdserver: too many requests"
Status err_stopped();            // Unavailable "etcdserver: server stopped"
Status err_no_leader();          // Unavailable "etcdserver: no leader"
Status err_leader_changed();     // Unavailable "etcdserver: leader changed"
Status err_connection_lost();    // Unavailable "etcdserver: request timed out, possibly due to connection lost"

}  // namespace fairlead::node
