#include "server/io/sim/scheduler.h"

#include <algorithm>

#include "base/check.h"
#include "base/crc32c.h"

namespace fairlead::io::sim {

void Scheduler::at(Nanos time, Life life, std::string_view label, std::function<void()> run) {
  queue_.push_back({std::max(time, now_), next_sequence_++, std::move(life), label, std::move(run)});
  std::push_heap(queue_.begin(), queue_.end(), Later());
}

bool Scheduler::step(Nanos limit) {
  while (!queue_.empty() && queue_.front().time <= limit) {
    std::pop_heap(queue_.begin(), queue_.end(), Later());
    Event event = std::move(queue_.back());
    queue_.pop_back();
    if (event.life && !event.life->alive) continue;
    CHECK(event.time >= now_, "virtual time runs forward");
    now_ = event.time;
    ++events_run_;
    mix(static_cast<uint64_t>(event.time));
    if (event.life) mix((uint64_t{event.life->host} << 32) | event.life->life);
    mix(event.label);
    event.run();
    return true;
  }
  return false;
}

void Scheduler::run_until(Nanos time) {
  while (step(time)) {
  }
  now_ = std::max(now_, time);
}

void Scheduler::drop(const Life& life) {
  // What the closures own may schedule when it is destroyed: it goes after the queue is whole again.
  auto dead = std::stable_partition(queue_.begin(), queue_.end(), [&](const Event& e) { return e.life != life; });
  std::vector<Event> dropped(std::make_move_iterator(dead), std::make_move_iterator(queue_.end()));
  queue_.erase(dead, queue_.end());
  std::make_heap(queue_.begin(), queue_.end(), Later());
}

void Scheduler::mix(uint64_t value) {
  hash_ = (hash_ ^ value) * 0x9FB21C651E98DF25ull;
  hash_ ^= hash_ >> 29;
}

void Scheduler::mix(std::string_view bytes) { mix((uint64_t{bytes.size()} << 32) | crc32c(bytes)); }

}  // namespace fairlead::io::sim
