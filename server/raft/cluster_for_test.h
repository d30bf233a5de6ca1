// A cluster of cores with simulated disks, network and state machines, driven call by call: for the interaction tests
// and the randomised test. Not part of the library.
//
// A disk takes writes in order; what is not completed is lost by a crash. The network is one list of messages of which
// any may be delivered, dropped or repeated. The state machine is the list of all entries ever applied; a checkpoint
// keeps a prefix of it. After each call the invariants are checked, and that committed entries are on a quorum of the
// disks.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/raft/invariants.h"
#include "server/raft/raft.h"

namespace fairlead::raft {

struct TestDisk {
  HardState hard;
  Index log_start;
  Term log_start_term;
  std::vector<Entry> log;  // from log_start + 1
  Index checkpoint;
  Term checkpoint_term;
  Configuration checkpoint_config;
  uint64_t starts = 0;

  Index last() const { return log_start + log.size(); }
  bool holds(Index index, Term term) const;
  void cut(Index from);
  // A log that does not hold the checkpoint's last entry is from before an installed snapshot: void.
  void drop_log_before_snapshot();
};

struct TestWrite {
  WriteSeq seq;
  std::optional<LogReset> log_reset;
  Index truncate_from;
  std::vector<Entry> entries;
  std::optional<HardState> hard;
};

// A snapshot that was received, and is not yet what the state machine is.
struct TestInstall {
  MemberId from;
  Index index;
  Term term;
  std::vector<Entry> state;
  Configuration config;
};

struct TestMember {
  MemberId id;
  TestDisk disk;
  std::deque<TestWrite> writes;  // handed out, not durable
  bool hold_writes = false;      // stabilize() leaves them alone
  bool hold_applies = false;
  bool needs_snapshot = false;  // as long as it has none
  std::deque<Entry> to_apply;
  std::vector<Entry> applied;  // the state machine: entry i has index i + 1
  Configuration applied_config;
  std::deque<ReadLogRequest> read_log;
  std::deque<MemberId> snapshots;
  std::optional<TestInstall> install;  // nothing is applied meanwhile
  std::map<ReadId, Index> reads;       // asked for; what was committed then
  std::vector<ReadReady> reads_ready;
  std::vector<ProposeReply> forwarded;
  std::unique_ptr<Raft> raft;  // null: down
};

class TestCluster {
 public:
  Options options;  // of members started from now on; id, seed and start_counter are filled in
  uint64_t seed = 1;
  std::function<void(const std::string&)> log = [](const std::string&) {};

  // Adds and starts a member with an empty disk.
  // With an empty configuration it joins: it takes a snapshot first, if needs_snapshot.
  void add(MemberId id, const Configuration& config, bool needs_snapshot = false);
  void start(MemberId id, Bytes take_over = {});
  void crash(MemberId id);
  bool is_up(MemberId id) { return member(id).raft != nullptr; }
  TestMember& member(MemberId id) { return *members_.at(id); }
  Raft& raft(MemberId id) { return *member(id).raft; }
  std::vector<MemberId> ids() const;

  // Steps of a shell. Each returns false if there was nothing to do.
  bool ready(MemberId id);
  bool complete_write(MemberId id);
  bool apply(MemberId id, size_t entries_max = SIZE_MAX);
  bool answer_read_log(MemberId id);
  bool send_snapshot(MemberId from);  // if the receiver is up and reachable
  bool finish_install(MemberId to);
  bool deliver(size_t position, bool keep = false);
  bool deliver_all(MemberId to);
  void checkpoint(MemberId id);           // at what is applied and durable
  void compact(MemberId id, Index upto);  // drops log entries up to min(upto, checkpoint)
  void read(MemberId id);

  // Goes on until nothing is left to do, members in order.
  void stabilize(const std::vector<MemberId>& which);

  // Cuts and heals the link between two members, in both directions.
  void cut(MemberId a, MemberId b);
  void heal();
  bool is_cut(MemberId a, MemberId b) const;
  // Tells the cores which links are up, as a transport would.
  void announce(MemberId a, MemberId b, bool up);

  std::deque<Message>& net() { return net_; }
  Invariants& invariants() { return invariants_; }
  // Called after each input; aborts the test with the broken rule (throws std::runtime_error).
  void check();
  MemberId leader() const;  // that of the highest term; 0 = none

 private:
  void snapshot_outcome(MemberId from, MemberId to, std::optional<Index> installed);
  void write_out(TestMember& m, Ready& r);
  void print_ready(MemberId id, const Ready& r);
  void check_durable_quorum(const Raft& raft);
  bool on_majority(const Configuration& config, Index index, Term term);

  std::map<MemberId, std::unique_ptr<TestMember>> members_;
  std::deque<Message> net_;
  std::map<std::pair<MemberId, MemberId>, bool> cuts_;
  Invariants invariants_;
  Index durable_checked_;
  std::map<Index, Entry> truth_;  // what was applied anywhere
};

}  // namespace fairlead::raft
