// etcd's v3 services and the pages beside them, served by one node. Each stage of a call is one step: decode, check,
// then propose, read or stream; the error is etcd's at each place.
//
// Threads: the loop of the node and of the server. The Api must outlive the net::Server and die before the Node.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/histogram.h"
#include "base/version.h"
#include "server/api/access.h"
#include "server/api/audit.h"
#include "server/api/gateway.h"
#include "server/api/hot_keys.h"
#include "server/api/identity.h"
#include "server/api/kv_codec.h"
#include "server/api/passwords.h"
#include "server/api/request_log.h"
#include "server/api/tracer.h"
#include "server/io/io.h"
#include "server/io/real/watchdog.h"
#include "server/net/router.h"
#include "server/net/server.h"
#include "server/node/node.h"

namespace fairleadpb {
class SlowWatch;
}

namespace fairlead::api {

using fairlead::kEtcdVersion;
using fairlead::kFairleadVersion;
constexpr size_t kGrpcOverheadBytes = 512 * 1024;  // as etcd: room beside --max-request-bytes
constexpr size_t kHashesToldMax = 10;              // as etcd
constexpr size_t kClientVersionsMax = 64;          // of each kind of call; further and longer ones count as "other"
constexpr size_t kClientVersionBytesMax = 64;
constexpr size_t kKeepAlivesInFlightMax = 1000;  // of one stream; then its input waits

struct AuthOptions {
  std::string token = "simple";  // --auth-token
  int bcrypt_cost = kBcryptCostDefault;
};

// --enable-distributed-tracing and what belongs to it.
struct TracingOptions {
  ExportOptions collector;
  int64_t sampling_rate = 0;  // of a million
};

// What the debug pages look at and change outside of the node; empty where a program has none of it.
struct DebugOptions {
  bool enabled = false;  // --enable-pprof, or the level debug from the start
  std::vector<std::string> command_line;
  std::function<std::string()> log_level;
  std::function<Status(std::string_view)> set_log_level;
};

struct ApiOptions {
  AuthOptions auth;
  io::Nanos warning_unary_request = 300 * io::kMillisecond;
  std::optional<TracingOptions> tracing;
  DebugOptions debug;
  bool gateway_enabled = true;
  GatewayOptions gateway;
  std::set<std::string> cors = {"*"};            // origins; "*" or none: all
  std::set<std::string> host_whitelist = {"*"};  // hosts of plain HTTP requests; "*" or none: all
};

class Claim;
class Page;

// What a probe is told while the loop has stood for so long; a whole HTTP response. Any thread.
std::string answer_while_stalled(std::string_view path, io::Nanos stalled);

class Api {
 public:
  Api(const io::World& world, node::Node& node, ApiOptions options = {});
  ~Api();

  // Before anything is served: reads the keys of --auth-token, and blocks.
  Status open_auth();

  // gRPC services and HTTP pages of the client port.
  void add_client_routes(net::Router& router);
  // Only the HTTP pages of the client port, the gateway to these methods among them.
  void add_client_pages(net::Router& pages, net::Router& methods);
  // Only /metrics, /health, /livez, /readyz, /version: --listen-metrics-urls.
  void add_metrics_routes(net::Router& router);
  // Members' connections, and the pages that other members and tools ask for.
  void add_peer_routes(net::Router& router);

  // For the metrics page: the servers whose calls and connections it counts.
  void set_servers(const net::Server* client, const net::Router* client_router) {
    server_ = client, client_router_ = client_router;
  }

  // One of the sides that speak TLS ("client", "peer"); null where it does not.
  struct TlsSide {
    const char* name;
    const net::Server* server;
    const net::TlsContext* context;
  };
  void set_watchdog(const io::Watchdog* watchdog) { watchdog_ = watchdog; }
  void set_tls(std::vector<TlsSide> sides) { tls_sides_ = std::move(sides); }
  // How long finished calls of the Maintenance service took, for the metrics page.
  struct Durations {
    Histogram<15> hash{.first_bound = 0.01};      // Hash
    Histogram<15> hash_rev{.first_bound = 0.01};  // HashKV
    Histogram<17> snapshot{.first_bound = 0.01};  // Snapshot, to its last byte
  };
  Durations& durations() { return durations_; }

  // A feature gate as --feature-gates sets it, for the metrics page.
  struct Feature {
    std::string name, stage;
    bool enabled = false;
  };
  void set_features(std::vector<Feature> features) { features_ = std::move(features); }

  // Cluster id, member id and term of now, with the revision that a reply speaks of.
  Header header(int64_t revision) const;
  Header header() const { return header(node_.keyspace().revision()); }
  node::Node& node() { return node_; }
  const io::World& world() const { return world_; }
  std::string metrics_text();
  RequestLog& requests() { return *requests_; }
  Tracer* tracer() { return tracer_.get(); }  // null: no tracing
  // Spans that wait are sent, once; for the end of the program.
  void flush_traces(std::function<void()> done);
  // Snapshots on their way to clients.
  size_t snapshots_open() const { return snapshots_open_; }
  void snapshot_opened(int by) { snapshots_open_ += static_cast<size_t>(by); }
  // What `top` shows (top.cc): keys that are asked for, streams of watches that are open.
  HotKeys& hot_keys() { return hot_keys_; }
  void watch_opened(mvcc::StreamId stream, const net::ServerCall& call) { watch_calls_.emplace(stream, &call); }
  void watch_closed(mvcc::StreamId stream) { watch_calls_.erase(stream); }

  // --- who asks (access.h)
  // The caller's identity; nobody while authentication is off or where none was shown. Unauthenticated "invalid auth
  // token" for a token that is not valid.
  Result<node::Caller> caller(const net::CallRef& call);
  // For the log; take it while the call is not done.
  Asker asker(const net::CallRef& call);
  Status require_user(const net::CallRef& call);   // any authenticated user
  Status require_admin(const net::CallRef& call);  // etcd's error unless the caller has the role root
  // The same for streams, and for whoever must not be wrong: a token that this member does not know yet is waited for.
  // Runs `use` inside the call where nothing has to be waited for; not at all once the call is done.
  void with_caller(const net::CallRef& call, std::function<void(const Result<node::Caller>&)> use);

  // For pages that only root may use: judged by the token in the header Authorization, else by the name of a
  // certificate.
  void with_http_admin(const net::HttpRequest& request, std::string common_name,
                       std::function<void(const Status&)> use);

  // Calls by kind and the version that clients say they speak (etcd_server_client_requests_total).
  struct ClientVersion {
    bool unary = false;
    std::string version;
    uint64_t calls = 0;
  };
  const std::vector<ClientVersion>& client_versions() const { return client_versions_; }

 private:
  // What holds for every call: asked by the router before each.
  Status admit_call(net::ServerCall& call, const Bytes* request);
  void count_client_version(bool unary, std::string_view version);
  void watch_for_a_leader();

  void add_kv(net::Router& router);
  void add_watch(net::Router& router);
  void add_lease(net::Router& router);
  void add_cluster(net::Router& router);
  void add_maintenance(net::Router& router);
  void add_probe(net::Router& router);
  void add_top(net::Router& router);
  void add_lock(net::Router& router);
  void add_election(net::Router& router);
  void add_health(net::Router& router);
  void add_reflection(net::Router& router);
  void add_auth(net::Router& router);
  void add_users(net::Router& router);
  void add_roles(net::Router& router);

  // access.cc
  void guard(net::Router& router);
  Status admit(Access access, const Result<node::Caller>& who) const;
  void run_admitted(Access access, const net::UnaryMethod& inner, net::CallRef call, Bytes request, bool again);
  std::unique_ptr<net::CallHandler> open_admitted(Access access, const net::StreamMethod& inner, net::ServerCall& call);

  // auth.cc
  struct LogIn;
  void change_users(net::CallRef call, const mvcc::AuthChange& change);
  void change_users_hashed(net::CallRef call, std::string password, mvcc::AuthChange change);
  void change_password(net::CallRef call, const Bytes& request);
  void log_in(std::shared_ptr<LogIn> attempt);
  void give_token(std::shared_ptr<LogIn> attempt);
  void add_snapshot(net::Router& router);
  void add_downgrade(net::Router& router);

  void put(net::CallRef call, const Bytes& request);
  void range(net::CallRef call, const Bytes& request);
  void delete_range(net::CallRef call, const Bytes& request);
  void txn(net::CallRef call, const Bytes& request);
  void compact(net::CallRef call, const Bytes& request);
  void reply_when_compacted(net::CallRef call);

  std::vector<fairleadpb::SlowWatch> slow_watches();

  void reply_downgrade(const net::CallRef& call);
  void downgrade_enabled(const net::HttpRequest& request, net::HttpReplyPtr reply);
  std::string version_body() const;
  Bytes status_reply() const;
  void alarm(net::CallRef call, const Bytes& request);
  void hash_kv(net::CallRef call, const Bytes& request);
  void remember_hash(const storage::HashKv& kv);
  void hash(net::CallRef call);
  void hash_kv_page(const net::HttpRequest& request, net::HttpReplyPtr reply);
  std::string alarm_reason(const std::vector<std::string>& excluded) const;

  // The members service (members.cc) and the peer port's pages (peer_pages.cc).
  template <typename Response, typename Shape>
  void change_members(net::CallRef call, node::MemberChange change, Shape shape);
  void promote(const net::HttpRequest& request, net::HttpReplyPtr reply);
  net::HttpResponse with_cluster_id(net::HttpResponse response);
  // A learner serves Range (serializable), Status and Snapshot only.
  Status served_here(std::string_view path) const;

  void run_claim(net::CallRef call, std::shared_ptr<Claim> claim,
                 std::function<Bytes(const Claim& claim, int64_t revision)> reply);
  void campaign(net::CallRef call, const Bytes& request);
  void proclaim(net::CallRef call, const Bytes& request);
  void resign(net::CallRef call, const Bytes& request);
  void leader(net::CallRef call, const Bytes& request);

  void handle_client_http(net::Router& router, net::HttpRequest request, net::HttpReplyPtr reply);
  void handle_http(net::HttpRequest request, net::HttpReplyPtr reply, bool client_port);
  void add_health(Page& page) const;
  void health(const net::HttpRequest& request, net::HttpReplyPtr reply);
  void metrics(net::HttpReplyPtr reply);
  void add_requests(Page& page) const;

  // debug_pages.cc; false: not one of them, or not served here
  bool serve_debug(const net::HttpRequest& request, net::HttpReplyPtr& reply, bool client_port);
  void log_level_page(const net::HttpRequest& request, net::HttpReplyPtr reply, bool client_port);
  void slow_requests_page(const net::HttpRequest& request, net::HttpReplyPtr reply);
  void profile_page(const net::HttpRequest& request, net::HttpReplyPtr reply);
  void symbol_page(const net::HttpRequest& request, net::HttpReplyPtr reply);
  std::string vars_body() const;
  void checks(const net::HttpRequest& request, net::HttpReplyPtr reply, bool ready);

  io::World world_;
  node::Node& node_;
  ApiOptions options_;
  Identities identities_;
  Passwords passwords_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<Tracer> tracer_;  // null: no tracing
  std::unique_ptr<RequestLog> requests_;
  double metrics_page_seconds_ = 0;
  size_t symbol_pages_ = 0;  // being made
  // While an admitted handler's first part runs: whose call it is.
  const net::ServerCall* admitted_call_ = nullptr;
  const node::Caller* admitted_ = nullptr;
  mvcc::RangeResult point_read_;  // while range() runs
  const net::Server* server_ = nullptr;
  const net::Router* client_router_ = nullptr;
  const io::Watchdog* watchdog_ = nullptr;
  std::vector<TlsSide> tls_sides_;
  std::deque<storage::HashKv> hashes_told_;  // to clients, newest last
  size_t snapshots_open_ = 0;
  HotKeys hot_keys_;
  std::map<mvcc::StreamId, const net::ServerCall*> watch_calls_;
  uint64_t health_success_ = 0;
  uint64_t health_failures_ = 0;
  struct CheckCount {
    bool last = false;
    uint64_t succeeded = 0, failed = 0;
  };
  std::map<std::pair<std::string, std::string>, CheckCount> health_checks_;  // {livez or readyz, name}
  std::vector<Feature> features_;
  Durations durations_;
  io::Nanos started_at_;
  std::vector<ClientVersion> client_versions_;
  // Streams that asked to be ended when there is no leader; ended ones are dropped at the next look.
  std::vector<net::CallRef> leader_streams_;
  size_t leader_streams_look_at_ = 0;
  int looks_without_leader_ = 0;
  io::TimerId leader_timer_ = 0;
};

}  // namespace fairlead::api
