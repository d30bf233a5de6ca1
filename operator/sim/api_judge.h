// Judges a run by the API server's own log of writes. It knows neither the planner nor the
// reconciler: it replays the log, keeps the state of the world beside it, and asks of each write by
// an operator whether it was safe at that moment.
#pragma once

#include <string>
#include <vector>

#include "operator/sim/server.h"

namespace fairlead::apisim {

// What was wrong, each line beginning with a rule number; empty: nothing. `operator_prefix`: actors
// whose names begin with it are operators.
std::vector<std::string> judge_log(const std::vector<WriteRecord>& log, const std::string& operator_prefix);

// How many objects of each resource operators created and deleted: equal runs do equal work.
std::string count_writes(const std::vector<WriteRecord>& log, const std::string& operator_prefix);

}  // namespace fairlead::apisim
