// Data moves in: a snapshot file (etcd's or ours) or a data directory in etcd's layout becomes a data directory of
// ours. docs/formats/bbolt.md has what is read, docs/formats/segments.md what is written.
//
// What is read is never changed. What is written counts with its manifest, which comes last: a directory that was cut
// short is refused at its start, never taken for whole. Values are streamed; memory follows the keys of one segment,
// the leases, and the keys attached to leases that are not there (etcd keeps such keys, and so do we: without the
// lease).
//
// Blocking: for tools, and for a member's start. Errors: kInvalidArgument and kFailedPrecondition for the caller's
// part, kDataLoss for files that do not fit.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "server/bolt/reader.h"
#include "server/io/io.h"

namespace fairlead::import {

struct Report {
  int64_t revision = 1;
  int64_t compact_revision = -1;
  uint64_t records = 0;  // revisions of keys
  uint64_t bytes = 0;    // of all segments written
  uint64_t leases = 0;
  uint64_t users = 0;
  uint64_t roles = 0;
  uint64_t keys_detached = 0;  // from leases that are not there
};

// etcdutl snapshot restore: the same arguments, the same checks, the same errors.
struct RestoreArgs {
  std::string snapshot_path;
  std::string data_dir;  // must be absent or empty
  std::string name = "default";
  std::map<std::string, std::vector<std::string>> initial_cluster;  // name -> peer URLs
  std::string initial_cluster_token = "etcd-cluster";
  std::vector<std::string> initial_advertise_peer_urls;
  bool skip_hash_check = false;
  uint64_t bump_revision = 0;  // with mark_compacted, or not at all
  bool mark_compacted = false;
  bolt::OnRead on_read;  // for progress: the file is read twice at least
};
Result<Report> restore_snapshot(const io::World& world, const RestoreArgs& args);

// Whether `dir` holds an etcd member's data and none of ours.
bool is_etcd_directory(io::Disk& disk, const std::string& dir);

// etcd's directory `dir`, its log in `wal_dir` (empty: dir/member/wal; then ours comes to dir/log, else to wal_dir too)
// (dir/member stays as it is): our files come beside it, for the same member of the same
// cluster. Refused while an etcd uses it, and when its log holds entries that its database does not: their first one is
// named.
Result<Report> import_directory(const io::World& world, const std::string& dir, const std::string& wal_dir = {});

}  // namespace fairlead::import
