// Where log lines go: descriptors and files, one or several; a file may be rotated by size.
//
// Rotation follows etcd's (--log-rotation-config-json): a file that would grow over maxsize is renamed to
// NAME-2006-01-02T15-04-05.000.EXT and a new one is begun; backups over maxbackups or older than maxage days go;
// compress makes them .gz. A file that cannot be opened anew is told on stderr and the old one goes on.
//
// Threads: the logger's writer only. A descriptor may block for as long as it likes; `stop` ends that.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::io {

struct LogRotation {
  int64_t size_bytes_max = 100 << 20;
  int64_t age_days_max = 0;  // 0 = no limit
  int64_t backups_max = 0;   // 0 = no limit
  bool local_time = false;
  bool compress = false;
};

class LogSink {
 public:
  // Each of "stderr", "stdout" or a path to append to. Rotation needs exactly one path.
  static Result<LogSink> open(const std::vector<std::string>& outputs, const LogRotation* rotation);
  explicit LogSink(int fd) { targets_.push_back({fd, "", 0}); }
  LogSink(LogSink&&) noexcept;
  LogSink& operator=(LogSink&&) = delete;
  ~LogSink();

  // Whole lines. False: given up because of `stop`.
  bool write(std::string_view lines, const std::atomic<bool>& stop);

 private:
  struct Target {
    int fd;
    std::string path;  // empty: not ours to close
    int64_t size_bytes;
  };
  LogSink() = default;
  bool write_to(Target& target, std::string_view bytes, const std::atomic<bool>& stop);
  void rotate(Target& target);
  void remove_old(const std::string& path);

  std::vector<Target> targets_;
  bool rotates_ = false;
  LogRotation rotation_;
};

}  // namespace fairlead::io
