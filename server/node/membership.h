// Who belongs to the cluster: identities as etcd computes them, and the attributes that members publish.
//
// Replicated: changed only by apply (and by a start or an install, from side records). Threads: the loop.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "server/node/requests.h"
#include "server/raft/types.h"

namespace fairlead::node {

struct Member {
  MemberId id;
  std::string name;                    // empty until the member has started and published itself
  std::vector<std::string> peer_urls;  // sorted
  std::vector<std::string> client_urls;
  bool is_learner = false;
  // Amnesia guard: the random identity of the member's data directory and how often it was started, as the member
  // itself published them. A process with another store than the recorded one has lost what it acknowledged.
  StoreId store;
  uint64_t start_counter = 0;

  bool started() const { return store.value != 0; }
  bool operator==(const Member&) const = default;
};

std::string encode_member(const Member& member);
Result<Member> decode_member(std::string_view bytes);

// etcd's identities at bootstrap: the first eight bytes, big-endian, of SHA-1 over the sorted peer URLs and the token;
// of the cluster over the sorted member ids.
MemberId bootstrap_member_id(std::vector<std::string> peer_urls, std::string_view token);
ClusterId bootstrap_cluster_id(std::vector<MemberId> members);

// "http://host:port" -> "host:port", "https://host:port" -> "tls:host:port"; what io::Net takes, and net::TlsNet.
std::vector<std::string> addresses_of(const std::vector<std::string>& urls);

// The first eight bytes of SHA-1, as a big-endian number.
uint64_t sha1_prefix(std::string_view bytes);

using MemberMap = std::map<MemberId, Member>;

// What changes of the members leave behind beside the members (member_change.h). Replicated.
// kAlone: one member stays, as a voter, and all others are removed. By --force-new-cluster only: nobody can ask for it.
enum class ChangeKind : uint8_t { kAdd = 1, kRemove = 2, kUpdate = 3, kPromote = 4, kAlone = 5 };
struct ChangeLog {
  struct Done {
    std::string request_id;
    ChangeKind kind = ChangeKind::kAdd;
    MemberId member;
    bool operator==(const Done&) const = default;
  };
  uint64_t fence = 0;      // highest one seen
  std::vector<Done> done;  // under a request id; oldest first
  bool operator==(const ChangeLog&) const = default;
};

// The part of the replicated state that is not the keyspace's: who belongs to the cluster, and what of their proposals
// is applied. Goes with every manifest.
struct ClusterConfig {
  raft::Configuration raft;
  MemberMap members;
  std::vector<MemberId> removed;  // tombstones, sorted
  ChangeLog changes;
  AppliedRequests requests;
};
std::string encode_cluster_config(const raft::Configuration& raft, const MemberMap& members,
                                  const std::vector<MemberId>& removed, const ChangeLog& changes = {},
                                  const AppliedRequests& requests = {});
Result<ClusterConfig> decode_cluster_config(std::string_view bytes);

// name -> peer URLs of --initial-cluster, turned into members without attributes. Refuses two members with equal URLs.
Result<MemberMap> bootstrap_members(const std::map<std::string, std::vector<std::string>>& initial_cluster,
                                    std::string_view token);

}  // namespace fairlead::node
