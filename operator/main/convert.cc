#include "operator/main/convert.h"

#include "operator/main/objects.h"
#include "operator/plan/plan.h"

namespace fairlead::ops {
namespace {

using kube::Json;

constexpr size_t kMessageBytesMax = 4096;  // the schema's limit for plan.why

int64_t bytes_of(const std::string& quantity) {
  const Result<int64_t> bytes = crd::parse_quantity(quantity);
  return bytes.is_ok() ? *bytes : 0;  // the parser of the CRD has refused it before
}

uint64_t id_of(const std::string& hex) {
  const Result<uint64_t> id = crd::parse_hex(hex);
  return id.is_ok() ? *id : 0;
}

constexpr size_t kLastWordsBytesMax = 300;

std::string hex_or_empty(uint64_t id) { return id == 0 ? "" : crd::to_hex(id); }

plan::Target target(int replicas, const std::string& image, const std::string& size, const std::string& storage_class,
                    const Json& resources, bool fix_permissions) {
  // nlohmann's objects are sorted by key, so equal resources give equal text.
  return {replicas, image, bytes_of(size), storage_class, resources.empty() ? "" : resources.dump(), fix_permissions};
}

const char* role_of(const plan::MemberReport& m) {
  if (m.version.empty()) return "Unknown";  // it did not answer
  return m.learner ? "Learner" : m.leader ? "Leader" : "Follower";
}

// The last line that the container's former life wrote, where Kubernetes keeps it (terminationMessagePolicy).
std::string last_words_of(const Json& container) {
  std::string text = kube::string_at(container, {"lastState", "terminated", "message"});
  while (!text.empty() && text.back() == '\n') text.pop_back();
  text.erase(0, text.rfind('\n') + 1);
  // A line of our log: what it says, without the frame.
  if (Json line = Json::parse(text, nullptr, false); line.is_object()) {
    const std::string message = kube::string_at(line, {"msg"}), error = kube::string_at(line, {"error"});
    if (!message.empty()) text = error.empty() ? message : message + ": " + error;
  }
  return text.substr(0, kLastWordsBytesMax);
}

// The first reason why a container of the pod does not run, or why the pod found no node.
std::string problem_of(const Json& pod) {
  for (const char* list : {"initContainerStatuses", "containerStatuses"}) {
    for (const Json& c : kube::at(pod, {"status", list})) {
      const std::string waiting = kube::string_at(c, {"state", "waiting", "reason"});
      if (waiting.empty() || waiting == "PodInitializing" || waiting == "ContainerCreating") continue;
      const std::string words = last_words_of(c);
      return words.empty() ? waiting : waiting + ": " + words;
    }
  }
  for (const Json& c : kube::at(pod, {"status", "conditions"})) {
    if (kube::string_at(c, {"type"}) == "PodScheduled" && kube::string_at(c, {"status"}) == "False") {
      return kube::string_at(c, {"reason"});
    }
  }
  return "";
}

}  // namespace

plan::Target to_plan(const crd::IntentTarget& t) {
  return target(t.replicas, t.image, t.storage_size, t.storage_class_name, t.resources, t.fix_permissions);
}

plan::Target to_plan(const crd::ClusterSpec& s) {
  return target(s.replicas, s.image, s.storage.size, s.storage.storage_class_name, s.resources,
                s.storage.fix_permissions);
}

plan::Intent to_plan(const crd::Intent& intent, const std::string& cluster_id) {
  plan::Intent out;
  out.recorded = intent.recorded;
  out.token = intent.token;
  out.target = to_plan(intent.target);
  out.cluster_id = ClusterId(id_of(cluster_id));
  for (const crd::IntentMember& m : intent.members) {
    out.members.push_back({m.name, m.member_uid, m.volume_uid, MemberId(id_of(m.member_id))});
  }
  return out;
}

crd::Intent to_crd(const plan::Intent& intent) {
  crd::Intent out;
  out.recorded = intent.recorded;
  out.token = intent.token;
  for (const plan::IntentMember& m : intent.members) {
    out.members.push_back({m.name, m.member_uid, m.volume_uid, hex_or_empty(m.member_id.value)});
  }
  out.target.replicas = intent.target.replicas;
  out.target.image = intent.target.image;
  out.target.storage_size = crd::format_quantity(intent.target.storage_size_bytes);
  out.target.storage_class_name = intent.target.storage_class;
  out.target.fix_permissions = intent.target.fix_permissions;
  if (!intent.target.resources.empty()) out.target.resources = Json::parse(intent.target.resources, nullptr, false);
  return out;
}

plan::Cluster to_plan(const crd::Cluster& c) {
  plan::Cluster out;
  out.name_space = c.meta.name_space;
  out.name = c.meta.name;
  out.uid = c.meta.uid;
  out.resource_version = c.meta.resource_version;
  out.generation = c.meta.generation;
  out.terminating = c.meta.terminating;
  out.has_finalizer = c.meta.has_finalizer(crd::kClusterFinalizer);
  out.spec = to_plan(c.spec);
  out.reclaim = c.spec.storage.reclaim == "Retain" ? plan::Reclaim::kRetain : plan::Reclaim::kDelete;
  out.intent = to_plan(c.status.intent, c.status.cluster_id);
  return out;
}

plan::Member member_to_plan(const crd::Meta& meta) {
  return {meta.name,      meta.uid,         meta.resource_version,
          meta.owner_uid, meta.terminating, meta.has_finalizer(crd::kMemberFinalizer)};
}

plan::Volume volume_to_plan(const Json& claim) {
  plan::Volume v;
  v.name = kube::name_of(claim);
  v.uid = kube::uid_of(claim);
  v.resource_version = kube::resource_version_of(claim);
  const auto labels = kube::labels_of(claim);
  if (const auto it = labels.find(kLabelMemberUid); it != labels.end()) v.member_uid = it->second;
  if (const auto it = labels.find(kLabelClusterUid); it != labels.end()) v.cluster_uid = it->second;
  v.terminating = kube::is_terminating(claim);
  const std::string phase = kube::string_at(claim, {"status", "phase"});
  v.phase = phase == "Bound"  ? plan::VolumePhase::kBound
            : phase == "Lost" ? plan::VolumePhase::kLost
                              : plan::VolumePhase::kPending;
  return v;
}

plan::Pod pod_to_plan(const Json& pod) {
  plan::Pod p;
  p.name = kube::name_of(pod);
  p.uid = kube::uid_of(pod);
  p.resource_version = kube::resource_version_of(pod);
  p.owner_uid = kube::string_at(kube::controller_of(pod), {"uid"});
  p.terminating = kube::is_terminating(pod);
  const std::string phase = kube::string_at(pod, {"status", "phase"});
  p.phase = phase == "Running"     ? plan::PodPhase::kRunning
            : phase == "Succeeded" ? plan::PodPhase::kSucceeded
            : phase == "Failed"    ? plan::PodPhase::kFailed
            : phase == "Unknown"   ? plan::PodPhase::kUnknown
                                   : plan::PodPhase::kPending;
  for (const Json& c : kube::at(pod, {"status", "conditions"})) {
    if (kube::string_at(c, {"type"}) == "Ready") p.ready = kube::string_at(c, {"status"}) == "True";
  }
  p.template_id = kube::string_at(pod, {"metadata", "annotations", kAnnotationTemplate});
  p.problem = problem_of(pod);
  const Result<int64_t> created = kube::parse_time(kube::string_at(pod, {"metadata", "creationTimestamp"}));
  p.created_ms = created.is_ok() ? *created : 0;
  return p;
}

namespace {

std::vector<crd::Condition> conditions_of(const plan::Report& report) {
  std::vector<crd::Condition> out;
  for (const plan::Condition& c : report.conditions) {
    out.push_back({c.type, std::string(plan::truth_name(c.status)), c.reason, c.message.substr(0, kMessageBytesMax),
                   report.observed_generation, ""});
  }
  return out;
}

}  // namespace

crd::ClusterStatus make_status(const plan::Report& report, const plan::Intent& intent, const plan::Decision& decision,
                               const crd::Cluster& previous, int64_t now_ms) {
  crd::ClusterStatus s;
  s.observed_generation = report.observed_generation;
  s.cluster_id = hex_or_empty(intent.cluster_id.value);
  s.intent = to_crd(intent);
  s.replicas = report.replicas;
  s.ready_replicas = report.ready_replicas;
  s.voters = report.voters;
  s.selector = cluster_selector(previous.meta.name);
  s.leader = report.leader;
  s.quorum = std::to_string(report.ready_replicas) + "/" + std::to_string(report.voters) + " (needs " +
             std::to_string(plan::quorum(report.voters)) + ")";
  s.version = report.version;
  if (report.db_size_bytes != 0) s.db_size = crd::human_size(report.db_size_bytes);
  for (const plan::MemberReport& m : report.members) {
    s.members.push_back({m.name, hex_or_empty(m.id.value), m.healthy, role_of(m), m.version, m.volume_uid, m.reason});
  }
  s.plan_next =
      decision.action ? std::string(plan::action_name(decision.action->kind)) + " " + decision.action->name : "None";
  s.plan_why = decision.why.substr(0, kMessageBytesMax);
  s.conditions = crd::merge_conditions(previous.status.conditions, conditions_of(report), crd::rfc3339(now_ms));
  return s;
}

crd::MemberStatus make_member_status(const plan::MemberReport& report, const crd::Member& previous, int64_t now_ms) {
  crd::MemberStatus s;
  s.observed_generation = previous.meta.generation;
  s.member_id = hex_or_empty(report.id.value);
  s.role = role_of(report);
  s.version = report.version;
  if (report.db_size_bytes != 0) s.db_size = crd::human_size(report.db_size_bytes);
  s.pod_uid = report.pod_uid;
  s.volume_uid = report.volume_uid;
  s.conditions = crd::merge_conditions(
      previous.status.conditions,
      {{"Ready", report.healthy ? "True" : "False", report.reason, report.message, previous.meta.generation, ""}},
      crd::rfc3339(now_ms));
  return s;
}

}  // namespace fairlead::ops
