#include "server/raft/progress.h"

namespace fairlead::raft {

std::string_view progress_state_name(ProgressState state) {
  switch (state) {
    case ProgressState::kProbe:
      return "probe";
    case ProgressState::kReplicate:
      return "replicate";
    case ProgressState::kSnapshot:
      return "snapshot";
  }
  return "?";
}

void Progress::become_probe(Index from) {
  state = ProgressState::kProbe;
  next = from;
  paused = false;
  probe_last = Index();
  reading = false;
  inflights.clear();
}

void Progress::become_replicate() {
  bool carried = state == ProgressState::kProbe && probe_last > match;
  state = ProgressState::kReplicate;
  next = match + 1;
  paused = false;
  reading = false;
  quiet_heartbeats = 0;
  inflights.clear();
  if (carried) {
    next = probe_last + 1;
    inflights.add(probe_last, probe_bytes);
  }
}

void Progress::become_snapshot() {
  state = ProgressState::kSnapshot;
  paused = false;
  reading = false;
  inflights.clear();
}

}  // namespace fairlead::raft
