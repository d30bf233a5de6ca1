// The reconciler and the running operator on the simulated API server: what a user is told, two
// operators at once, threads.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "operator/main/log.h"
#include "operator/main/metrics.h"
#include "operator/main/objects.h"
#include "operator/main/operator.h"
#include "operator/main/reconciler.h"
#include "operator/sim/api_judge.h"
#include "operator/sim/client.h"
#include "operator/sim/fake_members.h"
#include "operator/sim/kubelet.h"
#include "operator/sim/server.h"

namespace fairlead::apisim {
namespace {

namespace gvr = ops::gvr;
using kube::at;
using kube::string_at;
using ops::LogLevel;
using ops::Metrics;
using ops::Outcome;
using ops::Reconciler;
using ops::set_log_level;

const kube::ObjectKey kKey{"ns", "demo"};

// Runs something just before the n-th call.
class Meddler : public kube::Api {
 public:
  Meddler(kube::Api& inner, uint64_t index, std::function<void()> meddle)
      : inner_(inner), at_(index), meddle_(std::move(meddle)) {}
  Result<Json> call(const kube::Request& request) override {
    if (++calls == at_) meddle_();
    if (request.verb == kube::Verb::kGet && request.gvr == kube::gvr::kPersistentVolumeClaims) {
      last_claim_read = calls;
    }
    if (refuse && request.verb == kube::Verb::kCreate && request.gvr == kube::gvr::kPods) {
      return Status(Code::kPermissionDenied, "exceeded quota");
    }
    return inner_.call(request);
  }
  Status watch(const kube::Gvr& g, const kube::WatchOptions& options, const kube::WatchHandler& handler,
               std::stop_token stop) override {
    return inner_.watch(g, options, handler, stop);
  }
  uint64_t calls = 0;
  uint64_t last_claim_read = 0;  // number of the last call that read a single claim
  bool refuse = false;

 private:
  kube::Api& inner_;
  const uint64_t at_;
  std::function<void()> meddle_;
};

struct World {
  explicit World(int replicas) {
    set_log_level(LogLevel::kError);
    server.create_namespace("ns");
    EXPECT_TRUE(server.load_crds("manifests/crds/fairleadclusters.yaml").is_ok());
    EXPECT_TRUE(server.load_crds("manifests/crds/fairleadmembers.yaml").is_ok());
    user(kube::Verb::kCreate, gvr::kClusters,
         {{"apiVersion", "fairlead.io/v1alpha1"},
          {"kind", "FairleadCluster"},
          {"metadata", {{"name", "demo"}, {"namespace", "ns"}}},
          {"spec", {{"replicas", replicas}}}});
  }
  void user(kube::Verb verb, const kube::Gvr& g, Json body, kube::ObjectKey key = kKey) {
    kube::Request r;
    r.verb = verb;
    r.gvr = g;
    r.key = std::move(key);
    r.body = std::move(body);
    const auto result = server.call(r, "user");
    EXPECT_TRUE(result.is_ok()) << result.status().to_string();
  }
  Reconciler::Options options(const std::string& prefix) {
    return {[this] { return server.time_ms(); },
            [prefix, n = 0]() mutable { return prefix + std::to_string(n++ % 90); }};
  }
  void step() {
    kubelet.step();
    server.advance_ms(2000);
    members.tick();
  }
  Json condition(const std::string& type) {
    const auto cluster = server.find(gvr::kClusters, kKey);
    for (const Json& c : at(*cluster, {"status", "conditions"})) {
      if (string_at(c, {"type"}) == type) return c;
    }
    return {};
  }
  std::string said(const std::string& type) {
    const Json c = condition(type);
    return string_at(c, {"status"}) + "/" + string_at(c, {"reason"});
  }
  bool has_event(const std::string& reason) {
    for (const auto& e : server.all(kube::gvr::kEvents, "ns")) {
      if (string_at(*e, {"reason"}) == reason) return true;
    }
    return false;
  }

  Server server;
  Kubelet kubelet{server};
  FakeMembers members{server};
};

struct Operation {
  Operation(World& world, kube::Api& api, const std::string& prefix)
      : events(api, "fairlead-operator", prefix), reconciler(api, world.members, events, world.options(prefix)) {}
  kube::EventRecorder events;
  Reconciler reconciler;
};

TEST(Reconciler, ARefusedActionIsSaidAndRetried) {
  World world(1);
  Client client(world.server, "operator");
  Meddler api(client, 0, [] {});
  Operation op(world, api, "x");
  api.refuse = true;
  Outcome last;
  for (int i = 0; i < 15; ++i) {
    last = op.reconciler.reconcile(kKey);
    world.step();
  }
  EXPECT_EQ(last.status.code(), Code::kPermissionDenied);
  EXPECT_EQ(world.said("Stalled"), "True/ActionRefused");
  EXPECT_EQ(world.said("Reconciling"), "True/ActionFailed");
  EXPECT_NE(string_at(world.condition("Stalled"), {"message"}).find("exceeded quota"), std::string::npos);
  EXPECT_TRUE(world.has_event("ActionRefused"));
  api.refuse = false;
  for (int i = 0; i < 15; ++i) {
    last = op.reconciler.reconcile(kKey);
    world.step();
  }
  EXPECT_EQ(world.said("Ready"), "True/AllMembersHealthy");
  EXPECT_EQ(world.said("Stalled"), "False/NotStalled");
  EXPECT_EQ(last.again_in_ms, ops::kSettledPeriodMs);
}

TEST(Reconciler, ScalingIsRefusedInWords) {
  World world(3);
  Client client(world.server, "operator");
  Operation op(world, client, "x");
  for (int i = 0; i < 40; ++i) op.reconciler.reconcile(kKey), world.step();
  ASSERT_EQ(world.said("Ready"), "True/AllMembersHealthy");
  world.user(kube::Verb::kMergePatch, gvr::kClusters, {{"spec", {{"replicas", 5}}}});
  for (int i = 0; i < 5; ++i) op.reconciler.reconcile(kKey), world.step();
  EXPECT_EQ(world.said("SpecAccepted"), "False/ScalingNotSupportedYet");
  EXPECT_EQ(world.said("Ready"), "True/ScalingNotSupportedYet");
  EXPECT_EQ(kube::int_at(world.condition("SpecAccepted"), {"observedGeneration"}), 2);
  EXPECT_TRUE(world.has_event("ScalingNotSupportedYet"));
  EXPECT_EQ(world.server.all(kube::gvr::kPods, "ns").size(), 3u);
}

// At rest nothing is written: not every look may become a write.
TEST(Reconciler, NoWritesAtRest) {
  World world(3);
  Client client(world.server, "operator");
  Operation op(world, client, "x");
  for (int i = 0; i < 40; ++i) op.reconciler.reconcile(kKey), world.step();
  ASSERT_EQ(world.said("Ready"), "True/AllMembersHealthy");
  const uint64_t before = client.writes();
  for (int i = 0; i < 60; ++i) {
    EXPECT_FALSE(op.reconciler.reconcile(kKey).acted);
    world.step();
  }
  EXPECT_EQ(client.writes(), before);
}

// Members cannot be reached at all: Unknown at once, no pod touched.
TEST(Reconciler, SilenceIsUnknownAndTouchesNothing) {
  class Silent : public member::Prober {
   public:
    member::Round ask(const std::string&, const std::vector<member::Target>& targets, int64_t now_ms) override {
      member::Round round;
      for (const member::Target& t : targets) {
        member::Answer a;
        a.name = t.name;
        a.asked = true;
        a.unknown_since_ms = now_ms;
        a.error = "timeout";
        round.answers.push_back(a);
      }
      round.list.asked = round.write.asked = !targets.empty();
      round.list.error = round.write.error = "timeout";
      return round;
    }
    void forget(const std::string&) override {}
  };
  World world(3);
  Client client(world.server, "operator");
  Operation op(world, client, "x");
  for (int i = 0; i < 40; ++i) op.reconciler.reconcile(kKey), world.step();
  ASSERT_EQ(world.said("Ready"), "True/AllMembersHealthy");
  Silent silent;
  Reconciler deaf(client, silent, op.events, world.options("y"));
  EXPECT_FALSE(deaf.reconcile(kKey).acted);
  EXPECT_EQ(world.said("Ready"), "Unknown/Unreachable");
  EXPECT_EQ(world.said("Available"), "Unknown/Unreachable");
  EXPECT_EQ(world.said("QuorumHealthy"), "Unknown/Unreachable");
  EXPECT_EQ(world.server.all(kube::gvr::kPods, "ns").size(), 3u);
}

// Rule 21: two operators at once are harmless. The second works whole rounds at each call of the
// first.
TEST(Reconciler, TwoAtOnceAreHarmless) {
  uint64_t calls = 1;
  int meddled = 0;
  for (uint64_t index = 1; index <= calls; index += 7) {
    SCOPED_TRACE("the second operator cuts in at call " + std::to_string(index));
    World world(3);
    Client one(world.server, "operator-1"), two(world.server, "operator-2");
    Operation second(world, two, "y");
    Meddler api(one, index, [&] {
      ++meddled;
      for (int i = 0; i < 4; ++i) {
        second.reconciler.reconcile(kKey);
        world.step();
      }
    });
    Operation first(world, api, "x");
    for (int i = 0; i < 60; ++i) first.reconciler.reconcile(kKey), world.step();
    if (index == 1) calls = api.calls / 2;  // the other half is at rest
    EXPECT_EQ(world.said("Ready"), "True/AllMembersHealthy");
    EXPECT_EQ(count_writes(world.server.log(), "operator"),
              "create fairleadmembers=3; create persistentvolumeclaims=3; create "
              "poddisruptionbudgets=1; create pods=3; "
              "create services=2; ");
    for (const std::string& fault : judge_log(world.server.log(), "operator")) ADD_FAILURE() << fault;
    if (HasFailure()) return;
  }
  EXPECT_GT(meddled, 15);
}

// What a decision rests on is asked again at the moment of writing: a volume that is replaced while
// the round goes on, at whatever call, gets no pod. The undisturbed round tells how far that reaches.
TEST(Reconciler, AVolumeReplacedUnderTheDecisionGetsNoPod) {
  uint64_t last = 1;
  for (uint64_t index = 0; index <= last; ++index) {
    SCOPED_TRACE("the volume is replaced at call " + std::to_string(index));
    World world(3);
    Client client(world.server, "operator");
    Operation op(world, client, "x");
    for (int i = 0; i < 40; ++i) op.reconciler.reconcile(kKey), world.step();
    ASSERT_EQ(world.said("Ready"), "True/AllMembersHealthy");
    const auto cluster = world.server.find(gvr::kClusters, kKey);
    const std::string name = string_at(at(*cluster, {"status", "intent", "members"})[0], {"name"});
    const kube::ObjectKey claim{"ns", "data-" + name};
    ASSERT_TRUE(world.kubelet.kill_pod({"ns", name}).is_ok());
    Meddler api(client, index, [&] {
      Json fresh = *world.server.find(kube::gvr::kPersistentVolumeClaims, claim);
      ASSERT_TRUE(world.kubelet.destroy_claim(claim).is_ok());
      fresh["metadata"] = {{"name", claim.name}, {"namespace", "ns"}, {"labels", fresh["metadata"]["labels"]}};
      fresh.erase("status");
      fresh["spec"].erase("volumeName");
      world.user(kube::Verb::kCreate, kube::gvr::kPersistentVolumeClaims, fresh, claim);
    });
    Operation meddled(world, api, "y");
    meddled.reconciler.reconcile(kKey);
    if (index == 0) {
      EXPECT_NE(world.server.find(kube::gvr::kPods, {"ns", name}), nullptr);
      last = api.last_claim_read;
      EXPECT_GT(last, 5u);
      continue;
    }
    EXPECT_EQ(world.server.find(kube::gvr::kPods, {"ns", name}), nullptr);
    meddled.reconciler.reconcile(kKey);
    EXPECT_EQ(world.said("Degraded"), "True/VolumeLost");
    EXPECT_EQ(world.server.find(kube::gvr::kPods, {"ns", name}), nullptr);
  }
}

// A corrected image takes over as long as nothing came up.
TEST(Reconciler, ACorrectedImageWinsBeforeTheClusterForms) {
  World world(1);
  world.user(kube::Verb::kMergePatch, gvr::kClusters, {{"spec", {{"image", "typo"}}}});
  world.kubelet.set_ready_policy([](const Json& pod) { return at(pod, {"spec", "containers"})[0]["image"] != "typo"; });
  class Picky : public FakeMembers {
   public:
    explicit Picky(World& world) : FakeMembers(world.server), world_(world) {}
    member::Round ask(const std::string& scope, const std::vector<member::Target>& targets, int64_t now_ms) override {
      for (const auto& pod : world_.server.all(kube::gvr::kPods, "ns")) {
        if (at(*pod, {"spec", "containers"})[0]["image"] == "typo") return FakeMembers::ask(scope, {}, now_ms);
      }
      return FakeMembers::ask(scope, targets, now_ms);
    }

   private:
    World& world_;
  } members(world);
  Client client(world.server, "operator");
  kube::EventRecorder events(client, "fairlead-operator", "x");
  Reconciler reconciler(client, members, events, world.options("x"));
  const auto rounds = [&](int n) {
    for (int i = 0; i < n; ++i) reconciler.reconcile(kKey), world.step(), members.tick();
  };
  rounds(30);
  EXPECT_EQ(world.said("Ready"), "False/Bootstrapping");
  world.user(kube::Verb::kMergePatch, gvr::kClusters, {{"spec", {{"image", "right"}}}});
  rounds(40);
  EXPECT_EQ(world.said("Ready"), "True/AllMembersHealthy");
  EXPECT_EQ(world.said("SpecAccepted"), "True/Accepted");
}

// ---- the running operator, with its threads ----

TEST(Operator, FormsAClusterAndStops) {
  World world(3);
  Client client(world.server, "operator");
  Operation op(world, client, "x");
  Metrics metrics;
  ops::Operator running(client, op.reconciler, metrics, {"", 2});
  EXPECT_FALSE(running.synced());
  running.start();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  // FakeMembers belongs to the workers once they run: the world moves only through the API server
  // from here.
  while (world.server.all(kube::gvr::kPods, "ns").size() < 3 && std::chrono::steady_clock::now() < deadline) {
    world.kubelet.step();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(world.server.all(kube::gvr::kPods, "ns").size(), 3u);
  EXPECT_TRUE(running.synced());
  EXPECT_EQ(running.unhealthy(), "");
  const std::string page = metrics.scrape({[&] { return op.reconciler.facts(); }, [&] { return running.queue_depth(); },
                                           [&] { return op.events.failures(); }});
  EXPECT_NE(page.find("fairlead_operator_clusters 1"), std::string::npos) << page;
  EXPECT_NE(page.find("fairlead_operator_actions_total{action=\"CreatePod\",result=\"ok\"}"), std::string::npos)
      << page;
  EXPECT_NE(page.find("type=\"Ready\"} 1"), std::string::npos) << page;
  running.stop();
  const uint64_t writes = client.writes();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(client.writes(), writes) << "nothing works after stop()";
}

}  // namespace
}  // namespace fairlead::apisim
