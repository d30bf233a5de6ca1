// Which proposals were applied: whatever comes twice into the log is applied once (docs/decisions/0008).
//
// A forwarded proposal may reach the leader twice, and a refusal may be the answer to its second copy while the first
// one was taken; then its proposer sends it again. So the log may hold an entry several times, and apply has to tell.
// Every entry carries its proposer and a request id of it. Ids rise over a proposer's whole life, restarts included
// (the start counter is in the upper bits), but need not arrive in order.
//
// Kept for each proposer: the highest id applied, and below it the ids that did not come yet, as ranges. Bounded: an id
// more than kRequestWindow below the highest, or below the oldest range that is still kept, is too late: it is not
// applied, whether or not it was before. Its proposer, if it still waits, is told.
//
// Replicated state: changed by apply only, part of every manifest and snapshot. Pure. Threads: the loop.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/codec.h"
#include "base/ids.h"
#include "base/status.h"

namespace fairlead::node {

constexpr uint64_t kRequestWindow = 1 << 17;  // more than kProposalsMax: who forwards waits for at most so many
constexpr size_t kRequestGapsMax = 4096;      // of one proposer

class AppliedRequests {
 public:
  // Whether an entry with this id is to be applied. Changes nothing.
  bool fresh(MemberId proposer, uint64_t request) const;
  // It is applied now.
  void note(MemberId proposer, uint64_t request);
  void forget(MemberId proposer) { proposers_.erase(proposer); }  // it was removed
  bool knows(MemberId proposer) const { return proposers_.contains(proposer); }

  void encode(std::string& out) const;
  static Result<AppliedRequests> decode(Reader& in);
  bool operator==(const AppliedRequests&) const = default;

 private:
  struct Gap {  // [first, last]
    uint64_t first = 0;
    uint64_t last = 0;
    bool operator==(const Gap&) const = default;
  };
  struct Proposer {
    uint64_t highest = 0;
    std::vector<Gap> gaps;  // ascending, apart from each other, all below highest
    bool operator==(const Proposer&) const = default;
  };
  static void advance(Proposer& proposer, uint64_t request);
  static void fill(Proposer& proposer, uint64_t request);

  std::map<MemberId, Proposer> proposers_;
};

}  // namespace fairlead::node
