// The only door to the operating system. Everything above it is driven by calls and returns values; clock, network,
// disk, randomness, worker threads and the log sink are reached through the interfaces of this header alone. Each has a
// real side (server/io/real) and a simulated side (server/io/sim) that is deterministic from one seed.
//
// Threads: one loop thread owns everything. All callbacks run on the loop, never inside the call that registered them.
// Exceptions: the blocking File and Disk calls may be made from a Workers closure (and from the loop only while
// starting), and Logger may be called from any thread.
//
// Turns: the loop works in turns. A turn runs all callbacks that are ready (streams, timers, completions, posts), then
// the turn hooks in the order of registration (node first, then the sessions flush), then sleeps until something is
// ready or the earliest timer is due. now() is read once per turn.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace fairlead::io {

using Nanos = int64_t;  // monotonic time or a duration, in nanoseconds
constexpr Nanos kMicrosecond = 1000;
constexpr Nanos kMillisecond = 1000 * kMicrosecond;
constexpr Nanos kSecond = 1000 * kMillisecond;

using TimerId = uint64_t;  // 0 = none; never reused

class Loop {
 public:
  virtual ~Loop() = default;
  virtual Nanos now() const = 0;          // monotonic, fixed within a turn
  virtual Nanos now_precise() const = 0;  // monotonic, read anew: for measuring the length of a turn
  virtual int64_t wall_ms() const = 0;    // Unix milliseconds: for stamping proposals only, never in apply
  virtual TimerId add_timer(Nanos at, std::function<void()> callback) = 0;  // one shot
  virtual void cancel_timer(TimerId id) = 0;                                // unknown or fired: no effect
  // Runs the closure in the next turn. Also the one call that may come from another thread (wakes the loop).
  virtual void post(std::function<void()> closure) = 0;
  // Called at the end of every turn, in order of registration. Returns a handle for remove_turn_hook.
  virtual uint64_t add_turn_hook(std::function<void()> hook) = 0;
  virtual void remove_turn_hook(uint64_t handle) = 0;
};

// --- network -------------------------------------------------------------------------------------------------------

struct IoResult {
  size_t bytes = 0;          // bytes moved
  bool would_block = false;  // nothing more for now; a callback tells when to go on
  bool eof = false;          // orderly end (read only)
  Status error = {};         // the stream is dead
};

class StreamHandler {
 public:
  virtual ~StreamHandler() = default;
  virtual void on_connected() {}   // outgoing streams: the connection stands
  virtual void on_readable() = 0;  // level-triggered once a turn: data, end or error is there to be read()
  virtual void on_writable() {}    // after a would_block write: there is room again
};

// A byte stream. Closing destroys nothing the owner holds: the owner deletes the object, which closes it at once.
// A stream whose connect failed becomes readable and read() gives the error.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual void set_handler(StreamHandler* handler) = 0;  // must outlive the stream or be replaced; null = paused
  virtual IoResult read(std::span<char> into) = 0;
  virtual IoResult writev(std::span<const std::string_view> parts) = 0;
  virtual void shutdown_write() = 0;  // half close
  virtual void pause_reading(bool paused) = 0;
  virtual std::string peer_address() const = 0;
  virtual std::string local_address() const = 0;
};

class Listener {
 public:
  virtual ~Listener() = default;            // stops listening
  virtual std::string address() const = 0;  // with the port that was taken if 0 was asked for
};

class Net {
 public:
  virtual ~Net() = default;
  // address: "host:port", "[v6]:port" or "unix:PATH". Names are resolved by connect off the loop.
  virtual Result<std::unique_ptr<Listener>> listen(const std::string& address,
                                                   std::function<void(std::unique_ptr<Stream>)> on_accept) = 0;
  virtual std::unique_ptr<Stream> connect(const std::string& address) = 0;
};

// --- disk ----------------------------------------------------------------------------------------------------------

constexpr size_t kDiskBlockBytes = 4096;

// Memory for direct writes: aligned to and sized in kDiskBlockBytes.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t size);  // zero filled; size rounded up to whole blocks
  char* data() const { return memory_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(char* p) const;
  };
  std::unique_ptr<char, Free> memory_;
  size_t size_ = 0;
};

class File {
 public:
  virtual ~File() = default;  // closes
  // Blocking calls: workers, or the loop while starting.
  virtual Result<size_t> read_at(uint64_t offset, std::span<char> into) const = 0;  // short only at the end of file
  virtual Status write_at(uint64_t offset, std::string_view data) = 0;
  virtual Status sync() = 0;                  // data and size durable (fdatasync)
  virtual Status reserve(uint64_t size) = 0;  // blocks allocated, file size = size
  virtual Status truncate(uint64_t size) = 0;
  virtual Result<uint64_t> size() const = 0;
  // Writes whole blocks and makes them durable, off the loop (io_uring, or a log thread); `done` runs on the loop.
  // Completions come in the order of submission. The file must stay open until then. Only for files opened with
  // OpenMode::kLog.
  virtual void write_durable(uint64_t offset, std::shared_ptr<AlignedBuffer> data, size_t size,
                             std::function<void(Status)> done) = 0;
};

enum class OpenMode {
  kRead,       // must exist
  kReadWrite,  // must exist
  kCreate,     // must not exist
  kLog,        // read and write, created if absent; write_durable allowed (direct where the file system can)
};

class Disk {
 public:
  virtual ~Disk() = default;
  virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) = 0;
  virtual Status make_dirs(const std::string& path) = 0;  // with parents, mode 0700
  virtual Status rename(const std::string& from, const std::string& to) = 0;
  virtual Status remove(const std::string& path) = 0;
  virtual Status sync_dir(const std::string& path) = 0;
  virtual Result<std::vector<std::string>> list(const std::string& path) = 0;  // names, sorted
  virtual bool exists(const std::string& path) = 0;
  virtual Result<uint64_t> free_bytes(const std::string& path) = 0;
  // Exclusive for the life of the returned object; a second process is refused with a clear error.
  virtual Result<std::unique_ptr<File>> lock(const std::string& path) = 0;
  virtual std::string_view log_mode() const = 0;  // "uring", "pwrite", "pwrite-buffered", "sim"
};

// --- the rest ------------------------------------------------------------------------------------------------------

class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t next() = 0;  // 64 uniform bits, unpredictable on the real side
};

// Long work off the loop. Bounded: more than kWorkersQueueMax waiting jobs is a bug of the caller (CHECK).
constexpr size_t kWorkersQueueMax = 4096;
class Workers {
 public:
  virtual ~Workers() = default;
  // `work` runs on a worker thread and must not touch loop state; then `done` runs on the loop.
  virtual void run(std::function<void()> work, std::function<void()> done) = 0;
};

enum class LogLevel : uint8_t { kDebug, kInfo, kWarn, kError, kFatal };

struct Field {
  std::string_view key;
  std::variant<int64_t, uint64_t, double, bool, std::string_view> value;
  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  Field(std::string_view k, const char* v) : key(k), value(std::string_view(v)) {}
  Field(std::string_view k, const std::string& v) : key(k), value(std::string_view(v)) {}
  Field(std::string_view k, bool v) : key(k), value(v) {}
  Field(std::string_view k, double v) : key(k), value(v) {}
  template <std::signed_integral I>
  Field(std::string_view k, I v) : key(k), value(int64_t{v}) {}
  template <std::unsigned_integral I>
  Field(std::string_view k, I v) : key(k), value(uint64_t{v}) {}
};

// JSON lines in etcd's shape: {"level":"info","ts":"...","caller":"...","msg":"...",...}. Never blocks the caller: a
// bounded queue and a writer thread; when full, lines below error are dropped and counted.
class Logger {
 public:
  virtual ~Logger() = default;
  virtual void log(LogLevel level, std::string_view message, std::initializer_list<Field> fields) = 0;
  virtual bool enabled(LogLevel level) const = 0;
  void debug(std::string_view m, std::initializer_list<Field> f = {}) {
    if (enabled(LogLevel::kDebug)) log(LogLevel::kDebug, m, f);
  }
  void info(std::string_view m, std::initializer_list<Field> f = {}) {
    if (enabled(LogLevel::kInfo)) log(LogLevel::kInfo, m, f);
  }
  void warn(std::string_view m, std::initializer_list<Field> f = {}) {
    if (enabled(LogLevel::kWarn)) log(LogLevel::kWarn, m, f);
  }
  void error(std::string_view m, std::initializer_list<Field> f = {}) { log(LogLevel::kError, m, f); }
};

// One world: what a node is given. The real one is made by server/io/real, a simulated one per member by server/io/sim.
struct World {
  Loop* loop = nullptr;
  Net* net = nullptr;
  Disk* disk = nullptr;
  Random* random = nullptr;
  Workers* workers = nullptr;
  Logger* log = nullptr;
};

}  // namespace fairlead::io
