#include "operator/sim/managed_fields.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace fairlead::apisim {

namespace {

struct ListType {
  enum Kind { kAtomic, kSet, kMap } kind = kAtomic;
  std::vector<std::string> keys;
};

// List types of built-in kinds, by field name. Keys absent in an item count with these defaults.
const std::map<std::string, ListType> kBuiltInLists = {
    {"containers", {ListType::kMap, {"name"}}},
    {"initContainers", {ListType::kMap, {"name"}}},
    {"env", {ListType::kMap, {"name"}}},
    {"volumes", {ListType::kMap, {"name"}}},
    {"volumeMounts", {ListType::kMap, {"mountPath"}}},
    {"volumeDevices", {ListType::kMap, {"devicePath"}}},
    {"imagePullSecrets", {ListType::kMap, {"name"}}},
    {"topologySpreadConstraints", {ListType::kMap, {"topologyKey", "whenUnsatisfiable"}}},
    {"hostAliases", {ListType::kMap, {"ip"}}},
    {"ownerReferences", {ListType::kMap, {"uid"}}},
    {"conditions", {ListType::kMap, {"type"}}},
    {"finalizers", {ListType::kSet, {}}},
    {"accessModes", {ListType::kAtomic, {}}},
};
// Objects of built-in kinds that are owned as a whole.
const std::set<std::string> kBuiltInAtomicObjects = {
    "selector",     "labelSelector",  "nodeSelector",    "nodeAffinity",     "dataSource", "fieldRef",
    "secretKeyRef", "involvedObject", "configMapKeyRef", "resourceFieldRef", "claimRef"};

// Where we are in the types: at a schema node, or among built-in kinds under a field name.
struct Type {
  const Json* schema = nullptr;  // null: built-in
  std::string field;

  Type child(const std::string& name) const {
    if (schema == nullptr) return {nullptr, name};
    if (schema->contains("properties") && (*schema)["properties"].contains(name)) {
      return {&(*schema)["properties"][name], name};
    }
    if (schema->contains("additionalProperties") && (*schema)["additionalProperties"].is_object()) {
      return {&(*schema)["additionalProperties"], name};
    }
    static const Json kUntyped = {{"x-kubernetes-preserve-unknown-fields", true}};
    return {&kUntyped, name};
  }
  Type item() const {
    if (schema != nullptr && schema->contains("items")) return {&(*schema)["items"], ""};
    return {schema, ""};
  }
  bool atomic_object() const {
    if (schema != nullptr) return kube::string_at(*schema, {"x-kubernetes-map-type"}) == "atomic";
    return kBuiltInAtomicObjects.contains(field);
  }
  ListType list(const Json& value) const {
    if (schema != nullptr) {
      const std::string kind = kube::string_at(*schema, {"x-kubernetes-list-type"});
      ListType type;
      if (kind == "set") type.kind = ListType::kSet;
      if (kind != "map") return type;
      type.kind = ListType::kMap;
      for (const Json& key : (*schema)["x-kubernetes-list-map-keys"]) type.keys.push_back(key.get<std::string>());
      return type;
    }
    if (field == "ports") {  // containers and services key theirs differently
      const bool container = value.is_array() && !value.empty() && value[0].contains("containerPort");
      return {ListType::kMap, {container ? "containerPort" : "port", "protocol"}};
    }
    auto it = kBuiltInLists.find(field);
    return it == kBuiltInLists.end() ? ListType() : it->second;
  }
};

std::string key_element(const ListType& type, const Json& item) {
  Json key = Json::object();
  for (const std::string& name : type.keys) {
    const Json& value = kube::at(item, {name});
    if (!value.is_null())
      key[name] = value;
    else if (name == "protocol")
      key[name] = "TCP";
  }
  return "k:" + key.dump();
}

std::string element_of(const ListType& type, const Json& item) {
  return type.kind == ListType::kMap ? key_element(type, item) : "v:" + item.dump();
}

void collect(const Json& value, const Type& type, FieldPath& path, FieldSet& out) {
  if (value.is_object() && !value.empty() && !type.atomic_object()) {
    for (const auto& [name, member] : value.items()) {
      path.push_back("f:" + name);
      collect(member, type.child(name), path, out);
      path.pop_back();
    }
    return;
  }
  const ListType list = value.is_array() ? type.list(value) : ListType();
  if (value.is_array() && !value.empty() && list.kind != ListType::kAtomic) {
    for (const Json& item : value) {
      path.push_back(element_of(list, item));
      out.insert(path);
      if (list.kind == ListType::kMap && item.is_object()) collect(item, type.item(), path, out);
      path.pop_back();
    }
    return;
  }
  out.insert(path);
}

// Metadata that only the server writes.
const std::set<std::string> kServerMetadata = {"name",
                                               "namespace",
                                               "uid",
                                               "resourceVersion",
                                               "generation",
                                               "creationTimestamp",
                                               "deletionTimestamp",
                                               "deletionGracePeriodSeconds",
                                               "managedFields",
                                               "selfLink",
                                               "generateName"};

Json ownable(const Json& object, const std::string& subresource, bool status_apart) {
  Json part = Json::object();
  if (!object.is_object()) return part;
  for (const auto& [name, member] : object.items()) {
    if (name == "apiVersion" || name == "kind") continue;
    if (status_apart && (name == "status") != (subresource == "status")) continue;
    part[name] = member;
  }
  if (part.contains("metadata") && part["metadata"].is_object()) {
    for (const std::string& name : kServerMetadata) part["metadata"].erase(name);
    if (part["metadata"].empty()) part.erase("metadata");
  }
  return part;
}

Type root_type(const Json& schema) { return {schema.is_object() ? &schema : nullptr, ""}; }

// `metadata` is built-in whatever the schema says.
Type child_of_root(const Type& root, const std::string& name) {
  return name == "metadata" ? Type{nullptr, name} : root.child(name);
}

// The value at a path, or null when it is absent.
const Json* resolve(const Json& object, const FieldPath& path, const Json& schema) {
  const Json* node = &object;
  Type type = root_type(schema);
  bool at_root = true;
  for (const std::string& element : path) {
    const std::string rest = element.substr(2);
    if (element[0] == 'f') {
      if (!node->is_object()) return nullptr;
      auto it = node->find(rest);
      if (it == node->end()) return nullptr;
      node = &*it;
      type = at_root ? child_of_root(type, rest) : type.child(rest);
    } else {
      if (!node->is_array()) return nullptr;
      const ListType list = type.list(*node);
      const auto it =
          std::find_if(node->begin(), node->end(), [&](const Json& item) { return element_of(list, item) == element; });
      if (it == node->end()) return nullptr;
      node = &*it;
      type = type.item();
    }
    at_root = false;
  }
  return node;
}

bool is_item(const FieldPath& path) { return !path.empty() && path.back()[0] != 'f'; }

bool same_at(const Json& a, const Json& b, const FieldPath& path, const Json& schema) {
  const Json* x = resolve(a, path, schema);
  const Json* y = resolve(b, path, schema);
  if (x == nullptr || y == nullptr) return x == y;
  return is_item(path) || *x == *y;  // an item as such is only its presence
}

void merge_into(Json& live, const Json& config, const Type& type, bool at_root) {
  if (config.is_object() && live.is_object() && !type.atomic_object()) {
    for (const auto& [name, member] : config.items()) {
      const Type child = at_root ? child_of_root(type, name) : type.child(name);
      if (live.contains(name))
        merge_into(live[name], member, child, false);
      else
        live[name] = member;
    }
    return;
  }
  const ListType list = config.is_array() ? type.list(config) : ListType();
  if (config.is_array() && live.is_array() && list.kind != ListType::kAtomic) {
    for (const Json& item : config) {
      const std::string element = element_of(list, item);
      const auto it =
          std::find_if(live.begin(), live.end(), [&](const Json& old) { return element_of(list, old) == element; });
      if (it == live.end())
        live.push_back(item);
      else if (list.kind == ListType::kMap)
        merge_into(*it, item, type.item(), false);
    }
    return;
  }
  live = config;
}

// Removes what is at a path, and objects and lists that become empty by it.
void remove_at(Json& node, const FieldPath& path, size_t depth, const Type& type) {
  const std::string& element = path[depth];
  const bool last = depth + 1 == path.size();
  if (element[0] == 'f') {
    const std::string name = element.substr(2);
    if (!node.is_object() || !node.contains(name)) return;
    const Type child = depth == 0 ? child_of_root(type, name) : type.child(name);
    if (!last) remove_at(node[name], path, depth + 1, child);
    if (last || (node[name].is_structured() && node[name].empty())) node.erase(name);
    return;
  }
  if (!node.is_array()) return;
  const ListType list = type.list(node);
  const auto it =
      std::find_if(node.begin(), node.end(), [&](const Json& item) { return element_of(list, item) == element; });
  if (it == node.end()) return;
  if (last)
    node.erase(it);
  else
    remove_at(*it, path, depth + 1, type.item());
}

bool starts_with(const FieldPath& path, const FieldPath& prefix) {
  return path.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), path.begin());
}

bool owned_below(const std::vector<Manager>& managers, const FieldPath& path) {
  for (const Manager& m : managers) {
    const auto it = m.fields.lower_bound(path);
    if (it != m.fields.end() && starts_with(*it, path)) return true;
  }
  return false;
}

std::string display(const FieldPath& path) {
  std::string text;
  for (const std::string& element : path) {
    if (element[0] == 'f')
      text += "." + element.substr(2);
    else
      text += "[" + element.substr(2) + "]";
  }
  return text;
}

Json to_tree(const FieldSet& fields) {
  Json tree = Json::object();
  for (const FieldPath& path : fields) {
    Json* node = &tree;
    for (const std::string& element : path) {
      if (!node->contains(element)) (*node)[element] = Json::object();
      node = &(*node)[element];
    }
    (*node)["."] = Json::object();
  }
  return tree;
}

// A leaf is written {} instead of {".": {}}.
void shorten(Json& node) {
  for (auto it = node.begin(); it != node.end(); ++it) {
    if (it.key() != "." && it->is_object()) shorten(*it);
  }
  if (node.size() == 1 && node.contains(".")) node.erase(".");
}

void from_tree(const Json& node, FieldPath& path, FieldSet& out) {
  if (!node.is_object()) return;
  if (!path.empty() && (node.empty() || node.contains("."))) out.insert(path);
  for (const auto& [element, child] : node.items()) {
    if (element == "." || element.size() < 2) continue;
    path.push_back(element);
    from_tree(child, path, out);
    path.pop_back();
  }
}

Manager& manager_for(std::vector<Manager>& managers, const std::string& name, bool applies,
                     const std::string& subresource) {
  for (Manager& m : managers) {
    if (m.name == name && m.applies == applies && m.subresource == subresource) return m;
  }
  managers.push_back({name, applies, subresource, {}, ""});
  return managers.back();
}

void drop_empty(std::vector<Manager>& managers) {
  std::erase_if(managers, [](const Manager& m) { return m.fields.empty(); });
}

}  // namespace

FieldSet fields_of(const Json& object, const Json& schema, const std::string& subresource, bool status_apart) {
  FieldSet out;
  FieldPath path;
  const Type root = root_type(schema);
  const Json part = ownable(object, subresource, status_apart);
  for (const auto& [name, member] : part.items()) {
    path.push_back("f:" + name);
    collect(member, child_of_root(root, name), path, out);
    path.pop_back();
  }
  return out;
}

std::vector<Manager> managers_of(const Json& object) {
  std::vector<Manager> managers;
  const Json& entries = kube::at(object, {"metadata", "managedFields"});
  if (!entries.is_array()) return managers;
  for (const Json& entry : entries) {
    Manager m{kube::string_at(entry, {"manager"}),
              kube::string_at(entry, {"operation"}) == "Apply",
              kube::string_at(entry, {"subresource"}),
              {},
              kube::string_at(entry, {"time"})};
    FieldPath path;
    from_tree(kube::at(entry, {"fieldsV1"}), path, m.fields);
    managers.push_back(std::move(m));
  }
  return managers;
}

void set_managers(Json& object, const std::string& api_version, const std::vector<Manager>& managers) {
  Json entries = Json::array();
  for (const Manager& m : managers) {
    Json tree = to_tree(m.fields);
    shorten(tree);
    Json entry = {{"manager", m.name},         {"operation", m.applies ? "Apply" : "Update"},
                  {"apiVersion", api_version}, {"time", m.time},
                  {"fieldsType", "FieldsV1"},  {"fieldsV1", std::move(tree)}};
    if (!m.subresource.empty()) entry["subresource"] = m.subresource;
    entries.push_back(std::move(entry));
  }
  if (entries.empty())
    object["metadata"].erase("managedFields");
  else
    object["metadata"]["managedFields"] = std::move(entries);
}

void track_update(std::vector<Manager>& managers, const std::string& writer, const std::string& subresource,
                  const Json& before, const Json& after, const Json& schema, bool status_apart,
                  const std::string& time) {
  const FieldSet now = fields_of(after, schema, subresource, status_apart);
  FieldSet changed;
  for (const FieldPath& path : now) {
    if (before.is_null() || !same_at(before, after, path, schema)) changed.insert(path);
  }
  for (Manager& m : managers) {
    std::erase_if(m.fields, [&](const FieldPath& path) {
      return changed.contains(path) || resolve(after, path, schema) == nullptr;
    });
  }
  if (!changed.empty()) {
    Manager& m = manager_for(managers, writer, false, subresource);
    m.fields.insert(changed.begin(), changed.end());
    m.time = time;
  }
  drop_empty(managers);
}

Result<Json> apply_config(const ApplyInput& in, const Json& schema, std::vector<Manager>& managers) {
  const FieldSet wanted = fields_of(in.config, schema, in.subresource, in.status_apart);
  Manager mine = manager_for(managers, in.writer, true, in.subresource);
  const FieldSet previous = mine.fields;
  std::erase_if(managers,
                [&](const Manager& m) { return m.applies && m.name == in.writer && m.subresource == in.subresource; });

  std::vector<std::string> conflicts;
  for (Manager& other : managers) {
    for (const FieldPath& path : wanted) {
      if (!other.fields.contains(path) || same_at(in.live, in.config, path, schema)) continue;
      if (in.force)
        other.fields.erase(path);
      else
        conflicts.push_back("conflict with \"" + other.name + "\": " + display(path));
    }
  }
  if (!conflicts.empty()) {
    std::string message =
        "Apply failed with " + std::to_string(conflicts.size()) + (conflicts.size() == 1 ? " conflict" : " conflicts");
    for (const std::string& c : conflicts) message += "; " + c;
    return Status(Code::kAborted, message);
  }

  const Json part = ownable(in.config, in.subresource, in.status_apart);
  Json merged = in.live.is_null() ? in.config : in.live;
  if (!in.live.is_null()) merge_into(merged, part, root_type(schema), true);
  // shallow first: an item of a list goes as a whole, never through states without its keys
  std::vector<FieldPath> gone;
  for (const FieldPath& path : previous) {
    if (!wanted.contains(path) && !owned_below(managers, path)) gone.push_back(path);
  }
  std::sort(gone.begin(), gone.end(), [](const FieldPath& a, const FieldPath& b) { return a.size() < b.size(); });
  for (const FieldPath& path : gone) {
    const auto below = wanted.lower_bound(path);
    const bool still_wanted = below != wanted.end() && starts_with(*below, path);
    if (!still_wanted) remove_at(merged, path, 0, root_type(schema));
  }
  if (mine.fields != wanted || mine.time.empty()) mine.time = in.time;
  mine.fields = wanted;
  drop_empty(managers);
  if (!mine.fields.empty()) managers.push_back(std::move(mine));
  // the server orders entries so that the same state has one form
  std::stable_sort(managers.begin(), managers.end(), [](const Manager& a, const Manager& b) {
    return std::tie(b.applies, a.name, a.subresource) < std::tie(a.applies, b.name, b.subresource);
  });
  return merged;
}

}  // namespace fairlead::apisim
