// Between the three shapes of one thing: JSON of the API server, crd types, and the planner's plain
// data.
#pragma once

#include <string>

#include "base/status.h"
#include "operator/crd/types.h"
#include "operator/kube/object.h"
#include "operator/plan/decision.h"

namespace fairlead::ops {

plan::Target to_plan(const crd::IntentTarget& target);
plan::Target to_plan(const crd::ClusterSpec& spec);
plan::Intent to_plan(const crd::Intent& intent, const std::string& cluster_id);
crd::Intent to_crd(const plan::Intent& intent);

plan::Cluster to_plan(const crd::Cluster& cluster);
plan::Member member_to_plan(const crd::Meta& meta);
plan::Volume volume_to_plan(const kube::Json& claim);
plan::Pod pod_to_plan(const kube::Json& pod);

// The whole status: the intent that is to be there, and the report. `previous` gives the transition
// times.
crd::ClusterStatus make_status(const plan::Report& report, const plan::Intent& intent, const plan::Decision& decision,
                               const crd::Cluster& previous, int64_t now_ms);
crd::MemberStatus make_member_status(const plan::MemberReport& report, const crd::Member& previous, int64_t now_ms);

}  // namespace fairlead::ops
