// Sees whether the loop still turns, from a thread of its own, and answers probes while it does not: a loop that stands
// accepts no connection, so the question "are you alive?" would hang instead of being answered with no.
//
// Once in kWatchdogLook it posts a closure to the loop. If that has not run for kWatchdogStall, of which only time
// counts in which this thread ran too (a process that was stopped, or a machine that slept, is no stalled loop), the
// thread says so in the log, takes connections from the listeners that were shared with it, reads one HTTP request of
// each and sends what `answer` gives, one after the other, until the loop turns again.
//
// Bounds: kWatchdogRequestBytesMax and kWatchdogRequestTime for a request.
// Threads: made, used and destroyed by the loop's; `answer` runs on the watchdog's.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "server/io/io.h"

namespace fairlead::io {

constexpr Nanos kWatchdogLook = kSecond;
constexpr Nanos kWatchdogStall = 5 * kSecond;
constexpr size_t kWatchdogRequestBytesMax = 8192;
constexpr Nanos kWatchdogRequestTime = kSecond;

class Watchdog {
 public:
  struct Options {
    Nanos look = kWatchdogLook;
    Nanos stall = kWatchdogStall;
  };
  // The whole HTTP response to a request for `path`, while the loop has stood for so long.
  using Answer = std::function<std::string(std::string_view path, Nanos stalled)>;

  Watchdog(Loop& loop, Logger& log, Answer answer, Options options);
  Watchdog(Loop& loop, Logger& log, Answer answer) : Watchdog(loop, log, std::move(answer), Options()) {}
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // A listening socket of plain HTTP, non-blocking; taken over.
  void share(int listening_fd);
  uint64_t stalls() const { return stalls_.load(std::memory_order_relaxed); }

 private:
  struct Beat {
    std::atomic<bool> came{true};
  };
  void run();
  void serve_some(Nanos stalled);
  void serve_one(int fd, Nanos stalled);

  Loop& loop_;
  Logger& log_;
  const Answer answer_;
  const Options options_;
  std::shared_ptr<Beat> beat_ = std::make_shared<Beat>();
  std::atomic<uint64_t> stalls_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;           // guarded by mutex_
  std::vector<int> listeners_;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace fairlead::io
