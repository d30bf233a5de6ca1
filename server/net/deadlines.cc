#include "server/net/deadlines.h"

namespace fairlead::net {

Deadlines::~Deadlines() {
  if (timer_) loop_.cancel_timer(timer_);
}

void Deadlines::place(size_t index, DeadlineEntry* entry) {
  heap_[index] = entry;
  entry->heap_index = index;
}

void Deadlines::sift_up(size_t index) {
  DeadlineEntry* entry = heap_[index];
  while (index > 0) {
    size_t parent = (index - 1) / 2;
    if (heap_[parent]->deadline <= entry->deadline) break;
    place(index, heap_[parent]);
    index = parent;
  }
  place(index, entry);
}

void Deadlines::sift_down(size_t index) {
  DeadlineEntry* entry = heap_[index];
  for (;;) {
    size_t child = index * 2 + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && heap_[child + 1]->deadline < heap_[child]->deadline) ++child;
    if (entry->deadline <= heap_[child]->deadline) break;
    place(index, heap_[child]);
    index = child;
  }
  place(index, entry);
}

void Deadlines::add(DeadlineEntry& entry) {
  heap_.push_back(&entry);
  sift_up(heap_.size() - 1);
  arm();
}

void Deadlines::remove(DeadlineEntry& entry) {
  size_t index = entry.heap_index;
  if (index == SIZE_MAX) return;
  entry.heap_index = SIZE_MAX;
  DeadlineEntry* last = heap_.back();
  heap_.pop_back();
  if (last == &entry) return;
  place(index, last);
  sift_up(index);
  sift_down(last->heap_index);
}

void Deadlines::arm() {
  if (heap_.empty()) return;
  io::Nanos earliest = heap_.front()->deadline;
  if (timer_ && armed_for_ <= earliest) return;  // fires early, and looks again then
  if (timer_) loop_.cancel_timer(timer_);
  armed_for_ = earliest;
  timer_ = loop_.add_timer(earliest, [this] { fire(); });
}

void Deadlines::fire() {
  timer_ = 0;
  while (!heap_.empty() && heap_.front()->deadline <= loop_.now()) {
    DeadlineEntry& entry = *heap_.front();
    remove(entry);
    expire_(entry);
  }
  arm();
}

}  // namespace fairlead::net
