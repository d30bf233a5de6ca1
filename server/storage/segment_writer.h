// Writes one record segment (docs/formats/segments.md): header, blocks of whole records in position order, block table,
// key directory (keys only), footer. Blocking: for workers. A file that was not finished is worthless: the caller
// removes it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "server/io/io.h"
#include "server/mvcc/record.h"
#include "server/storage/manifest.h"

namespace fairlead::storage {

struct SegmentWriterArgs {
  std::string dir;
  SegmentKind kind = SegmentKind::kKeys;
  uint64_t number = 0;
  uint64_t random_id = 0;
  size_t block_bytes = 16 << 10;
};

class SegmentWriter {
 public:
  // The file must not exist.
  static Result<std::unique_ptr<SegmentWriter>> create(io::Disk& disk, const SegmentWriterArgs& args);
  ~SegmentWriter();

  // `record` is one encoded record; positions rise. The bytes are checked (CRC) on the way.
  Status add(std::string_view record);
  uint64_t bytes() const;  // written so far, open block included
  uint64_t records() const;
  // Table, directory, footer, sync. The name is durable after the caller's directory sync.
  Result<SegmentInfo> finish();

 private:
  struct State;
  explicit SegmentWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace fairlead::storage
