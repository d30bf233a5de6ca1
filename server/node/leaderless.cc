// What a member says while it has no leader: for how long, who does not answer and why, and how many it takes.
#include <algorithm>

#include "base/text.h"
#include "server/node/node.h"

namespace fairlead::node {
namespace {

constexpr io::Nanos kLeaderlessFirst = 3 * io::kSecond;  // an ordinary election is over by then
constexpr io::Nanos kLeaderlessPause = 5 * io::kSecond;

}  // namespace

// Empty where it is not known.
std::string Node::name_of(MemberId id) const {
  auto it = members_.find(id);
  return it == members_.end() ? std::string() : it->second.name;
}

std::string Node::unreachable_voters(const MemberMap& members, size_t& connected) const {
  std::map<MemberId, peer::PeerStats> peers = transport_->stats();
  std::string out;
  for (const auto& [id, member] : members) {
    if (member.is_learner || id == member_id()) continue;
    auto peer = peers.find(id);
    if (peer != peers.end() && peer->second.connected) {
      ++connected;
      continue;
    }
    std::string error = peer == peers.end() ? std::string() : peer->second.last_error;
    out += (out.empty() ? "" : "; ") + (member.name.empty() ? std::string("unnamed") : member.name) + " (" +
           hex(id.value) + ")";
    for (const std::string& url : member.peer_urls) out += " " + url;
    out += ": " + (error.empty() ? "it has not connected" : error);
  }
  return out;
}

void Node::tell_without_leader(io::Nanos now) {
  if (raft_->leader().value != 0 || leaving_ || stopping_) {
    leaderless_since_ = 0;
    return;
  }
  if (leaderless_since_ == 0) leaderless_since_ = leaderless_told_ = now;
  io::Nanos first = std::max(kLeaderlessFirst, 2 * config_.election_timeout);
  if (now - leaderless_since_ < first) return;
  if (leaderless_told_ != leaderless_since_ && now - leaderless_told_ < kLeaderlessPause) return;
  leaderless_told_ = now;
  MemberMap members = members_to_come();
  auto voters = static_cast<size_t>(
      std::count_if(members.begin(), members.end(), [](const auto& m) { return !m.second.is_learner; }));
  auto self = members.find(member_id());
  size_t connected = self != members.end() && !self->second.is_learner ? 1 : 0;
  std::string unreachable = unreachable_voters(members, connected);
  size_t needed = voters / 2 + 1;
  world_.log->warn(connected < needed
                       ? "there is no leader: too few members answer, so nothing can be written"
                       : "there is no leader: enough members are connected, but none has won an election",
                   {{"local-member-id", hex(member_id().value)},
                    {"seconds-without-leader", (now - leaderless_since_) / io::kSecond},
                    {"voters", voters},
                    {"needed", needed},
                    {"connected", connected},
                    {"unreachable", unreachable}});
}

}  // namespace fairlead::node
