// Leader election by a coordination.k8s.io Lease, after client-go's protocol, so that it interworks with it.
//
// The holder renews; another takes over only when it has seen the same record unchanged for `duration` on its own
// monotonic clock (times written by others are never compared with ours). The holder considers itself deposed when it
// could not renew for `renew_deadline` < `duration`, so that it stops before another may start.
// A Lease is not a fence: a process may sleep between held() and its write. `transitions()` is a number that grows with
// each change of holder, for stores that can refuse a lower one.
//
// step() and held() are plain functions of the time handed in (monotonic and wall milliseconds); run() is the loop
// around them. Threads: step/release/run on one thread; held() and transitions() from any.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include "operator/kube/api.h"

namespace fairlead::kube {

struct LeaseOptions {
  std::string ns;
  std::string name;
  std::string identity;  // unique per process: host name and a random part
  std::chrono::milliseconds duration{15'000};
  std::chrono::milliseconds renew_deadline{10'000};
  std::chrono::milliseconds retry_period{2'000};
};

class LeaderLease {
 public:
  LeaderLease(Api& api, LeaseOptions options);

  // One attempt: acquire, or renew when ours. OK with held() false: another holds it. An error: could not tell; held()
  // stays true until the deadline.
  Status step(int64_t monotonic_ms, int64_t wall_ms);
  bool held(int64_t monotonic_ms) const;
  int64_t transitions() const { return transitions_.load(std::memory_order_acquire); }
  std::string holder() const { return observed_holder_; }  // as last seen, for logs

  // Gives the lease up when ours, so that the next one need not wait.
  Status release(int64_t wall_ms);

  // Tries until it leads, calls `on_started` once, renews until `stop` (then releases, OK) or the lease is lost
  // (kAborted: the caller must end, not continue).
  Status run(std::stop_token stop, const std::function<void()>& on_started);

 private:
  Status take(const Json* current, int64_t monotonic_ms, int64_t wall_ms);
  Request request(Verb verb, Json body) const;
  Json spec(const Json* current, int64_t wall_ms) const;

  Api& api_;
  const LeaseOptions options_;
  std::string observed_holder_;
  std::string observed_version_;  // resourceVersion of the record, changed at observed_ms_
  int64_t observed_ms_ = 0;
  std::atomic<bool> ours_{false};
  std::atomic<int64_t> renewed_ms_{0};  // when the last successful renewal was *sent*
  std::atomic<int64_t> transitions_{0};
};

}  // namespace fairlead::kube
