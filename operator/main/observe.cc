#include "operator/main/observe.h"

#include <set>

#include "operator/main/convert.h"
#include "operator/main/objects.h"
#include "operator/plan/plan.h"

namespace fairlead::ops {
namespace {

using kube::Json;
using kube::ObjectKey;

// All objects with the cluster's label, and those with one of `names` whatever labels they carry:
// somebody else's object in our place must be seen.
Result<std::vector<Json>> list_and_get(kube::Api& api, const kube::Gvr& gvr, const ObjectKey& cluster,
                                       const std::vector<std::string>& names) {
  kube::ListOptions options;
  options.ns = cluster.ns;
  options.label_selector = cluster_selector(cluster.name);
  ASSIGN_OR_RETURN(kube::ObjectList listed, api.list(gvr, options));
  std::set<std::string> seen;
  for (const Json& item : listed.items) seen.insert(kube::name_of(item));
  for (const std::string& name : names) {
    if (seen.count(name) != 0) continue;
    Result<Json> one = api.get(gvr, {cluster.ns, name});
    if (one.is_ok()) {
      listed.items.push_back(*one);
    } else if (one.code() != Code::kNotFound) {
      return one.status();
    }
  }
  return std::move(listed.items);
}

Result<std::optional<Json>> get_optional(kube::Api& api, const kube::Gvr& gvr, const ObjectKey& key) {
  Result<Json> object = api.get(gvr, key);
  if (object.is_ok()) return std::optional<Json>(std::move(object).value());
  if (object.code() == Code::kNotFound) return std::optional<Json>();
  return object.status();
}

std::string owner_of(const Json& object) { return kube::string_at(kube::controller_of(object), {"uid"}); }

std::optional<plan::Service> service_of(const std::optional<Json>& live, const Json& wanted) {
  if (!live) return std::nullopt;
  return plan::Service{kube::uid_of(*live), kube::resource_version_of(*live), owner_of(*live),
                       kube::is_terminating(*live), as_wanted(*live, wanted)};
}

std::optional<plan::Budget> budget_of(const std::optional<Json>& live, const Json& cluster) {
  if (!live) return std::nullopt;
  plan::Budget b;
  b.uid = kube::uid_of(*live);
  b.resource_version = kube::resource_version_of(*live);
  b.owner_uid = owner_of(*live);
  b.terminating = kube::is_terminating(*live);
  // A percentage reads as 0 and is set right.
  b.min_available = static_cast<int>(kube::int_at(*live, {"spec", "minAvailable"}));
  b.as_wanted = as_wanted(*live, budget_object(cluster, b.min_available)) &&
                kube::at(*live, {"spec", "maxUnavailable"}).is_null();
  return b;
}

Status observe_small_objects(kube::Api& api, const ObjectKey& key, View* view) {
  plan::Observed& o = view->observed;
  ASSIGN_OR_RETURN(const auto peer,
                   get_optional(api, kube::gvr::kServices, {key.ns, plan::peer_service_name(key.name)}));
  ASSIGN_OR_RETURN(const auto client,
                   get_optional(api, kube::gvr::kServices, {key.ns, plan::client_service_name(key.name)}));
  ASSIGN_OR_RETURN(const auto budget,
                   get_optional(api, kube::gvr::kPodDisruptionBudgets, {key.ns, plan::budget_name(key.name)}));
  o.peer_service = service_of(peer, peer_service_object(view->cluster));
  o.client_service = service_of(client, client_service_object(view->cluster));
  o.budget = budget_of(budget, view->cluster);
  return {};
}

// Only pods of members that the cluster owns are asked; anybody may label a pod.
void probe(member::Prober& prober, const std::vector<Json>& pods, View* view) {
  plan::Observed& o = view->observed;
  std::vector<member::Target> targets;
  for (const Json& pod : pods) {
    const plan::Pod p = pod_to_plan(pod);
    const auto owned = view->members.find(p.name);
    if (owned == view->members.end() || kube::uid_of(owned->second) != p.owner_uid ||
        owner_of(owned->second) != o.cluster.uid || p.phase != plan::PodPhase::kRunning) {
      continue;
    }
    const std::string ip = kube::string_at(pod, {"status", "podIP"});
    if (ip.empty()) continue;
    const std::string host = ip.find(':') == std::string::npos ? ip : "[" + ip + "]";
    targets.push_back({p.name, host + ":" + std::to_string(kClientPort), p.uid});
  }
  const member::Round round = prober.ask(o.cluster.uid, targets, o.now_ms);
  for (const member::Answer& a : round.answers) {
    o.endpoints.push_back({a.name, a.answered, a.unknown_since_ms, a.error, a.cluster_id, a.member_id, a.leader_id,
                           a.term, a.learner, a.version, a.db_size_bytes});
  }
  o.member_list.asked = round.list.asked;
  o.member_list.answered = round.list.answered;
  o.member_list.error = round.list.error;
  o.write_probe = {round.write.asked, round.write.answered, round.write.error};
  for (const member::ListedMember& m : round.list.members) {
    o.member_list.members.push_back({m.id, m.name, m.peer_urls, m.learner});
  }
}

}  // namespace

Result<View> observe(kube::Api& api, member::Prober& prober, const ObjectKey& key, int64_t now_ms,
                     std::vector<std::string> random_suffixes) {
  View view;
  plan::Observed& o = view.observed;
  o.now_ms = now_ms;
  o.random_suffixes = std::move(random_suffixes);
  ASSIGN_OR_RETURN(view.cluster, api.get(gvr::kClusters, key));
  ASSIGN_OR_RETURN(view.parsed, crd::parse_cluster(view.cluster));
  o.cluster = to_plan(view.parsed);

  std::vector<std::string> names, volume_names;
  for (const plan::IntentMember& m : o.cluster.intent.members) {
    names.push_back(m.name);
    volume_names.push_back(plan::volume_name(m.name));
  }
  ASSIGN_OR_RETURN(const std::vector<Json> members, list_and_get(api, gvr::kMembers, key, names));
  for (const Json& m : members) {
    ASSIGN_OR_RETURN(const crd::Meta meta, crd::parse_meta(m));
    o.members.push_back(member_to_plan(meta));
    view.members.emplace(meta.name, m);
  }
  ASSIGN_OR_RETURN(const std::vector<Json> volumes,
                   list_and_get(api, kube::gvr::kPersistentVolumeClaims, key, volume_names));
  for (const Json& v : volumes) o.volumes.push_back(volume_to_plan(v));
  ASSIGN_OR_RETURN(const std::vector<Json> pods, list_and_get(api, kube::gvr::kPods, key, names));
  for (const Json& p : pods) o.pods.push_back(pod_to_plan(p));
  RETURN_IF_ERROR(observe_small_objects(api, key, &view));
  probe(prober, pods, &view);
  return view;
}

}  // namespace fairlead::ops
