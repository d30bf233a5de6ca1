// What holds for every call, whatever its method: versions are counted, and who asked for a leader gets an error where
// there is none (metadata "hasleader", clientv3's WithRequireLeader).
#include <algorithm>

#include "base/text.h"
#include "server/api/api.h"

namespace fairlead::api {
namespace {

constexpr size_t kLeaderStreamsLook = 1024;  // this many, and ended ones are dropped between looks
constexpr int kLooksWithoutLeaderMax = 3;  // election timeouts, as etcd: a stream costs more to open again than a call

}  // namespace

Status Api::admit_call(net::ServerCall& call, const Bytes* request) {
  if (Status s = served_here(call.path()); !s.is_ok()) return s;
  std::string_view version = call.metadata("client-api-version");
  if (!version.empty() && !is_utf8(version)) return {Code::kInvalidArgument, "etcdserver: invalid client api version"};
  count_client_version(request != nullptr, version);
  if (call.metadata("hasleader") != "true") return {};
  if (!node_.has_leader()) return node::err_no_leader();
  if (request) return {};
  if (leader_streams_.size() >= leader_streams_look_at_) {
    std::erase_if(leader_streams_, [](const net::CallRef& stream) { return stream->done(); });
    leader_streams_look_at_ = std::max(kLeaderStreamsLook, 2 * leader_streams_.size());
  }
  leader_streams_.push_back(call.ref());
  return {};
}

void Api::count_client_version(bool unary, std::string_view version) {
  if (version.empty()) version = "unknown";
  if (version.size() > kClientVersionBytesMax) version = "other";
  size_t known = 0;
  for (ClientVersion& v : client_versions_) {
    if (v.unary != unary) continue;
    if (v.version == version) {
      ++v.calls;
      return;
    }
    known += v.version != "other";
  }
  if (known >= kClientVersionsMax && version != "other") return count_client_version(unary, "other");
  client_versions_.push_back({unary, std::string(version), 1});
}

void Api::watch_for_a_leader() {
  leader_timer_ = world_.loop->add_timer(world_.loop->now() + node_.config().election_timeout, [this] {
    std::erase_if(leader_streams_, [](const net::CallRef& call) { return call->done(); });
    looks_without_leader_ = node_.has_leader() ? 0 : looks_without_leader_ + 1;
    if (looks_without_leader_ >= kLooksWithoutLeaderMax) {
      for (net::CallRef& call : std::exchange(leader_streams_, {})) call->finish(node::err_no_leader());
    }
    watch_for_a_leader();
  });
}

}  // namespace fairlead::api
