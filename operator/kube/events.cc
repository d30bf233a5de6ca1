#include "operator/kube/events.h"

#include <cstdio>

namespace fairlead::kube {

namespace {

// FNV-1a: stable across runs and builds, which std::hash does not promise.
uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (unsigned char c : text) hash = (hash ^ c) * 0x100000001b3ull;
  return hash;
}

std::string event_name(const Json& regarding, std::string_view type, const std::string& reason,
                       const std::string& message) {
  const std::string what = uid_of(regarding) + '\0' + std::string(type) + '\0' + reason + '\0' + message;
  char suffix[20];
  std::snprintf(suffix, sizeof suffix, ".%016llx", static_cast<unsigned long long>(fnv1a(what)));
  return name_of(regarding).substr(0, 200) + suffix;  // names have at most 253 characters
}

// At most `bytes_max`, not cutting a UTF-8 character in two.
std::string shortened(const std::string& text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  size_t end = bytes_max - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) end--;
  return text.substr(0, end) + "...";
}

}  // namespace

EventRecorder::EventRecorder(Api& api, std::string component, std::string instance)
    : api_(api), component_(std::move(component)), instance_(std::move(instance)) {}

void EventRecorder::emit(const Json& regarding, EventType type, const std::string& reason,
                         const std::string& full_message, int64_t wall_ms) {
  const std::string message = shortened(full_message, kEventMessageBytesMax);
  const std::string type_name = type == EventType::kWarning ? "Warning" : "Normal";
  // events about cluster-scoped objects live in "default", as kubectl expects
  const std::string ns = namespace_of(regarding).empty() ? "default" : namespace_of(regarding);
  const std::string name = event_name(regarding, type_name, reason, message);
  const std::string memory_key = ns + "/" + name;

  std::lock_guard lock(mutex_);  // held while writing: events of one recorder keep their order
  auto [it, fresh] = seen_.try_emplace(memory_key);
  Seen& seen = it->second;
  if (fresh) {
    seen.age = ages_.insert(ages_.end(), memory_key);
    if (seen_.size() > kEventKeysMax) {
      seen_.erase(ages_.front());
      ages_.pop_front();
    }
  } else {
    ages_.splice(ages_.end(), ages_, seen.age);
  }
  seen.unwritten++;
  if (seen.count > 0 && wall_ms - seen.written_ms < kEventRepeatMinMs) return;

  Json event = {{"apiVersion", "v1"},
                {"kind", "Event"},
                {"metadata", {{"namespace", ns}, {"name", name}}},
                {"involvedObject",
                 {{"apiVersion", string_at(regarding, {"apiVersion"})},
                  {"kind", string_at(regarding, {"kind"})},
                  {"namespace", namespace_of(regarding)},
                  {"name", name_of(regarding)},
                  {"uid", uid_of(regarding)},
                  {"resourceVersion", resource_version_of(regarding)}}},
                {"type", type_name},
                {"reason", reason},
                {"message", message},
                {"source", {{"component", component_}, {"host", instance_}}},
                {"reportingComponent", component_},
                {"reportingInstance", instance_},
                {"firstTimestamp", format_time(wall_ms)},
                {"lastTimestamp", format_time(wall_ms)},
                {"count", seen.unwritten}};
  if (namespace_of(regarding).empty()) event["involvedObject"].erase("namespace");
  if (Status status = write(event, name, seen.unwritten, wall_ms, &seen.count); !status.is_ok()) {
    failures_++;
    return;
  }
  seen.unwritten = 0;
  seen.written_ms = wall_ms;
}

// Creates the Event, or adds to the count of the one that an earlier turn, or an earlier process, left.
Status EventRecorder::write(const Json& event, const std::string& name, int64_t repeats, int64_t wall_ms,
                            int64_t* count) {
  const ObjectKey key{namespace_of(event), name};
  const WriteOptions options{.field_manager = component_, .subresource = "", .force = false};
  if (*count == 0) {
    Result<Json> created = api_.create(gvr::kEvents, event, options);
    if (created.is_ok()) *count = repeats;
    if (created.code() != Code::kAlreadyExists) return created.status();
    Result<Json> existing = api_.get(gvr::kEvents, key);
    RETURN_IF_ERROR(existing.status());
    *count = int_at(*existing, {"count"}, 1);
  }
  const int64_t total = *count + repeats;
  Status status =
      api_.merge_patch(gvr::kEvents, key, {{"count", total}, {"lastTimestamp", format_time(wall_ms)}}, options)
          .status();
  if (status.is_ok()) *count = total;
  if (status.code() == Code::kNotFound) *count = 0;  // the server forgot it (an hour): next time anew
  return status;
}

uint64_t EventRecorder::failures() const {
  std::lock_guard lock(mutex_);
  return failures_;
}

}  // namespace fairlead::kube
