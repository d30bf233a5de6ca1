// What the planner is told about one FairleadCluster: plain data, read live just before the
// decision (rule 13).
//
// Rule numbers in this folder are those of README.md beside this file. Nothing here reads a clock
// or draws a random number: the time and a few random names are inputs. Times are Unix
// milliseconds; sizes are bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"

namespace fairlead::plan {

using TimeMs = int64_t;

enum class Reclaim { kDelete, kRetain };

// The part of a cluster's spec that members are made from. The planner compares it and passes it
// on.
struct Target {
  int replicas = 0;
  std::string image;
  int64_t storage_size_bytes = 0;
  std::string storage_class;  // empty: the default class
  std::string resources;      // canonical text, opaque here
  bool fix_permissions = false;

  bool operator==(const Target&) const = default;
};

// One member of the first generation, as the intent remembers it. Fields are filled once and never
// change after.
struct IntentMember {
  std::string name;  // FairleadMember and Pod name; random suffix, never reused (rules 5, 16)
  // UID of its FairleadMember, and of the PVC that "initial-cluster-state=new" was granted for.
  // Empty: no grant yet.
  std::string member_uid;
  std::string volume_uid;
  // Set when the member was first heard: from then on it is never started as new.
  MemberId member_id;

  bool granted() const { return !volume_uid.empty(); }
  bool operator==(const IntentMember&) const = default;
};

// The record that is written before an effect and read back as an input: the only part of status
// that is one.
struct Intent {
  bool recorded = false;
  std::string token;  // initial-cluster-token; carries the cluster's UID
  std::vector<IntentMember> members;
  Target target;         // latched when the intent was written
  ClusterId cluster_id;  // latched when every member of the first generation reported the same one;
                         // 0: not yet

  bool operator==(const Intent&) const = default;
};

struct Cluster {
  std::string name_space;
  std::string name;
  std::string uid;
  std::string resource_version;
  int64_t generation = 0;
  bool terminating = false;
  bool has_finalizer = false;
  Target spec;
  Reclaim reclaim = Reclaim::kDelete;
  Intent intent;
};

struct Member {
  std::string name;
  std::string uid;
  std::string resource_version;
  std::string owner_uid;  // UID of the controller owner; must be the cluster's
  bool terminating = false;
  bool has_finalizer = false;
};

enum class VolumePhase { kPending, kBound, kLost };

struct Volume {  // a PersistentVolumeClaim
  std::string name;
  std::string uid;
  std::string resource_version;
  std::string member_uid;   // label: UID of the FairleadMember it was made for
  std::string cluster_uid;  // label
  bool terminating = false;
  VolumePhase phase = VolumePhase::kPending;
};

enum class PodPhase { kPending, kRunning, kSucceeded, kFailed, kUnknown };

struct Pod {
  std::string name;
  std::string uid;
  std::string resource_version;
  std::string owner_uid;  // UID of the controller owner; must be its FairleadMember's
  bool terminating = false;
  PodPhase phase = PodPhase::kPending;
  bool ready = false;
  std::string template_id;  // template_id() of the target it was made from
  std::string problem;      // why a container waits or a pod is not scheduled ("ImagePullBackOff",
                            // "Unschedulable"); may be empty
  TimeMs created_ms = 0;
};

struct Service {
  std::string uid;
  std::string resource_version;
  std::string owner_uid;
  bool terminating = false;
  bool as_wanted = true;  // the live object holds every field that the operator sets
};

struct Budget {  // PodDisruptionBudget
  std::string uid;
  std::string resource_version;
  std::string owner_uid;
  bool terminating = false;
  int min_available = 0;  // 0 also when the live object uses another form
  bool as_wanted = true;  // everything but min_available
};

// Answer of one member to Status, or since when there is none (rule 14: unknown is not healthy).
struct Endpoint {
  std::string name;  // the pod asked
  bool answered = false;
  TimeMs unknown_since_ms = 0;  // when !answered
  std::string error;            // when !answered
  ClusterId cluster_id;
  MemberId member_id;
  MemberId leader_id;  // 0: it knows no leader
  Term term;
  bool learner = false;
  std::string version;
  int64_t db_size_bytes = 0;
};

struct ListedMember {
  MemberId id;
  std::string name;  // empty while the member never started
  std::vector<std::string> peer_urls;
  bool learner = false;
};

// The linearizable MemberList of this round: a quorum confirmed it.
struct MemberList {
  bool asked = false;     // at least one member could be asked
  bool answered = false;  // and one of them answered
  std::string error;      // when asked and not answered
  std::vector<ListedMember> members;
};

// A proposal through Raft that changes nothing: the probe behind `Available`.
struct WriteProbe {
  bool asked = false;
  bool answered = false;
  std::string error;  // when asked and not answered
};

struct Observed {
  TimeMs now_ms = 0;
  Cluster cluster;
  std::vector<Member> members;  // all FairleadMembers that name this cluster, whoever owns them
  std::vector<Volume> volumes;  // all PVCs with a name or a label of this cluster
  std::vector<Pod> pods;
  std::optional<Service> peer_service;
  std::optional<Service> client_service;
  std::optional<Budget> budget;
  std::vector<Endpoint> endpoints;
  MemberList member_list;
  WriteProbe write_probe;
  // At least target.replicas, distinct; used only by the first intent.
  std::vector<std::string> random_suffixes;
};

}  // namespace fairlead::plan
