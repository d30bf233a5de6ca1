// One page of metrics while it is written: families in the order in which they come, all samples of a family in a row.
// prometheus-cpp writes the text.
#pragma once

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <cstdint>
#include <cstdio>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/histogram.h"

namespace fairlead::node {
class Node;
}
namespace fairlead::net {
class Router;
class Server;
}  // namespace fairlead::net

namespace fairlead::api {

using Labels = std::vector<std::pair<std::string, std::string>>;

class Page {
 public:
  void counter(const std::string& name, const char* help, double value, const Labels& labels = {}) {
    add(name, help, prometheus::MetricType::Counter, labels).counter.value = value;
  }
  void gauge(const std::string& name, const char* help, double value, const Labels& labels = {}) {
    add(name, help, prometheus::MetricType::Gauge, labels).gauge.value = value;
  }
  // counts are per bucket, not cumulative; one more than bounds.
  template <typename Bounds, typename Counts>
  void histogram(const std::string& name, const char* help, const Bounds& bounds, const Counts& counts, double sum,
                 const Labels& labels = {}) {
    prometheus::ClientMetric::Histogram h;
    size_t i = 0;
    for (double bound : bounds) {
      h.sample_count += counts[i++];
      h.bucket.push_back({h.sample_count, bound});
    }
    h.sample_count += counts[i];
    h.bucket.push_back({h.sample_count, std::numeric_limits<double>::infinity()});
    h.sample_sum = sum;
    add(name, help, prometheus::MetricType::Histogram, labels).histogram = std::move(h);
  }
  template <size_t N>
  void histogram(const std::string& name, const char* help, const Histogram<N>& h, const Labels& labels = {}) {
    std::vector<double> bounds(N);
    double bound = h.first_bound;
    for (double& b : bounds) b = bound, bound *= 2;
    histogram(name, help, bounds, h.counts, h.sum, labels);
  }
  std::string text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, families_);
    return out.str();
  }

 private:
  prometheus::ClientMetric& add(const std::string& name, const char* help, prometheus::MetricType type,
                                const Labels& labels) {
    if (families_.empty() || families_.back().name != name) families_.push_back({name, help, type, {}});
    prometheus::ClientMetric metric;
    for (const auto& [key, value] : labels) metric.label.push_back({key, value});
    families_.back().metric.push_back(std::move(metric));
    return families_.back().metric.back();
  }
  std::vector<prometheus::MetricFamily> families_;
};

// An id as etcd's labels have it.
inline std::string hex(uint64_t v) {
  char out[17];
  snprintf(out, sizeof out, "%llx", static_cast<unsigned long long>(v));
  return out;
}

// metrics_net.cc: other members, clients, calls, the process.
void add_network_metrics(Page& page, const node::Node& node, const net::Server* server);
// handling: with the histograms of --metrics=extensive.
void add_call_metrics(Page& page, const net::Router& router, bool handling);
void add_process_metrics(Page& page);

}  // namespace fairlead::api
