#include "operator/main/execute.h"

#include "operator/main/convert.h"
#include "operator/main/objects.h"
#include "operator/plan/plan.h"

namespace fairlead::ops {
namespace {

using kube::Json;
using kube::ObjectKey;
using plan::ActionKind;

Status moved_on(const std::string& what) {
  return Status(Code::kAborted, what + " has changed since it was looked at");
}

class Executor {
 public:
  Executor(kube::Api& api, const View& view, const plan::Action& action)
      : api_(api), view_(view), a_(action), ns_(view.parsed.meta.name_space) {}

  Result<Json> run(const Json& status) {
    switch (a_.kind) {
      case ActionKind::kRecordIntent:
      case ActionKind::kRecordTarget:
      case ActionKind::kGrantNew:
      case ActionKind::kRecordStarted:
      case ActionKind::kRecordClusterId:
        return write_status(api_, gvr::kClusters, view_.cluster, status);
      case ActionKind::kAddFinalizer:
        return add_finalizer();
      case ActionKind::kApplyPeerService:
        return apply(kube::gvr::kServices, peer_service_object(view_.cluster));
      case ActionKind::kApplyClientService:
        return apply(kube::gvr::kServices, client_service_object(view_.cluster));
      case ActionKind::kApplyBudget:
        return apply(kube::gvr::kPodDisruptionBudgets, budget_object(view_.cluster, a_.min_available));
      case ActionKind::kCreateMember:
        return create(gvr::kMembers, member_object(view_.cluster, a_.name));
      case ActionKind::kCreateVolume:
        return create_volume();
      case ActionKind::kCreatePod:
        return create_pod();
      case ActionKind::kDeletePod:
        return delete_pod();
      case ActionKind::kDeleteMember:
        return remove(gvr::kMembers, false);
      case ActionKind::kDeleteVolume:
        return delete_volume();
      case ActionKind::kReleaseMember:
        return release_member();
      case ActionKind::kDeleteBudget:
        return remove(kube::gvr::kPodDisruptionBudgets, false);
      case ActionKind::kDeleteClientService:
      case ActionKind::kDeletePeerService:
        return remove(kube::gvr::kServices, false);
      case ActionKind::kReleaseCluster:
        return release_cluster();
    }
    return internal_error("unknown action");
  }

 private:
  kube::WriteOptions write_options(bool force = false) const {
    kube::WriteOptions options;
    options.field_manager = kFieldManager;
    options.force = force;
    return options;
  }

  // ---- preconditions, asked again ----

  // Nobody wrote to the cluster since: its intent is the one that was decided on.
  Status cluster_unchanged() {
    ASSIGN_OR_RETURN(const Json now, api_.get(gvr::kClusters, {ns_, view_.parsed.meta.name}));
    if (kube::uid_of(now) != view_.parsed.meta.uid ||
        kube::resource_version_of(now) != view_.parsed.meta.resource_version) {
      return moved_on("the FairleadCluster");
    }
    return {};
  }

  // The FairleadMember is still the one, and nobody deletes the cluster under it.
  Status member_is(const std::string& name, const std::string& uid) {
    ASSIGN_OR_RETURN(const Json now, api_.get(gvr::kMembers, {ns_, name}));
    return kube::uid_of(now) == uid ? Status() : moved_on("FairleadMember " + name);
  }

  // `owner` empty: nobody's pod may be there.
  Status pod_gone(const std::string& name, const std::string& owner) {
    const Result<Json> now = api_.get(kube::gvr::kPods, {ns_, name});
    if (now.code() == Code::kNotFound) return {};
    RETURN_IF_ERROR(now.status());
    const bool foreign = !owner.empty() && kube::string_at(kube::controller_of(*now), {"uid"}) != owner;
    return foreign ? Status() : moved_on("pod " + name);
  }

  // ---- writes ----

  Result<Json> create(const kube::Gvr& gvr, const Json& object) {
    RETURN_IF_ERROR(cluster_unchanged());
    const Result<Json> created = api_.create(gvr, object, write_options());
    RETURN_IF_ERROR(created.status());
    return Json();
  }

  // Exists: apply onto that very object. Does not: create, so that an object that appears meanwhile
  // is not taken over.
  Result<Json> apply(const kube::Gvr& gvr, Json object) {
    if (a_.uid.empty()) return create(gvr, object);
    object["metadata"]["uid"] = a_.uid;
    const Result<Json> applied = api_.apply(gvr, object, write_options(true));
    RETURN_IF_ERROR(applied.status());
    return Json();
  }

  Result<Json> remove(const kube::Gvr& gvr, bool exact_version) {
    kube::DeleteOptions options;
    options.uid = a_.uid;
    if (exact_version) options.resource_version = a_.resource_version;
    RETURN_IF_ERROR(api_.remove(gvr, {ns_, a_.name}, options));
    return Json();
  }

  Result<Json> create_volume() {
    const std::string member = a_.name.substr(plan::volume_name("").size());
    RETURN_IF_ERROR(member_is(member, a_.uid));
    return create(kube::gvr::kPersistentVolumeClaims,
                  volume_object(view_.cluster, member, a_.uid, view_.parsed.status.intent.target));
  }

  Result<Json> create_pod() {
    ASSIGN_OR_RETURN(const Json volume,
                     api_.get(kube::gvr::kPersistentVolumeClaims, {ns_, plan::volume_name(a_.name)}));
    if (kube::uid_of(volume) != a_.volume_uid || kube::is_terminating(volume)) return moved_on("volume of " + a_.name);
    RETURN_IF_ERROR(member_is(a_.name, a_.uid));
    return create(kube::gvr::kPods,
                  pod_object(view_.cluster, view_.members.at(a_.name), view_.parsed.status.intent, a_.state));
  }

  // A pod that failed must be the failed one still. A pod of a cluster that goes is deleted
  // whatever its state.
  Result<Json> delete_pod() { return remove(kube::gvr::kPods, !view_.parsed.meta.terminating); }

  Result<Json> delete_volume() {
    RETURN_IF_ERROR(pod_gone(a_.name.substr(plan::volume_name("").size()), ""));
    return remove(kube::gvr::kPersistentVolumeClaims, false);
  }

  Result<Json> release_member() {
    RETURN_IF_ERROR(pod_gone(a_.name, a_.uid));
    if (view_.observed.cluster.reclaim == plan::Reclaim::kDelete) {
      const Result<Json> volume = api_.get(kube::gvr::kPersistentVolumeClaims, {ns_, plan::volume_name(a_.name)});
      if (volume.is_ok() && volume_to_plan(*volume).member_uid == a_.uid) return moved_on("volume of " + a_.name);
      if (!volume.is_ok() && volume.code() != Code::kNotFound) return volume.status();
    }
    RETURN_IF_ERROR(set_finalizers(gvr::kMembers, view_.members.at(a_.name), crd::kMemberFinalizer, false).status());
    return Json();
  }

  Result<Json> release_cluster() {
    kube::ListOptions options;
    options.ns = ns_;
    options.label_selector = cluster_selector(view_.parsed.meta.name);
    ASSIGN_OR_RETURN(const kube::ObjectList members, api_.list(gvr::kMembers, options));
    for (const Json& m : members.items) {
      if (kube::string_at(kube::controller_of(m), {"uid"}) == view_.parsed.meta.uid) return moved_on("the member list");
    }
    RETURN_IF_ERROR(set_finalizers(gvr::kClusters, view_.cluster, crd::kClusterFinalizer, false).status());
    return Json();
  }

  Result<Json> add_finalizer() { return set_finalizers(gvr::kClusters, view_.cluster, crd::kClusterFinalizer, true); }

  Result<Json> set_finalizers(const kube::Gvr& gvr, const Json& object, std::string_view finalizer, bool present) {
    Json list = Json::array();
    for (const Json& f : kube::at(object, {"metadata", "finalizers"})) {
      if (f != finalizer) list.push_back(f);
    }
    if (present) list.push_back(finalizer);
    const Json patch = {{"metadata",
                         {{"uid", kube::uid_of(object)},
                          {"resourceVersion", kube::resource_version_of(object)},
                          {"finalizers", std::move(list)}}}};
    return api_.merge_patch(gvr, kube::key_of(object), patch, write_options());
  }

  kube::Api& api_;
  const View& view_;
  const plan::Action& a_;
  const std::string ns_;
};

}  // namespace

Result<Json> write_status(kube::Api& api, const kube::Gvr& gvr, const Json& object, const Json& status) {
  Json body = object;
  body["status"] = status;
  body["metadata"].erase("managedFields");
  kube::WriteOptions options;
  options.field_manager = kFieldManager;
  options.subresource = "status";
  return api.replace(gvr, std::move(body), options);
}

Result<Json> execute(kube::Api& api, const View& view, const plan::Action& action, const Json& status) {
  return Executor(api, view, action).run(status);
}

}  // namespace fairlead::ops
