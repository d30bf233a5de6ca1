// Asks the members of a cluster: who are you, who leads, who else is there. gRPC, the public etcd
// v3 API and fairleadpb.Probe.
//
// Threads: Client may be called from several threads; each call blocks until its answers are there
// or the deadline is over, whichever is first. Nothing here retries: the caller's next round does.
// No call changes anything that a client of the store could see. Errors are values in the answers: an endpoint that
// does not answer says why and since when.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/ids.h"

namespace fairlead::member {

struct Target {
  std::string name;      // the member's pod
  std::string endpoint;  // "10.1.2.3:2379"; empty: it has no address yet, so it is not asked
  std::string key;       // changes with the pod (its UID): silence of an earlier pod is not held against
                         // this one
};

struct Answer {
  std::string name;
  bool asked = false;
  bool answered = false;
  int64_t unknown_since_ms = 0;  // Unix milliseconds; first round without an answer; when !answered
  std::string error;
  ClusterId cluster_id;
  MemberId member_id;
  MemberId leader_id;
  Term term;
  Index applied;
  bool learner = false;
  std::string version;
  int64_t db_size_bytes = 0;
};

struct ListedMember {
  MemberId id;
  std::string name;
  std::vector<std::string> peer_urls;
  bool learner = false;
};

// A linearizable MemberList: when it is answered, a quorum was there.
struct List {
  bool asked = false;
  bool answered = false;
  std::string answered_by;
  std::string error;
  std::vector<ListedMember> members;
};

// A proposal through Raft that changes nothing: when it is answered, the cluster takes writes.
struct WriteProbe {
  bool asked = false;
  bool answered = false;
  std::string answered_by;
  std::string error;
};

struct Round {
  std::vector<Answer> answers;  // in the order of the targets
  List list;
  WriteProbe write;
};

// What the reconciler needs; the tests put a model of a cluster behind it.
class Prober {
 public:
  virtual ~Prober() = default;
  // Asks all targets at once. `scope` names the cluster (its UID) and keys the memory of silences;
  // `now_ms` stamps them.
  virtual Round ask(const std::string& scope, const std::vector<Target>& targets, int64_t now_ms) = 0;
  virtual void forget(const std::string& scope) = 0;  // the cluster is gone
};

inline constexpr int kCallTimeoutMs = 2000;  // each call
inline constexpr int kTargetsMax = 64;       // more than any cluster has

// Remembers since when each target is silent. Bounded by the targets of the last round of each
// scope.
class SilenceLog {
 public:
  void note(const std::string& scope, const std::vector<Target>& targets, std::vector<Answer>& answers, int64_t now_ms);
  void forget(const std::string& scope);

 private:
  std::mutex mutex_;
  // scope -> name + key -> first silence
  std::map<std::string, std::map<std::string, int64_t>> since_;
};

std::unique_ptr<Prober> make_grpc_prober();

}  // namespace fairlead::member
