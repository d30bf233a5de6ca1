#include "server/raft/log.h"

#include <algorithm>

#include "base/check.h"

namespace fairlead::raft {

void LogView::reset(Index start_index, Term start_term) {
  start_index_ = start_index;
  start_term_ = start_term;
  last_index_ = start_index;
  terms_.clear();
  runs_.clear();
  run_bytes_.clear();
  memory_bytes_ = 0;
}

std::optional<Term> LogView::term_at(Index index) const {
  if (index < start_index_ || index > last_index_) return std::nullopt;
  if (index == start_index_) return start_term_;
  if (index >= terms_.back().first) return terms_.back().term;  // nearly every question
  auto above =
      std::upper_bound(terms_.begin(), terms_.end(), index, [](Index i, const TermRun& run) { return i < run.first; });
  return std::prev(above)->term;
}

Index LogView::last_with_term_at_most(Index index, Term term) const {
  if (index > last_index_) index = last_index_;
  for (auto run = terms_.rbegin(); run != terms_.rend(); ++run) {
    if (run->first > index) continue;
    if (run->term <= term) return index;
    index = run->first - 1;
  }
  if (start_term_ <= term || start_index_ == Index()) return std::min(index, start_index_);
  return start_index_ - 1;  // below what is known here
}

void LogView::append(const Entries& entries) {
  if (entries.empty()) return;
  CHECK(entries.front().index == last_index_ + 1, "the log has no holes");
  CHECK(entries.front().term >= last_term(), "terms never fall along the log");
  if (entries.front().term == entries.back().term) {
    if (entries.front().term != last_term() || terms_.empty()) {
      terms_.push_back({entries.front().term, entries.front().index});
    }
  } else {
    for (const Entry& e : entries) {
      CHECK(e.term >= last_term(), "terms never fall along the log");
      if (e.term != last_term() || terms_.empty()) terms_.push_back({e.term, e.index});
    }
  }
  last_index_ = entries.back().index;
  size_t bytes = entries.size_bytes();
  runs_.push_back(entries);
  run_bytes_.push_back(bytes);
  memory_bytes_ += bytes;
}

void LogView::truncate(Index from) {
  CHECK(from > start_index_ && from <= last_index_, "truncation within the log");
  while (!runs_.empty() && runs_.back().back().index >= from) {
    Entries run = std::move(runs_.back());
    memory_bytes_ -= run_bytes_.back();
    runs_.pop_back();
    run_bytes_.pop_back();
    if (run.front().index >= from) continue;
    Entries kept = run.slice(0, from - run.front().index);
    run_bytes_.push_back(kept.size_bytes());
    memory_bytes_ += run_bytes_.back();
    runs_.push_back(std::move(kept));
  }
  while (!terms_.empty() && terms_.back().first >= from) terms_.pop_back();
  last_index_ = from - 1;
}

void LogView::compact(Index index) {
  if (index <= start_index_) return;
  CHECK(index <= last_index_, "only what exists can be compacted");
  start_term_ = *term_at(index);
  start_index_ = index;
  while (!runs_.empty() && runs_.front().back().index <= index) {
    memory_bytes_ -= run_bytes_.front();
    runs_.pop_front();
    run_bytes_.pop_front();
  }
  if (!runs_.empty() && runs_.front().front().index <= index) {
    Entries& run = runs_.front();
    size_t gone = index - run.front().index + 1;
    run = run.slice(gone, run.size() - gone);
    memory_bytes_ -= run_bytes_.front();
    run_bytes_.front() = run.size_bytes();
    memory_bytes_ += run_bytes_.front();
  }
  while (terms_.size() > 1 && terms_[1].first <= index + 1) terms_.erase(terms_.begin());
  if (index == last_index_) terms_.clear();
  if (!terms_.empty() && terms_.front().first <= index) terms_.front().first = index + 1;
}

void LogView::trim_memory(Index upto, size_t bytes_max) {
  while (memory_bytes_ > bytes_max && !runs_.empty() && runs_.front().back().index <= upto) {
    memory_bytes_ -= run_bytes_.front();
    runs_.pop_front();
    run_bytes_.pop_front();
  }
}

size_t LogView::run_of(Index index) const {
  if (index >= runs_.back().front().index) return runs_.size() - 1;
  auto above = std::upper_bound(runs_.begin(), runs_.end(), index,
                                [](Index i, const Entries& run) { return i < run.front().index; });
  return static_cast<size_t>(above - runs_.begin()) - 1;
}

namespace {

// How many entries of run (from offset, at most count) fit into bytes_max; adds their size to bytes.
size_t fitting(const Entries& run, size_t offset, size_t count, size_t bytes_max, size_t& bytes) {
  size_t n = 0;
  for (; n < count; ++n) {
    size_t size = run[offset + n].size_bytes();
    if (bytes + size > bytes_max && bytes > 0) break;
    bytes += size;
  }
  return n;
}

}  // namespace

size_t LogView::runs(Index from, Index to, size_t bytes_max, std::vector<Entries>& out) const {
  CHECK(from >= memory_first() && from <= to && to <= last_index_, "entries asked for must be in memory");
  size_t bytes = 0;
  for (size_t r = run_of(from); r < runs_.size() && from <= to; ++r) {
    const Entries& run = runs_[r];
    size_t offset = from - run.front().index;
    size_t count = std::min(to, run.back().index) - from + 1;
    size_t n = count;
    if (count == run.size() && bytes + run_bytes_[r] <= bytes_max) {
      bytes += run_bytes_[r];
    } else {
      n = fitting(run, offset, count, bytes_max, bytes);
    }
    if (n > 0) out.push_back(run.slice(offset, n));
    if (n < count) break;
    from = from + n;
  }
  return bytes;
}

Entries LogView::slice(Index from, Index to, size_t bytes_max) const {
  std::vector<Entries> parts;
  runs(from, to, bytes_max, parts);
  if (parts.size() == 1) return std::move(parts.front());
  std::vector<Entry> copied;
  size_t total = 0;
  for (const Entries& part : parts) total += part.size();
  copied.reserve(total);
  for (const Entries& part : parts) copied.insert(copied.end(), part.begin(), part.end());
  return Entries(std::move(copied));
}

size_t LogView::bytes_between(Index from, Index to) const {
  if (from > to) return 0;
  CHECK(from >= memory_first() && to <= last_index_, "entries asked for must be in memory");
  size_t bytes = 0;
  for (size_t r = run_of(from); r < runs_.size() && from <= to; ++r) {
    const Entries& run = runs_[r];
    size_t offset = from - run.front().index;
    size_t count = std::min(to, run.back().index) - from + 1;
    if (count == run.size()) {
      bytes += run_bytes_[r];
    } else {
      for (size_t i = 0; i < count; ++i) bytes += run[offset + i].size_bytes();
    }
    from = from + count;
  }
  return bytes;
}

}  // namespace fairlead::raft
