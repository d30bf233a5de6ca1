// The built-in kinds the simulated server knows, and the few rules of theirs that an operator meets: what the real
// server fills in on create, and what it refuses to change. Internal to operator/sim.
// Not done: that a claim may grow only where its storage class allows expansion.
#pragma once

#include <string>
#include <vector>

#include "operator/sim/server.h"

namespace fairlead::apisim {

std::vector<ResourceInfo> builtin_resources();

// Fills in what the server sets on create (pod phase, claim finalizer, ...). `address` is the next free cluster IP.
void complete_builtin(const ResourceInfo& info, Json& object, const std::string& address);
// Carries over what a replace may leave out (a service's cluster IP).
void carry_over_builtin(const ResourceInfo& info, const Json& before, Json& after);
// Violations as "field: why"; `before` null: a create.
std::vector<std::string> validate_builtin(const ResourceInfo& info, const Json& object, const Json* before);
// Metadata rules of every kind: names, labels, owner references, finalizers.
std::vector<std::string> validate_metadata(const Gvr& gvr, const Json& object, const Json* before);

}  // namespace fairlead::apisim
