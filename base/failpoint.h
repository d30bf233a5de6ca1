// Failpoints: named places where a test build of the server can be told from outside to die, to sleep or to go another
// way. The names are those of etcd's (gofail), so that tools made for etcd find what they know.
//
// They exist only in a build with -DFAIRLEAD_FAILPOINTS=ON (preset "failpoints"), never in a release: in every other
// build these macros leave neither code nor a name behind.
//
//   FAILPOINT(raftBeforeSave);                                   may end the process, or sleep
//   if (FAILPOINT_FIRED(raftDropHeartbeat)) return;              return() was asked for
//   RETURN_IF_ERROR(FAILPOINT_STATUS(defragdbFail));             return("why") was asked for
//
// Threads: any. A name that is not in the table does not compile.
#pragma once

#ifdef FAIRLEAD_FAILPOINTS

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fairlead {

inline constexpr std::string_view kFailpoints[] = {
    "afterCommit",
    "afterIsMemberExist",
    "applyAfterOpenSnapshot",
    "applyBeforeOpenSnapshot",
    "beforeApplyOneConfChange",
    "beforeApplyOneEntryNormal",
    "beforeCheckpointInLeaseRenew",
    "beforeCommit",
    "beforeLookupWhenForwardLeaseTimeToLive",
    "beforeLookupWhenLeaseTimeToLive",
    "beforePublishing",
    "beforeRangeStreamChunk",
    "beforeSendWatchResponse",
    "beforeServeHTTPLeaseRenew",
    "commitAfterPreCommitHook",
    "commitBeforePreCommitHook",
    "compactAfterCommitBatch",
    "compactAfterCommitScheduledCompact",
    "compactAfterSetFinishedCompact",
    "compactBeforeCommitBatch",
    "compactBeforeCommitScheduledCompact",
    "compactBeforeSetFinishedCompact",
    "defragBeforeCopy",
    "defragBeforeRename",
    "defragOpenFileError",
    "defragdbFail",
    "raftAfterApplySnap",
    "raftAfterSave",
    "raftAfterSaveSnap",
    "raftAfterWALRelease",
    "raftBeforeAdvance",
    "raftBeforeApplySnap",
    "raftBeforeFollowerSend",
    "raftBeforeLeaderSend",
    "raftBeforeSave",
    "raftBeforeSaveSnap",
    "raftBeforeWALSaveSnaphot",
    "raftDropHeartbeat",
    "walAfterSync",
    "walBeforeSync",
};

void a_failpoint_that_is_not_in_the_table();

consteval size_t failpoint_index(std::string_view name) {
  for (size_t i = 0; i < std::size(kFailpoints); ++i)
    if (kFailpoints[i] == name) return i;
  a_failpoint_that_is_not_in_the_table();
  return 0;
}

// What a place does with a value that return(...) gives it.
enum class FailpointKind : unsigned char { kFlag, kText };

// Set once, before anything runs; without it no failpoint does anything. Returns a value where the terms say so and it
// is of the kind of the place: for kFlag an empty one.
using FailpointHook = std::optional<std::string> (*)(size_t index, FailpointKind kind);
inline FailpointHook failpoint_hook = nullptr;

inline bool failpoint_fired(size_t index) {
  return failpoint_hook && failpoint_hook(index, FailpointKind::kFlag).has_value();
}
inline Status failpoint_status(size_t index) {
  if (!failpoint_hook) return {};
  std::optional<std::string> text = failpoint_hook(index, FailpointKind::kText);
  return text ? internal_error(*text) : Status();
}

}  // namespace fairlead

#define FAILPOINT(name) static_cast<void>(::fairlead::failpoint_fired(::fairlead::failpoint_index(#name)))
#define FAILPOINT_FIRED(name) ::fairlead::failpoint_fired(::fairlead::failpoint_index(#name))
#define FAILPOINT_STATUS(name) ::fairlead::failpoint_status(::fairlead::failpoint_index(#name))

#else

#define FAILPOINT(name) static_cast<void>(0)
#define FAILPOINT_FIRED(name) false
#define FAILPOINT_STATUS(name) ::fairlead::Status()

#endif
