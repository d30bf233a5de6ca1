#include "operator/plan/plan.h"

#include <algorithm>
#include <set>

#include "base/check.h"
#include "operator/plan/view.h"

namespace fairlead::plan {
namespace {

// One round of planning. Steps are tried in order; the first that finds something to do ends the
// round. What cannot be done becomes a Block and does not keep the steps behind it from being
// tried: one lost volume must not hold up the repair of another member.
class Planner {
 public:
  explicit Planner(const Observed& o) : o_(o), c_(o.cluster) {}

  Decision run() {
    if (c_.terminating) {
      depart();
    } else {
      pursue();
    }
    finish();
    decision_.report = make_report(o_, decision_, blocks_);
    if (!acted() && blocks_.empty() && !c_.terminating) decision_.why = how_it_is();
    return std::move(decision_);
  }

 private:
  bool acted() const { return decision_.action.has_value(); }

  // ---- saying ----

  Action& act(ActionKind kind, std::string name, std::string reason, std::string text, std::vector<int> rules) {
    CHECK(!acted(), "at most one action a round");
    decision_.action = Action{};
    Action& a = *decision_.action;
    a.kind = kind;
    a.name = std::move(name);
    a.reason = std::move(reason);
    a.text = std::move(text);
    a.rules = std::move(rules);
    return a;
  }

  template <typename Object>
  Action& act_on(const Object& object, ActionKind kind, std::string name, std::string reason, std::string text,
                 std::vector<int> rules) {
    Action& a = act(kind, std::move(name), std::move(reason), std::move(text), std::move(rules));
    a.uid = object.uid;
    a.resource_version = object.resource_version;
    return a;
  }

  void record(ActionKind kind, std::string name, Intent intent, std::string reason, std::string text,
              std::vector<int> rules) {
    act_on(c_, kind, std::move(name), std::move(reason), std::move(text), std::move(rules)).intent = std::move(intent);
  }

  void block(std::string member, std::string reason, std::string text, std::vector<int> rules, bool stalled) {
    blocks_.push_back({std::move(member), std::move(reason), std::move(text), std::move(rules), stalled});
  }

  // Nothing stands in the way and nothing is to be done: then the state is the reason.
  std::string how_it_is() const {
    std::string text;
    for (const Condition& c : decision_.report.conditions) {
      if (c.type == "Ready") text = (c.status == Truth::kTrue ? "" : "waiting: ") + c.message;
      if (c.type == "FaultTolerant" && c.status == Truth::kTrue) text += "; " + c.message;
    }
    return text;
  }

  void finish() {
    if (acted()) {
      decision_.why = decision_.action->text;
      return;
    }
    for (const Block& b : blocks_) {
      if (!decision_.why.empty()) decision_.why += "; ";
      decision_.why += (b.member.empty() ? "" : b.member + ": ") + b.text;
      for (const int rule : b.rules) {
        if (std::find(decision_.rules.begin(), decision_.rules.end(), rule) == decision_.rules.end()) {
          decision_.rules.push_back(rule);
        }
      }
    }
    if (decision_.why.empty()) decision_.why = c_.terminating ? "everything is gone" : "nothing to do";
  }

  // ---- a cluster that shall be ----

  void pursue() {
    if (!c_.has_finalizer) {
      act_on(c_, ActionKind::kAddFinalizer, c_.name, "Finalizer", "hold the cluster until its members have left", {9});
      return;
    }
    if (!c_.intent.recorded) return begin();
    if (image_corrected(o_)) return correct_target();
    record_started();
    if (!acted()) services();
    if (!acted()) budget();
    if (!acted()) members();
    if (!acted()) latch_cluster_id();
    if (!acted()) client_service();
  }

  // The first intent: names are drawn and written down before anything carries them.
  void begin() {
    for (const Member& m : o_.members) {
      if (m.owner_uid == c_.uid) return intent_lost("FairleadMember " + m.name);
    }
    for (const Volume& v : o_.volumes) {
      if (v.cluster_uid == c_.uid) return intent_lost("PersistentVolumeClaim " + v.name);
    }
    Intent intent;
    intent.recorded = true;
    intent.token = c_.name + "-" + c_.uid;
    intent.target = c_.spec;
    std::set<std::string> names = names_in_use();
    for (const std::string& suffix : o_.random_suffixes) {
      const std::string name = c_.name + "-" + suffix;
      if (static_cast<int>(intent.members.size()) == c_.spec.replicas) break;
      if (names.insert(name).second) intent.members.push_back(IntentMember{name, "", "", MemberId()});
    }
    CHECK(static_cast<int>(intent.members.size()) == c_.spec.replicas, "the caller gives enough random suffixes");
    record(ActionKind::kRecordIntent, c_.name, std::move(intent), "BootstrapPlanned",
           "write down names and token of " + std::to_string(c_.spec.replicas) + " first member(s)", {5, 16, 19, 20});
  }

  void intent_lost(const std::string& what) {
    block("", "IntentLost",
          what +
              " belongs to this cluster, but its record of intent is gone; starting anew could "
              "form a second cluster",
          {6, 13}, true);
  }

  std::set<std::string> names_in_use() const {
    std::set<std::string> names = {peer_service_name(c_.name), client_service_name(c_.name)};
    for (const Member& m : o_.members) names.insert(m.name);
    for (const Pod& p : o_.pods) names.insert(p.name);
    return names;
  }

  void correct_target() {
    Intent intent = c_.intent;
    intent.target.image = c_.spec.image;
    intent.target.resources = c_.spec.resources;
    intent.target.fix_permissions = c_.spec.fix_permissions;
    record(ActionKind::kRecordTarget, c_.name, std::move(intent), "SpecCorrected",
           "no member ever came up: take over the corrected image and resources", {20});
  }

  // A member that answered is never again started as new.
  void record_started() {
    for (size_t i = 0; i < c_.intent.members.size() && !acted(); ++i) {
      const IntentMember& m = c_.intent.members[i];
      const Endpoint* e = find_endpoint(o_, m.name);
      const Pod* pod = find_pod(o_, m.name);
      if (e == nullptr || !e->answered || !e->member_id || m.member_id || !m.granted()) continue;
      if (pod == nullptr || pod->owner_uid != m.member_uid) continue;
      if (cluster_ids_differ(o_)) continue;
      Intent intent = c_.intent;
      intent.members[i].member_id = e->member_id;
      record(ActionKind::kRecordStarted, m.name, std::move(intent), "MemberStarted",
             "it answered for the first time; from now on it is never started as new", {6, 10});
    }
  }

  void services() {
    service(o_.peer_service, ActionKind::kApplyPeerService, peer_service_name(c_.name), "PeerService",
            "members find each other by it, ready or not", {29});
  }

  // Clients get endpoints only once it is certain that there is one cluster.
  void client_service() {
    if (!c_.intent.cluster_id) return;
    service(o_.client_service, ActionKind::kApplyClientService, client_service_name(c_.name), "ClientService",
            "all members agree on one cluster ID: open the door to clients", {6});
  }

  void service(const std::optional<Service>& service, ActionKind kind, const std::string& name, std::string reason,
               std::string text, std::vector<int> rules) {
    if (!usable(service, "Service " + name, "ServiceForeign")) return;
    if (service && service->as_wanted) return;
    Action& a = act(kind, name, std::move(reason), std::move(text), std::move(rules));
    if (service) a.uid = service->uid, a.resource_version = service->resource_version;
  }

  // False, with a block, when an object of that name is not ours or on its way out.
  template <typename Object>
  bool usable(const std::optional<Object>& object, const std::string& what, const char* foreign_reason) {
    if (!object) return true;
    if (object->owner_uid != c_.uid) {
      block("", foreign_reason, what + " exists and is not this cluster's; rename one of them", {15}, true);
      return false;
    }
    if (object->terminating) {
      block("", "ObjectTerminating", what + " is being deleted; made anew once it is gone", {17}, false);
      return false;
    }
    return true;
  }

  void budget() {
    const int voters = std::max(live_voters(o_), static_cast<int>(c_.intent.members.size()));
    const int wanted = quorum(voters);
    if (!usable(o_.budget, "PodDisruptionBudget " + budget_name(c_.name), "BudgetForeign")) return;
    if (o_.budget && o_.budget->as_wanted && o_.budget->min_available == wanted) return;
    Action& a = act(ActionKind::kApplyBudget, budget_name(c_.name), "Budget",
                    "at least " + std::to_string(wanted) + " of " + std::to_string(voters) + " voters must stay", {28});
    a.min_available = wanted;
    if (o_.budget) a.uid = o_.budget->uid, a.resource_version = o_.budget->resource_version;
  }

  void members() {
    if (cluster_ids_differ(o_)) {
      block("", "ClusterIDMismatch", "members report different cluster IDs; nothing is started or replaced", {6, 7},
            true);
      return;
    }
    for (size_t i = 0; i < c_.intent.members.size() && !acted(); ++i) member(i);
  }

  void member(size_t i) {
    const IntentMember& m = c_.intent.members[i];
    const Member* record = find_member(o_, m.name);
    if (record == nullptr) {
      if (m.granted()) {
        return block(m.name, "MemberRecordLost", "its FairleadMember is gone although it was started once", {6, 15},
                     true);
      }
      act(ActionKind::kCreateMember, m.name, "MemberCreated", "its name is in the intent", {16, 19}).uid = c_.uid;
      return;
    }
    if (record->owner_uid != c_.uid) {
      return block(m.name, "MemberForeign", "a FairleadMember of that name is not this cluster's", {15}, true);
    }
    if (m.granted() && record->uid != m.member_uid) {
      return block(m.name, "MemberRecordLost", "its FairleadMember was replaced by a namesake", {6, 15}, true);
    }
    if (record->terminating) {
      block(m.name, "MemberRemovalNotSupportedYet",
            "its FairleadMember is marked for deletion, but single members cannot leave yet; it is "
            "kept running",
            {8, 9}, true);
      if (!m.granted()) return;
    }
    if (!volume(i, *record)) return;
    pod(m, *record);
  }

  // True: the volume that the grant names is there, go on to the pod.
  bool volume(size_t i, const Member& record) {
    const IntentMember& m = c_.intent.members[i];
    const Volume* v = find_volume(o_, volume_name(m.name));
    if (m.granted()) return volume_kept(m, v);
    if (v == nullptr) {
      act(ActionKind::kCreateVolume, volume_name(m.name), "VolumeCreated", "no volume was granted to it yet", {16, 19})
          .uid = record.uid;
      return false;
    }
    if (v->member_uid != record.uid) {
      block(m.name, "VolumeForeign", "a PersistentVolumeClaim " + v->name + " exists that was not made for it", {15},
            true);
      return false;
    }
    if (v->terminating) {
      block(m.name, "VolumeTerminating", "its new volume is being deleted; made anew once it is gone", {17}, false);
      return false;
    }
    if (find_pod(o_, m.name) != nullptr) {
      block(m.name, "IntentLost", "a pod of its name exists, but there is no record that it was ever started", {6, 13},
            true);
      return false;
    }
    CHECK(!c_.intent.cluster_id, "a cluster ID is latched only after every member was granted");
    Intent intent = c_.intent;
    intent.members[i].member_uid = record.uid;
    intent.members[i].volume_uid = v->uid;
    Action* a = nullptr;
    this->record(ActionKind::kGrantNew, m.name, std::move(intent), "StartAsNewGranted",
                 "may start with initial-cluster-state=new on this volume, and on no other, ever", {6, 19});
    a = &*decision_.action;
    a->volume_uid = v->uid;
    return false;
  }

  bool volume_kept(const IntentMember& m, const Volume* v) {
    if (v == nullptr || v->uid != m.volume_uid) {
      block(m.name, "VolumeLost",
            v == nullptr ? "its volume is gone; restarted empty it would vote without memory"
                         : "its volume was replaced by another of the same name; it would vote without memory",
            {6, 15, 24}, true);
      return false;
    }
    if (v->phase == VolumePhase::kLost) {
      block(m.name, "VolumeLost", "the storage behind its volume is gone", {6, 24}, true);
      return false;
    }
    if (v->terminating) {
      block(m.name, "VolumeTerminating", "its volume is marked for deletion and will be lost when its pod ends", {17},
            true);
      return false;
    }
    return true;
  }

  void pod(const IntentMember& m, const Member& record) {
    const Pod* p = find_pod(o_, m.name);
    if (p == nullptr) return create_pod(m, record);
    if (p->owner_uid != record.uid) {
      return block(m.name, "PodForeign", "a pod of that name is not its own", {15}, true);
    }
    if (p->terminating) {
      return block(m.name, "PodTerminating", "its pod is ending; replaced on the same volume once it is gone", {17, 26},
                   false);
    }
    if (p->phase == PodPhase::kFailed || p->phase == PodPhase::kSucceeded) return replace_failed(m, *p);
    const bool came_up = p->ready || m.member_id || c_.intent.cluster_id;
    if (!came_up && p->template_id != template_id(c_.intent.target)) {
      act_on(*p, ActionKind::kDeletePod, p->name, "PodCorrected",
             "made from a spec that was corrected since, and it never came up", {4, 15, 20});
    }
  }

  void create_pod(const IntentMember& m, const Member& record) {
    // Rule 6: "new" follows from the cluster's phase and the grant. A member that was heard once
    // has data.
    const bool as_new = !c_.intent.cluster_id && !m.member_id;
    Action& a = act(ActionKind::kCreatePod, m.name, as_new ? "PodCreated" : "PodReplaced",
                    as_new ? "granted to start as new; no cluster ID is latched and it was never heard"
                           : "its pod is gone and its volume is there",
                    as_new ? std::vector<int>{6, 16, 19} : std::vector<int>{6, 15, 16, 26});
    a.uid = record.uid;
    a.state = as_new ? StartState::kNew : StartState::kExisting;
    a.volume_uid = m.volume_uid;
  }

  void replace_failed(const IntentMember& m, const Pod& p) {
    const TimeMs due = p.created_ms + kFailedPodAgeMinMs;
    if (o_.now_ms < due) {
      block(m.name, "PodFailed", "its pod failed right after it was made; replaced in a moment", {24}, false);
      decision_.wake_at_ms = decision_.wake_at_ms == 0 ? due : std::min(decision_.wake_at_ms, due);
      return;
    }
    act_on(p, ActionKind::kDeletePod, p.name, "PodFailed", "all its containers have ended; make room for a new one",
           {4, 15, 26});
  }

  void latch_cluster_id() {
    if (c_.intent.cluster_id || cluster_ids_differ(o_)) return;
    ClusterId id;
    for (const IntentMember& m : c_.intent.members) {
      const Endpoint* e = find_endpoint(o_, m.name);
      if (!m.member_id || e == nullptr || !e->answered || e->member_id != m.member_id || !e->cluster_id) return;
      id = e->cluster_id;
    }
    Intent intent = c_.intent;
    intent.cluster_id = id;
    record(ActionKind::kRecordClusterId, c_.name, std::move(intent), "ClusterFormed",
           "every first member reports the same cluster ID", {6, 7});
  }

  // ---- a cluster that shall go ----

  void depart() {
    if (!c_.has_finalizer) return;
    for (const Member& m : o_.members) {
      if (m.owner_uid == c_.uid && !m.terminating) {
        act_on(m, ActionKind::kDeleteMember, m.name, "MemberLeaving", "the cluster is being deleted", {9, 15});
        return;
      }
    }
    bool members_left = false;
    for (const Member& m : o_.members) {
      if (m.owner_uid != c_.uid) continue;
      members_left = true;
      member_departs(m);
      if (acted()) return;
    }
    if (members_left || stray_volumes()) return;
    if (drop(o_.budget, ActionKind::kDeleteBudget, budget_name(c_.name))) return;
    if (drop(o_.client_service, ActionKind::kDeleteClientService, client_service_name(c_.name))) return;
    if (drop(o_.peer_service, ActionKind::kDeletePeerService, peer_service_name(c_.name))) return;
    act_on(c_, ActionKind::kReleaseCluster, c_.name, "Deleted", "all its members have left", {9});
  }

  // Pod, then volume, then finalizer; each only after the one before is gone from the API server.
  void member_departs(const Member& m) {
    const Pod* p = find_pod(o_, m.name);
    if (p != nullptr && p->owner_uid == m.uid) {
      if (p->terminating) return block(m.name, "PodTerminating", "its pod is ending", {9, 17}, false);
      act_on(*p, ActionKind::kDeletePod, p->name, "PodLeaving", "the cluster is being deleted", {9, 15});
      return;
    }
    if (c_.reclaim == Reclaim::kDelete) {
      for (const Volume& v : o_.volumes) {
        if (v.member_uid != m.uid) continue;
        if (volume_departs(v, m.name)) return;
      }
    }
    if (!m.has_finalizer) return;
    act_on(m, ActionKind::kReleaseMember, m.name, "MemberLeft",
           c_.reclaim == Reclaim::kDelete ? "its pod and its volume are gone" : "its pod is gone, its volume is kept",
           {9});
  }

  // True while the volume still stands in the way (an action or a block says how).
  bool volume_departs(const Volume& v, const std::string& member) {
    if (v.terminating) {
      block(member, "VolumeTerminating", "volume " + v.name + " is being deleted", {9, 17}, false);
    } else {
      act_on(v, ActionKind::kDeleteVolume, v.name, "VolumeDeleted",
             "its pod is gone and spec.storage.reclaim is Delete", {9, 15});
    }
    return true;
  }

  // Volumes of this cluster whose FairleadMember vanished, for example because its finalizer was
  // removed by hand.
  bool stray_volumes() {
    if (c_.reclaim != Reclaim::kDelete) return false;
    for (const Volume& v : o_.volumes) {
      if (v.cluster_uid != c_.uid) continue;
      for (const Pod& p : o_.pods) {
        if (volume_name(p.name) != v.name) continue;
        block(p.name, "PodTerminating", "a pod without a FairleadMember still uses " + v.name, {9}, false);
        return true;
      }
      return volume_departs(v, "");
    }
    return false;
  }

  template <typename Object>
  bool drop(const std::optional<Object>& object, ActionKind kind, const std::string& name) {
    if (!object || object->owner_uid != c_.uid) return false;
    if (object->terminating) {
      block("", "ObjectTerminating", name + " is being deleted", {17}, false);
    } else {
      act_on(*object, kind, name, "Cleanup", "the cluster is being deleted", {15});
    }
    return true;
  }

  const Observed& o_;
  const Cluster& c_;
  Decision decision_;
  std::vector<Block> blocks_;
};

}  // namespace

Decision plan(const Observed& observed) { return Planner(observed).run(); }

}  // namespace fairlead::plan
