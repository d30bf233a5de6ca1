// Lists of many keys: in pages at the revision of the first one, as Kubernetes does it, or as one RangeStream. An
// operation is a whole list.
#include "bench/messages.h"
#include "bench/modes.h"

namespace fairlead::bench {

namespace {

constexpr std::string_view kRange = "/etcdserverpb.KV/Range", kRangeStream = "/etcdserverpb.KV/RangeStream";

std::string end_of(std::string prefix) {
  prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

// One list after the other.
class Lists final : public net::ClientCallHandler {
 public:
  explicit Lists(const Options& options) : options_(options), end_(end_of(options.prefix)) {}

  void start(net::Client& client) {
    client_ = &client;
    next();
  }

  uint64_t lists = 0, bytes = 0;
  Latencies latencies;
  std::string failure;
  bool stopping = false;

 private:
  void next() {
    keys_ = 0;
    revision_ = 0;
    since_ = monotonic_nanos();
    if (options_.page > 0) return page(options_.prefix);
    net::ClientCall& call = client_->open(kRangeStream, this);
    call.send_message(list_request(options_.prefix, end_, 0, 0));
    call.half_close();
  }

  void page(const std::string& from) {
    client_->unary(kRange, list_request(from, end_, options_.page, revision_),
                   [this](const Status& status, Bytes reply) {
                     RangePart part = parse_range(reply.view());
                     if (!status.is_ok() || !part.good || (part.more && part.keys == 0))
                       return over(status.is_ok() ? internal_error("a malformed page") : status);
                     bytes += reply.size();
                     keys_ += part.keys;
                     if (revision_ == 0) revision_ = part.revision;
                     if (!part.more) return over(Status());
                     page(std::string(part.last_key) + '\0');
                   });
  }

  void on_message(net::ClientCall&, Bytes message) override {
    bytes += message.size();
    RangePart part = parse_range_stream(message.view());
    keys_ += part.keys;
    if (!part.good) failure = "a malformed message";
  }
  void on_end(net::ClientCall&, const Status& status) override { over(status); }

  void over(const Status& status) {
    if (!status.is_ok()) {
      failure = status.to_string();
    } else if (keys_ != options_.keys) {
      failure = "a list of " + std::to_string(keys_) + " keys";
    }
    if (!failure.empty()) return;
    ++lists;
    latencies.add(monotonic_nanos() - since_);
    if (!stopping) next();
  }

  net::Client* client_ = nullptr;
  const Options& options_;
  std::string end_;
  uint64_t keys_ = 0;
  int64_t revision_ = 0, since_ = 0;
};

}  // namespace

Result<std::string> run_list(io::RealWorld& real, const Options& given) {
  Options options = given;
  options.in_flight = options.connections = 1;
  ASSIGN_OR_RETURN(io::World world, world_of(real, options));
  Lists load(options);
  auto clients = connect_all(world, options);
  load.start(*clients[0]);
  auto wait_for = [&](double least_seconds) {
    // Whole lists: the window ends with one.
    int64_t end = monotonic_nanos() + static_cast<int64_t>(least_seconds * 1e9);
    uint64_t last = 0;
    return run_until(
        real.loop(), options.timeout_seconds,
        [&, started = load.lists] {
          bool one_more = load.lists > std::max(started, last);
          last = load.lists;
          return (one_more && monotonic_nanos() >= end) || !load.failure.empty();
        },
        "a list");
  };
  RETURN_IF_ERROR(wait_for(options.warmup_seconds));
  load.latencies.clear();
  uint64_t lists = load.lists, bytes = load.bytes;
  Window window;
  window.begin(options);
  RETURN_IF_ERROR(wait_for(options.seconds));
  window.end(options);
  if (!load.failure.empty()) return unavailable(load.failure);
  lists = load.lists - lists;
  bytes = load.bytes - bytes;
  load.stopping = true;
  Json json;
  put_rates(json, options, "net", lists, 0, window, load.latencies);
  json.number("bytes_per_second", static_cast<double>(bytes) / window.seconds());
  return json.line();
}

}  // namespace fairlead::bench
