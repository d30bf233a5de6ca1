// A set of keys as merged intervals: what a user may read, or write.
//
// Ranges are etcd's: range_end "" = the one key, "\0" = every key >= key, else [key, range_end).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fairlead::mvcc {

class KeyRanges {
 public:
  void add(std::string_view key, std::string_view range_end);
  void finish();  // after the last add(), before the first contains(): sorts and merges
  // Whether every key of the range is in the set. Neighbouring intervals cover a range that spans both.
  bool contains(std::string_view key, std::string_view range_end) const;
  size_t size() const { return intervals_.size(); }

 private:
  struct Interval {
    std::string from;
    std::string to;  // exclusive; unused if open
    bool open = false;
  };
  std::vector<Interval> intervals_;  // finished: sorted, apart
};

}  // namespace fairlead::mvcc
