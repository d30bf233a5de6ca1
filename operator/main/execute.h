// Carries out one action of the planner: one write to the API server, after asking once more
// whether what the decision rests on is still there (rules 15, 19).
//
// Errors: kAborted or kAlreadyExists mean that the world has moved on; nothing is lost, the next
// round looks again. After an unknown outcome (kube::outcome_unknown) the next round looks again as
// well. Nothing here retries.
#pragma once

#include "base/status.h"
#include "operator/kube/api.h"
#include "operator/main/observe.h"
#include "operator/plan/decision.h"

namespace fairlead::ops {

// Returns the cluster object as it is after the write when the write changed it, else null JSON.
// `status` is what a record is written with: the whole new status, intent and report.
Result<kube::Json> execute(kube::Api& api, const View& view, const plan::Action& action, const kube::Json& status);

// Replaces the status of an object, guarded by its resourceVersion.
Result<kube::Json> write_status(kube::Api& api, const kube::Gvr& gvr, const kube::Json& object,
                                const kube::Json& status);

}  // namespace fairlead::ops
