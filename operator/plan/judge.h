// Judges decisions for tests. It shares no code with the planner: it knows the plain data and the
// rules, and has its own look-ups. A judge that calls the planner's helpers would repeat the
// planner's mistakes.
#pragma once

#include <string>
#include <vector>

#include "operator/plan/decision.h"
#include "operator/plan/observed.h"

namespace fairlead::plan {

// What is wrong with this decision on these observations; empty: nothing. Each line begins with a
// rule number.
std::vector<std::string> judge(const Observed& o, const Decision& d);

}  // namespace fairlead::plan
