// The Kubernetes objects that make up a cluster, as JSON: what the operator writes, and whether
// what is there holds it. Pure functions. Names come from operator/plan, labels from here.
//
// Who owns what: the FairleadCluster owns (as controller) its FairleadMembers, Services and
// PodDisruptionBudget; a FairleadMember owns its Pod. PersistentVolumeClaims have no owner on
// purpose: data is never left to the garbage collector, which deletes in any order and also when an
// owner vanishes by mistake. They carry UIDs as labels instead.
#pragma once

#include <string>

#include "operator/crd/types.h"
#include "operator/kube/object.h"
#include "operator/plan/decision.h"

namespace fairlead::ops {

using kube::Json;

inline constexpr const char* kFieldManager = "fairlead-operator";
inline constexpr const char* kLabelCluster = "fairlead.io/cluster";
inline constexpr const char* kLabelClusterUid = "fairlead.io/cluster-uid";
inline constexpr const char* kLabelMember = "fairlead.io/member";
inline constexpr const char* kLabelMemberUid = "fairlead.io/member-uid";
inline constexpr const char* kLabelVoter = "fairlead.io/voter";
inline constexpr const char* kAnnotationTemplate = "fairlead.io/template";

inline constexpr int kClientPort = 2379;
inline constexpr int kPeerPort = 2380;
inline constexpr int kMetricsPort = 2381;
inline constexpr int kServerUid = 65532;
inline constexpr int kTerminationGraceSeconds = 30;

namespace gvr {
inline const kube::Gvr kClusters{"fairlead.io", "v1alpha1", "fairleadclusters"};
inline const kube::Gvr kMembers{"fairlead.io", "v1alpha1", "fairleadmembers"};
}  // namespace gvr

std::string cluster_selector(const std::string& cluster);

// `cluster` is the live object of the API server: owner references are made from it.
Json member_object(const Json& cluster, const std::string& name);
Json volume_object(const Json& cluster, const std::string& member, const std::string& member_uid,
                   const crd::IntentTarget& target);
Json pod_object(const Json& cluster, const Json& member, const crd::Intent& intent, plan::StartState state);
Json peer_service_object(const Json& cluster);
Json client_service_object(const Json& cluster);
Json budget_object(const Json& cluster, int min_available);

// True when every field of `wanted` is in `live` with the same value, and every element of its
// lists in some element. What only `live` has (defaults, other people's additions) does not count:
// it could not be taken away by an apply either.
bool holds(const Json& live, const Json& wanted);
bool as_wanted(const Json& live, const Json& wanted);  // spec and labels

std::string peer_url(const std::string& ns, const std::string& cluster, const std::string& member);
std::string client_url(const std::string& ns, const std::string& cluster, const std::string& member);

}  // namespace fairlead::ops
