#include "server/node/stages.h"

#include <algorithm>

namespace fairlead::node {

// Numbers rise; a batch that goes a second time, after a refusal, keeps the time of its first.
template <typename T>
void StageMarks::add(std::deque<T>& marks, T mark) {
  if (!marks.empty() && marks.back().upto >= mark.upto) return;
  marks.push_back(mark);
  if (marks.size() > kStageMarksMax) marks.pop_front();
}

template <typename T>
const T* StageMarks::find(const std::deque<T>& marks, uint64_t number) {
  auto it = std::lower_bound(marks.begin(), marks.end(), number, [](const T& m, uint64_t n) { return m.upto < n; });
  // The oldest mark may be of a batch that came later: what went before it is forgotten.
  return it == marks.end() || (it == marks.begin() && marks.size() == kStageMarksMax) ? nullptr : &*it;
}

void StageMarks::proposed(uint64_t last_request, io::Nanos at) { add(proposed_, Mark{last_request, at}); }
void StageMarks::committed(Index last, io::Nanos at) { add(committed_, Mark{last.value, at}); }

// A log that was cut back is written anew: its indexes come a second time.
void StageMarks::written(raft::WriteSeq seq, Index last, io::Nanos at) {
  while (!writes_.empty() && writes_.back().upto >= last.value) writes_.pop_back();
  first_open_ = std::min(first_open_, writes_.size());
  size_t before = writes_.size();
  add(writes_, Write{seq, last.value, at, 0});
  if (writes_.size() == before && first_open_ > 0) --first_open_;  // the oldest one went
}

void StageMarks::durable(raft::WriteSeq upto, io::Nanos at) {
  for (; first_open_ < writes_.size() && writes_[first_open_].seq <= upto; ++first_open_)
    writes_[first_open_].durable = at;
}

Stages StageMarks::of(const Answering& a, io::Nanos now) const {
  Stages s;
  s.asked = a.since;
  auto between = [](io::Nanos from, io::Nanos to) { return from > 0 && to > from ? to - from : 0; };
  if (a.through > 0) {
    s.queue = between(a.since, a.asked);
    s.raft = between(a.asked, a.through);
    s.apply_wait = between(a.through, a.began);
    s.apply = between(a.began, now);
    return s;
  }
  if (a.request == 0) {  // nobody else was asked
    s.apply = between(a.began, now);
    return s;
  }
  const Mark* proposed = find(proposed_, a.request);
  const Mark* committed = find(committed_, a.index.value);
  const Write* write = find(writes_, a.index.value);
  io::Nanos given = proposed ? proposed->at : a.since;
  s.queue = between(a.since, given);
  if (write) s.log_sync = between(write->at, write->durable);
  if (a.index.value == 0) {  // it failed before it was committed
    s.raft = between(given, now);
    return s;
  }
  io::Nanos known = committed ? committed->at : given;
  s.raft = between(given, known);
  s.apply_wait = between(known, a.began);
  s.apply = between(std::max(a.began, known), now);
  return s;
}

}  // namespace fairlead::node
