#include "server/io/sim/process.h"

#include <algorithm>

#include "base/check.h"
#include "server/io/real/logger.h"
#include "server/io/sim/disk.h"

namespace fairlead::io::sim {

Nanos SimClock::world_when(Nanos time) const {
  Nanos since = time - offset, rate = kMillion + drift_ppm;
  Nanos world = since / rate * kMillion + since % rate * kMillion / rate;  // in two parts: the product would overflow
  while (at(world) < time) ++world;
  while (at(world - 1) >= time) --world;
  return world;
}

SimLoop::SimLoop(Scheduler* scheduler, Life life, ProcessOwner* owner, Prng prng, SimClock clock)
    : scheduler_(scheduler), life_(std::move(life)), owner_(owner), prng_(prng), clock_(clock) {}

TimerId SimLoop::add_timer(Nanos at, std::function<void()> callback) {
  TimerId id = next_timer_++;
  timers_.emplace(std::pair(at, id), std::move(callback));
  timer_times_.emplace(id, at);
  if (!inside_) want_turn(clock_.world_when(at));
  return id;
}

void SimLoop::cancel_timer(TimerId id) {
  auto it = timer_times_.find(id);
  if (it == timer_times_.end()) return;
  timers_.erase({it->second, id});
  timer_times_.erase(it);
}

void SimLoop::post(std::function<void()> closure) {
  posts_.push_back(std::move(closure));
  if (!inside_) wake();
}

uint64_t SimLoop::add_turn_hook(std::function<void()> hook) {
  hooks_.push_back({next_hook_, std::move(hook)});
  return next_hook_++;
}

void SimLoop::remove_turn_hook(uint64_t handle) {
  auto it = std::find_if(hooks_.begin(), hooks_.end(), [&](const Hook& h) { return h.handle == handle; });
  if (it == hooks_.end()) return;
  if (inside_)
    it->handle = 0;
  else
    hooks_.erase(it);
}

void SimLoop::clear() {
  timers_.clear();
  timer_times_.clear();
  posts_.clear();
  hooks_.clear();
  dispatch_streams = nullptr;
}

void SimLoop::want_turn(Nanos time) {
  if (!life_->alive) return;
  if (inside_) {
    wake_again_ = true;
    return;
  }
  time = std::max({time, scheduler_->now(), busy_until_, paused_until_});
  if (next_turn_ >= 0 && next_turn_ <= time) return;
  next_turn_ = time;
  uint64_t token = ++turn_token_;
  scheduler_->at(time, life_, "turn", [this, token] {
    if (token == turn_token_) turn();
  });
}

void SimLoop::turn() {
  next_turn_ = -1;
  if (scheduler_->now() < paused_until_) {
    want_turn(paused_until_);
    return;
  }
  turn_now_ = clock();
  wake_again_ = false;
  inside_ = true;
  try {
    phases();
  } catch (const ProcessGone&) {
    life_->alive = false;
  }
  inside_ = false;
  if (!life_->alive) {
    owner_->process_gone(life_->host);
    return;
  }
  std::erase_if(hooks_, [](const Hook& h) { return h.handle == 0; });
  // A turn takes time; what comes in meanwhile waits for the next one.
  busy_until_ = scheduler_->now() + prng_.between(2, 60) * kMicrosecond;
  if (!posts_.empty() || more_streams_ || wake_again_)
    want_turn(busy_until_);
  else if (!timers_.empty())
    want_turn(clock_.world_when(timers_.begin()->first.first));
}

// The kernel promises nothing about the order in which a turn's descriptors, timers and wake-ups are seen.
void SimLoop::phases() {
  int order[3] = {0, 1, 2};
  for (int i = 2; i > 0; --i) std::swap(order[i], order[prng_.below(static_cast<uint64_t>(i) + 1)]);
  for (int phase : order) {
    if (!life_->alive) return;
    if (phase == 0)
      more_streams_ = dispatch_streams && dispatch_streams();
    else if (phase == 1)
      run_timers();
    else
      run_posts();
  }
  run_hooks();
}

void SimLoop::run_timers() {
  TimerId first_new = next_timer_;
  auto it = timers_.begin();
  while (it != timers_.end() && it->first.first <= turn_now_) {
    if (it->first.second >= first_new) {
      ++it;
      continue;
    }
    std::function<void()> callback = std::move(it->second);
    timer_times_.erase(it->first.second);
    timers_.erase(it);
    callback();
    if (!life_->alive) return;
    it = timers_.begin();
  }
}

void SimLoop::run_posts() {
  std::vector<std::function<void()>> posts = std::move(posts_);
  posts_.clear();
  for (auto& closure : posts) {
    closure();
    if (!life_->alive) return;
  }
}

void SimLoop::run_hooks() {
  for (size_t i = 0; i < hooks_.size() && life_->alive; ++i) {
    if (hooks_[i].handle != 0) hooks_[i].run();
  }
}

// --- workers ---------------------------------------------------------------------------------------------------------

void SimWorkers::run(std::function<void()> work, std::function<void()> done) {
  CHECK(waiting_.size() < kWorkersQueueMax, "too many jobs wait for workers");
  waiting_.push_back({std::move(work), std::move(done)});
  start_next();
}

void SimWorkers::start_next() {
  if (busy_ == kThreads || waiting_.empty()) return;
  ++busy_;
  auto job = std::make_shared<Job>(std::move(waiting_.front()));
  waiting_.pop_front();
  Nanos start = std::max(scheduler_->now(), loop_->paused_until());
  scheduler_->at(start + prng_.delay(200 * kMicrosecond), life_, "worker", [this, job] { finish(std::move(*job)); });
}

void SimWorkers::finish(Job job) {
  try {
    job.work();
  } catch (const ProcessGone&) {
    life_->alive = false;
  }
  if (!life_->alive) {
    owner_->process_gone(life_->host);
    return;
  }
  job.work = nullptr;
  loop_->post(std::move(job.done));
  --busy_;
  start_next();
}

// --- log -------------------------------------------------------------------------------------------------------------

void SimLogger::log(LogLevel level, std::string_view message, std::initializer_list<Field> fields) {
  if (!enabled(level)) return;
  std::string time = std::to_string(static_cast<double>(scheduler_->now()) / 1e9);
  owner_->keep_log_line(life_->host, level, format_log_line(level, time, caller_, message, fields));
}

}  // namespace fairlead::io::sim
