// When does a server that is starting answer its first linearizable read?
#include "bench/messages.h"
#include "bench/modes.h"
#include "bench/result.h"

namespace fairlead::bench {

namespace {
constexpr int64_t kRetryNanos = 2'000'000;
constexpr int64_t kTryNanos = 1'000'000'000;
}  // namespace

Result<std::string> run_first_read(io::RealWorld& real, const Options& options) {
  io::World world = real.world();
  int64_t end = monotonic_nanos() + static_cast<int64_t>(options.timeout_seconds * 1e9);
  Status last = unavailable("not tried");
  uint64_t tries = 0;
  while (monotonic_nanos() < end) {
    ++tries;
    net::Client client(*world.loop, world.net->connect(options.endpoints[0]), {});
    bool done = false;
    size_t reply_bytes = 0;
    client.unary("/etcdserverpb.KV/Range", range_request(key_name(0, options.key_bytes), false),
                 [&](const Status& status, Bytes reply) {
                   done = true;
                   last = status;
                   reply_bytes = reply.size();
                 },
                 {.timeout = kTryNanos});
    Status ran = run_until(
        real.loop(), 2, [&] { return done; }, "an answer");
    if (ran.is_ok() && last.is_ok()) {
      Json json;
      json.text("mode", "first-read").number("tries", static_cast<double>(tries));
      json.number("reply_bytes", static_cast<double>(reply_bytes));
      json.text("monotonic_nanos", std::to_string(monotonic_nanos()));
      return json.line();
    }
    int64_t again = monotonic_nanos() + kRetryNanos;
    while (monotonic_nanos() < again) real.loop().run_turn(again - monotonic_nanos());
  }
  return unavailable("no answer: " + last.to_string());
}

namespace {

// One place of the closed loop: connects, reads, hangs up, connects again.
struct Visitor {
  std::unique_ptr<net::Client> client;
  int64_t since = 0;
};

struct Visits {
  io::World world;
  const Options& options;
  std::vector<Visitor> visitors;
  uint64_t operations = 0, errors = 0;
  std::string first_error;
  Latencies latencies;
  bool stopping = false;

  void visit(size_t i) {
    if (stopping) return;
    Visitor& v = visitors[i];
    v.since = monotonic_nanos();
    v.client =
        std::make_unique<net::Client>(*world.loop, world.net->connect(address_of(options, i)), net::ClientOptions{});
    v.client->unary("/etcdserverpb.KV/Range", range_request(key_name(0, options.key_bytes), true),
                    [this, i](const Status& status, Bytes) {
                      if (stopping) return;
                      if (status.is_ok()) {
                        ++operations;
                        latencies.add(monotonic_nanos() - visitors[i].since);
                      } else if (errors++ == 0) {
                        first_error = status.to_string();
                      }
                      world.loop->post([this, i] { visit(i); });  // not inside the client's own callback
                    });
  }
};

}  // namespace

Result<std::string> run_connect(io::RealWorld& real, const Options& options) {
  ASSIGN_OR_RETURN(io::World world, world_of(real, options));
  Visits visits{world, options, std::vector<Visitor>(static_cast<size_t>(options.connections)), 0, 0, {}, {}, false};
  for (size_t i = 0; i < visits.visitors.size(); ++i) visits.visit(i);
  Window window = measure(real.loop(), options, [&] {
    visits.operations = visits.errors = 0;
    visits.latencies.clear();
  });
  visits.stopping = true;
  visits.visitors.clear();
  if (visits.operations == 0) return unavailable("no visit succeeded: " + visits.first_error);
  Json json;
  put_rates(json, options, "net", visits.operations, visits.errors, window, visits.latencies);
  if (!visits.first_error.empty()) json.text("first_error", visits.first_error);
  return json.line();
}

}  // namespace fairlead::bench
