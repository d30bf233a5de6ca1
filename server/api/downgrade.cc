// Maintenance.Downgrade, and the versions as pages and Status show them: etcd 3.7's rules and texts.
#include "server/api/api.h"
#include "server/api/proto_util.h"

namespace fairlead::api {
namespace {

using etcdserverpb::DowngradeRequest;
using etcdserverpb::DowngradeResponse;

std::string short_version(const node::Node& node) {
  auto level = node.cluster_version().level();
  return level ? node::to_short(*level) : std::string();
}

}  // namespace

std::string Api::version_body() const {
  const std::string& version = node_.cluster_version().version;
  return "{\"etcdserver\":\"" + std::string(kEtcdVersion) + "\",\"etcdcluster\":\"" +
         (version.empty() ? "not_decided" : version) + "\",\"storage\":\"" + (version.empty() ? "unknown" : version) +
         "\"}";
}

void Api::reply_downgrade(const net::CallRef& call) {
  DowngradeResponse reply;
  fill(reply.mutable_header(), header());
  reply.set_version(short_version(node_));
  call->reply(serialize(reply));
}

void Api::add_downgrade(net::Router& router) {
  router.add_unary("/etcdserverpb.Maintenance/Downgrade", [this](net::CallRef call, Bytes in) {
    DowngradeRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    auto answer = [this, call](const Status& status) { status.is_ok() ? reply_downgrade(call) : call->finish(status); };
    if (request.action() == DowngradeRequest::CANCEL) {
      // One that is not there is cancelled already: etcd answers so too.
      return node_.barrier([this, answer](const Status& status) {
        if (!status.is_ok() || !node_.cluster_version().downgrade_enabled()) return answer(status);
        node_.change_version({node::VersionChange::Kind::kCancelDowngrade, {}}, answer);
      });
    }
    bool enable = request.action() == DowngradeRequest::ENABLE;
    if (!enable && request.action() != DowngradeRequest::VALIDATE)
      return call->finish({Code::kUnknown, "etcdserver: unknown method"});
    std::optional<node::ApiLevel> target = node::parse_level(request.version());
    if (!target) return call->finish(invalid_argument("etcdserver: wrong downgrade target version format"));
    node_.barrier([this, answer, enable, target = *target](const Status& status) {
      if (!status.is_ok()) return answer(status);
      Status s = node::check_downgrade(node_.cluster_version(), target);
      if (!s.is_ok() || !enable) return answer(s);
      node_.change_version({node::VersionChange::Kind::kEnableDowngrade, node::to_version(target)}, answer);
    });
  });
}

// The peer port's page: whether a downgrade is under way, as of now.
void Api::downgrade_enabled(const net::HttpRequest& request, net::HttpReplyPtr reply) {
  if (request.method != "GET") {
    net::HttpResponse r = net::HttpResponse::text(405, "Method Not Allowed\n");
    r.headers.emplace_back("Allow", "GET");
    return reply->send(std::move(r));
  }
  std::shared_ptr<net::HttpReply> shared(std::move(reply));
  node_.barrier([this, shared](const Status& status) {
    if (!status.is_ok())
      return shared->send(
          net::HttpResponse::text(500, "failed linearized read: " + std::string(status.message()) + "\n"));
    shared->send(net::HttpResponse::text(200, node_.cluster_version().downgrade_enabled() ? "true" : "false"));
  });
}

}  // namespace fairlead::api
