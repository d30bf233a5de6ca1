// One run of the cleaner on its worker: copy in pieces, then the swap. See cleaner.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/storage/segment_writer.h"
#include "server/storage/store_core.h"

namespace fairlead::storage {

// Used by one thread at a time: a worker during copy() and swap(), the loop in between.
class CleanJob {
 public:
  // `list` is the durable one. `id_seed`: workers have no randomness.
  CleanJob(std::shared_ptr<Store::Core> core, Pin list, const std::vector<uint64_t>& segments, uint64_t id_seed);

  // Copies about `bytes` of input; copied() then tells whether all is done. An error is final.
  Status copy(size_t bytes);
  bool copied() const { return at_ == inputs_.size() && !writer_; }
  // Makes the output part of `manifest`, which must be the durable one, and that durable. kAborted: the run is not in
  // it any more. kInternal with "fatal:": the manifest could not be written. Any other error: nothing has changed.
  Status swap(Manifest manifest, const Pin& list);
  // Removes what was written. Blocking.
  void abandon();

  Manifest take_manifest() { return std::move(manifest_); }
  std::shared_ptr<SegmentList> take_list() { return std::move(new_list_); }
  const std::vector<uint64_t>& segments() const { return numbers_; }
  uint64_t bytes_read() const { return bytes_read_; }
  uint64_t bytes_written() const { return bytes_written_; }
  uint64_t bytes_in() const { return bytes_in_; }
  uint64_t records_dropped() const { return records_dropped_; }
  size_t segments_out() const { return outputs_.size(); }
  uint64_t damaged() const { return damaged_; }  // the segment that could not be read; 0: none

 private:
  struct Input {
    SegmentInfo info;
    std::shared_ptr<const SegmentReader> reader;
    DeadList dead;  // of the durable manifest when the copy began: what is left out
    size_t block = 0;
    uint64_t seen = 0;
    bool opened = false;
  };
  Status copy_block(Input& in);
  Status copy_record(Input& in, std::string_view record, Place place);
  Status open_writer();
  Status close_writer();
  Result<std::vector<SegmentInfo>> with_new_deaths(const std::vector<SegmentInfo>& inputs_now);
  Status build(const Pin& list);

  std::shared_ptr<Store::Core> core_;
  Pin list_;
  SegmentKind kind_;
  std::vector<uint64_t> numbers_;
  uint64_t id_seed_;
  std::vector<Input> inputs_;
  size_t at_ = 0;
  std::unique_ptr<SegmentWriter> writer_;
  std::vector<SegmentInfo> outputs_;
  std::vector<std::string> written_;  // paths
  Manifest manifest_;
  std::shared_ptr<SegmentList> new_list_;
  uint64_t bytes_in_ = 0;
  uint64_t bytes_read_ = 0;
  uint64_t bytes_written_ = 0;
  uint64_t records_dropped_ = 0;
  uint64_t damaged_ = 0;
};

}  // namespace fairlead::storage
