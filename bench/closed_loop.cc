#include "bench/closed_loop.h"

#include "bench/messages.h"

namespace fairlead::bench {

namespace {
constexpr std::string_view kPut = "/etcdserverpb.KV/Put", kRange = "/etcdserverpb.KV/Range";
constexpr uint64_t kErrorsMax = 1000;  // after which a measurement is given up
constexpr size_t kPreparedValues = 64;
}  // namespace

ClosedLoop::ClosedLoop(std::vector<std::unique_ptr<net::Client>>& clients, const Options& options, What what)
    : clients_(clients), options_(options), what_(what), random_(options.keys) {
  for (size_t i = 0; i < kPreparedValues; ++i) values_.push_back(value_of(i, options.value_bytes));
  if (options.token.empty()) return;
  metadata_ = {{"token", options.token}};
  call_options_.metadata = &metadata_;
}

void ClosedLoop::start() {
  for (int i = 0; i < options_.in_flight; ++i) next(*clients_[static_cast<size_t>(i) % clients_.size()]);
}

void ClosedLoop::reset() {
  operations = errors = 0;
  latencies.clear();
}

Bytes ClosedLoop::request() {
  uint64_t n = what_.sequential ? next_key_++ : random_.next() % options_.keys;
  std::string key = key_name(n, options_.key_bytes);
  if (what_.reads) return range_request(key, !options_.linearizable);
  return put_request(key, values_[random_.next() % values_.size()]);
}

void ClosedLoop::next(net::Client& client) {
  if (stopping_ || errors > kErrorsMax || (what_.sequential && next_key_ == options_.keys)) return;
  ++open_;
  int64_t sent = monotonic_nanos();
  net::Client* on = &client;
  client.unary(
      what_.reads ? kRange : kPut, request(),
      [this, on, sent](const Status& status, Bytes reply) {
        --open_;
        if (!status.is_ok() || (what_.reads && reply.size() < options_.value_bytes)) {
          if (errors++ == 0) first_error = status.is_ok() ? "a key was not found: fill first" : status.to_string();
        } else {
          ++operations;
          ++operations_total;
          latencies.add(monotonic_nanos() - sent);
        }
        if (what_.spread) return next(*clients_[next_client_++ % clients_.size()]);
        if (!on->broken()) next(*on);
      },
      call_options_);
}

Status measure_loop(io::RealLoop& loop, const Options& options, ClosedLoop& load, Json& json) {
  load.start();
  Window window = measure(loop, options, [&] { load.reset(); });
  uint64_t operations = load.operations, errors = load.errors;
  load.stop();
  (void)run_until(
      loop, 10, [&] { return load.open() == 0; }, "the last answers");
  if (operations == 0) return unavailable("no operation succeeded: " + load.first_error);
  put_rates(json, options, "net", operations, errors, window, load.latencies);
  json.number("operations_total", static_cast<double>(load.operations_total));
  if (!load.first_error.empty()) json.text("first_error", load.first_error);
  return Status();
}

}  // namespace fairlead::bench
