// Simple tokens: <16 letters>.<index of the entry that gave it>. Members learn of a token from the log, so that one
// taken from any member opens all of them; they are kept in memory only, each member by its own clock.
//
// A token lives for the TTL after its last use here. It ends early when its user is deleted or gets another password,
// when authentication is switched off, and when a snapshot is installed (what happened meanwhile is not known).
// Bounds: kTokensMax; the one that was not used for longest makes room.
// Threads: the loop.
#pragma once

#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

#include "server/io/io.h"

namespace fairlead::node {

constexpr size_t kTokensMax = 100'000;
constexpr size_t kTokenLetters = 16;

class SimpleTokens {
 public:
  explicit SimpleTokens(io::Nanos ttl, size_t tokens_max = kTokensMax) : ttl_(ttl), tokens_max_(tokens_max) {}

  void assign(std::string token, std::string_view user, io::Nanos now);
  // The user whose token it is, null for none. It counts as used.
  const std::string* use(std::string_view token, io::Nanos now);
  void drop_user(std::string_view user);
  void clear();
  void expire(io::Nanos now);
  size_t size() const { return by_token_.size(); }

 private:
  struct Token {
    std::string text;
    std::string user;
    io::Nanos ends = 0;
  };
  using List = std::list<Token>;  // least recently used first, so also the first to end
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  void erase(List::iterator it);

  io::Nanos ttl_;
  size_t tokens_max_;
  List list_;
  std::unordered_map<std::string_view, List::iterator, Hash> by_token_;  // looked up only; keys are the list's
};

}  // namespace fairlead::node
