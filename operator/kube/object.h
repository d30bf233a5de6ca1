// Words for Kubernetes objects. An object is plain JSON as the API server sends it; nothing here knows a kind's fields
// beyond `metadata`. Values only: no I/O, no threads, no clock.
//
// Accessors never throw: a missing field, or one of another type, reads as empty. What the API server sends is checked
// by its schema; what a test or a user hands in by accident must not end the process.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/status.h"

namespace fairlead::kube {

using Json = nlohmann::json;

// Group, version, resource: what a URL names. The core group is the empty string. `resource` is the plural in lower
// case ("pods"), not the kind.
struct Gvr {
  std::string group;
  std::string version;
  std::string resource;
  bool namespaced = true;

  std::string api_version() const;  // "v1", "apps/v1": the object's apiVersion
  std::string to_string() const;    // "pods.v1", "fairleadclusters.v1alpha1.fairlead.io"
  auto operator<=>(const Gvr&) const = default;
};

namespace gvr {
inline const Gvr kPods{"", "v1", "pods"};
inline const Gvr kPersistentVolumeClaims{"", "v1", "persistentvolumeclaims"};
inline const Gvr kServices{"", "v1", "services"};
inline const Gvr kConfigMaps{"", "v1", "configmaps"};
inline const Gvr kSecrets{"", "v1", "secrets"};
inline const Gvr kEvents{"", "v1", "events"};
inline const Gvr kNamespaces{"", "v1", "namespaces", false};
inline const Gvr kNodes{"", "v1", "nodes", false};
inline const Gvr kPodDisruptionBudgets{"policy", "v1", "poddisruptionbudgets"};
inline const Gvr kLeases{"coordination.k8s.io", "v1", "leases"};
inline const Gvr kCustomResourceDefinitions{"apiextensions.k8s.io", "v1", "customresourcedefinitions", false};
}  // namespace gvr

// Namespace and name; `ns` is empty for cluster-scoped objects.
struct ObjectKey {
  std::string ns;
  std::string name;

  std::string to_string() const;  // "ns/name", or "name" without a namespace
  static ObjectKey parse(std::string_view text);
  auto operator<=>(const ObjectKey&) const = default;
};

// ---- reading ----
// The member of `object` at a path of keys, or null JSON; never throws. at(pod, {"status", "phase"}).
const Json& at(const Json& object, std::initializer_list<std::string_view> path);
std::string string_at(const Json& object, std::initializer_list<std::string_view> path);
int64_t int_at(const Json& object, std::initializer_list<std::string_view> path, int64_t otherwise = 0);
bool bool_at(const Json& object, std::initializer_list<std::string_view> path, bool otherwise = false);

ObjectKey key_of(const Json& object);
std::string name_of(const Json& object);
std::string namespace_of(const Json& object);
std::string uid_of(const Json& object);
std::string resource_version_of(const Json& object);
int64_t generation_of(const Json& object);
std::map<std::string, std::string> labels_of(const Json& object);
bool is_terminating(const Json& object);  // has a deletionTimestamp
bool has_finalizer(const Json& object, std::string_view finalizer);
// The owner reference with `controller: true`, or null JSON.
const Json& controller_of(const Json& object);

// ---- writing ----
// An ownerReferences entry with controller and blockOwnerDeletion set.
Json controller_reference(const Json& owner);

// ---- label selectors ----
// Kubernetes' text form: "a=b,c!=d,e in (x,y),f notin (z),g,!h". Empty selects everything.
class LabelSelector {
 public:
  static Result<LabelSelector> parse(std::string_view text);
  bool matches(const std::map<std::string, std::string>& labels) const;
  bool matches(const Json& object) const { return requirements_.empty() || matches(labels_of(object)); }
  bool empty() const { return requirements_.empty(); }

 private:
  enum class Op : uint8_t { kIn, kNotIn, kExists, kNotExists };
  struct Requirement {
    std::string key;
    Op op;
    std::vector<std::string> values;
  };
  std::vector<Requirement> requirements_;
};

// ---- time ----
// RFC 3339 in UTC as Kubernetes writes it. `wall_ms`: milliseconds since 1970.
std::string format_time(int64_t wall_ms);        // "2026-01-02T03:04:05Z" (metav1.Time)
std::string format_micro_time(int64_t wall_ms);  // "2026-01-02T03:04:05.006000Z" (metav1.MicroTime: Lease)
Result<int64_t> parse_time(std::string_view text);

}  // namespace fairlead::kube
