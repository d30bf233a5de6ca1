// Pages for finding faults: /debug/requests, /debug/vars, /debug/pprof/, /config/local/log.
#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "server/api/api.h"
#include "server/api/pages.h"
#include "server/io/real/cpu_profile.h"
#include "server/io/real/symbols.h"

namespace fairlead::api {
namespace {

constexpr int64_t kProfileSecondsDefault = 30;  // as Go's
constexpr int64_t kProfileSecondsMax = 300;
constexpr size_t kSymbolsMax = 100'000;  // asked for at once
constexpr size_t kSymbolPagesMax = 8;    // being made, each by a worker

net::HttpResponse plain(int status, const std::string& text) {
  net::HttpResponse r = net::HttpResponse::text(status, text);
  r.headers.emplace_back("X-Content-Type-Options", "nosniff");
  return r;
}

net::HttpResponse only(const std::string& methods) {
  net::HttpResponse r = plain(405, "Method Not Allowed\n");
  r.headers.emplace_back("Allow", methods);
  return r;
}

constexpr std::string_view kIndex =
    "<html><head><title>/debug/pprof/</title></head><body>/debug/pprof/<ul>"
    "<li><a href=\"profile?seconds=30\">profile</a>: where CPU time goes, for <code>go tool pprof</code> "
    "(?seconds=, at most 300)</li>"
    "<li><a href=\"cmdline\">cmdline</a>: the command line of this process</li>"
    "<li><a href=\"symbol\">symbol</a>: the names of addresses, for the tools</li></ul>"
    "goroutine, heap, block, mutex, threadcreate and trace are Go's; this server has none of it. Memory: "
    "<code>process_resident_memory_bytes</code> of <a href=\"/metrics\">/metrics</a>; slow requests: <a "
    "href=\"/debug/requests\">/debug/requests</a>.</body></html>\n";

}  // namespace

bool Api::serve_debug(const net::HttpRequest& request, net::HttpReplyPtr& reply, bool client_port) {
  const std::string& path = request.path;
  if (path == "/config/local/log" && options_.debug.log_level)
    return log_level_page(request, std::move(reply), client_port), true;
  if (path == "/debug/requests") return slow_requests_page(request, std::move(reply)), true;
  if (!client_port) return false;
  if (path == "/debug/vars") {
    if (request.method != "GET") return reply->send(only("GET")), true;
    net::HttpResponse r = net::HttpResponse::json(200, vars_body());
    r.content_type = "application/json; charset=utf-8";
    return reply->send(std::move(r)), true;
  }
  if (!options_.debug.enabled || !path.starts_with("/debug/pprof")) return false;
  if (path == "/debug/pprof/profile") return profile_page(request, std::move(reply)), true;
  if (path == "/debug/pprof/symbol") return symbol_page(request, std::move(reply)), true;
  if (path == "/debug/pprof/cmdline") {
    std::string line;
    for (const std::string& word : options_.debug.command_line)
      line += (line.empty() ? "" : std::string(1, '\0')) + word;
    return reply->send(plain(200, line)), true;
  }
  if (path != "/debug/pprof/" && path != "/debug/pprof") return false;
  net::HttpResponse index = plain(200, std::string(kIndex));
  index.content_type = "text/html; charset=utf-8";
  return reply->send(std::move(index)), true;
}

// The level of now, and another one until the next start: {"Level":"debug"}, as etcd's 3.4 took it. Who may change it:
// on the client port anybody while authentication is off, else root by its token; on a metrics port nobody.
void Api::log_level_page(const net::HttpRequest& request, net::HttpReplyPtr reply, bool client_port) {
  if (request.method == "GET")
    return reply->send(
        net::HttpResponse::json(200, nlohmann::json{{"Level", options_.debug.log_level()}}.dump() + "\n"));
  if (request.method != "PUT" || !client_port) return reply->send(only(client_port ? "GET, PUT" : "GET"));
  std::shared_ptr<net::HttpReply> shared(std::move(reply));
  with_http_admin(request, request.peer_common_name, [this, shared, body = request.body](const Status& allowed) {
    if (!allowed.is_ok()) return shared->send(plain(401, std::string(allowed.message()) + "\n"));
    auto json = nlohmann::json::parse(body, nullptr, false);
    if (!json.is_object() || !json.contains("Level") || !json["Level"].is_string())
      return shared->send(plain(400, "the body is to be {\"Level\":\"debug\"}, or another level\n"));
    std::string level = json["Level"];
    std::transform(level.begin(), level.end(), level.begin(), [](unsigned char c) { return std::tolower(c); });
    if (level == "warning") level = "warn";
    if (Status s = options_.debug.set_log_level(level); !s.is_ok())
      return shared->send(plain(400, std::string(s.message()) + "\n"));
    world_.log->log(io::LogLevel::kWarn, "the log level was changed", {{"level", level}});
    net::HttpResponse done = plain(204, "");
    shared->send(std::move(done));
  });
}

// Keys and addresses are shown where the debug pages are asked for; times always.
void Api::slow_requests_page(const net::HttpRequest& request, net::HttpReplyPtr reply) {
  if (request.method != "GET" && request.method != "HEAD") return reply->send(only("GET"));
  std::vector<SlowRequest> calls = requests_->slowest();
  if (!options_.debug.enabled && !world_.log->enabled(io::LogLevel::kDebug))
    for (SlowRequest& r : calls) r.content.clear(), r.peer.clear();
  std::vector<std::string> format = request.query_values("format");
  bool json = (!format.empty() && format[0] == "json") ||
              request.header("accept").find("application/json") != std::string_view::npos;
  if (json) return reply->send(net::HttpResponse::json(200, slow_requests_json(calls)));
  net::HttpResponse page = plain(200, slow_requests_html(calls));
  page.content_type = "text/html; charset=utf-8";
  reply->send(std::move(page));
}

std::string Api::vars_body() const {
  node::NodeStatus s = node_.status();
  const char* state = node_.is_leader() ? "StateLeader" : node_.has_leader() ? "StateFollower" : "StateCandidate";
  nlohmann::ordered_json vars = {{"cmdline", options_.debug.command_line},
                                 {"raft.status",
                                  {{"id", hex(s.member.value)},
                                   {"term", s.term.value},
                                   {"commit", s.raft_index.value},
                                   {"lead", hex(s.leader.value)},
                                   {"raftState", state},
                                   {"applied", s.applied.value}}}};
  return vars.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

void Api::profile_page(const net::HttpRequest& request, net::HttpReplyPtr reply) {
  int64_t seconds = kProfileSecondsDefault;
  if (std::vector<std::string> asked = request.query_values("seconds"); !asked.empty()) {
    auto [end, error] = std::from_chars(asked[0].data(), asked[0].data() + asked[0].size(), seconds);
    if (error != std::errc() || *end != '\0' || seconds <= 0) seconds = kProfileSecondsDefault;
  }
  seconds = std::min(seconds, kProfileSecondsMax);
  if (Status s = io::start_cpu_profile(); !s.is_ok())
    return reply->send(plain(500, "Could not enable CPU profiling: " + std::string(s.message()) + "\n"));
  std::shared_ptr<net::HttpReply> shared(std::move(reply));
  world_.loop->add_timer(world_.loop->now() + seconds * io::kSecond, [this, shared, alive = alive_] {
    if (!*alive) return;
    auto profile = std::make_shared<std::string>();
    world_.workers->run([profile] { *profile = io::stop_cpu_profile(); },
                        [shared, profile] {
                          net::HttpResponse r = plain(200, "");
                          r.body = Bytes::take(std::move(*profile));
                          r.content_type = "application/octet-stream";
                          r.headers.emplace_back("Content-Disposition", "attachment; filename=\"profile\"");
                          shared->send(std::move(r));
                        });
  });
}

// "0x1234+0x5678" in the body or the query -> a line "0x1234 name" for each that is known; without one: how many
// symbols there are, as pprof's tools ask first.
void Api::symbol_page(const net::HttpRequest& request, net::HttpReplyPtr reply) {
  std::string asked = request.method == "POST" ? request.body : request.query;
  if (symbol_pages_ >= kSymbolPagesMax) return reply->send(plain(503, "too many requests\n"));
  ++symbol_pages_;
  std::shared_ptr<net::HttpReply> shared(std::move(reply));
  auto answer = std::make_shared<std::string>("num_symbols: 1\n");
  world_.workers->run(
      [asked = std::move(asked), answer] {
        std::string_view rest = asked;
        for (size_t n = 0; !rest.empty() && n < kSymbolsMax; ++n) {
          std::string_view word = rest.substr(0, rest.find('+'));
          rest.remove_prefix(std::min(rest.size(), word.size() + 1));
          std::string_view digits = word.starts_with("0x") ? word.substr(2) : word;
          uint64_t address = 0;
          auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), address, 16);
          if (error != std::errc() || address == 0) continue;
          if (std::string name = io::symbol_of(address); !name.empty())
            *answer += std::string(word) + " " + name + "\n";
        }
      },
      [this, shared, answer, alive = alive_] {
        if (*alive) --symbol_pages_;
        shared->send(plain(200, *answer));
      });
}

}  // namespace fairlead::api
