// The store: the state of one member on disk, as record segments named by a manifest, and the log beside them.
// Formats: docs/formats/segments.md and docs/formats/log.md.
//
// Directory:
//   LOCK                 held while a process uses the directory
//   manifest             which files count (manifest.h)
//   seg-N, dead-N        record segments and dead lists; never changed once the manifest names them
//   log/                 the log (log.h), unless it is elsewhere; then it has a LOCK of its own
//
// What each crash leaves behind:
//   before the manifest is renamed   the old manifest; new files are orphans, removed at the next start; the log has
//   all after it                         the new manifest; the log holds some entries twice over, which apply skips
//   install, before the manifest     the old state; received files are orphans
//   install, after it                the manifest says "install": the next start restarts the log behind it
//
// Invariants: a file is removed only when neither the durable manifest nor a pin names it; nothing is removed after a
// start before manifest and directory are synced. Key segments partition the revision line in order. The manifest lists
// only deaths caused by entries up to its own applied index.
//
// Threads: the loop owns the Store; blocking parts run as Workers closures, whose callbacks come back on the loop and
// never inside the call. open() and load() block: for the start only. load() is also safe on a worker while nothing
// else uses the Store (an install). Errors: damage is kDataLoss and names file and offset. A failed write of manifest
// or directory is kInternal with "fatal:" in front: the caller ends the process. A failed write of a segment abandons
// its file; a retry uses a new one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "server/io/io.h"
#include "server/mvcc/checkpoint.h"
#include "server/mvcc/record.h"
#include "server/storage/log.h"
#include "server/storage/manifest.h"

namespace fairlead::storage {

struct StoreOptions {
  LogOptions log;
  uint64_t segment_bytes_max = 64 << 20;  // key segments are closed at this size
  size_t block_bytes = 16 << 10;
  uint64_t reap_step_bytes = 8 << 20;  // a larger file is shortened by so much at a time before it is removed
};

struct Identity {
  ClusterId cluster;
  MemberId member;
  StoreId store;
  uint64_t start_counter = 0;
};

struct OpenArgs {
  std::string dir;
  std::string log_dir;  // elsewhere, for instance on a faster disk; empty: dir/log
  // Refused by name when the directory belongs to another one. 0 = take what is there (not at a first start).
  ClusterId cluster;
  MemberId member;
  bool may_create = true;    // false: a directory without a manifest is kNotFound
  std::string first_config;  // Raft configuration to write at a first start
  StoreOptions options;
};

// What the state on disk stands for.
struct StoreState {
  Index applied;
  Term applied_term;
  std::string config;
  int64_t revision = 1;
  int64_t compact_revision = -1;
  uint32_t feature_level = 0;
};

struct CheckpointArgs {
  Index applied;  // durable in the own log, no entry half applied
  Term applied_term;
  std::string config;
  uint32_t feature_level = 0;
  uint64_t log_position = 0;  // Log::durable_position()
  // The worker's until the answer. Emptied when it is durable: what many records hold is given back on the worker.
  std::shared_ptr<mvcc::FrozenTail> tail;
};

// A reference to a list of segments: what it names stays on disk until the last copy is gone. Cheap to copy; may be
// dropped on any thread.
class SegmentList;
using Pin = std::shared_ptr<const SegmentList>;

// What a follower needs to fetch the state: the shared part of a manifest; files are named by their place in it
// (segments first, then dead files).
struct SnapshotInfo {
  Pin pin;
  std::string manifest;  // SharedManifest::encode()
  Index applied;
  Term applied_term;
  uint64_t bytes = 0;  // of all files
  struct FileInfo {
    uint64_t size_bytes = 0;
    Sha256 hash{};
  };
  std::vector<FileInfo> files;
};

struct ScanResult {
  std::vector<Bytes> records;  // encoded key records, dead ones left out
  mvcc::Position next;         // where to go on
  bool done = false;           // `to` or the end of the segments was reached
};

struct StoreStats {
  uint64_t segments = 0;
  uint64_t bytes = 0;  // of all files named by the manifest
  uint64_t records = 0;
  uint64_t dead_records = 0;
  uint64_t dead_bytes = 0;  // estimate
  uint64_t checkpoints = 0;
  uint64_t block_reads = 0;
  double checkpoint_seconds_sum = 0;
  uint64_t damage_found = 0;
};

class Receiver;

class Store {
 public:
  struct Opened {
    std::unique_ptr<Store> store;
    RecoveredLog log;
    bool first_start = false;
  };
  // Blocking. Locks, reads the manifest, removes orphans, recovers the log, checks that both belong together, raises
  // the start counter. A directory without manifest is made new (args.cluster and args.member must be given).
  static Result<Opened> open(io::World& world, const OpenArgs& args);
  // Blocking, without lock: whose directory is it? Nothing if there is no manifest.
  static Result<std::optional<Identity>> peek(io::World& world, const std::string& dir);
  ~Store();  // callbacks that are still out are dropped; jobs at a worker end on their own and keep the lock until then
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  const Identity& identity() const;
  const StoreState& state() const;  // of the durable manifest
  StoreStats stats() const;
  Pin pin() const;                             // the current list
  const SharedManifest& pin_manifest() const;  // of the current list
  const std::string& dir() const;

  // Blocking. Side records in order of position (a later one of the same kind and id replaces an earlier one), then
  // every key that has a record not on a dead list, in key order, its revisions ascending. The compact revision is not
  // applied here: state().compact_revision tells the loader.
  Status load(mvcc::IndexLoader& loader) const;

  // One at a time (CHECK). `done(ok)`: state() and pin() are those of args from then on; the log may be released.
  void checkpoint(CheckpointArgs args, std::function<void(Status)> done);
  bool busy() const;  // a checkpoint, an install or the cleaner's swap is running

  // The encoded records at these positions (any order), in that order. kNotFound if a position lies in no segment;
  // kDataLoss for damage.
  using Records = std::vector<Bytes>;
  void read(Pin pin, std::vector<mvcc::Position> positions, std::function<void(Result<Records>)> done);

  // Records of [from, to] in order, at least one if there is any, about bytes_max.
  void scan(Pin pin, mvcc::Position from, mvcc::Position to, size_t bytes_max,
            std::function<void(Result<ScanResult>)> done);

  // --- snapshot to another member
  SnapshotInfo snapshot() const;
  // Part of file `index` of the snapshot; short only at its end.
  void read_file(const SnapshotInfo& snapshot, size_t index, uint64_t offset, size_t bytes,
                 std::function<void(Result<Bytes>)> done);

  // --- snapshot from another member
  // Checks the manifest; files then go through the Receiver, in any order, one at a time.
  Result<std::unique_ptr<Receiver>> receive(std::string_view shared_manifest);
  // All files verified: makes them this member's state. Writes a manifest marked "install". When done(ok): the caller
  // restarts the log at (applied, applied_term) and loads the new index. The old files go when no pin names them.
  void install(std::unique_ptr<Receiver> received, const raft::HardState& hard_state, uint64_t log_position,
               std::function<void(Status)> done);
  // After an install, once the restarted log is durable and before anything is acknowledged: writes down that the log
  // reaches `log_position` (Log::durable_position()), so that a log lost later is found out.
  void confirm_log(uint64_t log_position, std::function<void(Status)> done);

  class Core;  // store_core.h

 private:
  friend class Cleaner;
  friend class Receiver;
  explicit Store(std::shared_ptr<Core> core);
  std::shared_ptr<Core> core_;
};

// Files of a snapshot that is being fetched. Must not outlive its Store's loop; callbacks are dropped with the Store.
// Dropping it abandons them (removed at once or at the next start).
class Receiver {
 public:
  class Core;  // store_core.h
  ~Receiver();
  const SharedManifest& manifest() const;  // as received: numbers are the sender's
  size_t file_count() const;
  uint64_t file_size(size_t index) const;
  uint64_t received(size_t index) const;  // bytes written so far: where to go on after a broken connection
  bool complete() const;                  // every file is there, verified and synced

  // The next piece of file `index` (offset == received(index)); one write at a time. At the file's end it is synced and
  // checked against its hash: kDataLoss if it differs, then received(index) is 0 again under a new file.
  void write(size_t index, Bytes piece, std::function<void(Status)> done);

 private:
  friend class Store;
  explicit Receiver(std::shared_ptr<Core> core);
  std::shared_ptr<Core> core_;
};

}  // namespace fairlead::storage
