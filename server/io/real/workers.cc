#include "server/io/real/workers.h"

#include "base/check.h"

namespace fairlead::io {

RealWorkers::RealWorkers(Loop* loop, int threads) : loop_(loop) {
  CHECK(threads >= 1, "a pool without threads would never finish a job");
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work_loop(); });
}

RealWorkers::~RealWorkers() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void RealWorkers::run(std::function<void()> work, std::function<void()> done) {
  {
    std::lock_guard lock(mutex_);
    CHECK(jobs_.size() < kWorkersQueueMax, "too many jobs wait for workers");
    jobs_.push_back({std::move(work), std::move(done)});
  }
  wake_.notify_one();
}

void RealWorkers::work_loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
    if (stop_) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job.work();
    job.work = nullptr;  // what it captured goes before `done` may run
    loop_->post(std::move(job.done));
    lock.lock();
  }
}

}  // namespace fairlead::io
