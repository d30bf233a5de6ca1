// The measurements of fairlead-bench, one function each. They return what is to be printed: a line of JSON, or several
// where one run has several parts.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "bench/options.h"
#include "bench/result.h"
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
// Turns for the warm-up, reset(), then turns for the measured window.
Window measure(io::RealLoop& loop, const Options& options, const std::function<void()>& reset);
// A token for options.user.
Result<std::string> log_in(io::RealLoop& loop, net::Client& client, const Options& options);

Result<std::string> run_closed_loop(io::RealWorld& world, const Options& options);  // put, read
Result<std::string> run_fill(io::RealWorld& world, const Options& options);
Result<std::string> run_authenticate(io::RealWorld& world, const Options& options);
Result<std::string> run_connect(io::RealWorld& world, const Options& options);
Result<std::string> run_crowd(io::RealWorld& world, const Options& options);
Result<std::string> run_gateway(io::RealWorld& world, const Options& options);  // gateway-put, gateway-read
Result<std::string> run_leases(io::RealWorld& world, const Options& options);
Result<std::string> run_list(io::RealWorld& world, const Options& options);
Result<std::string> run_watch(io::RealWorld& world, const Options& options);
Result<std::string> run_first_read(io::RealWorld& world, const Options& options);

}  // namespace fairlead::bench
