#include "operator/sim/fake_members.h"

#include <algorithm>

#include "base/crc32c.h"

namespace fairlead::apisim {
namespace {

std::string argument(const Json& pod, const std::string& name) {
  for (const Json& a : kube::at(kube::at(pod, {"spec", "containers"}).front(), {"args"})) {
    const std::string text = a.get<std::string>();
    if (text.rfind("--" + name + "=", 0) == 0) return text.substr(name.size() + 3);
  }
  return "";
}

MemberId id_of(const std::string& token, const std::string& name) { return MemberId(crc32c(token + "/" + name) | 1); }

}  // namespace

void FakeMembers::tick() {
  std::set<std::string> alive;
  for (const auto& pod : server_.all(kube::gvr::kPods)) {
    if (kube::string_at(*pod, {"status", "phase"}) != "Running" || kube::is_terminating(*pod)) continue;
    if (argument(*pod, "initial-cluster").empty()) continue;  // not one of ours
    alive.insert(kube::uid_of(*pod));
    const auto it = running_.find(kube::name_of(*pod));
    if (it == running_.end() || it->second.pod_uid != kube::uid_of(*pod)) start(*pod);
  }
  std::erase_if(running_, [&](const auto& r) { return alive.count(r.second.pod_uid) == 0; });
}

void FakeMembers::start(const Json& pod) {
  const std::string name = kube::name_of(pod), uid = kube::uid_of(pod);
  if (refused_.count(uid) != 0) return;
  const auto claim = server_.find(kube::gvr::kPersistentVolumeClaims, {kube::namespace_of(pod), "data-" + name});
  if (claim == nullptr) return;
  const std::string volume = kube::uid_of(*claim);
  std::set<std::string>& data = data_[name];
  if (data.count(volume) == 0) {
    // Empty: "existing" asks the peers, which know nothing of it or know it as started; both
    // refuse.
    if (argument(pod, "initial-cluster-state") != "new") {
      refused_.insert(uid);
      return;
    }
    if (!data.empty()) ++amnesiacs_;
    data.insert(volume);
  }
  const std::string all = argument(pod, "initial-cluster");
  voters_ = static_cast<int>(std::count(all.begin(), all.end(), ',')) + 1;
  running_[name] = {uid, volume, argument(pod, "initial-cluster-token")};
}

member::Round FakeMembers::ask(const std::string& scope, const std::vector<member::Target>& targets, int64_t now_ms) {
  member::Round round;
  const bool quorum = voters_ > 0 && static_cast<int>(running_.size()) >= voters_ / 2 + 1;
  for (const member::Target& t : targets) {
    member::Answer a;
    a.name = t.name;
    a.asked = !t.endpoint.empty();
    const auto it = running_.find(t.name);
    if (a.asked && it != running_.end() && it->second.pod_uid == t.key) {
      a.answered = true;
      a.cluster_id = ClusterId(crc32c(it->second.token));
      a.member_id = id_of(it->second.token, t.name);
      if (quorum) a.leader_id = id_of(running_.begin()->second.token, running_.begin()->first);
      a.version = "3.7.1";
      a.db_size_bytes = 20480;
      round.list.answered = quorum;
      round.list.answered_by = t.name;
      round.write = {true, quorum, t.name, ""};
    } else {
      a.error = "refused";
    }
    round.list.asked |= a.asked;
    round.write.asked |= a.asked;
    round.answers.push_back(std::move(a));
  }
  if (round.list.answered) {
    for (const auto& [name, volumes] : data_) {
      round.list.members.push_back({id_of(running_.begin()->second.token, name), name, {}, false});
    }
    // Members that never started are listed too, without a name.
    while (static_cast<int>(round.list.members.size()) < voters_) round.list.members.push_back({});
  } else {
    round.list.error = round.write.error = "no leader";
  }
  silences_.note(scope, targets, round.answers, now_ms);
  return round;
}

}  // namespace fairlead::apisim
