#include "ctl/metrics.h"

#include <cmath>
#include <cstdlib>
#include <limits>

namespace fairlead::ctl {
namespace {

// Labels off the front of `in`, which begins behind '{'. False: they do not end.
bool take_labels(std::string_view& in, Metrics::Labels& out) {
  while (!in.empty() && in[0] != '}') {
    size_t equals = in.find("=\"");
    if (equals == std::string_view::npos) return false;
    std::string name(in.substr(0, equals)), value;
    in.remove_prefix(equals + 2);
    for (; !in.empty() && in[0] != '"'; in.remove_prefix(1)) {
      if (in[0] == '\\' && in.size() > 1) {
        in.remove_prefix(1);
        value += in[0] == 'n' ? '\n' : in[0];
      } else {
        value += in[0];
      }
    }
    if (in.empty()) return false;
    in.remove_prefix(1);
    while (!in.empty() && (in[0] == ',' || in[0] == ' ')) in.remove_prefix(1);
    out.emplace(std::move(name), std::move(value));
  }
  if (in.empty()) return false;
  in.remove_prefix(1);
  return true;
}

double number(std::string_view text) {
  std::string copy(text.substr(0, text.find_first_of(" \r")));
  if (copy == "+Inf") return std::numeric_limits<double>::infinity();
  return strtod(copy.c_str(), nullptr);
}

}  // namespace

bool Metrics::Sample::has(const Labels& wanted) const {
  for (const auto& [name, text] : wanted) {
    auto found = labels.find(name);
    if (found == labels.end() || found->second != text) return false;
  }
  return true;
}

Metrics::Metrics(std::string_view page) {
  while (!page.empty()) {
    std::string_view line = page.substr(0, page.find('\n'));
    page.remove_prefix(std::min(page.size(), line.size() + 1));
    if (line.empty() || line[0] == '#') continue;
    size_t end = line.find_first_of("{ ");
    if (end == std::string_view::npos) continue;
    std::string name(line.substr(0, end));
    bool labelled = line[end] == '{';
    line.remove_prefix(end + 1);
    Sample sample;
    if (labelled && !take_labels(line, sample.labels)) continue;
    while (!line.empty() && line[0] == ' ') line.remove_prefix(1);
    sample.value = number(line);
    samples_[name].push_back(std::move(sample));
  }
}

const std::vector<Metrics::Sample>& Metrics::all(const std::string& name) const {
  static const std::vector<Sample> kNone;
  auto found = samples_.find(name);
  return found == samples_.end() ? kNone : found->second;
}

double Metrics::value(const std::string& name, const Labels& labels) const {
  double sum = 0;
  for (const Sample& s : all(name))
    if (s.has(labels)) sum += s.value;
  return sum;
}

Metrics::Histogram Metrics::histogram(const std::string& name, const Labels& labels) const {
  Histogram h;
  for (const Sample& s : all(name + "_bucket")) {
    auto bound = s.labels.find("le");
    if (s.has(labels) && bound != s.labels.end()) h.counts[number(bound->second)] += s.value;
  }
  h.sum = value(name + "_sum", labels);
  h.count = value(name + "_count", labels);
  return h;
}

double Metrics::Histogram::quantile(double q) const {
  double below = 0, low = 0;
  for (auto [bound, cumulative] : counts) {
    if (cumulative >= q * count && cumulative > below) {
      if (std::isinf(bound)) return low;
      return low + (bound - low) * (q * count - below) / (cumulative - below);
    }
    below = cumulative;
    low = bound;
  }
  return 0;
}

Metrics::Histogram Metrics::Histogram::since(const Histogram& earlier) const {
  if (count < earlier.count) return *this;
  Histogram h = *this;
  h.sum -= earlier.sum;
  h.count -= earlier.count;
  for (auto& [bound, cumulative] : h.counts)
    if (auto found = earlier.counts.find(bound); found != earlier.counts.end()) cumulative -= found->second;
  return h;
}

}  // namespace fairlead::ctl
