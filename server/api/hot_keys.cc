#include "server/api/hot_keys.h"

#include <algorithm>
#include <map>
#include <utility>

namespace fairlead::api {
namespace {

constexpr std::string_view kSeparators = "/:";
// A prefix is left out when one longer prefix has at least this share of its requests.
constexpr double kSameShare = 0.9;
constexpr size_t kComparedMax = 256;  // the busiest, of which the answer is chosen

bool extends(const HotKeys::Hot& longer, const HotKeys::Hot& shorter) {
  return !shorter.whole_key && longer.prefix.starts_with(shorter.prefix) &&
         (longer.prefix.size() > shorter.prefix.size() || longer.whole_key);
}

uint64_t requests_of(const HotKeys::Hot& h) { return h.reads + h.writes; }

}  // namespace

// ---- counters

void PrefixCounts::clear() {
  counters_.clear();
  at_.clear();
  hand_ = 0;
  least_ = 0;
}

// Counts only grow, so the least one is found where the hand is going on, and seldom needs a second round.
size_t PrefixCounts::rarest() {
  while (true) {
    for (size_t i = 0; i < counters_.size(); ++i) {
      hand_ = hand_ + 1 < counters_.size() ? hand_ + 1 : 0;
      if (counters_[hand_].rank() <= least_) return hand_;
    }
    least_ = counters_[0].rank();
    for (const Counter& c : counters_) least_ = std::min(least_, c.rank());
  }
}

void PrefixCounts::add(std::string_view prefix, bool whole_key, bool write) {
  scratch_.assign(prefix);
  scratch_.push_back(whole_key ? '\1' : '\0');
  auto found = at_.find(std::string_view(scratch_));
  size_t place = counters_.size();
  if (found != at_.end()) {
    place = found->second;
  } else if (place < counters_max_) {
    counters_.emplace_back();
    counters_[place].prefix = prefix;
    counters_[place].whole_key = whole_key;
    at_.emplace(scratch_, place);
  } else {
    place = rarest();
    Counter& c = counters_[place];
    std::string old = c.prefix;
    old.push_back(c.whole_key ? '\1' : '\0');
    at_.erase(old);
    uint64_t error = c.rank();
    c = Counter{std::string(prefix), whole_key, 0, 0, error};
    at_.emplace(scratch_, place);
  }
  ++(write ? counters_[place].writes : counters_[place].reads);
}

// ---- windows

void HotKeys::sample(std::string_view key, bool write) {
  // xorshift64 (Marsaglia, 2003). 1 to 2 n - 1: n in the mean.
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  left_ = 1 + static_cast<uint32_t>(random_ % (2 * kSampleOneIn - 1));
  roll();
  ++current_samples_;
  size_t levels = 0;
  std::string_view shown = key.substr(0, kShownBytesMax);
  for (size_t i = 1; i + 1 < shown.size() && levels < kLevelsMax; ++i) {
    if (kSeparators.find(shown[i]) == std::string_view::npos) continue;
    current_.add(shown.substr(0, i + 1), false, write);
    ++levels;
  }
  current_.add(shown, shown.size() == key.size(), write);
}

void HotKeys::roll() {
  io::Nanos now = loop_.now(), length = now - began_;
  if (length < kWindow) return;
  // Whatever comes after the window's end rolls it: what it holds is older than that end.
  std::swap(current_, last_);
  std::swap(current_samples_, last_samples_);
  current_.clear();
  current_samples_ = 0;
  last_length_ = kWindow;
  if (length >= 2 * kWindow) {
    last_.clear();
    last_samples_ = 0;
  }
  began_ = now;
}

HotKeys::Report HotKeys::report(size_t prefixes_max) {
  roll();
  Report report;
  report.seconds = static_cast<double>(loop_.now() - began_ + last_length_) / 1e9;
  report.requests = (current_samples_ + last_samples_) * kSampleOneIn;
  std::map<std::pair<std::string_view, bool>, Hot> merged;
  for (const PrefixCounts* counts : {&current_, &last_}) {
    for (const PrefixCounts::Counter& c : counts->all()) {
      Hot& hot = merged[{c.prefix, c.whole_key}];
      hot.reads += c.reads * kSampleOneIn;
      hot.writes += c.writes * kSampleOneIn;
    }
  }
  std::vector<Hot> all;
  for (auto& [name, hot] : merged) {
    hot.prefix = name.first;
    hot.whole_key = name.second;
    all.push_back(std::move(hot));
  }
  // Of equal ones the longer first: it says more.
  std::sort(all.begin(), all.end(), [](const Hot& a, const Hot& b) {
    if (requests_of(a) != requests_of(b)) return requests_of(a) > requests_of(b);
    if (a.prefix.size() != b.prefix.size()) return a.prefix.size() > b.prefix.size();
    return a.prefix < b.prefix;
  });
  all.resize(std::min(all.size(), kComparedMax));
  for (const Hot& candidate : all) {
    if (report.hot.size() >= prefixes_max) break;
    bool said = std::any_of(all.begin(), all.end(), [&](const Hot& other) {
      return extends(other, candidate) &&
             static_cast<double>(requests_of(other)) >= kSameShare * static_cast<double>(requests_of(candidate));
    });
    if (!said) report.hot.push_back(candidate);
  }
  return report;
}

}  // namespace fairlead::api
