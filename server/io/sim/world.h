// SimWorld: hosts, a network between them and a disk in each, in one thread, in virtual time, from one seed.
//
// A host is a machine: an address, a disk, a clock offset. On it runs at most one process at a time, started with
// start_process(), which gives the io::World to build a node from. The owner of the simulation holds that node and must
// destroy it when on_process_end tells; every event of the dead process is dropped, its sockets are gone, its disk
// keeps what it kept.
//
// The network carries byte streams as TCP does: in order, in pieces of any size, with backpressure. A link that is cut
// holds bytes back (they arrive after it heals, as retransmissions do); a reset breaks connections. Loss, repetition
// and reordering of whole messages above that are made by the owner through a message hook of the peer layer.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/io/io.h"
#include "server/io/sim/disk.h"
#include "server/io/sim/prng.h"
#include "server/io/sim/scheduler.h"

namespace fairlead::io::sim {

using HostId = uint32_t;

struct NetFaults {
  Nanos delay = 200 * kMicrosecond;  // typical, one way
  size_t window_bytes = 256 << 10;   // per direction of a stream: sent and not yet read
};

struct NetStats {
  uint64_t connections = 0;
  uint64_t refused = 0;
  uint64_t resets = 0;
  uint64_t bytes = 0;
  uint64_t pieces_held = 0;  // deliveries put off by a cut link
};

enum class End { kKill, kPowerCut };

class SimHost;
class SimNetwork;

class SimWorld {
 public:
  explicit SimWorld(uint64_t seed);
  ~SimWorld();
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;

  Scheduler& scheduler();
  Prng& prng();  // the owner's own stream of chance
  Nanos now() const;
  void run_for(Nanos duration);

  // Hosts. The address is a host name or number without a port: "10.0.0.1".
  HostId add_host(const std::string& address);
  DiskImage& disk(HostId host);
  // The host's clock gains so many microseconds in each second; not while a process runs there.
  void set_clock_drift(HostId host, int64_t ppm);
  bool running(HostId host) const;
  // The world of a new process on that host; none may be running there.
  World start_process(HostId host);
  // Ends the process. `on_process_end` is called before this returns, or, if it is called from within that process's
  // own callbacks, right after they have returned.
  void end_process(HostId host, End how);
  // Called when a process has ended, also by a planned crash point of its disk: destroy what was built on its World.
  std::function<void(HostId, End)> on_process_end;
  // How a process ends when it reaches its disk's crash point.
  void set_crash_point_end(End how);
  // Runs the closure as part of the host's process, in its next turn (dropped if it dies before).
  void post(HostId host, std::function<void()> closure);
  // The process does nothing until then (SIGSTOP, a stalled virtual machine); its clock goes on.
  void pause(HostId host, Nanos duration);
  Life life(HostId host) const;  // of the running process; null if none

  // Network. Links are one way; cutting both ways is two calls.
  NetFaults net_faults;
  void set_link(HostId from, HostId to, bool up);
  bool link_up(HostId from, HostId to) const;
  void clog_link(HostId from, HostId to, Nanos extra_delay);  // 0 = as usual
  void heal_all_links();
  void reset_connections(HostId a, HostId b);  // breaks them at both ends
  const NetStats& net_stats() const;

  // What processes log. Lines at or above `level` are kept (the last kLogLinesKept) and printed if set to.
  void set_log(LogLevel level, bool print);
  const std::vector<std::string>& log_lines() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::io::sim
