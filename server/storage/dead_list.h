// Dead lists: the sorted places of a segment's dead records, kept in dead-N files beside the segments
// (docs/formats/segments.md). Blocking.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "server/io/io.h"
#include "server/storage/manifest.h"

namespace fairlead::storage {

using DeadList = std::vector<Place>;  // sorted, without duplicates

bool contains(const DeadList& list, Place place);
// Sorted union.
DeadList merge(const DeadList& a, const DeadList& b);

Result<DeadList> read_dead_list(io::Disk& disk, const std::string& dir, const DeadRef& ref);

// Collects the lists of one dead-N file, then writes and syncs it.
class DeadFileWriter {
 public:
  explicit DeadFileWriter(uint64_t number);
  DeadRef add(const DeadList& list);
  Result<DeadFileInfo> finish(io::Disk& disk, const std::string& dir);

 private:
  uint64_t number_;
  std::string content_;
};

}  // namespace fairlead::storage
