// Shared between plan.cc (what to do) and report.cc (what to say): look-ups in Observed, and what
// stands in the way.
#pragma once

#include <string>
#include <vector>

#include "operator/plan/decision.h"
#include "operator/plan/plan.h"

namespace fairlead::plan {

// Something that keeps the planner from acting. `stalled`: it will not pass without a person.
struct Block {
  std::string member;  // empty: of the whole cluster
  std::string reason;  // CamelCase
  std::string text;
  std::vector<int> rules;
  bool stalled = false;
};

// A difference between the spec and the latched target that this version does not act on (rules 18,
// 20).
struct SpecGap {
  std::string reason;
  std::string text;
};

const Member* find_member(const Observed& o, const std::string& name);
const Volume* find_volume(const Observed& o, const std::string& name);
const Pod* find_pod(const Observed& o, const std::string& name);
const Endpoint* find_endpoint(const Observed& o, const std::string& name);

bool image_corrected(const Observed& o);  // the spec was corrected before any member was heard
std::vector<SpecGap> spec_gaps(const Observed& o);
bool cluster_ids_differ(const Observed& o);
bool any_member_heard(const Intent& intent);
int live_voters(const Observed& o);  // by the member list, 0 when there is none

Report make_report(const Observed& o, const Decision& decision, const std::vector<Block>& blocks);

}  // namespace fairlead::plan
