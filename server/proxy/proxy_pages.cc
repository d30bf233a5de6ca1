// The pages of the grpc-proxy.
#include <cstdio>
#include <utility>

#include "base/text.h"
#include "server/io/real/process_stats.h"
#include "server/net/http.h"
#include "server/proxy/fetch_page.h"
#include "server/proxy/grpc_proxy.h"
#include "server/proxy/wire.h"

namespace fairlead::proxy {
namespace {

constexpr const char* kMetricsType = "text/plain; version=0.0.4";

void answer_health(net::HttpReply& reply, const std::string& why_not) {
  std::string body = "{\"health\":\"" + std::string(why_not.empty() ? "true" : "false") +
                     "\",\"reason\":" + json_string(why_not) + "}";
  reply.send(net::HttpResponse::text(why_not.empty() ? 200 : 503, why_not.empty() ? body : body + "\n"));
}

// Text format of Prometheus, as far as it is needed here.
class MetricsText {
 public:
  void add(const std::string& name, const char* type, const char* help, double value) {
    head(name, type, help);
    sample(name, "", value);
  }
  void head(const std::string& name, const char* type, const char* help) {
    text += "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
  }
  void sample(const std::string& name, const std::string& labels, double value) {
    char number[32];
    snprintf(number, sizeof number, "%.17g", value);
    text += name + labels + " " + number + "\n";
  }
  std::string text;
};

std::string labels_of(const net::Router::Route& route) {
  const char* kinds[] = {"unary", "client_stream", "server_stream", "bidi_stream"};
  return "grpc_method=\"" + route.method + "\",grpc_service=\"" + route.service + "\",grpc_type=\"" +
         kinds[static_cast<size_t>(route.kind)] + "\"";
}

void add_calls(MetricsText& out, const net::Router& router) {
  struct Family {
    const char* name;
    const char* help;
    uint64_t net::MethodStats::*value;
  };
  for (const Family& f :
       {Family{"grpc_server_started_total", "Calls begun.", &net::MethodStats::started},
        Family{"grpc_server_msg_received_total", "Messages from clients.", &net::MethodStats::messages_received},
        Family{"grpc_server_msg_sent_total", "Messages to clients.", &net::MethodStats::messages_sent}}) {
    out.head(f.name, "counter", f.help);
    for (const auto& route : router.routes())
      out.sample(f.name, "{" + labels_of(*route) + "}", static_cast<double>(route->stats.*f.value));
  }
  out.head("grpc_server_handled_total", "counter", "Calls ended, by code.");
  const char* codes[] = {"OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
                         "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
                         "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
                         "DataLoss", "Unauthenticated"};
  for (const auto& route : router.routes())
    for (size_t code = 0; code < route->stats.handled.size(); ++code)
      if (route->stats.handled[code] > 0)
        out.sample("grpc_server_handled_total",
                   "{grpc_code=\"" + std::string(codes[code]) + "\"," + labels_of(*route) + "}",
                   static_cast<double>(route->stats.handled[code]));
}

}  // namespace

void GrpcProxy::add_pages(net::Router& router) {
  router.set_http(
      [this](net::HttpRequest request, net::HttpReplyPtr reply) { page(std::move(request), std::move(reply)); });
}

void GrpcProxy::page(net::HttpRequest request, net::HttpReplyPtr reply) {
  bool is_health = request.path == "/health" || request.path == "/proxy/health";
  if (is_health && request.method != "GET") {
    net::HttpResponse no = net::HttpResponse::text(405, "Method Not Allowed\n");
    no.headers.emplace_back("Allow", "GET");
    return reply->send(std::move(no));
  }
  if (is_health) return health(request.path == "/proxy/health", std::move(reply));
  if (request.path == "/metrics") return member_metrics(std::move(reply));
  if (request.path == "/proxy/metrics") {
    net::HttpResponse ok = net::HttpResponse::text(200, own_metrics());
    ok.content_type = kMetricsType;
    return reply->send(std::move(ok));
  }
  net::HttpResponse missing = net::HttpResponse::text(404, "404 page not found\n");
  missing.headers.emplace_back("X-Content-Type-Options", "nosniff");
  reply->send(std::move(missing));
}

void GrpcProxy::health(bool of_proxy, net::HttpReplyPtr reply) {
  if (of_proxy && options_.members.advertise_client_url.empty()) {
    ++health_bad_;
    return answer_health(*reply, "no connection to proxy");
  }
  etcdserverpb::RangeRequest request;
  request.set_key("a");
  if (!name_space_.empty()) (void)name_space_.request(request);  // it has a key
  UpstreamCall call{"/etcdserverpb.KV/Range", serialize(request)};
  call.deadline = world_.loop->now() + kHealthReadTimeout;
  call.repeatable = true;
  auto kept = std::make_shared<net::HttpReplyPtr>(std::move(reply));
  upstream_.unary(std::move(call), [this, alive = alive_, of_proxy, kept](const Status& status, Bytes) {
    if (!*alive) return;
    if (status.is_ok() || status.code() == Code::kPermissionDenied) {
      if (of_proxy) return watch_health(std::move(*kept));
      ++health_good_;
      return answer_health(**kept, "");
    }
    ++health_bad_;
    answer_health(**kept, "GET ERROR:" + std::string(status.message()));
  });
}

void GrpcProxy::watch_health(net::HttpReplyPtr reply) {
  struct Try {
    net::HttpReplyPtr reply;
    WatchHub::StreamId stream = 0;
    io::TimerId timer = 0;
  };
  auto one = std::make_shared<Try>();
  one->reply = std::move(reply);
  auto end = [this, one](const std::string& why_not) {
    if (!one->reply) return;
    ++(why_not.empty() ? health_good_ : health_bad_);
    answer_health(*one->reply, why_not);
    one->reply = nullptr;
    world_.loop->cancel_timer(one->timer);
    watches_.close(one->stream);
  };
  etcdserverpb::WatchRequest request;
  request.mutable_create_request()->set_key("a");
  one->timer = world_.loop->add_timer(world_.loop->now() + kHealthWatchTimeout, [alive = alive_, end] {
    if (*alive) end("WATCH TIMEOUT");
  });
  one->stream = watches_.listen(request, [end](const etcdserverpb::WatchResponse&) { end(""); });
}

void GrpcProxy::member_metrics(net::HttpReplyPtr reply) {
  std::vector<std::string> endpoints = upstream_.endpoints();
  auto kept = std::make_shared<net::HttpReplyPtr>(std::move(reply));
  auto failed = [kept] { (*kept)->send(net::HttpResponse::text(500, "Internal server error\n")); };
  if (endpoints.empty()) return failed();
  std::string address = dial_address(endpoints.front(), upstream_.secure());
  std::string host = address.starts_with("tls:") ? address.substr(4) : address;
  fetch_page(world_, address, host, "/metrics", [kept, failed](Result<std::string> body) {
    if (!body.is_ok()) return failed();
    net::HttpResponse ok = net::HttpResponse::text(200, *body);
    ok.content_type = kMetricsType;
    (*kept)->send(std::move(ok));
  });
}

std::string GrpcProxy::own_metrics() const {
  WatchHub::Stats watch = watches_.stats();
  MetricsText out;
  auto number = [](uint64_t n) { return static_cast<double>(n); };
  out.add("etcd_grpc_proxy_cache_hits_total", "gauge", "Ranges answered from the cache.",
          number(kv_.stats().cache_hits));
  out.add("etcd_grpc_proxy_cache_keys_total", "gauge", "Ranges in the cache.", number(kv_.cache().size()));
  out.add("etcd_grpc_proxy_cache_misses_total", "gauge", "Serializable ranges that were not in the cache.",
          number(kv_.stats().cache_misses));
  out.add("etcd_grpc_proxy_events_coalescing_total", "counter", "Messages of watches that were not asked for again.",
          number(watch.events_coalesced));
  out.add("etcd_grpc_proxy_watchers_coalescing_total", "gauge", "Watchers that share another one's watch.",
          number(watch.coalescing));
  out.add("etcd_server_health_failures", "counter", "Health checks that failed.", number(health_bad_));
  out.add("etcd_server_health_success", "counter", "Health checks that succeeded.", number(health_good_));
  out.add("fairlead_proxy_watchers", "gauge", "Watchers of clients.", number(watch.watchers));
  out.add("fairlead_proxy_watches", "gauge", "Watches in the cluster.", number(watch.watches));
  out.add("fairlead_proxy_watches_resumed_total", "counter", "Watches made again after a lost connection.",
          number(watch.resumed));
  if (router_) add_calls(out, *router_);
  io::ProcessStats p = io::process_stats();
  out.add("process_cpu_seconds_total", "counter", "User and system time.", p.cpu_seconds);
  out.add("process_open_fds", "gauge", "Open file descriptors.", number(p.files_open));
  out.add("process_resident_memory_bytes", "gauge", "Resident memory.", number(p.resident_bytes));
  out.add("process_start_time_seconds", "gauge", "Start, in Unix time.", p.start_unix_seconds);
  return std::move(out.text);
}

}  // namespace fairlead::proxy
