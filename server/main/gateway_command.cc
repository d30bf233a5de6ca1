#include "server/main/gateway_command.h"

#include <cstdio>
#include <set>
#include <utility>

#include "server/io/real/address.h"
#include "server/main/proxy_process.h"
#include "server/proxy/tcp_proxy.h"

namespace fairlead::server {
namespace {

// "https://HOST:PORT/x" -> "HOST:PORT": only bytes are passed on, whatever they are.
std::string without_scheme(const std::string& endpoint) {
  size_t scheme = endpoint.find("://");
  if (scheme == std::string::npos) return endpoint;
  std::string host = endpoint.substr(scheme + 3);
  host = host.substr(0, host.find_first_of("/?#"));
  host = host.substr(host.rfind('@') + 1);
  return host.empty() ? endpoint : host;
}

class Gateway {
 public:
  Gateway(ProxyProcess& process, const ProxyOptions& options) : process_(process), options_(options) {}

  void start() {
    process_.find_endpoints(options_.trusted_ca_file, [this](Result<ProxyProcess::Endpoints> found) {
      Status s = found.is_ok() ? listen(*found) : found.status();
      if (!s.is_ok()) process_.fail(s);
    });
  }
  void stop() { proxy_.reset(); }

 private:
  Status listen(const ProxyProcess::Endpoints& found) {
    proxy::TcpProxyOptions settings;
    settings.retry_delay = options_.retry_delay_ms * io::kMillisecond;
    std::string list;
    for (size_t i = 0; i < found.urls.size(); ++i) {
      proxy::Endpoint endpoint{without_scheme(found.urls[i])};
      if (!found.records.empty()) {
        endpoint.priority = found.records[i].priority;
        endpoint.weight = found.records[i].weight;
      }
      list += (list.empty() ? "" : ",") + endpoint.address;
      settings.endpoints.push_back(std::move(endpoint));
    }
    RETURN_IF_ERROR(check_addresses(settings.endpoints));
    proxy_ = std::make_unique<proxy::TcpProxy>(process_.world(), std::move(settings));
    ASSIGN_OR_RETURN(std::string address, proxy_->listen(options_.listen_addr));
    process_.world().log->info("ready to proxy client requests", {{"address", address}, {"endpoints", list}});
    process_.ready();
    return {};
  }

  // Every name resolves, and no endpoint is the gateway itself.
  Status check_addresses(const std::vector<proxy::Endpoint>& endpoints) {
    Result<io::HostPort> own = io::split_host_port(options_.listen_addr);
    if (!own.is_ok()) return invalid_argument("failed to validate listen address: " + options_.listen_addr);
    auto addresses = process_.resolver().addresses(own->host, own->port);
    if (own->host.empty() || !addresses.is_ok()) return invalid_argument("failed to resolve listen host: " + own->host);
    std::set<std::string> ours(addresses->begin(), addresses->end());
    if (ours.contains("0.0.0.0:" + own->port) || ours.contains("[::]:" + own->port))
      ours.insert({"127.0.0.1:" + own->port, "[::1]:" + own->port});
    for (const proxy::Endpoint& endpoint : endpoints) {
      Result<io::HostPort> parts = io::split_host_port(endpoint.address);
      if (!parts.is_ok() || parts->port == "0")
        return invalid_argument("error parsing endpoint \"" + endpoint.address + "\"");
      auto theirs = process_.resolver().addresses(parts->host, parts->port);
      if (!theirs.is_ok()) return invalid_argument("failed to resolve endpoint host: " + parts->host);
      for (const std::string& address : *theirs)
        if (ours.contains(address))
          return invalid_argument("SRV or endpoint (" + endpoint.address + "->" + address +
                                  ") should not resolve to the gateway listen addr (" + options_.listen_addr + ")");
    }
    if (endpoints.empty()) return invalid_argument("no endpoints found");
    return {};
  }

  ProxyProcess& process_;
  const ProxyOptions& options_;
  std::unique_ptr<proxy::TcpProxy> proxy_;
};

}  // namespace

int run_gateway(const ProxyOptions& options) {
  Result<std::unique_ptr<ProxyProcess>> process = ProxyProcess::create(options, io::LogLevel::kInfo);
  if (!process.is_ok()) return fprintf(stderr, "fairlead: %s\n", std::string(process.status().message()).c_str()), 1;
  Gateway gateway(**process, options);
  gateway.start();
  return (*process)->run([&gateway] { gateway.stop(); });
}

}  // namespace fairlead::server
