#include "server/node/tokens.h"

#include <utility>

namespace fairlead::node {

void SimpleTokens::erase(List::iterator it) {
  by_token_.erase(it->text);
  list_.erase(it);
}

void SimpleTokens::assign(std::string token, std::string_view user, io::Nanos now) {
  if (by_token_.contains(token)) return;  // its index is part of it: the same entry, applied again after a start
  if (list_.size() >= tokens_max_) erase(list_.begin());
  list_.push_back({std::move(token), std::string(user), now + ttl_});
  by_token_.emplace(list_.back().text, std::prev(list_.end()));
}

const std::string* SimpleTokens::use(std::string_view token, io::Nanos now) {
  auto found = by_token_.find(token);
  if (found == by_token_.end()) return nullptr;
  List::iterator it = found->second;
  if (it->ends <= now) return nullptr;
  it->ends = now + ttl_;
  list_.splice(list_.end(), list_, it);
  return &it->user;
}

void SimpleTokens::drop_user(std::string_view user) {
  for (auto it = list_.begin(); it != list_.end();) {
    auto next = std::next(it);
    if (it->user == user) erase(it);
    it = next;
  }
}

void SimpleTokens::clear() {
  by_token_.clear();
  list_.clear();
}

void SimpleTokens::expire(io::Nanos now) {
  while (!list_.empty() && list_.front().ends <= now) erase(list_.begin());
}

}  // namespace fairlead::node
