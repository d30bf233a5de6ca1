// v3 discovery: the members of a new cluster meet in a key space of another one.
//
// Under /_etcd/registry/TOKEN there is _config/size, put there by whoever made the token, and members/ID for each
// member that came: "NAME=URL,NAME=URL". The first `size` by create revision are the cluster. A member registers
// itself, then waits until all have come.
//
// Asynchronous on the loop, before node starts. A service that does not answer is asked again, after 2, 4, ... 256
// seconds, for as long as it takes, as etcd does. Watches that break are followed by a new look at the whole.
//
// TLS: the net of the world dials "tls:HOST:PORT" (server/net/tls_net.h).
// Protocol: etcd's --discovery-token, --discovery-endpoints. Errors are etcd's texts, all final.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "server/discovery/srv.h"
#include "server/io/io.h"

namespace fairlead::discovery {

constexpr size_t kClusterSizeMax = 1024;

struct TokenRequest {
  std::string token;
  std::vector<std::string> endpoints;  // "http://host:port", "https://host:port" or "host:port"
  io::Nanos dial_timeout = 2 * io::kSecond;
  io::Nanos request_timeout = 5 * io::kSecond;
  io::Nanos keepalive_time = 2 * io::kSecond;
  io::Nanos keepalive_timeout = 6 * io::kSecond;
  std::string user, password;  // empty: not authenticated
  MemberId self;
  std::string contents;            // what is registered: "NAME=URL,NAME=URL"
  bool secure_by_default = false;  // TLS for endpoints without a scheme
};

class TokenJoin {
 public:
  // `done` runs once, on the loop, never inside this call; not after the object is gone.
  TokenJoin(const io::World& world, TokenRequest request, PeersFound done);
  ~TokenJoin();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// "a=http://x:1,a=http://y:1" of each member -> name -> URLs; kInvalidArgument: "discovery: invalid peer URL".
Result<PeerMap> parse_peers(const std::string& text);

}  // namespace fairlead::discovery
