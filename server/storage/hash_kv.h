// etcd's HashKV over a pinned list of segments: the CRC-32C of the bucket name "key", then for each revision that
// counts (mvcc/hash_rule.h) its 17 or 18 bytes of etcd's key and its KeyValue as Protocol Buffers write it, in order of
// revision. Equal on members with the same history at the same compact revision, and equal to etcd's own value.
//
// Two passes: the key directories tell what of <= C does not count; then the segments are read in order. Nothing is
// held in memory but the places that do not count.
//
// Threads: blocking, one worker at a time, in steps. Errors: damage is kDataLoss.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/status.h"
#include "server/mvcc/hash_rule.h"
#include "server/storage/directory_merge.h"

namespace fairlead::storage {

struct HashKv {
  uint32_t hash = 0;
  int64_t compact_revision = -1;
  int64_t hash_revision = 0;
};

class HashKvJob {
 public:
  // The list holds all up to `revision`, and nothing is on its dead lists that is readable at or after
  // `compact_revision`, which is <= revision (-1: never compacted).
  HashKvJob(io::Disk& disk, std::string dir, Pin list, int64_t compact_revision, int64_t revision);
  ~HashKvJob();
  // About `bytes` of reading. done() tells whether all is read.
  Status step(size_t bytes);
  bool done() const { return done_; }
  HashKv result() const { return {hash_, compact_, revision_}; }

 private:
  Status open_directories();
  Status group_keys(size_t bytes);
  Status read_segments(size_t bytes);
  Status add_block(const DeadList& dead, const Bytes& block);
  void add_record(std::string_view record);

  io::Disk& disk_;
  const std::string dir_;
  const Pin list_;
  const int64_t compact_;
  const int64_t revision_;
  std::unique_ptr<DirectoryMerge> merge_;
  mvcc::HashRule rule_;
  bool grouped_ = false;
  bool done_ = false;
  size_t segment_ = 0;
  size_t block_ = 0;
  DeadList dead_;
  bool dead_read_ = false;
  uint32_t hash_;
  std::string scratch_;
};

}  // namespace fairlead::storage
