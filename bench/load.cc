// fairlead-bench: closed loops of puts and reads over our own net, on one thread.
#include <cstdio>
#include <map>

#include "bench/modes.h"
#include "bench/result.h"
#include "server/net/tls_net.h"

namespace fairlead::bench {

namespace {

constexpr std::string_view kPut = "/etcdserverpb.KV/Put", kRange = "/etcdserverpb.KV/Range";
constexpr uint64_t kErrorsMax = 1000;  // after which a measurement is given up
constexpr size_t kPreparedValues = 64;

// Keeps `in_flight` calls open until told to stop.
class ClosedLoop {
 public:
  ClosedLoop(std::vector<std::unique_ptr<net::Client>>& clients, const Options& options)
      : clients_(clients), options_(options), random_(options.keys) {
    for (size_t i = 0; i < kPreparedValues; ++i) values_.push_back(value_of(i, options.value_bytes));
    if (options.token.empty()) return;
    metadata_ = {{"token", options.token}};
    call_options_.metadata = &metadata_;
  }

  void start() {
    for (int i = 0; i < options_.in_flight; ++i) next(*clients_[static_cast<size_t>(i) % clients_.size()]);
  }
  void stop() { stopping_ = true; }
  int open() const { return open_; }

  uint64_t operations = 0, errors = 0;
  uint64_t operations_total = 0;  // warm-up and end included
  Latencies latencies;
  std::string first_error;
  // fill: the keys in order, each once.
  bool sequential = false;
  uint64_t next_key = 0;

 private:
  Bytes request() {
    uint64_t n = sequential ? next_key++ : random_.next() % options_.keys;
    std::string key = key_name(n, options_.key_bytes);
    if (options_.mode == "read") return range_request(key, !options_.linearizable);
    return put_request(key, values_[random_.next() % values_.size()]);
  }

  void next(net::Client& client) {
    if (stopping_ || errors > kErrorsMax || (sequential && next_key == options_.keys)) return;
    ++open_;
    int64_t sent = monotonic_nanos();
    net::Client* on = &client;
    client.unary(
        options_.mode == "read" ? kRange : kPut, request(),
        [this, on, sent](const Status& status, Bytes reply) {
          --open_;
          if (!status.is_ok() || (options_.mode == "read" && reply.size() < options_.value_bytes)) {
            if (errors++ == 0) first_error = status.is_ok() ? "a key was not found: fill first" : status.to_string();
          } else {
            ++operations;
            ++operations_total;
            latencies.add(monotonic_nanos() - sent);
          }
          if (!on->broken()) next(*on);
        },
        call_options_);
  }

  std::vector<std::unique_ptr<net::Client>>& clients_;
  const Options& options_;
  net::Metadata metadata_;
  net::CallOptions call_options_;
  Random random_;
  std::vector<std::string> values_;
  int open_ = 0;
  bool stopping_ = false;
};

void turns_for(io::RealLoop& loop, double seconds) {
  int64_t end = monotonic_nanos() + static_cast<int64_t>(seconds * 1e9);
  for (int64_t now = monotonic_nanos(); now < end; now = monotonic_nanos()) loop.run_turn(end - now);
}

}  // namespace

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

Result<std::string> run_closed_loop(io::RealWorld& real, const Options& options) {
  ASSIGN_OR_RETURN(io::World world, world_of(real, options));
  auto clients = connect_all(world, options);
  ClosedLoop loop(clients, options);
  loop.start();
  turns_for(real.loop(), options.warmup_seconds);
  loop.operations = loop.errors = 0;
  loop.latencies.clear();
  Usage from = usage_of(options.server_pids), own_from = own_usage();
  turns_for(real.loop(), options.seconds);
  Usage to = usage_of(options.server_pids), own_to = own_usage();
  uint64_t operations = loop.operations, errors = loop.errors;
  loop.stop();
  (void)run_until(
      real.loop(), 10, [&] { return loop.open() == 0; }, "the last answers");
  if (operations == 0) return unavailable("no operation succeeded: " + loop.first_error);
  Json json;
  put_rates(json, options, "net", operations, errors, from, to, own_from, own_to, loop.latencies);
  json.number("operations_total", static_cast<double>(loop.operations_total));
  if (options.mode == "read") json.text("consistency", options.linearizable ? "linearizable" : "serializable");
  if (!loop.first_error.empty()) json.text("first_error", loop.first_error);
  return json.line();
}

Result<std::string> run_fill(io::RealWorld& real, const Options& options) {
  ASSIGN_OR_RETURN(io::World world, world_of(real, options));
  auto clients = connect_all(world, options);
  ClosedLoop loop(clients, options);
  loop.sequential = true;
  Usage from = usage_of(options.server_pids), own_from = own_usage();
  loop.start();
  RETURN_IF_ERROR(run_until(
      real.loop(), options.timeout_seconds, [&] { return loop.open() == 0 || loop.errors > 0; }, "the fill"));
  if (loop.errors > 0) return unavailable("the fill failed: " + loop.first_error);
  Usage to = usage_of(options.server_pids), own_to = own_usage();
  Json json;
  put_rates(json, options, "net", loop.operations, loop.errors, from, to, own_from, own_to, loop.latencies);
  return json.line();
}

}  // namespace fairlead::bench

int main(int argc, char** argv) {
  using namespace fairlead;
  using Mode = Result<std::string> (*)(io::RealWorld&, const bench::Options&);
  static const std::map<std::string, Mode> kModes = {
      {"put", bench::run_closed_loop}, {"read", bench::run_closed_loop}, {"fill", bench::run_fill},
      {"connect", bench::run_connect}, {"watch", bench::run_watch},      {"first-read", bench::run_first_read}};
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
