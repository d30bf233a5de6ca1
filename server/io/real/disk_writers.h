// The ways of making a log write durable off the loop; RealDisk picks one. Internal to the real side.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "server/io/io.h"
#include "server/io/real/loop.h"

namespace fairlead::io {

class LogWriter {
 public:
  virtual ~LogWriter() = default;  // waits for what is at the kernel; completions not yet told are dropped
  // On the loop; `done` on the loop, in order of submission. `path` names the file in errors.
  virtual void write(int fd, const std::string& path, uint64_t offset, std::shared_ptr<AlignedBuffer> data, size_t size,
                     std::function<void(Status)> done) = 0;
  virtual std::string_view mode() const = 0;
};

// An error if the kernel refuses io_uring, or a write by it that is durable on completion.
Result<std::unique_ptr<LogWriter>> make_uring_writer(RealLoop* loop);
std::unique_ptr<LogWriter> make_thread_writer(RealLoop* loop);

}  // namespace fairlead::io
