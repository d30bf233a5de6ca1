// Logins: a password's hash is what they cost.
#include "bench/messages.h"
#include "bench/modes.h"

namespace fairlead::bench {

namespace {

constexpr std::string_view kAuthenticate = "/etcdserverpb.Auth/Authenticate";

Bytes request_of(const Options& options) {
  size_t colon = options.user.find(':');
  return authenticate_request(std::string_view(options.user).substr(0, colon),
                              std::string_view(options.user).substr(colon + 1));
}

}  // namespace

Result<std::string> log_in(io::RealLoop& loop, net::Client& client, const Options& options) {
  bool done = false;
  Status status;
  std::string token;
  client.unary(kAuthenticate, request_of(options), [&](const Status& s, Bytes reply) {
    done = true;
    status = s;
    token = bytes_field(reply.view(), 2);
  });
  RETURN_IF_ERROR(run_until(
      loop, options.timeout_seconds, [&] { return done; }, "the login"));
  RETURN_IF_ERROR(status);
  if (token.empty()) return unavailable("a login without a token: is auth enabled?");
  return token;
}

Result<std::string> run_authenticate(io::RealWorld& real, const Options& options) {
  if (options.user.empty()) return invalid_argument("--user is missing");
  ASSIGN_OR_RETURN(io::World world, world_of(real, options));
  Bytes request = request_of(options);
  uint64_t operations = 0, errors = 0;
  Latencies latencies;
  bool stopping = false;
  int open = 0;
  std::string first_error;
  std::function<void(net::Client*)> next = [&](net::Client* client) {
    if (stopping || client->broken()) return;
    ++open;
    int64_t sent = monotonic_nanos();
    client->unary(kAuthenticate, request, [&, client, sent](const Status& status, Bytes) {
      --open;
      if (status.is_ok()) {
        ++operations;
        latencies.add(monotonic_nanos() - sent);
      } else if (errors++ == 0) {
        first_error = status.to_string();
      }
      next(client);
    });
  };
  auto clients = connect_all(world, options);
  for (int i = 0; i < options.in_flight; ++i) next(clients[static_cast<size_t>(i) % clients.size()].get());
  Window window = measure(real.loop(), options, [&] {
    operations = errors = 0;
    latencies.clear();
  });
  uint64_t measured = operations, failed = errors;
  stopping = true;
  (void)run_until(
      real.loop(), 10, [&] { return open == 0; }, "the last answers");
  if (measured == 0) return unavailable("no login succeeded: " + first_error);
  Json json;
  put_rates(json, options, "net", measured, failed, window, latencies);
  if (!first_error.empty()) json.text("first_error", first_error);
  return json.line();
}

}  // namespace fairlead::bench
