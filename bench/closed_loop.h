// A closed loop of puts or point reads: as many calls open as were asked for, a new one for each that is answered.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/modes.h"
#include "bench/result.h"

namespace fairlead::bench {

class ClosedLoop {
 public:
  struct What {
    bool reads = false;       // else puts
    bool sequential = false;  // the keys in order, each once, then it ends
    bool spread = false;      // each call on the next connection; else a connection keeps its calls
  };
  // All must outlive it.
  ClosedLoop(std::vector<std::unique_ptr<net::Client>>& clients, const Options& options, What what);

  void start();
  void stop() { stopping_ = true; }
  int open() const { return open_; }
  void reset();  // at the end of the warm-up: counts from here

  uint64_t operations = 0, errors = 0;
  uint64_t operations_total = 0;  // warm-up and end included
  Latencies latencies;
  std::string first_error;

 private:
  Bytes request();
  void next(net::Client& client);

  std::vector<std::unique_ptr<net::Client>>& clients_;
  const Options& options_;
  What what_;
  net::Metadata metadata_;
  net::CallOptions call_options_;
  Random random_;
  std::vector<std::string> values_;
  size_t next_client_ = 0;
  uint64_t next_key_ = 0;
  int open_ = 0;
  bool stopping_ = false;
};

// Warm-up, window, end, and the figures. Fails when nothing succeeded.
Status measure_loop(io::RealLoop& loop, const Options& options, ClosedLoop& load, Json& json);

}  // namespace fairlead::bench
