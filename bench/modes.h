// The measurements of fairlead-bench, one function each. They return the line to print.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "bench/options.h"
#include "server/io/real/world.h"
#include "server/net/client.h"

namespace fairlead::bench {

// The world, with a net that speaks TLS where that was asked for, and how an endpoint is dialed there.
Result<io::World> world_of(io::RealWorld& real, const Options& options);
std::string address_of(const Options& options, size_t number);
// Connections to the endpoints in turn. The world must outlive it.
std::vector<std::unique_ptr<net::Client>> connect_all(io::World& world, const Options& options);
// Turns of the loop until `done`; an error after `seconds`.
Status run_until(io::RealLoop& loop, double seconds, const std::function<bool()>& done, const std::string& what);

Result<std::string> run_closed_loop(io::RealWorld& world, const Options& options);  // put, read
Result<std::string> run_fill(io::RealWorld& world, const Options& options);
Result<std::string> run_connect(io::RealWorld& world, const Options& options);
Result<std::string> run_watch(io::RealWorld& world, const Options& options);
Result<std::string> run_first_read(io::RealWorld& world, const Options& options);

}  // namespace fairlead::bench
