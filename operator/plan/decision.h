// What the planner answers: at most one action with its reason, and what to tell the user.
//
// An action is plain data. It names the exact object it was decided on (UID, resourceVersion); the
// executor checks that again at the moment of writing and gives the action up when it no longer
// holds (rules 15, 19).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "operator/plan/observed.h"

namespace fairlead::plan {

enum class ActionKind {
  // Records: written into the cluster's status under its resourceVersion, before the effects that
  // rely on them.
  kRecordIntent,     // members' names, token, target
  kRecordTarget,     // a corrected spec supersedes the latched one; only while no member was ever
                     // heard (rule 20)
  kGrantNew,         // member `name` may start with state=new on volume `volume_uid`: once, ever (rule 6)
  kRecordStarted,    // member `name` was heard with `member_id`
  kRecordClusterId,  // all members report `cluster_id`
  // Objects.
  kAddFinalizer,
  kApplyPeerService,
  kApplyClientService,
  kApplyBudget,  // integer minAvailable (rule 28)
  kCreateMember,
  kCreateVolume,
  kCreatePod,
  kDeletePod,  // a failed pod, or a pod of a cluster that goes away; never a pod that may serve
  // Departure of the whole cluster, in this order (rule 9).
  kDeleteMember,
  kDeleteVolume,
  kReleaseMember,  // remove its finalizer
  kDeleteBudget,
  kDeleteClientService,
  kDeletePeerService,
  kReleaseCluster,
};

std::string_view action_name(ActionKind kind);  // "RecordIntent", ...

enum class StartState { kNew, kExisting };

struct Action {
  ActionKind kind;
  std::string name;              // object acted on (for records: the member, where there is one)
  std::string uid;               // of that object when it exists; for kCreate...: of the owner
  std::string resource_version;  // of that object when it exists; for records: the cluster's
  Intent intent;                 // kRecordIntent, kRecordTarget, kGrantNew, kRecordStarted, kRecordClusterId:
                                 // whole new record
  StartState state = StartState::kExisting;  // kCreatePod
  std::string volume_uid;                    // kGrantNew, kCreatePod: the PVC to start on
  int min_available = 0;                     // kApplyBudget

  std::string reason;      // CamelCase, for the Event
  std::string text;        // one sentence for people
  std::vector<int> rules;  // the rules that shaped it
};

enum class Truth { kFalse, kTrue, kUnknown };
std::string_view truth_name(Truth truth);  // "False", "True", "Unknown"

struct Condition {
  std::string type;
  Truth status = Truth::kUnknown;
  std::string reason;
  std::string message;
};

struct MemberReport {
  std::string name;
  std::string pod_uid;
  std::string volume_uid;
  MemberId id;
  bool healthy = false;  // pod ready, endpoint answers, right cluster, knows the leader
  bool leader = false;
  bool learner = false;
  std::string version;
  int64_t db_size_bytes = 0;
  std::string reason;  // CamelCase: "Healthy", "PodMissing", "VolumeLost", ...
  std::string message;
};

// Everything `status` shows apart from the intent. Computed anew in every round, never read back
// (rule 13).
struct Report {
  int64_t observed_generation = 0;
  int replicas = 0;           // pods that exist and do not terminate (scale subresource)
  int ready_replicas = 0;     // healthy members
  int voters = 0;             // by the live member list, else by the intent
  std::string leader;         // member name; empty: none known
  std::string version;        // lowest version that answered
  int64_t db_size_bytes = 0;  // largest that answered
  std::vector<MemberReport> members;
  std::vector<Condition> conditions;  // always all types of kConditionTypes, in that order
};

inline constexpr std::string_view kConditionTypes[] = {
    "Ready",       "Available", "QuorumHealthy", "FaultTolerant", "ClusterIDConsistent",
    "Reconciling", "Degraded",  "Stalled",       "SpecAccepted"};

struct Decision {
  std::optional<Action> action;
  std::string why;         // why this action, or why none
  std::vector<int> rules;  // when there is no action: the rules that forbid one
  TimeMs wake_at_ms = 0;   // when there is no action: look again at this time even without an event; 0: default
  Report report;
};

}  // namespace fairlead::plan
