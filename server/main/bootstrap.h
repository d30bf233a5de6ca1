// The first start of a member: who its peers are, from --initial-cluster, DNS SRV records or a discovery token, and
// that its own URLs are among them. A data directory that knows its cluster already makes all of these flags idle.
#pragma once

#include <functional>
#include <memory>

#include "server/discovery/srv.h"
#include "server/discovery/token.h"
#include "server/main/options.h"
#include "server/net/tls_net.h"
#include "server/node/config.h"

namespace fairlead::server {

class Bootstrap {
 public:
  using Done = std::function<void(Result<node::Config>)>;

  Bootstrap(const io::World& world, const Options& options);
  // `done` runs once: inside this call where nothing has to be looked up, else later on the loop.
  void run(node::Config config, Done done);

 private:
  void find_by_names();
  void find_by_token();
  Status set_up_tls();
  void verify(bool advertised_too);
  void finish(Status status);

  io::World world_;
  const Options& options_;
  std::unique_ptr<discovery::Resolver> resolver_;
  std::unique_ptr<net::TlsNet> tls_net_;
  std::unique_ptr<discovery::TokenJoin> join_;
  std::vector<std::string> advertised_;
  node::Config config_;
  Done done_;
};

}  // namespace fairlead::server
