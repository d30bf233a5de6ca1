// One round for one cluster: observe, plan, carry out at most one action, write the status, say
// what happened.
//
// Threads: reconcile() from several threads, never two at once for the same key (the work queue
// sees to that). Memory: a few words per cluster that exists; forgotten when it is gone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "base/status.h"
#include "operator/crd/types.h"
#include "operator/kube/api.h"
#include "operator/kube/events.h"
#include "operator/main/observe.h"
#include "operator/member/member.h"
#include "operator/plan/decision.h"

namespace fairlead::ops {

inline constexpr int kSuffixesPerRound = 16;
inline constexpr int64_t kUnsettledPeriodMs = 1000;      // look again while something is under way
inline constexpr int64_t kSettledPeriodMs = 5000;        // and while all is well: a lost quorum is seen within 10 s
inline constexpr int64_t kSizeRefreshPeriodMs = 30'000;  // a status that differs only in sizes is written this often

struct Outcome {
  Status status;            // an error: retry with backoff
  int64_t again_in_ms = 0;  // look again after this long; 0: at once; -1: not at all (the cluster is gone)
  bool acted = false;
  std::string action;  // name of the action taken or tried; empty: none
};

// What the metrics need to know about a cluster.
struct ClusterFacts {
  std::map<std::string, std::string> conditions;  // type -> True, False, Unknown
  int members = 0;
  int members_healthy = 0;
};

class Reconciler {
 public:
  struct Options {
    std::function<int64_t()> now_ms;             // wall clock
    std::function<std::string()> random_suffix;  // five characters of a DNS label
  };
  Reconciler(kube::Api& api, member::Prober& prober, kube::EventRecorder& events, Options options);

  Outcome reconcile(const kube::ObjectKey& key);

  std::map<kube::ObjectKey, ClusterFacts> facts() const;

 private:
  struct Memory {
    std::string cluster_uid;
    // Kind, object and UID: the same twice in a row means that it does not help.
    std::string last_action;
    int64_t size_written_ms = 0;
    std::map<std::string, int64_t> member_size_written_ms;
    ClusterFacts facts;
  };

  Outcome round(const kube::ObjectKey& key, Memory* memory);
  Outcome act(const View& view, const plan::Decision& decision, Memory* memory, kube::Json* cluster,
              crd::ClusterStatus* status);
  Status report(const View& view, const kube::Json& cluster, const crd::ClusterStatus& status,
                const plan::Decision& decision, Memory* memory);
  Status report_members(const View& view, const plan::Decision& decision, Memory* memory);
  void tell_transitions(const kube::Json& cluster, const crd::ClusterStatus& before, const crd::ClusterStatus& after);

  kube::Api& api_;
  member::Prober& prober_;
  kube::EventRecorder& events_;
  const Options options_;
  mutable std::mutex mutex_;
  std::map<kube::ObjectKey, Memory> memory_;  // guarded by mutex_; a round works on a copy
};

}  // namespace fairlead::ops
