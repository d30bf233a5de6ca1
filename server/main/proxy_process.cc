#include "server/main/proxy_process.h"

#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "server/main/notify.h"
#include "server/net/tls_context.h"

namespace fairlead::server {
namespace {

std::string joined(const std::vector<std::string>& list) {
  std::string out;
  for (const std::string& one : list) out += (out.empty() ? "" : ",") + one;
  return out;
}

ProxyProcess::Endpoints usable(const std::vector<discovery::ClientEndpoint>& found) {
  ProxyProcess::Endpoints out;
  for (const discovery::ClientEndpoint& endpoint : found) {
    out.urls.push_back(endpoint.url);
    out.records.push_back(endpoint.record);
  }
  return out;
}

}  // namespace

ProxyProcess::ProxyProcess(const ProxyOptions& options, std::unique_ptr<io::RealWorld> world)
    : options_(options), world_(std::move(world)), resolver_(discovery::system_resolver()) {
  world_->logger().install_check_handler();
  if (const char* socket = std::getenv("NOTIFY_SOCKET")) notify_socket_ = socket;
}

Result<std::unique_ptr<ProxyProcess>> ProxyProcess::create(const ProxyOptions& options, io::LogLevel level) {
  io::RealWorld::Options world_options;
  world_options.logger.level = level;
  ASSIGN_OR_RETURN(std::unique_ptr<io::RealWorld> world, io::RealWorld::create(world_options));
  return std::unique_ptr<ProxyProcess>(new ProxyProcess(options, std::move(world)));
}

void ProxyProcess::find_endpoints(const std::string& trusted_ca_file, std::function<void(Result<Endpoints>)> done) {
  Endpoints given{options_.endpoints, {}};
  if (options_.discovery_srv.empty()) return done(std::move(given));
  Result<std::vector<discovery::ClientEndpoint>> found =
      discovery::find_client_endpoints(*resolver_, options_.discovery_srv, options_.discovery_srv_name);
  if (!found.is_ok()) return done(found.status());
  Endpoints all = usable(*found);
  io::Logger& log = world_->logger();
  log.info("discovered cluster from SRV", {{"srv-server", options_.discovery_srv}, {"endpoints", joined(all.urls)}});
  if (options_.insecure_discovery) return done(all.urls.empty() ? std::move(given) : std::move(all));
  net::TlsConfig config;
  config.trusted_ca_file = trusted_ca_file;
  Result<std::shared_ptr<net::TlsContext>> context = net::TlsContext::create(world(), config);
  if (!context.is_ok()) return done(context.status());
  net::TlsDial dial{*context, std::make_shared<net::TlsGate>(world().workers)};
  discovery::verify_client_endpoints(
      world(), dial, options_.discovery_srv, *found,
      [&log, given = std::move(given), done = std::move(done)](std::vector<discovery::ClientEndpoint> good,
                                                               const std::string& why_not) {
        Endpoints verified = usable(good);
        if (!why_not.empty())
          log.warn("discovered endpoints that cannot be trusted are left out", {{"error", why_not}});
        if (verified.urls.empty())
          log.warn("no discovered endpoint is left; using --endpoints", {{"endpoints", joined(given.urls)}});
        done(verified.urls.empty() ? given : std::move(verified));
      });
}

void ProxyProcess::notify(std::string_view state) {
  if (Status s = notify_supervisor(notify_socket_, state); !s.is_ok())
    world_->logger().warn("cannot notify systemd", {{"state", state}, {"error", s.message()}});
}

void ProxyProcess::ready() { notify("READY=1"); }

void ProxyProcess::fail(const Status& why) {
  fprintf(stderr, "fairlead: %s\n", std::string(why.message()).c_str());
  failed_ = true;
  world_->loop().stop();
}

int ProxyProcess::run(std::function<void()> before_stop) {
  for (int signal_number : {SIGTERM, SIGINT})
    world_->loop().on_signal(signal_number, [this, before_stop] {
      world_->logger().info("shutting down");
      notify("STOPPING=1");
      before_stop();
      world_->loop().stop();
    });
  if (!failed_) world_->loop().run();
  return failed_ ? 1 : 0;
}

}  // namespace fairlead::server
