#include "server/mvcc/auth_ranges.h"

#include <algorithm>

namespace fairlead::mvcc {
namespace {
constexpr std::string_view kToTheEnd("\0", 1);
}

void KeyRanges::add(std::string_view key, std::string_view range_end) {
  Interval interval{std::string(key), std::string(range_end), range_end == kToTheEnd};
  if (range_end.empty()) interval.to = interval.from + '\0';
  if (!interval.open && interval.to <= interval.from) return;  // holds no key
  intervals_.push_back(std::move(interval));
}

void KeyRanges::finish() {
  std::sort(intervals_.begin(), intervals_.end(), [](const Interval& a, const Interval& b) { return a.from < b.from; });
  std::vector<Interval> merged;
  for (Interval& next : intervals_) {
    Interval* last = merged.empty() ? nullptr : &merged.back();
    if (!last || (!last->open && last->to < next.from)) {
      merged.push_back(std::move(next));
    } else if (!last->open && (next.open || last->to < next.to)) {
      last->open = next.open;
      last->to = std::move(next.to);
    }
  }
  intervals_ = std::move(merged);
}

bool KeyRanges::contains(std::string_view key, std::string_view range_end) const {
  // The last interval that begins at or before the key is the only one that can hold it.
  auto it = std::upper_bound(intervals_.begin(), intervals_.end(), key,
                             [](std::string_view k, const Interval& interval) { return k < interval.from; });
  if (it == intervals_.begin()) return false;
  const Interval& holder = *--it;
  if (!holder.open && key >= holder.to) return false;
  if (range_end.empty()) return true;
  if (range_end == kToTheEnd) return holder.open;
  // A range that ends before it begins holds no key; as in etcd it must touch the interval all the same.
  return range_end > holder.from && (holder.open || range_end <= holder.to);
}

}  // namespace fairlead::mvcc
