// The running operator: informers wake keys, workers take them from the queue and reconcile them.
//
// Threads: one per informer, `workers` for rounds. start() returns at once; stop() waits for the
// rounds under way, which end by their own deadlines.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "operator/kube/api.h"
#include "operator/kube/informer.h"
#include "operator/kube/work_queue.h"
#include "operator/main/metrics.h"
#include "operator/main/reconciler.h"

namespace fairlead::ops {

inline constexpr int64_t kRoundStuckMs = 120'000;  // a round that takes longer makes the process unhealthy
inline constexpr int kWorkersMax = 64;

class Operator {
 public:
  struct Options {
    std::string ns;  // empty: all namespaces
    int workers = 4;
  };
  Operator(kube::Api& api, Reconciler& reconciler, Metrics& metrics, Options options);
  ~Operator();  // stops

  void start();
  void stop();
  bool synced() const;
  std::string unhealthy() const;  // empty: healthy
  size_t queue_depth() const { return queue_.size(); }

 private:
  void work(std::stop_token stop, std::atomic<int64_t>* busy_since);
  void round(const std::string& key);
  bool wake(const std::shared_ptr<const kube::Json>& object);
  void add_informer(const kube::Gvr& gvr, const std::string& selector);

  kube::Api& api_;
  Reconciler& reconciler_;
  Metrics& metrics_;
  const Options options_;
  kube::WorkQueue queue_;
  std::vector<std::unique_ptr<kube::Informer>> informers_;
  std::vector<std::unique_ptr<std::atomic<int64_t>>> busy_since_;  // per worker; 0: idle
  std::vector<std::jthread> workers_;
};

}  // namespace fairlead::ops
