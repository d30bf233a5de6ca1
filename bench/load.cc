// fairlead-bench: one measurement over our own net, on one thread.
#include <cstdio>
#include <map>

#include "bench/closed_loop.h"
#include "bench/modes.h"
#include "bench/result.h"
#include "server/net/tls_net.h"

namespace fairlead::bench {

namespace {

void turns_for(io::RealLoop& loop, double seconds) {
  int64_t end = monotonic_nanos() + static_cast<int64_t>(seconds * 1e9);
  for (int64_t now = monotonic_nanos(); now < end; now = monotonic_nanos()) loop.run_turn(end - now);
}

}  // namespace

Window measure(io::RealLoop& loop, const Options& options, const std::function<void()>& reset) {
  turns_for(loop, options.warmup_seconds);
  reset();
  Window window;
  window.begin(options);
  turns_for(loop, options.seconds);
  window.end(options);
  return window;
}

Result<io::World> world_of(io::RealWorld& real, const Options& options) {
  io::World world = real.world();
  if (options.ca_file.empty()) return world;
  static std::unique_ptr<net::TlsNet> net;
  net::TlsConfig config;
  config.trusted_ca_file = options.ca_file;
  ASSIGN_OR_RETURN(auto context, net::TlsContext::create(world, config));
  auto gate = std::make_shared<net::TlsGate>(world.workers);
  net = std::make_unique<net::TlsNet>(*world.loop, *world.net, [context, gate]() -> Result<net::TlsDial> {
    return net::TlsDial{context, gate};
  });
  world.net = net.get();
  return world;
}

std::string address_of(const Options& options, size_t number) {
  return (options.ca_file.empty() ? "" : "tls:") + options.endpoints[number % options.endpoints.size()];
}

std::vector<std::unique_ptr<net::Client>> connect_all(io::World& world, const Options& options) {
  std::vector<std::unique_ptr<net::Client>> clients;
  int count = std::min(options.connections, std::max(options.in_flight, 1));
  for (int i = 0; i < count; ++i) {
    net::ClientOptions client;
    client.authority = options.endpoints[static_cast<size_t>(i) % options.endpoints.size()];
    auto stream = world.net->connect(address_of(options, static_cast<size_t>(i)));
    clients.push_back(std::make_unique<net::Client>(*world.loop, std::move(stream), client));
  }
  return clients;
}

Status run_until(io::RealLoop& loop, double seconds, const std::function<bool()>& done, const std::string& what) {
  int64_t end = monotonic_nanos() + static_cast<int64_t>(seconds * 1e9);
  while (!done()) {
    int64_t left = end - monotonic_nanos();
    if (left <= 0) return Status(Code::kDeadlineExceeded, what + ": not within " + std::to_string(seconds) + " s");
    loop.run_turn(std::min<int64_t>(left, 100'000'000));
  }
  return Status();
}

Result<std::string> run_closed_loop(io::RealWorld& real, const Options& given) {
  Options options = given;
  ASSIGN_OR_RETURN(io::World world, world_of(real, options));
  auto clients = connect_all(world, options);
  if (!options.user.empty()) {
    ASSIGN_OR_RETURN(options.token, log_in(real.loop(), *clients[0], options));
  }
  bool reads = options.mode == "read";
  ClosedLoop load(clients, options, {.reads = reads});
  Json json;
  RETURN_IF_ERROR(measure_loop(real.loop(), options, load, json));
  if (reads) json.text("consistency", options.linearizable ? "linearizable" : "serializable");
  return json.line();
}

Result<std::string> run_fill(io::RealWorld& real, const Options& options) {
  ASSIGN_OR_RETURN(io::World world, world_of(real, options));
  auto clients = connect_all(world, options);
  ClosedLoop load(clients, options, {.sequential = true});
  Window window;
  window.begin(options);
  load.start();
  RETURN_IF_ERROR(run_until(
      real.loop(), options.timeout_seconds, [&] { return load.open() == 0 || load.errors > 0; }, "the fill"));
  if (load.errors > 0) return unavailable("the fill failed: " + load.first_error);
  window.end(options);
  Json json;
  put_rates(json, options, "net", load.operations, load.errors, window, load.latencies);
  return json.line();
}

}  // namespace fairlead::bench

int main(int argc, char** argv) {
  using namespace fairlead;
  using Mode = Result<std::string> (*)(io::RealWorld&, const bench::Options&);
  static const std::map<std::string, Mode> kModes = {
      {"put", bench::run_closed_loop},     {"read", bench::run_closed_loop},
      {"fill", bench::run_fill},           {"authenticate", bench::run_authenticate},
      {"connect", bench::run_connect},     {"crowd", bench::run_crowd},
      {"gateway-put", bench::run_gateway}, {"gateway-read", bench::run_gateway},
      {"leases", bench::run_leases},       {"list", bench::run_list},
      {"watch", bench::run_watch},         {"first-read", bench::run_first_read}};
  auto options = bench::parse_options(argc, argv);
  if (!options.is_ok() || !kModes.contains(options->mode)) {
    std::string text = options.is_ok() ? bench::help_text() : std::string(options.status().message());
    std::fputs(text.c_str(), stderr);
    return 2;
  }
  auto world = io::RealWorld::create({});
  if (!world.is_ok()) {
    std::fprintf(stderr, "%s\n", world.status().to_string().c_str());
    return 1;
  }
  auto result = kModes.at(options->mode)(**world, *options);
  if (!result.is_ok()) {
    std::fprintf(stderr, "fairlead-bench %s: %s\n", options->mode.c_str(), result.status().to_string().c_str());
    return 1;
  }
  std::puts(result->c_str());
  return 0;
}
