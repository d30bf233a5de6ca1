// Reads, watches, registration of resources, garbage collection. Writes are in server_write.cc.

#include "operator/sim/server.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>

#include "operator/kube/yaml.h"
#include "operator/sim/builtin.h"
#include "operator/sim/server_write.h"

namespace fairlead::apisim {

using kube::at;
using kube::string_at;
using kube::WatchEventType;

std::string WriteRecord::to_string() const {
  std::string line = std::to_string(resource_version) + " " + actor + " " + std::string(kube::verb_name(verb)) + " " +
                     gvr.to_string() + (subresource.empty() ? "" : "/" + subresource) + " " + key.to_string() +
                     " uid=" + uid;
  if (!before) line += " (created)";
  if (!after) line += " (gone)";
  return line;
}

Server::Server(ServerOptions options) : options_(std::move(options)), now_ms_(options_.start_ms) {
  for (ResourceInfo& info : builtin_resources()) resources_[info.gvr] = info;
  create_namespace("default");
  create_namespace("kube-system");
}

void Server::create_namespace(const std::string& name) {
  Request r;
  r.verb = kube::Verb::kCreate;
  r.gvr = kube::gvr::kNamespaces;
  r.body = {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", name}}}};
  Status status = call(r, "setup").status();
  CHECK(status.is_ok() || status.code() == Code::kAlreadyExists, "a namespace needs a valid name");
}

// ---- dispatch ----

Result<ResourceInfo> Server::info_locked(const Request& request) const {
  auto it = resources_.find(request.gvr);
  const Status unknown = not_found("the server could not find the requested resource " + request.gvr.to_string() +
                                   (request.subresource.empty() ? "" : "/" + request.subresource));
  if (it == resources_.end()) return unknown;
  const ResourceInfo& info = it->second;
  const std::string& sub = request.subresource;
  const bool known = sub.empty() || (sub == "status" && info.has_status) || (sub == "scale" && info.has_scale) ||
                     (sub == "binding" && info.gvr == kube::gvr::kPods);
  if (!known) return unknown;
  return info;
}

Result<Json> Server::call(const Request& request, const std::string& actor) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const ResourceInfo info, info_locked(request));
  if (!kube::is_write(request.verb)) {
    return read_locked(request, info, collection_locked(request.gvr), version_);
  }
  const Write write{request, info, actor};
  if (request.subresource == "binding") return bind_locked(write);
  if (request.subresource == "scale") return scale_locked(write);
  switch (request.verb) {
    case kube::Verb::kCreate:
      return create_locked(write);
    case kube::Verb::kReplace:
    case kube::Verb::kMergePatch:
      return replace_locked(write);
    case kube::Verb::kApply:
      return apply_locked(write);
    case kube::Verb::kDelete:
      return delete_locked(write);
    default:
      return internal_error("not a write");
  }
}

// ---- reads ----

const Server::Collection& Server::collection_locked(const Gvr& gvr) const {
  static const Collection kEmpty;
  auto it = objects_.find(gvr);
  return it == objects_.end() ? kEmpty : it->second;
}

namespace {

Json scale_of(const ResourceInfo& info, const Json& object) {
  const auto by_path = [&](const std::string& path) -> Json {
    if (path.empty()) return nullptr;
    return object.value(Json::json_pointer([&] {
                          std::string pointer = path;
                          std::replace(pointer.begin(), pointer.end(), '.', '/');
                          return pointer;
                        }()),
                        Json());
  };
  Json scale = {{"apiVersion", "autoscaling/v1"},
                {"kind", "Scale"},
                {"metadata",
                 {{"name", kube::name_of(object)},
                  {"namespace", kube::namespace_of(object)},
                  {"uid", kube::uid_of(object)},
                  {"resourceVersion", kube::resource_version_of(object)}}},
                {"spec", {{"replicas", by_path(info.scale_spec_path)}}},
                {"status", {{"replicas", by_path(info.scale_status_path)}}}};
  if (scale["status"]["replicas"].is_null()) scale["status"]["replicas"] = 0;
  if (Json selector = by_path(info.scale_selector_path); selector.is_string()) scale["status"]["selector"] = selector;
  return scale;
}

}  // namespace

Result<Json> Server::read_locked(const Request& request, const ResourceInfo& info, const Collection& state,
                                 uint64_t version) const {
  if (request.verb == kube::Verb::kGet) {
    auto it = state.find(request.key);
    if (it == state.end()) return not_found(info.gvr.resource + " \"" + request.key.name + "\" not found");
    return request.subresource == "scale" ? scale_of(info, *it->second) : *it->second;
  }
  ASSIGN_OR_RETURN(const kube::LabelSelector selector, kube::LabelSelector::parse(request.label_selector));
  Json list = {{"apiVersion", info.gvr.api_version()},
               {"kind", info.kind + "List"},
               {"metadata", {{"resourceVersion", std::to_string(version)}}},
               {"items", Json::array()}};
  for (const auto& [key, object] : state) {
    if (!request.key.ns.empty() && key.ns != request.key.ns) continue;
    if (selector.matches(*object)) list["items"].push_back(*object);
  }
  return list;
}

Server::Collection Server::state_at_locked(const Gvr& gvr, uint64_t version) const {
  Collection state = collection_locked(gvr);
  for (auto it = log_.rbegin(); it != log_.rend() && it->resource_version > version; ++it) {
    if (it->gvr != gvr) continue;
    if (it->before)
      state[it->key] = it->before;
    else
      state.erase(it->key);
  }
  return state;
}

Result<Json> Server::call_stale(const Request& read, uint64_t versions) const {
  CHECK(!kube::is_write(read.verb), "only reads can be stale");
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const ResourceInfo info, info_locked(read));
  if (versions == 0 || log_.empty()) return read_locked(read, info, collection_locked(read.gvr), version_);
  const size_t kept = log_.size() - std::min<size_t>(versions, log_.size());
  const uint64_t version = kept == 0 ? log_.front().resource_version - 1 : log_[kept - 1].resource_version;
  return read_locked(read, info, state_at_locked(read.gvr, version), version);
}

// ---- watch ----

namespace {

// What a watcher with `selector` sees of one change; nothing when it does not concern it.
std::optional<kube::WatchEvent> event_of(const WriteRecord& record, const kube::LabelSelector& selector) {
  const bool was = record.before && selector.matches(*record.before);
  const bool is = record.after && selector.matches(*record.after);
  if (!was && !is) return std::nullopt;
  kube::WatchEvent event;
  event.type = !was ? WatchEventType::kAdded : is ? WatchEventType::kModified : WatchEventType::kDeleted;
  event.object = is ? *record.after : *record.before;
  event.object["metadata"]["resourceVersion"] = std::to_string(record.resource_version);
  return event;
}

kube::WatchEvent bookmark_of(const ResourceInfo& info, uint64_t version) {
  return {WatchEventType::kBookmark,
          {{"apiVersion", info.gvr.api_version()},
           {"kind", info.kind},
           {"metadata", {{"resourceVersion", std::to_string(version)}}}}};
}

Result<uint64_t> parse_version(const std::string& text) {
  uint64_t version = 0;
  auto [p, e] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (e != std::errc() || p != text.data() + text.size()) return invalid_argument("invalid resource version: " + text);
  return version;
}

}  // namespace

Status Server::watch(const Gvr& gvr, const kube::WatchOptions& options, const kube::WatchHandler& handler,
                     std::stop_token stop) {
  const auto deadline = std::chrono::steady_clock::now() + options.timeout;
  ASSIGN_OR_RETURN(const kube::LabelSelector selector, kube::LabelSelector::parse(options.label_selector));
  std::unique_lock lock(mutex_);
  Request probe;
  probe.gvr = gvr;
  ASSIGN_OR_RETURN(const ResourceInfo info, info_locked(probe));

  std::deque<kube::WatchEvent> ready;
  uint64_t cursor = version_;
  const bool from_state = options.resource_version.empty() || options.resource_version == "0";
  if (from_state) {
    for (const auto& [key, object] : collection_locked(gvr)) {
      const bool wanted = (options.ns.empty() || key.ns == options.ns) && selector.matches(*object);
      if (wanted) ready.push_back({WatchEventType::kAdded, *object});
    }
  } else {
    ASSIGN_OR_RETURN(cursor, parse_version(options.resource_version));
    if (cursor < compacted_) {
      return Status(Code::kOutOfRange,
                    "too old resource version: " + options.resource_version + " (" + std::to_string(compacted_) + ")");
    }
    if (cursor > version_)
      return Status(Code::kDeadlineExceeded, "Too large resource version: " + options.resource_version);
  }

  uint64_t told = from_state ? 0 : cursor;  // the version the watcher knows of
  while (true) {
    auto it = std::upper_bound(log_.begin(), log_.end(), cursor,
                               [](uint64_t v, const WriteRecord& r) { return v < r.resource_version; });
    for (; it != log_.end(); ++it) {
      cursor = it->resource_version;
      if (it->gvr != gvr || (!options.ns.empty() && it->key.ns != options.ns)) continue;
      if (auto event = event_of(*it, selector)) ready.push_back(std::move(*event));
    }
    const bool over = std::chrono::steady_clock::now() >= deadline;
    if (ready.empty() && over) {
      if (cursor > told) {
        lock.unlock();
        (void)handler(bookmark_of(info, cursor));
      }
      return {};
    }
    if (ready.empty()) {
      changed_.wait_until(lock, stop, deadline, [&] { return version_ > cursor; });
      if (stop.stop_requested()) return Status(Code::kCancelled, "watch: stopped");
      continue;
    }
    lock.unlock();
    for (; !ready.empty(); ready.pop_front()) {
      if (stop.stop_requested()) return Status(Code::kCancelled, "watch: stopped");
      if (!handler(std::move(ready.front()))) return {};
    }
    told = cursor;
    lock.lock();
  }
}

// ---- resources ----

std::vector<ResourceInfo> Server::resources() const {
  std::lock_guard lock(mutex_);
  std::vector<ResourceInfo> all;
  for (const auto& [gvr, info] : resources_) all.push_back(info);
  return all;
}

std::optional<ResourceInfo> Server::find_resource(const std::string& group, const std::string& version,
                                                  const std::string& resource) const {
  std::lock_guard lock(mutex_);
  for (bool namespaced : {true, false}) {
    auto it = resources_.find(Gvr{group, version, resource, namespaced});
    if (it != resources_.end()) return it->second;
  }
  return std::nullopt;
}

Status Server::load_crd(const Json& definition) {
  Request r;
  r.verb = kube::Verb::kCreate;
  r.gvr = kube::gvr::kCustomResourceDefinitions;
  r.body = definition;
  return call(r, "setup").status();
}

Status Server::load_crds(const std::string& yaml_file) {
  ASSIGN_OR_RETURN(const std::vector<Json> documents, kube::parse_yaml_file(yaml_file));
  for (const Json& document : documents) RETURN_IF_ERROR(load_crd(document));
  return {};
}

Status Server::register_crd_locked(const Json& definition) {
  const Json& spec = at(definition, {"spec"});
  const Json& versions = at(spec, {"versions"});
  if (!versions.is_array() || versions.size() != 1) {
    return Status(Code::kUnimplemented, kube::name_of(definition) + ": exactly one version is simulated");
  }
  const Json& version = versions[0];
  ResourceInfo info;
  info.gvr = {string_at(spec, {"group"}), string_at(version, {"name"}), string_at(spec, {"names", "plural"}),
              string_at(spec, {"scope"}) == "Namespaced"};
  if (kube::name_of(definition) != info.gvr.resource + "." + info.gvr.group) {
    return invalid_argument("CustomResourceDefinition: metadata.name: must be spec.names.plural+\".\"+spec.group");
  }
  info.kind = string_at(spec, {"names", "kind"});
  info.singular = string_at(spec, {"names", "singular"});
  info.has_generation = true;
  info.unconditional_update = false;
  info.has_status = at(version, {"subresources", "status"}).is_object();
  if (const Json& scale = at(version, {"subresources", "scale"}); scale.is_object()) {
    info.has_scale = true;
    info.scale_spec_path = string_at(scale, {"specReplicasPath"});
    info.scale_status_path = string_at(scale, {"statusReplicasPath"});
    info.scale_selector_path = string_at(scale, {"labelSelectorPath"});
  }
  Result<std::shared_ptr<const Schema>> schema = Schema::parse(at(version, {"schema", "openAPIV3Schema"}));
  if (!schema.is_ok())
    return Status(schema.code(), kube::name_of(definition) + ": " + std::string(schema.status().message()));
  info.schema = *schema;
  resources_[info.gvr] = std::move(info);
  return {};
}

void Server::unregister_crd_locked(const Json& definition) {
  const Json& spec = at(definition, {"spec"});
  const Gvr gvr{string_at(spec, {"group"}), string_at(spec, {"versions"}), string_at(spec, {"names", "plural"})};
  std::erase_if(resources_, [&](const auto& entry) {
    return entry.second.schema && entry.first.group == gvr.group && entry.first.resource == gvr.resource;
  });
  std::erase_if(objects_, [&](const auto& entry) {
    return entry.first.group == gvr.group && entry.first.resource == gvr.resource;
  });
}

// ---- time and history ----

void Server::set_time_ms(int64_t wall_ms) {
  std::lock_guard lock(mutex_);
  now_ms_ = wall_ms;
}

void Server::advance_ms(int64_t ms) {
  std::lock_guard lock(mutex_);
  now_ms_ += ms;
}

int64_t Server::time_ms() const {
  std::lock_guard lock(mutex_);
  return now_ms_;
}

void Server::compact() {
  std::lock_guard lock(mutex_);
  compacted_ = version_;
}

ObjectPtr Server::find(const Gvr& gvr, const ObjectKey& key) const {
  std::lock_guard lock(mutex_);
  const Collection& state = collection_locked(gvr);
  auto it = state.find(key);
  return it == state.end() ? nullptr : it->second;
}

std::vector<ObjectPtr> Server::all(const Gvr& gvr, const std::string& ns) const {
  std::lock_guard lock(mutex_);
  std::vector<ObjectPtr> found;
  for (const auto& [key, object] : collection_locked(gvr)) {
    if (ns.empty() || key.ns == ns) found.push_back(object);
  }
  return found;
}

uint64_t Server::resource_version() const {
  std::lock_guard lock(mutex_);
  return version_;
}

std::vector<WriteRecord> Server::log() const { return log_since(0); }

std::vector<WriteRecord> Server::log_since(uint64_t resource_version) const {
  std::lock_guard lock(mutex_);
  std::vector<WriteRecord> records;
  for (const WriteRecord& record : log_) {
    if (record.resource_version > resource_version) records.push_back(record);
  }
  return records;
}

std::string Server::new_uid_locked() {
  char tail[16];
  std::snprintf(tail, sizeof tail, "%012llx", static_cast<unsigned long long>(next_uid_++));
  return options_.uid_prefix + tail;
}

// ---- garbage collection ----

bool Server::owner_exists_locked(const Json& object, const Json& owner) const {
  const std::string uid = string_at(owner, {"uid"});
  for (const auto& [gvr, state] : objects_) {
    const auto info = resources_.find(gvr);
    if (info == resources_.end() || info->second.kind != string_at(owner, {"kind"}) ||
        gvr.api_version() != string_at(owner, {"apiVersion"})) {
      continue;
    }
    // an owner in another namespace does not count, as in Kubernetes
    const ObjectKey key{gvr.namespaced ? kube::namespace_of(object) : "", string_at(owner, {"name"})};
    auto it = state.find(key);
    if (it != state.end() && kube::uid_of(*it->second) == uid) return true;
  }
  return false;
}

size_t Server::collect_garbage() {
  std::lock_guard lock(mutex_);
  static const std::string kActor = "gc";
  struct Target {
    Gvr gvr;
    ObjectKey key;
    enum { kDeleteOrphaned, kFinishForeground, kOrphanDependents } what;
  };
  std::vector<Target> targets;
  const auto dependents_of = [&](const std::string& uid, bool blocking) {
    std::vector<std::pair<Gvr, ObjectPtr>> found;
    for (const auto& [gvr, state] : objects_) {
      for (const auto& [key, object] : state) {
        const Json& owners = at(*object, {"metadata", "ownerReferences"});
        if (!owners.is_array()) continue;
        for (const Json& owner : owners) {
          const bool ours = string_at(owner, {"uid"}) == uid;
          if (ours && (!blocking || kube::bool_at(owner, {"blockOwnerDeletion"}))) found.emplace_back(gvr, object);
        }
      }
    }
    return found;
  };
  for (const auto& [gvr, state] : objects_) {
    for (const auto& [key, object] : state) {
      const Json& owners = at(*object, {"metadata", "ownerReferences"});
      const bool owned = owners.is_array() && !owners.empty();
      const bool orphaned = owned && std::none_of(owners.begin(), owners.end(),
                                                  [&](const Json& o) { return owner_exists_locked(*object, o); });
      if (orphaned && !kube::is_terminating(*object)) targets.push_back({gvr, key, Target::kDeleteOrphaned});
      if (!kube::is_terminating(*object)) continue;
      if (kube::has_finalizer(*object, "foregroundDeletion")) targets.push_back({gvr, key, Target::kFinishForeground});
      if (kube::has_finalizer(*object, "orphan")) targets.push_back({gvr, key, Target::kOrphanDependents});
    }
  }
  size_t acted = collect_namespace_locked();
  for (const Target& target : targets) {
    auto it = objects_[target.gvr].find(target.key);
    if (it == objects_[target.gvr].end()) continue;
    const ObjectPtr object = it->second;
    const auto remove = [&](const Gvr& gvr, const ObjectKey& key) {
      Request r;
      r.verb = kube::Verb::kDelete;
      r.gvr = gvr;
      r.key = key;
      acted += delete_locked(Write{r, resources_.at(gvr), kActor}).is_ok();
    };
    const auto without_finalizer = [&](const char* finalizer) {
      Json after = *object;
      std::erase(after["metadata"]["finalizers"].get_ref<Json::array_t&>(), Json(finalizer));
      Request r;
      r.verb = kube::Verb::kReplace;
      r.gvr = target.gvr;
      r.key = target.key;
      acted += update_locked(Write{r, resources_.at(target.gvr), kActor}, object, std::move(after), true).is_ok();
    };
    if (target.what == Target::kDeleteOrphaned) remove(target.gvr, target.key);
    if (target.what == Target::kFinishForeground) {
      const auto blocking = dependents_of(kube::uid_of(*object), true);
      for (const auto& [gvr, dependent] : blocking) {
        if (!kube::is_terminating(*dependent)) remove(gvr, kube::key_of(*dependent));
      }
      if (blocking.empty()) without_finalizer("foregroundDeletion");
    }
    if (target.what == Target::kOrphanDependents) {
      for (const auto& [gvr, dependent] : dependents_of(kube::uid_of(*object), false)) {
        Json after = *dependent;
        auto& owners = after["metadata"]["ownerReferences"].get_ref<Json::array_t&>();
        std::erase_if(owners, [&](const Json& o) { return string_at(o, {"uid"}) == kube::uid_of(*object); });
        Request r;
        r.verb = kube::Verb::kReplace;
        r.gvr = gvr;
        acted += update_locked(Write{r, resources_.at(gvr), kActor}, dependent, std::move(after), true).is_ok();
      }
      without_finalizer("orphan");
    }
  }
  return acted;
}

// Terminating namespaces: everything in them is deleted, then they are.
size_t Server::collect_namespace_locked() {
  static const std::string kActor = "namespace-controller";
  size_t acted = 0;
  const Collection namespaces = collection_locked(kube::gvr::kNamespaces);
  for (const auto& [ns_key, ns] : namespaces) {
    if (!kube::is_terminating(*ns)) continue;
    size_t inside = 0;
    std::vector<std::pair<Gvr, ObjectKey>> content;
    for (const auto& [gvr, state] : objects_) {
      for (const auto& [key, object] : state) {
        if (key.ns != ns_key.name || !gvr.namespaced) continue;
        inside++;
        if (!kube::is_terminating(*object)) content.emplace_back(gvr, key);
      }
    }
    for (const auto& [gvr, key] : content) {
      Request r;
      r.verb = kube::Verb::kDelete;
      r.gvr = gvr;
      r.key = key;
      acted += delete_locked(Write{r, resources_.at(gvr), kActor}).is_ok();
    }
    if (inside > 0) continue;
    Request r;
    r.verb = kube::Verb::kDelete;
    r.gvr = kube::gvr::kNamespaces;
    (void)commit_locked(Write{r, resources_.at(r.gvr), kActor}, ns_key, ns, nullptr);
    acted++;
  }
  return acted;
}

}  // namespace fairlead::apisim
