// Reads one record segment. Opening reads header, footer and block table; everything read later is checked against its
// CRC. Damage is kDataLoss naming file and offset.
//
// Threads: const after open; reads may run on several workers at once. All calls block.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "server/io/io.h"
#include "server/mvcc/checkpoint.h"
#include "server/mvcc/record.h"
#include "server/storage/manifest.h"

namespace fairlead::storage {

class SegmentReader {
 public:
  // Refuses a file that is not the one `info` describes (kind, random id, size, counts, interval, hash).
  static Result<std::shared_ptr<const SegmentReader>> open(io::Disk& disk, const std::string& dir,
                                                           const SegmentInfo& info);
  ~SegmentReader();

  const SegmentInfo& info() const;
  size_t block_count() const;
  Place block_first(size_t block) const;
  size_t block_of(Place place) const;  // the block that holds it, if any does
  // The records of a block, one after the other.
  Result<Bytes> read_block(size_t block) const;

  // Key directory, in order of (key, position).
  class DirectoryCursor {
   public:
    virtual ~DirectoryCursor() = default;
    virtual Result<bool> next() = 0;           // false at the end
    virtual std::string_view key() const = 0;  // valid until the next call
    virtual const mvcc::RecordMeta& meta() const = 0;
  };
  std::unique_ptr<DirectoryCursor> directory() const;

  // Every byte: block CRCs, table, directory, hash.
  Status verify() const;

 private:
  struct State;
  explicit SegmentReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Splits a block (or any run of records) without decoding them fully: length and position of the record in front.
struct RecordFrame {
  Place place;
  size_t size = 0;
};
Result<RecordFrame> record_frame(std::string_view in);

}  // namespace fairlead::storage
