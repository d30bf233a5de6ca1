// How writes change the state.

#include "operator/sim/server_write.h"

#include <algorithm>

#include "operator/sim/builtin.h"
#include "operator/sim/managed_fields.h"

namespace fairlead::apisim {

using kube::at;
using kube::string_at;

namespace {

Status conflict(const Server::Write& w, const std::string& name, const std::string& why) {
  return Status(Code::kAborted, "Operation cannot be fulfilled on " + w.resource() + " \"" + name + "\": " + why);
}

Status invalid(const ResourceInfo& info, const std::string& name, const std::vector<std::string>& errors) {
  std::string text = info.kind;
  if (!info.gvr.group.empty()) text += "." + info.gvr.group;
  text += " \"" + name + "\" is invalid: ";
  for (size_t i = 0; i < errors.size(); i++) text += (i == 0 ? "" : ", ") + errors[i];
  return invalid_argument(text);
}

const char* const kModified =
    "the object has been modified; please apply your changes to the latest version and try again";

// resourceVersion and uid in a body are preconditions.
Status check_preconditions(const Server::Write& w, const Json& body, const Json& current) {
  const std::string name = kube::name_of(current);
  const std::string version = kube::resource_version_of(body);
  if (!version.empty() && version != kube::resource_version_of(current)) return conflict(w, name, kModified);
  const std::string uid = kube::uid_of(body);
  if (!uid.empty() && uid != kube::uid_of(current)) {
    // only a replace takes the uid for a precondition; in a patch it is an attempt to change it
    if (w.request.verb != kube::Verb::kReplace) {
      return invalid(w.info, name, {"metadata.uid: Invalid value: \"" + uid + "\": field is immutable"});
    }
    return conflict(
        w, name, "Precondition failed: UID in precondition: " + uid + ", UID in object meta: " + kube::uid_of(current));
  }
  return {};
}

// What only the server writes in metadata, taken over from `before`.
void keep_server_metadata(const Json& before, Json& after) {
  for (const char* field : {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp",
                            "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"}) {
    const Json& old = at(before, {"metadata", field});
    if (old.is_null())
      after["metadata"].erase(field);
    else
      after["metadata"][field] = old;
  }
}

// The parts that count as the user's intent: a change of them moves the generation.
Json intent_of(const Json& object) {
  Json intent = object;
  for (const char* part : {"metadata", "status", "apiVersion", "kind"}) intent.erase(part);
  return intent;
}

Json without_bookkeeping(Json object) {
  object["metadata"].erase("managedFields");
  object["metadata"].erase("resourceVersion");
  return object;
}

bool has_finalizers(const Json& object) {
  const Json& list = at(object, {"metadata", "finalizers"});
  return list.is_array() && !list.empty();
}

bool same_owners(const std::vector<Manager>& a, const std::vector<Manager>& b) {
  const auto same = [](const Manager& x, const Manager& y) {
    return x.name == y.name && x.applies == y.applies && x.subresource == y.subresource && x.fields == y.fields;
  };
  return a.size() == b.size() && std::is_permutation(a.begin(), a.end(), b.begin(), same);
}

// Null and empty lists and maps in metadata are the same as none.
void tidy_metadata(Json& object) {
  Json& metadata = object["metadata"];
  for (const char* field : {"labels", "annotations", "finalizers", "ownerReferences"}) {
    auto it = metadata.find(field);
    if (it != metadata.end() && it->empty()) metadata.erase(it);
  }
}

Status check_body(const Server::Write& w, const Json& body) {
  if (!body.is_object()) return invalid_argument("the body is not an object");
  if (string_at(body, {"kind"}) != w.info.kind || string_at(body, {"apiVersion"}) != w.info.gvr.api_version()) {
    return invalid_argument("the API version and kind in the data (" + string_at(body, {"apiVersion"}) + ", " +
                            string_at(body, {"kind"}) + ") do not match the expected (" + w.info.gvr.api_version() +
                            ", " + w.info.kind + ")");
  }
  if (body.contains("metadata") && !body["metadata"].is_object()) return invalid_argument("metadata is not an object");
  const std::string ns = kube::namespace_of(body);
  if (!ns.empty() && ns != w.request.key.ns) {
    return invalid_argument("the namespace of the provided object does not match the namespace sent on the request");
  }
  return {};
}

}  // namespace

// Prunes, fills in defaults and validates. `before` null: a create.
Status Server::prepare_locked(const Write& w, Json& object, const Json* before) const {
  tidy_metadata(object);
  std::vector<std::string> errors = validate_metadata(w.info.gvr, object, before);
  if (w.info.schema) {
    w.info.schema->prune(object);
    w.info.schema->set_defaults(object);
    for (std::string& e : w.info.schema->validate(object, before)) errors.push_back(std::move(e));
  } else {
    for (std::string& e : validate_builtin(w.info, object, before)) errors.push_back(std::move(e));
  }
  if (!errors.empty()) return invalid(w.info, kube::name_of(object), errors);
  return {};
}

// The one place where the state changes. `after` null: the object goes.
Json Server::commit_locked(const Write& w, const ObjectKey& key, const ObjectPtr& before, Json* after) {
  version_++;
  ObjectPtr stored;
  if (after != nullptr) {
    (*after)["metadata"]["resourceVersion"] = std::to_string(version_);
    stored = std::make_shared<const Json>(std::move(*after));
    objects_[w.info.gvr][key] = stored;
  } else {
    objects_[w.info.gvr].erase(key);
  }
  WriteRecord record;
  record.resource_version = version_;
  record.actor = w.actor;
  record.verb = w.request.verb;
  record.subresource = w.request.subresource;
  record.gvr = w.info.gvr;
  record.key = key;
  record.uid = kube::uid_of(stored ? *stored : *before);
  record.before = before;
  record.after = stored;
  log_.push_back(std::move(record));
  if (log_.size() > options_.history_max) {
    compacted_ = std::max(compacted_, log_[log_.size() - options_.history_max - 1].resource_version);
  }
  changed_.notify_all();
  Json answer = stored ? *stored : *before;
  if (w.info.gvr == kube::gvr::kCustomResourceDefinitions && !stored) unregister_crd_locked(answer);
  return answer;
}

// ---- create ----

Result<Json> Server::create_locked(const Write& w) {
  const Json& body = w.request.body;
  RETURN_IF_ERROR(check_body(w, body));
  if (!kube::resource_version_of(body).empty())
    return internal_error("resourceVersion should not be set on objects to be created");
  if (kube::name_of(body).empty()) {
    return invalid(w.info, "",
                   {"metadata.name: Required value: name or generateName is required (generateName is not simulated)"});
  }
  Json object = body;
  if (w.info.has_status) object.erase("status");
  if (w.info.schema) {
    w.info.schema->prune(object);
    w.info.schema->set_defaults(object);
  }
  for (const char* field :
       {"uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "managedFields"}) {
    object["metadata"].erase(field);
  }
  std::vector<Manager> managers;
  track_update(managers, w.field_manager(), "", Json(), object, w.schema(), w.info.has_status,
               kube::format_time(now_ms_));
  set_managers(object, w.info.gvr.api_version(), managers);
  return insert_locked(w, std::move(object));
}

Result<Json> Server::insert_locked(const Write& w, Json object) {
  const ObjectKey key{w.info.gvr.namespaced ? w.request.key.ns : "", kube::name_of(object)};
  if (w.info.gvr.namespaced) {
    if (key.ns.empty()) return invalid_argument("an empty namespace may not be set during creation");
    const Collection& namespaces = collection_locked(kube::gvr::kNamespaces);
    auto ns = namespaces.find({"", key.ns});
    if (ns == namespaces.end()) return not_found("namespaces \"" + key.ns + "\" not found");
    if (kube::is_terminating(*ns->second)) {
      return Status(Code::kPermissionDenied, w.resource() + " \"" + key.name +
                                                 "\" is forbidden: unable to create new content in namespace " +
                                                 key.ns + " because it is being terminated");
    }
    object["metadata"]["namespace"] = key.ns;
  }
  if (collection_locked(w.info.gvr).contains(key)) {
    return Status(Code::kAlreadyExists, w.resource() + " \"" + key.name + "\" already exists");
  }
  complete_builtin(w.info, object, "10.96.0." + std::to_string(next_address_));
  RETURN_IF_ERROR(prepare_locked(w, object, nullptr));
  if (w.info.gvr == kube::gvr::kCustomResourceDefinitions) {
    RETURN_IF_ERROR(register_crd_locked(object));
    object["status"]["conditions"] =
        Json::array({{{"type", "Established"}, {"status", "True"}, {"reason", "InitialNamesAccepted"}}});
  }
  if (w.info.gvr == kube::gvr::kServices) next_address_++;
  object["metadata"]["uid"] = new_uid_locked();
  object["metadata"]["creationTimestamp"] = kube::format_time(now_ms_);
  if (w.info.has_generation) object["metadata"]["generation"] = 1;
  return commit_locked(w, key, nullptr, &object);
}

// ---- replace, merge patch ----

Result<Json> Server::replace_locked(const Write& w) {
  const Request& r = w.request;
  const Collection& state = collection_locked(w.info.gvr);
  auto it = state.find(r.key);
  if (it == state.end()) return not_found(w.resource() + " \"" + r.key.name + "\" not found");
  const ObjectPtr before = it->second;
  Json after;
  if (r.verb == kube::Verb::kReplace) {
    RETURN_IF_ERROR(check_body(w, r.body));
    if (kube::name_of(r.body) != r.key.name)
      return invalid_argument("the name of the object does not match the name on the URL");
    if (kube::resource_version_of(r.body).empty() && !w.info.unconditional_update) {
      return invalid(w.info, r.key.name,
                     {"metadata.resourceVersion: Invalid value: 0: must be specified for an update"});
    }
    after = r.body;
    carry_over_builtin(w.info, *before, after);
  } else {
    if (!r.body.is_object()) return invalid_argument("a merge patch must be an object");
    after = *before;
    after.merge_patch(r.body);
    if (!at(after, {"metadata"}).is_object()) return invalid_argument("metadata is not an object");
    const bool renamed = kube::name_of(after) != r.key.name || kube::namespace_of(after) != kube::namespace_of(*before);
    if (renamed) return invalid(w.info, r.key.name, {"metadata.name: Invalid value: field is immutable"});
    if (string_at(after, {"kind"}) != w.info.kind) return invalid_argument("kind may not be changed");
  }
  RETURN_IF_ERROR(check_preconditions(w, r.verb == kube::Verb::kReplace ? r.body : after, *before));
  return update_locked(w, before, std::move(after), true);
}

// Stores `after` in place of `before`, as far as this request may change it. `track`: a plain write, whose changes its
// field manager owns (an apply has done that itself).
Result<Json> Server::update_locked(const Write& w, const ObjectPtr& before, Json after, bool track) {
  const ObjectKey key = kube::key_of(*before);
  const Json applied_managers = at(after, {"metadata", "managedFields"});
  if (w.request.subresource == "status") {
    Json whole = *before;
    if (after.contains("status"))
      whole["status"] = after["status"];
    else
      whole.erase("status");
    after = std::move(whole);
  } else if (w.info.has_status) {
    if (before->contains("status"))
      after["status"] = (*before)["status"];
    else
      after.erase("status");
  }
  keep_server_metadata(*before, after);
  RETURN_IF_ERROR(prepare_locked(w, after, before.get()));
  if (w.info.gvr == kube::gvr::kCustomResourceDefinitions) RETURN_IF_ERROR(register_crd_locked(after));

  std::vector<Manager> managers = managers_of(*before);
  if (track) {
    track_update(managers, w.field_manager(), w.request.subresource, *before, after, w.schema(), w.info.has_status,
                 kube::format_time(now_ms_));
    set_managers(after, w.info.gvr.api_version(), managers);
  } else {
    if (applied_managers.is_null())
      after["metadata"].erase("managedFields");
    else
      after["metadata"]["managedFields"] = applied_managers;
  }
  const bool same_content = without_bookkeeping(after) == without_bookkeeping(*before);
  // a plain write that changes no field changes no owner either; an apply may only begin to share some
  if (same_content && (track || same_owners(managers, managers_of(after)))) return *before;

  if (w.info.has_generation && intent_of(after) != intent_of(*before)) {
    after["metadata"]["generation"] = kube::generation_of(*before) + 1;
  }
  const bool finished = kube::is_terminating(after) && !has_finalizers(after) &&
                        kube::int_at(after, {"metadata", "deletionGracePeriodSeconds"}) == 0 &&
                        w.info.gvr != kube::gvr::kNamespaces;
  if (finished) return commit_locked(w, key, before, nullptr);
  return commit_locked(w, key, before, &after);
}

// ---- server-side apply ----

Result<Json> Server::apply_locked(const Write& w) {
  const Request& r = w.request;
  RETURN_IF_ERROR(check_body(w, r.body));
  if (r.field_manager.empty())
    return invalid_argument(
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch");
  if (!at(r.body, {"metadata", "managedFields"}).is_null())
    return invalid_argument("metadata.managedFields must be nil");
  if (kube::name_of(r.body) != r.key.name)
    return invalid_argument("the name of the object does not match the name on the URL");
  const Collection& state = collection_locked(w.info.gvr);
  auto it = state.find(r.key);
  const ObjectPtr before = it == state.end() ? nullptr : it->second;
  if (!before &&
      (!r.subresource.empty() || !kube::uid_of(r.body).empty() || !kube::resource_version_of(r.body).empty())) {
    // a precondition names an object that is not there
    if (!r.subresource.empty()) return not_found(w.resource() + " \"" + r.key.name + "\" not found");
    return conflict(w, r.key.name, "the object does not exist");
  }
  if (before) RETURN_IF_ERROR(check_preconditions(w, r.body, *before));
  std::vector<Manager> managers = before ? managers_of(*before) : std::vector<Manager>();
  ApplyInput input{before ? *before : Json(), r.body, r.field_manager, r.subresource, r.force, w.info.has_status,
                   kube::format_time(now_ms_)};
  ASSIGN_OR_RETURN(Json merged, apply_config(input, w.schema(), managers));
  set_managers(merged, w.info.gvr.api_version(), managers);
  if (before) return update_locked(w, before, std::move(merged), false);
  if (w.info.has_status) merged.erase("status");
  return insert_locked(w, std::move(merged));
}

// ---- delete ----

Result<Json> Server::delete_locked(const Write& w) {
  const Request& r = w.request;
  const Collection& state = collection_locked(w.info.gvr);
  auto it = state.find(r.key);
  if (it == state.end()) return not_found(w.resource() + " \"" + r.key.name + "\" not found");
  const ObjectPtr before = it->second;
  if (r.uid && *r.uid != kube::uid_of(*before)) {
    return conflict(
        w, r.key.name,
        "Precondition failed: UID in precondition: " + *r.uid + ", UID in object meta: " + kube::uid_of(*before));
  }
  if (r.expected_resource_version && *r.expected_resource_version != kube::resource_version_of(*before)) {
    return conflict(w, r.key.name,
                    "Precondition failed: ResourceVersion in precondition: " + *r.expected_resource_version +
                        ", ResourceVersion in object meta: " + kube::resource_version_of(*before));
  }
  int64_t grace_s = 0;
  if (w.info.gvr == kube::gvr::kPods) {
    grace_s = r.grace_period_seconds.value_or(kube::int_at(*before, {"spec", "terminationGracePeriodSeconds"}, 30));
    const std::string phase = string_at(*before, {"status", "phase"});
    // nobody runs it, so nobody would remove it
    if (string_at(*before, {"spec", "nodeName"}).empty() || phase == "Succeeded" || phase == "Failed") grace_s = 0;
  }
  Json object = *before;
  if (r.propagation == kube::Propagation::kForeground && !kube::has_finalizer(object, "foregroundDeletion")) {
    object["metadata"]["finalizers"].push_back("foregroundDeletion");
  }
  if (r.propagation == kube::Propagation::kOrphan && !kube::has_finalizer(object, "orphan")) {
    object["metadata"]["finalizers"].push_back("orphan");
  }
  const bool stays = has_finalizers(object) || grace_s > 0 || w.info.gvr == kube::gvr::kNamespaces;
  if (!stays) return commit_locked(w, r.key, before, nullptr);

  const int64_t old_grace_s = kube::int_at(*before, {"metadata", "deletionGracePeriodSeconds"});
  if (kube::is_terminating(*before) && grace_s >= old_grace_s) return *before;  // under way already
  if (kube::is_terminating(*before)) {
    const int64_t began_ms =
        kube::parse_time(string_at(*before, {"metadata", "deletionTimestamp"})).value() - old_grace_s * 1000;
    object["metadata"]["deletionTimestamp"] = kube::format_time(began_ms + grace_s * 1000);
  } else {
    object["metadata"]["deletionTimestamp"] = kube::format_time(now_ms_ + grace_s * 1000);
    if (kube::generation_of(object) > 0) object["metadata"]["generation"] = kube::generation_of(object) + 1;
  }
  object["metadata"]["deletionGracePeriodSeconds"] = grace_s;
  if (w.info.gvr == kube::gvr::kNamespaces) object["status"]["phase"] = "Terminating";
  return commit_locked(w, r.key, before, &object);
}

// ---- subresources ----

Result<Json> Server::bind_locked(const Write& w) {
  const Request& r = w.request;
  const Collection& state = collection_locked(w.info.gvr);
  auto it = state.find(r.key);
  if (it == state.end()) return not_found("pods \"" + r.key.name + "\" not found");
  const ObjectPtr before = it->second;
  const std::string node = string_at(r.body, {"target", "name"});
  const std::string bound = string_at(*before, {"spec", "nodeName"});
  if (node.empty()) return invalid_argument("Binding: target.name: Required value");
  if (!bound.empty())
    return conflict(w, r.key.name, "pod " + r.key.name + " is already assigned to node \"" + bound + "\"");
  if (kube::is_terminating(*before))
    return conflict(w, r.key.name, "pod " + r.key.name + " is being deleted, cannot be assigned to a host");
  Json after = *before;
  after["spec"]["nodeName"] = node;
  commit_locked(w, r.key, before, &after);
  return Json{{"apiVersion", "v1"}, {"kind", "Status"}, {"status", "Success"}};
}

Result<Json> Server::scale_locked(const Write& w) {
  const Request& r = w.request;
  const Collection& state = collection_locked(w.info.gvr);
  auto it = state.find(r.key);
  if (it == state.end()) return not_found(w.resource() + " \"" + r.key.name + "\" not found");
  if (r.verb != kube::Verb::kReplace && r.verb != kube::Verb::kMergePatch) {
    return Status(Code::kUnimplemented, "scale: only replace and merge patch are simulated");
  }
  const Json& replicas = at(r.body, {"spec", "replicas"});
  if (!replicas.is_number_integer()) return invalid_argument("scale: spec.replicas: Required value");
  const ObjectPtr before = it->second;
  RETURN_IF_ERROR(check_preconditions(w, r.body, *before));
  std::string pointer = w.info.scale_spec_path;
  std::replace(pointer.begin(), pointer.end(), '.', '/');
  Json after = *before;
  after[Json::json_pointer(pointer)] = replicas;
  Request main = r;
  main.subresource.clear();
  RETURN_IF_ERROR(update_locked(Write{main, w.info, w.actor}, before, std::move(after), true).status());
  Request read;
  read.verb = kube::Verb::kGet;
  read.gvr = r.gvr;
  read.key = r.key;
  read.subresource = "scale";
  return read_locked(read, w.info, collection_locked(w.info.gvr), version_);
}

}  // namespace fairlead::apisim
