#include "server/main/grpc_proxy_command.h"

#include <openssl/pem.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "server/main/proxy_process.h"
#include "server/main/tls_setup.h"
#include "server/net/server.h"
#include "server/net/tls_net.h"
#include "server/proxy/grpc_proxy.h"

namespace fairlead::server {
namespace {

constexpr size_t kMessageBytesMin = 4 << 20;  // what a gRPC server takes where nothing else is said

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "";
}

// A name in the certificate would be every client's identity in the cluster.
Status check_no_common_name(const std::string& file) {
  if (file.empty()) return {};
  FILE* f = fopen(file.c_str(), "r");
  if (!f) return io_error("--cert: " + file, errno);
  X509* certificate = PEM_read_X509(f, nullptr, nullptr, nullptr);
  fclose(f);
  if (!certificate) return invalid_argument("--cert: " + file + " has no certificate");
  std::string name = net::common_name_of(certificate);
  X509_free(certificate);
  if (name.empty()) return {};
  return invalid_argument("cert has non empty Common Name (" + name + "): " + file);
}

Status check(const ProxyOptions& o) {
  if (!o.resolver_prefix.empty() && o.resolver_ttl_seconds < 1)
    return invalid_argument("invalid resolver-ttl " + std::to_string(o.resolver_ttl_seconds));
  if (o.resolver_prefix.empty() && o.resolver_ttl_seconds > 0) return invalid_argument("invalid resolver-prefix \"\"");
  if (!o.resolver_prefix.empty() && o.advertise_client_url.empty())
    return invalid_argument("invalid advertise-client-url \"\"");
  if (o.auto_tls && o.self_signed_cert_validity == 0)
    return invalid_argument("selfSignedCertValidity is invalid,it should be greater than 0");
  auto version = [](const char* flag, const std::string& name) -> Status {
    Result<int> v = net::tls_version(name);
    return v.is_ok() ? Status()
                     : invalid_argument(std::string(flag) + " is invalid: " + std::string(v.status().message()));
  };
  RETURN_IF_ERROR(version("tls-min-version", o.tls_min_version));
  RETURN_IF_ERROR(version("tls-max-version", o.tls_max_version));
  if (o.max_recv_bytes <= 0) return invalid_argument("--max-recv-bytes must be above zero");
  if (o.max_send_bytes <= 0) return invalid_argument("--max-send-bytes must be above zero");
  return {};
}

class GrpcProxyProgram {
 public:
  GrpcProxyProgram(ProxyProcess& process, const ProxyOptions& options)
      : process_(process), options_(options), world_(process.world()) {}
  ~GrpcProxyProgram() {
    server_.reset();
    proxy_.reset();
  }

  void start() {
    Status s = set_up();
    if (!s.is_ok()) return process_.fail(s);
    process_.find_endpoints(options_.cacert, [this](Result<ProxyProcess::Endpoints> found) {
      if (!found.is_ok()) return process_.fail(found.status());
      start_proxy(found->urls);
    });
  }
  void stop() {
    if (server_) server_->stop();
  }

 private:
  Status set_up() {
    RETURN_IF_ERROR(check(options_));
    RETURN_IF_ERROR(set_up_clients_tls());
    RETURN_IF_ERROR(check_no_common_name(options_.cert));
    net::TlsConfig out;
    out.cert_file = options_.cert;
    out.key_file = options_.key;
    out.trusted_ca_file = options_.cacert;
    out.self_signed = options_.insecure_skip_tls_verify;  // then nothing is verified
    secure_ = !out.empty() || !out.trusted_ca_file.empty() || options_.insecure_skip_tls_verify;
    if (options_.insecure_skip_tls_verify)
      world_.log->warn("--insecure-skip-tls-verify: the certificates of members are not verified; for tests only");
    ASSIGN_OR_RETURN(std::shared_ptr<net::TlsContext> context, net::TlsContext::create(world_, std::move(out)));
    net::TlsDial dial{std::move(context), gate_};
    tls_net_ = std::make_unique<net::TlsNet>(*world_.loop, *world_.net, [dial] { return dial; });
    world_.net = tls_net_.get();
    return {};
  }

  Status set_up_clients_tls() {
    gate_ = std::make_shared<net::TlsGate>(world_.workers);
    const ProxyOptions& o = options_;
    net::TlsConfig in;
    in.cipher_suites = o.listen_cipher_suites;
    in.version_min = o.tls_min_version;
    in.version_max = o.tls_max_version;
    in.cert_file = o.cert_file;
    in.key_file = o.key_file;
    in.trusted_ca_file = o.trusted_ca_file;
    in.crl_file = o.client_crl_file;
    RETURN_IF_ERROR(net::check_tls_config(in));
    bool given = !o.cert_file.empty() || !o.key_file.empty() || !o.trusted_ca_file.empty();
    if (!given && !o.auto_tls) {
      if (!o.client_crl_file.empty() || !o.listen_cipher_suites.empty())
        return invalid_argument("--client-crl-file and --listen-cipher-suites need TLS: --cert-file or --auto-tls");
      return {};
    }
    if (given && (o.cert_file.empty() || o.key_file.empty()))
      return invalid_argument("KeyFile and CertFile must both be present[key: " + o.key_file +
                              ", cert: " + o.cert_file + "]");
    if (!given)
      RETURN_IF_ERROR(use_self_cert(world_, o.data_dir + "/fixtures/proxy", {net::host_of_address(o.listen_addr)},
                                    o.self_signed_cert_validity, in));
    ASSIGN_OR_RETURN(clients_tls_, net::TlsContext::create(world_, std::move(in)));
    return {};
  }

  proxy::GrpcProxyOptions proxy_options(const std::vector<std::string>& endpoints) const {
    const ProxyOptions& o = options_;
    proxy::GrpcProxyOptions p;
    p.upstream.endpoints = endpoints;
    p.upstream.secure_by_default = secure_;
    p.upstream.send_bytes_max = static_cast<size_t>(o.max_send_bytes);
    p.upstream.client.message_bytes_max = static_cast<size_t>(o.max_recv_bytes);
    p.upstream.client.ping_interval = o.dial_keepalive_time_ms * io::kMillisecond;
    p.upstream.client.ping_timeout = o.dial_keepalive_timeout_ms * io::kMillisecond;
    p.upstream.client.ping_without_calls = o.permit_without_stream;
    p.members = {o.advertise_client_url, o.resolver_prefix, o.resolver_ttl_seconds, host_name()};
    p.name_space = o.name_space;
    p.ordering = o.serializable_ordering;
    p.log_calls = o.enable_grpc_logging;
    p.endpoints_sync_interval = o.endpoints_auto_sync_interval_ms * io::kMillisecond;
    return p;
  }

  net::ServerOptions server_options() const {
    const ProxyOptions& o = options_;
    net::ServerOptions s;
    s.message_bytes_max = std::max(kMessageBytesMin, static_cast<size_t>(o.max_send_bytes));
    s.connection_partial_bytes_max = std::max(s.connection_partial_bytes_max, 4 * s.message_bytes_max);
    s.concurrent_streams_max =
        static_cast<uint32_t>(std::min<int64_t>(o.max_concurrent_streams, s.concurrent_streams_max));
    s.ping_min_interval = o.grpc_keepalive_min_time_ms * io::kMillisecond;
    s.ping_interval = o.grpc_keepalive_interval_ms * io::kMillisecond;
    s.ping_timeout = o.grpc_keepalive_timeout_ms * io::kMillisecond;
    return s;
  }

  void start_proxy(const std::vector<std::string>& endpoints) {
    if (endpoints.empty()) return process_.fail(invalid_argument("no endpoints found"));
    for (const std::string& endpoint : endpoints)
      world_.log->debug("endpoint of the cluster",
                        {{"endpoint", endpoint}, {"address", proxy::dial_address(endpoint, secure_)}});
    proxy_ = std::make_unique<proxy::GrpcProxy>(world_, proxy_options(endpoints));
    proxy_->add_routes(router_);
    proxy_->add_pages(metrics_router_);
    server_ = std::make_unique<net::Server>(world_, server_options());
    proxy_->start([this] {
      Status s = listen(options_.listen_addr, router_, clients_tls_ != nullptr);
      if (s.is_ok()) s = listen_for_metrics();
      if (!s.is_ok()) return process_.fail(s);
      world_.log->info("started gRPC proxy", {{"address", options_.listen_addr}});
      process_.ready();
    });
  }

  Status listen(const std::string& address, net::Router& router, bool tls) {
    net::TlsListen how;
    how.context = clients_tls_;
    how.gate = gate_;
    Result<std::string> taken = tls ? server_->listen(address, router, how) : server_->listen(address, router);
    if (!taken.is_ok()) return taken.status();
    world_.log->info("listening for gRPC proxy client requests", {{"address", *taken}, {"tls", tls}});
    return {};
  }

  Status listen_for_metrics() {
    if (options_.metrics_addr.empty()) return {};
    ASSIGN_OR_RETURN(std::vector<ListenAt> list, listen_at("metrics-addr", options_.metrics_addr));
    for (const ListenAt& at : list) {
      if (at.tls && !clients_tls_)
        return invalid_argument("cannot listen on TLS for " + at.address + ": KeyFile and CertFile are not presented");
      RETURN_IF_ERROR(listen(at.address, metrics_router_, at.tls));
    }
    return {};
  }

  ProxyProcess& process_;
  const ProxyOptions& options_;
  io::World world_;
  bool secure_ = false;
  std::shared_ptr<net::TlsGate> gate_;
  std::shared_ptr<net::TlsContext> clients_tls_;
  std::unique_ptr<net::TlsNet> tls_net_;
  std::unique_ptr<proxy::GrpcProxy> proxy_;
  net::Router router_, metrics_router_;
  std::unique_ptr<net::Server> server_;
};

}  // namespace

int run_grpc_proxy(const ProxyOptions& options) {
  io::LogLevel level = options.debug ? io::LogLevel::kDebug : io::LogLevel::kInfo;
  Result<std::unique_ptr<ProxyProcess>> process = ProxyProcess::create(options, level);
  if (!process.is_ok()) return fprintf(stderr, "fairlead: %s\n", std::string(process.status().message()).c_str()), 1;
  GrpcProxyProgram program(**process, options);
  program.start();
  return (*process)->run([&program] { program.stop(); });
}

}  // namespace fairlead::server
