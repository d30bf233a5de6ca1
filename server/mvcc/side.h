// Side state: replicated state without revisions, one record per (kind, id): leases (written by the keyspace), members,
// alarms and settings (written by node). Kept small: the whole table is in memory.
//
// Bookkeeping for checkpoints: an entry that was frozen into a checkpoint and then changed or erased leaves a dead
// position behind, which the next checkpoint lists.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "server/mvcc/checkpoint.h"
#include "server/mvcc/record.h"

namespace fairlead::mvcc {

class SideTable {
 public:
  // `position`: the Raft entry that writes it and a number within that entry; rises from call to call.
  void set(SideKind kind, std::string_view id, std::string_view payload, SidePosition position);
  bool erase(SideKind kind, std::string_view id);
  const std::string* find(SideKind kind, std::string_view id) const;
  // In id order.
  void for_each(SideKind kind, const std::function<void(std::string_view id, std::string_view payload)>& f) const;
  size_t size() const { return entries_.size(); }

  void load(const SideRecord& record);
  // Appends what changed since the last freeze and what died since; the table counts as frozen from here on.
  void freeze(FrozenTail& out);
  size_t changed_bytes() const { return changed_bytes_; }  // about what the next freeze will write
  uint64_t hash() const;  // of kinds, ids and payloads; not of kKeyspace, which is written by checkpoints

 private:
  struct Entry {
    std::string payload;
    SidePosition position;
    std::optional<SidePosition> frozen;  // where the last checkpoint has it
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
  std::set<Key, Less> changed_;
  std::vector<SidePosition> dead_;
  size_t changed_bytes_ = 0;
};

}  // namespace fairlead::mvcc
