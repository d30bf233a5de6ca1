// A disk at the level of sectors, one per simulated machine; it outlives the machine's processes.
//
// Every file has two contents: what reads see, and what is durable. A write changes the first; sync() and a completed
// write_durable() bring the second up to it, the latter for its own blocks only. A killed process leaves both as they
// are: what it wrote unsynced is seen by the next one, and may be lost later. A power cut makes reads see what is
// durable, plus an arbitrary subset of the 512-byte sectors that were not: writes are lost, torn, and survive out of
// order. Changes to directories take effect in the order they were made; a power cut keeps a prefix of those not yet
// made durable by sync_dir(). Names are not made durable by syncing the file.
//
// A sector itself is never torn. A sector written twice since its last sync is kept in the newest form or the durable
// one, never in between.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/io/io.h"
#include "server/io/sim/prng.h"
#include "server/io/sim/scheduler.h"

namespace fairlead::io::sim {

constexpr size_t kSectorBytes = 512;

// Thrown by a disk call of a process whose planned crash point is reached, and caught where the simulation called the
// process. It stands for "the process is no more": nothing after that call runs.
struct ProcessGone {};

struct DiskFaults {
  Nanos write_latency = 100 * kMicrosecond;  // typical, of write_durable
  double slow_factor = 1.0;                  // multiplies latencies
  uint64_t capacity_bytes = 1ull << 40;
};

struct DiskStats {
  uint64_t reads = 0;
  uint64_t writes = 0;
  uint64_t durable_writes = 0;
  uint64_t syncs = 0;
  uint64_t bytes_written = 0;
  uint64_t sectors_lost = 0;  // by power cuts
  uint64_t names_lost = 0;    // directory changes undone by power cuts
};

// The machine's disk. SimDisk (below) is a process's view of it.
class DiskImage {
 public:
  DiskImage(Scheduler* scheduler, uint64_t seed);
  ~DiskImage();
  DiskImage(const DiskImage&) = delete;
  DiskImage& operator=(const DiskImage&) = delete;

  DiskFaults faults;
  const DiskStats& stats() const { return stats_; }

  void process_killed();  // forgets its locks; log writes in flight take effect in part, undurable
  void power_cut();
  void wipe();                                     // an empty disk: what a replaced machine has
  void make_durable_dir(const std::string& path);  // what was there before anybody came: a mounted volume

  // The process dies inside its n-th disk call from now that changes something (1 = the next), before that call
  // (`before`) or after it took effect. 0 = disarm.
  void crash_at_operation(uint64_t n, bool before) {
    crash_after_ = n;
    crash_before_ = before;
  }
  uint64_t operations() const { return operations_; }  // calls so far that could change something

  // Faults on demand. Paths that do not exist: kNotFound.
  void fail_next_sync(uint64_t count) { failing_syncs_ = count; }
  // EIO of the next `count` calls that write or reserve; what they were to write is there or not, by chance.
  void fail_next_write(uint64_t count) { failing_writes_ = count; }
  Status flip_bit(const std::string& path, uint64_t offset, int bit);
  Status set_unreadable(const std::string& path, uint64_t offset, uint64_t size);  // EIO until rewritten
  // All files, with sizes as reads see them.
  std::vector<std::pair<std::string, uint64_t>> files() const;
  uint64_t used_bytes() const;
  // What a read would give, faults aside; empty where there is nothing.
  std::string peek(const std::string& path, uint64_t offset, size_t size) const;

 private:
  friend class SimDisk;
  friend class SimFile;
  struct Node;
  struct NameChange {
    enum class Kind { kCreate, kRename, kRemove, kMakeDir } kind;
    std::string from, to;
    std::shared_ptr<Node> node;
  };
  using Tree = std::map<std::string, std::shared_ptr<Node>>;  // by full path

  struct InFlight {  // a durable write that has not completed
    uint64_t id;
    std::shared_ptr<Node> node;
    uint64_t offset;
    std::shared_ptr<AlignedBuffer> data;
    size_t size;
  };

  void change_name(NameChange change);
  static void apply(Tree& tree, const NameChange& change);
  static std::string parent_of(const std::string& path);
  bool is_directory(const std::string& path) const;
  Status check_space(uint64_t more) const;
  void lose_in_flight();

  Scheduler* scheduler_;
  Prng prng_;
  Tree seen_;
  Tree durable_;
  std::vector<NameChange> unsynced_names_;
  std::set<std::string> locks_;
  std::vector<InFlight> in_flight_;
  uint64_t next_write_ = 1;
  Nanos last_completion_ = 0;
  uint64_t crash_after_ = 0;
  bool crash_before_ = false;
  uint64_t operations_ = 0;
  uint64_t failing_syncs_ = 0;
  uint64_t failing_writes_ = 0;
  DiskStats stats_;
};

// A process's view of its machine's disk: the calls of io::Disk, for one life. Calls of a dead life have no effect.
// `complete` is how completions reach the process's loop.
std::unique_ptr<Disk> make_sim_disk(DiskImage* image, Life life, std::function<void(std::function<void()>)> complete);

}  // namespace fairlead::io::sim
