// Large reads in bounded steps at one pinned revision: a list of a million keys must not hold the loop for a second.
//
//   auto cursor = RangeCursor::open(keyspace, request);     // etcd's error for a bad revision; pins the revision
//   while (!cursor->done()) {
//     RangePage page = cursor->step({}, values);            // one turn's share
//     if (!page.missing.empty()) { fetch page.missing; add to values; continue; }   // same page again
//     append page.kvs ...
//   }
//   result.count = cursor->count(); result.more = cursor->more();
//
// Pages come in key order. For requests with a custom sort or revision filters (needs_whole) the caller collects all
// pages into one RangeResult and calls finish_range(), which filters, sorts and cuts as etcd does.
#pragma once

#include "server/mvcc/keyspace.h"

namespace fairlead::mvcc {

struct RangeBudget {
  size_t keys = 1000;      // keys visited in one step
  size_t bytes = 1 << 20;  // keys and values returned in one step; at least one key is
};

struct RangePage {
  KeyValues kvs;
  std::vector<Position> missing;  // not empty: nothing was consumed, fetch and repeat the step
};

class RangeCursor {
 public:
  static Result<RangeCursor> open(Keyspace& keyspace, const RangeRequest& request);
  RangeCursor(RangeCursor&& o) noexcept;
  RangeCursor& operator=(RangeCursor&& o) noexcept;
  ~RangeCursor();  // unpins; the keyspace must still exist

  RangePage step(const RangeBudget& budget, const ColdRecords& values);
  bool done() const { return done_; }
  bool counting() const { return counting_; }               // no more keys come: what is left is counted
  int64_t revision() const { return header_revision_; }     // for the header: the store's at open()
  int64_t read_revision() const { return read_revision_; }  // what is read; pin storage at this one
  int64_t count() const { return count_; }                  // valid when done
  bool more() const { return more_; }                       // valid when done; without custom sort or filters

 private:
  RangeCursor() = default;
  Keyspace* keyspace_ = nullptr;
  Keyspace::Pin pin_ = 0;
  RangeRequest request_;  // its views point into key_ and end_
  std::string key_;       // where to go on
  std::string end_;
  int64_t header_revision_ = 0;
  int64_t read_revision_ = 0;
  int64_t left_ = -1;  // of the limit; -1: none
  int64_t count_ = 0;
  bool more_ = false;
  bool counting_ = false;  // the limit is reached, or count_only
  bool done_ = false;
};

// Custom sort or revision filters: the limit applies after them.
bool needs_whole(const RangeRequest& request);
// Applies filters, sort, limit and keys_only to `out`, whose kvs hold all keys of the range in key order.
void finish_range(const RangeRequest& request, RangeResult& out);

}  // namespace fairlead::mvcc
