// Values that had to be fetched from storage, handed to a call that needs them.
#pragma once

#include <map>

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
  void clear() { entries_.clear(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }

 private:
  std::map<Position, Entry> entries_;
};

}  // namespace fairlead::mvcc
