// Which revisions etcd's HashKV counts, for the hash at revision R of a history compacted at C: all of (C, R]; of <= C
// only what is readable at R: no tombstone, and the newest of its key. If no key is alive at R, etcd keeps of <= C what
// its compaction kept. A tombstone at C itself never counts.
//
// Use: judge() once for each key, settle(), then counts() for the revisions in order. Memory: the revisions that do not
// count. Pure; one thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "server/mvcc/checkpoint.h"

namespace fairlead::mvcc {

class HashRule {
 public:
  // compact -1: never compacted; then nothing needs to be judged.
  HashRule(int64_t compact_revision, int64_t revision) : compact_(compact_revision), revision_(revision) {}

  bool judges() const { return compact_ >= 1; }
  void judge(std::span<const RecordMeta> revisions);  // of one key, ascending
  void settle();
  // Positions rise from call to call.
  bool counts(Position position, bool tombstone);

 private:
  struct Skipped {
    Position position;
    bool gone;  // compaction itself removes it
    bool operator<(const Skipped& o) const { return position < o.position; }
  };
  const int64_t compact_;
  const int64_t revision_;
  bool any_alive_ = false;
  std::vector<Skipped> skipped_;
  size_t next_ = 0;
};

}  // namespace fairlead::mvcc
