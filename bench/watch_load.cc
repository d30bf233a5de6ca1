// Watch fan-out: many watchers of one key on some streams. The next put goes when every watcher has
// its event, so the rate of rounds says how soon the slowest one has it.
#include "base/codec.h"
#include "bench/messages.h"
#include "bench/modes.h"
#include "bench/result.h"

namespace fairlead::bench {

namespace {

constexpr std::string_view kWatch = "/etcdserverpb.Watch/Watch", kPut = "/etcdserverpb.KV/Put";
constexpr std::string_view kKey = "/bench/watched";

struct WatchResponse {
  bool created = false, canceled = false;
  int events = 0;
};

// The fields of a WatchResponse that count here: created = 3, canceled = 4, events = 11.
WatchResponse parse(std::string_view bytes) {
  WatchResponse out;
  Reader in(bytes);
  while (in.ok() && !in.at_end()) {
    uint64_t tag = in.varint();
    if ((tag & 7) == 2) {
      (void)in.lengthed();
      out.events += tag >> 3 == 11;
    } else {
      uint64_t value = in.varint();
      if (tag >> 3 == 3) out.created = value != 0;
      if (tag >> 3 == 4) out.canceled = value != 0;
    }
  }
  return out;
}

struct Watching final : net::ClientCallHandler {
  void on_message(net::ClientCall&, Bytes message) override {
    WatchResponse response = parse(message.view());
    created += response.created;
    if (response.canceled) failure = "a watch was cancelled";
    if (response.events == 0) return;
    int64_t delay = monotonic_nanos() - put_sent;
    for (int i = 0; i < response.events; ++i) delays.add(delay);
    events += response.events;
    if (events == events_wanted) on_round();
  }
  void on_end(net::ClientCall&, const Status& status) override {
    failure = "a watch stream ended: " + status.to_string();
  }

  int created = 0;
  int64_t events = 0, events_wanted = 0;
  int64_t put_sent = 0;
  Latencies delays, slowest;
  std::string failure;
  std::function<void()> on_round;
};

}  // namespace

Result<std::string> run_watch(io::RealWorld& real, const Options& given) {
  Options options = given;
  io::World world = real.world();
  options.in_flight = options.connections = std::min(10, options.streams);
  auto clients = connect_all(world, options);
  Options one = options;
  one.connections = one.in_flight = 1;
  auto writer = std::move(connect_all(world, one)[0]);
  Watching watching;
  std::vector<net::ClientCall*> streams;
  for (int i = 0; i < options.streams; ++i) {
    streams.push_back(&clients[static_cast<size_t>(i) % clients.size()]->open(kWatch, &watching));
  }
  Bytes create = watch_create_request(kKey);
  for (int i = 0; i < options.watchers; ++i) streams[static_cast<size_t>(i) % streams.size()]->send_message(create);
  RETURN_IF_ERROR(run_until(
      real.loop(), options.timeout_seconds,
      [&] { return watching.created == options.watchers || !watching.failure.empty(); }, "creating the watches"));
  std::string value = value_of(1, options.value_bytes);
  bool stop = false;
  int64_t rounds = 0;
  auto put = [&] {
    watching.put_sent = monotonic_nanos();
    writer->unary(kPut, put_request(kKey, value), [&](const Status& status, Bytes) {
      if (!status.is_ok() && !stop) watching.failure = "put: " + status.to_string();
    });
  };
  watching.on_round = [&] {
    ++rounds;
    watching.slowest.add(monotonic_nanos() - watching.put_sent);
    if (stop) return;
    watching.events_wanted += options.watchers;
    put();
  };
  auto run = [&](double seconds) {
    int64_t end = monotonic_nanos() + static_cast<int64_t>(seconds * 1e9);
    while (monotonic_nanos() < end && watching.failure.empty()) real.loop().run_turn(end - monotonic_nanos());
  };
  watching.events_wanted = options.watchers;
  put();
  run(options.warmup_seconds);
  watching.delays.clear();
  watching.slowest.clear();
  int64_t events_before = watching.events, rounds_before = rounds;
  Window window;
  window.begin(options);
  run(options.seconds);
  window.end(options);
  int64_t events = watching.events - events_before;
  double round_rate = static_cast<double>(rounds - rounds_before) / window.seconds();
  stop = true;
  if (!watching.failure.empty()) return unavailable(watching.failure);
  if (events == 0) return unavailable("no event arrived");
  RETURN_IF_ERROR(run_until(
      real.loop(), 10, [&] { return watching.events >= watching.events_wanted; }, "the last events"));
  bool too_many = watching.events != watching.events_wanted;
  if (too_many) return internal_error("more events than puts times watchers");
  watching.failure.clear();
  Json json;
  put_rates(json, options, "net", static_cast<uint64_t>(events), 0, window, watching.delays);
  json.number("watchers", options.watchers)
      .number("streams", options.streams)
      .number("rounds_rate", round_rate)
      .number("slowest_p50_ms", watching.slowest.quantile_ms(0.5))
      .number("slowest_p99_ms", watching.slowest.quantile_ms(0.99));
  for (net::ClientCall* stream : streams) stream->cancel();
  return json.line();
}

}  // namespace fairlead::bench
