// Inside of Store and Receiver (store.h has the contract). Split by task: store.cc (start, face), store_load.cc (reads,
// scans, index load), store_checkpoint.cc, store_snapshot.cc.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/storage/dead_list.h"
#include "server/storage/manifest.h"
#include "server/storage/segment_reader.h"
#include "server/storage/store.h"

namespace fairlead::storage {

// Removes files that nobody uses any more, on a worker, a large one in steps: freeing many blocks at once would hold up
// the file system's journal, and with it the log. Told from any thread; after close() it forgets (the next start
// removes what is left).
class Reaper : public std::enable_shared_from_this<Reaper> {
 public:
  Reaper(io::World& world, uint64_t step_bytes) : world_(world), step_bytes_(step_bytes) {}
  void remove(std::string path);  // any thread
  void close();

 private:
  void drain();
  void remove_step();  // on a worker: takes a step at the last of removing_
  io::World world_;
  const uint64_t step_bytes_;
  std::vector<std::string> removing_;  // of the worker that is at it
  std::mutex mutex_;
  std::vector<std::string> paths_;  // guarded by mutex_
  bool posted_ = false;             // guarded by mutex_
  bool closed_ = false;             // guarded by mutex_
};

// A file that the durable manifest names, or named: removed with the last reference, once doomed.
class FileGuard {
 public:
  FileGuard(std::shared_ptr<Reaper> reaper, std::string path) : reaper_(std::move(reaper)), path_(std::move(path)) {}
  ~FileGuard() {
    if (doomed_.load(std::memory_order_acquire)) reaper_->remove(std::move(path_));
  }
  FileGuard(const FileGuard&) = delete;
  FileGuard& operator=(const FileGuard&) = delete;
  void spare() { doomed_.store(false, std::memory_order_release); }
  void doom() { doomed_.store(true, std::memory_order_release); }

 private:
  std::shared_ptr<Reaper> reaper_;
  std::string path_;
  std::atomic<bool> doomed_{false};
};

// What a manifest names, opened. Immutable.
class SegmentList {
 public:
  struct Segment {
    SegmentInfo info;
    std::shared_ptr<FileGuard> guard;  // before the reader: the file is closed before it is removed
    std::shared_ptr<const SegmentReader> reader;
  };
  struct DeadFile {
    DeadFileInfo info;
    std::shared_ptr<FileGuard> guard;
  };
  SharedManifest shared;
  std::vector<Segment> segments;  // as in shared
  std::vector<DeadFile> dead_files;
  size_t key_segments = 0;  // the first ones

  // The key segment whose interval holds the place, or the first one behind it.
  size_t find(Place place) const;
};

class Store::Core : public std::enable_shared_from_this<Store::Core> {
 public:
  Core(io::World& world, OpenArgs args)
      : world_(world),
        dir_(std::move(args.dir)),
        log_dir_(args.log_dir.empty() ? dir_ + "/log" : std::move(args.log_dir)),
        options_(args.options),
        reaper_(std::make_shared<Reaper>(world, args.options.reap_step_bytes)) {}

  // --- start (blocking)
  Status begin(const OpenArgs& args, bool& first_start);
  Status lock_log(bool first_start);
  Status make_first(const OpenArgs& args);
  Status take_existing(const OpenArgs& args);
  Status remove_orphans();
  Status join_log(RecoveredLog& recovered, bool first_start);
  Status check_log(const RecoveredLog& recovered, bool& restart) const;

  // Opens what `shared` names; files that `previous` has open are taken from it. Blocking, any thread.
  Result<std::shared_ptr<SegmentList>> open_list(const SharedManifest& shared, const SegmentList* previous) const;
  // Loop: `list` is durable; what it does not name may go.
  void adopt(Manifest manifest, std::shared_ptr<SegmentList> list);

  uint64_t take_number() { return next_file_.fetch_add(1); }  // any thread

  Status load(mvcc::IndexLoader& loader) const;
  void checkpoint(CheckpointArgs args, std::function<void(Status)> done);
  void note_result(const Status& status) {
    if (status.code() == Code::kDataLoss) ++damage_found_;
  }

  io::World world_;
  const std::string dir_;
  const std::string log_dir_;
  const StoreOptions options_;
  std::shared_ptr<Reaper> reaper_;
  std::unique_ptr<io::File> lock_;
  std::unique_ptr<io::File> log_lock_;  // where the log is elsewhere
  Manifest manifest_;                   // durable
  Pin list_;
  Identity identity_;
  StoreState state_;
  std::atomic<uint64_t> next_file_{1};
  bool busy_ = false;
  bool closed_ = false;  // the Store is gone: nobody waits for results any more
  uint64_t checkpoints_ = 0;
  double checkpoint_seconds_ = 0;
  uint64_t damage_found_ = 0;
  mutable std::atomic<uint64_t> block_reads_{0};
};

class Receiver::Core {
 public:
  struct File {
    bool segment = false;
    uint64_t number = 0;  // ours
    uint64_t size_bytes = 0;
    uint64_t received = 0;
    bool done = false;
    std::shared_ptr<io::File> file;
    std::shared_ptr<FileGuard> guard;
  };
  std::shared_ptr<Store::Core> store;
  SharedManifest manifest;
  std::vector<File> files;
  bool writing = false;

  void start_over(File& file);  // loop: under a fresh number
  SharedManifest renumbered() const;
};

// Any thread, blocking.
Status load_list(io::Disk& disk, const std::string& dir, const SegmentList& list, mvcc::IndexLoader& loader, bool keys);
Result<Store::Records> read_records(const SegmentList& list, const std::vector<mvcc::Position>& positions,
                                    std::atomic<uint64_t>& block_reads);
Result<ScanResult> scan_records(io::Disk& disk, const std::string& dir, const SegmentList& list, mvcc::Position from,
                                mvcc::Position to, size_t bytes_max, std::atomic<uint64_t>& block_reads);

// Segment ids distinct from every other one's, drawn from one seed: workers have no randomness.
inline uint64_t mixed_id(uint64_t& seed) {
  uint64_t z = seed += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}
// Dead files that no segment refers to are not named any more.
void drop_unused_dead_files(SharedManifest& manifest);

inline Status fatal(const Status& status) {
  return status.is_ok() ? status : internal_error("fatal: " + status.to_string());
}

}  // namespace fairlead::storage
