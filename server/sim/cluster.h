// Three members on simulated machines: starts and ends their processes and hands out their nodes. It knows nothing of
// faults or checks.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/io/sim/world.h"
#include "server/node/node.h"
#include "server/raft/types.h"

namespace fairlead::sim {

constexpr size_t kMembers = 3;  // founders
constexpr size_t kGuests = 2;   // machines of members that come and go (guests.h)
constexpr size_t kMachines = kMembers + kGuests;
constexpr int64_t kDriftPpmMax = 20'000;  // what the judge of leases allows for

struct ClusterConfig {
  io::Nanos heartbeat = 100 * io::kMillisecond;
  io::Nanos election = 1000 * io::kMillisecond;
  size_t checkpoint_tail_bytes = 32 << 10;
  size_t checkpoint_log_bytes = 128 << 10;
  io::Nanos checkpoint_interval = 20 * io::kSecond;
  size_t log_first_segment_bytes = 64 << 10;
  size_t log_segment_bytes = 256 << 10;
  size_t log_keep_bytes = 32 << 10;
  uint64_t catchup_entries = 0;
  size_t value_cache_bytes = 64 << 10;
  io::Nanos watch_progress_interval = 5 * io::kSecond;
  bool front_door = false;                    // members listen for clients that speak HTTP/2
  std::array<int64_t, kMembers> drift_ppm{};  // of their clocks
  storage::CleanerOptions cleaner;
  int64_t quota_bytes = -1;
  uint64_t free_space_floor_bytes = 0;
  io::Nanos auto_disarm_delay = 2 * io::kSecond;
  io::Nanos corrupt_check_interval = 0;
  bool strict_reconfig_check = true;
  io::Nanos lease_checkpoint_interval = 0;  // 0: without checkpoints
};

struct Counters {
  uint64_t elections = 0;
  uint64_t kills = 0;
  uint64_t power_cuts = 0;
  uint64_t crash_points = 0;
  uint64_t starts = 0;
  uint64_t snapshots_installed = 0;
  uint64_t checkpoints = 0;
  uint64_t cold_reads = 0;
  uint64_t cleanings = 0;
  uint64_t hash_checks = 0;
  uint64_t space_alarms = 0;
  uint64_t leases_expired = 0;
  uint64_t partitions = 0;
  uint64_t clogs = 0;
  uint64_t resets = 0;
  uint64_t pauses = 0;
  uint64_t slow_disks = 0;
  uint64_t failed_syncs = 0;
  uint64_t failed_writes = 0;
  uint64_t full_disks = 0;
  uint64_t rotten_segments = 0;
  uint64_t rotten_logs = 0;
  uint64_t unreadable_blocks = 0;
  uint64_t damage_refused = 0;  // members that gave up and named the damage, and reads that ended so
  uint64_t drifting_clocks = 0;
  uint64_t watches_continued = 0;  // over an installed snapshot
  uint64_t stalls = 0;             // members that noticed that they, or their disk, had stood still
  uint64_t transfers = 0;
  uint64_t guests_added = 0;
  uint64_t guests_promoted = 0;
  uint64_t guests_removed = 0;
  uint64_t changes_refused = 0;  // of members, or of unknown outcome
  uint64_t wipes = 0;
  uint64_t messages_repeated = 0;
  uint64_t messages_lost = 0;
  uint64_t proposals_repeated = 0;  // entries left out because they were applied before
  uint64_t ops_ok = 0;
  uint64_t ops_bytes = 0;  // asked through HTTP/2
  uint64_t ops_failed = 0;
  uint64_t ops_unknown = 0;
  uint64_t watch_events = 0;
  uint64_t compactions = 0;
  uint64_t auth_changes = 0;  // of users and rights
  uint64_t denied = 0;        // operations of a user without the right
  uint64_t faults() const {
    return kills + power_cuts + crash_points + partitions + clogs + resets + pauses + slow_disks + failed_syncs +
           transfers + failed_writes + full_disks + rotten_segments + rotten_logs + unreadable_blocks;
  }
};
// Every counter by name, for printing and adding up.
template <typename F>
void for_each_counter(Counters& c, F&& f) {
  f("elections", c.elections), f("kills", c.kills), f("power cuts", c.power_cuts), f("crash points", c.crash_points);
  f("starts", c.starts), f("snapshots installed", c.snapshots_installed), f("checkpoints", c.checkpoints);
  f("cleanings", c.cleanings), f("hash checks", c.hash_checks), f("space alarms", c.space_alarms);
  f("cold reads", c.cold_reads), f("leases expired", c.leases_expired), f("partitions", c.partitions),
      f("clogs", c.clogs);
  f("resets", c.resets), f("pauses", c.pauses), f("slow disks", c.slow_disks), f("failed syncs", c.failed_syncs);
  f("transfers", c.transfers), f("wipes", c.wipes), f("messages repeated", c.messages_repeated);
  f("failed writes", c.failed_writes), f("full disks", c.full_disks), f("rotten segments", c.rotten_segments);
  f("rotten logs", c.rotten_logs), f("unreadable blocks", c.unreadable_blocks);
  f("damage refused", c.damage_refused), f("drifting clocks", c.drifting_clocks), f("stalls", c.stalls),
      f("watches continued", c.watches_continued);
  f("members added", c.guests_added), f("members promoted", c.guests_promoted);
  f("members removed", c.guests_removed), f("changes refused", c.changes_refused);
  f("operations through bytes", c.ops_bytes);
  f("proposals repeated", c.proposals_repeated);
  f("messages lost", c.messages_lost), f("operations ok", c.ops_ok), f("operations failed", c.ops_failed);
  f("operations unknown", c.ops_unknown), f("watch events", c.watch_events), f("compactions", c.compactions);
  f("changes of users", c.auth_changes), f("operations denied", c.denied);
}

class FrontDoor;

class Cluster {
 public:
  Cluster(uint64_t seed, ClusterConfig config, Counters* counters);
  ~Cluster();

  io::sim::SimWorld& world() { return world_; }
  io::sim::Prng& prng() { return world_.prng(); }
  io::Nanos now() const { return world_.now(); }
  io::sim::HostId host(size_t member) const { return members_[member].host; }
  static std::string client_address(size_t member);  // of its front door
  static std::string name(size_t member) { return "m" + std::to_string(member + 1); }

  static std::string peer_url(size_t member);
  io::Nanos io_now(const node::Node& node) const;  // its loop's time

  void start(size_t member);
  void start_guest(size_t machine, node::Config::Join join);
  void stop_orderly(size_t member);  // the process ends when the node says that it has stopped
  void end(size_t member, io::sim::End how) { world_.end_process(host(member), how); }
  void lift_quota();  // of members that run, and of those that start later
  bool running(size_t member) const { return world_.running(members_[member].host); }
  // Null unless the node is open. Only to be used from within the member's turns (in_turn), or for looking.
  node::Node* node(size_t member) { return members_[member].node.get(); }
  // Runs the closure in a turn of the member's process; dropped if that ends before or the node is not open.
  void in_turn(size_t member, std::function<void(node::Node&)> closure);
  int leader();  // -1: none that the members agree on

  // A member that gave up for good (it says why); it is not to be started again.
  struct GaveUp {
    size_t member;
    Status why;
  };
  std::function<void(GaveUp)> on_gave_up;
  std::function<void(size_t member, io::sim::End how)> on_ended;
  std::function<void(size_t member, node::Node&)> on_opened;
  std::function<void(size_t member, node::Node&)> on_ending;  // its process is over; last look at the node
  std::function<void(const raft::Message&)> on_message;       // reached a member, for the first time
  std::function<void(const node::Node& by, const raft::Message&)> on_received;  // the same, before it is delivered
  bool trace = false;
  // Messages between members, above their streams: with these chances each is lost, repeated, kept back.
  double message_loss = 0;
  double message_repeat = 0;
  double message_delay = 0;

 private:
  struct Member {
    io::sim::HostId host = 0;
    std::unique_ptr<io::Listener> listener;
    std::unique_ptr<node::Node> node;
    std::unique_ptr<FrontDoor> door;
    io::World world;
    std::optional<node::Config::Join> join;
  };
  node::Config config_of(size_t member);
  void open(size_t member, const io::World& world);
  void collect(const Member& member);
  void disturb(size_t member, raft::Message message, node::Config::Deliver deliver);

  std::vector<Member> members_;
  Counters* counters_;
  ClusterConfig config_;
  io::sim::SimWorld world_;  // goes first: its end destroys the nodes
};

}  // namespace fairlead::sim
