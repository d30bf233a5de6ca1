// What mvcc hands to storage for a checkpoint, and what storage hands back at a start: the contract between the pure
// keyspace and the record segments (the drawing allows storage to use mvcc's types, never the other way round).
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "server/mvcc/record.h"

namespace fairlead::mvcc {

// The unflushed tail, frozen at one applied index. Immutable: a worker reads it while the loop goes on.
struct FrozenTail {
  struct Ref {
    Position position;
    Bytes record;  // encoded key record; many share one chunk
  };
  std::vector<Ref> records;  // in position order, without those already dead
  struct Side {
    SidePosition position;
    std::string record;  // encoded; empty: replaced or erased since, nothing to write
  };
  std::deque<Side> side;  // in position order: the last record of each id that changed since the last checkpoint
  std::deque<Position> dead_keys;  // flushed key records that died since the last checkpoint; in any order, and many
  std::vector<SidePosition> dead_side;  // flushed side records that died since; in any order
  int64_t revision = 1;
  int64_t compact_revision = -1;  // -1 = never compacted
  size_t bytes = 0;               // encoded size of records and side
};

// One entry of a segment's directory: a key record without its value.
struct RecordMeta {
  Position position;
  int64_t create = 0;
  int64_t version = 0;
  int64_t lease = 0;
  uint32_t value_size = 0;
  uint8_t flags = 0;
  bool tombstone() const { return flags & kFlagTombstone; }
};

// Whether a revision is unreadable at and after the compact revision: hidden by a newer one (`next_main`; the largest
// number if there is none), or a tombstone with nothing to hide. All of the compact revision itself stays: a watcher
// may start there.
constexpr bool compacted_away(int64_t main, bool tombstone, int64_t next_main, int64_t compact_revision) {
  return main < compact_revision && (tombstone || next_main <= compact_revision);
}

// Fed by a start or an install: every live key in key order with its revisions in ascending order; then finish().
class IndexLoader {
 public:
  virtual ~IndexLoader() = default;
  virtual void add_key(std::string_view key, std::span<const RecordMeta> revisions) = 0;
  virtual void add_side(const SideRecord& record) = 0;
};

}  // namespace fairlead::mvcc
