// One process's connection to the simulated API server, with faults on demand. Each (re)started operator of a test gets
// a client of its own: after a crash fault every call of that client says kCancelled and nothing is executed any more.
//
// Faults are a script, not chance: "at the n-th write (read, watch event) do this". A test first runs without faults,
// reads writes(), reads(), events(), and then loops over every index and kind.
//
// Threads: from any; but a script means something only when calls come in a repeatable order, so: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "operator/kube/api.h"
#include "operator/sim/server.h"

namespace fairlead::apisim {

enum class FaultKind : uint8_t {
  kCrashBefore,      // write: not executed, the client is stopped
  kCrashAfter,       // write: executed, the answer is lost, the client is stopped
  kConflict,         // write: not executed, kAborted as if another had written first
  kTimeoutApplied,   // write: executed, kDeadlineExceeded
  kTimeoutLost,      // write: not executed, kDeadlineExceeded
  kUnavailable,      // write: not executed, kUnavailable
  kReadUnavailable,  // get, list: kUnavailable
  kStale,            // get, list: answered from the state `depth` changes ago
  kLoseEvent,        // watch: the event is not delivered
  kRepeatEvent,      // watch: the event is delivered twice
  kBreakWatch,       // watch: ends with kUnavailable before the event
};
std::string_view fault_name(FaultKind kind);
bool is_write_fault(FaultKind kind);

// What to do at the `index`-th (from 1) operation of its sort. Writes, reads (get and list) and delivered watch events
// (bookmarks not counted) are counted apart.
struct Fault {
  FaultKind kind = FaultKind::kUnavailable;
  uint64_t index = 0;
  uint64_t depth = 1;             // kStale
  std::string to_string() const;  // "crash-after@3": what a failing test prints
};
// The form to_string() writes, several separated by commas: replays a failing script.
Result<std::vector<Fault>> parse_faults(std::string_view text);

class Client : public kube::Api {
 public:
  Client(Server& server, std::string name, std::vector<Fault> script = {});

  Result<Json> call(const Request& request) override;
  Status watch(const Gvr& gvr, const kube::WatchOptions& options, const kube::WatchHandler& handler,
               std::stop_token stop) override;

  // Every read from now on is `depth` changes old (0: fresh): an operator restarted behind a lagging API server.
  void set_stale_depth(uint64_t depth);
  // Stops the client now, as a crash between two calls.
  void crash();
  bool crashed() const;
  uint64_t writes() const;
  uint64_t reads() const;
  uint64_t events() const;
  // Faults of the script that happened; a test that expects one checks that it did.
  uint64_t faults_hit() const;

 private:
  Result<Json> write_with_fault(const Request& request, FaultKind kind);

  Server& server_;
  const std::string name_;
  mutable std::mutex mutex_;
  // all below: guarded by mutex_
  std::vector<Fault> script_;
  uint64_t stale_depth_ = 0;
  bool crashed_ = false;
  uint64_t writes_ = 0, reads_ = 0, events_ = 0, hits_ = 0;
};

// The faults worth trying at each of `writes` writes and `reads` reads, one at a time: the crash matrix.
std::vector<Fault> every_single_fault(uint64_t writes, uint64_t reads, uint64_t stale_depth_max);
// `count` faults drawn from a seed, for longer runs.
std::vector<Fault> random_faults(uint64_t seed, size_t count, uint64_t writes, uint64_t reads, uint64_t events);

}  // namespace fairlead::apisim
