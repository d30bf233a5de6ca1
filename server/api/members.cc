// The Cluster service, and MoveLeader.
#include <charconv>

#include "base/failpoint.h"
#include "base/text.h"
#include "server/api/api.h"
#include "server/api/proto_util.h"

namespace fairlead::api {

using namespace etcdserverpb;
using node::MemberChange;

namespace {

Member to_proto(const node::Member& in) {
  Member out;
  out.set_id(in.id.value);
  out.set_name(in.name);
  out.set_islearner(in.is_learner);
  for (const std::string& url : in.peer_urls) out.add_peerurls(url);
  for (const std::string& url : in.client_urls) out.add_clienturls(url);
  return out;
}

// An operator's guards travel as metadata, so that etcd's messages stay what they are (docs/decisions/0005).
Status read_guards(const net::CallRef& call, MemberChange& change) {
  change.request_id = call->metadata("fairlead-request-id");
  change.expected_members = call->metadata("fairlead-members");
  std::string_view fence = call->metadata("fairlead-fence");
  if (fence.empty()) return {};
  auto [end, error] = std::from_chars(fence.data(), fence.data() + fence.size(), change.fence);
  if (error != std::errc() || end != fence.data() + fence.size() || change.fence == 0)
    return invalid_argument("fairlead: fairlead-fence must be a whole number above zero");
  return {};
}

}  // namespace

// Proposes the change; the reply has the members after it, and `shape` adds what else it has.
template <typename Response, typename Shape>
void Api::change_members(net::CallRef call, MemberChange change, Shape shape) {
  if (Status s = read_guards(call, change); !s.is_ok()) return call->finish(s);
  node_.change_members(std::move(change), call->deadline(),
                       [this, call, shape, asker = asker(call)](const Status& status, const MemberChange* done) {
                         if (!status.is_ok()) return call->finish(status);
                         log_member_change(*world_.log, asker, *done);
                         Response reply;
                         fill(reply.mutable_header(), header(0));  // etcd leaves the revision out here
                         for (const auto& [id, member] : node_.members()) *reply.add_members() = to_proto(member);
                         shape(reply, *done);
                         call->reply(serialize(reply));
                       });
}

Header Api::header(int64_t revision) const {
  return {node_.cluster_id().value, node_.member_id().value, revision, node_.raft().term().value};
}

Status Api::served_here(std::string_view path) const {
  FAILPOINT(afterIsMemberExist);
  if (!node_.is_learner()) return {};
  bool served = path == "/etcdserverpb.Maintenance/Status" || path == "/etcdserverpb.Maintenance/Snapshot" ||
                path == "/etcdserverpb.KV/Range";  // which asks itself whether it is serializable
  return served ? Status() : node::err_not_for_learner();
}

void Api::add_cluster(net::Router& router) {
  router.add_unary("/etcdserverpb.Cluster/MemberList", [this](net::CallRef call, Bytes in) {
    MemberListRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    auto answer = [this, call](const Status& status) {
      if (!status.is_ok()) return call->finish(status);
      MemberListResponse reply;
      fill(reply.mutable_header(), header(0));
      for (const auto& [id, member] : node_.members()) *reply.add_members() = to_proto(member);
      call->reply(serialize(reply));
    };
    if (request.linearizable()) return node_.barrier(answer);
    answer(Status());
  });
  router.add_unary("/etcdserverpb.Cluster/MemberAdd", [this](net::CallRef call, Bytes in) {
    MemberAddRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    MemberChange change;
    change.kind = MemberChange::Kind::kAdd;
    change.peer_urls.assign(request.peerurls().begin(), request.peerurls().end());
    change.is_learner = request.islearner();
    change_members<MemberAddResponse>(call, std::move(change), [](MemberAddResponse& reply, const MemberChange& done) {
      Member* added = reply.mutable_member();
      added->set_id(done.id.value);
      for (const std::string& url : done.peer_urls) added->add_peerurls(url);
      added->set_islearner(done.is_learner);
    });
  });
  router.add_unary("/etcdserverpb.Cluster/MemberRemove", [this](net::CallRef call, Bytes in) {
    MemberRemoveRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    MemberChange change;
    change.kind = MemberChange::Kind::kRemove;
    change.id = MemberId(request.id());
    change_members<MemberRemoveResponse>(call, std::move(change), [](auto&, const MemberChange&) {});
  });
  router.add_unary("/etcdserverpb.Cluster/MemberUpdate", [this](net::CallRef call, Bytes in) {
    MemberUpdateRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    MemberChange change;
    change.kind = MemberChange::Kind::kUpdate;
    change.id = MemberId(request.id());
    change.peer_urls.assign(request.peerurls().begin(), request.peerurls().end());
    change_members<MemberUpdateResponse>(call, std::move(change), [](auto&, const MemberChange&) {});
  });
  router.add_unary("/etcdserverpb.Cluster/MemberPromote", [this](net::CallRef call, Bytes in) {
    MemberPromoteRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    MemberChange change;
    change.kind = MemberChange::Kind::kPromote;
    change.id = MemberId(request.id());
    change_members<MemberPromoteResponse>(call, std::move(change), [](auto&, const MemberChange&) {});
  });
  router.add_unary("/etcdserverpb.Maintenance/MoveLeader", [this](net::CallRef call, Bytes in) {
    MoveLeaderRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    MemberId to(request.targetid());
    node_.move_leader(to, [this, call, to, asker = asker(call)](const Status& status) {
      if (!status.is_ok()) return call->finish(status);
      world_.log->info(
          "moved the leader for a client",
          {{"transferee-member-id", hex(to.value)}, {"by-user", asker.user}, {"remote-address", asker.address}});
      call->reply(serialize(MoveLeaderResponse()));  // without a header, as etcd
    });
  });
}

}  // namespace fairlead::api
