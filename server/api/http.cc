// Pages: /health, /livez, /readyz, /version, /metrics on the client and metrics ports. Bodies are etcd's, byte for
// byte, where probes and scripts look at them.
#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "server/api/api.h"
#include "server/api/gateway_socket.h"
#include "server/api/pages.h"
#include "server/net/websocket.h"

namespace fairlead::api {
namespace {

// Adds headers to whatever is answered.
class HeaderReply final : public net::HttpReply {
 public:
  HeaderReply(net::HttpReplyPtr reply, net::HttpHeaders headers)
      : reply_(std::move(reply)), headers_(std::move(headers)) {}
  void send(net::HttpResponse response) override { reply_->send(with(std::move(response))); }
  void send_head(net::HttpResponse head) override { reply_->send_head(with(std::move(head))); }
  void send_chunk(Bytes chunk) override { reply_->send_chunk(std::move(chunk)); }
  void end() override { reply_->end(); }
  size_t queued_bytes() const override { return reply_->queued_bytes(); }
  bool alive() const override { return reply_->alive(); }
  void on_gone(std::function<void()> callback) override { reply_->on_gone(std::move(callback)); }
  // A WebSocket's answer has none of them, as in etcd: no browser asks for them there.
  std::unique_ptr<net::WebSocket> upgrade(const net::HttpRequest& request, const net::HttpHeaders& headers) override {
    return reply_->upgrade(request, headers);
  }

 private:
  net::HttpResponse with(net::HttpResponse response) {
    response.headers.insert(response.headers.begin(), headers_.begin(), headers_.end());
    return response;
  }
  net::HttpReplyPtr reply_;
  net::HttpHeaders headers_;
};

bool allowed(const std::set<std::string>& list, std::string_view name) {
  return list.empty() || list.contains("*") || list.contains(std::string(name));
}

// Without the port, as Go's httputil cuts it.
std::string_view host_of(std::string_view header) {
  if (header.starts_with('[')) return header.substr(0, header.find(']')).substr(1);
  return header.substr(0, header.find(':'));
}

std::string unknown_host_text(std::string_view host) {
  return "\nfairlead received your request, but the Host header was unrecognized.\n\nTo fix this, choose one of the "
         "following options:\n- Enable TLS, then any HTTPS request will be allowed.\n- Add the hostname you want to "
         "use "
         "to the whitelist in settings.\n  - e.g. etcd --host-whitelist " +
         json_string(host) +
         "\n\nThis requirement has been added to help prevent \"DNS Rebinding\" attacks (CVE-2018-5702).\n";
}

struct Check {
  std::string_view name;
  bool ready_only;  // not part of /livez
};
constexpr Check kChecks[] = {
    {"linearizable_read", true}, {"non_learner", true}, {"data_corruption", true}, {"serializable_read", false}};

}  // namespace

net::HttpResponse page_not_found() { return plain_error(404, "404 page not found"); }

net::HttpResponse plain_error(int status, std::string_view text) {
  net::HttpResponse r = net::HttpResponse::text(status, std::string(text) + "\n");
  r.headers.emplace_back("X-Content-Type-Options", "nosniff");
  return r;
}

std::string answer_while_stalled(std::string_view path, io::Nanos stalled) {
  std::string why = "the server's loop has not turned for " + std::to_string(stalled / io::kSecond) + "s";
  std::string body;
  for (std::string_view root : {"/livez", "/readyz"})
    if (path == root || path.starts_with(std::string(root) + "/"))
      body = "[-]serializable_read failed: " + why + "\n\n";
  if (path == "/health") body = "{\"health\":\"false\",\"reason\":\"" + why + "\"}\n";
  if (body.empty()) body = why + "\n";
  return "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: "
         "nosniff\r\nConnection: close\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

Api::Api(const io::World& world, node::Node& node, ApiOptions options)
    : world_(world),
      node_(node),
      options_(std::move(options)),
      identities_(world, node),
      passwords_(world, options_.auth.bcrypt_cost),
      hot_keys_(*world.loop),
      started_at_(world.loop->now()) {
  options_.gateway.message_bytes_max = node.config().request_bytes_max + kGrpcOverheadBytes;
  options_.gateway.input_bytes_max = 2 * options_.gateway.message_bytes_max;
  if (options_.tracing)
    tracer_ = std::make_unique<Tracer>(world_, options_.tracing->collector, options_.tracing->sampling_rate);
  requests_ = std::make_unique<RequestLog>(world_, node_, options_.warning_unary_request, tracer_.get());
  watch_for_a_leader();
}

Api::~Api() {
  *alive_ = false;
  world_.loop->cancel_timer(leader_timer_);
}

void Api::flush_traces(std::function<void()> done) {
  if (!tracer_) return world_.loop->post(std::move(done));
  tracer_->exporter().flush(std::move(done));
}

void Api::add_client_routes(net::Router& router) {
  router.set_guard([this](net::ServerCall& call, const net::Router::Route&, const Bytes* request) {
    return admit_call(call, request);
  });
  add_kv(router);
  add_watch(router);
  add_lease(router);
  add_cluster(router);
  add_probe(router);
  add_top(router);
  add_maintenance(router);
  add_lock(router);
  add_election(router);
  add_health(router);
  add_reflection(router);
  add_auth(router);
  guard(router);  // after the last method
  router.set_observer(requests_.get());
  add_client_pages(router, router);
}

void Api::add_client_pages(net::Router& pages, net::Router& methods) {
  pages.set_http([this, &methods](net::HttpRequest request, net::HttpReplyPtr reply) {
    handle_client_http(methods, std::move(request), std::move(reply));
  });
}

void Api::add_metrics_routes(net::Router& router) {
  router.set_http([this](net::HttpRequest request, net::HttpReplyPtr reply) {
    handle_http(std::move(request), std::move(reply), false);
  });
}

// The client port: whose Host and Origin are asked about, then the gateway or a page.
void Api::handle_client_http(net::Router& router, net::HttpRequest request, net::HttpReplyPtr reply) {
  std::string_view host = host_of(request.header("host"));
  if (!request.secure && !allowed(options_.host_whitelist, host)) {
    world_.log->warn("rejecting HTTP request to prevent DNS rebinding attacks", {{"host", host}});
    return reply->send(plain_error(421, unknown_host_text(host)));
  }
  bool gateway = options_.gateway_enabled && is_gateway_path(request.path);
  // A certificate's name would be silently ignored there: nobody should believe otherwise.
  if (gateway && !request.peer_common_name.empty() && node_.auth().enabled())
    return reply->send(plain_error(400,
                                   "CommonName of client sending a request against gateway will be ignored and not "
                                   "used as expected"));
  std::string origin = allowed(options_.cors, "*") ? "*" : std::string(request.header("origin"));
  if (origin == "*" || allowed(options_.cors, origin)) {
    reply = std::make_unique<HeaderReply>(
        std::move(reply), net::HttpHeaders{{"Access-Control-Allow-Headers", "accept, content-type, authorization"},
                                           {"Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE"},
                                           {"Access-Control-Allow-Origin", origin}});
  }
  if (request.method == "OPTIONS") return reply->send(net::HttpResponse::text(200, ""));
  if (gateway && net::wants_websocket(request))
    return serve_gateway_socket(world_, router, options_.gateway, request, std::move(reply));
  if (gateway) return serve_gateway(world_, router, options_.gateway, std::move(request), std::move(reply));
  handle_http(std::move(request), std::move(reply), true);
}

void Api::handle_http(net::HttpRequest request, net::HttpReplyPtr reply, bool client_port) {
  if (serve_debug(request, reply, client_port)) return;
  bool known = request.path == "/health" || request.path == "/version" || request.path == "/metrics" ||
               request.path.starts_with("/livez") || request.path.starts_with("/readyz");
  if (known && request.method != "GET" && request.method != "HEAD") {
    net::HttpResponse r = net::HttpResponse::text(405, "Method Not Allowed\n");
    r.headers.emplace_back("Allow", "GET");
    return reply->send(std::move(r));
  }
  if (request.path == "/health") return health(request, std::move(reply));
  if (request.path == "/version") return reply->send(net::HttpResponse::json(200, version_body()));
  if (request.path == "/metrics") return metrics(std::move(reply));
  if (request.path == "/livez" || request.path.starts_with("/livez/")) return checks(request, std::move(reply), false);
  if (request.path == "/readyz" || request.path.starts_with("/readyz/")) return checks(request, std::move(reply), true);
  reply->send(page_not_found());
}

void Api::health(const net::HttpRequest& request, net::HttpReplyPtr reply) {
  std::vector<std::string> serializable = request.query_values("serializable");
  bool local = !serializable.empty() && serializable[0] == "true";
  std::shared_ptr<net::HttpReply> shared(std::move(reply));
  auto answer = [this, shared](const std::string& reason) {
    bool ok = reason.empty();
    ++(ok ? health_success_ : health_failures_);
    net::HttpResponse r =
        net::HttpResponse::text(ok ? 200 : 503, std::string("{\"health\":\"") + (ok ? "true" : "false") +
                                                    "\",\"reason\":\"" + reason + "\"}" + (ok ? "" : "\n"));
    if (!ok) r.headers.emplace_back("X-Content-Type-Options", "nosniff");
    shared->send(std::move(r));
  };
  if (std::string reason = alarm_reason(request.query_values("exclude")); !reason.empty()) return answer(reason);
  if (!local && !node_.has_leader()) return answer("RAFT NO LEADER");
  if (local) return answer("");
  node_.barrier(
      [answer](const Status& status) { answer(status.is_ok() ? "" : "RANGE ERROR:" + std::string(status.message())); });
}

// The first active alarm that is not excluded, as etcd's /health words it.
std::string Api::alarm_reason(const std::vector<std::string>& excluded) const {
  for (const node::Alarm& alarm : node_.alarms().all()) {
    std::string name = node::alarm_name(alarm.type);
    if (std::find(excluded.begin(), excluded.end(), name) != excluded.end()) continue;
    bool known = alarm.type == node::AlarmType::kNoSpace || alarm.type == node::AlarmType::kCorrupt;
    return "ALARM " + (known ? name : "UNKNOWN");
  }
  return "";
}

// What etcd's members ask each other; the answer is theirs, so that tools that compare members work.
void Api::hash_kv_page(const net::HttpRequest& request, net::HttpReplyPtr reply) {
  auto refuse = [&](int status, const std::string& text) {
    net::HttpResponse r = net::HttpResponse::text(status, text + "\n");
    r.headers.emplace_back("X-Content-Type-Options", "nosniff");
    if (status == 405) r.headers.emplace_back("Allow", "GET");
    reply->send(std::move(r));
  };
  std::string cluster = hex(node_.cluster_id().value);
  if (request.method != "GET") return refuse(405, "Method Not Allowed");
  std::string_view theirs = request.header("x-etcd-cluster-id");
  if (!theirs.empty() && theirs != cluster) return refuse(412, "cluster ID mismatch");
  auto body = nlohmann::json::parse(request.body, nullptr, false);
  if (!body.is_object() || (body.contains("revision") && !body["revision"].is_number_integer()))
    return refuse(400, "error unmarshalling request");
  std::shared_ptr<net::HttpReply> shared(std::move(reply));
  node_.hash_kv(body.value("revision", int64_t{0}),
                [shared, id = cluster](const Status& status, const node::HashReply& hash) {
                  if (!status.is_ok()) {
                    std::string_view text = status.message();
                    if (text.starts_with("etcdserver: mvcc")) text.remove_prefix(12);
                    net::HttpResponse r = net::HttpResponse::text(400, std::string(text) + "\n");
                    r.headers.emplace_back("X-Content-Type-Options", "nosniff");
                    return shared->send(std::move(r));
                  }
                  // By hand: etcd's order of fields, and no field that is 0.
                  std::string out = "{\"header\":{\"revision\":" + std::to_string(hash.revision) + "}";
                  if (hash.kv.hash != 0) out += ",\"hash\":" + std::to_string(hash.kv.hash);
                  if (hash.kv.compact_revision != 0)
                    out += ",\"compact_revision\":" + std::to_string(hash.kv.compact_revision);
                  if (hash.kv.hash_revision != 0) out += ",\"hash_revision\":" + std::to_string(hash.kv.hash_revision);
                  net::HttpResponse r = net::HttpResponse::json(200, out + "}");
                  r.headers.emplace_back("X-Etcd-Cluster-ID", id);
                  shared->send(std::move(r));
                });
}

// /readyz and /livez, with one check per path, ?exclude and ?verbose.
void Api::checks(const net::HttpRequest& request, net::HttpReplyPtr reply, bool ready) {
  std::string_view root = ready ? "/readyz" : "/livez";
  std::string_view only =
      request.path.size() > root.size() ? std::string_view(request.path).substr(root.size() + 1) : std::string_view();
  std::vector<std::string> excluded = request.query_values("exclude");
  bool verbose = request.query.find("verbose") != std::string::npos;
  std::vector<std::string_view> names;
  for (const Check& check : kChecks)
    if ((ready || !check.ready_only) && (only.empty() || only == check.name) &&
        std::find(excluded.begin(), excluded.end(), check.name) == excluded.end())
      names.push_back(check.name);
  if (names.empty() && !only.empty()) return reply->send(page_not_found());
  std::shared_ptr<net::HttpReply> shared(std::move(reply));
  auto answer = [this, shared, names, verbose, root](const Status& linearizable) {
    std::string lines;
    bool ok = true;
    for (std::string_view name : names) {
      std::string reason;
      if (name == "linearizable_read" && !linearizable.is_ok()) reason = linearizable.message();
      if (name == "data_corruption" && node_.alarms().any(node::AlarmType::kCorrupt))
        reason = "alarm activated: CORRUPT";
      if (name == "non_learner" && node_.status().is_learner) reason = "not supported for learner";
      ok &= reason.empty();
      CheckCount& count = health_checks_[{std::string(root.substr(1)), std::string(name)}];
      count.last = reason.empty();
      ++(count.last ? count.succeeded : count.failed);
      lines += reason.empty() ? "[+]" + std::string(name) + " ok\n"
                              : "[-]" + std::string(name) + " failed: " + reason + "\n";
    }
    net::HttpResponse r =
        net::HttpResponse::text(ok ? 200 : 503, ok ? (verbose ? lines + "ok\n" : "ok\n") : lines + "\n");
    r.headers.emplace_back("X-Content-Type-Options", "nosniff");
    shared->send(std::move(r));
  };
  bool needs_barrier = std::find(names.begin(), names.end(), "linearizable_read") != names.end();
  if (!needs_barrier) return answer(Status());
  if (!node_.has_leader()) return answer(node::err_no_leader());
  node_.barrier(answer);
}

}  // namespace fairlead::api
