// The inside of Keyspace. One class, its functions in files by subject: apply.cc, read.cc, upkeep.cc (compaction,
// cache, checkpoint), load.cc.
//
// Invariants
//   - a slot is in the tree exactly as long as it is allocated; its newest record's position is in the slot, older ones
//     in the history pool, ascending
//   - slot.place != 0 exactly if the newest record is in a chunk; the chunk's header names the slot
//   - tail_ holds every record of memory_from_ and later in position order; those after frozen_revision_ are in no
//     checkpoint; a place of 0 there marks a record that a compaction killed before any checkpoint took it
//   - live counts in the tree = slots whose newest revision is no tombstone
#pragma once

#include <deque>
#include <limits>
#include <map>
#include <set>

#include "server/mvcc/chunks.h"
#include "server/mvcc/keyspace.h"
#include "server/mvcc/tree.h"

namespace fairlead::mvcc {

constexpr int64_t kNewest = std::numeric_limits<int64_t>::max();
constexpr uint64_t kRevisionOverhead = 32;  // counted per revision in the logical size
constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

// range_end as etcd means it.
struct Interval {
  std::string_view from;
  std::string_view to;
  enum class Kind : uint8_t { kOne, kBounded, kOpen } kind = Kind::kOne;

  Interval(std::string_view key, std::string_view range_end) : from(key), to(range_end) {
    if (range_end.empty()) return;
    kind = range_end == std::string_view("\0", 1) ? Kind::kOpen : Kind::kBounded;
  }
  const std::string_view* bound() const { return kind == Kind::kBounded ? &to : nullptr; }
};

struct Collected {
  bool end = true;  // of the interval; else `next` is where to go on
  std::string next;
  size_t keys = 0;  // visible keys taken
};

// Which bytes a read wants, where it puts them and what it lacks.
struct Reading {
  const ColdRecords& values;
  std::vector<Position>& missing;
  KeyValues* out = nullptr;  // null: only find out what is missing
  bool values_wanted = true;
  // block that copied keys are packed into (keys of the index may go away, results stay)
  char* key_block = nullptr;
  size_t key_block_left = 0;
  size_t bytes = 0;  // of keys and values taken
};

class KeyspaceImpl {
 public:
  explicit KeyspaceImpl(const KeyspaceOptions& options) : options_(options) {}

  // apply.cc
  std::vector<Position> needs(const Command& command, const ColdRecords& values) const;
  bool apply_some(const Command& command, Index applied, const ColdRecords& values, size_t keys, ApplyResult& out);
  Status read_txn(const TxnRequest& request, const ColdRecords& values, TxnResult& out,
                  std::vector<Position>& missing) const;

  // read.cc
  Status check_revision(int64_t revision) const;
  Status range(const RangeRequest& request, const ColdRecords& values, RangeResult& out,
               std::vector<Position>& missing) const;
  uint64_t count_newest(const Interval& interval) const;
  uint64_t count_at(const Interval& interval, int64_t revision) const;
  // Like count_at, but at most about `leaves` leaves; `next` is set and `end` false when it stopped early.
  Collected count_some(const Interval& interval, int64_t revision, size_t leaves) const;
  Collected collect(const Interval& interval, int64_t revision, size_t keys_max, size_t visit_max, size_t bytes_max,
                    Reading& reading) const;
  Place memory_place(Position position) const;
  std::optional<Position> position_at(const Slot& slot, int64_t revision) const;  // not a tombstone
  SlotId find(std::string_view key) const;

  // upkeep.cc
  bool compact_slice(size_t keys);
  bool compaction_pending() const { return walking_ || compact_target() > compacted_to_; }
  bool trim_cache(size_t chunks);
  void cache(Position position, const ColdRecords::Entry& entry);
  bool cache_has_room() const { return chunks_.cache_bytes() + Chunks::kChunkSize <= options_.cache_bytes_max; }
  FrozenTail freeze();
  void flushed();
  uint64_t state_hash() const;
  KeyspaceStats stats() const;
  uint64_t bytes_logical() const { return bytes_logical_; }

  struct Lease {
    int64_t ttl = 0;
    int64_t remaining_ttl = 0;
    SlotId first = kNoSlot;
    uint64_t keys = 0;
  };

 private:
  friend class Keyspace;
  friend class BulkLoader;
  friend class RangeCursor;

  struct TailEntry {
    int64_t main;
    uint32_t sub;
    Place place;
    Position position() const { return {main, sub}; }
  };
  struct Txn {  // one entry while it is applied
    const ColdRecords& values;
    ApplyResult& out;
    int64_t main;
    uint32_t sub = 0;
    // Ranges at a given revision are read before the first change: what a change replaces, the index no longer
    // describes.
    std::deque<RangeResult> old_reads = {};
    bool changed() const { return sub > 0; }
  };

  // apply.cc
  using Path = std::vector<bool>;
  void evaluate(const TxnRequest& request, const ColdRecords& values, std::vector<Position>& missing, Path& path) const;
  bool holds(const Compare& compare, const ColdRecords& values, std::vector<Position>& missing) const;
  Status check_put(const PutRequest& request) const;
  Status check_ops(const TxnRequest& request, const Path& path, size_t& at) const;
  void needs_put(const PutRequest& request, const ColdRecords& values, std::vector<Position>& missing) const;
  void needs_delete(const DeleteRangeRequest& request, const ColdRecords& values, std::vector<Position>& missing) const;
  void needs_ops(const TxnRequest& request, const Path& path, size_t& at, bool& deleted, const ColdRecords& values,
                 std::vector<Position>& missing) const;
  void apply_txn(Txn& txn, const TxnRequest& request, ApplyResult& out);
  void run_put(Txn& txn, const PutRequest& request, PutResult& out);
  bool run_delete(Txn& txn, const DeleteRangeRequest& request, size_t keys, DeleteRangeResult& out);
  RangeResult run_range(const Txn& txn, const RangeRequest& request) const;
  void read_old(Txn& txn, const TxnRequest& request, const Path& path, size_t& at) const;
  void run_txn(Txn& txn, const TxnRequest& request, const Path& path, size_t& at, TxnResult& out);
  void write(Txn& txn, KeyTree::Path& path, SlotId id, bool fresh, const KeyRecord& record);
  void remove(Txn& txn, SlotId id);
  Status run_compact(const CompactRequest& request);
  Status run_grant(const LeaseGrantRequest& request, Index applied);
  Status start_revoke(const LeaseRevokeRequest& request);
  bool run_revoke(Txn& txn, const LeaseRevokeRequest& request, size_t keys, LeaseRevokeResult& out);
  void run_lease_checkpoint(const LeaseCheckpointRequest& request, Index applied);
  void store_lease(int64_t id, const Lease& lease, SidePosition position);
  void attach(SlotId id, int64_t lease);
  void detach(SlotId id);

  // read.cc
  // What a reader takes for newest: not the half of an entry that is being applied.
  int64_t newest_revision() const { return running_ ? revision_ : kNewest; }
  std::optional<KeyValue> value_at(const Slot& slot, int64_t revision, bool value_wanted, const ColdRecords& values,
                                   std::vector<Position>& missing) const;
  bool newest_record(const Slot& slot, const ColdRecords& values, KeyRecord& record, const Bytes** hold) const;
  bool record_at(Position position, const ColdRecords& values, KeyRecord& record, const Bytes** hold) const;
  // True when the key is visible at the revision; appends it to the reading, or what it lacks.
  bool read_key(SlotId id, int64_t revision, Reading& reading) const;
  void read_newest(SlotId id, Reading& reading) const;
  std::string_view copy_key(std::string_view key, Reading& reading) const;
  Status range_at(const RangeRequest& request, const ColdRecords& values, RangeResult& out,
                  std::vector<Position>& missing) const;
  template <typename Visit>
  void for_each_live(const Interval& interval, Visit&& visit) const;
  // visit(slot, live) for every key, dead ones too, until it returns false. True when it saw all.
  template <typename Visit>
  bool for_each_key(const Interval& interval, Visit&& visit) const;

  // upkeep.cc
  int64_t compact_target() const;
  void compact_key(SlotId id, int64_t target);
  void died(Position position);
  void drop_place(Slot& slot);
  void set_place(Slot& slot, Place place);
  static bool dies(int64_t main, bool tombstone, int64_t next_main, int64_t target);
  uint64_t logical_size(const Slot& slot) const { return slot.key_view().size() + slot.value_size + kRevisionOverhead; }

  KeyspaceOptions options_;
  SlotTable slots_;
  HistoryPool history_;
  KeyTree tree_{&slots_};
  Chunks chunks_;
  std::deque<TailEntry> tail_;
  Position memory_from_{2, 0};
  SideTable side_;
  std::map<int64_t, Lease> leases_;

  int64_t revision_ = 1;
  int64_t compact_revision_ = -1;
  Index applied_;
  uint64_t chain_ = 0;         // over the checksums of all records and lease changes applied
  uint64_t chain_stored_ = 0;  // as the side record has it

  // compaction
  int64_t compacted_to_ = -1;  // every key has been brought to this
  bool walking_ = false;
  int64_t walk_target_ = -1;
  std::string walk_next_;
  std::vector<SlotId> walk_scratch_;
  std::vector<OlderRevision> history_scratch_;
  std::multiset<int64_t> pinned_;
  std::map<Keyspace::Pin, int64_t> pins_;
  Keyspace::Pin next_pin_ = 1;

  // checkpoint
  int64_t frozen_revision_ = 1;
  bool checkpoint_open_ = false;
  uint64_t checkpoint_mark_ = 0;
  std::deque<Position> dead_keys_;  // a deque: no growth that copies a million of them in one turn

  // counters
  uint64_t history_revisions_ = 0;
  uint64_t bytes_logical_ = 0;
  uint64_t bytes_placed_ = 0;         // logical size of newest records in memory
  bool versions_in_records_ = false;  // some key had more versions than a slot counts: puts may need its record
  mutable KeyspaceStats counters_;    // only its *_total
  std::vector<SlotId> scratch_;

  // an entry that is applied in steps
  bool running_ = false;
  uint32_t running_sub_ = 0;
  std::string running_next_;           // DeleteRange: where to go on
  std::vector<SlotId> running_slots_;  // revoke: its keys in order, those not yet deleted at the end
  size_t running_at_ = 0;
};

template <typename Visit>
bool KeyspaceImpl::for_each_key(const Interval& interval, Visit&& visit) const {
  return tree_.walk(
      interval.from, interval.bound(), [](uint32_t, int64_t) { return false; },
      [&](const KeyTree::Leaf& leaf, uint32_t begin, uint32_t end, int64_t) {
        for (uint32_t i = begin; i < end; ++i) {
          if (!visit(leaf.id(i), leaf.live(i))) return false;
        }
        return true;
      });
}

template <typename Visit>
void KeyspaceImpl::for_each_live(const Interval& interval, Visit&& visit) const {
  tree_.walk(
      interval.from, interval.bound(), [](uint32_t, int64_t) { return false; },
      [&](const KeyTree::Leaf& leaf, uint32_t begin, uint32_t end, int64_t) {
        for (uint32_t i = begin; i < end; ++i) {
          if (leaf.live(i)) visit(leaf.id(i));
        }
        return true;
      });
}

}  // namespace fairlead::mvcc
