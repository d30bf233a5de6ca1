// Changes of who belongs to the cluster: what a change is, when it is allowed, what it does. Functions of their
// arguments only; node/cluster.cc takes them through the log.
//
// A change is checked by the leader against the applied membership before its entry is appended, with no other such
// entry unapplied; so what is in the log is valid when its turn comes, and apply insists on that.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "server/node/membership.h"
#include "server/raft/types.h"

namespace fairlead::node {

struct MemberChange {
  using Kind = ChangeKind;
  Kind kind = Kind::kAdd;
  MemberId id;                         // of kAdd: chosen by the leader
  std::vector<std::string> peer_urls;  // kAdd (sorted), kUpdate
  bool is_learner = false;             // kAdd

  // An operator's guards (docs/decisions/0005): empty or 0 = not used.
  std::string request_id;        // a change repeated under the same one is done once
  std::string expected_members;  // members_hash() that the caller saw
  uint64_t fence = 0;            // lower than the highest one seen: refused

  bool operator==(const MemberChange&) const = default;
};

constexpr size_t kRequestIdBytesMax = 128;
constexpr size_t kDoneChangesMax = 64;  // request ids remembered

std::string encode_change(const MemberChange& change);
Result<MemberChange> decode_change(std::string_view bytes);

struct Membership {
  MemberMap& members;
  std::vector<MemberId>& removed;  // tombstones, sorted
  ChangeLog& log;
};

// etcd's form of peer URLs: http, https with host and port and no path, or unix, unixs.
Status check_peer_urls(const std::vector<std::string>& urls);
std::vector<std::string> tidy_peer_urls(std::vector<std::string> urls);  // spaces around them go; sorted

// The first second from `unix_seconds` on that gives an ID which is neither a member's nor a tombstone.
MemberId added_member_id(const MemberMap& members, const std::vector<MemberId>& removed,
                         const std::vector<std::string>& peer_urls, int64_t unix_seconds);

// As etcd validates a change against the members there are.
Status check_change(const MemberMap& members, const std::vector<MemberId>& removed, const MemberChange& change,
                    size_t learners_max);
// The operator's guards.
Status check_guards(const MemberMap& members, const ChangeLog& log, const MemberChange& change);

// Who the leader is connected to: for kHealthy without a break, or at all.
struct Connections {
  MemberId self;
  std::function<bool(MemberId)> healthy;
  std::function<bool(MemberId)> any;
};
// --strict-reconfig-check: refuses what could cost the quorum.
Status check_quorum_kept(const MemberMap& members, const MemberChange& change, const Connections& connections);

void apply_change(Membership membership, const MemberChange& change);
raft::Configuration configuration_of(const MemberMap& members);
// Hexadecimal, 16 digits: the first eight bytes of SHA-1 over "<id in hex> voter\n" or "<id in hex> learner\n" of each
// member, by rising ID.
std::string members_hash(const MemberMap& members);

// etcd's errors, to the letter.
Status err_member_not_found();
Status err_peer_urls_exist();
Status err_bad_member_urls();
Status err_too_many_learners();
Status err_not_a_learner();
Status err_learner_not_ready();
Status err_not_enough_started();
Status err_unhealthy();

}  // namespace fairlead::node
