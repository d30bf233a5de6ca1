#include "server/io/real/net.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "base/check.h"
#include "server/io/real/address.h"

namespace fairlead::io {
namespace {

void set_stream_options(int fd, int family) {
  if (family == AF_UNIX) return;
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

// --- stream --------------------------------------------------------------------------------------------------------

// States: resolving or connecting (fd may change while addresses are tried), open, dead (an error is kept for read()).
class RealStream final : public Stream, private RealLoop::Pollable {
 public:
  RealStream(RealLoop* loop, int fd, std::string peer) : loop_(loop), fd_(fd), peer_(std::move(peer)) {
    state_ = State::kOpen;
    update_interest();
  }
  RealStream(RealLoop* loop, std::string target) : loop_(loop), peer_(std::move(target)) {}
  ~RealStream() override {
    *alive_ = false;
    close_fd();
  }

  void set_handler(StreamHandler* handler) override {
    handler_ = handler;
    if (state_ == State::kDead)
      tell_dead();
    else
      update_interest();
  }
  IoResult read(std::span<char> into) override;
  IoResult writev(std::span<const std::string_view> parts) override;
  void shutdown_write() override {
    if (state_ == State::kOpen) ::shutdown(fd_, SHUT_WR);
  }
  void pause_reading(bool paused) override {
    if (paused_ == paused) return;
    paused_ = paused;
    if (state_ == State::kDead)
      tell_dead();
    else
      update_interest();
  }
  std::string peer_address() const override { return peer_; }
  std::string local_address() const override { return fd_ >= 0 ? local_address_of(fd_) : "unknown"; }

  std::shared_ptr<bool> alive() const { return alive_; }
  void start_connecting(std::vector<SocketAddress> addresses) {
    addresses_ = std::move(addresses);
    connect_next(unavailable("connect " + peer_ + ": no address"));
  }
  void fail(Status why);

 private:
  enum class State { kConnecting, kOpen, kDead };

  void on_poll(uint32_t events) override;
  void update_interest();
  void connect_next(Status last_error);
  void on_connect_ready();
  void tell_dead();
  void close_fd() {
    if (handle_) loop_->poll_remove(*handle_);
    handle_.reset();
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  RealLoop* loop_;
  int fd_ = -1;
  std::string peer_;
  State state_ = State::kConnecting;
  Status error_;
  StreamHandler* handler_ = nullptr;
  bool paused_ = false;
  bool want_write_ = false;
  bool hung_up_ = false;  // seen while paused: not watched again until reading resumes
  std::optional<uint64_t> handle_;
  uint32_t interest_ = 0;
  std::vector<SocketAddress> addresses_;
  size_t next_address_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

void RealStream::update_interest() {
  if (fd_ < 0) return;
  uint32_t want = 0;
  if (state_ == State::kConnecting) {
    want = EPOLLOUT;
  } else {
    if (handler_ != nullptr && !paused_) {
      want |= EPOLLIN;
      hung_up_ = false;
    }
    if (handler_ != nullptr && want_write_) want |= EPOLLOUT;
  }
  // epoll reports errors and hang-ups asked or not; with nobody to tell, the descriptor leaves it.
  if (want == 0 || (hung_up_ && !(want & EPOLLIN))) {
    if (handle_) loop_->poll_remove(*handle_);
    handle_.reset();
    return;
  }
  if (!handle_)
    handle_ = loop_->poll_add(fd_, want, this);
  else if (want != interest_)
    loop_->poll_change(*handle_, want);
  interest_ = want;
}

void RealStream::on_poll(uint32_t events) {
  if (state_ == State::kConnecting) {
    on_connect_ready();
    return;
  }
  std::shared_ptr<bool> alive = alive_;
  bool broken = events & (EPOLLERR | EPOLLHUP);
  if (want_write_ && (events & EPOLLOUT || broken)) {
    want_write_ = false;
    update_interest();
    if (handler_ != nullptr) handler_->on_writable();
    if (!*alive) return;
  }
  if (handler_ != nullptr && !paused_) {
    if (events & EPOLLIN || broken) handler_->on_readable();
    return;
  }
  if (broken) {
    hung_up_ = true;
    update_interest();
  }
}

IoResult RealStream::read(std::span<char> into) {
  if (state_ == State::kDead) return {.error = error_};
  if (state_ == State::kConnecting) return {.would_block = true};
  if (into.empty()) return {};
  ssize_t n;
  do {
    n = recv(fd_, into.data(), into.size(), 0);
  } while (n < 0 && errno == EINTR);
  if (n > 0) return {.bytes = static_cast<size_t>(n)};
  if (n == 0) return {.eof = true};
  if (errno == EAGAIN || errno == EWOULDBLOCK) return {.would_block = true};
  return {.error = io_error("read from " + peer_, errno)};
}

IoResult RealStream::writev(std::span<const std::string_view> parts) {
  if (state_ == State::kDead) return {.error = error_};
  if (state_ == State::kConnecting) {
    want_write_ = true;
    return {.would_block = true};
  }
  IoResult result;
  while (!parts.empty()) {
    std::array<iovec, kGatherPartsMax> vectors;
    size_t count = 0;
    size_t total = 0;
    size_t taken = 0;
    for (; taken < parts.size() && count < kGatherPartsMax; ++taken) {
      if (parts[taken].empty()) continue;
      vectors[count++] = {const_cast<char*>(parts[taken].data()), parts[taken].size()};
      total += parts[taken].size();
    }
    if (count == 0) break;
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = count;
    ssize_t n;
    do {
      n = sendmsg(fd_, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
      result.error = io_error("write to " + peer_, errno);
      return result;
    }
    if (n > 0) result.bytes += static_cast<size_t>(n);
    if (n < 0 || static_cast<size_t>(n) < total) {
      result.would_block = true;
      want_write_ = true;
      update_interest();
      return result;
    }
    parts = parts.subspan(taken);
  }
  return result;
}

void RealStream::connect_next(Status last_error) {
  while (next_address_ < addresses_.size()) {
    const SocketAddress& address = addresses_[next_address_++];
    close_fd();
    fd_ = socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ < 0) {
      last_error = io_error("socket for " + peer_, errno);
      continue;
    }
    set_stream_options(fd_, address.family());
    if (::connect(fd_, address.get(), address.length) == 0 || errno == EINPROGRESS) {
      update_interest();  // on_poll tells, for a connection that stands at once too
      return;
    }
    last_error = io_error("connect " + peer_, errno);
  }
  fail(std::move(last_error));
}

void RealStream::on_connect_ready() {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) {
    connect_next(io_error("connect " + peer_, error));
    return;
  }
  state_ = State::kOpen;
  bool tell_writable = want_write_;
  want_write_ = false;
  update_interest();
  std::shared_ptr<bool> alive = alive_;
  if (handler_ != nullptr) handler_->on_connected();
  if (*alive && tell_writable && handler_ != nullptr) handler_->on_writable();
}

void RealStream::fail(Status why) {
  close_fd();
  state_ = State::kDead;
  error_ = std::move(why);
  tell_dead();
}

// There is no descriptor that could become readable: a post takes its place.
void RealStream::tell_dead() {
  if (handler_ == nullptr || paused_) return;
  loop_->post([this, alive = alive_] {
    if (*alive && handler_ != nullptr && !paused_) handler_->on_readable();
  });
}

// --- listener ------------------------------------------------------------------------------------------------------

class RealListener final : public Listener, private RealLoop::Pollable {
 public:
  RealListener(RealLoop* loop, Logger* log, int fd, std::string unix_path,
               std::function<void(std::unique_ptr<Stream>)> on_accept)
      : loop_(loop),
        log_(log),
        fd_(fd),
        unix_path_(std::move(unix_path)),
        on_accept_(std::move(on_accept)),
        address_(local_address_of(fd)),
        handle_(loop->poll_add(fd, EPOLLIN, this)) {}
  ~RealListener() override {
    if (on_close_) on_close_();
    *alive_ = false;
    loop_->cancel_timer(resume_timer_);
    if (resume_timer_ == 0) loop_->poll_remove(handle_);
    close(fd_);
    if (!unix_path_.empty()) unlink(unix_path_.c_str());
  }
  std::string address() const override { return address_; }
  void on_close(std::function<void()> callback) { on_close_ = std::move(callback); }

 private:
  void on_poll(uint32_t) override;
  void pause(int error);

  RealLoop* loop_;
  Logger* log_;
  int fd_;
  std::string unix_path_;
  std::function<void(std::unique_ptr<Stream>)> on_accept_;
  std::string address_;
  std::function<void()> on_close_;
  uint64_t handle_;
  TimerId resume_timer_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

void RealListener::on_poll(uint32_t) {
  std::shared_ptr<bool> alive = alive_;
  for (int i = 0; i < kAcceptsPerTurnMax && *alive; ++i) {
    SocketAddress peer;
    peer.length = sizeof peer.storage;
    int fd = accept4(fd_, reinterpret_cast<sockaddr*>(&peer.storage), &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        pause(errno);
      else if (errno == EINTR || errno == ECONNABORTED)
        continue;
      return;
    }
    set_stream_options(fd, peer.family());
    on_accept_(std::make_unique<RealStream>(loop_, fd, to_string(peer)));
  }
}

void RealListener::pause(int error) {
  if (log_ != nullptr) {
    log_->warn("cannot accept connections for now", {{"caller", "io/net"},
                                                     {"address", address_},
                                                     {"error", std::strerror(error)},
                                                     {"retry-in-ms", kAcceptPause / kMillisecond}});
  }
  loop_->poll_remove(handle_);
  resume_timer_ = loop_->add_timer(loop_->now() + kAcceptPause, [this] {
    resume_timer_ = 0;
    handle_ = loop_->poll_add(fd_, EPOLLIN, this);
  });
}

// A socket file that nobody listens on is what a killed process left behind; one that answers is somebody's.
Status remove_stale_unix_socket(const std::string& path, const SocketAddress& address) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return Status::ok();
  if (!S_ISSOCK(info.st_mode)) return failed_precondition(path + " exists and is not a socket");
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  bool answered = fd >= 0 && ::connect(fd, address.get(), address.length) == 0;
  bool refused = !answered && errno == ECONNREFUSED;
  if (fd >= 0) close(fd);
  if (!refused) return failed_precondition("listen unix:" + path + ": address already in use");
  if (unlink(path.c_str()) != 0) return io_error("unlink " + path, errno);
  return Status::ok();
}

Result<std::vector<SocketAddress>> listen_addresses(const std::string& address) {
  if (is_unix_address(address)) {
    ASSIGN_OR_RETURN(SocketAddress un, unix_address(address));
    RETURN_IF_ERROR(remove_stale_unix_socket(address.substr(5), un));
    return std::vector<SocketAddress>{un};
  }
  ASSIGN_OR_RETURN(HostPort host_port, split_host_port(address));
  if (!host_port.host.empty()) return resolve(host_port);
  // Any address: IPv6 takes IPv4 along where the machine has it.
  auto v6 = resolve_numeric({"::", host_port.port});
  auto v4 = resolve_numeric({"0.0.0.0", host_port.port});
  std::vector<SocketAddress> out;
  if (v6.is_ok()) out.insert(out.end(), v6->begin(), v6->end());
  if (v4.is_ok()) out.insert(out.end(), v4->begin(), v4->end());
  return out;
}

}  // namespace

Result<std::unique_ptr<Listener>> RealNet::listen(const std::string& address,
                                                  std::function<void(std::unique_ptr<Stream>)> on_accept) {
  ASSIGN_OR_RETURN(std::vector<SocketAddress> addresses, listen_addresses(address));
  Status last_error = unavailable("listen " + address + ": no address");
  for (const SocketAddress& candidate : addresses) {
    int fd = socket(candidate.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
      last_error = io_error("socket for " + address, errno);
      continue;
    }
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (reuse_port_ && candidate.family() != AF_UNIX) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (bind(fd, candidate.get(), candidate.length) == 0 && ::listen(fd, kListenBacklog) == 0) {
      std::string unix_path = is_unix_address(address) ? address.substr(5) : "";
      auto listener = std::make_unique<RealListener>(loop_, log_, fd, unix_path, std::move(on_accept));
      (*listeners_)[listener->address()] = fd;
      listener->on_close([all = listeners_, key = listener->address()] { all->erase(key); });
      return std::unique_ptr<Listener>(std::move(listener));
    }
    last_error = io_error("listen " + address, errno);
    close(fd);
  }
  return last_error;
}

Result<int> RealNet::share_listener(const std::string& address) const {
  auto it = listeners_->find(address);
  if (it == listeners_->end()) return not_found("nobody listens on " + address);
  int fd = fcntl(it->second, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return io_error("dup", errno);
  return fd;
}

std::unique_ptr<Stream> RealNet::connect(const std::string& address) {
  auto stream = std::make_unique<RealStream>(loop_, address);
  if (is_unix_address(address)) {
    auto un = unix_address(address);
    if (un.is_ok())
      stream->start_connecting({*un});
    else
      stream->fail(un.status());
    return stream;
  }
  auto host_port = split_host_port(address);
  if (!host_port.is_ok()) {
    stream->fail(host_port.status());
    return stream;
  }
  auto numeric = resolve_numeric(*host_port);
  if (numeric.is_ok()) {
    stream->start_connecting(*std::move(numeric));
    return stream;
  }
  auto found = std::make_shared<std::optional<Result<std::vector<SocketAddress>>>>();
  workers_->run([found, host_port = *host_port] { *found = resolve(host_port); },
                [found, raw = stream.get(), alive = stream->alive()] {
                  if (!*alive) return;
                  Result<std::vector<SocketAddress>>& addresses = **found;
                  if (addresses.is_ok())
                    raw->start_connecting(*std::move(addresses));
                  else
                    raw->fail(addresses.status());
                });
  return stream;
}

}  // namespace fairlead::io
