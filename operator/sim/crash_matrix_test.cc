// The crash matrix: each scenario runs once undisturbed, then once for every write and every read
// of that run with one fault there: crash before it, crash after it, conflict, timeout that was
// executed, timeout that was not, unavailable, an answer that is one or two changes old. After a
// crash a fresh operator goes on, with other random names to draw.
//
// Crashes at every write are always all tried; of the other faults a fixed sample, all with
// FAIRLEAD_FULL_MATRIX=1.
//
// Required each time: the same end state, the same number of objects made and deleted, each member
// granted "new" once, no member started without its memory, and nothing to say for the judge that
// reads the API server's log.
#include <gtest/gtest.h>

#include <memory>

#include "operator/main/log.h"
#include "operator/main/objects.h"
#include "operator/main/reconciler.h"
#include "operator/sim/api_judge.h"
#include "operator/sim/client.h"
#include "operator/sim/fake_members.h"
#include "operator/sim/kubelet.h"
#include "operator/sim/server.h"

namespace fairlead::apisim {
namespace {

namespace gvr = ops::gvr;
using ops::Outcome;
using ops::Reconciler;
using ops::set_log_level;
using LogLevel = ops::LogLevel;

const kube::ObjectKey kKey{"ns", "demo"};
constexpr int kRoundsMax = 600;
constexpr int64_t kRoundMs = 5000;
constexpr int64_t kGraceMs =
    35'000;  // longer than a pod may take to end: after this much silence nothing comes any more
constexpr uint64_t kStaleDepth = 2;

struct World;
struct Scenario {
  const char* name;
  int replicas;
  void (*trouble)(World&);  // null: the bootstrap itself is what is disturbed
  const char* end;
  int sample;  // of the faults that are not crashes, every so manieth is tried
  const char* reclaim = "Delete";
};

// The operator process: everything in it is lost in a crash.
struct Process {
  Process(Server& server, FakeMembers& members, int number, std::vector<Fault> script)
      : client(server, "operator-" + std::to_string(number), std::move(script)),
        events(client, "fairlead-operator", "test"),
        reconciler(
            client, members, events,
            {[&server] { return server.time_ms(); },
             // Every process draws other names.
             [number, n = 0]() mutable { return "p" + std::to_string(number) + "n" + std::to_string(n++ % 90); }}) {}
  Client client;
  kube::EventRecorder events;
  Reconciler reconciler;
};

struct World {
  explicit World(const Scenario& s) : scenario(s) {
    set_log_level(LogLevel::kError);
    server.create_namespace("ns");
    EXPECT_TRUE(server.load_crds("manifests/crds/fairleadclusters.yaml").is_ok());
    EXPECT_TRUE(server.load_crds("manifests/crds/fairleadmembers.yaml").is_ok());
    user(kube::Verb::kCreate, gvr::kClusters,
         {{"apiVersion", "fairlead.io/v1alpha1"},
          {"kind", "FairleadCluster"},
          {"metadata", {{"name", "demo"}, {"namespace", "ns"}}},
          {"spec", {{"replicas", s.replicas}, {"storage", {{"reclaim", s.reclaim}}}}}});
  }

  void user(kube::Verb verb, const kube::Gvr& g, kube::Json body, kube::ObjectKey key = kKey) {
    kube::Request r;
    r.verb = verb;
    r.gvr = g;
    r.key = std::move(key);
    r.body = std::move(body);
    const auto result = server.call(r, "user");
    EXPECT_TRUE(result.is_ok()) << result.status().to_string();
  }

  void restart(std::vector<Fault> script = {}) {
    process = std::make_unique<Process>(server, members, ++processes, std::move(script));
  }

  // Rounds until three in a row found nothing to do in a world that does not change either.
  bool drive() {
    int quiet = 0;
    for (int i = 0; i < kRoundsMax; ++i) {
      const Outcome outcome = process->reconciler.reconcile(kKey);
      const uint64_t before = server.resource_version();
      if (process->client.crashed()) restart();
      kubelet.step();
      server.advance_ms(kRoundMs);
      members.tick();
      const bool changed = server.resource_version() != before;
      quiet = outcome.status.is_ok() && !outcome.acted && !changed ? quiet + 1 : 0;
      if (quiet <= 1) busy_reads = process->client.reads();
      if (quiet * kRoundMs > kGraceMs) return true;
    }
    return false;
  }

  std::string member(size_t i) const {
    const auto cluster = server.find(gvr::kClusters, kKey);
    return kube::string_at(kube::at(*cluster, {"status", "intent", "members"})[i], {"name"});
  }

  std::string condition(const char* type) const {
    const auto cluster = server.find(gvr::kClusters, kKey);
    if (cluster == nullptr) return "";
    for (const kube::Json& c : kube::at(*cluster, {"status", "conditions"})) {
      if (kube::string_at(c, {"type"}) == type)
        return kube::string_at(c, {"status"}) + "/" + kube::string_at(c, {"reason"});
    }
    return "";
  }

  // Without names and UIDs: they are drawn.
  std::string end_state() const {
    std::string text = server.find(gvr::kClusters, kKey) == nullptr ? "gone" : "Ready=" + condition("Ready");
    text += " Degraded=" + condition("Degraded") + " Available=" + condition("Available");
    int ready = 0;
    for (const auto& pod : server.all(kube::gvr::kPods, "ns")) {
      for (const kube::Json& c : kube::at(*pod, {"status", "conditions"})) {
        ready += kube::string_at(c, {"type"}) == "Ready" && kube::string_at(c, {"status"}) == "True" ? 1 : 0;
      }
    }
    const auto count = [this](const kube::Gvr& g) { return std::to_string(server.all(g, "ns").size()); };
    text += " pods=" + count(kube::gvr::kPods) + " ready=" + std::to_string(ready) +
            " volumes=" + count(kube::gvr::kPersistentVolumeClaims) + " members=" + count(gvr::kMembers) +
            " services=" + count(kube::gvr::kServices) + " budgets=" + count(kube::gvr::kPodDisruptionBudgets);
    return text;
  }

  const Scenario& scenario;
  Server server;
  Kubelet kubelet{server};
  FakeMembers members{server};
  std::unique_ptr<Process> process;
  int processes = 0;
  uint64_t busy_reads = 0;  // reads until the world came to rest; later ones only read the same again
};

struct RunResult {
  std::string end, counts;
  uint64_t writes = 0, reads = 0, hits = 0;
  bool rested = false;
};

RunResult run(const Scenario& scenario, std::vector<Fault> script) {
  World world(scenario);
  if (scenario.trouble != nullptr) {
    world.restart();
    EXPECT_TRUE(world.drive());
    EXPECT_EQ(world.condition("Ready"), "True/AllMembersHealthy");
    const uint64_t formed = world.server.resource_version();
    EXPECT_GT(formed, 0u);
    scenario.trouble(world);
  }
  world.restart(std::move(script));
  Process* first = world.process.get();
  RunResult r;
  // The first process may be replaced after a crash; what it counted until then is what the matrix
  // needs.
  r.rested = world.drive();
  if (world.process.get() == first) {
    r.writes = first->client.writes();
    r.reads = world.busy_reads;
    r.hits = first->client.faults_hit();
  } else {
    r.hits = 1;
  }
  r.end = world.end_state();
  r.counts = count_writes(world.server.log(), "operator");
  for (const std::string& fault : judge_log(world.server.log(), "operator")) ADD_FAILURE() << fault;
  EXPECT_EQ(world.members.amnesiacs(), 0);
  return r;
}

// ---- what happens to a formed cluster ----

void delete_pod(World& w) { w.user(kube::Verb::kDelete, kube::gvr::kPods, {}, {"ns", w.member(0)}); }
void fail_pod(World& w) { EXPECT_TRUE(w.kubelet.fail_pod({"ns", w.member(1)}).is_ok()); }
// Its readiness probe fails and goes on failing. That is no reason to delete it: it may serve, or
// come back by itself.
void unready_pod(World& w) {
  const std::string name = w.member(2);
  w.kubelet.set_ready_policy([name](const Json& pod) { return kube::name_of(pod) != name; });
}
void lose_volume(World& w) {
  EXPECT_TRUE(w.kubelet.kill_pod({"ns", w.member(1)}).is_ok());
  EXPECT_TRUE(w.kubelet.destroy_claim({"ns", "data-" + w.member(1)}).is_ok());
}
// Somebody "helps" with an empty claim of the same name and labels.
void replace_volume(World& w) {
  const kube::ObjectKey key{"ns", "data-" + w.member(1)};
  kube::Json claim = *w.server.find(kube::gvr::kPersistentVolumeClaims, key);
  lose_volume(w);
  const kube::Json fresh = {
      {"apiVersion", "v1"},
      {"kind", "PersistentVolumeClaim"},
      {"metadata", {{"name", key.name}, {"namespace", "ns"}, {"labels", claim["metadata"]["labels"]}}},
      {"spec", {{"accessModes", {"ReadWriteOnce"}}, {"resources", claim["spec"]["resources"]}}}};
  w.user(kube::Verb::kCreate, kube::gvr::kPersistentVolumeClaims, fresh, key);
}
void delete_cluster(World& w) { w.user(kube::Verb::kDelete, gvr::kClusters, {}); }
void lose_budget_and_service(World& w) {
  w.user(kube::Verb::kDelete, kube::gvr::kPodDisruptionBudgets, {});
  w.user(kube::Verb::kDelete, kube::gvr::kServices, {}, {"ns", "demo-peer"});
}

constexpr const char* kHealthy3 =
    "Ready=True/AllMembersHealthy Degraded=False/AllMembersHealthy Available=True/WriteCommitted "
    "pods=3 ready=3 volumes=3 "
    "members=3 services=2 budgets=1";

const Scenario kScenarios[] = {
    {"bootstrap 1", 1, nullptr,
     "Ready=True/AllMembersHealthy Degraded=False/AllMembersHealthy "
     "Available=True/WriteCommitted pods=1 ready=1 volumes=1 "
     "members=1 services=2 budgets=1",
     3},
    {"bootstrap 3", 3, nullptr, kHealthy3, 11},
    {"bootstrap 5", 5, nullptr,
     "Ready=True/AllMembersHealthy Degraded=False/AllMembersHealthy "
     "Available=True/WriteCommitted pods=5 ready=5 volumes=5 "
     "members=5 services=2 budgets=1",
     41},
    {"pod deleted", 3, delete_pod, kHealthy3, 5},
    {"pod failed", 3, fail_pod, kHealthy3, 5},
    {"pod unready", 3, unready_pod,
     "Ready=False/MemberNotHealthy Degraded=True/MemberNotHealthy Available=True/WriteCommitted "
     "pods=3 ready=2 volumes=3 "
     "members=3 services=2 budgets=1",
     5},
    {"volume lost", 3, lose_volume,
     "Ready=False/VolumeLost Degraded=True/VolumeLost Available=True/WriteCommitted pods=2 "
     "ready=2 volumes=2 members=3 "
     "services=2 budgets=1",
     5},
    {"volume replaced", 3, replace_volume,
     "Ready=False/VolumeLost Degraded=True/VolumeLost Available=True/WriteCommitted pods=2 "
     "ready=2 volumes=3 members=3 "
     "services=2 budgets=1",
     5},
    {"budget and service deleted", 3, lose_budget_and_service, kHealthy3, 5},
    {"cluster deleted", 3, delete_cluster,
     "gone Degraded= Available= pods=0 ready=0 volumes=0 members=0 services=0 budgets=0", 23},
    {"cluster deleted, volumes kept", 1, delete_cluster,
     "gone Degraded= Available= pods=0 ready=0 volumes=1 members=0 services=0 budgets=0", 3, "Retain"},
};

class CrashMatrix : public testing::TestWithParam<Scenario> {};

TEST_P(CrashMatrix, EveryWriteAndRead) {
  const Scenario& scenario = GetParam();
  const RunResult calm = run(scenario, {});
  ASSERT_TRUE(calm.rested);
  ASSERT_EQ(calm.end, scenario.end);
  ASSERT_GT(calm.writes, 0u);
  int faults = 0, hits = 0;
  const bool full = std::getenv("FAIRLEAD_FULL_MATRIX") != nullptr;
  int others = 0;
  for (const Fault& fault : every_single_fault(calm.writes, calm.reads, kStaleDepth)) {
    const bool crash = fault.kind == FaultKind::kCrashBefore || fault.kind == FaultKind::kCrashAfter;
    if (!crash && !full && others++ % scenario.sample != 0) continue;
    SCOPED_TRACE(std::string(scenario.name) + " with " + fault.to_string());
    const RunResult disturbed = run(scenario, {fault});
    ++faults;
    hits += disturbed.hits > 0 ? 1 : 0;
    EXPECT_TRUE(disturbed.rested);
    EXPECT_EQ(disturbed.end, calm.end);
    EXPECT_EQ(disturbed.counts, calm.counts);
    if (HasFailure()) return;
  }
  EXPECT_GT(hits, faults * 9 / 10) << "faults that do not happen prove nothing";
  std::printf("%s: %llu writes, %llu reads, %d runs with a fault\n", scenario.name,
              static_cast<unsigned long long>(calm.writes), static_cast<unsigned long long>(calm.reads), faults);
}

INSTANTIATE_TEST_SUITE_P(All, CrashMatrix, testing::ValuesIn(kScenarios), [](const auto& scenario) {
  std::string name = scenario.param.name;
  std::erase_if(name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); });
  return name;
});

}  // namespace
}  // namespace fairlead::apisim
