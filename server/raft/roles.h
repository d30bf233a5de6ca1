// What a member knows only while it is in a role: the alternatives of Raft's state, in the order of Role.
#pragma once

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "server/raft/progress.h"
#include "server/raft/types.h"

namespace fairlead::raft {

struct Votes {
  std::vector<MemberId> granted;
  std::vector<MemberId> rejected;
  void record(MemberId from, bool is_granted);
};

struct Follower {
  Index matched;     // the log agrees with this term's leader's up to here
  Index acked;       // last acknowledged
  ReadId read_seen;  // highest barrier seen from this term's leader
  bool ack_due = false;
  bool heartbeat_due = false;
};

struct PreCandidate {
  Votes votes;
};

struct Candidate {
  Votes votes;
  bool transfer = false;
  bool requests_sent = false;  // they wait for the own vote to be durable
};

struct ReadRound {
  ReadId barrier;
  Index index;
  ReadId local;                                        // own reads up to this id; 0 = none
  std::vector<std::pair<MemberId, ReadId>> followers;  // at most one per member
};

struct Leader {
  std::vector<Progress> peers;  // all members but the leader itself, sorted by id
  Index term_start;             // index of the first entry of this term
  size_t uncommitted_bytes = 0;
  uint32_t heartbeat_elapsed = 0;
  bool heartbeat_due = false;
  MemberId transferee;
  uint32_t transfer_elapsed = 0;
  bool timeout_now_sent = false;
  ReadId barrier;                                    // newest one started
  std::deque<ReadRound> rounds;                      // not yet confirmed, oldest first
  std::vector<std::pair<MemberId, ReadId>> waiting;  // followers' reads for the next round
};

}  // namespace fairlead::raft
