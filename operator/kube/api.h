// The Kubernetes API as the operator uses it: one abstract interface, behind which stands the real API server
// (http_api.h) or the simulated one of tests (operator/sim).
//
// Every call is one value (`Request`) and goes through one virtual function, so that a decorator (faults, counting,
// recording) is a few lines. The named functions below are the way to write a call; they only fill in a Request.
//
// Threads: an Api may be called from several threads at once.
//
// Errors, and what a caller may conclude from each:
//   kNotFound          404
//   kAlreadyExists     409 AlreadyExists: inspect what is there before believing that it is yours
//   kAborted           409 Conflict: resourceVersion or uid precondition, or a server-side apply conflict
//   kOutOfRange        410: resourceVersion or continue token too old; list again
//   kInvalidArgument   400, 415, 422: the object or request is refused; repeating it cannot help. Also: metadata.uid of
//   an
//                      apply or a patch is not that of the object there
//   kPermissionDenied  403     kUnauthenticated  401     kUnimplemented  405
//   kResourceExhausted 429 after the bounded retries: certainly not executed
//   kUnavailable       no connection, or 503: certainly not executed
//   kDeadlineExceeded  no answer, a broken connection after the request was sent, or 504: THE OUTCOME IS UNKNOWN
//   kInternal          other 5xx, or an answer that cannot be read: the outcome is unknown as well
//   kCancelled         this client was stopped (stop token, or the simulated crash); nothing after it is executed
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/status.h"
#include "operator/kube/object.h"

namespace fairlead::kube {

// True when the write behind `status` may or may not have happened.
bool outcome_unknown(const Status& status);
// True when the same request may succeed later without anything being changed in it.
bool is_transient(const Status& status);

inline constexpr std::chrono::milliseconds kCallTimeout{10'000};

enum class Verb : uint8_t { kGet, kList, kCreate, kReplace, kApply, kMergePatch, kDelete };
std::string_view verb_name(Verb verb);  // "get", "list", "create", ...
inline bool is_write(Verb verb) { return verb != Verb::kGet && verb != Verb::kList; }

enum class Propagation : uint8_t { kServerDefault, kOrphan, kBackground, kForeground };

struct Request {
  Verb verb = Verb::kGet;
  Gvr gvr;
  ObjectKey key;            // kList, kCreate: only `ns` counts (kCreate takes the name from the body)
  std::string subresource;  // "", "status", "scale", "binding"
  Json body;

  std::string field_manager;  // writes: who owns the fields written
  bool force = false;         // kApply: take fields from other managers

  std::string label_selector;    // kList
  std::string resource_version;  // kGet, kList: "" newest (a quorum read), "0" any cached state
  int limit = 0;                 // kList: objects a page, 0: all at once. All pages are fetched either way.
  std::string continue_token;    // kList: used between client and server

  std::optional<std::string> uid;                         // kDelete: precondition
  std::optional<std::string> expected_resource_version;   // kDelete: precondition
  std::optional<int64_t> grace_period_seconds;            // kDelete
  Propagation propagation = Propagation::kServerDefault;  // kDelete

  std::chrono::milliseconds timeout = kCallTimeout;  // of the whole call, retries included
};

struct ListOptions {
  std::string ns;  // empty: all namespaces
  std::string label_selector;
  std::string resource_version;
  int limit = 500;
};

struct ObjectList {
  std::vector<Json> items;  // each with apiVersion and kind; ordered by namespace, then name
  std::string resource_version;
};

struct WriteOptions {
  std::string field_manager;
  std::string subresource;
  bool force = false;  // apply only
};

struct DeleteOptions {
  std::optional<std::string> uid;
  std::optional<std::string> resource_version;
  std::optional<int64_t> grace_period_seconds;
  Propagation propagation = Propagation::kServerDefault;
};

enum class WatchEventType : uint8_t { kAdded, kModified, kDeleted, kBookmark };

struct WatchEvent {
  WatchEventType type = WatchEventType::kAdded;
  Json object;  // kBookmark: only metadata.resourceVersion; kDeleted: the last state
};

struct WatchOptions {
  std::string ns;  // empty: all namespaces
  std::string label_selector;
  std::string resource_version;  // events after this one
  // The stream ends by itself (OK) after this long; 0: what is there now, then the end.
  std::chrono::milliseconds timeout{300'000};
};

// Called on the thread that called watch(). False ends the watch (OK).
using WatchHandler = std::function<bool(WatchEvent)>;

class Api {
 public:
  virtual ~Api() = default;

  // Executes one request. kList answers {"items": [...], "metadata": {"resourceVersion": ...}}.
  virtual Result<Json> call(const Request& request) = 0;

  // Blocks and hands events on until: the timeout (OK), the handler says stop (OK), `stop` is requested (kCancelled,
  // promptly), history is gone (kOutOfRange: list again), or the connection breaks (kUnavailable: resume).
  virtual Status watch(const Gvr& gvr, const WatchOptions& options, const WatchHandler& handler,
                       std::stop_token stop) = 0;

  Result<Json> get(const Gvr& gvr, const ObjectKey& key, std::string resource_version = "");
  Result<ObjectList> list(const Gvr& gvr, const ListOptions& options = {});
  Result<Json> create(const Gvr& gvr, Json object, WriteOptions options = {});
  // Replaces the whole object (or its status). A metadata.resourceVersion in `object` is a precondition, and
  // metadata.uid too.
  Result<Json> replace(const Gvr& gvr, Json object, WriteOptions options = {});
  // Server-side apply of exactly the fields in `config` (which names itself). The answer is the merged object. With a
  // metadata.uid in it an absent object is not created (kAborted), and another one not touched (kInvalidArgument).
  Result<Json> apply(const Gvr& gvr, Json config, WriteOptions options);
  // RFC 7386. A resourceVersion in the patch's metadata is a precondition (kAborted), a uid too (kInvalidArgument).
  Result<Json> merge_patch(const Gvr& gvr, const ObjectKey& key, Json patch, WriteOptions options = {});
  // OK means accepted: finalizers or a pod's grace period may keep the object, terminating.
  Status remove(const Gvr& gvr, const ObjectKey& key, const DeleteOptions& options = {});
};

}  // namespace fairlead::kube
