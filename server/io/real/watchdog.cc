#include "server/io/real/watchdog.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace fairlead::io {
namespace {

constexpr int kServePollMillis = 50;

Nanos clock_now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

// Until `end` at most: is the socket ready for `events`?
bool wait_for(int fd, short events, Nanos end) {
  Nanos left = end - clock_now();
  pollfd one{fd, events, 0};
  return left > 0 && poll(&one, 1, static_cast<int>(left / kMillisecond) + 1) > 0;
}

// "GET /livez?verbose HTTP/1.1" -> "/livez"
std::string_view path_of(std::string_view request) {
  size_t from = request.find(' ');
  if (from == std::string_view::npos) return {};
  std::string_view target = request.substr(from + 1);
  return target.substr(0, target.find_first_of(" ?\r\n"));
}

}  // namespace

Watchdog::Watchdog(Loop& loop, Logger& log, Answer answer, Options options)
    : loop_(loop), log_(log), answer_(std::move(answer)), options_(options), thread_([this] { run(); }) {}

Watchdog::~Watchdog() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
  for (int fd : listeners_) close(fd);
}

void Watchdog::share(int listening_fd) {
  std::lock_guard lock(mutex_);
  listeners_.push_back(listening_fd);
}

void Watchdog::run() {
  Nanos last = clock_now();
  Nanos stood = 0;
  bool stalled = false;
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (beat_->came.load()) {
      if (stalled) log_.warn("the loop turns again", {{"stood-ms", stood / kMillisecond}});
      stalled = false;
      stood = 0;
      beat_->came = false;
      loop_.post([beat = beat_] { beat->came = true; });
    }
    if (stalled) {
      lock.unlock();
      serve_some(stood);
      lock.lock();
    } else {
      wake_.wait_for(lock, std::chrono::nanoseconds(options_.look), [this] { return stop_; });
    }
    Nanos now = clock_now();
    stood += std::min(now - last, 2 * options_.look);
    last = now;
    if (beat_->came.load() || stalled || stood < options_.stall) continue;
    stalled = true;
    stalls_.fetch_add(1, std::memory_order_relaxed);
    log_.error("the loop does not turn: nothing is served; probes are told so", {{"stood-ms", stood / kMillisecond}});
  }
}

void Watchdog::serve_some(Nanos stalled) {
  std::vector<pollfd> fds;
  {
    std::lock_guard lock(mutex_);
    for (int fd : listeners_) fds.push_back({fd, POLLIN, 0});
  }
  if (poll(fds.data(), fds.size(), kServePollMillis) <= 0) return;
  for (const pollfd& p : fds) {
    if ((p.revents & POLLIN) == 0) continue;
    int fd = accept4(p.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) continue;
    serve_one(fd, stalled);
    close(fd);
  }
}

void Watchdog::serve_one(int fd, Nanos stalled) {
  Nanos end = clock_now() + kWatchdogRequestTime;
  std::string request;
  char buffer[2048];
  while (request.find("\r\n\r\n") == std::string::npos) {
    if (request.size() > kWatchdogRequestBytesMax || !wait_for(fd, POLLIN, end)) return;
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) return;
    request.append(buffer, static_cast<size_t>(n));
  }
  std::string answer = answer_(path_of(request), stalled);
  std::string_view rest = answer;
  while (!rest.empty()) {
    ssize_t n = send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (n < 0 && (errno != EAGAIN || !wait_for(fd, POLLOUT, end))) return;
    if (n > 0) rest.remove_prefix(static_cast<size_t>(n));
  }
  shutdown(fd, SHUT_WR);
  if (wait_for(fd, POLLIN, end)) recv(fd, buffer, sizeof buffer, 0);  // the client hangs up first
}

}  // namespace fairlead::io
