#include "operator/crd/types.h"

#include <algorithm>

namespace fairlead::crd {
namespace {

using nlohmann::json;

// Walks an object and remembers the first thing that was wrong, with its path. nlohmann's own
// accessors throw; these never do.
class Reader {
 public:
  Reader(const json& value, std::string path, Status* error) : value_(value), path_(std::move(path)), error_(error) {
    if (!value_.is_null() && !value_.is_object()) fail(path_, "an object", value_);
  }

  Reader object(const char* key) const { return Reader(field(key), child(key), error_); }

  void read(const char* key, std::string* out) const {
    const json& v = field(key);
    if (v.is_null()) return;
    if (!v.is_string()) return fail(child(key), "a string", v);
    *out = v.get_ref<const std::string&>();
  }
  // A quantity may also be written as a bare number.
  void read_quantity(const char* key, std::string* out) const {
    const json& v = field(key);
    if (v.is_number_integer()) {
      *out = std::to_string(v.get<int64_t>());
    } else {
      read(key, out);
    }
    if (out->empty()) return;
    if (auto bytes = parse_quantity(*out); !bytes.is_ok())
      note(child(key) + ": " + std::string(bytes.status().message()));
  }
  template <typename Int>
  void read_int(const char* key, Int* out) const {
    const json& v = field(key);
    if (v.is_null()) return;
    if (!v.is_number_integer()) return fail(child(key), "an integer", v);
    *out = v.get<Int>();
  }
  void read(const char* key, bool* out) const {
    const json& v = field(key);
    if (v.is_null()) return;
    if (!v.is_boolean()) return fail(child(key), "true or false", v);
    *out = v.get<bool>();
  }
  void read_raw_object(const char* key, json* out) const {
    const json& v = field(key);
    if (v.is_null()) return;
    if (!v.is_object()) return fail(child(key), "an object", v);
    *out = v;
  }
  // Calls f(Reader, element) for each element of an array of objects.
  template <typename F>
  void each(const char* key, F f) const {
    const json& v = field(key);
    if (v.is_null()) return;
    if (!v.is_array()) return fail(child(key), "a list", v);
    for (size_t i = 0; i < v.size(); ++i) f(Reader(v[i], child(key) + "[" + std::to_string(i) + "]", error_));
  }
  void strings(const char* key, std::vector<std::string>* out) const {
    const json& v = field(key);
    if (v.is_null()) return;
    if (!v.is_array()) return fail(child(key), "a list", v);
    for (const json& element : v) {
      if (!element.is_string()) return fail(child(key), "a list of strings", element);
      out->push_back(element.get<std::string>());
    }
  }
  const json& field(const char* key) const {
    static const json kNull;
    if (!value_.is_object()) return kNull;
    const auto it = value_.find(key);
    return it == value_.end() ? kNull : *it;
  }
  std::string child(const char* key) const { return path_.empty() ? key : path_ + "." + key; }
  void note(std::string message) const {
    if (error_->is_ok()) *error_ = invalid_argument(std::move(message));
  }

 private:
  void fail(const std::string& path, const char* wanted, const json& got) const {
    note(path + ": want " + wanted + ", got " + (got.is_null() ? "nothing" : "a " + std::string(got.type_name())));
  }

  const json& value_;
  std::string path_;
  Status* error_;
};

void read_meta(const Reader& object, Meta* out) {
  const Reader m = object.object("metadata");
  m.read("name", &out->name);
  m.read("namespace", &out->name_space);
  m.read("uid", &out->uid);
  m.read("resourceVersion", &out->resource_version);
  m.read("creationTimestamp", &out->creation_timestamp);
  m.read_int("generation", &out->generation);
  out->terminating = !m.field("deletionTimestamp").is_null();
  m.strings("finalizers", &out->finalizers);
  if (const json& labels = m.field("labels"); labels.is_object()) {
    for (const auto& [key, value] : labels.items()) {
      if (value.is_string()) out->labels[key] = value.get<std::string>();
    }
  }
  m.each("ownerReferences", [&](const Reader& owner) {
    bool controller = false;
    owner.read("controller", &controller);
    if (controller) owner.read("uid", &out->owner_uid);
  });
  if (out->name.empty()) m.note("metadata.name: want a string, got nothing");
}

void read_conditions(const Reader& status, std::vector<Condition>* out) {
  status.each("conditions", [&](const Reader& c) {
    Condition condition;
    c.read("type", &condition.type);
    c.read("status", &condition.status);
    c.read("reason", &condition.reason);
    c.read("message", &condition.message);
    c.read_int("observedGeneration", &condition.observed_generation);
    c.read("lastTransitionTime", &condition.last_transition_time);
    out->push_back(std::move(condition));
  });
}

void read_cluster_spec(const Reader& spec, ClusterSpec* out) {
  spec.read_int("replicas", &out->replicas);
  if (out->replicas != 1 && out->replicas != 3 && out->replicas != 5) {
    spec.note("spec.replicas: want 1, 3 or 5, got " + std::to_string(out->replicas));
  }
  spec.read("image", &out->image);
  const Reader bootstrap = spec.object("bootstrap");
  bootstrap.read("mode", &out->bootstrap_mode);
  if (out->bootstrap_mode != "Static") {
    spec.note("spec.bootstrap.mode: want Static, got \"" + out->bootstrap_mode + "\"");
  }
  const Reader storage = spec.object("storage");
  storage.read_quantity("size", &out->storage.size);
  storage.read("storageClassName", &out->storage.storage_class_name);
  storage.read("reclaim", &out->storage.reclaim);
  storage.read("fixPermissions", &out->storage.fix_permissions);
  if (out->storage.reclaim != "Delete" && out->storage.reclaim != "Retain") {
    spec.note("spec.storage.reclaim: want Delete or Retain, got \"" + out->storage.reclaim + "\"");
  }
  spec.read_raw_object("resources", &out->resources);
}

void check_hex(const Reader& at, const char* key, const std::string& id) {
  if (!id.empty() && !parse_hex(id).is_ok()) at.note(at.child(key) + ": \"" + id + "\" is not a hex ID");
}

void read_intent(const Reader& intent, Intent* out) {
  intent.read("token", &out->token);
  out->recorded = !out->token.empty();
  intent.each("members", [&](const Reader& m) {
    IntentMember member;
    m.read("name", &member.name);
    m.read("memberUID", &member.member_uid);
    m.read("volumeUID", &member.volume_uid);
    m.read("memberID", &member.member_id);
    check_hex(m, "memberID", member.member_id);
    if (member.name.empty()) m.note(m.child("name") + ": want a string, got nothing");
    out->members.push_back(std::move(member));
  });
  const Reader target = intent.object("target");
  target.read_int("replicas", &out->target.replicas);
  target.read("image", &out->target.image);
  target.read_quantity("storageSize", &out->target.storage_size);
  target.read("storageClassName", &out->target.storage_class_name);
  target.read_raw_object("resources", &out->target.resources);
  target.read("fixPermissions", &out->target.fix_permissions);
}

void read_cluster_status(const Reader& status, ClusterStatus* out) {
  status.read_int("observedGeneration", &out->observed_generation);
  status.read("clusterID", &out->cluster_id);
  check_hex(status, "clusterID", out->cluster_id);
  read_intent(status.object("intent"), &out->intent);
  status.read_int("replicas", &out->replicas);
  status.read_int("readyReplicas", &out->ready_replicas);
  status.read_int("voters", &out->voters);
  status.read("selector", &out->selector);
  status.read("leader", &out->leader);
  status.read("quorum", &out->quorum);
  status.read("version", &out->version);
  status.read("dbSize", &out->db_size);
  status.each("members", [&](const Reader& m) {
    MemberSummary member;
    m.read("name", &member.name);
    m.read("id", &member.id);
    m.read("ready", &member.ready);
    m.read("role", &member.role);
    m.read("version", &member.version);
    m.read("volumeUID", &member.volume_uid);
    m.read("reason", &member.reason);
    out->members.push_back(std::move(member));
  });
  const Reader plan = status.object("plan");
  plan.read("next", &out->plan_next);
  plan.read("why", &out->plan_why);
  read_conditions(status, &out->conditions);
}

json conditions_json(const std::vector<Condition>& conditions) {
  json list = json::array();
  for (const Condition& condition : conditions) list.push_back(to_json(condition));
  return list;
}

// Strings that are empty are left out: "" would be an answer, and there is none.
void put(json& object, const char* key, const std::string& value) {
  if (!value.empty()) object[key] = value;
}

json intent_json(const Intent& intent) {
  json members = json::array();
  for (const IntentMember& m : intent.members) {
    json member = {{"name", m.name}};
    put(member, "memberUID", m.member_uid);
    put(member, "volumeUID", m.volume_uid);
    put(member, "memberID", m.member_id);
    members.push_back(std::move(member));
  }
  json target = {{"replicas", intent.target.replicas},
                 {"image", intent.target.image},
                 {"fixPermissions", intent.target.fix_permissions}};
  put(target, "storageSize", intent.target.storage_size);
  put(target, "storageClassName", intent.target.storage_class_name);
  if (!intent.target.resources.empty()) target["resources"] = intent.target.resources;
  return {{"token", intent.token}, {"members", std::move(members)}, {"target", std::move(target)}};
}

}  // namespace

bool Meta::has_finalizer(std::string_view wanted) const {
  return std::find(finalizers.begin(), finalizers.end(), wanted) != finalizers.end();
}

Result<Meta> parse_meta(const json& object) {
  Status error;
  Meta meta;
  read_meta(Reader(object, "", &error), &meta);
  RETURN_IF_ERROR(error);
  return meta;
}

Result<Cluster> parse_cluster(const json& object) {
  Status error;
  Cluster cluster;
  const Reader root(object, "", &error);
  read_meta(root, &cluster.meta);
  read_cluster_spec(root.object("spec"), &cluster.spec);
  read_cluster_status(root.object("status"), &cluster.status);
  if (cluster.meta.name.size() > kNameLengthMax) {
    root.note("metadata.name: at most " + std::to_string(kNameLengthMax) + " characters");
  }
  RETURN_IF_ERROR(error);
  return cluster;
}

Result<Member> parse_member(const json& object) {
  Status error;
  Member member;
  const Reader root(object, "", &error);
  read_meta(root, &member.meta);
  const Reader spec = root.object("spec");
  spec.object("clusterRef").read("name", &member.spec.cluster_name);
  spec.read("volumeName", &member.spec.volume_name);
  const Reader status = root.object("status");
  status.read_int("observedGeneration", &member.status.observed_generation);
  status.read("memberID", &member.status.member_id);
  status.read("role", &member.status.role);
  status.read("version", &member.status.version);
  status.read("dbSize", &member.status.db_size);
  status.read("podUID", &member.status.pod_uid);
  status.read("volumeUID", &member.status.volume_uid);
  read_conditions(status, &member.status.conditions);
  RETURN_IF_ERROR(error);
  return member;
}

json to_json(const ClusterSpec& spec) {
  json storage = {
      {"size", spec.storage.size}, {"reclaim", spec.storage.reclaim}, {"fixPermissions", spec.storage.fix_permissions}};
  put(storage, "storageClassName", spec.storage.storage_class_name);
  json object = {{"replicas", spec.replicas},
                 {"image", spec.image},
                 {"bootstrap", {{"mode", spec.bootstrap_mode}, {"static", json::object()}}},
                 {"storage", std::move(storage)}};
  if (!spec.resources.empty()) object["resources"] = spec.resources;
  return object;
}

json to_json(const ClusterStatus& status) {
  json object = {{"observedGeneration", status.observed_generation},
                 {"replicas", status.replicas},
                 {"readyReplicas", status.ready_replicas},
                 {"voters", status.voters},
                 {"conditions", conditions_json(status.conditions)}};
  put(object, "clusterID", status.cluster_id);
  put(object, "selector", status.selector);
  put(object, "leader", status.leader);
  put(object, "quorum", status.quorum);
  put(object, "version", status.version);
  put(object, "dbSize", status.db_size);
  if (status.intent.recorded) object["intent"] = intent_json(status.intent);
  json members = json::array();
  for (const MemberSummary& m : status.members) {
    json member = {{"name", m.name}, {"ready", m.ready}, {"role", m.role}};
    put(member, "id", m.id);
    put(member, "version", m.version);
    put(member, "volumeUID", m.volume_uid);
    put(member, "reason", m.reason);
    members.push_back(std::move(member));
  }
  object["members"] = std::move(members);
  if (!status.plan_next.empty() || !status.plan_why.empty()) {
    object["plan"] = {{"next", status.plan_next}, {"why", status.plan_why}};
  }
  return object;
}

json to_json(const Condition& condition) {
  return {{"type", condition.type},
          {"status", condition.status},
          {"reason", condition.reason},
          {"message", condition.message},
          {"observedGeneration", condition.observed_generation},
          {"lastTransitionTime", condition.last_transition_time}};
}

json to_json(const MemberSpec& spec) {
  return {{"clusterRef", {{"name", spec.cluster_name}}}, {"volumeName", spec.volume_name}};
}

json to_json(const MemberStatus& status) {
  json object = {{"observedGeneration", status.observed_generation},
                 {"conditions", conditions_json(status.conditions)}};
  put(object, "memberID", status.member_id);
  put(object, "role", status.role);
  put(object, "version", status.version);
  put(object, "dbSize", status.db_size);
  put(object, "podUID", status.pod_uid);
  put(object, "volumeUID", status.volume_uid);
  return object;
}

std::vector<Condition> merge_conditions(const std::vector<Condition>& previous, std::vector<Condition> next,
                                        const std::string& now_rfc3339) {
  for (Condition& condition : next) {
    condition.last_transition_time = now_rfc3339;
    for (const Condition& old : previous) {
      if (old.type == condition.type && old.status == condition.status && !old.last_transition_time.empty()) {
        condition.last_transition_time = old.last_transition_time;
      }
    }
  }
  return next;
}

}  // namespace fairlead::crd
