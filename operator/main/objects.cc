#include "operator/main/objects.h"

#include <algorithm>

#include "operator/main/convert.h"
#include "operator/plan/plan.h"

namespace fairlead::ops {
namespace {

Json labels_of_cluster(const Json& cluster) {
  const std::string name = kube::name_of(cluster);
  return {{"app.kubernetes.io/name", "fairlead"},
          {"app.kubernetes.io/instance", name},
          {"app.kubernetes.io/managed-by", kFieldManager},
          {kLabelCluster, name},
          {kLabelClusterUid, kube::uid_of(cluster)}};
}

Json object(const std::string& api_version, const std::string& kind, const Json& cluster, const std::string& name) {
  return {{"apiVersion", api_version},
          {"kind", kind},
          {"metadata",
           {{"namespace", kube::namespace_of(cluster)}, {"name", name}, {"labels", labels_of_cluster(cluster)}}}};
}

Json owned(Json child, const Json& owner) {
  child["metadata"]["ownerReferences"] = Json::array({kube::controller_reference(owner)});
  return child;
}

std::string host_of(const std::string& ns, const std::string& cluster, const std::string& member) {
  return member + "." + plan::peer_service_name(cluster) + "." + ns + ".svc";
}

std::string url(const std::string& host, int port) { return "http://" + host + ":" + std::to_string(port); }

std::string initial_cluster(const std::string& ns, const std::string& cluster, const crd::Intent& intent) {
  std::string text;
  for (const crd::IntentMember& m : intent.members) {
    text += (text.empty() ? "" : ",") + m.name + "=" + peer_url(ns, cluster, m.name);
  }
  return text;
}

Json port(const char* name, int number) {
  return {{"name", name}, {"port", number}, {"targetPort", number}, {"protocol", "TCP"}};
}

Json container_port(const char* name, int number) {
  return {{"name", name}, {"containerPort", number}, {"protocol", "TCP"}};
}

Json probe(const char* path, int period_seconds, int failures) {
  return {{"httpGet", {{"path", path}, {"port", kMetricsPort}, {"scheme", "HTTP"}}},
          {"periodSeconds", period_seconds},
          {"timeoutSeconds", 3},
          {"failureThreshold", failures}};
}

Json start_arguments(const std::string& ns, const std::string& cluster, const std::string& name,
                     const crd::Intent& intent, plan::StartState state) {
  return {"--name=" + name,
          "--initial-advertise-peer-urls=" + peer_url(ns, cluster, name),
          "--initial-cluster=" + initial_cluster(ns, cluster, intent),
          std::string("--initial-cluster-state=") + (state == plan::StartState::kNew ? "new" : "existing"),
          "--initial-cluster-token=" + intent.token,
          "--listen-metrics-urls=http://0.0.0.0:2381"};
}

// What the image sets for people who run it by hand, set again: a flag would contradict the image's variable.
Json image_settings(const std::string& ns, const std::string& cluster, const std::string& name) {
  return Json::array({{{"name", "ETCD_DATA_DIR"}, {"value", "/var/lib/fairlead/data"}},
                      {{"name", "ETCD_LISTEN_CLIENT_URLS"}, {"value", "http://0.0.0.0:2379"}},
                      {{"name", "ETCD_ADVERTISE_CLIENT_URLS"}, {"value", client_url(ns, cluster, name)}},
                      {{"name", "ETCD_LISTEN_PEER_URLS"}, {"value", "http://0.0.0.0:2380"}}});
}

Json locked_down() {
  return {{"allowPrivilegeEscalation", false}, {"readOnlyRootFilesystem", true}, {"capabilities", {{"drop", {"ALL"}}}}};
}

Json volume_mounts() { return Json::array({{{"name", "data"}, {"mountPath", "/var/lib/fairlead"}}}); }

// Host-path volumes belong to root and ignore fsGroup. Only with spec.storage.fixPermissions, and
// outside what the "restricted" pod security standard allows.
Json permission_fixer(const std::string& image) {
  const std::string owner = std::to_string(kServerUid) + ":" + std::to_string(kServerUid);
  return {{"name", "fix-permissions"},
          {"image", image},
          {"imagePullPolicy", "IfNotPresent"},
          {"command", {"/bin/chown", owner, "/var/lib/fairlead"}},
          {"securityContext",
           {{"runAsUser", 0},
            {"runAsNonRoot", false},
            {"allowPrivilegeEscalation", false},
            {"readOnlyRootFilesystem", true},
            {"capabilities", {{"drop", {"ALL"}}, {"add", {"CHOWN"}}}}}},
          {"volumeMounts", volume_mounts()}};
}

Json anti_affinity(const Json& cluster) {
  const Json term = {{"topologyKey", "kubernetes.io/hostname"},
                     {"labelSelector", {{"matchLabels", {{kLabelCluster, kube::name_of(cluster)}}}}}};
  return {{"podAntiAffinity",
           {{"preferredDuringSchedulingIgnoredDuringExecution",
             Json::array({{{"weight", 100}, {"podAffinityTerm", term}}})}}}};
}

Json server_container(const Json& cluster, const std::string& name, const crd::Intent& intent, plan::StartState state) {
  Json container = {{"name", "fairlead"},
                    {"image", intent.target.image},
                    {"imagePullPolicy", "IfNotPresent"},
                    {"args", start_arguments(kube::namespace_of(cluster), kube::name_of(cluster), name, intent, state)},
                    {"env", image_settings(kube::namespace_of(cluster), kube::name_of(cluster), name)},
                    {"terminationMessagePolicy", "FallbackToLogsOnError"},  // why it ended reaches the status
                    {"ports", Json::array({container_port("client", kClientPort), container_port("peer", kPeerPort),
                                           container_port("metrics", kMetricsPort)})},
                    {"readinessProbe", probe("/readyz", 1, 3)},
                    // A member that waits for its peers is alive: liveness asks for the process, not for a
                    // quorum.
                    {"livenessProbe", probe("/livez", 5, 6)},
                    {"startupProbe", probe("/livez", 1, 600)},  // recovery of a large store takes its time
                    {"securityContext", locked_down()},
                    {"volumeMounts", volume_mounts()}};
  if (!intent.target.resources.empty()) container["resources"] = intent.target.resources;
  return container;
}

Json service(const Json& cluster, const std::string& name) {
  Json s = owned(object("v1", "Service", cluster, name), cluster);
  s["spec"]["selector"] = {{kLabelCluster, kube::name_of(cluster)}};
  return s;
}

}  // namespace

std::string cluster_selector(const std::string& cluster) { return std::string(kLabelCluster) + "=" + cluster; }

std::string peer_url(const std::string& ns, const std::string& cluster, const std::string& member) {
  return url(host_of(ns, cluster, member), kPeerPort);
}
std::string client_url(const std::string& ns, const std::string& cluster, const std::string& member) {
  return url(host_of(ns, cluster, member), kClientPort);
}

Json member_object(const Json& cluster, const std::string& name) {
  Json m = owned(object(std::string(crd::kApiVersion), std::string(crd::kMemberKind), cluster, name), cluster);
  m["metadata"]["finalizers"] = Json::array({crd::kMemberFinalizer});
  m["spec"] = crd::to_json(crd::MemberSpec{kube::name_of(cluster), plan::volume_name(name)});
  return m;
}

Json volume_object(const Json& cluster, const std::string& member, const std::string& member_uid,
                   const crd::IntentTarget& target) {
  Json v = object("v1", "PersistentVolumeClaim", cluster, plan::volume_name(member));
  v["metadata"]["labels"][kLabelMember] = member;
  v["metadata"]["labels"][kLabelMemberUid] = member_uid;
  v["spec"] = {{"accessModes", {"ReadWriteOnce"}}, {"resources", {{"requests", {{"storage", target.storage_size}}}}}};
  if (!target.storage_class_name.empty()) v["spec"]["storageClassName"] = target.storage_class_name;
  return v;
}

Json pod_object(const Json& cluster, const Json& member, const crd::Intent& intent, plan::StartState state) {
  const std::string name = kube::name_of(member);
  Json p = owned(object("v1", "Pod", cluster, name), member);
  p["metadata"]["labels"][kLabelMember] = name;
  p["metadata"]["labels"][kLabelVoter] = "true";
  p["metadata"]["annotations"] = {{kAnnotationTemplate, plan::template_id(to_plan(intent.target))}};
  Json& spec = p["spec"];
  spec = {{"hostname", name},
          {"subdomain", plan::peer_service_name(kube::name_of(cluster))},
          {"restartPolicy", "Always"},
          {"terminationGracePeriodSeconds", kTerminationGraceSeconds},
          {"automountServiceAccountToken", false},
          {"enableServiceLinks", false},
          {"affinity", anti_affinity(cluster)},
          {"securityContext",
           {{"runAsNonRoot", true},
            {"runAsUser", kServerUid},
            {"runAsGroup", kServerUid},
            {"fsGroup", kServerUid},
            {"fsGroupChangePolicy", "OnRootMismatch"},
            {"seccompProfile", {{"type", "RuntimeDefault"}}}}},
          {"containers", Json::array({server_container(cluster, name, intent, state)})},
          {"volumes",
           Json::array({{{"name", "data"}, {"persistentVolumeClaim", {{"claimName", plan::volume_name(name)}}}}})}};
  if (intent.target.fix_permissions) spec["initContainers"] = Json::array({permission_fixer(intent.target.image)});
  return p;
}

Json peer_service_object(const Json& cluster) {
  Json s = service(cluster, plan::peer_service_name(kube::name_of(cluster)));
  s["spec"]["clusterIP"] = "None";
  s["spec"]["publishNotReadyAddresses"] = true;
  // etcd's names for DNS discovery.
  s["spec"]["ports"] =
      Json::array({port("etcd-server", kPeerPort), port("etcd-client", kClientPort), port("metrics", kMetricsPort)});
  return s;
}

Json client_service_object(const Json& cluster) {
  Json s = service(cluster, plan::client_service_name(kube::name_of(cluster)));
  s["spec"]["ports"] = Json::array({port("client", kClientPort)});
  return s;
}

Json budget_object(const Json& cluster, int min_available) {
  Json b =
      owned(object("policy/v1", "PodDisruptionBudget", cluster, plan::budget_name(kube::name_of(cluster))), cluster);
  b["spec"] = {{"minAvailable", min_available},
               {"selector", {{"matchLabels", {{kLabelCluster, kube::name_of(cluster)}, {kLabelVoter, "true"}}}}}};
  return b;
}

bool as_wanted(const Json& live, const Json& wanted) {
  return holds(kube::at(live, {"spec"}), kube::at(wanted, {"spec"})) &&
         holds(kube::at(live, {"metadata", "labels"}), kube::at(wanted, {"metadata", "labels"}));
}

bool holds(const Json& live, const Json& wanted) {
  if (wanted.is_object()) {
    if (!live.is_object()) return false;
    for (const auto& [key, value] : wanted.items()) {
      const auto it = live.find(key);
      if (it == live.end() || !holds(*it, value)) return false;
    }
    return true;
  }
  if (wanted.is_array()) {
    if (!live.is_array()) return false;
    for (const Json& element : wanted) {
      if (std::none_of(live.begin(), live.end(), [&](const Json& l) { return holds(l, element); })) return false;
    }
    return true;
  }
  return live == wanted;
}

}  // namespace fairlead::ops
