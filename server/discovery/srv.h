// The members of a new cluster from DNS SRV records, and the check that a member's own URLs are among them.
//
// Before anything of node starts. Each step is one pass of blocking look-ups on a worker; between passes the loop
// waits: a cluster that is just being made has names that do not resolve yet, and starting without them would make
// another cluster than the one its other members make. So every name must resolve, for up to kNamesWaitMax.
//
// Protocol: etcd's --discovery-srv: _etcd-server-ssl._tcp.DOMAIN (https) and _etcd-server._tcp.DOMAIN (http), with
// -SUFFIX behind the service where --discovery-srv-name is given. A record whose address is one of our own peer URLs
// has our name, the others get numbers. Errors: etcd's texts; kNotFound and kFailedPrecondition are final.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "server/discovery/dns.h"
#include "server/io/io.h"

namespace fairlead::discovery {

using PeerMap = std::map<std::string, std::vector<std::string>>;  // name -> peer URLs, sorted
using PeersFound = std::function<void(Result<PeerMap>)>;

constexpr io::Nanos kNamesWaitMax = 60 * io::kSecond;
constexpr io::Nanos kNamesInterval = io::kSecond;

struct SrvRequest {
  std::string domain;  // --discovery-srv
  std::string suffix;  // --discovery-srv-name
  std::string name;    // --name
  std::vector<std::string> advertise_peer_urls;
};

// `done` runs on the loop. The resolver must outlive it.
void find_srv_peers(const io::World& world, Resolver& resolver, SrvRequest request, PeersFound done);

// That `name` is in the map and its URLs there are the advertised ones: equal as texts, or by the addresses they
// resolve to. No URL may be there twice.
struct VerifyRequest {
  PeerMap peers;
  std::string name;
  std::vector<std::string> advertise_peer_urls;
  bool advertised_too = true;  // false for a member that joins: it has announced its URLs to the cluster already
};
void verify_peers(const io::World& world, Resolver& resolver, VerifyRequest request, std::function<void(Status)> done);

// --- one pass of each, blocking; the functions above repeat them

struct SrvPass {
  PeerMap peers;
  std::vector<std::string> unresolved;  // "HOST: why"
  Status error;                         // why there is no answer, or the own member is not in it
  bool try_again = false;
};
SrvPass srv_pass(Resolver& resolver, const SrvRequest& request);
Status verify_texts(const VerifyRequest& request);  // all that needs no name server; kNotFound: texts differ
Status verify_addresses(Resolver& resolver, const VerifyRequest& request);

// "http://host:1" -> {"host", "1"}; kInvalidArgument where there is no port.
struct UrlParts {
  std::string scheme, host, port;
};
Result<UrlParts> split_url(const std::string& url);

}  // namespace fairlead::discovery
