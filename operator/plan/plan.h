// The operator's mind: observed + intent in, at most one action with its reason out.
//
// Pure: no clock, thread, file, socket, randomness or hash-map order; the same input gives the same
// output to the byte. Any prefix of the actions it asks for may be lost or repeated: each decision
// starts from what is there.
//
// Invariants (checked by a judge of its own in the tests):
//   - state=new goes only to a pod whose member holds a recorded grant for the very volume that
//   exists, was never heard
//     before, and whose cluster has no latched ID (rule 6); a grant is written once;
//   - a granted member whose volume is not there any more gets no pod and no volume (it would vote
//   without memory);
//   - nothing with a foreign owner is adopted, changed or deleted (rule 15); a terminating object
//   is neither there nor
//     gone (rule 17);
//   - a pod is deleted only when it has failed, never came up under a spec that was corrected
//   since, or its cluster goes;
//   - departure: pod, then volume, then finalizer (rule 9).
#pragma once

#include "operator/plan/decision.h"
#include "operator/plan/observed.h"

namespace fairlead::plan {

Decision plan(const Observed& observed);

int quorum(int voters);

// Short name of what a pod is made from (image, resources, fix_permissions); a pod carries the one
// of its target.
std::string template_id(const Target& target);

// Names of a cluster's objects: the one place where they are made up.
std::string volume_name(const std::string& member);
std::string peer_service_name(const std::string& cluster);
std::string client_service_name(const std::string& cluster);
std::string budget_name(const std::string& cluster);

// A failed pod is replaced at the earliest this long after it was created, so that a node that
// refuses every pod does not get one per loop.
inline constexpr TimeMs kFailedPodAgeMinMs = 10'000;

}  // namespace fairlead::plan
