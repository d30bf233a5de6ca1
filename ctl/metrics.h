// A page of metrics in Prometheus' text format, read for single figures.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace fairlead::ctl {

class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;
  struct Sample {
    Labels labels;
    double value = 0;
    // Whether it has these labels, among others.
    bool has(const Labels& wanted) const;
  };
  // A histogram: how many fell below each bound.
  struct Histogram {
    std::map<double, double> counts;  // bound -> cumulative count
    double sum = 0, count = 0;
    double mean() const { return count > 0 ? sum / count : 0; }
    // As Prometheus' histogram_quantile: in between bounds by a straight line; 0 where there is nothing.
    double quantile(double q) const;
    // What came since an earlier look; this one itself where a counter went back (the server began anew).
    Histogram since(const Histogram& earlier) const;
  };

  Metrics() = default;
  explicit Metrics(std::string_view page);

  bool has(const std::string& name) const { return samples_.contains(name); }
  const std::vector<Sample>& all(const std::string& name) const;
  // The sum of all samples with these labels; 0 without any.
  double value(const std::string& name, const Labels& labels = {}) const;
  Histogram histogram(const std::string& name, const Labels& labels = {}) const;

 private:
  std::map<std::string, std::vector<Sample>> samples_;
};

}  // namespace fairlead::ctl
