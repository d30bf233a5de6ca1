// Many connections: what opening them, keeping them and calls that are spread over them cost the server.
#include <sys/resource.h>

#include "bench/closed_loop.h"
#include "bench/messages.h"

namespace fairlead::bench {

namespace {

constexpr size_t kOpeningMax = 128;  // at a time
constexpr rlim_t kFilesBesides = 100;

Status allow_files(size_t connections) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  rlim_t wanted = connections + kFilesBesides;
  if (files.rlim_cur >= wanted) return Status();
  files.rlim_cur = wanted;
  files.rlim_max = std::max(files.rlim_max, wanted);  // root may
  if (setrlimit(RLIMIT_NOFILE, &files) == 0) return Status();
  return unavailable("not allowed to open " + std::to_string(wanted) + " files (ulimit -n)");
}

// Opens one connection after the other, each with one read so that both sides speak.
class Opening {
 public:
  Opening(io::World& world, const Options& options) : world_(world), options_(options) {}

  size_t ready = 0;
  std::string first_error;
  Latencies latencies;
  std::vector<std::unique_ptr<net::Client>> clients;  // last: ends calls that use the others

  void go_on() {
    auto wanted = static_cast<size_t>(options_.connections);
    while (clients.size() < wanted && clients.size() - ready < kOpeningMax && first_error.empty()) open_one();
  }

 private:
  void open_one() {
    int64_t since = monotonic_nanos();
    clients.push_back(std::make_unique<net::Client>(
        *world_.loop, world_.net->connect(address_of(options_, clients.size())), net::ClientOptions{}));
    clients.back()->unary("/etcdserverpb.KV/Range", range_request(key_name(0, options_.key_bytes), true),
                          [this, since](const Status& status, Bytes) {
                            ++ready;
                            if (status.is_ok()) return latencies.add(monotonic_nanos() - since);
                            if (first_error.empty()) first_error = status.to_string();
                          });
  }

  io::World& world_;
  const Options& options_;
};

}  // namespace

Result<std::string> run_crowd(io::RealWorld& real, const Options& options) {
  auto count = static_cast<size_t>(options.connections);
  RETURN_IF_ERROR(allow_files(count));
  ASSIGN_OR_RETURN(io::World world, world_of(real, options));
  Opening opening(world, options);
  Window window;
  window.begin(options);
  RETURN_IF_ERROR(run_until(
      real.loop(), options.timeout_seconds,
      [&] {
        opening.go_on();
        return opening.ready == count || !opening.first_error.empty();
      },
      "opening the connections"));
  if (!opening.first_error.empty()) return unavailable("a connection failed: " + opening.first_error);
  window.end(options);
  Json opened;
  put_rates(opened, options, "net", count, 0, window, opening.latencies);
  opened.text("part", "open")
      .number("memory_bytes_per_thing",
              (window.to.anonymous_bytes - window.from.anonymous_bytes) / static_cast<double>(count));
  std::string lines = opened.line();

  window = measure(real.loop(), options, [] {});
  Json idle;
  put_idle(idle, options, static_cast<double>(count), window);
  lines += "\n" + idle.text("part", "idle").line();

  for (bool reads : {true, false}) {
    ClosedLoop load(opening.clients, options, {.reads = reads, .spread = true});
    Json json;
    RETURN_IF_ERROR(measure_loop(real.loop(), options, load, json));
    lines += "\n" + json.text("part", reads ? "read" : "put").line();
  }
  return lines;
}

}  // namespace fairlead::bench
