// A small fixed pool of threads for long work. Jobs start in the order of submission; `done` runs on the loop.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "server/io/io.h"

namespace fairlead::io {

constexpr int kWorkerThreadsDefault = 2;

class RealWorkers final : public Workers {
 public:
  RealWorkers(Loop* loop, int threads = kWorkerThreadsDefault);
  ~RealWorkers() override;  // finishes the job each thread is at; drops those still waiting
  void run(std::function<void()> work, std::function<void()> done) override;

 private:
  struct Job {
    std::function<void()> work;
    std::function<void()> done;
  };
  void work_loop();

  Loop* loop_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;  // guarded by mutex_
  bool stop_ = false;     // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace fairlead::io
