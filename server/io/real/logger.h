// JSON lines as etcd writes them, to a descriptor, by a thread of their own: a blocked stderr stops no heartbeat.
//
// The queue is bounded. When it is full, lines below error are dropped and counted; error lines have a reserve of their
// own, beyond which they are dropped and counted too. The count is reported as soon as the sink takes lines again.
// Threads: log() from any.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "server/io/io.h"
#include "server/io/real/log_sink.h"

namespace fairlead::io {

constexpr size_t kLogQueueBytesMax = 1 << 20;
constexpr size_t kLogQueueErrorReserveBytes = 256 << 10;

// "2026-11-21T15:04:05.000000Z"; microseconds since the Unix epoch.
std::string format_log_time(int64_t unix_micros);
// One line without the newline. A field named "caller" takes the place of the default caller.
std::string format_log_line(LogLevel level, std::string_view time, std::string_view caller, std::string_view message,
                            std::initializer_list<Field> fields);
// The same for people: time, level, caller, message and the fields as JSON, with tabs between.
std::string format_console_line(LogLevel level, std::string_view time, std::string_view caller,
                                std::string_view message, std::initializer_list<Field> fields);
// "debug", "info", "warn", "error", "panic", "fatal" as etcd's --log-level takes them.
Result<LogLevel> parse_log_level(std::string_view name);
std::string_view log_level_name(LogLevel level);

class RealLogger final : public Logger {
 public:
  struct Options {
    int fd = 2;  // not closed
    LogLevel level = LogLevel::kInfo;
    std::string caller = "fairlead";
    size_t queue_bytes_max = kLogQueueBytesMax;
    bool console = false;                     // --log-format: lines for people instead of JSON
    std::shared_ptr<LogSink> sink = nullptr;  // in the place of fd
  };
  explicit RealLogger(Options options);
  ~RealLogger() override;  // writes what is queued, giving a blocked sink at most a second

  void log(LogLevel level, std::string_view message, std::initializer_list<Field> fields) override;
  bool enabled(LogLevel level) const override { return level >= level_.load(std::memory_order_relaxed); }
  LogLevel level() const { return level_.load(std::memory_order_relaxed); }
  void set_level(LogLevel level) { level_.store(level, std::memory_order_relaxed); }
  uint64_t dropped_lines() const { return dropped_.load(std::memory_order_relaxed); }
  // Waits until the queue is written or the time is up; true if it is empty.
  bool flush(Nanos wait_max);

  // Failed CHECKs are logged through this logger (at fatal) before the process aborts. One logger at a time.
  void install_check_handler();

 private:
  void write_loop();

  std::string line(LogLevel level, std::string_view message, std::initializer_list<Field> fields) const;

  const Options options_;
  std::shared_ptr<LogSink> sink_;
  std::atomic<LogLevel> level_;
  std::atomic<uint64_t> dropped_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable drained_;
  std::deque<std::string> queue_;  // guarded by mutex_
  size_t queue_bytes_ = 0;         // of queue_ and of what the writer holds; guarded by mutex_
  uint64_t dropped_reported_ = 0;  // the writer's
  std::atomic<bool> stop_{false};
  std::thread writer_;
};

}  // namespace fairlead::io
