#include "operator/sim/kubelet.h"

#include <algorithm>

namespace fairlead::apisim {

using kube::at;
using kube::string_at;
namespace gvr = kube::gvr;

namespace {

const std::string kActor = "kubelet";

Json conditions(bool ready) {
  const char* text = ready ? "True" : "False";
  return Json::array({{{"type", "PodScheduled"}, {"status", "True"}},
                      {{"type", "Initialized"}, {"status", "True"}},
                      {{"type", "ContainersReady"}, {"status", text}},
                      {{"type", "Ready"}, {"status", text}}});
}

bool is_ready(const Json& pod) {
  const Json& list = at(pod, {"status", "conditions"});
  return list.is_array() && std::any_of(list.begin(), list.end(), [](const Json& c) {
           return string_at(c, {"type"}) == "Ready" && string_at(c, {"status"}) == "True";
         });
}

// One entry per container of the spec; the restart counts are carried over.
Json container_statuses(const Json& pod, bool ready, int64_t more_restarts) {
  Json statuses = Json::array();
  const Json& old = at(pod, {"status", "containerStatuses"});
  const Json& containers = at(pod, {"spec", "containers"});
  for (size_t i = 0; i < containers.size(); i++) {
    const int64_t restarts = old.is_array() && i < old.size() ? kube::int_at(old[i], {"restartCount"}) : 0;
    statuses.push_back({{"name", string_at(containers[i], {"name"})},
                        {"image", string_at(containers[i], {"image"})},
                        {"ready", ready},
                        {"started", true},
                        {"restartCount", restarts + more_restarts},
                        {"state", {{"running", Json::object()}}}});
  }
  return statuses;
}

std::vector<std::string> claims_of(const Json& pod) {
  std::vector<std::string> names;
  const Json& volumes = at(pod, {"spec", "volumes"});
  if (!volumes.is_array()) return names;
  for (const Json& volume : volumes) {
    const std::string name = string_at(volume, {"persistentVolumeClaim", "claimName"});
    if (!name.empty()) names.push_back(name);
  }
  return names;
}

bool is_over(const Json& pod) {
  const std::string phase = string_at(pod, {"status", "phase"});
  return phase == "Failed" || phase == "Succeeded";
}

}  // namespace

Kubelet::Kubelet(Server& server, KubeletOptions options)
    : server_(server), options_(std::move(options)), ready_([](const Json&) { return true; }) {}

void Kubelet::set_ready_policy(std::function<bool(const Json& pod)> ready) { ready_ = std::move(ready); }

size_t Kubelet::step() {
  size_t changed = 0;
  if (options_.bind_claims) changed += bind_claims();
  changed += schedule_pods();
  changed += run_pods();
  if (options_.remove_terminating) changed += remove_terminated();
  changed += release_claims();
  changed += server_.collect_garbage();
  return changed;
}

size_t Kubelet::settle(int steps_max) {
  for (int i = 0; i < steps_max; i++) {
    if (step() == 0) return static_cast<size_t>(i) + 1;
  }
  CHECK(false, "the simulated cluster does not come to rest");
}

size_t Kubelet::settle_with_time(int64_t ms, int steps_max) {
  const size_t before = settle(steps_max);
  server_.advance_ms(ms);
  return before + settle(steps_max);
}

Status Kubelet::patch(const Gvr& resource, const ObjectKey& key, Json patch, const std::string& subresource) {
  Request r;
  r.verb = kube::Verb::kMergePatch;
  r.gvr = resource;
  r.key = key;
  r.subresource = subresource;
  r.field_manager = kActor;
  r.body = std::move(patch);
  return server_.call(r, kActor).status();
}

Status Kubelet::set_pod_status(const ObjectKey& key, const Json& status_patch) {
  return patch(gvr::kPods, key, {{"status", status_patch}}, "status");
}

size_t Kubelet::bind_claims() {
  size_t changed = 0;
  for (const ObjectPtr& claim : server_.all(gvr::kPersistentVolumeClaims)) {
    if (string_at(*claim, {"status", "phase"}) != "Pending" || kube::is_terminating(*claim)) continue;
    const ObjectKey key = kube::key_of(*claim);
    const Json& size = at(*claim, {"spec", "resources", "requests", "storage"});
    Status status = patch(gvr::kPersistentVolumeClaims, key,
                          {{"spec", {{"volumeName", "pv-" + std::to_string(next_volume_++)}}}}, "");
    if (status.is_ok()) {
      status = patch(gvr::kPersistentVolumeClaims, key,
                     {{"status",
                       {{"phase", "Bound"},
                        {"accessModes", at(*claim, {"spec", "accessModes"})},
                        {"capacity", {{"storage", size}}}}}},
                     "status");
    }
    CHECK(status.is_ok(), "a pending claim can be bound");
    changed++;
  }
  return changed;
}

bool Kubelet::claims_bound(const Json& pod) const {
  for (const std::string& name : claims_of(pod)) {
    const ObjectPtr claim = server_.find(gvr::kPersistentVolumeClaims, {kube::namespace_of(pod), name});
    if (!claim || string_at(*claim, {"status", "phase"}) != "Bound") return false;
  }
  return true;
}

size_t Kubelet::schedule_pods() {
  size_t changed = 0;
  for (const ObjectPtr& pod : server_.all(gvr::kPods)) {
    if (!string_at(*pod, {"spec", "nodeName"}).empty() || kube::is_terminating(*pod) || !claims_bound(*pod)) continue;
    std::vector<std::string> nodes;
    for (const std::string& node : options_.nodes) {
      if (!stopped_nodes_.contains(node)) nodes.push_back(node);
    }
    if (nodes.empty()) continue;
    const std::string node = nodes[next_node_++ % nodes.size()];
    Request r;
    r.verb = kube::Verb::kCreate;
    r.gvr = gvr::kPods;
    r.key = kube::key_of(*pod);
    r.subresource = "binding";
    r.body = {{"apiVersion", "v1"},
              {"kind", "Binding"},
              {"metadata", {{"name", r.key.name}}},
              {"target", {{"kind", "Node"}, {"name", node}}}};
    changed += server_.call(r, "scheduler").is_ok();
  }
  return changed;
}

size_t Kubelet::run_pods() {
  size_t changed = 0;
  for (const ObjectPtr& pod : server_.all(gvr::kPods)) {
    const std::string node = string_at(*pod, {"spec", "nodeName"});
    if (node.empty() || stopped_nodes_.contains(node) || is_over(*pod) || kube::is_terminating(*pod)) continue;
    const bool running = string_at(*pod, {"status", "phase"}) == "Running";
    const bool want_ready = running && ready_(*pod);  // Running first, Ready one step later
    if (running && is_ready(*pod) == want_ready) continue;
    Json status = {{"phase", "Running"},
                   {"conditions", conditions(want_ready)},
                   {"containerStatuses", container_statuses(*pod, want_ready, 0)}};
    if (string_at(*pod, {"status", "podIP"}).empty()) {
      const std::string ip = "10.244.0." + std::to_string(next_pod_ip_++);
      status["podIP"] = ip;
      status["podIPs"] = Json::array({{{"ip", ip}}});
      status["startTime"] = kube::format_time(server_.time_ms());
    }
    CHECK(set_pod_status(kube::key_of(*pod), status).is_ok(), "the kubelet can report status");
    changed++;
  }
  return changed;
}

size_t Kubelet::remove_terminated() {
  size_t changed = 0;
  for (const ObjectPtr& pod : server_.all(gvr::kPods)) {
    if (!kube::is_terminating(*pod) || stopped_nodes_.contains(string_at(*pod, {"spec", "nodeName"}))) continue;
    Result<int64_t> due_ms = kube::parse_time(string_at(*pod, {"metadata", "deletionTimestamp"}));
    if (!due_ms.is_ok() || server_.time_ms() < *due_ms) continue;
    if (kube::int_at(*pod, {"metadata", "deletionGracePeriodSeconds"}) == 0) continue;  // only finalizers hold it
    changed += finish_termination(kube::key_of(*pod)).is_ok();
  }
  return changed;
}

size_t Kubelet::release_claims() {
  size_t changed = 0;
  std::set<ObjectKey> used;
  for (const ObjectPtr& pod : server_.all(gvr::kPods)) {
    if (is_over(*pod)) continue;
    for (const std::string& name : claims_of(*pod)) used.insert({kube::namespace_of(*pod), name});
  }
  for (const ObjectPtr& claim : server_.all(gvr::kPersistentVolumeClaims)) {
    const ObjectKey key = kube::key_of(*claim);
    if (!kube::is_terminating(*claim) || used.contains(key) ||
        !kube::has_finalizer(*claim, "kubernetes.io/pvc-protection"))
      continue;
    Json finalizers = at(*claim, {"metadata", "finalizers"});
    std::erase(finalizers.get_ref<Json::array_t&>(), Json("kubernetes.io/pvc-protection"));
    changed += patch(gvr::kPersistentVolumeClaims, key, {{"metadata", {{"finalizers", finalizers}}}}, "").is_ok();
  }
  return changed;
}

// ---- on request ----

Status Kubelet::fail_pod(const ObjectKey& pod, const std::string& reason) {
  return set_pod_status(pod, {{"phase", "Failed"}, {"reason", reason}, {"conditions", conditions(false)}});
}

Status Kubelet::crash_container(const ObjectKey& key) {
  const ObjectPtr pod = server_.find(gvr::kPods, key);
  if (!pod) return not_found("no pod " + key.to_string());
  return set_pod_status(key,
                        {{"conditions", conditions(false)}, {"containerStatuses", container_statuses(*pod, false, 1)}});
}

Status Kubelet::set_unready(const ObjectKey& key) {
  const ObjectPtr pod = server_.find(gvr::kPods, key);
  if (!pod) return not_found("no pod " + key.to_string());
  return set_pod_status(key,
                        {{"conditions", conditions(false)}, {"containerStatuses", container_statuses(*pod, false, 0)}});
}

Status Kubelet::kill_pod(const ObjectKey& key) {
  const ObjectPtr pod = server_.find(gvr::kPods, key);
  if (!pod) return not_found("no pod " + key.to_string());
  RETURN_IF_ERROR(patch(gvr::kPods, key, {{"metadata", {{"finalizers", nullptr}}}}, ""));
  if (!server_.find(gvr::kPods, key)) return {};  // it was only waiting for that
  return finish_termination(key);
}

Status Kubelet::finish_termination(const ObjectKey& key) {
  const ObjectPtr pod = server_.find(gvr::kPods, key);
  if (!pod) return not_found("no pod " + key.to_string());
  Request r;
  r.verb = kube::Verb::kDelete;
  r.gvr = gvr::kPods;
  r.key = key;
  r.uid = kube::uid_of(*pod);
  r.grace_period_seconds = 0;
  return server_.call(r, kActor).status();
}

Status Kubelet::lose_claim(const ObjectKey& claim) {
  return patch(gvr::kPersistentVolumeClaims, claim, {{"status", {{"phase", "Lost"}}}}, "status");
}

Status Kubelet::destroy_claim(const ObjectKey& key) {
  Request r;
  r.verb = kube::Verb::kDelete;
  r.gvr = gvr::kPersistentVolumeClaims;
  r.key = key;
  RETURN_IF_ERROR(server_.call(r, kActor).status());
  if (!server_.find(gvr::kPersistentVolumeClaims, key)) return {};
  return patch(gvr::kPersistentVolumeClaims, key, {{"metadata", {{"finalizers", nullptr}}}}, "");
}

void Kubelet::stop_node(const std::string& node) { stopped_nodes_.insert(node); }
void Kubelet::start_node(const std::string& node) { stopped_nodes_.erase(node); }

}  // namespace fairlead::apisim
