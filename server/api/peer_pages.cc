// What the peer port serves beside Raft: /version, /members, and the promotion of a learner, which etcd's members ask
// of their leader there.
#include <charconv>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "server/api/api.h"
#include "server/api/pages.h"

namespace fairlead::api {
namespace {

constexpr std::string_view kPromote = "/members/promote/";

// As etcd writes members: what is empty is left out.
std::string members_body(const node::MemberMap& members) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& [id, m] : members) {
    nlohmann::ordered_json one = {{"id", id.value}, {"peerURLs", m.peer_urls}};
    if (m.is_learner) one["isLearner"] = true;
    if (!m.name.empty()) one["name"] = m.name;
    if (!m.client_urls.empty()) one["clientURLs"] = m.client_urls;
    list.push_back(std::move(one));
  }
  return list.dump() + "\n";
}

net::HttpResponse only(std::string method) {
  net::HttpResponse r = plain_error(405, "Method Not Allowed");
  r.headers.emplace_back("Allow", std::move(method));
  return r;
}

// The words of etcd's peers, who look at them.
net::HttpResponse promotion_refused(const Status& status) {
  std::string text(status.message());
  if (status == node::err_member_not_found()) return plain_error(404, "membership: ID not found");
  if (status == node::err_not_a_learner()) return plain_error(412, "membership: can only promote a learner member");
  if (status == node::err_learner_not_ready()) return plain_error(412, text);
  if (status == node::err_timeout()) return plain_error(408, text);
  return plain_error(500, text);
}

}  // namespace

void Api::add_peer_routes(net::Router& router) {
  router.add_raw(std::string(node::Node::peer_magic()), [this](std::unique_ptr<io::Stream> stream, std::string first) {
    node_.accept_peer(std::move(stream), std::move(first));
  });
  router.set_http([this](net::HttpRequest request, net::HttpReplyPtr reply) {
    if (request.path == "/version") return reply->send(net::HttpResponse::json(200, version_body()));
    if (request.path == "/downgrade/enabled") return downgrade_enabled(request, std::move(reply));
    if (request.path == "/members/hashkv") return hash_kv_page(request, std::move(reply));
    if (request.path == "/members") {
      if (request.method != "GET") return reply->send(only("GET"));
      // With those whose addition is not known to be committed yet: they may be needed to commit it.
      return reply->send(with_cluster_id(net::HttpResponse::json(200, members_body(node_.members_to_come()))));
    }
    if (request.path.starts_with(kPromote)) return promote(request, std::move(reply));
    reply->send(page_not_found());
  });
}

net::HttpResponse Api::with_cluster_id(net::HttpResponse response) {
  response.headers.emplace_back("X-Etcd-Cluster-ID", hex(node_.cluster_id().value));
  return response;
}

void Api::promote(const net::HttpRequest& request, net::HttpReplyPtr reply) {
  if (request.method != "POST") return reply->send(only("POST"));
  std::string_view text = std::string_view(request.path).substr(kPromote.size());
  node::MemberChange change;
  change.kind = node::MemberChange::Kind::kPromote;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), change.id.value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty())
    return reply->send(with_cluster_id(plain_error(404, "member " + std::string(text) + " not found in cluster")));
  std::shared_ptr<net::HttpReply> shared(std::move(reply));
  // Our own members ask on their Raft connections; etcd's hand their client's token on. A member's certificate names no
  // user.
  with_http_admin(request, "", [this, shared, change](const Status& allowed) {
    if (!allowed.is_ok()) return shared->send(with_cluster_id(plain_error(401, std::string(allowed.message()))));
    node_.change_members(change, 0, [this, shared](const Status& status, const node::MemberChange*) {
      if (!status.is_ok()) return shared->send(with_cluster_id(promotion_refused(status)));
      shared->send(with_cluster_id(net::HttpResponse::json(200, members_body(node_.members()))));
    });
  });
}

}  // namespace fairlead::api
