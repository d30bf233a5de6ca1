// The log as the core sees it: the terms of all entries that can still be read from disk, and the newest entries
// themselves. Below the part in memory entries exist on disk only (Raft asks the shell for them).
//
//   start_index         memory_first            last_index
//       |  on disk only      |  in memory            |
//       +--------------------+-----------------------+
//   start_index is the entry before the first one: its term is known, its data is gone.
//
// Entries live in runs as they were appended, so that a batch costs one allocation however many readers share it.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "server/raft/types.h"

namespace fairlead::raft {

class LogView {
 public:
  LogView(Index start_index, Term start_term) { reset(start_index, start_term); }

  Index start_index() const { return start_index_; }
  Term start_term() const { return start_term_; }
  Index last_index() const { return last_index_; }
  Term last_term() const { return terms_.empty() ? start_term_ : terms_.back().term; }
  Index memory_first() const { return runs_.empty() ? last_index_ + 1 : runs_.front().front().index; }
  size_t memory_bytes() const { return memory_bytes_; }

  // The term of an entry in [start_index, last_index]; nothing outside.
  std::optional<Term> term_at(Index index) const;
  bool matches(Index index, Term term) const { return term_at(index) == term; }
  // The last entry at or below index whose term is at most `term`: where two logs can still agree. start_index - 1 if
  // that is not to be found in this log.
  Index last_with_term_at_most(Index index, Term term) const;

  void append(const Entries& entries);  // consecutive to last_index, terms not falling
  void truncate(Index from);            // drops entries >= from; from > start_index
  void compact(Index index);            // entries <= index can no longer be read: start_index = index
  void reset(Index start_index, Term start_term);
  // Drops runs wholly at or below `upto` from memory while more than bytes_max are held.
  void trim_memory(Index upto, size_t bytes_max);

  // Entries from `from` on, as one run: at most `to`, at most bytes_max (but at least one). Shared where one stored run
  // covers the range, else copied together. from must be in memory and <= to <= last_index.
  Entries slice(Index from, Index to, size_t bytes_max) const;
  // The runs that cover [from, to], in order, without copying, until bytes_max is reached (at least one entry).
  // Returns the bytes.
  size_t runs(Index from, Index to, size_t bytes_max, std::vector<Entries>& out) const;
  size_t bytes_between(Index from, Index to) const;  // of entries in [from, to], which are in memory

 private:
  struct TermRun {
    Term term;
    Index first;
  };
  size_t run_of(Index index) const;  // position in runs_ of the run that holds index

  Index start_index_;
  Term start_term_;
  Index last_index_;
  std::vector<TermRun> terms_;  // of the entries above start_index_
  std::deque<Entries> runs_;
  std::deque<size_t> run_bytes_;
  size_t memory_bytes_ = 0;
};

}  // namespace fairlead::raft
