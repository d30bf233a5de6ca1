// Which prefixes of keys are asked for most: a sampled sketch, for `fairleadctl top`.
//
// One request in kSampleOneIn, at random distances so that no rhythm of a client hides from it, is counted under each
// prefix of its key that ends at a separator ('/' or ':'), at most kLevelsMax of them, and under the key itself. Counts
// are kept by the Space-Saving algorithm (Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k
// Elements in Data Streams", 2005): at most kPrefixesMax counters; a new prefix takes the place of the rarest one and
// its count as its error. What a prefix is reported with was really seen (times kSampleOneIn), never more.
//
// Two windows of kWindow are kept, so that an answer speaks of the last ten to twenty seconds. Memory: at most
// 2 * kPrefixesMax * (kShownBytesMax + ~150) bytes, 256 KiB. Cost of a request: a decrement and a branch; every
// sixteenth or so a few look-ups in a hash map. Threads: the loop's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/io/io.h"

namespace fairlead::api {

// Counters of prefixes over one stretch of time.
class PrefixCounts {
 public:
  struct Counter {
    std::string prefix;
    bool whole_key = false;  // a key, not the beginning of keys
    uint64_t reads = 0, writes = 0;
    uint64_t error = 0;  // what the counter held when it was taken over
    uint64_t rank() const { return reads + writes + error; }
  };

  explicit PrefixCounts(size_t counters_max) : counters_max_(counters_max) {}
  void add(std::string_view prefix, bool whole_key, bool write);
  void clear();
  const std::vector<Counter>& all() const { return counters_; }

 private:
  size_t rarest();

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  size_t counters_max_;
  std::vector<Counter> counters_;
  std::unordered_map<std::string, size_t, Hash, std::equal_to<>> at_;  // text with a byte for whole_key -> counter
  std::string scratch_;
  size_t hand_ = 0;  // where the search for a rarest one goes on
  uint64_t least_ = 0;
};

class HotKeys {
 public:
  static constexpr uint32_t kSampleOneIn = 16;
  static constexpr size_t kPrefixesMax = 512;
  static constexpr size_t kLevelsMax = 4;
  static constexpr size_t kShownBytesMax = 96;  // of a prefix or key
  static constexpr io::Nanos kWindow = 10 * io::kSecond;

  explicit HotKeys(const io::Loop& loop) : loop_(loop), began_(loop.now()) {}

  void saw_read(std::string_view key) {
    if (--left_ == 0) sample(key, false);
  }
  void saw_write(std::string_view key) {
    if (--left_ == 0) sample(key, true);
  }

  struct Hot {
    std::string prefix;
    bool whole_key = false;
    uint64_t reads = 0, writes = 0;  // requests, estimated
  };
  struct Report {
    double seconds = 0;     // that it speaks of
    std::vector<Hot> hot;   // busiest first; a prefix only where it says more than the longer one in its place
    uint64_t requests = 0;  // of all prefixes, estimated
  };
  Report report(size_t prefixes_max);

 private:
  void sample(std::string_view key, bool write);
  void roll();  // to the next window where this one is over

  const io::Loop& loop_;
  uint32_t left_ = kSampleOneIn;
  uint64_t random_ = 0x9e3779b97f4a7c15;
  PrefixCounts current_{kPrefixesMax}, last_{kPrefixesMax};
  uint64_t current_samples_ = 0, last_samples_ = 0;
  io::Nanos began_;
  io::Nanos last_length_ = 0;
};

}  // namespace fairlead::api
