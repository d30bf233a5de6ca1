// The two kinds of fairlead.io/v1alpha1 as C++ types: FairleadCluster (flc) and FairleadMember
// (flm).
//
// parse_*: from the API server's JSON, with an error that names the field ("spec.replicas: want an
// integer, got a string"). Unknown fields are ignored: a newer CRD may have them. Absent fields get
// the defaults of the schema. to_json: the shape that the schema in manifests/crds accepts. IDs are
// 16 hex digits, times RFC 3339, sizes quantities.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/status.h"

namespace fairlead::crd {

inline constexpr std::string_view kGroup = "fairlead.io";
inline constexpr std::string_view kApiVersion = "fairlead.io/v1alpha1";
inline constexpr std::string_view kClusterKind = "FairleadCluster";
inline constexpr std::string_view kClusterPlural = "fairleadclusters";
inline constexpr std::string_view kMemberKind = "FairleadMember";
inline constexpr std::string_view kMemberPlural = "fairleadmembers";
inline constexpr std::string_view kClusterFinalizer = "fairlead.io/cluster";
inline constexpr std::string_view kMemberFinalizer = "fairlead.io/member";
inline constexpr std::string_view kDefaultImage = "localhost/fairlead:dev";
inline constexpr size_t kNameLengthMax = 52;  // <name>-<suffix> must fit a DNS label

// The parts of metadata that the operator looks at, of any object.
struct Meta {
  std::string name_space;
  std::string name;
  std::string uid;
  std::string resource_version;
  std::string creation_timestamp;
  int64_t generation = 0;
  bool terminating = false;  // deletionTimestamp is set
  std::vector<std::string> finalizers;
  std::map<std::string, std::string> labels;
  std::string owner_uid;  // of the owner with controller: true; empty: none

  bool has_finalizer(std::string_view name) const;
};

struct StorageSpec {
  std::string size = "1Gi";
  std::string storage_class_name;  // empty: the default class
  std::string reclaim = "Delete";  // Delete | Retain
  // An init container running as root hands the volume to the server\'s user.
  bool fix_permissions = false;
};

struct ClusterSpec {
  int replicas = 3;
  std::string image = std::string(kDefaultImage);
  std::string bootstrap_mode = "Static";
  StorageSpec storage;
  nlohmann::json resources = nlohmann::json::object();  // corev1.ResourceRequirements
};

struct Condition {
  std::string type;
  std::string status;  // True | False | Unknown
  std::string reason;
  std::string message;
  int64_t observed_generation = 0;
  std::string last_transition_time;
};

// status.intent: what was promised before it was done. See operator/plan/observed.h.
struct IntentMember {
  std::string name;
  std::string member_uid;
  std::string volume_uid;
  std::string member_id;  // hex
};
struct IntentTarget {
  int replicas = 0;
  std::string image;
  std::string storage_size;
  std::string storage_class_name;
  nlohmann::json resources = nlohmann::json::object();
  bool fix_permissions = false;
};
struct Intent {
  bool recorded = false;
  std::string token;
  std::vector<IntentMember> members;
  IntentTarget target;
};

struct MemberSummary {  // status.members[]
  std::string name;
  std::string id;  // hex
  bool ready = false;
  std::string role;  // Leader | Follower | Learner | Unknown
  std::string version;
  std::string volume_uid;
  std::string reason;
};

struct ClusterStatus {
  int64_t observed_generation = 0;
  std::string cluster_id;  // hex; empty until every first member reported the same
  Intent intent;
  int replicas = 0;
  int ready_replicas = 0;
  int voters = 0;
  std::string selector;
  std::string leader;
  std::string quorum;  // "2/3 healthy, needs 2"
  std::string version;
  std::string db_size;
  std::vector<MemberSummary> members;
  std::string plan_next;
  std::string plan_why;
  std::vector<Condition> conditions;
};

struct Cluster {
  Meta meta;
  ClusterSpec spec;
  ClusterStatus status;
};

struct MemberSpec {
  std::string cluster_name;
  std::string volume_name;
};
struct MemberStatus {
  int64_t observed_generation = 0;
  std::string member_id;
  std::string role;
  std::string version;
  std::string db_size;
  std::string pod_uid;
  std::string volume_uid;
  std::vector<Condition> conditions;
};
struct Member {
  Meta meta;
  MemberSpec spec;
  MemberStatus status;
};

Result<Meta> parse_meta(const nlohmann::json& object);
Result<Cluster> parse_cluster(const nlohmann::json& object);
Result<Member> parse_member(const nlohmann::json& object);

nlohmann::json to_json(const ClusterSpec& spec);
nlohmann::json to_json(const ClusterStatus& status);
nlohmann::json to_json(const Condition& condition);
nlohmann::json to_json(const MemberSpec& spec);
nlohmann::json to_json(const MemberStatus& status);

// "1Gi", "500M", "1073741824", "1.5Gi" -> bytes, rounded up.
Result<int64_t> parse_quantity(std::string_view text);
std::string format_quantity(int64_t bytes);  // exact: "1Gi", "1500Ki", "1001"
std::string human_size(int64_t bytes);       // for a column: "20 KiB", "1.5 GiB"

std::string to_hex(uint64_t id);  // 16 digits
Result<uint64_t> parse_hex(std::string_view text);

// Writes `next` conditions over `previous` ones: lastTransitionTime stays where the status did not
// change.
std::vector<Condition> merge_conditions(const std::vector<Condition>& previous, std::vector<Condition> next,
                                        const std::string& now_rfc3339);

std::string rfc3339(int64_t unix_ms);                  // "2026-11-21T16:00:00Z"
Result<int64_t> parse_rfc3339(std::string_view text);  // Unix milliseconds; UTC only

}  // namespace fairlead::crd
