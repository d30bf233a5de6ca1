// Where the time of a request went. Times are kept per batch, not per request: a batch is proposed, written, committed
// and applied as one, and whoever asks (for a slow request, or a traced one) puts them together. So a request that
// nobody asks about costs nothing.
//
// Bounds: the last kStageMarksMax batches of each kind; of an older one the stage is not known and counts as 0.
// Threads: the loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "base/ids.h"
#include "server/io/io.h"
#include "server/raft/types.h"

namespace fairlead::node {

constexpr size_t kStageMarksMax = 4096;

// In nanoseconds. The stages follow each other from `asked` to the answer, but for log_sync, which is part of `raft`.
struct Stages {
  io::Nanos asked = 0;       // loop time at which the node was given the request
  io::Nanos queue = 0;       // until it was given to Raft
  io::Nanos raft = 0;        // until it was committed; of a read: until its round was through
  io::Nanos log_sync = 0;    // this member's own write and sync of its batch
  io::Nanos apply_wait = 0;  // until its batch began to be applied
  io::Nanos apply = 0;       // until the answer, with the entries before it in the batch; of a read: the lookup
};

// A request whose callback runs now.
struct Answering {
  io::Nanos since = 0;    // the call
  uint64_t request = 0;   // of a proposal
  Index index;            // where it is in the log
  io::Nanos asked = 0;    // of a read: when its round began
  io::Nanos through = 0;  // and when that was through
  io::Nanos began = 0;    // apply, or the lookup
};

class StageMarks {
 public:
  void proposed(uint64_t last_request, io::Nanos at);
  void written(raft::WriteSeq seq, Index last, io::Nanos at);
  void durable(raft::WriteSeq upto, io::Nanos at);
  void committed(Index last, io::Nanos at);

  Stages of(const Answering& answering, io::Nanos now) const;

 private:
  struct Mark {
    uint64_t upto = 0;
    io::Nanos at = 0;
  };
  struct Write {
    raft::WriteSeq seq;
    uint64_t upto = 0;
    io::Nanos at = 0, durable = 0;
  };
  template <typename T>
  static void add(std::deque<T>& marks, T mark);
  template <typename T>
  static const T* find(const std::deque<T>& marks, uint64_t number);

  std::deque<Mark> proposed_, committed_;
  std::deque<Write> writes_;
  size_t first_open_ = 0;  // of writes_: those before it are durable
};

}  // namespace fairlead::node
