// Writes a data directory of ours from etcd's database: key segments in order of revision, one side segment, a log of
// one batch that begins behind the applied index, and last the manifest.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/ids.h"
#include "server/bolt/etcd.h"
#include "server/import/import.h"
#include "server/node/membership.h"
#include "server/storage/manifest.h"
#include "server/storage/segment_writer.h"

namespace fairlead::import {

// Whose directory it becomes, and where it stands in the log.
struct Identity {
  ClusterId cluster;
  MemberId member;
  raft::Configuration config;
  node::MemberMap members;
  std::vector<MemberId> removed;
  Index applied;
  Term applied_term;
  Term term;  // to go on with
  MemberId vote;
};

class DirectoryWriter {
 public:
  // log_dir: empty: dir/log.
  DirectoryWriter(const io::World& world, std::string dir, const bolt::Reader& from, std::string log_dir = {});

  // `bump`: so much is added to the revision, and everything below is compacted; 0: nothing of that.
  Result<Report> write(const Identity& identity, const bolt::EtcdState& state, uint64_t bump);

 private:
  Status write_keys();
  Status write_key(std::string_view key, std::string_view value);
  void note_lease(const mvcc::KeyRecord& record);
  Status write_side(const bolt::EtcdState& state, Index applied);
  Status add_record(storage::SegmentKind kind, std::string_view record);
  Status close_segment();
  Status remove_segments();
  Status write_log(const Identity& identity, uint64_t log_id);

  io::World world_;
  std::string dir_;
  std::string log_dir_;
  const bolt::Reader& from_;
  Report report_;
  std::set<int64_t> leases_;
  std::map<std::string, mvcc::Position, std::less<>> dangling_;  // newest record of a key: its lease is not there
  std::set<mvcc::Position> detach_;                              // records to be written without their lease
  mvcc::Position last_;
  std::unique_ptr<storage::SegmentWriter> segment_;
  std::vector<storage::SegmentInfo> segments_;
  uint64_t next_file_ = 1;
  std::string record_;  // scratch
};

}  // namespace fairlead::import
