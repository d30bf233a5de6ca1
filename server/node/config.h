// What a node must be told. Everything is checked by the caller (server/main) but what needs the disk.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "server/io/io.h"
#include "server/node/membership.h"
#include "server/node/version.h"
#include "server/raft/types.h"
#include "server/storage/clean_plan.h"

namespace fairlead::node {

struct Config {
  std::string name = "default";
  bool name_given = false;  // not the default: then it is published, also where the directory had another one
  std::string data_dir;
  std::string log_dir;  // --wal-dir; empty: in the data directory
  std::vector<std::string> peer_listen_addresses;
  std::vector<std::string> advertise_client_urls;

  // First start only.
  std::map<std::string, std::vector<std::string>> initial_cluster;  // name -> peer URLs
  std::string initial_cluster_token = "etcd-cluster";
  bool token_given = false;
  bool initial_cluster_new = true;  // --initial-cluster-state
  // --force-new-cluster: this member goes on alone with what it has; all others are removed. For a directory that has a
  // cluster already.
  bool force_alone = false;
  // What a running cluster said when it was asked; for the first start of a member that was added to it.
  struct Join {
    ClusterId cluster;
    MemberId member;
    MemberMap members;
  };
  std::optional<Join> join;

  bool strict_reconfig_check = true;
  size_t learners_max = 1;

  io::Nanos heartbeat_interval = 100 * io::kMillisecond;
  io::Nanos election_timeout = 1000 * io::kMillisecond;

  size_t txn_ops_max = 128;
  size_t request_bytes_max = 1536 * 1024;
  io::Nanos downgrade_check_interval = 5 * io::kSecond;  // 0: a downgrade is never found to be over
  ApiLevel level = kOwnLevel;                            // tests: of another program
  io::Nanos slow_apply = 100 * io::kMillisecond;
  io::Nanos watch_progress_interval = 600 * io::kSecond;

  io::Nanos auth_token_ttl = 300 * io::kSecond;  // of simple tokens, after their last use

  size_t value_cache_bytes = 64 << 20;
  size_t recent_entries_bytes = 8 << 20;  // log entries kept in memory for followers that lag a little
  size_t checkpoint_tail_bytes = 32 << 20;
  size_t checkpoint_log_bytes = 64 << 20;
  io::Nanos checkpoint_interval = 300 * io::kSecond;
  storage::CleanerOptions cleaner;
  int64_t quota_bytes = 0;              // of logical bytes; 0: kQuotaDefaultBytes, negative: none
  uint64_t free_space_floor_bytes = 0;  // of the disk: below it NOSPACE is raised; 0: not looked at
  uint64_t ballast_bytes = 16 << 20;
  io::Nanos space_look_interval = 10 * io::kSecond;
  io::Nanos corrupt_check_interval = 0;  // --corrupt-check-time; 0: never
  bool compact_hash_check = false;       // gate CompactHashCheck
  io::Nanos compact_hash_check_interval = 60 * io::kSecond;
  bool initial_corrupt_check = false;  // gate InitialCorruptCheck
  bool lease_checkpoint = false;       // gate LeaseCheckpoint: rests of leases go through the log
  io::Nanos lease_checkpoint_interval = 300 * io::kSecond;
  io::Nanos auto_disarm_delay = 60 * io::kSecond;  // NOSPACE ends after so long below 90 %; 0: by hand only
  size_t log_first_segment_bytes = 1 << 20;
  size_t log_segment_bytes = 64 << 20;
  size_t log_keep_bytes = 64 << 20;  // of released entries kept for followers that lag a little
  // --snapshot-catchup-entries: so many entries before a checkpoint stay in the log, as long as it does not grow too
  // large for that.
  uint64_t catchup_entries = 5000;

  // The simulator's only: sees each message of a peer before Raft does, and may hand it in late, twice, or not at all.
  using Deliver = std::function<void(raft::Message)>;
  std::function<void(raft::Message, Deliver)> disturb_messages;

  // A request that finds no leader, or whose outcome does not come, ends after this (etcd: 5 s + 2 elections).
  io::Nanos request_timeout() const { return 5 * io::kSecond + 2 * election_timeout; }
};

}  // namespace fairlead::node
