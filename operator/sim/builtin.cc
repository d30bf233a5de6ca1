#include "operator/sim/builtin.h"

#include <algorithm>
#include <cctype>

#include "operator/sim/cel.h"

namespace fairlead::apisim {

using kube::at;
using kube::string_at;

namespace {

ResourceInfo resource(const Gvr& gvr, std::string kind, std::string singular, bool status, bool generation,
                      bool unconditional) {
  ResourceInfo info;
  info.gvr = gvr;
  info.kind = std::move(kind);
  info.singular = std::move(singular);
  info.has_status = status;
  info.has_generation = generation;
  info.unconditional_update = unconditional;
  return info;
}

bool is_label(const std::string& text, size_t size_max, bool dots) {
  if (text.empty() || text.size() > size_max) return false;
  const auto edge = [](unsigned char c) { return std::islower(c) || std::isdigit(c); };
  if (!edge(text.front()) || !edge(text.back())) return false;
  return std::all_of(text.begin(), text.end(),
                     [&](unsigned char c) { return edge(c) || c == '-' || (dots && c == '.'); });
}

bool is_label_value(const std::string& text) {
  if (text.empty()) return true;
  if (text.size() > 63) return false;
  const auto edge = [](unsigned char c) { return std::isalnum(c) != 0; };
  return edge(text.front()) && edge(text.back()) && std::all_of(text.begin(), text.end(), [&](unsigned char c) {
           return edge(c) || c == '-' || c == '_' || c == '.';
         });
}

// The pod spec without what may change in a running pod.
Json frozen_pod_spec(const Json& pod) {
  Json spec = at(pod, {"spec"});
  if (!spec.is_object()) return spec;
  for (const char* field :
       {"tolerations", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "schedulingGates"}) {
    spec.erase(field);
  }
  for (const char* list : {"containers", "initContainers"}) {
    if (!spec.contains(list)) continue;
    for (Json& container : spec[list]) container.erase("image");
  }
  return spec;
}

void validate_pod(const Json& pod, const Json* before, std::vector<std::string>& errors) {
  const Json& containers = at(pod, {"spec", "containers"});
  if (!containers.is_array() || containers.empty()) errors.push_back("spec.containers: Required value");
  if (containers.is_array()) {
    for (size_t i = 0; i < containers.size(); i++) {
      const std::string path = "spec.containers[" + std::to_string(i) + "]";
      if (string_at(containers[i], {"name"}).empty()) errors.push_back(path + ".name: Required value");
      if (string_at(containers[i], {"image"}).empty()) errors.push_back(path + ".image: Required value");
    }
  }
  if (before != nullptr && frozen_pod_spec(pod) != frozen_pod_spec(*before)) {
    errors.push_back(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations`");
  }
}

// A claim's spec without the requested size, and without the volume when it was not chosen before.
Json frozen_claim_spec(const Json& claim, bool volume_free) {
  Json spec = at(claim, {"spec"});
  if (!spec.is_object()) return spec;
  spec.erase("resources");
  if (volume_free) spec.erase("volumeName");
  return spec;
}

double requested_storage(const Json& claim) {
  Result<double> size = parse_quantity(string_at(claim, {"spec", "resources", "requests", "storage"}));
  return size.is_ok() ? *size : -1;
}

void validate_claim(const Json& claim, const Json* before, std::vector<std::string>& errors) {
  const Json& modes = at(claim, {"spec", "accessModes"});
  if (!modes.is_array() || modes.empty())
    errors.push_back("spec.accessModes: Required value: at least 1 access mode is required");
  if (requested_storage(claim) < 0) errors.push_back("spec.resources[storage]: Required value");
  if (before == nullptr) return;
  const bool volume_free = string_at(*before, {"spec", "volumeName"}).empty();
  if (frozen_claim_spec(claim, volume_free) != frozen_claim_spec(*before, volume_free)) {
    errors.push_back(
        "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for "
        "bound claims");
  }
  // a failed expansion may be taken back, but never to or below what the volume has
  Result<double> capacity = parse_quantity(string_at(*before, {"status", "capacity", "storage"}));
  if (requested_storage(claim) < requested_storage(*before) && capacity.is_ok() &&
      requested_storage(claim) <= *capacity) {
    errors.push_back("spec.resources.requests.storage: Forbidden: field can not be less than status.capacity");
  }
  if (requested_storage(claim) > requested_storage(*before) && string_at(*before, {"status", "phase"}) != "Bound") {
    errors.push_back(
        "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for "
        "bound claims");
  }
}

void validate_service(const Json& service, const Json* before, std::vector<std::string>& errors) {
  const Json& ports = at(service, {"spec", "ports"});
  const bool headless = string_at(service, {"spec", "clusterIP"}) == "None";
  if (!headless && (!ports.is_array() || ports.empty())) errors.push_back("spec.ports: Required value");
  const std::string address = before == nullptr ? "" : string_at(*before, {"spec", "clusterIP"});
  if (!address.empty() && string_at(service, {"spec", "clusterIP"}) != address) {
    errors.push_back("spec.clusterIPs[0]: Invalid value: may not change once set");
  }
}

}  // namespace

std::vector<ResourceInfo> builtin_resources() {
  using namespace kube::gvr;
  return {
      resource(kPods, "Pod", "pod", true, true, true),
      resource(kPersistentVolumeClaims, "PersistentVolumeClaim", "persistentvolumeclaim", true, false, true),
      resource(kServices, "Service", "service", true, false, true),
      resource(kConfigMaps, "ConfigMap", "configmap", false, false, true),
      resource(kSecrets, "Secret", "secret", false, false, true),
      resource(kEvents, "Event", "event", false, false, true),
      resource(kNamespaces, "Namespace", "namespace", true, false, true),
      resource(kNodes, "Node", "node", true, false, true),
      resource(kPodDisruptionBudgets, "PodDisruptionBudget", "poddisruptionbudget", true, true, false),
      resource(kLeases, "Lease", "lease", false, false, false),
      resource(kCustomResourceDefinitions, "CustomResourceDefinition", "customresourcedefinition", true, true, false),
      resource({"", "v1", "serviceaccounts"}, "ServiceAccount", "serviceaccount", false, false, true),
      resource({"", "v1", "persistentvolumes", false}, "PersistentVolume", "persistentvolume", true, false, true),
      resource({"storage.k8s.io", "v1", "storageclasses", false}, "StorageClass", "storageclass", false, false, true),
      resource({"apps", "v1", "deployments"}, "Deployment", "deployment", true, true, true),
  };
}

void complete_builtin(const ResourceInfo& info, Json& object, const std::string& address) {
  if (info.gvr == kube::gvr::kPods) {
    object["status"]["phase"] = "Pending";
  } else if (info.gvr == kube::gvr::kPersistentVolumeClaims) {
    object["status"]["phase"] = "Pending";
    if (!kube::has_finalizer(object, "kubernetes.io/pvc-protection")) {
      object["metadata"]["finalizers"].push_back("kubernetes.io/pvc-protection");
    }
  } else if (info.gvr == kube::gvr::kServices) {
    if (string_at(object, {"spec", "type"}).empty()) object["spec"]["type"] = "ClusterIP";
    if (string_at(object, {"spec", "clusterIP"}).empty()) object["spec"]["clusterIP"] = address;
  } else if (info.gvr == kube::gvr::kNamespaces) {
    object["status"]["phase"] = "Active";
  }
}

void carry_over_builtin(const ResourceInfo& info, const Json& before, Json& after) {
  if (info.gvr != kube::gvr::kServices) return;
  if (!at(after, {"spec"}).is_object()) return;
  for (const char* field : {"clusterIP", "type"}) {
    const std::string old = string_at(before, {"spec", field});
    if (!old.empty() && string_at(after, {"spec", field}).empty()) after["spec"][field] = old;
  }
}

std::vector<std::string> validate_builtin(const ResourceInfo& info, const Json& object, const Json* before) {
  std::vector<std::string> errors;
  if (info.gvr == kube::gvr::kPods) validate_pod(object, before, errors);
  if (info.gvr == kube::gvr::kPersistentVolumeClaims) validate_claim(object, before, errors);
  if (info.gvr == kube::gvr::kServices) validate_service(object, before, errors);
  return errors;
}

std::vector<std::string> validate_metadata(const Gvr& gvr, const Json& object, const Json* before) {
  std::vector<std::string> errors;
  const std::string name = kube::name_of(object);
  const bool strict = gvr == kube::gvr::kServices || gvr == kube::gvr::kNamespaces;
  if (before == nullptr && !is_label(name, strict ? 63 : 253, !strict)) {
    errors.push_back("metadata.name: Invalid value: \"" + name + "\": a lowercase RFC 1123 " +
                     (strict ? "label" : "subdomain") + " must consist of lower case alphanumeric characters");
  }
  for (const auto& [key, value] : kube::labels_of(object)) {
    if (!is_label_value(value))
      errors.push_back("metadata.labels: Invalid value: \"" + value +
                       "\": a valid label must be an empty string or consist of alphanumeric characters");
  }
  const Json& owners = at(object, {"metadata", "ownerReferences"});
  int controllers = 0;
  if (owners.is_array()) {
    for (const Json& owner : owners) {
      for (const char* field : {"apiVersion", "kind", "name", "uid"}) {
        if (string_at(owner, {field}).empty())
          errors.push_back(std::string("metadata.ownerReferences.") + field +
                           ": Invalid value: \"\": must not be empty");
      }
      controllers += kube::bool_at(owner, {"controller"});
    }
  }
  if (controllers > 1)
    errors.push_back("metadata.ownerReferences: Invalid value: Only one reference can have Controller set to true");
  const Json& finalizers = at(object, {"metadata", "finalizers"});
  if (finalizers.is_array()) {
    for (const Json& f : finalizers) {
      const bool fresh =
          before != nullptr && kube::is_terminating(*before) && !kube::has_finalizer(*before, f.get<std::string>());
      if (fresh)
        errors.push_back(
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new "
            "finalizers " +
            f.dump());
    }
  }
  return errors;
}

}  // namespace fairlead::apisim
