// Puts under load, as `check` makes them: many clients, each with a connection of its own and one request at a time,
// fed by one stream of requests, evenly or as fast as they go.
//
// Threads: the caller's only; all clients share one completion queue. Bounds: one request per client under way, one
// more per client waiting.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ctl/client.h"

namespace fairlead::ctl {

struct LoadPlan {
  std::string prefix;      // of every key
  size_t key_bytes = 0;    // behind the prefix: random ones first, then zeros
  size_t value_bytes = 0;  // zeros
  int clients = 1;
  double rate_per_second = 0;        // 0: as fast as the clients go
  int64_t requests_max = 0;          // ends after so many; 0: no limit
  std::chrono::seconds duration{0};  // ends after that; 0: no limit
};

struct LoadReport {
  std::vector<double> seconds;            // of each put that went well, sorted
  std::map<std::string, int64_t> errors;  // text -> how often
  double total_seconds = 0;               // from the first request to the last answer
  double per_second() const { return total_seconds > 0 ? static_cast<double>(seconds.size()) / total_seconds : 0; }
  double slowest() const { return seconds.empty() ? 0 : seconds.back(); }
  double deviation() const;  // standard deviation of `seconds`; NaN without any, as in Go
};

// `token`: of the caller, or "". `each`: after every answer and about five times a second, with the number of answers
// so far and the seconds since the beginning; false ends the load early.
LoadReport run_load(const ClientOptions& options, const std::string& token, const LoadPlan& plan,
                    const std::function<bool(int64_t answers, double seconds)>& each);

}  // namespace fairlead::ctl
