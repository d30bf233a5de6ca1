#include "server/io/real/loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"

namespace fairlead::io {
namespace {

constexpr int kEventsPerTurnMax = 256;

Nanos read_clock(clockid_t id) {
  timespec t;
  clock_gettime(id, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

}  // namespace

// The eventfd behind post(): all it does is end the sleep.
class RealLoop::Waker final : public Pollable {
 public:
  explicit Waker(RealLoop* loop) : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    CHECK(fd_ >= 0, "no eventfd");
    loop->poll_add(fd_, EPOLLIN, this);
  }
  ~Waker() override { close(fd_); }
  void wake() {
    uint64_t one = 1;
    [[maybe_unused]] ssize_t n = write(fd_, &one, sizeof one);
  }
  void on_poll(uint32_t) override {
    uint64_t count;
    [[maybe_unused]] ssize_t n = read(fd_, &count, sizeof count);
  }

 private:
  int fd_;
};

class RealLoop::Signals final : public Pollable {
 public:
  explicit Signals(RealLoop* loop) : loop_(loop) {
    sigemptyset(&set_);
    fd_ = signalfd(-1, &set_, SFD_NONBLOCK | SFD_CLOEXEC);
    CHECK(fd_ >= 0, "no signalfd");
    loop_->poll_add(fd_, EPOLLIN, this);
  }
  ~Signals() override { close(fd_); }
  void add(int signal_number, std::function<void()> callback) {
    callbacks_[signal_number] = std::move(callback);
    sigaddset(&set_, signal_number);
    CHECK(pthread_sigmask(SIG_BLOCK, &set_, nullptr) == 0);
    CHECK(signalfd(fd_, &set_, 0) == fd_);
  }
  void on_poll(uint32_t) override {
    signalfd_siginfo info;
    while (read(fd_, &info, sizeof info) == sizeof info) {
      auto it = callbacks_.find(static_cast<int>(info.ssi_signo));
      if (it != callbacks_.end()) loop_->post(it->second);
    }
  }

 private:
  RealLoop* loop_;
  sigset_t set_;
  int fd_;
  std::map<int, std::function<void()>> callbacks_;
};

RealLoop::RealLoop() : epoll_(epoll_create1(EPOLL_CLOEXEC)), owner_(std::this_thread::get_id()) {
  CHECK(epoll_ >= 0, "no epoll");
  now_ = now_precise();
  waker_ = std::make_unique<Waker>(this);
}

RealLoop::~RealLoop() {
  // Closures that never ran may own streams and clients, which take their leave of the loop as they go: while it is
  // still whole.
  while (!timers_.empty() || !local_posts_.empty() || !posts_.empty()) {
    auto timers = std::exchange(timers_, {});
    auto own = std::exchange(local_posts_, {});
    auto others = std::exchange(posts_, {});
  }
  signals_.reset();
  waker_.reset();
  close(epoll_);
}

Nanos RealLoop::now_precise() const { return read_clock(CLOCK_MONOTONIC); }
int64_t RealLoop::wall_ms() const { return read_clock(CLOCK_REALTIME) / kMillisecond; }

TimerId RealLoop::add_timer(Nanos at, std::function<void()> callback) {
  TimerId id = next_timer_++;
  timers_.emplace(std::pair(at, id), std::move(callback));
  timer_times_.emplace(id, at);
  return id;
}

void RealLoop::cancel_timer(TimerId id) {
  auto it = timer_times_.find(id);
  if (it == timer_times_.end()) return;
  timers_.erase({it->second, id});
  timer_times_.erase(it);
}

void RealLoop::post(std::function<void()> closure) {
  if (on_loop_thread()) {
    local_posts_.push_back(std::move(closure));
    return;
  }
  bool wake;
  {
    std::lock_guard lock(posts_mutex_);
    posts_.push_back(std::move(closure));
    wake = !woken_;
    woken_ = true;
  }
  if (wake) waker_->wake();
}

uint64_t RealLoop::add_turn_hook(std::function<void()> hook) {
  hooks_.push_back({next_hook_, std::move(hook)});
  return next_hook_++;
}

void RealLoop::remove_turn_hook(uint64_t handle) {
  auto it = std::find_if(hooks_.begin(), hooks_.end(), [&](const Hook& h) { return h.handle == handle; });
  if (it == hooks_.end()) return;
  // Hooks are being walked by index: an emptied one is swept after the walk.
  if (in_hooks_)
    it->handle = 0;
  else
    hooks_.erase(it);
}

void RealLoop::on_signal(int signal_number, std::function<void()> callback) {
  if (!signals_) signals_ = std::make_unique<Signals>(this);
  signals_->add(signal_number, std::move(callback));
}

void RealLoop::run() {
  owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  while (!stop_.load(std::memory_order_acquire)) run_turn(INT64_MAX);
  stop_.store(false, std::memory_order_release);
}

void RealLoop::stop() {
  stop_.store(true, std::memory_order_release);
  waker_->wake();
}

void RealLoop::run_turn(Nanos sleep_max) {
  wait_and_dispatch(sleep_max);
  run_timers();
  run_posted();
  run_hooks();
  Nanos length = now_precise() - now_;
  ++stats_.turns;
  stats_.busy += length;
  stats_.longest_turn = std::max(stats_.longest_turn, length);
}

int RealLoop::sleep_ms(Nanos sleep_max) const {
  if (!local_posts_.empty() || stop_.load(std::memory_order_acquire)) return 0;
  Nanos sleep = std::max<Nanos>(0, sleep_max);  // a caller's end may be over by now; below zero is for ever
  if (!timers_.empty()) {
    sleep = std::min(sleep, std::max<Nanos>(0, timers_.begin()->first.first - now_precise()));
  }
  if (sleep == INT64_MAX) return -1;
  // Rounded up: a timer must not find itself a fraction too early and spin.
  return static_cast<int>(std::min<Nanos>((sleep + kMillisecond - 1) / kMillisecond, 3600 * 1000));
}

void RealLoop::wait_and_dispatch(Nanos sleep_max) {
  std::array<epoll_event, kEventsPerTurnMax> events;
  int n = epoll_wait(epoll_, events.data(), kEventsPerTurnMax, sleep_ms(sleep_max));
  now_ = now_precise();
  for (int i = 0; i < n; ++i) {
    uint64_t handle = events[static_cast<size_t>(i)].data.u64;
    const Slot& slot = slots_[handle & 0xFFFFFFFF];
    if (slot.pollable != nullptr && slot.generation == handle >> 32) {
      slot.pollable->on_poll(events[static_cast<size_t>(i)].events);
    }
  }
}

void RealLoop::run_timers() {
  // Timers added by a timer run in the next turn at the earliest, even if they are due.
  TimerId first_new = next_timer_;
  auto it = timers_.begin();
  while (it != timers_.end() && it->first.first <= now_) {
    if (it->first.second >= first_new) {
      ++it;
      continue;
    }
    std::function<void()> callback = std::move(it->second);
    timer_times_.erase(it->first.second);
    timers_.erase(it);
    callback();
    it = timers_.begin();
  }
}

void RealLoop::run_posted() {
  std::vector<std::function<void()>> posts = std::move(local_posts_);
  local_posts_.clear();
  std::vector<std::function<void()>> others;
  {
    std::lock_guard lock(posts_mutex_);
    others.swap(posts_);
    woken_ = false;
  }
  for (auto& closure : posts) closure();
  for (auto& closure : others) closure();
}

void RealLoop::run_hooks() {
  in_hooks_ = true;
  for (size_t i = 0; i < hooks_.size(); ++i) {
    if (hooks_[i].handle == 0) continue;
    hooks_[i].run();
  }
  in_hooks_ = false;
  std::erase_if(hooks_, [](const Hook& h) { return h.handle == 0; });
}

uint64_t RealLoop::poll_add(int fd, uint32_t events, Pollable* pollable) {
  uint32_t index;
  if (free_slots_.empty()) {
    index = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    index = free_slots_.back();
    free_slots_.pop_back();
  }
  Slot& slot = slots_[index];
  slot.pollable = pollable;
  slot.fd = fd;
  uint64_t handle = (uint64_t{slot.generation} << 32) | index;
  epoll_event event{};
  event.events = events;
  event.data.u64 = handle;
  CHECK(epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0, "epoll refuses a descriptor");
  return handle;
}

void RealLoop::poll_change(uint64_t handle, uint32_t events) {
  const Slot& slot = slots_[handle & 0xFFFFFFFF];
  CHECK(slot.generation == handle >> 32 && slot.pollable != nullptr, "a pollable that was removed");
  epoll_event event{};
  event.events = events;
  event.data.u64 = handle;
  CHECK(epoll_ctl(epoll_, EPOLL_CTL_MOD, slot.fd, &event) == 0);
}

void RealLoop::poll_remove(uint64_t handle) {
  Slot& slot = slots_[handle & 0xFFFFFFFF];
  CHECK(slot.generation == handle >> 32 && slot.pollable != nullptr, "a pollable that was removed");
  epoll_ctl(epoll_, EPOLL_CTL_DEL, slot.fd, nullptr);
  slot.pollable = nullptr;
  ++slot.generation;
  free_slots_.push_back(static_cast<uint32_t>(handle & 0xFFFFFFFF));
}

}  // namespace fairlead::io
