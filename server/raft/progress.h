// What the leader knows of one follower, and how it sends to it.
//
//   probe      where the logs agree is not known: one Append at a time, the next after an answer or a heartbeat's
//   replicate  known: Appends are sent ahead of their acknowledgements, up to the limits in flight
//   snapshot   it needs entries that are gone: nothing is sent until the shell says how the snapshot went
#pragma once

#include <cstdint>
#include <deque>
#include <string_view>

#include "server/raft/types.h"

namespace fairlead::raft {

enum class ProgressState : uint8_t { kProbe, kReplicate, kSnapshot };
std::string_view progress_state_name(ProgressState state);

// Appends that are sent and not acknowledged: bounded in number and in bytes.
class Inflights {
 public:
  void add(Index last, size_t bytes) {
    items_.push_back({last, bytes});
    bytes_ += bytes;
  }
  // Acknowledged up to index.
  void free_to(Index index) {
    while (!items_.empty() && items_.front().last <= index) {
      bytes_ -= items_.front().bytes;
      items_.pop_front();
    }
  }
  void clear() {
    items_.clear();
    bytes_ = 0;
  }
  bool full(size_t messages_max, size_t bytes_max) const {
    return items_.size() >= messages_max || bytes_ >= bytes_max;
  }
  bool empty() const { return items_.empty(); }
  size_t count() const { return items_.size(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Item {
    Index last;
    size_t bytes;
  };
  std::deque<Item> items_;
  size_t bytes_ = 0;
};

struct Progress {
  MemberId id;
  bool learner = false;
  ProgressState state = ProgressState::kProbe;
  Index match;        // durable there
  Index next;         // next entry to send
  Index acked_max;    // highest match of this leadership: survives a loss of the follower's data
  Index commit_sent;  // highest commit index told
  ReadId read_sent;   // highest barrier sent
  ReadId read_acked;  // highest barrier confirmed
  Inflights inflights;
  bool paused = false;  // probe: an Append is on its way
  Index probe_last;     // its last entry, and their bytes: if it is accepted they need not be sent again
  size_t probe_bytes = 0;
  bool reading = false;  // a ReadLogRequest is open
  bool active = true;    // heard from since the last quorum check
  bool lost = false;
  uint32_t quiet_heartbeats = 0;  // since the last answer to an Append

  void become_probe(Index from);
  void become_replicate();  // from match, or from what an accepted probe carried
  void become_snapshot();
};

}  // namespace fairlead::raft
