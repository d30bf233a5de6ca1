// For tools on a data directory that no process uses.
//
// What is seen is what the durable manifest names, the state of the last checkpoint: entries of the log behind it are
// for the next start to apply.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "server/storage/cleaner.h"
#include "server/storage/log.h"
#include "server/storage/store.h"

namespace fairlead::storage {

// Whether a directory is a member's: its data, or its log alone (--wal-dir), which all that follows refuses by name.
bool is_data_directory(io::Disk& disk, const std::string& dir);

// To look at; nothing is written but LOCK. Blocking. kFailedPrecondition while another process uses it.
struct Resting {
  std::unique_ptr<io::File> lock;  // held as long as the list is read
  Pin pin;
  int64_t revision = 1;
  int64_t compact_revision = -1;
};
Result<Resting> open_resting(io::World& world, const std::string& dir);

// A forced round of the cleaner over everything that the manifest lists as dead, as fast as it goes, and the removal of
// what is not needed any more. Counts as a start of the member (start_counter): the log is recovered as for one.
// Threads: the loop, which the caller runs until `done`.
class OfflineClean {
 public:
  struct Report {
    uint64_t bytes_before = 0;  // of segments and dead lists
    uint64_t bytes_after = 0;
    uint64_t bytes_log = 0;  // which cleaning does not touch
    uint64_t bytes_copied = 0;
    uint64_t records_dropped = 0;
  };
  static Result<std::unique_ptr<OfflineClean>> open(const io::World& world, const std::string& dir);
  void run(std::function<void(Status)> done);  // once
  Report report() const;

 private:
  explicit OfflineClean(const io::World& world) : world_(world) {}
  void look();
  void end(const Status& status);
  bool orphans_left() const;

  io::World world_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<Cleaner> cleaner_;
  uint64_t bytes_before_ = 0;
  bool round_over_ = false;
  Status fatal_;
  io::Nanos over_at_ = 0;
  std::function<void(Status)> done_;
};

}  // namespace fairlead::storage
