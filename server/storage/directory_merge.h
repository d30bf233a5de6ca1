// Key directories of all segments as one sequence in order of (key, position), dead records left out: no value is read.
// Blocking.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/storage/dead_list.h"
#include "server/storage/store_core.h"

namespace fairlead::storage {

class DirectoryMerge {
  struct Source {
    std::unique_ptr<SegmentReader::DirectoryCursor> cursor;
    DeadList dead;
  };
  // Segments are in revision order: the earlier segment has the earlier position of a key.
  auto later() const {
    return [this](size_t a, size_t b) {
      int order = sources_[a].cursor->key().compare(sources_[b].cursor->key());
      return order != 0 ? order > 0 : a > b;
    };
  }

 public:
  Status add(io::Disk& disk, const std::string& dir, const SegmentList::Segment& segment) {
    Source s;
    ASSIGN_OR_RETURN(s.dead, read_dead_list(disk, dir, segment.info.dead));
    s.cursor = segment.reader->directory();
    sources_.push_back(std::move(s));
    return advance(sources_.size() - 1);
  }
  bool at_end() const { return heap_.empty(); }
  std::string_view key() const { return sources_[heap_.front()].cursor->key(); }
  const mvcc::RecordMeta& meta() const { return sources_[heap_.front()].cursor->meta(); }
  Status next() {
    std::pop_heap(heap_.begin(), heap_.end(), later());
    size_t source = heap_.back();
    heap_.pop_back();
    return advance(source);
  }

 private:
  Status advance(size_t i) {
    Source& s = sources_[i];
    for (;;) {
      ASSIGN_OR_RETURN(bool more, s.cursor->next());
      if (!more) return {};
      if (!s.dead.empty() && contains(s.dead, place_of(s.cursor->meta().position))) continue;
      heap_.push_back(i);
      std::push_heap(heap_.begin(), heap_.end(), later());
      return {};
    }
  }
  std::vector<Source> sources_;
  std::vector<size_t> heap_;
};

}  // namespace fairlead::storage
