#include "server/sim/front_door.h"

#include "base/check.h"

namespace fairlead::sim {

FrontDoor::FrontDoor(const io::World& world, node::Node& node, const std::string& address)
    : world_(world), api_(world, node), server_(world_, net::ServerOptions()) {
  api_.add_client_routes(router_);
  api_.set_servers(&server_, &router_);
  Result<std::string> taken = server_.listen(address, router_);
  CHECK(taken.is_ok(), "a new process finds its port free");
}

}  // namespace fairlead::sim
