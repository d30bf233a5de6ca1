// One queue of events in virtual time, for all hosts and clients of a simulation. Ties are broken by order of
// scheduling, so the run is a function of the seed alone.
//
// Every event belongs to an *incarnation*: one life of a process. When it dies, its events are dropped unrun; that is
// all that a crash is to the queue. Each event that runs is mixed into trace_hash(), with its time, owner and a label
// known at compile time: two runs of one seed must agree on it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "server/io/io.h"

namespace fairlead::io::sim {

// One life of a host's process. The host's number and a count of lives, for the trace.
struct Incarnation {
  uint32_t host = 0;
  uint32_t life = 0;
  bool alive = true;
};
using Life = std::shared_ptr<Incarnation>;

class Scheduler {
 public:
  Nanos now() const { return now_; }
  // `life` may be null: the event belongs to the world and always runs. A time in the past means now.
  void at(Nanos time, Life life, std::string_view label, std::function<void()> run);
  void after(Nanos delay, Life life, std::string_view label, std::function<void()> run) {
    at(now_ + delay, std::move(life), label, std::move(run));
  }
  bool step(Nanos limit = INT64_MAX);  // runs one event, not later than the limit; false if there is none
  void drop(const Life& life);         // destroys the events of a life that is over, instead of when they are due
  void run_until(Nanos time);          // runs all events up to and including that time; then now() == time
  void mix(uint64_t value);            // facts worth comparing between two runs: bytes sent, bytes written
  void mix(std::string_view bytes);
  uint64_t trace_hash() const { return hash_; }
  uint64_t events_run() const { return events_run_; }
  size_t events_waiting() const { return queue_.size(); }

 private:
  struct Event {
    Nanos time;
    uint64_t sequence;
    Life life;
    std::string_view label;
    std::function<void()> run;
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return a.time != b.time ? a.time > b.time : a.sequence > b.sequence;
    }
  };
  Nanos now_ = 0;
  uint64_t next_sequence_ = 1;
  uint64_t hash_ = 0x9E3779B97F4A7C15ull;
  uint64_t events_run_ = 0;
  std::vector<Event> queue_;  // a heap, earliest first
};

}  // namespace fairlead::io::sim
