// The server: flags, then one loop with everything on it, until a signal.
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "server/api/api.h"
#include "server/import/import.h"
#include "server/io/real/process_stats.h"
#include "server/io/real/watchdog.h"
#include "server/io/real/world.h"
#include "server/main/bootstrap.h"
#include "server/main/failpoints.h"
#include "server/main/gates.h"
#include "server/main/gateway_command.h"
#include "server/main/grpc_proxy_command.h"
#include "server/main/join.h"
#include "server/main/notify.h"
#include "server/main/options.h"
#include "server/main/sub_command.h"
#include "server/main/tls_setup.h"
#include "server/net/server.h"
#include "server/node/autocompact.h"
#include "server/node/node.h"
#include "server/peer/channel.h"

namespace fairlead::server {
namespace {

constexpr size_t kValueCacheDefaultMax = 64 << 20;
constexpr int64_t kRequestBytesMax = 100 << 20;
static_assert(kRequestBytesMax < peer::kBodyBytesMax, "what is accepted from clients can be sent to members");
constexpr io::Nanos kTrimInterval = 10 * io::kSecond;
constexpr io::Nanos kDrainMax = 200 * io::kMillisecond;
constexpr io::Nanos kTraceFlushMax = 2 * io::kSecond;
constexpr int kExitBadUsage = 2;  // as etcd

std::optional<std::string> environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? std::optional<std::string>(value) : std::nullopt;
}

std::vector<std::string> environment_lines() {
  std::vector<std::string> lines;
  for (char** line = environ; *line; ++line) lines.emplace_back(*line);
  return lines;
}

// Chunks of records come and go in hundreds of KiB: mapped one by one they go back to the system when they are freed,
// instead of staying behind as holes in the heap. Setting the threshold also stops glibc from raising it by itself.
void tune_allocator() {
  mallopt(M_MMAP_THRESHOLD, 128 * 1024);
  mallopt(M_TRIM_THRESHOLD, 4 * 1024 * 1024);  // more than a page of a list takes and gives back
  mallopt(M_ARENA_MAX, 2);
}

void raise_file_limit() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

void block_stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Result<std::shared_ptr<io::LogSink>> open_log_sink(const Options& o) {
  std::vector<std::string> outputs = split_list(o.log_outputs);
  if (outputs.empty()) outputs.push_back("default");
  std::replace(outputs.begin(), outputs.end(), std::string("default"), std::string("stderr"));
  io::LogRotation rotation;
  if (o.enable_log_rotation) {
    ASSIGN_OR_RETURN(LogRotationConfig config, parse_log_rotation(o.log_rotation_config_json));
    rotation = {config.size_mb_max << 20, config.age_days_max, config.backups_max, config.local_time, config.compress};
  }
  ASSIGN_OR_RETURN(io::LogSink sink, io::LogSink::open(outputs, o.enable_log_rotation ? &rotation : nullptr));
  return std::make_shared<io::LogSink>(std::move(sink));
}

Result<node::Config> node_config(const Options& o) {
  node::Config c;
  c.name = o.name;
  c.name_given = o.given.contains("name");
  c.data_dir = o.data_dir;
  c.log_dir = o.wal_dir;
  c.force_alone = o.force_new_cluster;
  c.catchup_entries = static_cast<uint64_t>(o.snapshot_catchup_entries);
  c.downgrade_check_interval = o.downgrade_check_time_ms * io::kMillisecond;
  ASSIGN_OR_RETURN(c.advertise_client_urls, split_urls("advertise-client-urls", o.advertise_client_urls));
  if (!o.initial_cluster.empty()) {
    ASSIGN_OR_RETURN(c.initial_cluster, parse_initial_cluster(o.initial_cluster));
  }
  c.initial_cluster_token = o.initial_cluster_token;
  c.token_given = o.given.contains("initial-cluster-token");
  c.initial_cluster_new = o.initial_cluster_state == "new";
  c.strict_reconfig_check = o.strict_reconfig_check;
  c.learners_max = static_cast<size_t>(std::max<int64_t>(o.max_learners, 0));
  c.heartbeat_interval = o.heartbeat_interval_ms * io::kMillisecond;
  c.election_timeout = o.election_timeout_ms * io::kMillisecond;
  if (o.auth_token_ttl_seconds > 0) c.auth_token_ttl = o.auth_token_ttl_seconds * io::kSecond;
  c.corrupt_check_interval = o.corrupt_check_time_ms * io::kMillisecond;
  c.compact_hash_check = gate_enabled(o.feature_gates, "CompactHashCheck");
  c.compact_hash_check_interval = o.compact_hash_check_time_ms * io::kMillisecond;
  c.initial_corrupt_check = gate_enabled(o.feature_gates, "InitialCorruptCheck");
  c.lease_checkpoint = gate_enabled(o.feature_gates, "LeaseCheckpoint");
  c.lease_checkpoint_interval = o.fairlead_lease_checkpoint_interval_ms * io::kMillisecond;
  c.free_space_floor_bytes = static_cast<uint64_t>(o.fairlead_free_space_floor_bytes);
  c.quota_bytes = o.quota_backend_bytes;
  c.auto_disarm_delay = o.fairlead_auto_disarm_delay_ms * io::kMillisecond;
  c.txn_ops_max = static_cast<size_t>(o.max_txn_ops);
  if (o.max_request_bytes < 0 || o.max_request_bytes > kRequestBytesMax)
    return invalid_argument("--max-request-bytes must be from 0 to " + std::to_string(kRequestBytesMax));
  c.request_bytes_max = static_cast<size_t>(o.max_request_bytes);
  c.slow_apply = o.warning_apply_duration_ms * io::kMillisecond;
  c.watch_progress_interval = o.watch_progress_notify_interval_ms * io::kMillisecond;
  auto memory = o.fairlead_memory_limit_bytes > 0 ? static_cast<uint64_t>(o.fairlead_memory_limit_bytes)
                                                  : io::memory_max_bytes() / 2;
  c.value_cache_bytes = o.fairlead_value_cache_bytes > 0 ? static_cast<size_t>(o.fairlead_value_cache_bytes)
                                                         : std::min<size_t>(memory / 4, kValueCacheDefaultMax);
  c.checkpoint_tail_bytes = static_cast<size_t>(std::max<int64_t>(o.fairlead_checkpoint_tail_bytes, 1 << 20));
  c.log_segment_bytes = static_cast<size_t>(o.fairlead_log_segment_bytes) / io::kDiskBlockBytes * io::kDiskBlockBytes;
  if (c.log_segment_bytes < (1 << 20)) return invalid_argument("--fairlead-log-segment must be at least 1MiB");
  return c;
}

// As Go's HTTP/2 prints it where GODEBUG asks for it: for finding faults only, so it may wait for stderr. Credentials
// are left out.
void print_header(std::string_view name, std::string_view value) {
  bool secret = name == "token" || name == "authorization";
  std::string quoted;
  for (char c : secret ? std::string_view("***") : value) {
    if (c == '"' || c == '\\') quoted.push_back('\\');
    quoted.push_back(c);
  }
  fprintf(stderr, "http2: decoded hpack field header field \"%s\" = \"%s\"\n", std::string(name).c_str(),
          quoted.c_str());
}

std::set<std::string> split_names(const std::string& list) {
  std::vector<std::string> names = split_list(list);
  return {names.begin(), names.end()};
}

api::ApiOptions api_options(const Options& o) {
  api::ApiOptions a;
  a.auth = {o.auth_token, static_cast<int>(o.bcrypt_cost)};
  a.gateway_enabled = o.enable_grpc_gateway;
  a.gateway.legacy_errors = o.fairlead_gateway_legacy_errors;
  a.cors = split_names(o.cors);
  a.host_whitelist = split_names(o.host_whitelist);
  a.warning_unary_request = o.warning_unary_request_duration_ms * io::kMillisecond;
  a.debug.enabled = o.enable_pprof || o.log_level == "debug";
  if (o.enable_distributed_tracing)
    a.tracing = {{o.distributed_tracing_address, o.distributed_tracing_service_name, o.distributed_tracing_instance_id},
                 o.distributed_tracing_sampling_rate};
  return a;
}

net::ServerOptions client_options(const Options& o) {
  net::ServerOptions s;
  s.measure_handling = o.metrics == "extensive";
  s.message_bytes_max = static_cast<size_t>(o.max_request_bytes) + api::kGrpcOverheadBytes;
  s.http_body_bytes_max = 2 * s.message_bytes_max;  // as JSON, in base64
  s.connection_partial_bytes_max = std::max(s.connection_partial_bytes_max, 4 * s.message_bytes_max);
  s.concurrent_streams_max =
      static_cast<uint32_t>(std::min<int64_t>(o.max_concurrent_streams, s.concurrent_streams_max));
  s.ping_min_interval = o.grpc_keepalive_min_time_ms * io::kMillisecond;
  s.ping_interval = o.grpc_keepalive_interval_ms * io::kMillisecond;
  s.ping_timeout = o.grpc_keepalive_timeout_ms * io::kMillisecond;
  if (environment("GODEBUG").value_or("").find("http2debug=2") != std::string::npos) s.trace_header = print_header;
  return s;
}

// Everything of a running member. Destroyed in reverse: servers, pages, node, world.
class Member {
 public:
  Member(std::unique_ptr<io::RealWorld> world, const Options& options, std::vector<std::string> command_line)
      : world_(std::move(world)), w_(world_->world()), options_(options), command_line_(std::move(command_line)) {
    world_->logger().install_check_handler();
  }

  // The node starts inside this call, or later on the loop where discovery has to look something up first.
  Status start() {
    ASSIGN_OR_RETURN(tls_, TlsSetup::create(w_, options_));
    tls_net_ = std::make_unique<net::TlsNet>(*w_.loop, *w_.net, [this] { return tls_->dial(); });
    w_.net = tls_net_.get();
    ASSIGN_OR_RETURN(node::Config config, node_config(options_));
    // Nothing is made on the disk before all that can be wrong with flags and addresses was looked at.
    ASSIGN_OR_RETURN(compaction_,
                     node::parse_auto_compaction(options_.auto_compaction_mode, options_.auto_compaction_retention));
    if (Status s = api::check_auth_token(*w_.disk, options_.auth_token); !s.is_ok())
      return Status(s.code(), "--auth-token: " + std::string(s.message()));
    RETURN_IF_ERROR(try_addresses());
    check_permission(config.data_dir);
    if (config.quota_bytes < 0) w_.log->info("disabled backend quota", {{"quota-size-bytes", config.quota_bytes}});
    RETURN_IF_ERROR(import_data(config.data_dir, config.log_dir));
    bootstrap_ = std::make_unique<Bootstrap>(w_, options_);
    Status outcome;
    inside_start_ = true;
    bootstrap_->run(std::move(config), [this, &outcome](Result<node::Config> found) {
      Status s = found.is_ok() ? start_node(std::move(*found)) : found.status();
      if (!inside_start_) return fail_late(s);
      outcome = std::move(s);
    });
    inside_start_ = false;
    return outcome;
  }

  // The last line of a member that cannot go on, in the log as all others.
  int fail(const Status& why) {
    w_.log->log(io::LogLevel::kFatal, "fairlead ends", {{"error", why.message()}});
    return 1;
  }

  int run() {
    for (int signal_number : {SIGTERM, SIGINT})
      world_->loop().on_signal(signal_number, [this, signal_number] {
        stop(signal_number == SIGTERM ? "received signal terminated" : "received signal interrupt");
      });
    world_->loop().run();
    return exit_code_;
  }

 private:
  // A directory that etcd has left behind becomes ours, beside etcd's own files.
  Status import_data(const std::string& dir, const std::string& wal_dir) {
    if (!import::is_etcd_directory(*w_.disk, dir)) return {};
    w_.log->info("importing etcd's data", {{"data-dir", dir}});
    ASSIGN_OR_RETURN(import::Report report, import::import_directory(w_, dir, wal_dir));
    w_.log->info("imported etcd's data; its own files stay as they are", {{"data-dir", dir},
                                                                          {"revision", report.revision},
                                                                          {"records", report.records},
                                                                          {"leases", report.leases},
                                                                          {"users", report.users},
                                                                          {"keys-detached", report.keys_detached}});
    return {};
  }

  Status start_node(node::Config config) {
    if (!config.initial_cluster_new) {
      ASSIGN_OR_RETURN(bool first, node::Node::first_start(w_, config.data_dir));
      if (first) {
        net::TlsConfig tls = tls_->peer() ? tls_->peer()->config() : net::TlsConfig();
        ASSIGN_OR_RETURN(config.join, ask_cluster(config.initial_cluster, config.name, config.learners_max, tls));
      }
    }
    ASSIGN_OR_RETURN(node_, node::Node::open(w_, std::move(config)));
    node_->set_on_fatal([this](const Status&) {  // which it has logged
      exit_code_ = 1;
      world_->loop().stop();
    });
    node_->set_on_removed([this] { stop("removed from the cluster"); });
    api::ApiOptions api_settings = api_options(options_);
    add_debug(api_settings.debug);
    api::AuthOptions& auth = api_settings.auth;
    if (auth.bcrypt_cost < api::kBcryptCostMin || auth.bcrypt_cost > api::kBcryptCostMax) {
      w_.log->warn("use default bcrypt cost instead of the invalid given cost",
                   {{"given-cost", auth.bcrypt_cost}, {"default-cost", api::kBcryptCostDefault}});
      auth.bcrypt_cost = api::kBcryptCostDefault;
    }
    api_ = std::make_unique<api::Api>(w_, *node_, std::move(api_settings));
    if (Status s = api_->open_auth(); !s.is_ok()) return invalid_argument("--auth-token: " + std::string(s.message()));
    api_->add_client_routes(client_router_);
    if (!options_.listen_client_http_urls.empty()) {  // gRPC and pages apart
      client_router_.set_http(nullptr);
      api_->add_client_pages(client_http_router_, client_router_);
    }
    api_->add_metrics_routes(metrics_router_);
    api_->add_peer_routes(peer_router_);
    node_->start();  // its turn hook comes before the servers'
    clients_ = std::make_unique<net::Server>(w_, client_options(options_));
    peers_ = std::make_unique<net::Server>(w_, net::ServerOptions());
    std::vector<api::Api::Feature> features;
    for (const Gate& gate : all_gates())
      features.push_back({gate.name, gate.stage, gate_enabled(options_.feature_gates, gate.name)});
    api_->set_features(std::move(features));
    api_->set_servers(clients_.get(), &client_router_);
    api_->set_tls({{"client", clients_.get(), tls_->client()}, {"peer", peers_.get(), tls_->peer()}});
    RETURN_IF_ERROR(listen(*peers_, "listen-peer-urls", options_.listen_peer_urls, peer_router_, &TlsSetup::for_peers));
    RETURN_IF_ERROR(
        listen(*peers_, "listen-metrics-urls", options_.listen_metrics_urls, metrics_router_, &TlsSetup::for_metrics));
    start_compactor();
    RETURN_IF_ERROR(start_watchdog());
    // Clients are let in when this member is part of its cluster, as with etcd: a connection then means service.
    node_->on_published([this] { serve_clients(); });
    malloc_trim(0);  // what the start has used
    trim_later();
    return {};
  }

  void add_debug(api::DebugOptions& debug) {
    debug.command_line = command_line_;
    debug.log_level = [this] { return std::string(io::log_level_name(world_->logger().level())); };
    debug.set_log_level = [this](std::string_view name) -> Status {
      ASSIGN_OR_RETURN(io::LogLevel level, io::parse_log_level(name));
      world_->logger().set_level(level);
      return {};
    };
  }

  // Where probes ask, somebody answers also when the loop stands: on the plain listeners of --listen-metrics-urls.
  Status start_watchdog() {
    watchdog_ = std::make_unique<io::Watchdog>(*w_.loop, world_->logger(), api::answer_while_stalled);
    api_->set_watchdog(watchdog_.get());
    for (const std::string& address : metrics_addresses_) {
      ASSIGN_OR_RETURN(int fd, world_->net().share_listener(address));
      watchdog_->share(fd);
    }
    return {};
  }

  void start_compactor() {
    node::AutoCompactor::Store store;
    store.revision = [this] { return node_->keyspace().revision(); };
    store.is_leader = [this] { return node_->is_leader(); };
    store.compact = [this](int64_t revision, std::function<void(const Status&)> done) {
      node_->propose(mvcc::CompactRequest{revision},
                     [done](const Status& status, const mvcc::ApplyResult*) { done(status); });
    };
    compactor_ = std::make_unique<node::AutoCompactor>(w_, compaction_, std::move(store));
  }

  void fail_late(const Status& why) {
    if (why.is_ok()) return;
    exit_code_ = fail(why);
    world_->loop().stop();
  }

  // Each address is taken and given back: clients must find nobody there before there is service.
  Status try_addresses() {
    std::vector<std::unique_ptr<io::Listener>> taken;
    for (auto [flag, urls] : {std::pair{"listen-peer-urls", &options_.listen_peer_urls},
                              std::pair{"listen-client-urls", &options_.listen_client_urls},
                              std::pair{"listen-client-http-urls", &options_.listen_client_http_urls},
                              std::pair{"listen-metrics-urls", &options_.listen_metrics_urls}}) {
      if (urls->empty()) continue;
      ASSIGN_OR_RETURN(std::vector<ListenAt> list, listen_at(flag, *urls));
      for (const ListenAt& at : list) {
        Result<std::unique_ptr<io::Listener>> one = world_->world().net->listen(at.address, [](auto) {});
        if (!one.is_ok()) return cannot_listen(flag, at, one.status());
        taken.push_back(std::move(*one));
      }
    }
    return {};
  }
  static Status cannot_listen(std::string_view flag, const ListenAt& at, const Status& why) {
    return Status(why.code(),
                  "--" + std::string(flag) + ": cannot listen on " + at.address + ": " + std::string(why.message()));
  }

  // As etcd warns.
  void check_permission(const std::string& dir) {
    struct stat info {};
    constexpr mode_t kPrivate = 0700;
    if (stat(dir.c_str(), &info) != 0 || (info.st_mode & 0777) == kPrivate) return;
    char mode[8];
    snprintf(mode, sizeof mode, "%03o", info.st_mode & 0777);
    w_.log->warn("check file permission",
                 {{"error", "directory \"" + dir + "\" exist, but the permission is " + mode +
                                ". The recommended permission is 700 to prevent possible unprivileged access to the "
                                "data"}});
  }

  using TlsOf = net::TlsListen (TlsSetup::*)(const ListenAt&);
  Status listen(net::Server& server, std::string_view flag, const std::string& urls, net::Router& router,
                TlsOf tls_of) {
    if (urls.empty()) return {};
    ASSIGN_OR_RETURN(std::vector<ListenAt> list, listen_at(flag, urls));
    for (const ListenAt& at : list) {
      Result<std::string> taken =
          at.tls ? server.listen(at.address, router, (tls_.get()->*tls_of)(at)) : server.listen(at.address, router);
      if (!taken.is_ok()) return cannot_listen(flag, at, taken.status());
      w_.log->info("listening", {{"flag", flag}, {"address", *taken}, {"tls", at.tls}, {"plain", at.plain}});
      if (&router == &metrics_router_ && !at.tls) metrics_addresses_.push_back(*taken);
    }
    return {};
  }

  // What a checkpoint has freed goes back to the system.
  void trim_later() {
    world_->loop().add_timer(world_->loop().now() + kTrimInterval, [this] {
      if (std::exchange(checkpoints_seen_, node_->stats().checkpoints) != node_->stats().checkpoints) malloc_trim(0);
      trim_later();
    });
  }

  void serve_clients() {
    Status s =
        listen(*clients_, "listen-client-urls", options_.listen_client_urls, client_router_, &TlsSetup::for_clients);
    if (s.is_ok())
      s = listen(*clients_, "listen-client-http-urls", options_.listen_client_http_urls, client_http_router_,
                 &TlsSetup::for_clients);
    if (!s.is_ok()) {
      exit_code_ = fail(s);
      return world_->loop().stop();
    }
    w_.log->info("ready to serve client requests");
    notify("READY=1");
  }

  void notify(std::string_view state) {
    if (Status s = notify_supervisor(environment("NOTIFY_SOCKET").value_or(""), state); !s.is_ok())
      w_.log->warn("cannot notify systemd", {{"state", state}, {"error", s.message()}});
  }

  void stop(std::string_view why) {
    if (std::exchange(stopping_, true)) return world_->loop().stop();  // a second signal: at once
    w_.log->info("shutting down", {{"reason", why}});
    notify("STOPPING=1");
    if (!node_) return world_->loop().stop();  // discovery was still looking
    node_->stop([this] {
      // Answers are on their way; streams that stay open, as watches do, are ended after a moment.
      clients_->drain([this] { finish_stop(); });
      world_->loop().add_timer(world_->loop().now() + kDrainMax, [this] {
        clients_->stop();
        finish_stop();
      });
    });
  }

  // The last spans leave too, if their collector is quick.
  void finish_stop() {
    if (std::exchange(finishing_, true)) return;
    api_->flush_traces([this] { world_->loop().stop(); });
    world_->loop().add_timer(world_->loop().now() + kTraceFlushMax, [this] { world_->loop().stop(); });
  }

  std::unique_ptr<io::RealWorld> world_;
  io::World w_;
  Options options_;
  std::vector<std::string> command_line_;
  std::unique_ptr<TlsSetup> tls_;
  std::unique_ptr<net::TlsNet> tls_net_;
  std::unique_ptr<Bootstrap> bootstrap_;
  std::unique_ptr<node::Node> node_;
  node::AutoCompaction compaction_;
  std::unique_ptr<node::AutoCompactor> compactor_;
  std::unique_ptr<api::Api> api_;
  net::Router client_router_, client_http_router_, metrics_router_, peer_router_;
  std::unique_ptr<net::Server> clients_, peers_;
  std::vector<std::string> metrics_addresses_;  // plain ones, with their ports
  std::unique_ptr<io::Watchdog> watchdog_;      // goes before the listeners that it shares
  uint64_t checkpoints_seen_ = 0;
  bool inside_start_ = false;
  bool stopping_ = false;
  bool finishing_ = false;
  int exit_code_ = 0;
};

int exit_code_of(const Status& status) { return status.code() == Code::kInvalidArgument ? kExitBadUsage : 1; }

int fail(const Status& status, int code) {
  fprintf(stderr, "fairlead: %s\n", std::string(status.message()).c_str());
  return code;
}

int run_sub_command(const std::vector<std::string>& args) {
  Result<SubCommandLine> line = parse_sub_command(args);
  if (!line.is_ok()) return fail(line.status(), 1);
  if (!line->help.empty()) return fputs(line->help.c_str(), stdout), 0;
  signal(SIGPIPE, SIG_IGN);
  block_stop_signals();
  raise_file_limit();
  tune_allocator();
  return line->command == "gateway" ? run_gateway(line->options) : run_grpc_proxy(line->options);
}

int main_checked(const std::string& program, const std::vector<std::string>& args) {
  if (!args.empty() && is_sub_command(args[0])) return run_sub_command(args);
  Result<Options> options = parse_options(args, environment);
  if (!options.is_ok()) return fail(options.status(), exit_code_of(options.status()));
  if (options->show_help) return fputs(help_text().c_str(), stdout), 0;
  if (options->show_help_markdown) return fputs(flags_markdown().c_str(), stdout), 0;
  if (options->show_version) {
    printf(
        "etcd Version: %s\nGit SHA: not etcd: fairlead\nGo Version: none\nGo OS/Arch: linux/amd64\nFairlead Version: "
        "%s\n",
        std::string(api::kEtcdVersion).c_str(), std::string(api::kFairleadVersion).c_str());
    return 0;
  }
  warn_unknown_environment(environment_lines(), *options);
  if (Status s = complete_options(*options); !s.is_ok()) return fail(s, exit_code_of(s));
  signal(SIGPIPE, SIG_IGN);
  block_stop_signals();  // before any thread exists: only the loop takes them
#ifdef FAIRLEAD_FAILPOINTS
  if (Status s =
          start_failpoints(environment("GOFAIL_HTTP").value_or(""), environment("GOFAIL_FAILPOINTS").value_or(""));
      !s.is_ok())
    return fail(s, 1);
#endif
  raise_file_limit();
  tune_allocator();
  if (options->memory_mlock && mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
    return fail(io_error("--memory-mlock: mlockall", errno), 1);
  Result<std::shared_ptr<io::LogSink>> log_sink = open_log_sink(*options);
  if (!log_sink.is_ok()) return fail(log_sink.status(), 1);
  io::RealWorld::Options world_options;
  Result<io::LogIo> log_io = io::parse_log_io(options->fairlead_log_io);
  Result<io::LogLevel> log_level = io::parse_log_level(options->log_level);
  if (!log_io.is_ok() || !log_level.is_ok())
    return fail(log_io.is_ok() ? log_level.status() : log_io.status(), kExitBadUsage);
  world_options.log_io = *log_io;
  world_options.reuse_port = options->socket_reuse_port;
  world_options.logger.level = *log_level;
  world_options.logger.sink = *log_sink;
  world_options.logger.console = options->log_format == "console";
  Result<std::unique_ptr<io::RealWorld>> world = io::RealWorld::create(world_options);
  if (!world.is_ok()) return fail(world.status(), 1);
  for (const std::string& warning : options->warnings) (*world)->logger().warn(warning);
  (*world)->logger().info("starting fairlead", {{"fairlead-version", api::kFairleadVersion},
                                                {"etcd-version", api::kEtcdVersion},
                                                {"name", options->name},
                                                {"data-dir", options->data_dir}});
  std::vector<std::string> command_line = {program};
  command_line.insert(command_line.end(), args.begin(), args.end());
  Member member(std::move(*world), *options, std::move(command_line));
  if (Status s = member.start(); !s.is_ok()) return member.fail(s);
  return member.run();
}

}  // namespace
}  // namespace fairlead::server

int main(int argc, char** argv) { return fairlead::server::main_checked(argv[0], {argv + 1, argv + argc}); }
