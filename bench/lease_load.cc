// Leases: many are granted, kept alive as fast as it goes, then at the pace that clients keep, then left alone.
#include <deque>
#include <map>

#include "bench/messages.h"
#include "bench/modes.h"

namespace fairlead::bench {

namespace {

constexpr std::string_view kGrant = "/etcdserverpb.Lease/LeaseGrant", kKeepAlive = "/etcdserverpb.Lease/LeaseKeepAlive";
constexpr int64_t kTtlSeconds = 600;       // longer than the run: none expires
constexpr double kRenewEverySeconds = 20;  // a third of Kubernetes' 60 s for its events, as clients do
constexpr io::Nanos kPaceNanos = 10 * io::kMillisecond;

int64_t lease_id(uint64_t n) { return static_cast<int64_t>(n) + 1; }

// Grants lease after lease, some at a time.
class Grants {
 public:
  explicit Grants(const Options& options) : options_(options) {}
  uint64_t done = 0;
  Latencies latencies;
  std::string failure;

  void next(net::Client& client) {
    if (next_ == static_cast<uint64_t>(options_.leases) || !failure.empty()) return;
    int64_t sent = monotonic_nanos();
    net::Client* on = &client;
    client.unary(kGrant, lease_grant_request(lease_id(next_++), kTtlSeconds),
                 [this, on, sent](const Status& status, Bytes) {
                   if (!status.is_ok()) {
                     failure = status.to_string();
                     return;
                   }
                   ++done;
                   latencies.add(monotonic_nanos() - sent);
                   next(*on);
                 });
  }

 private:
  const Options& options_;
  uint64_t next_ = 0;
};

// Streams of keepalives over all leases in turn. The answers of a stream come in the order of its requests.
class KeepAlives final : public net::ClientCallHandler {
 public:
  explicit KeepAlives(const Options& options) : options_(options) {}

  uint64_t answers = 0;
  int open = 0;
  bool again = false;  // each answer is followed by the next request
  Latencies latencies;
  std::string failure;

  void start(std::vector<std::unique_ptr<net::Client>>& clients) {
    for (int i = 0; i < options_.streams; ++i) {
      net::ClientCall& call = clients[static_cast<size_t>(i) % clients.size()]->open(kKeepAlive, this);
      streams_.push_back({&call, {}});
      number_.emplace(&call, streams_.size() - 1);
    }
  }
  void send(size_t stream) {
    Stream& s = streams_[stream % streams_.size()];
    int64_t id = lease_id(next_++ % static_cast<uint64_t>(options_.leases));
    s.sent.push_back({id, monotonic_nanos()});
    ++open;
    s.call->send_message(lease_keep_alive_request(id));
  }
  void send_next() { send(next_stream_++); }

 private:
  struct Request {
    int64_t id = 0, since = 0;
  };
  struct Stream {
    net::ClientCall* call = nullptr;
    std::deque<Request> sent;
  };

  void on_message(net::ClientCall& call, Bytes message) override {
    size_t number = number_.at(&call);
    Stream& s = streams_[number];
    if (s.sent.empty() || number_field(message.view(), 2) != s.sent.front().id ||
        number_field(message.view(), 3) != kTtlSeconds) {
      failure = "an answer to another lease, or of one that has ended";
      return;
    }
    latencies.add(monotonic_nanos() - s.sent.front().since);
    s.sent.pop_front();
    --open;
    ++answers;
    if (again) send(number);
  }
  void on_end(net::ClientCall&, const Status& status) override { failure = "a stream ended: " + status.to_string(); }

  const Options& options_;
  std::vector<Stream> streams_;
  std::map<net::ClientCall*, size_t> number_;
  uint64_t next_ = 0;
  size_t next_stream_ = 0;
};

// Sends `rate` requests a second, a few every kPaceNanos.
class Pace {
 public:
  Pace(io::Loop& loop, KeepAlives& load, double rate) : loop_(loop), load_(load), rate_(rate), next_(loop.now()) {
    tick();
  }
  ~Pace() { loop_.cancel_timer(timer_); }

 private:
  void tick() {
    next_ += kPaceNanos;  // late ones are made up for
    timer_ = loop_.add_timer(next_, [this] { tick(); });
    owed_ += rate_ * static_cast<double>(kPaceNanos) / static_cast<double>(io::kSecond);
    for (; owed_ >= 1; owed_ -= 1) load_.send_next();
  }
  io::Loop& loop_;
  KeepAlives& load_;
  double rate_, owed_ = 0;
  io::Nanos next_;
  io::TimerId timer_ = 0;
};

Result<std::string> measure_part(io::RealLoop& loop, const Options& options, KeepAlives& load, const char* part) {
  uint64_t before = 0;
  Window window = measure(loop, options, [&] {
    before = load.answers;
    load.latencies.clear();
  });
  if (!load.failure.empty()) return unavailable(load.failure);
  Json json;
  put_rates(json, options, "net", load.answers - before, 0, window, load.latencies);
  return json.text("part", part).line();
}

}  // namespace

Result<std::string> run_leases(io::RealWorld& real, const Options& options) {
  ASSIGN_OR_RETURN(io::World world, world_of(real, options));
  Grants grants(options);
  KeepAlives load(options);
  auto clients = connect_all(world, options);
  auto wanted = static_cast<uint64_t>(options.leases);
  Window window;
  window.begin(options);
  for (int i = 0; i < options.in_flight; ++i) grants.next(*clients[static_cast<size_t>(i) % clients.size()]);
  RETURN_IF_ERROR(run_until(
      real.loop(), options.timeout_seconds, [&] { return grants.done == wanted || !grants.failure.empty(); },
      "granting"));
  if (!grants.failure.empty()) return unavailable("a grant failed: " + grants.failure);
  window.end(options);
  Json granted;
  put_rates(granted, options, "net", wanted, 0, window, grants.latencies);
  granted.text("part", "grant");
  granted.number("memory_bytes_per_thing",
                 (window.to.anonymous_bytes - window.from.anonymous_bytes) / static_cast<double>(wanted));

  load.start(clients);
  load.again = true;
  for (int i = 0; i < options.in_flight; ++i) load.send_next();
  ASSIGN_OR_RETURN(std::string full, measure_part(real.loop(), options, load, "keepalive"));
  load.again = false;
  auto quiet = [&] { return load.open == 0 || !load.failure.empty(); };
  RETURN_IF_ERROR(run_until(real.loop(), options.timeout_seconds, quiet, "the last answers"));

  std::string paced;
  {
    Pace pace(*world.loop, load, options.leases / kRenewEverySeconds);
    ASSIGN_OR_RETURN(paced, measure_part(real.loop(), options, load, "steady"));
  }
  RETURN_IF_ERROR(run_until(real.loop(), options.timeout_seconds, quiet, "the last answers"));

  window = measure(real.loop(), options, [] {});
  Json idle;
  put_idle(idle, options, static_cast<double>(wanted), window);
  idle.text("part", "idle");
  if (!load.failure.empty()) return unavailable(load.failure);
  return granted.line() + "\n" + full + "\n" + paced + "\n" + idle.line();
}

}  // namespace fairlead::bench
