#include "operator/sim/api_judge.h"

#include <map>
#include <set>

namespace fairlead::apisim {
namespace {

using kube::at;
using kube::string_at;

const Json kNone;

bool starts_with(const std::string& text, const std::string& prefix) { return text.rfind(prefix, 0) == 0; }

std::string owner_uid(const Json& object) { return string_at(kube::controller_of(object), {"uid"}); }

const Json& intent_member(const Json& cluster, const std::string& name) {
  for (const Json& m : at(cluster, {"status", "intent", "members"})) {
    if (string_at(m, {"name"}) == name) return m;
  }
  return kNone;
}

bool has_argument(const Json& pod, const std::string& argument) {
  for (const Json& c : at(pod, {"spec", "containers"})) {
    for (const Json& a : at(c, {"args"})) {
      if (a == argument) return true;
    }
  }
  return false;
}

class LogJudge {
 public:
  LogJudge(const std::vector<WriteRecord>& log, std::string prefix) : log_(log), prefix_(std::move(prefix)) {}

  std::vector<std::string> run() {
    for (const WriteRecord& r : log_) {
      record_ = &r;
      if (starts_with(r.actor, prefix_)) by_operator(r);
      // The world moves on.
      auto& objects = world_[r.gvr.resource];
      if (r.after == nullptr) {
        objects.erase(r.key);
      } else {
        objects[r.key] = r.after;
      }
    }
    return std::move(found_);
  }

 private:
  void demand(bool holds, int rule, const std::string& what) {
    if (!holds) found_.push_back("rule " + std::to_string(rule) + ": " + what + " [" + record_->to_string() + "]");
  }

  const Json& find(const std::string& resource, const ObjectKey& key) {
    const auto& objects = world_[resource];
    const auto it = objects.find(key);
    return it == objects.end() ? kNone : *it->second;
  }

  // The cluster whose intent names this member.
  const Json& cluster_of(const ObjectKey& member) {
    for (const auto& [key, cluster] : world_["fairleadclusters"]) {
      if (key.ns == member.ns && !intent_member(*cluster, member.name).is_null()) return *cluster;
    }
    return kNone;
  }

  void by_operator(const WriteRecord& r) {
    const bool created = r.before == nullptr;
    const bool deleted = r.after == nullptr ||
                         (r.before != nullptr && !kube::is_terminating(*r.before) && kube::is_terminating(*r.after));
    const std::string& kind = r.gvr.resource;
    if (kind == "fairleadclusters") return cluster_written(r);
    if (kind == "fairleadmembers" && created) return member_created(*r.after);
    if (kind == "fairleadmembers") return member_written(r, deleted);
    if (kind == "persistentvolumeclaims" && created) return volume_created(*r.after);
    if (kind == "persistentvolumeclaims" && deleted) return volume_deleted(*r.before);
    if (kind == "pods" && created) return pod_created(*r.after);
    if (kind == "pods" && deleted) return pod_deleted(*r.before);
    if (kind == "poddisruptionbudgets" && r.after != nullptr) budget_written(*r.after);
    if (kind == "services" || kind == "poddisruptionbudgets") {
      demand(world_has_cluster(owner_uid(r.before == nullptr ? *r.after : *r.before)), 15, "writes a foreign " + kind);
    }
    if (kind != "events" && kind != "services" && kind != "poddisruptionbudgets" && !deleted) {
      demand(false, 15, "an unexpected write");
    }
  }

  bool world_has_cluster(const std::string& uid) {
    for (const auto& [key, cluster] : world_["fairleadclusters"]) {
      if (kube::uid_of(*cluster) == uid) return true;
    }
    return false;
  }

  void cluster_written(const WriteRecord& r) {
    const Json& before = *r.before;
    if (r.after == nullptr) {
      for (const auto& [key, m] : world_["fairleadmembers"]) {
        demand(owner_uid(*m) != r.uid, 9, "the cluster goes before member " + key.name);
      }
      return;
    }
    const Json& after = *r.after;
    demand(at(before, {"spec"}) == at(after, {"spec"}), 13, "the operator changed the user's spec");
    const Json& old_members = at(before, {"status", "intent", "members"});
    const Json& new_members = at(after, {"status", "intent", "members"});
    if (old_members.is_null()) return;
    demand(old_members.size() == new_members.size(), 5, "the intent's names changed");
    int facts = 0;
    for (const Json& b : old_members) {
      const Json& n = intent_member(after, string_at(b, {"name"}));
      demand(!n.is_null(), 5, "a name left the intent");
      if (b == n) continue;
      ++facts;
      if (!string_at(b, {"volumeUID"}).empty()) {
        demand(string_at(b, {"volumeUID"}) == string_at(n, {"volumeUID"}), 6, "granted twice");
      } else if (!string_at(n, {"volumeUID"}).empty()) {
        const std::string name = string_at(n, {"name"});
        demand(++grants_[name] == 1, 6, "granted twice");
        demand(find("pods", {r.key.ns, name}).is_null(), 6, "granted after its pod was made");
        demand(kube::uid_of(find("persistentvolumeclaims", {r.key.ns, "data-" + name})) == string_at(n, {"volumeUID"}),
               6, "granted on a volume that is not there");
      }
    }
    demand(facts <= 1, 19, "several facts in one write");
  }

  void member_created(const Json& m) {
    const Json& cluster = cluster_of(kube::key_of(m));
    demand(!cluster.is_null(), 16, "a member whose name was not recorded before");
    demand(owner_uid(m) == kube::uid_of(cluster), 15, "a member of no cluster");
    demand(made_members_.insert(kube::name_of(m)).second, 16, "a twin of member " + kube::name_of(m));
  }

  void member_written(const WriteRecord& r, bool deleted) {
    const Json& before = *r.before;
    demand(world_has_cluster(owner_uid(before)), 15, "writes a foreign FairleadMember");
    const bool released = kube::has_finalizer(before, "fairlead.io/member") &&
                          (r.after == nullptr || !kube::has_finalizer(*r.after, "fairlead.io/member"));
    if (deleted || released) demand(cluster_leaves(before), 9, "a member leaves a cluster that stays");
    if (!released) return;
    const Json& pod = find("pods", r.key);
    demand(pod.is_null() || owner_uid(pod) != r.uid, 9, "released before its pod is gone");
    const Json& volume = find("persistentvolumeclaims", {r.key.ns, "data-" + r.key.name});
    const bool its = kube::labels_of(volume)["fairlead.io/member-uid"] == r.uid;
    demand(!its || reclaim(before) == "Retain", 9, "released before its volume is gone");
  }

  bool cluster_leaves(const Json& member) {
    for (const auto& [key, cluster] : world_["fairleadclusters"]) {
      if (kube::uid_of(*cluster) == owner_uid(member)) return kube::is_terminating(*cluster);
    }
    return true;
  }

  std::string reclaim(const Json& member) {
    for (const auto& [key, cluster] : world_["fairleadclusters"]) {
      if (kube::uid_of(*cluster) == owner_uid(member)) return string_at(*cluster, {"spec", "storage", "reclaim"});
    }
    return "";
  }

  void volume_created(const Json& v) {
    const std::string name = kube::name_of(v).substr(5);
    const Json& cluster = cluster_of({kube::namespace_of(v), name});
    demand(!cluster.is_null(), 16, "a volume of an unrecorded member");
    demand(string_at(intent_member(cluster, name), {"volumeUID"}).empty(), 6, "a new volume for a granted member");
    demand(kube::uid_of(find("fairleadmembers", {kube::namespace_of(v), name})) ==
               kube::labels_of(v)["fairlead.io/member-uid"],
           15, "a volume of no member");
  }

  void volume_deleted(const Json& v) {
    const ObjectKey member{kube::namespace_of(v), kube::name_of(v).substr(5)};
    demand(find("pods", member).is_null(), 9, "a volume deleted under its pod");
    demand(world_has_cluster(kube::labels_of(v)["fairlead.io/cluster-uid"]), 15, "a foreign volume deleted");
    for (const auto& [key, cluster] : world_["fairleadclusters"]) {
      if (kube::uid_of(*cluster) != kube::labels_of(v)["fairlead.io/cluster-uid"]) continue;
      demand(kube::is_terminating(*cluster), 9, "a volume of a cluster that stays");
      demand(string_at(*cluster, {"spec", "storage", "reclaim"}) == "Delete", 9, "a volume that is to be kept");
    }
  }

  void pod_created(const Json& p) {
    const ObjectKey key = kube::key_of(p);
    const Json& cluster = cluster_of(key);
    const Json& m = intent_member(cluster, key.name);
    demand(!string_at(m, {"volumeUID"}).empty(), 6, "a pod before its grant was recorded");
    demand(kube::uid_of(find("persistentvolumeclaims", {key.ns, "data-" + key.name})) == string_at(m, {"volumeUID"}), 6,
           "a pod on another volume than the granted one");
    demand(owner_uid(p) == string_at(m, {"memberUID"}), 15, "a pod of no member");
    demand(!kube::is_terminating(cluster), 9, "a pod for a cluster that goes");
    const bool as_new = has_argument(p, "--initial-cluster-state=new");
    demand(as_new != has_argument(p, "--initial-cluster-state=existing"), 6, "neither new nor existing");
    if (!as_new) return;
    demand(string_at(cluster, {"status", "clusterID"}).empty(), 6, "new in a formed cluster");
    demand(string_at(m, {"memberID"}).empty(), 6, "new for a member that was heard");
  }

  void pod_deleted(const Json& p) {
    const Json& member = find("fairleadmembers", kube::key_of(p));
    demand(!member.is_null() && kube::uid_of(member) == owner_uid(p), 15, "a foreign pod deleted");
    const std::string phase = string_at(p, {"status", "phase"});
    if (phase == "Failed" || phase == "Succeeded" || cluster_leaves(member)) return;
    const Json& cluster = cluster_of(kube::key_of(p));
    bool ready = false;
    for (const Json& c : at(p, {"status", "conditions"})) {
      ready |= string_at(c, {"type"}) == "Ready" && string_at(c, {"status"}) == "True";
    }
    demand(string_at(cluster, {"status", "clusterID"}).empty() && !ready, 4, "a pod deleted that may serve");
  }

  void budget_written(const Json& b) {
    const int64_t min = kube::int_at(b, {"spec", "minAvailable"});
    for (const auto& [key, cluster] : world_["fairleadclusters"]) {
      if (kube::uid_of(*cluster) != owner_uid(b)) continue;
      const int64_t voters = static_cast<int64_t>(at(*cluster, {"status", "intent", "members"}).size());
      demand(min == voters / 2 + 1, 28, "minAvailable is not the quorum");
    }
    demand(at(b, {"spec", "maxUnavailable"}).is_null(), 28, "maxUnavailable");
  }

  const std::vector<WriteRecord>& log_;
  const std::string prefix_;
  const WriteRecord* record_ = nullptr;
  std::map<std::string, std::map<ObjectKey, ObjectPtr>> world_;
  std::map<std::string, int> grants_;
  std::set<std::string> made_members_;
  std::vector<std::string> found_;
};

}  // namespace

std::vector<std::string> judge_log(const std::vector<WriteRecord>& log, const std::string& operator_prefix) {
  return LogJudge(log, operator_prefix).run();
}

std::string count_writes(const std::vector<WriteRecord>& log, const std::string& operator_prefix) {
  std::map<std::string, int> counts;
  for (const WriteRecord& r : log) {
    if (!starts_with(r.actor, operator_prefix) || r.gvr.resource == "events") continue;
    if (r.before == nullptr) ++counts["create " + r.gvr.resource];
    const bool marked =
        r.before != nullptr && r.after != nullptr && !kube::is_terminating(*r.before) && kube::is_terminating(*r.after);
    if (marked || (r.after == nullptr && !kube::is_terminating(*r.before))) ++counts["delete " + r.gvr.resource];
  }
  std::string text;
  for (const auto& [what, count] : counts) text += what + "=" + std::to_string(count) + "; ";
  return text;
}

}  // namespace fairlead::apisim
