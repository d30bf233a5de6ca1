// fairlead-operator: flags, signals, leader election, and the parts put together.
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <mutex>
#include <random>
#include <thread>

#include "base/version.h"
#include "operator/kube/events.h"
#include "operator/kube/http_api.h"
#include "operator/kube/lease.h"
#include "operator/main/log.h"
#include "operator/main/metrics.h"
#include "operator/main/operator.h"
#include "operator/main/reconciler.h"

namespace fairlead::ops {
namespace {

struct Flags {
  std::string kubeconfig, context, ns, lease_ns, log_level = "info", metrics_address = ":8080";
  bool leader_elect = true;
  int workers = 4;
};

int64_t wall_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// No vowels and no look-alikes: names should neither spell nor deceive. 27^5 = 14 million.
std::string random_suffix() {
  static constexpr std::string_view kLetters = "bcdfghjklmnpqrstvwxz2456789";
  thread_local std::mt19937_64 random = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  std::uniform_int_distribution<size_t> pick(0, kLetters.size() - 1);
  std::string text;
  for (int i = 0; i < 5; ++i) text += kLetters[pick(random)];
  return text;
}

std::string host_name() {
  char text[256] = {};
  return ::gethostname(text, sizeof text - 1) == 0 ? text : "unknown";
}

// Out of a cluster by kubeconfig, in one by the service account.
Result<kube::ConnectionConfig> load_connection(const Flags& flags) {
  if (!flags.kubeconfig.empty()) return kube::load_kubeconfig(flags.kubeconfig, flags.context);
  if (const char* path = std::getenv("KUBECONFIG"); path != nullptr && *path != '\0') {
    return kube::load_kubeconfig(path, flags.context);
  }
  return kube::load_in_cluster();
}

// SIGTERM and SIGINT are taken by the main thread, which waits for them; every other thread
// inherits the block.
void block_signals(sigset_t* set) {
  sigemptyset(set);
  sigaddset(set, SIGTERM);
  sigaddset(set, SIGINT);
  pthread_sigmask(SIG_BLOCK, set, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

int fail(const std::string& what, const Status& status) {
  log_error(what, {{"error", status.to_string()}});
  return 1;
}

// Owns the parts in the order in which they depend on each other.
class Process {
 public:
  explicit Process(Flags flags) : flags_(std::move(flags)) {}

  int run() {
    sigset_t signals;
    block_signals(&signals);
    Result<kube::ConnectionConfig> config = load_connection(flags_);
    if (!config.is_ok()) return fail("no way to the API server", config.status());
    if (flags_.lease_ns.empty())
      flags_.lease_ns = config->default_namespace.empty() ? "default" : config->default_namespace;
    Result<std::unique_ptr<kube::Api>> api = kube::connect(*config);
    if (!api.is_ok()) return fail("no way to the API server", api.status());
    api_ = std::move(*api);
    build();
    const Status served = serve();
    if (!served.is_ok()) return fail("cannot serve metrics", served);
    log_info("fairlead-operator started", {{"version", std::string(kFairleadVersion)},
                                           {"server", config->server},
                                           {"namespace", flags_.ns.empty() ? "(all)" : flags_.ns},
                                           {"metrics_port", std::to_string(server_->port())}});
    return flags_.leader_elect ? run_elected(signals) : run_alone(signals);
  }

 private:
  void build() {
    prober_ = member::make_grpc_prober();
    identity_ = host_name() + "_" + random_suffix() + random_suffix();
    events_ = std::make_unique<kube::EventRecorder>(*api_, "fairlead-operator", host_name());
    reconciler_ = std::make_unique<Reconciler>(*api_, *prober_, *events_, Reconciler::Options{wall_ms, random_suffix});
    operator_ = std::make_unique<Operator>(*api_, *reconciler_, metrics_, Operator::Options{flags_.ns, flags_.workers});
  }

  Status serve() {
    StatusServer::Pages pages;
    pages.metrics = [this] {
      return metrics_.scrape({[this] { return reconciler_->facts(); }, [this] { return operator_->queue_depth(); },
                              [this] { return events_->failures(); }});
    };
    pages.unhealthy = [this] { return leading_ ? operator_->unhealthy() : std::string(); };
    // A process that waits for the lease is ready: it does what it is there for.
    pages.unready = [this] {
      return !leading_ || operator_->synced() ? std::string() : "the first lists are not complete";
    };
    ASSIGN_OR_RETURN(server_, StatusServer::start(flags_.metrics_address, std::move(pages)));
    return {};
  }

  // operator_->start() fills lists that the pages read: publish only afterwards.
  // Called on the lease's thread, perhaps while a signal stops everything on the main one.
  void lead() {
    std::lock_guard lock(life_);
    if (stopping_) return;
    operator_->start();
    leading_ = true;
    metrics_.set_leader(true);
    log_info("leading", {{"identity", identity_}});
  }

  int run_alone(const sigset_t& signals) {
    lead();
    int signal = 0;
    sigwait(&signals, &signal);
    return stop(signal);
  }

  int run_elected(const sigset_t& signals) {
    kube::LeaseOptions options;
    options.ns = flags_.lease_ns;
    options.name = "fairlead-operator";
    options.identity = identity_;
    kube::LeaderLease lease(*api_, options);
    std::atomic<bool> ended{false};
    Status result;
    std::stop_source stop_lease;
    std::thread thread([&] {
      result = lease.run(stop_lease.get_token(), [this] { lead(); });
      ended = true;
    });
    int signal = 0;
    const timespec tick{0, 200'000'000};
    while (!ended && signal <= 0) signal = sigtimedwait(&signals, nullptr, &tick);
    // Rounds end before the lease is given up: the next leader must not meet us at work.
    const int code = signal > 0 ? stop(signal) : (end_work(), 1);
    stop_lease.request_stop();
    thread.join();
    if (signal <= 0) return fail("the leader lease is lost; ending so that only one operator acts", result);
    return code;
  }

  int stop(int signal) {
    log_info("stopping", {{"signal", std::to_string(signal)}});
    end_work();
    log_info("stopped");
    return 0;
  }

  void end_work() {
    std::lock_guard lock(life_);
    stopping_ = true;
    operator_->stop();
  }

  Flags flags_;
  std::string identity_;
  Metrics metrics_;
  std::unique_ptr<kube::Api> api_;
  std::unique_ptr<member::Prober> prober_;
  std::unique_ptr<kube::EventRecorder> events_;
  std::unique_ptr<Reconciler> reconciler_;
  std::unique_ptr<Operator> operator_;
  std::atomic<bool> leading_{false};
  std::mutex life_;
  bool stopping_ = false;                 // guarded by life_
  std::unique_ptr<StatusServer> server_;  // last: its pages read all of the above
};

}  // namespace
}  // namespace fairlead::ops

int main(int argc, char** argv) {
  using namespace fairlead::ops;  // NOLINT: an entry point
  Flags flags;
  CLI::App app{"Runs FairleadClusters on Kubernetes."};
  app.set_version_flag("--version", "fairlead-operator " + std::string(fairlead::kFairleadVersion));
  app.add_option("--kubeconfig", flags.kubeconfig,
                 "kubeconfig file (default: $KUBECONFIG, else the pod's service account)");
  app.add_option("--context", flags.context, "context of the kubeconfig (default: its current one)");
  app.add_option("--namespace", flags.ns, "namespace to look after (default: all)");
  app.add_option("--metrics-address", flags.metrics_address, "where /metrics, /healthz and /readyz are served")
      ->capture_default_str();
  app.add_option("--leader-elect", flags.leader_elect, "act only while holding the lease")->capture_default_str();
  app.add_option("--leader-elect-namespace", flags.lease_ns, "namespace of the lease (default: the operator's own)");
  app.add_option("--workers", flags.workers, "clusters worked on at the same time")
      ->check(CLI::Range(1, kWorkersMax))
      ->capture_default_str();
  app.add_option("--log-level", flags.log_level, "debug, info, warn or error")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  const auto level = parse_log_level(flags.log_level);
  if (!level.is_ok()) return fail("bad flag --log-level", level.status());
  set_log_level(*level);
  return Process(std::move(flags)).run();
}
