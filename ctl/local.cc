#include "ctl/local.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include "ctl/exit.h"
#include "server/io/real/world.h"

namespace fairlead::ctl {
namespace {

io::RealWorld& real_world() {
  static io::RealWorld& world = *[] {
    io::RealWorld::Options options;
    options.logger.level = io::LogLevel::kWarn;
    options.logger.console = true;
    Result<std::unique_ptr<io::RealWorld>> made = io::RealWorld::create(options);
    if (!made.is_ok()) fail(kExitError, std::string(made.status().message()));
    before_leaving = [] { real_world().logger().flush(io::kSecond); };
    return made->release();  // lives as long as the program
  }();
  return world;
}

// Waits in small steps, in all as long as --timeout says.
class Patience {
 public:
  explicit Patience(Context& context) : wait_(context.nanos("timeout")), end_(Clock::now() + wait_) {}
  bool wait() {
    if (wait_.count() > 0 && Clock::now() >= end_) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return true;
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::chrono::nanoseconds wait_;
  Clock::time_point end_;
};

}  // namespace

std::string errno_text() {
  std::string text = strerror(errno);
  if (!text.empty()) text[0] = static_cast<char>(tolower(text[0]));
  return text;
}

void must_be_there(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) fail(kExitError, "stat " + path + ": " + errno_text());
}

bool is_directory(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

io::World& local_world() {
  static io::World world = real_world().world();
  return world;
}
io::RealLoop& local_loop() { return real_world().loop(); }

std::string message_of(const Status& status) { return std::string(status.message()); }

uint64_t file_bytes(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

FileLock::FileLock(Context& context, const std::string& path, Kind kind) {
  fd_ = open(path.c_str(), (kind == Kind::kShared ? O_RDONLY : O_RDWR) | O_CLOEXEC);
  if (fd_ < 0) fail(kExitUnusable, "open " + path + ": " + errno_text());
  const int operation = (kind == Kind::kShared ? LOCK_SH : LOCK_EX) | LOCK_NB;
  Patience patience(context);
  while (flock(fd_, operation) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) fail(kExitUnusable, "lock " + path + ": " + errno_text());
    if (!patience.wait()) fail(kExitUnusable, path + " is in use: timeout");
  }
}
FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

std::string wait_for_directory(Context& context, const std::string& dir) {
  Patience patience(context);
  for (;;) {
    Result<std::unique_ptr<io::File>> lock = local_world().disk->lock(dir + "/LOCK");
    if (lock.is_ok()) return "";
    if (lock.code() != Code::kFailedPrecondition || !patience.wait()) return message_of(lock.status());
  }
}

}  // namespace fairlead::ctl
