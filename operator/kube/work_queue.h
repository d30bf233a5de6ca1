// Keys that wait to be reconciled. A key is in the queue at most once; a key added while it is being worked on comes
// back after done(). So one key is never worked on by two threads, and a thousand events of one object are one turn.
//
// Bounded: at most `keys_max` different keys (waiting, delayed and in work together). add() of one more says false; the
// caller offers it again later (the informer does). Retries back off exponentially per key.
//
// Time is a monotonic millisecond count handed in by the caller, so that tests and the simulation own it; only get()
// with a stop token, which blocks, reads the steady clock.
//
// Threads: all functions from any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>

#include "operator/kube/backoff.h"

namespace fairlead::kube {

inline constexpr size_t kWorkQueueKeysMax = 8192;

int64_t steady_now_ms();  // the steady clock, for get()

class WorkQueue {
 public:
  explicit WorkQueue(BackoffOptions retry = {}, uint64_t seed = 1, size_t keys_max = kWorkQueueKeysMax);

  bool add(const std::string& key);                        // now
  bool add_at(const std::string& key, int64_t due_ms);     // at a time; an earlier one of the same key wins
  bool add_retry(const std::string& key, int64_t now_ms);  // after this key's backoff
  void forget(const std::string& key);                     // success: the key's backoff starts afresh

  // The next due key, which is then in work until done(); nothing when none is due.
  std::optional<std::string> try_get(int64_t now_ms);
  // Blocks until a key is due; nothing once `stop` is requested.
  std::optional<std::string> get(std::stop_token stop);
  void done(const std::string& key);

  // When the earliest waiting key is due; nothing when no key waits. May lie in the past.
  std::optional<int64_t> next_due_ms() const;
  size_t size() const;     // waiting and delayed, without those in work
  size_t refused() const;  // how many add() said false since the start

 private:
  struct Entry {
    std::optional<int64_t> due_ms;  // waiting since or until
    bool in_work = false;
  };
  bool add_locked(const std::string& key, int64_t due_ms);
  std::optional<std::string> take_locked(int64_t now_ms);

  const BackoffOptions retry_;
  const size_t keys_max_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  // all below: guarded by mutex_
  std::map<std::string, Entry> entries_;
  std::set<std::pair<int64_t, std::string>> due_;  // (due, key) of entries that wait and are not in work
  std::map<std::string, Backoff> backoffs_;
  uint64_t seed_;
  size_t refused_ = 0;
};

}  // namespace fairlead::kube
