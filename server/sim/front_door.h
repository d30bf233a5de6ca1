// A member's client port, as server/main builds it: services on an HTTP/2 server, on the member's simulated network.
#pragma once

#include <memory>
#include <string>

#include "server/api/api.h"
#include "server/io/io.h"
#include "server/net/router.h"
#include "server/net/server.h"

namespace fairlead::sim {

class FrontDoor {
 public:
  // The node's turn hook must be there already: node.start() was called.
  FrontDoor(const io::World& world, node::Node& node, const std::string& address);

 private:
  io::World world_;
  api::Api api_;
  net::Router router_;
  net::Server server_;
};

}  // namespace fairlead::sim
