// Side state: replicated state without revisions, one record per (kind, id): leases (written by the keyspace), members,
// alarms and settings (written by node). Kept small: the whole table is in memory.
//
// Bookkeeping for checkpoints: what changes is encoded at once, into a list that the next checkpoint takes as it is, so
// that freezing costs the loop the same for ten leases and for a million. An entry that was frozen into a checkpoint
// and then changed or erased leaves a dead position behind, which the next checkpoint lists.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "server/mvcc/checkpoint.h"
#include "server/mvcc/record.h"

namespace fairlead::mvcc {

class SideTable {
 public:
  // `position`: the Raft entry that writes it and a number within that entry; behind all that was frozen.
  void set(SideKind kind, std::string_view id, std::string_view payload, SidePosition position);
  bool erase(SideKind kind, std::string_view id);
  const std::string* find(SideKind kind, std::string_view id) const;
  // In id order.
  void for_each(SideKind kind, const std::function<void(std::string_view id, std::string_view payload)>& f) const;
  size_t size() const { return entries_.size(); }

  void load(const SideRecord& record);
  // Moves out what changed and what died since the last freeze; the table counts as frozen from here on.
  void freeze(FrozenTail& out);
  size_t changed_bytes() const { return changed_bytes_; }  // what the next freeze will write
  uint64_t hash() const;  // of kinds, ids and payloads; not of kKeyspace, which is written by checkpoints

 private:
  struct Entry {
    std::string payload;
    SidePosition position;
  };
  using Key = std::pair<SideKind, std::string>;
  struct Less {
    using is_transparent = void;
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      if (a.first != b.first) return a.first < b.first;
      return std::string_view(a.second) < std::string_view(b.second);
    }
  };
  std::map<Key, Entry, Less> entries_;
  // The record at this place counts no more.
  void retire(SidePosition position);

  std::deque<FrozenTail::Side> changed_;  // by position; retired ones are empty, and fewer than the others
  size_t retired_ = 0;                    // in changed_
  size_t changed_bytes_ = 0;
  std::optional<SidePosition> frozen_to_;  // what lies here or before is in a checkpoint
  std::vector<SidePosition> dead_;
};

}  // namespace fairlead::mvcc
