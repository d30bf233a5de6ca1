// An API server in one process, for tests: the state of a cluster, and the rules by which requests change it.
//
// It implements strictly what the operator relies on, and the contract test runs the same cases against the real
// kube-apiserver, so that the two cannot drift apart:
//   - one resourceVersion counter for everything; uid; generation moves only when something outside metadata and status
//     changes; a write that changes nothing moves nothing
//   - optimistic concurrency by metadata.resourceVersion and metadata.uid; delete preconditions
//   - finalizers and deletionTimestamp; a bound pod stays terminating until its kubelet removes it (or grace 0)
//   - the status subresource separated from the rest, for the kinds that have one
//   - server-side apply with managedFields (managed_fields.h), merge patch, replace
//   - custom resources from CustomResourceDefinitions: schema, pruning, defaults, CEL (schema.h, cel.h)
//   - label selectors, watch with bounded history, bookmarks, 410 when history is gone
//   - namespaces must exist; events are ordinary objects
// Cluster behaviour that other components bring happens only in steps a test asks for: garbage collection by owner
// here (collect_garbage), scheduler, kubelet and volume binder in kubelet.h.
//
// Not done: authentication, admission plugins (except the volume-in-use finalizer on claims), defaults and validation
// of built-in kinds beyond what builtin.cc lists, several served versions of a kind, the scale subresource of built-in
// kinds, field selectors, generateName, dry run. Lists come whole (http_front.h cuts them into pages).
//
// Determinism: uids come from a counter, time from set_time_ms(). Nothing here reads a clock, except that a blocking
// watch() waits on the steady clock.
// Threads: every function from any thread (one mutex). Objects are shared, never changed in place.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "operator/kube/api.h"
#include "operator/sim/schema.h"

namespace fairlead::apisim {

using kube::Gvr;
using kube::Json;
using kube::ObjectKey;
using kube::Request;

using ObjectPtr = std::shared_ptr<const Json>;

// One successful change, in order. What judges read.
struct WriteRecord {
  uint64_t resource_version = 0;
  std::string actor;  // name of the client that did it: "operator-1", "kubelet", "gc", ...
  kube::Verb verb = kube::Verb::kCreate;
  std::string subresource;
  Gvr gvr;
  ObjectKey key;
  std::string uid;
  ObjectPtr before;               // null: created
  ObjectPtr after;                // null: gone
  std::string to_string() const;  // one line: "12 operator-1 create pods.v1 ns/a-0 uid=..."
};

struct ServerOptions {
  size_t history_max = 100'000;          // changes kept for watches and stale reads; older ones answer 410
  int64_t start_ms = 1'767'225'600'000;  // 2026-01-01T00:00:00Z
  std::string uid_prefix = "00000000-0000-4000-8000-";
};

// How a resource behaves. Built-in ones are registered from the start; custom ones by their definitions.
struct ResourceInfo {
  Gvr gvr;
  std::string kind;
  std::string singular;
  bool has_status = false;  // status subresource
  bool has_generation = false;
  bool unconditional_update = true;  // replace() may leave out the resourceVersion
  bool has_scale = false;
  std::string scale_spec_path, scale_status_path, scale_selector_path;  // ".spec.replicas"
  std::shared_ptr<const Schema> schema;                                 // null: built-in
};

class Server {
 public:
  struct Write;  // a request on its way; internal (server_write.h)

  explicit Server(ServerOptions options = {});

  // Executes one request as `actor`.
  Result<Json> call(const Request& request, const std::string& actor = "test");
  Status watch(const Gvr& gvr, const kube::WatchOptions& options, const kube::WatchHandler& handler,
               std::stop_token stop);

  // ---- set-up ----
  // CustomResourceDefinitions of a YAML file (one or several documents). They become objects as well.
  Status load_crds(const std::string& yaml_file);
  Status load_crd(const Json& definition);
  void create_namespace(const std::string& name);
  std::vector<ResourceInfo> resources() const;
  std::optional<ResourceInfo> find_resource(const std::string& group, const std::string& version,
                                            const std::string& resource) const;

  // ---- the test's hand on the world ----
  void set_time_ms(int64_t wall_ms);
  void advance_ms(int64_t ms);
  int64_t time_ms() const;
  // One pass of owner-reference garbage collection: dependents whose owners are all gone (by uid) are deleted,
  // foreground deletions proceed. The number of objects it acted on; call until 0.
  size_t collect_garbage();
  // Forgets history up to now: watches and lists from older versions answer 410.
  void compact();

  // ---- for judges and tests ----
  ObjectPtr find(const Gvr& gvr, const ObjectKey& key) const;  // null: absent
  std::vector<ObjectPtr> all(const Gvr& gvr, const std::string& ns = "") const;
  uint64_t resource_version() const;
  std::vector<WriteRecord> log() const;  // everything since the start
  std::vector<WriteRecord> log_since(uint64_t resource_version) const;
  // The state as it was `versions` changes ago (0: now). What stale reads are served from. Limited by history_max.
  Result<Json> call_stale(const Request& read, uint64_t versions) const;

 private:
  using Collection = std::map<ObjectKey, ObjectPtr>;

  Result<ResourceInfo> info_locked(const Request& request) const;
  Result<Json> read_locked(const Request& request, const ResourceInfo& info, const Collection& state,
                           uint64_t version) const;
  Collection state_at_locked(const Gvr& gvr, uint64_t version) const;
  const Collection& collection_locked(const Gvr& gvr) const;

  Result<Json> create_locked(const Write& write);
  Result<Json> replace_locked(const Write& write);
  Result<Json> apply_locked(const Write& write);
  Result<Json> delete_locked(const Write& write);
  Result<Json> bind_locked(const Write& write);
  Result<Json> scale_locked(const Write& write);
  Result<Json> insert_locked(const Write& write, Json object);
  Result<Json> update_locked(const Write& write, const ObjectPtr& before, Json after, bool track);
  Status prepare_locked(const Write& write, Json& object, const Json* before) const;
  Json commit_locked(const Write& write, const ObjectKey& key, const ObjectPtr& before, Json* after);
  Status register_crd_locked(const Json& definition);
  void unregister_crd_locked(const Json& definition);
  size_t collect_namespace_locked();
  bool owner_exists_locked(const Json& object, const Json& owner) const;
  std::string new_uid_locked();

  const ServerOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  // all below: guarded by mutex_
  std::map<Gvr, ResourceInfo> resources_;
  std::map<Gvr, Collection> objects_;
  std::vector<WriteRecord> log_;  // ordered by resource_version
  uint64_t version_ = 1;
  uint64_t compacted_ = 0;  // history starts after this version
  uint64_t next_uid_ = 1;
  uint64_t next_address_ = 10;
  int64_t now_ms_;
};

}  // namespace fairlead::apisim
