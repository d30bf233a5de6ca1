#include "server/io/real/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "server/io/real/disk_writers.h"

namespace fairlead::io {
namespace {

constexpr size_t kBounceBytes = 1 << 20;

std::string at(const std::string& path, uint64_t offset) { return path + " at " + std::to_string(offset); }

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

Result<size_t> pread_all(int fd, const std::string& path, uint64_t offset, char* into, size_t size) {
  size_t done = 0;
  while (done < size) {
    ssize_t n = pread(fd, into + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("read of " + at(path, offset + done), errno);
    if (n == 0) break;
    done += static_cast<size_t>(n);
    if (n % kDiskBlockBytes != 0 && done < size) {
      // A direct read may not go on from an odd place; only the end of the file ends a read there.
      struct stat info;
      if (fstat(fd, &info) == 0 && offset + done >= static_cast<uint64_t>(info.st_size)) break;
    }
  }
  return done;
}

// A log file has two descriptors where direct access works: the direct one for durable writes and for reads (what the
// disk holds, not what a cache remembers), the buffered one for everything whose place and size need not be aligned.
class RealFile final : public File {
 public:
  RealFile(std::string path, Descriptor fd, Descriptor direct, LogWriter* writer)
      : path_(std::move(path)), fd_(std::move(fd)), direct_(std::move(direct)), writer_(writer) {}

  Result<size_t> read_at(uint64_t offset, std::span<char> into) const override {
    if (!direct_) return pread_all(fd_.get(), path_, offset, into.data(), into.size());
    return read_direct(offset, into);
  }

  Status write_at(uint64_t offset, std::string_view data) override {
    size_t done = 0;
    while (done < data.size()) {
      ssize_t n = pwrite(fd_.get(), data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return io_error("write of " + at(path_, offset + done), n < 0 ? errno : EIO);
      done += static_cast<size_t>(n);
    }
    return Status::ok();
  }

  Status sync() override { return fdatasync(fd_.get()) == 0 ? Status::ok() : io_error("sync of " + path_, errno); }

  Status reserve(uint64_t size) override {
    ASSIGN_OR_RETURN(uint64_t present, this->size());
    if (present > size) RETURN_IF_ERROR(truncate(size));
    if (size == 0) return Status::ok();
    int error = fallocate(fd_.get(), 0, 0, static_cast<off_t>(size)) == 0 ? 0 : errno;
    if (error == EOPNOTSUPP) error = posix_fallocate(fd_.get(), 0, static_cast<off_t>(size));
    return error == 0 ? Status::ok() : io_error("reserve " + std::to_string(size) + " bytes for " + path_, error);
  }

  Status truncate(uint64_t size) override {
    return ftruncate(fd_.get(), static_cast<off_t>(size)) == 0 ? Status::ok() : io_error("truncate " + path_, errno);
  }

  Result<uint64_t> size() const override {
    struct stat info;
    if (fstat(fd_.get(), &info) != 0) return io_error("stat " + path_, errno);
    return static_cast<uint64_t>(info.st_size);
  }

  void write_durable(uint64_t offset, std::shared_ptr<AlignedBuffer> data, size_t size,
                     std::function<void(Status)> done) override {
    CHECK(writer_ != nullptr, "write_durable needs a file opened with OpenMode::kLog");
    CHECK(offset % kDiskBlockBytes == 0 && size % kDiskBlockBytes == 0 && size > 0 && size <= data->size(),
          "durable writes are whole blocks");
    writer_->write(direct_ ? direct_.get() : fd_.get(), path_, offset, std::move(data), size, std::move(done));
  }

 private:
  Result<size_t> read_direct(uint64_t offset, std::span<char> into) const {
    AlignedBuffer bounce(std::min(into.size() + 2 * kDiskBlockBytes, kBounceBytes));
    size_t done = 0;
    while (done < into.size()) {
      uint64_t block = (offset + done) / kDiskBlockBytes * kDiskBlockBytes;
      size_t skip = offset + done - block;
      ASSIGN_OR_RETURN(size_t n, pread_all(direct_.get(), path_, block, bounce.data(), bounce.size()));
      if (n <= skip) break;
      size_t take = std::min(n - skip, into.size() - done);
      std::memcpy(into.data() + done, bounce.data() + skip, take);
      done += take;
      if (n < bounce.size()) break;
    }
    return done;
  }

  std::string path_;
  Descriptor fd_;
  Descriptor direct_;
  LogWriter* writer_;
};

int open_flags(OpenMode mode) {
  switch (mode) {
    case OpenMode::kRead:
      return O_RDONLY;
    case OpenMode::kReadWrite:
      return O_RDWR;
    case OpenMode::kCreate:
      return O_RDWR | O_CREAT | O_EXCL;
    case OpenMode::kLog:
      return O_RDWR | O_CREAT;
  }
  return O_RDONLY;
}

Status open_error(const std::string& path, int error) {
  if (error == ENOENT) return not_found("open " + path + ": no such file");
  if (error == EEXIST) return {Code::kAlreadyExists, "open " + path + ": exists already"};
  return io_error("open " + path, error);
}

}  // namespace

Result<LogIo> parse_log_io(std::string_view name) {
  if (name == "auto") return LogIo::kAuto;
  if (name == "uring") return LogIo::kUring;
  if (name == "pwrite") return LogIo::kPwrite;
  return invalid_argument("log io must be auto, uring or pwrite, not \"" + std::string(name) + "\"");
}

RealDisk::RealDisk(std::unique_ptr<LogWriter> writer) : writer_(std::move(writer)) {}
RealDisk::~RealDisk() = default;
std::string_view RealDisk::log_mode() const { return writer_->mode(); }

Result<std::unique_ptr<RealDisk>> RealDisk::create(RealLoop* loop, LogIo log_io) {
  std::unique_ptr<LogWriter> writer;
  if (log_io != LogIo::kPwrite) {
    auto uring = make_uring_writer(loop);
    if (uring.is_ok())
      writer = *std::move(uring);
    else if (log_io == LogIo::kUring)
      return uring.status();
  }
  if (!writer) writer = make_thread_writer(loop);
  return std::unique_ptr<RealDisk>(new RealDisk(std::move(writer)));
}

Result<std::unique_ptr<File>> RealDisk::open(const std::string& path, OpenMode mode) {
  Descriptor fd(::open(path.c_str(), open_flags(mode) | O_CLOEXEC, 0600));
  if (!fd) return open_error(path, errno);
  Descriptor direct;
  if (mode == OpenMode::kLog) {
    direct = Descriptor(::open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
    if (!direct && errno != EINVAL) return open_error(path, errno);
  }
  LogWriter* writer = mode == OpenMode::kLog ? writer_.get() : nullptr;
  return std::unique_ptr<File>(new RealFile(path, std::move(fd), std::move(direct), writer));
}

Status RealDisk::make_dirs(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    std::string part = path.substr(0, end);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return io_error("make directory " + part, errno);
    if (end == std::string::npos) break;
  }
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return io_error("make directory " + path, errno);
  return S_ISDIR(info.st_mode) ? Status::ok() : io_error("make directory " + path, ENOTDIR);
}

Status RealDisk::rename(const std::string& from, const std::string& to) {
  return ::rename(from.c_str(), to.c_str()) == 0 ? Status::ok() : io_error("rename " + from + " to " + to, errno);
}

Status RealDisk::remove(const std::string& path) {
  if (std::remove(path.c_str()) == 0) return Status::ok();
  if (errno == ENOENT) return not_found("remove " + path + ": no such file");
  return io_error("remove " + path, errno);
}

Status RealDisk::sync_dir(const std::string& path) {
  Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return open_error(path, errno);
  return fsync(fd.get()) == 0 ? Status::ok() : io_error("sync of directory " + path, errno);
}

Result<std::vector<std::string>> RealDisk::list(const std::string& path) {
  DIR* dir = opendir(path.c_str());
  if (dir == nullptr) return open_error(path, errno);
  std::vector<std::string> names;
  errno = 0;
  while (dirent* entry = readdir(dir)) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
    errno = 0;
  }
  int error = errno;
  closedir(dir);
  if (error != 0) return io_error("list " + path, error);
  std::sort(names.begin(), names.end());
  return names;
}

bool RealDisk::exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

Result<uint64_t> RealDisk::free_bytes(const std::string& path) {
  struct statvfs info;
  if (statvfs(path.c_str(), &info) != 0) return io_error("free space of " + path, errno);
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

Result<std::unique_ptr<File>> RealDisk::lock(const std::string& path) {
  Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return open_error(path, errno);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return failed_precondition(path + " is locked: another process uses this data directory");
    return io_error("lock " + path, errno);
  }
  return std::unique_ptr<File>(new RealFile(path, std::move(fd), Descriptor(), nullptr));
}

}  // namespace fairlead::io
