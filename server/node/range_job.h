// A large range under way: page by page at a pinned revision, collected (range()) or handed on (open_range()).
#pragma once

#include <functional>
#include <optional>

#include "server/mvcc/range.h"
#include "server/node/node.h"

namespace fairlead::node {

struct Node::RangeJob : RangeCall {
  uint64_t id = 0;
  mvcc::ColdRecords cold;
  mvcc::RangeResult result;
  std::optional<mvcc::RangeCursor> cursor;
  storage::Pin pin;  // with the cursor: its revision stays on disk
  bool over = false;
  Answering answering;                 // of its first lookup
  std::optional<io::Nanos> looked_up;  // how long all lookups took; none: there was none

  // of a stream
  RangeSink* sink = nullptr;
  size_t chunk_keys = 0;  // of the next chunk
  mvcc::KeyValues held;   // the chunk that is ready; it waits to know whether it is the last
  bool waits_for_sink = false;

  mvcc::RangeBudget budget() const {
    if (!sink || cursor->counting()) return {};
    return {chunk_keys, kStreamChunkBytes * 2};
  }
};

}  // namespace fairlead::node
