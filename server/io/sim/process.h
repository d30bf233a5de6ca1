// One simulated process: its loop, workers and log, and the switchboard of all hosts' sockets. Internal to the
// simulated side; the owner of a simulation uses world.h.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/io/io.h"
#include "server/io/sim/prng.h"
#include "server/io/sim/scheduler.h"
#include "server/io/sim/world.h"

namespace fairlead::io::sim {

// Where the pieces of a process meet: how they learn that it died inside a callback, and what it logs to.
class ProcessOwner {
 public:
  virtual ~ProcessOwner() = default;
  virtual void process_gone(HostId host) = 0;  // met its crash point, or was ended inside a callback
  virtual void keep_log_line(HostId host, LogLevel level, std::string line) = 0;
  virtual bool log_enabled(LogLevel level) const = 0;
};

// A machine's clock: it began at some other time than the world's, and runs a little faster or slower.
struct SimClock {
  static constexpr int64_t kMillion = 1'000'000;
  Nanos offset = 0;
  int64_t drift_ppm = 0;
  Nanos at(Nanos world) const { return world + offset + world * drift_ppm / kMillion; }
  // The first moment of the world at which the clock shows at least `time`.
  Nanos world_when(Nanos time) const;
};

class SimLoop final : public Loop {
 public:
  SimLoop(Scheduler* scheduler, Life life, ProcessOwner* owner, Prng prng, SimClock clock);

  Nanos now() const override { return inside_ ? turn_now_ : clock(); }
  Nanos now_precise() const override { return clock(); }
  int64_t wall_ms() const override { return kWallBaseMs + clock() / kMillisecond; }
  TimerId add_timer(Nanos at, std::function<void()> callback) override;
  void cancel_timer(TimerId id) override;
  void post(std::function<void()> closure) override;
  uint64_t add_turn_hook(std::function<void()> hook) override;
  void remove_turn_hook(uint64_t handle) override;

  // Streams that have something to tell: called in every turn, true if there is more to tell in the next one.
  std::function<bool()> dispatch_streams;
  void wake() { want_turn(scheduler_->now()); }
  void pause_until(Nanos time) { paused_until_ = std::max(paused_until_, time); }
  Nanos paused_until() const { return paused_until_; }
  bool inside() const { return inside_; }
  void clear();  // drops all closures

 private:
  static constexpr int64_t kWallBaseMs = 1'800'000'000'000;
  struct Hook {
    uint64_t handle;
    std::function<void()> run;
  };
  Nanos clock() const { return clock_.at(scheduler_->now()); }
  void want_turn(Nanos time);  // of the scheduler
  void turn();
  void phases();
  void run_timers();
  void run_posts();
  void run_hooks();

  Scheduler* scheduler_;
  Life life_;
  ProcessOwner* owner_;
  Prng prng_;
  SimClock clock_;
  Nanos turn_now_ = 0;
  Nanos paused_until_ = 0;
  Nanos busy_until_ = 0;
  bool inside_ = false;
  bool more_streams_ = false;
  bool wake_again_ = false;  // woken by a callback of this turn
  Nanos next_turn_ = -1;     // time of the turn that is scheduled; -1 = none
  uint64_t turn_token_ = 0;
  std::map<std::pair<Nanos, TimerId>, std::function<void()>> timers_;
  std::unordered_map<TimerId, Nanos> timer_times_;
  TimerId next_timer_ = 1;
  std::vector<std::function<void()>> posts_;
  std::deque<Hook> hooks_;
  uint64_t next_hook_ = 1;
};

class SimWorkers final : public Workers {
 public:
  static constexpr int kThreads = 2;
  SimWorkers(Scheduler* scheduler, Life life, ProcessOwner* owner, SimLoop* loop, Prng prng)
      : scheduler_(scheduler), life_(std::move(life)), owner_(owner), loop_(loop), prng_(prng) {}
  void run(std::function<void()> work, std::function<void()> done) override;
  void clear() { waiting_.clear(); }

 private:
  struct Job {
    std::function<void()> work;
    std::function<void()> done;
  };
  void start_next();
  void finish(Job job);

  Scheduler* scheduler_;
  Life life_;
  ProcessOwner* owner_;
  SimLoop* loop_;
  Prng prng_;
  std::deque<Job> waiting_;
  int busy_ = 0;
};

class SimLogger final : public Logger {
 public:
  SimLogger(const Scheduler* scheduler, Life life, ProcessOwner* owner, std::string caller)
      : scheduler_(scheduler), life_(std::move(life)), owner_(owner), caller_(std::move(caller)) {}
  void log(LogLevel level, std::string_view message, std::initializer_list<Field> fields) override;
  bool enabled(LogLevel level) const override { return owner_->log_enabled(level); }

 private:
  const Scheduler* scheduler_;
  Life life_;
  ProcessOwner* owner_;
  std::string caller_;
};

// All hosts' sockets and the links between them.
class SimNetwork {
 public:
  SimNetwork(Scheduler* scheduler, Prng prng, NetFaults* faults);
  ~SimNetwork();
  void add_host(HostId host, const std::string& address);
  std::unique_ptr<Net> make_net(HostId host, Life life, SimLoop* loop);
  void process_ended(HostId host, const Life& life, bool power_cut);

  void set_link(HostId from, HostId to, bool up);
  bool link_up(HostId from, HostId to) const;
  void clog(HostId from, HostId to, Nanos extra);
  void heal_all();
  void reset(HostId a, HostId b);
  const NetStats& stats() const;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::io::sim
