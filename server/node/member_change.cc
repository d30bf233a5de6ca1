#include "server/node/member_change.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "base/check.h"
#include "base/codec.h"
#include "base/text.h"

namespace fairlead::node {
namespace {

constexpr uint8_t kChangeFormat = 1;
constexpr size_t kPeerUrlsMax = 64;
using Kind = MemberChange::Kind;

bool contains(const std::vector<MemberId>& sorted, MemberId id) {
  return std::binary_search(sorted.begin(), sorted.end(), id);
}

bool port_is_valid(std::string_view text) {
  uint32_t port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return !text.empty() && error == std::errc() && end == text.data() + text.size() && port <= 65535;
}

bool url_is_valid(std::string_view url) {
  if (std::any_of(url.begin(), url.end(), [](unsigned char c) { return std::isspace(c) || std::iscntrl(c); }))
    return false;
  size_t at = url.find("://");
  if (at == std::string_view::npos) return false;
  std::string_view scheme = url.substr(0, at), rest = url.substr(at + 3);
  if (scheme == "unix" || scheme == "unixs") return !rest.empty();
  if (scheme != "http" && scheme != "https") return false;
  size_t colon = rest.rfind(':');
  return colon != std::string_view::npos && colon > 0 && rest.find_first_of("/?#@") == std::string_view::npos &&
         port_is_valid(rest.substr(colon + 1));
}

struct Voters {
  size_t all = 0;
  size_t started = 0;
  size_t healthy = 0;  // the leader itself, and those connected to it for long enough
};

// Without `but`, if that is not 0.
Voters count_voters(const MemberMap& members, MemberId but, const Connections& connections) {
  Voters out;
  for (const auto& [id, member] : members) {
    if (member.is_learner || id == but) continue;
    ++out.all;
    out.started += member.started();
    out.healthy += id == connections.self || connections.healthy(id);
  }
  return out;
}

size_t quorum(size_t voters) { return voters / 2 + 1; }

Status check_add(const MemberMap& members, const MemberChange& change, const Connections& connections) {
  Voters now = count_voters(members, MemberId(), connections);
  // A single member may always be joined: that is how a cluster is grown, or restored.
  bool enough_started = (now.started == 1 && now.all == 1) || now.started >= quorum(now.all + 1);
  if (!change.is_learner && !enough_started) return err_not_enough_started();
  // The new one counts as down.
  if (now.all > 1 && now.healthy < quorum(now.all + 1)) return err_unhealthy();
  return {};
}

Status check_remove(const MemberMap& members, const MemberChange& change, const Connections& connections) {
  auto it = members.find(change.id);
  if (it != members.end() && it->second.is_learner) return {};
  Voters rest = count_voters(members, change.id, connections);
  if (rest.started < quorum(rest.all)) return err_not_enough_started();
  // Who is down is no part of the quorum that there is.
  if (change.id != connections.self && !connections.any(change.id)) return {};
  Voters now = count_voters(members, MemberId(), connections);
  if (now.healthy - 1 < 1 + (now.all - 1) / 2) return err_unhealthy();
  return {};
}

Status check_promote(const MemberMap& members, const Connections& connections) {
  Voters now = count_voters(members, MemberId(), connections);
  return now.started + 1 < quorum(now.all + 1) ? err_not_enough_started() : Status();
}

bool urls_taken(const MemberMap& members, MemberId but, const std::vector<std::string>& urls) {
  for (const auto& [id, member] : members) {
    if (id == but) continue;
    for (const std::string& url : member.peer_urls)
      if (std::find(urls.begin(), urls.end(), url) != urls.end()) return true;
  }
  return false;
}

}  // namespace

Status err_member_not_found() { return {Code::kNotFound, "etcdserver: member not found"}; }
Status err_peer_urls_exist() { return {Code::kFailedPrecondition, "etcdserver: Peer URLs already exists"}; }
Status err_bad_member_urls() { return {Code::kInvalidArgument, "etcdserver: given member URLs are invalid"}; }
Status err_too_many_learners() {
  return {Code::kFailedPrecondition, "etcdserver: too many learner members in cluster"};
}
Status err_not_a_learner() { return {Code::kFailedPrecondition, "etcdserver: can only promote a learner member"}; }
Status err_learner_not_ready() {
  return {Code::kFailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader"};
}
// As etcd really sends it: without a code of its own.
Status err_not_enough_started() {
  return {Code::kUnknown, "etcdserver: re-configuration failed due to not enough started members"};
}
Status err_unhealthy() { return {Code::kUnavailable, "etcdserver: unhealthy cluster"}; }

std::string encode_change(const MemberChange& c) {
  std::string out;
  put_fixed<uint8_t>(out, kChangeFormat);
  put_fixed<uint8_t>(out, static_cast<uint8_t>(c.kind));
  put_fixed(out, c.id.value);
  put_varint(out, c.peer_urls.size());
  for (const std::string& url : c.peer_urls) put_lengthed(out, url);
  put_fixed<uint8_t>(out, c.is_learner);
  put_lengthed(out, c.request_id);
  put_lengthed(out, c.expected_members);
  put_varint(out, c.fence);
  return out;
}

Result<MemberChange> decode_change(std::string_view bytes) {
  Reader in(bytes);
  MemberChange c;
  if (in.fixed<uint8_t>() != kChangeFormat) return data_loss("a member change has an unknown format");
  auto kind = in.fixed<uint8_t>();
  c.kind = static_cast<Kind>(kind);
  c.id = MemberId(in.fixed<uint64_t>());
  uint64_t urls = in.varint();
  if (!in.ok() || kind < 1 || kind > 5 || urls > kPeerUrlsMax) return data_loss("a member change is damaged");
  for (uint64_t i = 0; i < urls; ++i) c.peer_urls.emplace_back(in.lengthed());
  c.is_learner = in.fixed<uint8_t>() != 0;
  c.request_id = in.lengthed();
  c.expected_members = in.lengthed();
  c.fence = in.varint();
  if (!in.ok() || !in.at_end()) return data_loss("a member change is damaged");
  return c;
}

Status check_peer_urls(const std::vector<std::string>& urls) {
  bool good = !urls.empty() && urls.size() <= kPeerUrlsMax && std::all_of(urls.begin(), urls.end(), url_is_valid);
  return good ? Status() : err_bad_member_urls();
}

std::vector<std::string> tidy_peer_urls(std::vector<std::string> urls) {
  for (std::string& url : urls) {
    size_t begin = url.find_first_not_of(" \t\r\n");
    size_t end = url.find_last_not_of(" \t\r\n");
    url = begin == std::string::npos ? "" : url.substr(begin, end - begin + 1);
  }
  std::sort(urls.begin(), urls.end());
  return urls;
}

MemberId added_member_id(const MemberMap& members, const std::vector<MemberId>& removed,
                         const std::vector<std::string>& peer_urls, int64_t unix_seconds) {
  // etcd's recipe has the time at the place of the token.
  while (true) {
    MemberId id = bootstrap_member_id(peer_urls, std::to_string(unix_seconds++));
    if (id.value != 0 && !members.contains(id) && !contains(removed, id)) return id;
  }
}

Status check_change(const MemberMap& members, const std::vector<MemberId>& removed, const MemberChange& change,
                    size_t learners_max) {
  if (contains(removed, change.id)) return err_member_not_found();
  auto it = members.find(change.id);
  if (change.kind == Kind::kAdd) {
    if (it != members.end()) return {Code::kFailedPrecondition, "etcdserver: member ID already exist"};
    if (urls_taken(members, MemberId(), change.peer_urls)) return err_peer_urls_exist();
    auto learners = static_cast<size_t>(
        std::count_if(members.begin(), members.end(), [](const auto& m) { return m.second.is_learner; }));
    return change.is_learner && learners + 1 > learners_max ? err_too_many_learners() : Status();
  }
  if (it == members.end()) return err_member_not_found();
  if (change.kind == Kind::kPromote) return it->second.is_learner ? Status() : err_not_a_learner();
  if (change.kind == Kind::kUpdate)
    return urls_taken(members, change.id, change.peer_urls) ? err_peer_urls_exist() : Status();
  if (change.kind == Kind::kAlone) return {};
  // Somebody must be left to vote, whatever the flags say.
  bool last_voter = !it->second.is_learner && configuration_of(members).voters.size() == 1;
  return last_voter ? err_not_enough_started() : Status();
}

Status check_guards(const MemberMap& members, const ChangeLog& log, const MemberChange& change) {
  if (change.fence != 0 && change.fence < log.fence)
    return failed_precondition("fairlead: fence " + std::to_string(change.fence) + " is older than the cluster's, " +
                               std::to_string(log.fence));
  if (std::string now = members_hash(members); !change.expected_members.empty() && change.expected_members != now)
    return failed_precondition("fairlead: the members are not those that were expected; their hash is " + now);
  return {};
}

Status check_quorum_kept(const MemberMap& members, const MemberChange& change, const Connections& connections) {
  switch (change.kind) {
    case Kind::kAdd:
      return check_add(members, change, connections);
    case Kind::kRemove:
      return check_remove(members, change, connections);
    case Kind::kPromote:
      return check_promote(members, connections);
    case Kind::kUpdate:
    case Kind::kAlone:
      break;
  }
  return {};
}

void apply_change(Membership m, const MemberChange& change) {
  switch (change.kind) {
    case Kind::kAdd: {
      Member fresh;
      fresh.id = change.id;
      fresh.peer_urls = change.peer_urls;
      fresh.is_learner = change.is_learner;
      CHECK(m.members.emplace(change.id, std::move(fresh)).second, "an added member is new");
      break;
    }
    case Kind::kRemove:
      CHECK(m.members.erase(change.id) == 1, "a removed member was one");
      m.removed.insert(std::upper_bound(m.removed.begin(), m.removed.end(), change.id), change.id);
      break;
    case Kind::kUpdate:
      m.members.at(change.id).peer_urls = change.peer_urls;
      break;
    case Kind::kPromote:
      m.members.at(change.id).is_learner = false;
      break;
    case Kind::kAlone: {
      Member self = m.members.at(change.id);
      self.is_learner = false;
      for (const auto& [id, member] : m.members)
        if (id != change.id) m.removed.push_back(id);
      std::sort(m.removed.begin(), m.removed.end());
      m.members.clear();
      m.members.emplace(change.id, std::move(self));
      break;
    }
  }
  m.log.fence = std::max(m.log.fence, change.fence);
  if (change.request_id.empty()) return;
  m.log.done.push_back({change.request_id, change.kind, change.id});
  if (m.log.done.size() > kDoneChangesMax) m.log.done.erase(m.log.done.begin());
}

raft::Configuration configuration_of(const MemberMap& members) {
  raft::Configuration out;  // a map's order is that of the IDs
  for (const auto& [id, member] : members) (member.is_learner ? out.learners : out.voters).push_back(id);
  return out;
}

std::string members_hash(const MemberMap& members) {
  std::string text;
  for (const auto& [id, member] : members) text += hex(id.value) + (member.is_learner ? " learner\n" : " voter\n");
  std::string hash = hex(sha1_prefix(text));
  return std::string(16 - hash.size(), '0') + hash;
}

}  // namespace fairlead::node
