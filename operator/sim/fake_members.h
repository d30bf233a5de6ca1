// Stands in for the servers in tests: how members behave, given the pods that the API server has. A
// member that starts on a volume writes data there; one that wrote once and starts again without
// data has no memory of its votes, which is what must never happen: it is counted.
#pragma once

#include <map>
#include <set>
#include <string>

#include "operator/member/member.h"
#include "operator/sim/server.h"

namespace fairlead::apisim {

class FakeMembers : public member::Prober {
 public:
  explicit FakeMembers(Server& server) : server_(server) {}

  // Starts what runs by now. Called by the test between the operator's rounds.
  void tick();

  member::Round ask(const std::string& scope, const std::vector<member::Target>& targets, int64_t now_ms) override;
  void forget(const std::string& scope) override { silences_.forget(scope); }

  int amnesiacs() const { return amnesiacs_; }  // started without the data they once had

 private:
  struct Running {
    std::string pod_uid;
    std::string volume_uid;
    std::string token;
  };
  void start(const kube::Json& pod);

  Server& server_;
  member::SilenceLog silences_;
  std::map<std::string, Running> running_;             // by member name
  std::map<std::string, std::set<std::string>> data_;  // member name -> UIDs of volumes with its data
  std::set<std::string> refused_;                      // pods that ended up refusing to start
  int voters_ = 0;
  int amnesiacs_ = 0;
};

}  // namespace fairlead::apisim
