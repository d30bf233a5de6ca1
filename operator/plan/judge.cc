#include "operator/plan/judge.h"

#include <map>
#include <set>

namespace fairlead::plan {
namespace {

class Judge {
 public:
  Judge(const Observed& o, const Decision& d) : o_(o), d_(d) {
    for (const Member& m : o.members) members_[m.name] = &m;
    for (const Volume& v : o.volumes) volumes_[v.name] = &v;
    for (const Pod& p : o.pods) pods_[p.name] = &p;
    for (const IntentMember& m : o.cluster.intent.members) intents_[m.name] = &m;
  }

  std::vector<std::string> run() {
    if (d_.action) action(*d_.action);
    report(d_.report);
    return std::move(found_);
  }

 private:
  void demand(bool holds, int rule, const std::string& what) {
    if (!holds) found_.push_back("rule " + std::to_string(rule) + ": " + what);
  }

  void action(const Action& a) {
    demand(!a.reason.empty() && !a.text.empty() && !a.rules.empty(), 19, "an action needs a reason and rules");
    const bool leaving = a.kind >= ActionKind::kDeleteMember;
    if (leaving) demand(o_.cluster.terminating, 9, "nothing departs unless the cluster is deleted");
    if (!leaving && a.kind != ActionKind::kDeletePod) {
      demand(!o_.cluster.terminating, 9, "nothing is made for a cluster that is deleted");
    }
    if (a.intent.recorded) record(a);
    switch (a.kind) {
      case ActionKind::kCreateMember:
        return create_member(a);
      case ActionKind::kCreateVolume:
        return create_volume(a);
      case ActionKind::kCreatePod:
        return create_pod(a);
      case ActionKind::kDeletePod:
        return delete_pod(a);
      case ActionKind::kDeleteVolume:
        return delete_volume(a);
      case ActionKind::kReleaseMember:
        return release_member(a);
      case ActionKind::kReleaseCluster:
        return release_cluster();
      case ActionKind::kApplyBudget:
        return budget(a);
      case ActionKind::kApplyClientService:
        demand(static_cast<bool>(o_.cluster.intent.cluster_id), 6, "clients before there is one cluster");
        if (o_.client_service) demand(o_.client_service->owner_uid == o_.cluster.uid, 15, "foreign client service");
        return;
      case ActionKind::kApplyPeerService:
        if (o_.peer_service) demand(o_.peer_service->owner_uid == o_.cluster.uid, 15, "foreign peer service");
        return;
      case ActionKind::kDeleteMember: {
        const auto it = members_.find(a.name);
        demand(it != members_.end() && it->second->uid == a.uid && it->second->owner_uid == o_.cluster.uid, 15,
               "deletes a member that is not its own");
        return;
      }
      default:
        return;
    }
  }

  // The record only ever grows, one fact at a time.
  void record(const Action& a) {
    const Intent& before = o_.cluster.intent;
    const Intent& after = a.intent;
    demand(a.uid == o_.cluster.uid && a.resource_version == o_.cluster.resource_version, 19,
           "a record needs a precondition");
    demand(after.token.find(o_.cluster.uid) != std::string::npos, 5, "the token carries the cluster's UID");
    if (!before.recorded) return first_record(after);
    demand(after.token == before.token && after.members.size() == before.members.size(), 5, "names and token are kept");
    int changes = 0;
    for (size_t i = 0; i < before.members.size() && i < after.members.size(); ++i) {
      const IntentMember &b = before.members[i], &n = after.members[i];
      demand(b.name == n.name, 5, "a member changed its name");
      if (b == n) continue;
      ++changes;
      if (!b.volume_uid.empty())
        demand(b.volume_uid == n.volume_uid && b.member_uid == n.member_uid, 6, "granted twice");
      if (b.member_id) demand(b.member_id == n.member_id, 10, "a member changed its ID");
      if (b.volume_uid.empty() && !n.volume_uid.empty()) grant(n);
    }
    if (!(before.target == after.target)) {
      ++changes;
      demand(before.target.replicas == after.target.replicas, 20, "replicas changed under way");
      demand(before.target.storage_size_bytes == after.target.storage_size_bytes, 18, "size changed under way");
      demand(!before.cluster_id, 20, "the target moved after the cluster had formed");
    }
    if (!(before.cluster_id == after.cluster_id)) {
      ++changes;
      demand(!before.cluster_id, 6, "the cluster ID is latched once");
      latch(after);
    }
    demand(changes == 1, 19, "one fact a time");
  }

  void first_record(const Intent& after) {
    std::set<std::string> names;
    for (const IntentMember& m : after.members) {
      demand(names.insert(m.name).second, 16, "twin names");
      demand(pods_.count(m.name) == 0 && members_.count(m.name) == 0, 5, "a name in use");
      demand(m.volume_uid.empty() && !m.member_id, 6, "granted before it was named");
    }
    for (const auto& [name, m] : members_) demand(m->owner_uid != o_.cluster.uid, 6, "began anew beside old members");
    for (const auto& [name, v] : volumes_) demand(v->cluster_uid != o_.cluster.uid, 6, "began anew beside old volumes");
    demand(static_cast<int>(after.members.size()) == o_.cluster.spec.replicas, 16, "wrong number of names");
  }

  void grant(const IntentMember& n) {
    const auto v = volumes_.find("data-" + n.name);
    demand(v != volumes_.end() && v->second->uid == n.volume_uid && !v->second->terminating, 6, "granted on no volume");
    demand(v != volumes_.end() && v->second->member_uid == n.member_uid, 15, "granted on a foreign volume");
    demand(pods_.count(n.name) == 0, 6, "granted after its pod was made");
    demand(!o_.cluster.intent.cluster_id, 6, "granted in a formed cluster");
  }

  void latch(const Intent& after) {
    for (const IntentMember& m : after.members) {
      bool heard = false;
      for (const Endpoint& e : o_.endpoints) {
        heard |= e.name == m.name && e.answered && e.cluster_id == after.cluster_id && e.member_id == m.member_id;
      }
      demand(heard, 6, "latched without hearing " + m.name);
    }
  }

  void create_member(const Action& a) {
    demand(intents_.count(a.name) == 1, 16, "a member without an intent");
    demand(intents_.count(a.name) == 0 || intents_[a.name]->volume_uid.empty(), 6,
           "a second record for a granted member");
    demand(members_.count(a.name) == 0, 16, "a member that exists");
    demand(a.uid == o_.cluster.uid, 15, "owner is not the cluster");
  }

  void create_volume(const Action& a) {
    demand(volumes_.count(a.name) == 0, 16, "a volume that exists");
    const std::string name = a.name.substr(std::string("data-").size());
    demand(intents_.count(name) == 1 && intents_[name]->volume_uid.empty(), 6, "a new volume for a granted member");
    demand(members_.count(name) == 1 && members_[name]->uid == a.uid && members_[name]->owner_uid == o_.cluster.uid, 15,
           "a volume for no member of ours");
  }

  void create_pod(const Action& a) {
    demand(pods_.count(a.name) == 0, 17, "a pod that exists or ends");
    const auto m = intents_.find(a.name);
    demand(m != intents_.end() && !m->second->volume_uid.empty(), 6, "a pod before its grant");
    if (m == intents_.end()) return;
    const auto v = volumes_.find("data-" + a.name);
    demand(v != volumes_.end() && v->second->uid == m->second->volume_uid && a.volume_uid == v->second->uid &&
               v->second->phase != VolumePhase::kLost && !v->second->terminating,
           6, "started without the volume it was granted");
    demand(members_.count(a.name) == 1 && members_[a.name]->uid == a.uid && a.uid == m->second->member_uid, 15,
           "a pod for no member of ours");
    if (a.state == StartState::kNew) {
      demand(!o_.cluster.intent.cluster_id, 6, "new in a formed cluster");
      demand(!m->second->member_id, 6, "new for a member that was heard");
    }
    std::set<uint64_t> ids;
    for (const Endpoint& e : o_.endpoints) {
      if (e.answered) ids.insert(e.cluster_id.value);
    }
    demand(ids.size() <= 1, 7, "starts something while cluster IDs differ");
  }

  void delete_pod(const Action& a) {
    const auto it = pods_.find(a.name);
    demand(it != pods_.end() && it->second->uid == a.uid && !a.uid.empty() && !a.resource_version.empty(), 15,
           "deletes a pod without knowing which");
    if (it == pods_.end()) return;
    const Pod& p = *it->second;
    demand(members_.count(a.name) == 1 && members_[a.name]->uid == p.owner_uid, 15, "deletes a foreign pod");
    demand(!p.terminating, 17, "deletes a pod that ends already");
    if (o_.cluster.terminating) return;
    const bool ended = p.phase == PodPhase::kFailed || p.phase == PodPhase::kSucceeded;
    demand(ended || (!p.ready && !o_.cluster.intent.cluster_id && !intents_[a.name]->member_id), 4,
           "deletes a pod that may serve");
  }

  void delete_volume(const Action& a) {
    demand(o_.cluster.reclaim == Reclaim::kDelete, 9, "deletes a volume that is to be kept");
    const auto it = volumes_.find(a.name);
    demand(it != volumes_.end() && it->second->uid == a.uid && !a.uid.empty(), 15,
           "deletes a volume without knowing which");
    if (it == volumes_.end()) return;
    demand(it->second->cluster_uid == o_.cluster.uid, 15, "deletes a foreign volume");
    for (const auto& [name, pod] : pods_) {
      demand("data-" + name != a.name || pod->owner_uid != it->second->member_uid, 9, "deletes a volume under its pod");
    }
  }

  void release_member(const Action& a) {
    const auto it = members_.find(a.name);
    demand(it != members_.end() && it->second->uid == a.uid, 15, "releases a member without knowing which");
    if (it == members_.end()) return;
    demand(it->second->terminating, 9, "releases a member that does not leave");
    demand(pods_.count(a.name) == 0 || pods_[a.name]->owner_uid != a.uid, 9,
           "releases a member before its pod is gone");
    if (o_.cluster.reclaim == Reclaim::kRetain) return;
    for (const auto& [name, v] : volumes_)
      demand(v->member_uid != a.uid, 9, "releases a member before its volume is gone");
  }

  void release_cluster() {
    for (const auto& [name, m] : members_)
      demand(m->owner_uid != o_.cluster.uid, 9, "releases the cluster before its members");
  }

  void budget(const Action& a) {
    int voters = 0;
    for (const ListedMember& m : o_.member_list.members) voters += m.learner ? 0 : 1;
    const int target = static_cast<int>(o_.cluster.intent.members.size());
    if (!o_.member_list.answered || voters < target) voters = target;
    demand(2 * a.min_available > voters && 2 * (a.min_available - 1) <= voters, 28, "minAvailable is not the quorum");
    if (o_.budget) demand(o_.budget->owner_uid == o_.cluster.uid, 15, "changes a foreign budget");
  }

  // Unknown is not healthy: no condition may be good news without evidence.
  void report(const Report& r) {
    int answering = 0;
    for (const Endpoint& e : o_.endpoints) answering += e.answered && e.leader_id ? 1 : 0;
    const int voters = r.voters;
    for (const Condition& c : r.conditions) {
      demand(!c.reason.empty(), 14, c.type + " without a reason");
      if (c.status != Truth::kTrue) continue;
      if (c.type == "Available" || c.type == "Ready") demand(o_.write_probe.answered, 14, c.type + " without a write");
      if (c.type == "Ready") demand(answering >= voters && voters > 0, 14, "Ready without every member");
      if (c.type == "QuorumHealthy") demand(2 * answering > voters, 14, "QuorumHealthy without a quorum");
      if (c.type == "FaultTolerant") demand(2 * (answering - 1) > voters, 14, "FaultTolerant without a spare");
    }
    demand(r.conditions.size() == std::size(kConditionTypes), 14, "a condition is missing");
    demand(r.observed_generation == o_.cluster.generation, 14, "observedGeneration");
  }

  const Observed& o_;
  const Decision& d_;
  std::map<std::string, const Member*> members_;
  std::map<std::string, const Volume*> volumes_;
  std::map<std::string, const Pod*> pods_;
  std::map<std::string, const IntentMember*> intents_;
  std::vector<std::string> found_;
};

}  // namespace

std::vector<std::string> judge(const Observed& o, const Decision& d) { return Judge(o, d).run(); }

}  // namespace fairlead::plan
