// The replicated keyspace: all state that etcd's KV and Lease calls see, as a deterministic machine.
//
// What it keeps in memory
//   - the index: every key with the positions of its revisions (tree.h, slots.h); no values;
//   - the tail: encoded records that no checkpoint has made durable yet, in chunks (chunks.h);
//   - a cache: the newest value of keys, within a byte budget, in chunks of the same form;
//   - leases and other side state (side.h).
// A value that is in none of them is *cold*: it is named by its position, storage reads the record, the call is
// repeated with it. A revision is its own place: nothing here knows files.
//
// Applying. Commands are applied strictly in log order. One command is one revision, whatever it does; what changes
// nothing takes no revision. Before apply() ask needs() with the same values; when it returns nothing, apply() cannot
// fail for lack of a value. An error in ApplyResult::status is the client's; the state is then unchanged.
// The result never depends on what is cached, on how far compaction slices got, on pins or on checkpoints.
//
// Views in results: KeyValues hold what they point to. Event views live until the next apply(), flushed(), trim_cache()
// or compact_slice().
//
// Compaction takes effect for readers when its command is applied; compact_slice() frees memory afterwards, a bounded
// piece at a time, never past a pinned revision.
//
// Threads: one. Purity: no clock, no I/O, no randomness; equal commands give equal states and equal results.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/mvcc/checkpoint.h"
#include "server/mvcc/cold.h"
#include "server/mvcc/side.h"
#include "server/mvcc/types.h"

namespace fairlead::mvcc {

struct KeyspaceOptions {
  size_t cache_bytes_max = size_t{64} << 20;  // durable records kept in memory; the unflushed tail comes on top
};

struct KeyspaceStats {
  uint64_t keys = 0;          // live
  uint64_t keys_indexed = 0;  // and those whose newest revision is a tombstone
  uint64_t revisions = 0;     // in the index, tombstones included
  uint64_t bytes_logical =
      0;                    // keys, values and a fixed share per revision; what a quota counts (older ones within 1/8)
  uint64_t bytes_tail = 0;  // encoded records not yet frozen or frozen and not yet flushed
  uint64_t bytes_cached = 0;  // chunks in memory, tail included
  uint64_t bytes_index = 0;   // slots, tree, history, without the keys themselves
  uint64_t bytes_keys = 0;
  uint64_t leases = 0;
  uint64_t deaths_unwritten = 0;  // flushed records that died since the last freeze()
  // counters since start, as etcd exports them
  uint64_t puts_total = 0;
  uint64_t put_bytes_total = 0;  // their keys and values
  uint64_t deletes_total = 0;    // DeleteRange operations
  uint64_t ranges_total = 0;
  uint64_t txns_total = 0;
  uint64_t events_total = 0;
  uint64_t compact_keys_dropped_total = 0;  // revisions dropped
};

class BulkLoader;
class RangeCursor;
class KeyspaceImpl;

class Keyspace {
 public:
  explicit Keyspace(const KeyspaceOptions& options = {});
  ~Keyspace();
  Keyspace(Keyspace&&) noexcept;
  Keyspace& operator=(Keyspace&&) noexcept;

  int64_t revision() const;          // newest; an empty store is at 1
  int64_t compact_revision() const;  // -1: never compacted

  // ---- Apply ----
  // Positions whose records apply(command) needs and that are neither in memory nor in `values`. May have to be asked
  // again with what it named: a txn's branches are known only after its compares.
  std::vector<Position> needs(const Command& command, const ColdRecords& values = {}) const;
  // `applied`: the Raft index of the entry, the place of side records it writes.
  void apply(const Command& command, Index applied, const ColdRecords& values, ApplyResult& out);

  // The same in steps, for a DeleteRange or a lease revoke over very many keys: changes at most about `keys` of them,
  // and is called again, with the same arguments and the same `out`, until it returns true. Until then readers see the
  // revision before, history ends there, and checkpoint, compaction and cache stand still; no other command may come
  // between. Other commands are done in one step.
  bool apply_some(const Command& command, Index applied, const ColdRecords& values, size_t keys, ApplyResult& out);
  bool applying() const;  // between two such steps: no freeze() now

  // The record that an event of the last apply() replaced; nothing if it is not in memory (then it is to be read from
  // storage at prev_position) or if there was none.
  std::optional<KeyRecord> event_prev(const Event& event) const;

  // ---- Reads ----
  // Answers at one instant. When records are missing, `missing` names them and `out` is not usable: pin the revision,
  // fetch them, call again with request.revision = out.revision (when it was 0) and all that was fetched so far.
  // Keys visited are not bounded here: use RangeCursor where the range may be large.
  Status range(const RangeRequest& request, const ColdRecords& values, RangeResult& out,
               std::vector<Position>& missing) const;
  // A read-only txn (is_read_only), same rules.
  Status read_txn(const TxnRequest& request, const ColdRecords& values, TxnResult& out,
                  std::vector<Position>& missing) const;
  // Only the number of keys at the newest revision, from the tree's counts: O(log n).
  uint64_t count(std::string_view key, std::string_view range_end) const;
  // FutureRev or Compacted, as etcd checks them; revision <= 0 is fine.
  Status check_revision(int64_t revision) const;

  // Keeps all that is readable at `revision` in the index until unpin(). The caller pins storage too.
  using Pin = uint64_t;
  Pin pin(int64_t revision);
  void unpin(Pin pin);
  std::optional<int64_t> lowest_pin() const;

  // Offers a fetched record to the cache; ignored unless it is still the newest of its key.
  void cache(Position position, const ColdRecords::Entry& entry);
  bool cache_has_room() const;  // without pushing anything out

  // ---- Housekeeping, in bounded pieces ----
  // Visits at most about `keys` keys; false when there is nothing left to do for now.
  bool compact_slice(size_t keys);
  bool compaction_pending() const;
  // Drops at most `chunks` chunks from the cache; false when it is within its budget.
  bool trim_cache(size_t chunks);

  // ---- Checkpoint and start ----
  // One at a time: freeze(), then flushed() when the manifest that names it is durable. A failed write is retried with
  // the same FrozenTail.
  FrozenTail freeze();
  void flushed();
  bool checkpoint_open() const;
  // The keyspace must be new. The loader borrows it until finish().
  std::unique_ptr<BulkLoader> load(int64_t revision, int64_t compact_revision);

  // Hash of all that is readable at or after the compact revision: keys, positions, lifetimes, leases, side state, and
  // the chained checksum of every record applied. Equal on members that applied the same entries.
  // Costs a walk over the whole index: for tests, the simulator, and a member that is not serving.
  uint64_t state_hash() const;
  KeyspaceStats stats() const;
  uint64_t bytes_logical() const;  // of stats(), at no cost

  // ---- Leases (replicated part) ----
  struct LeaseInfo {
    int64_t id = 0;
    int64_t ttl = 0;
    int64_t remaining_ttl = 0;  // 0: not checkpointed
    uint64_t keys = 0;
  };
  std::optional<LeaseInfo> lease(int64_t id) const;
  std::vector<LeaseInfo> leases() const;                  // by id
  std::vector<std::string> lease_keys(int64_t id) const;  // sorted
  // In no particular order, until `visit` returns false.
  void for_each_lease_key(int64_t id, const std::function<bool(std::string_view key)>& visit) const;

  // Node's own side state (members, alarms...). Position rule: (applied index of its entry, 0, 1, 2...).
  SideTable& side();
  const SideTable& side() const;

  // ---- History, for watchers ----
  // All records from this position on are in memory (and none before it is promised to be).
  Position history_in_memory_from() const;
  // Visits records in memory from `from` on, in order, at most `records_max`; returns where to go on: {revision()+1, 0}
  // when all were seen. `visit` gets the encoded record's fields; its views live as Event's do.
  template <typename Visit>
  Position scan_memory(Position from, size_t records_max, Visit&& visit) const {
    for (; records_max > 0; --records_max) {
      std::optional<KeyRecord> record = memory_record_at_or_after(from);
      if (!record) break;
      visit(*record);
      from = {record->position.main, record->position.sub + 1};
    }
    return next_memory_position(from);
  }
  // The record at this position if it is in memory.
  std::optional<KeyRecord> memory_record(std::string_view key, Position position) const;
  // Positions of a key's revisions at or after `from`, oldest first, at most `max`.
  std::vector<Position> revisions_of(std::string_view key, Position from, size_t max) const;
  // What `key` was at the revision before that of `position`: nothing if it was deleted or not there, or if it may be
  // compacted away (a previous value is readable only for events after the compact revision).
  std::optional<Position> previous(std::string_view key, Position position) const;

 private:
  friend class BulkLoader;
  friend class RangeCursor;
  std::optional<KeyRecord> memory_record_at_or_after(Position from) const;
  Position next_memory_position(Position from) const;
  std::unique_ptr<KeyspaceImpl> impl_;
};

// A start or an install: keys in ascending order, each with its revisions in ascending order, minus dead lists; side
// records in any order; then finish(). Revisions that the compact revision has made unreadable are left out of the
// index and reported dead by the next freeze().
class BulkLoader : public IndexLoader {
 public:
  ~BulkLoader() override;
  void add_key(std::string_view key, std::span<const RecordMeta> revisions) override;
  void add_side(const SideRecord& record) override;
  // kDataLoss when what was added contradicts itself (order, a position past the revision, a key of an unknown lease):
  // the keyspace must then be thrown away.
  Status finish();

 private:
  friend class Keyspace;
  explicit BulkLoader(KeyspaceImpl* impl);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fairlead::mvcc
