// What a measurement yields: latencies, and what the server processes used meanwhile, as one line
// of JSON.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bench/options.h"

namespace fairlead::bench {

// CPU (user and system, all threads) and bytes sent to disk of some processes since they started, and their memory.
struct Usage {
  double cpu_seconds = 0;
  double write_bytes = 0;
  double anonymous_bytes = 0;  // resident, without files
  double wall_seconds = 0;     // CLOCK_MONOTONIC
};
Usage usage_of(const std::vector<int>& pids);
Usage own_usage();

// A measured stretch of time: what the servers and this process had used at its ends.
struct Window {
  Usage from, to, own_from, own_to;
  void begin(const Options& options);
  void end(const Options& options);
  double seconds() const { return to.wall_seconds - from.wall_seconds; }
  double cpu_seconds() const { return to.cpu_seconds - from.cpu_seconds; }
  double own_cpu_seconds() const { return own_to.cpu_seconds - own_from.cpu_seconds; }
};

int64_t monotonic_nanos();

// Latencies; exact, in nanoseconds.
class Latencies {
 public:
  void add(int64_t nanos) { values_.push_back(static_cast<uint32_t>(std::min<int64_t>(nanos, UINT32_MAX))); }
  void clear() { values_.clear(); }
  size_t size() const { return values_.size(); }
  double quantile_ms(double q);  // sorts

 private:
  std::vector<uint32_t> values_;
};

// A flat JSON object of numbers and strings.
class Json {
 public:
  Json& number(const std::string& name, double value);
  Json& text(const std::string& name, const std::string& value);
  std::string line() const { return "{" + body_ + "}"; }

 private:
  std::string body_;
};

// The usual figures of a loop of operations.
void put_rates(Json& json, const Options& options, const std::string& client, uint64_t operations, uint64_t errors,
               const Window& window, Latencies& latencies);
// What waiting cost: an operation is one of `things`, held for a second.
void put_idle(Json& json, const Options& options, double things, const Window& window);

// Key number n, key_bytes long; ascending in n.
std::string key_name(uint64_t n, size_t key_bytes);
// Incompressible-looking values: `size` bytes that differ by seed.
std::string value_of(uint64_t seed, size_t size);

// xorshift64*: the same load in every run.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 1) {}
  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1Dull;
  }

 private:
  uint64_t state_;
};

}  // namespace fairlead::bench
