// Files of the real file system, and durable log writes off the loop.
//
// Log writes go by io_uring where the kernel allows it (container runtimes' seccomp profiles often do not), else by one
// thread with pwritev2(RWF_DSYNC), else by pwrite and fdatasync. Which one is probed once, at create(). A log file is
// opened O_DIRECT where the file system can, else buffered; both are durable at completion.
// A failed write is reported once and never tried again: after a failed sync the kernel may have dropped the pages.
#pragma once

#include <memory>
#include <string>

#include "server/io/io.h"
#include "server/io/real/loop.h"

namespace fairlead::io {

enum class LogIo { kAuto, kUring, kPwrite };
Result<LogIo> parse_log_io(std::string_view name);  // "auto", "uring", "pwrite"

constexpr unsigned kUringDepth = 64;               // log writes at the kernel at once
constexpr size_t kDurableWritesWaitingMax = 4096;  // log writes waiting; more is a bug of the caller (CHECK)

class LogWriter;  // disk_writers.h

class RealDisk final : public Disk {
 public:
  // Fails if `log_io` is kUring and the kernel refuses io_uring.
  static Result<std::unique_ptr<RealDisk>> create(RealLoop* loop, LogIo log_io);
  ~RealDisk() override;

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  Status make_dirs(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Status sync_dir(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& path) override;
  bool exists(const std::string& path) override;
  Result<uint64_t> free_bytes(const std::string& path) override;
  Result<std::unique_ptr<File>> lock(const std::string& path) override;
  std::string_view log_mode() const override;  // "uring", "pwrite" or "pwrite-buffered"

 private:
  explicit RealDisk(std::unique_ptr<LogWriter> writer);
  std::unique_ptr<LogWriter> writer_;
};

}  // namespace fairlead::io
