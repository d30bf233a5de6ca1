// Recovery of the log: the rule of docs/formats/log.md, "Recovery", as one function that only reads (and syncs what it
// read). What it finds is turned into a Log by log.cc.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "server/io/io.h"
#include "server/raft/types.h"
#include "server/storage/log_format.h"

namespace fairlead::storage {

// One segment file in use. Loop thread, except that workers read through `reader`.
struct LogSegment {
  uint64_t number = 0;
  std::string path;
  uint64_t size_bytes = 0;
  uint64_t written_bytes = 0;        // end of the last batch
  std::unique_ptr<io::File> writer;  // null for segments of an earlier start
  std::unique_ptr<io::File> reader;
  uint64_t first_sequence = 0;  // of its first batch; 0 = none yet
  uint64_t live_batches = 0;    // batches that hold entries still needed
  uint64_t free_after = 0;      // once live_batches is 0: the batch that must be durable before it goes
  uint32_t reads_in_flight = 0;
};

// Where entries lie. Sorted by index and by place; a later batch that replaces a suffix shortens earlier ones.
struct BatchRef {
  Index first, last;
  std::shared_ptr<LogSegment> segment;
  uint64_t offset = 0;
  uint64_t body_length = 0;
};

struct LogScan {
  std::vector<std::shared_ptr<LogSegment>> chain;  // segments with batches that count, oldest first
  std::vector<uint64_t> unused;                    // numbers of segments without any
  std::vector<uint64_t> spares;
  uint64_t number_max = 0;  // of all files, spares included
  uint64_t sequence = 0;    // of the last batch that counts; 0 = empty log
  uint32_t crc = 0;         // of its header
  raft::HardState hard_state;
  Index start{1};
  Term term_before_start;
  std::deque<BatchRef> batches;
  std::vector<raft::Entry> entries;  // from start on
  uint64_t batches_cut = 0;
  uint64_t bytes_cut = 0;
  bool found_files = false;
};

// Drops refs so that entries >= `first` can be added; frees the segments they lie in as of batch `sequence`.
void truncate_refs(std::deque<BatchRef>& refs, Index first, uint64_t sequence);
// Drops refs of entries below `start` only.
void release_refs(std::deque<BatchRef>& refs, Index start, uint64_t sequence);

Result<LogScan> scan_log(io::World& world, const std::string& dir, uint64_t log_id);

// The body of a batch, checked. kDataLoss names file and offset.
Result<Bytes> read_batch_body(const io::File& file, const std::string& path, uint64_t offset, uint64_t body_length,
                              uint32_t body_crc);

}  // namespace fairlead::storage
