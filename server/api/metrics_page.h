// One page of metrics while it is written: families in the order in which they come, all samples of a family in a row.
//
// The page is made on the loop, so it is written straight into its text: 2,000 samples (--metrics=extensive) cost about
// a fifth of what a tree of objects and a stream did.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/histogram.h"
#include "server/io/real/process_stats.h"

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
  void counter(std::string_view name, const char* help, double value, const Labels& labels = {}) {
    family(name, help, "counter");
    sample(name, label_text(labels), value);
  }
  void gauge(std::string_view name, const char* help, double value, const Labels& labels = {}) {
    family(name, help, "gauge");
    sample(name, label_text(labels), value);
  }
  // counts are per bucket, not cumulative; one more than bounds.
  template <typename Bounds, typename Counts>
  void histogram(std::string_view name, const char* help, const Bounds& bounds, const Counts& counts, double sum,
                 const Labels& labels = {}) {
    family(name, help, "histogram");
    std::string rest = label_text(labels);
    std::string bucket = std::string(name) + "_bucket";
    std::string before = (rest.empty() ? "" : rest + ",") + "le=\"";
    uint64_t total = 0;
    size_t i = 0;
    for (double bound : bounds) {
      total += counts[i++];
      append(bucket, before, bound, total);
    }
    total += counts[i];
    append(bucket, before, std::numeric_limits<double>::infinity(), total);
    sample(std::string(name) + "_sum", rest, sum);
    sample(std::string(name) + "_count", rest, static_cast<double>(total));
  }
  template <size_t N>
  void histogram(std::string_view name, const char* help, const Histogram<N>& h, const Labels& labels = {}) {
    std::array<double, N> bounds;
    double bound = h.first_bound;
    for (double& b : bounds) b = bound, bound *= 2;
    histogram(name, help, bounds, h.counts, h.sum, labels);
  }
  const std::string& text() const { return text_; }

 private:
  void family(std::string_view name, const char* help, std::string_view type);
  static std::string label_text(const Labels& labels);  // a="x",b="y", escaped
  void sample(std::string_view name, std::string_view labels, double value);
  void append(std::string_view bucket, std::string_view before, double bound, uint64_t count);

  std::string text_;
  std::string family_;
};

// metrics_net.cc: other members, clients, calls, the process.
void add_network_metrics(Page& page, const node::Node& node, const net::Server* server);
// handling: with the histograms of --metrics=extensive.
void add_call_metrics(Page& page, const net::Router& router, bool handling);
void add_process_metrics(Page& page, const io::ProcessStats& p);

}  // namespace fairlead::api
