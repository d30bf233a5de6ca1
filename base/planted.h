// Planted bugs: switches that each break one rule of the store, so that the simulator can show that it would notice.
// They exist only in a build with -DFAIRLEAD_PLANTED=ON (preset "planted"), never in a release; there one of them is
// chosen by name at run time. In every other build PLANTED(x) is the constant false and leaves no code behind.
//
//   if (PLANTED(kStaleRead)) return serve_at_once();
#pragma once

#include <cstdint>
#include <iterator>
#include <string_view>

namespace fairlead {

enum class PlantedBug : uint8_t {
  kNone,
  kAnswerBeforeDurable,    // an own append counts as durable when it is submitted
  kVoteNotPersisted,       // term and vote are not written to the log
  kStaleRead,              // a linearizable read is served without a barrier
  kAmnesiacVoter,          // a member whose data directory was lost is let in again
  kWatchGap,               // a watcher that catches up loses what lies at the seam to the live events
  kServeDamaged,           // what is read from a segment is served without a look at its checksums
  kWatchJump,              // watchers jump over what an installed snapshot brought
  kApplyTwice,             // a member that was restarted applies the entry behind a checkpoint twice
  kCleanerDropsTombstone,  // the cleaner leaves tombstones out that no dead list names
  kCleanerTakesLive,       // the cleaner leaves out a record that no dead list names
  kRightsIgnored,          // a command in a user's name is applied without being judged
  kRepeatedProposal,       // a proposal that is in the log twice is applied twice
  kLeaseRestKept,          // a renewal leaves the checkpointed rest of its lease in force
  kRemovedCounts,          // a member that was removed stays, and is let in
};

struct PlantedName {
  PlantedBug bug;
  std::string_view name;
};
constexpr PlantedName kPlantedNames[] = {
    {PlantedBug::kAnswerBeforeDurable, "answer_before_durable"},
    {PlantedBug::kVoteNotPersisted, "vote_not_persisted"},
    {PlantedBug::kStaleRead, "stale_read"},
    {PlantedBug::kAmnesiacVoter, "amnesiac_voter"},
    {PlantedBug::kWatchGap, "watch_gap"},
    {PlantedBug::kServeDamaged, "serve_damaged"},
    {PlantedBug::kWatchJump, "watch_jump"},
    {PlantedBug::kApplyTwice, "apply_twice"},
    {PlantedBug::kCleanerDropsTombstone, "cleaner_drops_tombstone"},
    {PlantedBug::kCleanerTakesLive, "cleaner_takes_live"},
    {PlantedBug::kRightsIgnored, "rights_ignored"},
    {PlantedBug::kRepeatedProposal, "repeated_proposal"},
    {PlantedBug::kLeaseRestKept, "lease_rest_kept"},
    {PlantedBug::kRemovedCounts, "removed_counts"},
};

#ifdef FAIRLEAD_PLANTED
inline PlantedBug planted_bug = PlantedBug::kNone;  // set once, before anything runs
#define PLANTED(bug) (::fairlead::planted_bug == ::fairlead::PlantedBug::bug)
#else
#define PLANTED(bug) false
#endif

}  // namespace fairlead
