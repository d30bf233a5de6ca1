// The endpoints that a cluster offers to its clients, from DNS SRV records: _etcd-client-ssl._tcp.DOMAIN (https) and
// _etcd-client._tcp.DOMAIN (http), with -SUFFIX behind the service where a name is given (--discovery-srv-name).
//
// What a name server says may come from anybody. So endpoints are asked for a certificate that is signed by a trusted
// authority and names the domain, before they are used (unless --insecure-discovery is given).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "server/discovery/dns.h"
#include "server/io/io.h"
#include "server/net/tls_net.h"

namespace fairlead::discovery {

constexpr io::Nanos kVerifyTimeout = 5 * io::kSecond;  // for all of them; as etcd has for each

struct ClientEndpoint {
  std::string url;  // "https://HOST:PORT"
  SrvRecord record;
  std::string host_port() const { return url.substr(url.find("://") + 3); }
};

// Blocking. An error only if neither service has a record.
Result<std::vector<ClientEndpoint>> find_client_endpoints(Resolver& resolver, const std::string& domain,
                                                          const std::string& suffix);

// `done` runs once on the loop, not inside this call, with those that passed, in their order, and with what is wrong
// with the others ("URL: why", joined).
using Verified = std::function<void(std::vector<ClientEndpoint> good, std::string why_not)>;
void verify_client_endpoints(const io::World& world, net::TlsDial dial, const std::string& domain,
                             std::vector<ClientEndpoint> endpoints, Verified done);

}  // namespace fairlead::discovery
