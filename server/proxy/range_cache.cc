#include "server/proxy/range_cache.h"

#include <algorithm>
#include <utility>

namespace fairlead::proxy {
namespace {

constexpr std::string_view kNoEnd("\0", 1);

// Is `key` in front of the end of the range that begins at `begin`?
bool before_end(std::string_view key, std::string_view begin, std::string_view end) {
  if (end.empty()) return key <= begin;
  return end == kNoEnd || key < end;
}

std::string name_of(std::string_view who, const etcdserverpb::RangeRequest& request) {
  etcdserverpb::RangeRequest serializable = request;
  serializable.set_serializable(true);
  std::string out(who);
  out.push_back('\0');
  serializable.AppendToString(&out);
  return out;
}

}  // namespace

bool ranges_meet(std::string_view key_a, std::string_view end_a, std::string_view key_b, std::string_view end_b) {
  return before_end(key_a, key_b, end_b) && before_end(key_b, key_a, end_a);
}

RangeCache::Found RangeCache::find(std::string_view who, const etcdserverpb::RangeRequest& request, Bytes* answer) {
  auto at = by_name_.find(name_of(who, request));
  if (at == by_name_.end()) return Found::kNo;
  if (request.revision() > 0 && request.revision() < compacted_) {
    erase(at->second);
    return Found::kCompacted;
  }
  entries_.splice(entries_.begin(), entries_, at->second);
  *answer = at->second->answer;
  return Found::kYes;
}

void RangeCache::add(std::string_view who, const etcdserverpb::RangeRequest& request, const Bytes& answer,
                     uint64_t since) {
  if (request.revision() <= 0 && since != writes_) return;
  if (answer.size() > kCacheAnswerBytesMax || (request.revision() > 0 && request.revision() < compacted_)) return;
  std::string name = name_of(who, request);
  if (auto old = by_name_.find(name); old != by_name_.end()) erase(old->second);
  entries_.push_front({name, request.key(), request.range_end(), request.revision(), answer});
  bytes_ += entries_.front().cost();
  by_name_.emplace(std::move(name), entries_.begin());
  while (entries_.size() > kCacheEntriesMax || bytes_ > kCacheBytesMax) erase(std::prev(entries_.end()));
}

void RangeCache::invalidate(std::string_view key, std::string_view range_end) {
  ++writes_;
  for (Place at = entries_.begin(); at != entries_.end();) {
    Place entry = at++;
    if (entry->revision <= 0 && ranges_meet(key, range_end, entry->key, entry->range_end)) erase(entry);
  }
}

void RangeCache::compact(int64_t revision) { compacted_ = std::max(compacted_, revision); }

void RangeCache::clear() {
  ++writes_;
  entries_.clear();
  by_name_.clear();
  bytes_ = 0;
}

void RangeCache::erase(Place place) {
  bytes_ -= place->cost();
  by_name_.erase(by_name_.find(place->name));
  entries_.erase(place);
}

}  // namespace fairlead::proxy
