// What scheduler, volume binder, kubelet and the small controllers of a cluster do to objects, one step at a time, for
// tests. Each function does one pass over the state and says how many objects it changed; settle() repeats until
// nothing changes. No container runs: a pod is Ready because a test says that pods become Ready.
//
// Rules: a claim is bound when a pod uses it (or at once); a pod is bound to a node when its claims are bound; it is
// Running and Ready one step later unless the test holds it back; a terminating pod is removed when its grace period
// has passed on the server's clock; the claim's in-use finalizer goes when no pod uses it.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "operator/sim/server.h"

namespace fairlead::apisim {

struct KubeletOptions {
  std::vector<std::string> nodes = {"node-1", "node-2", "node-3"};
  bool bind_claims = true;
  bool remove_terminating = true;  // false: terminating pods stay until finish_termination()
};

class Kubelet {
 public:
  explicit Kubelet(Server& server, KubeletOptions options = {});

  size_t step();                      // one pass of everything below, and garbage collection
  size_t settle(int steps_max = 50);  // steps until one changes nothing; the number of steps
  // The same with the clock advanced to let grace periods pass.
  size_t settle_with_time(int64_t ms, int steps_max = 50);

  // Pods for which this says false do not become Ready. Default: all do.
  void set_ready_policy(std::function<bool(const Json& pod)> ready);
  // On request: what goes wrong with pods and nodes.
  Status fail_pod(const ObjectKey& pod, const std::string& reason = "Error");  // phase Failed, stays
  Status crash_container(const ObjectKey& pod);  // restartCount+1, not ready until the next step
  Status set_unready(const ObjectKey& pod);      // Ready=False until the next step finds it ready again
  Status kill_pod(const ObjectKey& pod);         // the object vanishes at once (force delete)
  Status finish_termination(const ObjectKey& pod);
  Status lose_claim(const ObjectKey& claim);  // its volume is gone: phase Lost
  // The claim vanishes with its data, finalizers or not.
  Status destroy_claim(const ObjectKey& claim);
  void stop_node(const std::string& node);  // its pods stay as they are, terminating ones are not removed
  void start_node(const std::string& node);

 private:
  size_t bind_claims();
  size_t schedule_pods();
  size_t run_pods();
  size_t remove_terminated();
  size_t release_claims();
  bool claims_bound(const Json& pod) const;
  Status set_pod_status(const ObjectKey& key, const Json& status_patch);
  Status patch(const Gvr& gvr, const ObjectKey& key, Json patch, const std::string& subresource);

  Server& server_;
  const KubeletOptions options_;
  std::function<bool(const Json&)> ready_;
  std::set<std::string> stopped_nodes_;
  size_t next_node_ = 0;
  uint64_t next_volume_ = 1;
  uint64_t next_pod_ip_ = 1;
};

}  // namespace fairlead::apisim
