// The judge: reads a whole history and says what in it cannot be.
//
// The witness of order is the revision: every write that took effect has one, every answer names the store's revision
// at its moment. So there is no search. The revisions that watchers inside the members saw are the order; they are
// replayed through a small model, and then:
//   - revisions have no gaps, and every one is explained by exactly one operation, or by a lease that ended;
//   - an acknowledged operation stands at the revision it was told, with the effect and the answer that the model gives
//     (so no acknowledged write is lost, none is applied twice, and a failed one has no effect);
//   - an operation of unknown outcome took effect once or never;
//   - an answer agrees with the store as it was at the answer's revision (serializable reads too);
//   - real time: what ended before something else began stands before it (linearizable operations);
//   - every watcher saw each event of its range exactly once, in order, with the right previous value;
//   - a lease never ended before its time, and nothing renewed one that was gone;
//   - what members show at the end is what the history says.
// Returns the first thing found wrong, in words; empty = nothing.
#pragma once

#include <string>

#include "server/sim/history.h"

namespace fairlead::sim {

std::string check_history(const History& history);

}  // namespace fairlead::sim
