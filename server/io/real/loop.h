// The real loop: epoll for descriptors, an eventfd that wakes it for posts from other threads, timers as epoll's
// timeout, signals through a signalfd.
//
// Threads: the thread that calls run() or run_turn() owns the loop; only post() and stop() may come from others.
// A turn: descriptors that are ready, timers that are due, posted closures, hooks; then sleep. Closures posted and
// timers added during a turn run in the next one.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/io/io.h"

namespace fairlead::io {

class RealLoop final : public Loop {
 public:
  // Told about a ready descriptor. `events` are epoll's (EPOLLIN, ...).
  class Pollable {
   public:
    virtual ~Pollable() = default;
    virtual void on_poll(uint32_t events) = 0;
  };

  RealLoop();
  ~RealLoop() override;
  RealLoop(const RealLoop&) = delete;
  RealLoop& operator=(const RealLoop&) = delete;

  Nanos now() const override { return now_; }
  Nanos now_precise() const override;
  int64_t wall_ms() const override;
  TimerId add_timer(Nanos at, std::function<void()> callback) override;
  void cancel_timer(TimerId id) override;
  void post(std::function<void()> closure) override;
  uint64_t add_turn_hook(std::function<void()> hook) override;
  void remove_turn_hook(uint64_t handle) override;

  void run();   // turns until stop(); the turn in which stop() is seen is finished first
  void stop();  // from any thread; a stop before run() makes run() return at once
  // One turn; sleeps at most `sleep_max` for something to do (0 = not at all). For tests and for draining.
  void run_turn(Nanos sleep_max);

  // Runs `callback` on the loop whenever the signal arrives. Blocks the signal for the calling thread, so call it
  // before any other thread is started: they inherit the mask.
  void on_signal(int signal_number, std::function<void()> callback);

  // Descriptors: level-triggered. A pollable that is removed is not called again, not even for events of this turn.
  uint64_t poll_add(int fd, uint32_t events, Pollable* pollable);
  void poll_change(uint64_t handle, uint32_t events);
  void poll_remove(uint64_t handle);  // before the descriptor is closed

  struct TurnStats {
    uint64_t turns = 0;
    Nanos busy = 0;          // time spent in turns, without sleeping
    Nanos longest_turn = 0;  // since the last reset_longest_turn()
  };
  const TurnStats& turn_stats() const { return stats_; }
  void reset_longest_turn() { stats_.longest_turn = 0; }

 private:
  struct Slot {
    Pollable* pollable = nullptr;
    int fd = -1;
    uint32_t generation = 0;
  };
  struct Hook {
    uint64_t handle;
    std::function<void()> run;
  };
  class Waker;
  class Signals;

  int sleep_ms(Nanos sleep_max) const;
  void wait_and_dispatch(Nanos sleep_max);
  void run_timers();
  void run_posted();
  void run_hooks();
  bool on_loop_thread() const { return std::this_thread::get_id() == owner_.load(std::memory_order_relaxed); }

  int epoll_ = -1;
  Nanos now_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<std::thread::id> owner_;

  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slots_;

  std::map<std::pair<Nanos, TimerId>, std::function<void()>> timers_;
  std::unordered_map<TimerId, Nanos> timer_times_;
  TimerId next_timer_ = 1;

  std::vector<std::function<void()>> local_posts_;  // posted by the loop's own thread
  std::mutex posts_mutex_;
  std::vector<std::function<void()>> posts_;  // posted by other threads; guarded by posts_mutex_
  bool woken_ = false;                        // the eventfd is set; guarded by posts_mutex_
  std::unique_ptr<Waker> waker_;
  std::unique_ptr<Signals> signals_;

  std::deque<Hook> hooks_;  // a deque: a hook that adds one must not move the one that runs
  uint64_t next_hook_ = 1;
  bool in_hooks_ = false;
  TurnStats stats_;
};

}  // namespace fairlead::io
