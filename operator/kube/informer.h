// A local copy of one resource, kept by list and watch, and a call for every change of it.
//
// The copy lags behind the server and may go back in time after a restart: absence here is not absence, and what is
// read here decides only *when to look*, never what to do. Decisions use Api::get and Api::list.
//
// Order of work: list; watch from the list's resourceVersion; when a watch ends, resume from the last version seen
// (bookmarks move it on); when that is too old (410), list again and report what changed, disappeared or appeared
// meanwhile. Failures back off with jitter, at most `backoff.max`.
//
// Threads: one thread per informer between start() and stop(). `on_change` runs on it, one call at a time, and must not
// block for long or call stop(). Reading functions from any thread. Without start(), a test drives it by poll().
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "operator/kube/api.h"
#include "operator/kube/backoff.h"
#include "operator/kube/work_queue.h"

namespace fairlead::kube {

inline constexpr std::chrono::milliseconds kRefusedRetry{1'000};

struct InformerOptions {
  std::string ns;  // empty: all namespaces
  std::string label_selector;
  BackoffOptions backoff;
  uint64_t seed = 1;                                 // of the jitter
  std::chrono::milliseconds watch_timeout{300'000};  // a stream is renewed after this, with jitter
};

class Informer {
 public:
  using ObjectPtr = std::shared_ptr<const Json>;
  // before: null when it appears; after: null when it is gone. False: not accepted (a full queue); it is offered again
  // (with before == after) before the next event or within a second.
  using ChangeHandler = std::function<bool(const ObjectPtr& before, const ObjectPtr& after)>;

  Informer(Api& api, Gvr gvr, InformerOptions options, ChangeHandler on_change);
  ~Informer();  // stops
  Informer(const Informer&) = delete;
  Informer& operator=(const Informer&) = delete;

  void start();
  void stop();  // prompt; the handler is not called afterwards

  // One list or one watch of what is there now, without waiting, on the calling thread. Not together with start().
  Status poll();

  bool synced() const { return synced_.load(std::memory_order_acquire); }  // the first list is complete
  // Blocks until synced; false when `stop` came first.
  bool wait_synced(std::stop_token stop);
  ObjectPtr get(const ObjectKey& key) const;  // null: not in the copy
  std::vector<ObjectPtr> list() const;        // ordered by key
  std::string resource_version() const;
  Status last_error() const;  // OK while the watch is healthy
  uint64_t relists() const { return relists_.load(std::memory_order_relaxed); }

 private:
  void run(std::stop_token stop);
  Status list_once();
  Status watch_once(std::chrono::milliseconds timeout, std::stop_token stop);
  bool on_event(WatchEvent event);
  void put(ObjectPtr object);
  void drop(const ObjectKey& key, ObjectPtr last);
  void report(const ObjectPtr& before, const ObjectPtr& after);
  void offer_refused();
  void set_error(Status status);

  Api& api_;
  const Gvr gvr_;
  const InformerOptions options_;
  const ChangeHandler on_change_;

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<ObjectKey, ObjectPtr> objects_;  // guarded by mutex_
  std::string resource_version_;            // guarded by mutex_; empty: list first
  Status error_;                            // guarded by mutex_
  // only on the informer's thread:
  std::map<ObjectKey, ObjectPtr> refused_;
  bool short_stream_ = false;  // the current watch ends within kRefusedRetry
  std::atomic<bool> synced_{false};
  std::atomic<uint64_t> relists_{0};
  std::jthread thread_;
};

}  // namespace fairlead::kube
