// For tests and the microbenchmark: a loop on virtual time and byte pipes in memory. Turns run as
// io.h says.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/io/io.h"

namespace fairlead::net::test {

class PipeEnd;

class TestLoop final : public io::Loop {
 public:
  io::Nanos now() const override { return now_; }
  io::Nanos now_precise() const override { return now_; }
  int64_t wall_ms() const override { return 1'795'000'000'000 + now_ / io::kMillisecond; }
  io::TimerId add_timer(io::Nanos at, std::function<void()> callback) override {
    timers_.emplace(std::make_pair(at, ++last_timer_), std::move(callback));
    return last_timer_;
  }
  void cancel_timer(io::TimerId id) override {
    std::erase_if(timers_, [id](const auto& entry) { return entry.first.second == id; });
  }
  void post(std::function<void()> closure) override { posts_.push_back(std::move(closure)); }
  uint64_t add_turn_hook(std::function<void()> hook) override {
    hooks_.emplace_back(++last_hook_, std::move(hook));
    return last_hook_;
  }
  void remove_turn_hook(uint64_t handle) override {
    std::erase_if(hooks_, [handle](const auto& entry) { return entry.first == handle; });
  }

  bool turn();  // false: nothing was ready
  // Turns until nothing is ready, without passing time.
  void settle() {
    while (turn()) ++now_;
  }
  // Lets time pass, timer by timer.
  void advance(io::Nanos duration) {
    io::Nanos end = now_ + duration;
    settle();
    while (!timers_.empty() && timers_.begin()->first.first <= end) {
      now_ = std::max(now_, timers_.begin()->first.first);
      settle();
    }
    now_ = std::max(now_, end);
    settle();
  }
  size_t timers() const { return timers_.size(); }

 private:
  friend class PipeEnd;
  io::Nanos now_ = io::kSecond;
  std::map<std::pair<io::Nanos, io::TimerId>, std::function<void()>> timers_;
  std::vector<std::function<void()>> posts_;
  std::vector<std::pair<uint64_t, std::function<void()>>> hooks_;
  std::vector<PipeEnd*> ends_;
  io::TimerId last_timer_ = 0;
  uint64_t last_hook_ = 0;
};

// What both ends of a connection share.
struct Pipe {
  std::string data[2];  // [i]: on its way to end i
  size_t taken[2] = {0, 0};
  bool eof[2] = {false, false};
  PipeEnd* ends[2] = {nullptr, nullptr};
  size_t capacity = 256 * 1024;
  size_t waiting(int side) const { return data[side].size() - taken[side]; }
};

class PipeEnd final : public io::Stream {
 public:
  PipeEnd(TestLoop& loop, std::shared_ptr<Pipe> pipe, int side) : loop_(loop), pipe_(std::move(pipe)), side_(side) {
    pipe_->ends[side_] = this;
    loop_.ends_.push_back(this);
  }
  ~PipeEnd() override {
    pipe_->ends[side_] = nullptr;
    pipe_->eof[1 - side_] = true;
    std::erase(loop_.ends_, this);
  }
  void set_handler(io::StreamHandler* handler) override { handler_ = handler; }
  io::IoResult read(std::span<char> into) override {
    io::IoResult result;
    std::string& data = pipe_->data[side_];
    size_t& taken = pipe_->taken[side_];
    result.bytes = std::min(into.size(), data.size() - taken);
    std::memcpy(into.data(), data.data() + taken, result.bytes);
    taken += result.bytes;
    if (taken == data.size()) {
      data.clear();
      taken = 0;
      result.eof = result.bytes == 0 && pipe_->eof[side_];
      result.would_block = !result.eof;
    }
    return result;
  }
  io::IoResult writev(std::span<const std::string_view> parts) override {
    ++writes;
    io::IoResult result;
    int other = 1 - side_;
    if (!pipe_->ends[other]) {
      result.error = unavailable("broken pipe");
      return result;
    }
    for (std::string_view part : parts) {
      size_t n = std::min(part.size(), pipe_->capacity - std::min(pipe_->capacity, pipe_->waiting(other)));
      pipe_->data[other].append(part.substr(0, n));
      result.bytes += n;
      if (n < part.size()) {
        result.would_block = true;
        want_write_ = true;
        break;
      }
    }
    return result;
  }
  void shutdown_write() override { pipe_->eof[1 - side_] = true; }
  void pause_reading(bool paused) override { paused_ = paused; }
  std::string peer_address() const override { return "test:" + std::to_string(side_); }
  std::string local_address() const override { return "test"; }

  bool readable() const { return handler_ && !paused_ && (pipe_->waiting(side_) > 0 || pipe_->eof[side_]); }
  bool run() {  // true: a callback ran
    if (!readable()) return false;
    handler_->on_readable();
    return true;
  }
  bool run_writable() {
    if (!handler_ || !want_write_) return false;
    if (pipe_->ends[1 - side_] && pipe_->waiting(1 - side_) >= pipe_->capacity) return false;
    want_write_ = false;
    handler_->on_writable();
    return true;
  }
  Pipe& pipe() { return *pipe_; }

  uint64_t writes = 0;

 private:
  TestLoop& loop_;
  std::shared_ptr<Pipe> pipe_;
  int side_;
  io::StreamHandler* handler_ = nullptr;
  bool paused_ = false, want_write_ = false;
};

inline bool TestLoop::turn() {
  bool ran = false;
  auto posts = std::exchange(posts_, {});
  for (auto& post : posts) {
    post();
    ran = true;
  }
  while (!timers_.empty() && timers_.begin()->first.first <= now_) {
    auto callback = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    callback();
    ran = true;
  }
  auto ends = ends_;
  for (PipeEnd* end : ends) {
    if (std::find(ends_.begin(), ends_.end(), end) == ends_.end()) continue;
    ran = end->run_writable() || ran;
    if (std::find(ends_.begin(), ends_.end(), end) == ends_.end()) continue;
    ran = end->run() || ran;
  }
  auto hooks = hooks_;
  for (auto& hook : hooks) hook.second();
  return ran || !posts_.empty() ||
         std::any_of(ends_.begin(), ends_.end(), [](const PipeEnd* end) { return end->readable(); });
}

inline std::pair<std::unique_ptr<PipeEnd>, std::unique_ptr<PipeEnd>> make_pipe(TestLoop& loop,
                                                                               size_t capacity = 256 * 1024) {
  auto pipe = std::make_shared<Pipe>();
  pipe->capacity = capacity;
  return {std::make_unique<PipeEnd>(loop, pipe, 0), std::make_unique<PipeEnd>(loop, pipe, 1)};
}

// A frame of HTTP/2 (RFC 9113, 4.1).
inline std::string frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string out;
  for (int shift : {16, 8, 0}) out.push_back(static_cast<char>(payload.size() >> shift));
  out.push_back(static_cast<char>(type));
  out.push_back(static_cast<char>(flags));
  for (int shift : {24, 16, 8, 0}) out.push_back(static_cast<char>(stream >> shift));
  out.append(payload);
  return out;
}

// A raw peer: sends bytes, keeps what comes back.
class RawPeer final : public io::StreamHandler {
 public:
  explicit RawPeer(std::unique_ptr<PipeEnd> end) : end_(std::move(end)) { end_->set_handler(this); }
  void on_readable() override {
    if (!reading) return;
    char buffer[65536];
    for (;;) {
      io::IoResult got = end_->read(buffer);
      received.append(buffer, got.bytes);
      if (got.eof) {
        closed = true;
        end_->set_handler(nullptr);
      }
      if (got.bytes == 0) break;
    }
  }
  void stop_reading() {
    reading = false;
    end_->set_handler(nullptr);
  }
  void send(std::string_view bytes) {
    std::string_view parts[] = {bytes};
    (void)end_->writev(parts);
  }
  void half_close() { end_->shutdown_write(); }
  void hang_up() { end_.reset(); }
  PipeEnd& end() { return *end_; }

  std::string received;
  bool closed = false;
  bool reading = true;

 private:
  std::unique_ptr<PipeEnd> end_;
};

}  // namespace fairlead::net::test
