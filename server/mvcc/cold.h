// Values that had to be fetched from storage, handed to a call that needs them.
#pragma once

#include <utility>
#include <vector>

#include "server/mvcc/types.h"

namespace fairlead::mvcc {

class ColdRecords {
 public:
  // `record` is one encoded key record as storage read it, checksum included. kDataLoss when it is damaged or is not
  // the record of this position.
  Status add(Position position, Bytes record);
  struct Entry {
    Bytes bytes;
    KeyRecord record;  // views into bytes
  };
  const Entry* find(Position position) const;
  size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  void clear() {
    entries_.clear();
    sorted_ = true;
  }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }

 private:
  // A list brings a thousand at a time: no node for each. Sorted by position when find() needs it.
  mutable std::vector<std::pair<Position, Entry>> entries_;
  mutable bool sorted_ = true;
};

}  // namespace fairlead::mvcc
