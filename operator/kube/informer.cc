#include "operator/kube/informer.h"

#include <random>
#include <utility>

namespace fairlead::kube {

Informer::Informer(Api& api, Gvr gvr, InformerOptions options, ChangeHandler on_change)
    : api_(api), gvr_(std::move(gvr)), options_(std::move(options)), on_change_(std::move(on_change)) {}

Informer::~Informer() { stop(); }

void Informer::start() {
  CHECK(!thread_.joinable(), "an informer is started once");
  thread_ = std::jthread([this](std::stop_token stop) { run(std::move(stop)); });
}

void Informer::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
}

void Informer::run(std::stop_token stop) {
  Backoff backoff(options_.backoff, options_.seed);
  std::mt19937_64 random(options_.seed);
  while (!stop.stop_requested()) {
    offer_refused();
    const bool need_list = resource_version().empty();
    Status status;
    if (need_list) {
      status = list_once();
    } else {
      // half to all of the timeout, so that the streams of a restarted server do not all end together; short while
      // something waits to be offered again
      const int64_t full_ms = options_.watch_timeout.count();
      const int64_t timeout_ms = std::uniform_int_distribution<int64_t>(full_ms / 2, full_ms)(random);
      const std::chrono::milliseconds timeout(timeout_ms);
      status = watch_once(refused_.empty() ? timeout : std::min(timeout, kRefusedRetry), stop);
    }
    if (stop.stop_requested()) return;
    const bool expired = status.code() == Code::kOutOfRange;
    set_error(expired ? Status() : status);
    if (status.is_ok()) {
      backoff.reset();
      continue;
    }
    if (expired && backoff.failures() == 0) {
      backoff.next();  // relist at once, but not in a tight circle
      continue;
    }
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, stop, backoff.next(), [] { return false; });
  }
}

Status Informer::poll() {
  CHECK(!thread_.joinable(), "poll() is for an informer without a thread");
  offer_refused();
  Status status =
      resource_version().empty() ? list_once() : watch_once(std::chrono::milliseconds(0), std::stop_token());
  set_error(status);
  return status;
}

// Replaces the copy by a fresh list and reports the difference.
Status Informer::list_once() {
  ListOptions options;
  options.ns = options_.ns;
  options.label_selector = options_.label_selector;
  ASSIGN_OR_RETURN(ObjectList list, api_.list(gvr_, options));
  std::map<ObjectKey, ObjectPtr> fresh;
  for (Json& item : list.items) {
    ObjectKey key = key_of(item);
    fresh[std::move(key)] = std::make_shared<const Json>(std::move(item));
  }
  std::map<ObjectKey, ObjectPtr> old;
  {
    std::lock_guard lock(mutex_);
    old = std::exchange(objects_, fresh);
    resource_version_ = list.resource_version;
  }
  for (const auto& [key, before] : old) {
    if (!fresh.contains(key)) report(before, nullptr);
  }
  for (const auto& [key, after] : fresh) {
    auto it = old.find(key);
    if (it == old.end()) {
      report(nullptr, after);
    } else if (uid_of(*it->second) != uid_of(*after)) {
      report(it->second, nullptr);  // another object under the same name: the first one is gone
      report(nullptr, after);
    } else if (resource_version_of(*it->second) != resource_version_of(*after)) {
      report(it->second, after);
    }
  }
  relists_.fetch_add(1, std::memory_order_relaxed);
  std::lock_guard lock(mutex_);
  synced_.store(true, std::memory_order_release);
  changed_.notify_all();
  return {};
}

Status Informer::watch_once(std::chrono::milliseconds timeout, std::stop_token stop) {
  WatchOptions options;
  options.ns = options_.ns;
  options.label_selector = options_.label_selector;
  options.resource_version = resource_version();
  options.timeout = timeout;
  short_stream_ = timeout <= kRefusedRetry;
  Status status = api_.watch(
      gvr_, options, [this](WatchEvent event) { return on_event(std::move(event)); }, stop);
  if (status.code() == Code::kOutOfRange) {
    std::lock_guard lock(mutex_);
    resource_version_.clear();
  }
  return status;
}

bool Informer::on_event(WatchEvent event) {
  offer_refused();
  const std::string version = resource_version_of(event.object);
  if (event.type != WatchEventType::kBookmark) {
    auto object = std::make_shared<const Json>(std::move(event.object));
    if (event.type == WatchEventType::kDeleted) {
      drop(key_of(*object), object);
    } else {
      put(object);
    }
  }
  std::lock_guard lock(mutex_);
  if (!version.empty()) resource_version_ = version;
  // a refused change is offered again soon: leave a long stream and resume with a short one
  return refused_.empty() || short_stream_;
}

void Informer::put(ObjectPtr object) {
  ObjectPtr before;
  {
    std::lock_guard lock(mutex_);
    ObjectPtr& slot = objects_[key_of(*object)];
    before = std::exchange(slot, object);
  }
  if (before && uid_of(*before) != uid_of(*object)) {
    report(before, nullptr);
    before = nullptr;
  }
  if (before && resource_version_of(*before) == resource_version_of(*object)) return;  // a repeated event
  report(before, object);
}

void Informer::drop(const ObjectKey& key, ObjectPtr last) {
  {
    std::lock_guard lock(mutex_);
    if (objects_.erase(key) == 0) return;  // a repeated event
  }
  report(last, nullptr);
}

void Informer::report(const ObjectPtr& before, const ObjectPtr& after) {
  const ObjectPtr& object = after ? after : before;
  if (!on_change_(before, after)) refused_[key_of(*object)] = object;
}

void Informer::offer_refused() {
  while (!refused_.empty()) {
    auto it = refused_.begin();
    if (!on_change_(it->second, it->second)) return;
    refused_.erase(it);
  }
}

bool Informer::wait_synced(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  return changed_.wait(lock, stop, [this] { return synced(); });
}

Informer::ObjectPtr Informer::get(const ObjectKey& key) const {
  std::lock_guard lock(mutex_);
  auto it = objects_.find(key);
  return it == objects_.end() ? nullptr : it->second;
}

std::vector<Informer::ObjectPtr> Informer::list() const {
  std::lock_guard lock(mutex_);
  std::vector<ObjectPtr> objects;
  objects.reserve(objects_.size());
  for (const auto& [key, object] : objects_) objects.push_back(object);
  return objects;
}

std::string Informer::resource_version() const {
  std::lock_guard lock(mutex_);
  return resource_version_;
}

Status Informer::last_error() const {
  std::lock_guard lock(mutex_);
  return error_;
}

void Informer::set_error(Status status) {
  std::lock_guard lock(mutex_);
  error_ = std::move(status);
}

}  // namespace fairlead::kube
