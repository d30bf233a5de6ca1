#include "operator/member/member.h"

namespace fairlead::member {

void SilenceLog::note(const std::string& scope, const std::vector<Target>& targets, std::vector<Answer>& answers,
                      int64_t now_ms) {
  std::lock_guard lock(mutex_);
  const std::map<std::string, int64_t> before = std::move(since_[scope]);
  std::map<std::string, int64_t> after;  // only this round's targets: old ones are forgotten
  for (size_t i = 0; i < targets.size() && i < answers.size(); ++i) {
    if (answers[i].answered) continue;
    const std::string id = targets[i].name + "/" + targets[i].key;
    const auto it = before.find(id);
    answers[i].unknown_since_ms = after[id] = it == before.end() ? now_ms : it->second;
  }
  since_[scope] = std::move(after);
}

void SilenceLog::forget(const std::string& scope) {
  std::lock_guard lock(mutex_);
  since_.erase(scope);
}

}  // namespace fairlead::member
