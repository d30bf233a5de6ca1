// The calls that have a deadline, earliest first: a binary heap that knows where each entry sits,
// so that the usual case (the call ends long before) costs a removal and no timer. One loop timer
// stands for all; it may fire early.
#pragma once

#include <functional>
#include <vector>

#include "server/io/io.h"

namespace fairlead::net {

struct DeadlineEntry {
  io::Nanos deadline = 0;  // 0 = none
  size_t heap_index = SIZE_MAX;
};

class Deadlines {
 public:
  using Expire = std::function<void(DeadlineEntry&)>;
  Deadlines(io::Loop& loop, Expire expire) : loop_(loop), expire_(std::move(expire)) {}
  ~Deadlines();

  void add(DeadlineEntry& entry);     // its deadline is set; it is not in the heap
  void remove(DeadlineEntry& entry);  // no effect if it is not in the heap
  size_t size() const { return heap_.size(); }

 private:
  void place(size_t index, DeadlineEntry* entry);
  void sift_up(size_t index);
  void sift_down(size_t index);
  void arm();
  void fire();

  io::Loop& loop_;
  Expire expire_;
  std::vector<DeadlineEntry*> heap_;
  io::TimerId timer_ = 0;
  io::Nanos armed_for_ = 0;
};

}  // namespace fairlead::net
