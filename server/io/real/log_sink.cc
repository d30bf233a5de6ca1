#include "server/io/real/log_sink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cstdio>
#include <memory>

namespace fairlead::io {
namespace {

constexpr size_t kWriteBytesMax = 4096;  // what a pipe that polls as writable takes without blocking
constexpr int kDaySeconds = 24 * 3600;

int open_append(const std::string& path) {
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

// "dir/etcd.log" -> "dir/", "etcd", ".log"
struct NameParts {
  std::string folder, stem, extension;
};
NameParts split(const std::string& path) {
  NameParts parts;
  size_t slash = path.rfind('/');
  parts.folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  parts.stem = path.substr(parts.folder.size());
  size_t dot = parts.stem.rfind('.');
  if (dot != std::string::npos) {
    parts.extension = parts.stem.substr(dot);
    parts.stem.resize(dot);
  }
  return parts;
}

std::string time_text(bool local) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts;
  local ? localtime_r(&now.tv_sec, &parts) : gmtime_r(&now.tv_sec, &parts);
  char text[40], millis[8];
  strftime(text, sizeof text, "%Y-%m-%dT%H-%M-%S", &parts);
  snprintf(millis, sizeof millis, ".%03d", static_cast<int>(now.tv_nsec / 1'000'000));
  return std::string(text) + millis;
}

void compress_file(const std::string& path) {
  std::unique_ptr<FILE, int (*)(FILE*)> in(fopen(path.c_str(), "re"), fclose);
  gzFile out = gzopen((path + ".gz").c_str(), "wbe");
  bool good = in && out;
  char block[65536];
  while (good) {
    size_t n = fread(block, 1, sizeof block, in.get());
    if (n == 0) break;
    good = gzwrite(out, block, static_cast<unsigned>(n)) == static_cast<int>(n);
  }
  good = (!out || gzclose(out) == Z_OK) && good && !ferror(in.get());
  unlink(good ? path.c_str() : (path + ".gz").c_str());
}

}  // namespace

Result<LogSink> LogSink::open(const std::vector<std::string>& outputs, const LogRotation* rotation) {
  LogSink sink;
  if (rotation) {
    sink.rotates_ = true;
    sink.rotation_ = *rotation;
  }
  for (const std::string& output : outputs) {
    if (output == "stderr" || output == "stdout") {
      sink.targets_.push_back({output == "stderr" ? 2 : 1, "", 0});
      continue;
    }
    int fd = open_append(output);
    if (fd < 0) return io_error("--log-outputs: cannot open " + output, errno);
    struct stat status {};
    fstat(fd, &status);
    sink.targets_.push_back({fd, output, status.st_size});
  }
  return sink;
}

LogSink::LogSink(LogSink&& other) noexcept
    : targets_(std::move(other.targets_)), rotates_(other.rotates_), rotation_(other.rotation_) {
  other.targets_.clear();
}

LogSink::~LogSink() {
  for (const Target& target : targets_)
    if (!target.path.empty()) close(target.fd);
}

bool LogSink::write(std::string_view lines, const std::atomic<bool>& stop) {
  for (Target& target : targets_) {
    std::string_view rest = lines;
    while (rotates_ && !target.path.empty() && !rest.empty()) {  // line by line: a file never ends within one
      std::string_view line = rest.substr(0, std::min(rest.find('\n'), rest.size() - 1) + 1);
      if (target.size_bytes > 0 && target.size_bytes + static_cast<int64_t>(line.size()) > rotation_.size_bytes_max)
        rotate(target);
      if (!write_to(target, line, stop)) return false;
      rest.remove_prefix(line.size());
    }
    if (!rest.empty() && !write_to(target, rest, stop)) return false;
  }
  return true;
}

// A sink that is broken (a closed pipe) takes nothing more: the lines are lost, as with any program.
bool LogSink::write_to(Target& target, std::string_view bytes, const std::atomic<bool>& stop) {
  while (!bytes.empty()) {
    if (stop) return false;
    pollfd ready{target.fd, POLLOUT, 0};
    int n = poll(&ready, 1, 100);
    if (n < 0 && errno != EINTR) return true;
    if (n <= 0) continue;
    ssize_t written = ::write(target.fd, bytes.data(), std::min(bytes.size(), kWriteBytesMax));
    if (written < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      return true;
    }
    target.size_bytes += written;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

void LogSink::rotate(Target& target) {
  NameParts parts = split(target.path);
  std::string backup = parts.folder + parts.stem + "-" + time_text(rotation_.local_time) + parts.extension;
  for (int n = 1; access(backup.c_str(), F_OK) == 0 || access((backup + ".gz").c_str(), F_OK) == 0; ++n)
    backup =
        parts.folder + parts.stem + "-" + time_text(rotation_.local_time) + "-" + std::to_string(n) + parts.extension;
  if (rename(target.path.c_str(), backup.c_str()) != 0) return;
  int fd = open_append(target.path);
  if (fd < 0) {
    fprintf(stderr, "fairlead: the log cannot be rotated: open %s: error %d\n", target.path.c_str(), errno);
    rename(backup.c_str(), target.path.c_str());
    return;
  }
  close(target.fd);
  target.fd = fd;
  target.size_bytes = 0;
  if (rotation_.compress) compress_file(backup);
  remove_old(target.path);
}

void LogSink::remove_old(const std::string& path) {
  if (rotation_.backups_max <= 0 && rotation_.age_days_max <= 0) return;
  NameParts parts = split(path);
  std::vector<std::string> backups;  // their names sort by time
  std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(parts.folder.empty() ? "." : parts.folder.c_str()), closedir);
  if (!folder) return;
  while (dirent* entry = readdir(folder.get())) {
    std::string name = entry->d_name;
    std::string bare = name.ends_with(".gz") ? name.substr(0, name.size() - 3) : name;
    if (name.starts_with(parts.stem + "-2") && bare.ends_with(parts.extension)) backups.push_back(name);
  }
  std::sort(backups.rbegin(), backups.rend());
  time_t oldest = time(nullptr) - static_cast<time_t>(rotation_.age_days_max * kDaySeconds);
  for (size_t i = 0; i < backups.size(); ++i) {
    std::string full = parts.folder + backups[i];
    struct stat status {};
    bool old = rotation_.age_days_max > 0 && stat(full.c_str(), &status) == 0 && status.st_mtime < oldest;
    bool too_many = rotation_.backups_max > 0 && i >= static_cast<size_t>(rotation_.backups_max);
    if (old || too_many) unlink(full.c_str());
  }
}

}  // namespace fairlead::io
