// When does a server that is starting answer its first linearizable read?
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

}  // namespace fairlead::bench
