#include "operator/kube/work_queue.h"

#include <algorithm>

namespace fairlead::kube {

int64_t steady_now_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

WorkQueue::WorkQueue(BackoffOptions retry, uint64_t seed, size_t keys_max)
    : retry_(retry), keys_max_(keys_max), seed_(seed) {}

// "now" is before every time a caller can mean
bool WorkQueue::add(const std::string& key) { return add_at(key, INT64_MIN); }

bool WorkQueue::add_at(const std::string& key, int64_t due_ms) {
  std::lock_guard lock(mutex_);
  return add_locked(key, due_ms);
}

bool WorkQueue::add_retry(const std::string& key, int64_t now_ms) {
  std::lock_guard lock(mutex_);
  auto it = backoffs_.find(key);
  if (it == backoffs_.end()) {
    // the backoffs are bounded like the keys: one that failed is in the queue, or was forgotten
    if (backoffs_.size() >= keys_max_) backoffs_.erase(backoffs_.begin());
    it = backoffs_.emplace(key, Backoff(retry_, seed_++)).first;
  }
  return add_locked(key, now_ms + it->second.next().count());
}

bool WorkQueue::add_locked(const std::string& key, int64_t due_ms) {
  auto it = entries_.find(key);
  if (it == entries_.end()) {
    if (entries_.size() >= keys_max_) {
      refused_++;
      return false;
    }
    it = entries_.emplace(key, Entry{}).first;
  }
  Entry& entry = it->second;
  if (entry.due_ms && *entry.due_ms <= due_ms) return true;
  if (entry.due_ms && !entry.in_work) due_.erase({*entry.due_ms, key});
  entry.due_ms = due_ms;
  if (!entry.in_work) {
    due_.insert({due_ms, key});
    changed_.notify_one();
  }
  return true;
}

void WorkQueue::forget(const std::string& key) {
  std::lock_guard lock(mutex_);
  backoffs_.erase(key);
}

std::optional<std::string> WorkQueue::take_locked(int64_t now_ms) {
  if (due_.empty() || due_.begin()->first > now_ms) return std::nullopt;
  std::string key = due_.begin()->second;
  due_.erase(due_.begin());
  Entry& entry = entries_.at(key);
  entry.due_ms.reset();
  entry.in_work = true;
  return key;
}

std::optional<std::string> WorkQueue::try_get(int64_t now_ms) {
  std::lock_guard lock(mutex_);
  return take_locked(now_ms);
}

std::optional<std::string> WorkQueue::get(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const int64_t now_ms = steady_now_ms();
    if (auto key = take_locked(now_ms)) return key;
    // an hour at most: add() wakes us anyway, and the wait cannot overflow the clock
    const int64_t wait_ms = due_.empty() ? 3'600'000 : std::min<int64_t>(due_.begin()->first - now_ms, 3'600'000);
    const auto head = due_.empty() ? std::pair<int64_t, std::string>{} : *due_.begin();
    const bool was_empty = due_.empty();
    changed_.wait_for(lock, stop, std::chrono::milliseconds(wait_ms),
                      [&] { return due_.empty() != was_empty || (!was_empty && *due_.begin() < head); });
  }
  return std::nullopt;
}

void WorkQueue::done(const std::string& key) {
  std::lock_guard lock(mutex_);
  auto it = entries_.find(key);
  if (it == entries_.end() || !it->second.in_work) return;
  it->second.in_work = false;
  if (!it->second.due_ms) {
    entries_.erase(it);
    return;
  }
  due_.insert({*it->second.due_ms, key});
  changed_.notify_one();
}

std::optional<int64_t> WorkQueue::next_due_ms() const {
  std::lock_guard lock(mutex_);
  if (due_.empty()) return std::nullopt;
  return due_.begin()->first;
}

size_t WorkQueue::size() const {
  std::lock_guard lock(mutex_);
  return due_.size();
}

size_t WorkQueue::refused() const {
  std::lock_guard lock(mutex_);
  return refused_;
}

}  // namespace fairlead::kube
