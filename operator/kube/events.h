// Kubernetes Events (core v1) about objects, deduplicated: the same reason and message about the same object is one
// Event whose `count` grows, in this process and across restarts (its name is a hash of what it says).
//
// Bounded: at most kEventKeysMax remembered Events, the oldest forgotten first; repeats of one Event are written at
// most every kEventRepeatMin, the ones between are counted in. Failures to write are counted and otherwise dropped: an
// Event is a report, never an input, and must not hold up the work.
//
// Threads: emit() from any thread, it makes one or two calls to the API server. Time is handed in (wall milliseconds).
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <string>

#include "operator/kube/api.h"

namespace fairlead::kube {

inline constexpr size_t kEventKeysMax = 1024;
inline constexpr int64_t kEventRepeatMinMs = 10'000;
inline constexpr size_t kEventMessageBytesMax = 1024;  // the server's limit

enum class EventType : uint8_t { kNormal, kWarning };

class EventRecorder {
 public:
  // component: "fairlead-operator"; instance: this process (host name).
  EventRecorder(Api& api, std::string component, std::string instance);

  // `regarding`: the object, with apiVersion, kind and metadata. `reason` is CamelCase, `message` a sentence.
  void emit(const Json& regarding, EventType type, const std::string& reason, const std::string& message,
            int64_t wall_ms);

  uint64_t failures() const;

 private:
  struct Seen {
    int64_t count = 0;      // written so far
    int64_t unwritten = 0;  // repeats since
    int64_t written_ms = 0;
    std::list<std::string>::iterator age;
  };
  Status write(const Json& event, const std::string& name, int64_t repeats, int64_t wall_ms, int64_t* count);

  Api& api_;
  const std::string component_;
  const std::string instance_;
  mutable std::mutex mutex_;
  std::map<std::string, Seen> seen_;  // by namespace/name of the Event; guarded by mutex_
  std::list<std::string> ages_;       // front: least recently emitted; guarded by mutex_
  uint64_t failures_ = 0;             // guarded by mutex_
};

}  // namespace fairlead::kube
