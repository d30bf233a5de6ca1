// Answers of range requests, for serializable ones that ask the same again (etcd's grpc-proxy).
//
// Pure. What is kept may be old: only writes through this proxy take an answer of the newest revision out; a
// serializable read allows that. An answer at a given revision stays true until that revision is compacted. An answer
// is kept for the one who asked: `who` (the credentials of the call) is a part of its name. Bounds: kCacheEntriesMax
// answers and kCacheBytesMax in all, the longest unused go first; one above kCacheAnswerBytesMax is not kept.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "proto/rpc.pb.h"

namespace fairlead::proxy {

constexpr size_t kCacheEntriesMax = 2048;  // as etcd
constexpr size_t kCacheBytesMax = 64 << 20;
constexpr size_t kCacheAnswerBytesMax = 4 << 20;

class RangeCache {
 public:
  enum class Found { kNo, kYes, kCompacted };

  // Of a serializable request; a linearizable one is never answered from here.
  Found find(std::string_view who, const etcdserverpb::RangeRequest& request, Bytes* answer);
  // Of any request: its answer is one for the serializable request, too. `since`: writes() when the request was sent;
  // an answer that a write may have overtaken is not kept.
  void add(std::string_view who, const etcdserverpb::RangeRequest& request, const Bytes& answer, uint64_t since);
  uint64_t writes() const { return writes_; }
  // Answers that a write into this range may have changed. Called before the write is sent and when it has ended. Looks
  // at every answer.
  void invalidate(std::string_view key, std::string_view range_end);
  void compact(int64_t revision);
  void clear();
  size_t size() const { return entries_.size(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::string name;
    std::string key, range_end;
    int64_t revision = 0;
    Bytes answer;
    size_t cost() const { return name.size() + key.size() + range_end.size() + answer.size(); }
  };
  using Place = std::list<Entry>::iterator;
  void erase(Place place);

  std::list<Entry> entries_;  // latest used first
  std::map<std::string, Place, std::less<>> by_name_;
  size_t bytes_ = 0;
  uint64_t writes_ = 0;
  int64_t compacted_ = 0;
};

// A write into [key, end) meets a read of [key, end); an empty end is the one key, "\0" is no end.
bool ranges_meet(std::string_view key_a, std::string_view end_a, std::string_view key_b, std::string_view end_b);

}  // namespace fairlead::proxy
