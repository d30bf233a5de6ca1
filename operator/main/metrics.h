// What the operator says about itself: /metrics (Prometheus text), /healthz, /readyz.
//
// Threads: counters from any thread; the HTTP server has threads of its own (kHttpThreads). Values
// per cluster are collected when scraped, so that a cluster that is gone leaves no series behind.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "operator/main/reconciler.h"

namespace fairlead::ops {

inline constexpr int kHttpThreads = 4;

class Metrics {
 public:
  Metrics();
  ~Metrics();

  void reconciled(const Outcome& outcome, double seconds);
  void set_leader(bool leader);
  // Sources read at each scrape.
  struct Sources {
    std::function<std::map<kube::ObjectKey, ClusterFacts>()> facts;
    std::function<size_t()> queue_depth;
    std::function<uint64_t()> event_failures;
  };
  std::string scrape(const Sources& sources) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Serves the three pages. `address`: "host:port", port 0 for any.
class StatusServer {
 public:
  struct Pages {
    std::function<std::string()> metrics;
    std::function<std::string()> unhealthy;  // empty: healthy, else why not
    std::function<std::string()> unready;
  };
  static Result<std::unique_ptr<StatusServer>> start(const std::string& address, Pages pages);
  ~StatusServer();
  int port() const;

 private:
  struct Impl;
  explicit StatusServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::ops
