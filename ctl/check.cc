// check perf, check datascale: loads of etcdctl's sizes on a cluster, judged as etcdctl judges them.
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

#include "ctl/go_format.h"
#include "ctl/load.h"
#include "ctl/metrics.h"
#include "ctl/progress.h"
#include "ctl/verbs.h"
#include "ctl/wire.h"

namespace fairlead::ctl {
namespace {

constexpr int64_t kCleanUpNanos = 30'000'000'000;
constexpr std::chrono::seconds kPageTimeout{10};
constexpr double kSlowestMaxSeconds = 0.5;
constexpr double kDeviationMaxSeconds = 0.1;
constexpr double kThroughputShareMin = 0.9;

struct PerfLoad {
  int rate, clients;
  std::chrono::seconds duration{60};
};
struct ScaleLoad {
  int64_t keys;
  int clients;
};

std::atomic<bool> interrupted{false};

// The first Ctrl-C ends the load and cleans up; the second one ends the program.
void hear_interrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = true; };
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
}

// The model of --load: 0 small to 3 extra large, by its letter or its name.
int model_of(Context& c) {
  static const char* kNames[][2] = {{"s", "small"}, {"m", "medium"}, {"l", "large"}, {"xl", "xLarge"}};
  std::string load = c.text("load");
  for (int i = 0; i < 4; ++i)
    if (load == kNames[i][0] || load == kNames[i][1]) return i;
  fail(kExitBadFeature, "unknown load option " + load);
}

// A client whose calls have the clean-up's time.
Client patient(Client& client) {
  ClientOptions o = client.options();
  o.command_timeout_nanos = kCleanUpNanos;
  return Client(std::move(o));
}

void must_be_empty(Client& client, const std::string& prefix, const char* quote) {
  pb::RangeRequest request;
  request.set_key(prefix);
  request.set_range_end(prefix_end(prefix));
  request.set_limit(1);
  pb::RangeResponse response;
  must(client.call<pb::KV>(&pb::KV::Stub::Range, request, &response, true));
  if (response.kvs_size() > 0)
    fail(kExitInvalidInput, "prefix " + go_quote(prefix) + " has keys. Delete with " + quote + "etcdctl del --prefix " +
                                prefix + quote + " first");
}

grpc::Status delete_all(Client& client, const std::string& prefix, int64_t& revision) {
  pb::DeleteRangeRequest request;
  request.set_key(prefix);
  request.set_range_end(prefix_end(prefix));
  pb::DeleteRangeResponse response;
  // Deleting what this run has made is the same a second time.
  grpc::Status status = client.call<pb::KV>(&pb::KV::Stub::DeleteRange, request, &response, true);
  revision = response.header().revision();
  return status;
}

void compact(Client& client, int64_t revision) {
  printf("Compacting with revision %lld\n", static_cast<long long>(revision));
  pb::CompactionRequest request;
  request.set_revision(revision);
  request.set_physical(true);
  pb::CompactionResponse response;
  must(client.call<pb::KV>(&pb::KV::Stub::Compact, request, &response, false));
  printf("Compacted with revision %lld\n", static_cast<long long>(revision));
}

void defragment(Client& client) {
  for (const std::string& endpoint : client.endpoints()) {
    printf("Defragmenting %s\n", go_quote(endpoint).c_str());
    ClientOptions o = client.options();
    o.endpoints = {endpoint};
    Client one(std::move(o));
    pb::DefragmentResponse response;
    must(one.call<pb::Maintenance>(&pb::Maintenance::Stub::Defragment, pb::DefragmentRequest(), &response, false));
    printf("Defragmented %s\n", go_quote(endpoint).c_str());
  }
}

// "too many" is etcdctl's word for any.
bool any_errors(const LoadReport& report) {
  if (report.errors.empty()) return false;
  printf("FAIL: too many errors\n");
  for (const auto& [text, count] : report.errors)
    printf("FAIL: ERROR(%s) -> %lld\n", text.c_str(), static_cast<long long>(count));
  return true;
}

bool judge_perf(const LoadReport& report, int rate) {
  bool ok = !any_errors(report);
  int throughput = static_cast<int>(report.per_second()) + 1;
  if (report.per_second() / rate <= kThroughputShareMin) {
    printf("FAIL: Throughput too low: %d writes/s\n", throughput);
    ok = false;
  } else {
    printf("PASS: Throughput is %d writes/s\n", throughput);
  }
  if (report.slowest() > kSlowestMaxSeconds) {
    printf("Slowest request took too long: %fs\n", report.slowest());
    ok = false;
  } else {
    printf("PASS: Slowest request took %fs\n", report.slowest());
  }
  if (report.deviation() > kDeviationMaxSeconds) {
    printf("Stddev too high: %fs\n", report.deviation());
    ok = false;
  } else {
    printf("PASS: Stddev is %fs\n", report.deviation());
  }
  return ok;
}

void perf(Context& c) {
  static const PerfLoad kLoads[] = {{150, 50}, {1000, 200}, {8000, 500}, {15000, 1000}};
  const PerfLoad& load = kLoads[model_of(c)];
  std::string prefix = c.text("prefix");
  Client first = make_client(c);
  Client client = patient(first);
  must_be_empty(client, prefix, "'");
  hear_interrupts();
  LoadPlan plan;
  plan.prefix = prefix;
  plan.key_bytes = 256;
  plan.value_bytes = 1024;
  plan.clients = load.clients;
  plan.rate_per_second = load.rate;
  plan.duration = load.duration;
  LoadReport report;
  {
    Progress bar(static_cast<uint64_t>(load.duration.count()), bar_text);
    report = run_load(client.options(), client.token(), plan, [&](int64_t, double seconds) {
      bar.show(static_cast<uint64_t>(seconds));
      return !interrupted;
    });
    if (!interrupted) bar.show(static_cast<uint64_t>(load.duration.count()));
  }
  int64_t revision = 0;
  if (grpc::Status s = delete_all(client, prefix, revision); !s.ok())
    printf("FAIL: Cleanup failed during key deletion: ERROR(%s)\n", error_text(s).c_str());
  else if (c.on("auto-compact"))
    compact(client, revision);
  if (c.on("auto-defrag")) defragment(client);
  bool ok = judge_perf(report, load.rate);
  printf(ok ? "PASS\n" : "FAIL\n");
  if (!ok) leave(kExitError);
}

// The resident memory of the first endpoint's server; ends the program where its page does not say.
double resident_bytes(Client& client, const char* when) {
  const TlsOptions& tls = client.options().tls;
  Address address = parse_address(client.endpoints()[0], wants_tls(tls));
  Result<Page> page = http_get(address, tls, "/metrics", Wire::Clock::now() + kPageTimeout);
  double bytes = 0;
  if (!page.is_ok())
    printf("fetch error: %s\n", std::string(page.status().message()).c_str());
  else
    bytes = Metrics(page->body).value("process_resident_memory_bytes");
  if (page.is_ok() && bytes == 0) printf("could not find: process_resident_memory_bytes\n");
  if (bytes > 0) return bytes;
  printf("FAIL: Could not read process_resident_memory_bytes %s the put operations.\n", when);
  leave(kExitError);
}

void datascale(Context& c) {
  static const ScaleLoad kLoads[] = {{10'000, 50}, {100'000, 200}, {1'000'000, 500}, {3'000'000, 1000}};
  const ScaleLoad& load = kLoads[model_of(c)];
  std::string prefix = c.text("prefix");
  Client first = make_client(c);
  Client client = patient(first);
  must_be_empty(client, prefix, "");
  double before = resident_bytes(client, "before");
  hear_interrupts();
  LoadPlan plan;
  plan.prefix = prefix;
  plan.key_bytes = 512;
  plan.value_bytes = 512;
  plan.clients = load.clients;
  plan.requests_max = load.keys;
  printf(
      "Start data scale check for work load [%lld key-value pairs, %zu bytes per key-value, %d concurrent clients].\n",
      static_cast<long long>(load.keys), plan.key_bytes + plan.value_bytes, load.clients);
  fflush(stdout);
  LoadReport report;
  {
    Progress bar(static_cast<uint64_t>(load.keys), bar_text);
    report = run_load(client.options(), client.token(), plan, [&](int64_t answers, double) {
      bar.show(static_cast<uint64_t>(answers));
      return !interrupted;
    });
  }
  // What was written goes in any case; then the page is what it was asked for.
  double after = interrupted ? before : resident_bytes(client, "after");
  int64_t revision = 0;
  must(delete_all(client, prefix, revision));
  if (c.on("auto-compact")) compact(client, revision);
  if (c.on("auto-defrag")) defragment(client);
  fflush(stdout);
  if (interrupted) fail(kExitInterrupted, "interrupted; the keys are deleted");
  if (any_errors(report)) {
    leave(kExitError);
  }
  printf("PASS: Approximate system memory used : %.2f MB.\n", (after - before) / (1024 * 1024));
}

Command& add_load(Command& parent, const char* use, const char* about, Command::Run run, const char* what,
                  const char* loads, const char* prefix) {
  return parent.add(use, about, std::move(run))
      .flag(Kind::kString, "load", "s", loads)
      .flag(Kind::kString, "prefix", prefix, std::string("The prefix for writing the ") + what + " check's keys.")
      .flag(Kind::kBool, "auto-compact", "false", "Compact storage with last revision after test is finished.")
      .flag(Kind::kBool, "auto-defrag", "false", "Defragment storage after test is finished.");
}

}  // namespace

void add_check_verbs(Command& root) {
  Command& check =
      root.add("check <subcommand>",
               "commands for checking properties of the etcd cluster. Use `etcdctl check --help` to see subcommands");
  check.describe("commands for checking properties of the etcd cluster");
  add_load(check, "datascale [options]",
           "Check the memory usage of holding data for different workloads on a given server endpoint.", datascale,
           "datascale",
           "The datascale check's workload model. Accepted workloads: s(small), m(medium), l(large), xl(xLarge)",
           "/etcdctl-check-datascale/")
      .describe(
          "If no endpoint is provided, localhost will be used. If multiple endpoints are provided, first endpoint will "
          "be used.");
  add_load(
      check, "perf [options]", "Check the performance of the etcd cluster", perf, "performance",
      "The performance check's workload model. Accepted workloads: s(small), m(medium), l(large), xl(xLarge). "
      "Different workload models use different configurations in terms of number of clients and expected throughput.",
      "/etcdctl-check-perf/");
}

}  // namespace fairlead::ctl
