// The simulated API server's own parts: faults, stale reads, kubelet steps, garbage collection, CEL, schemas; and the
// informer under faults.

#include <gtest/gtest.h>

#include "operator/kube/events.h"
#include "operator/kube/informer.h"
#include "operator/kube/lease.h"
#include "operator/kube/yaml.h"
#include "operator/sim/cel.h"
#include "operator/sim/client.h"
#include "operator/sim/kubelet.h"
#include "operator/sim/schema.h"
#include "operator/sim/server.h"

namespace fairlead::apisim {
namespace {

using kube::at;
using kube::string_at;
namespace gvr = kube::gvr;

Json config_map(const std::string& name, const std::string& value = "1") {
  return {{"apiVersion", "v1"},
          {"kind", "ConfigMap"},
          {"metadata", {{"namespace", "default"}, {"name", name}}},
          {"data", {{"v", value}}}};
}
Json pod(const std::string& name, const std::string& claim = "") {
  Json object = {{"apiVersion", "v1"},
                 {"kind", "Pod"},
                 {"metadata", {{"namespace", "default"}, {"name", name}}},
                 {"spec", {{"containers", Json::array({{{"name", "main"}, {"image", "localhost/x:1"}}})}}}};
  if (!claim.empty())
    object["spec"]["volumes"] = Json::array({{{"name", "data"}, {"persistentVolumeClaim", {{"claimName", claim}}}}});
  return object;
}
Json claim(const std::string& name) {
  return {{"apiVersion", "v1"},
          {"kind", "PersistentVolumeClaim"},
          {"metadata", {{"namespace", "default"}, {"name", name}}},
          {"spec", {{"accessModes", {"ReadWriteOnce"}}, {"resources", {{"requests", {{"storage", "1Gi"}}}}}}}};
}
ObjectKey key(const std::string& name) { return {"default", name}; }
Json owned_by(Json object, const Json& owner) {
  object["metadata"]["ownerReferences"] = Json::array({kube::controller_reference(owner)});
  return object;
}
bool is_ready(const Json& object) {
  for (const Json& c : at(object, {"status", "conditions"})) {
    if (string_at(c, {"type"}) == "Ready") return string_at(c, {"status"}) == "True";
  }
  return false;
}

// ---- faults ----

struct WriteFaultCase {
  FaultKind kind;
  Code code;
  bool executed;
  bool crashed;
};

TEST(Faults, OfWrites) {
  const WriteFaultCase cases[] = {{FaultKind::kCrashBefore, Code::kCancelled, false, true},
                                  {FaultKind::kCrashAfter, Code::kCancelled, true, true},
                                  {FaultKind::kConflict, Code::kAborted, false, false},
                                  {FaultKind::kTimeoutApplied, Code::kDeadlineExceeded, true, false},
                                  {FaultKind::kTimeoutLost, Code::kDeadlineExceeded, false, false},
                                  {FaultKind::kUnavailable, Code::kUnavailable, false, false}};
  for (const WriteFaultCase& c : cases) {
    SCOPED_TRACE(fault_name(c.kind));
    Server server;
    Client client(server, "op", {{c.kind, 2, 0}});
    EXPECT_TRUE(client.create(gvr::kConfigMaps, config_map("first")).is_ok());
    EXPECT_EQ(client.create(gvr::kConfigMaps, config_map("second")).code(), c.code);
    EXPECT_EQ(server.find(gvr::kConfigMaps, key("second")) != nullptr, c.executed);
    EXPECT_EQ(client.crashed(), c.crashed);
    EXPECT_EQ(client.faults_hit(), 1u);
    const Status next = client.create(gvr::kConfigMaps, config_map("third")).status();
    EXPECT_EQ(next.code(), c.crashed ? Code::kCancelled : Code::kOk);
    EXPECT_EQ(server.find(gvr::kConfigMaps, key("third")) != nullptr, !c.crashed);
    if (c.crashed) {
      EXPECT_EQ(client.get(gvr::kConfigMaps, key("first")).code(), Code::kCancelled);
      EXPECT_EQ(client.watch(gvr::kConfigMaps, {}, [](kube::WatchEvent) { return true; }, {}).code(), Code::kCancelled);
    }
  }
}

TEST(Faults, OfReads) {
  Server server;
  Client writer(server, "user");
  for (int i = 0; i < 5; i++) {
    if (i == 0)
      ASSERT_TRUE(writer.create(gvr::kConfigMaps, config_map("a", "0")).is_ok());
    else
      ASSERT_TRUE(writer.merge_patch(gvr::kConfigMaps, key("a"), {{"data", {{"v", std::to_string(i)}}}}).is_ok());
  }
  Client reader(server, "op",
                {{FaultKind::kStale, 1, 2}, {FaultKind::kReadUnavailable, 2, 0}, {FaultKind::kStale, 3, 5}});
  EXPECT_EQ(string_at(*reader.get(gvr::kConfigMaps, key("a")), {"data", "v"}), "2");
  EXPECT_EQ(reader.get(gvr::kConfigMaps, key("a")).code(), Code::kUnavailable);
  EXPECT_EQ(reader.get(gvr::kConfigMaps, key("a")).code(), Code::kNotFound);  // before it was created
  EXPECT_EQ(string_at(*reader.get(gvr::kConfigMaps, key("a")), {"data", "v"}), "4");
  reader.set_stale_depth(1);
  Result<kube::ObjectList> list =
      reader.list(gvr::kConfigMaps, {.ns = "default", .label_selector = "", .resource_version = ""});
  ASSERT_EQ(list->items.size(), 1u);
  EXPECT_EQ(string_at(list->items[0], {"data", "v"}), "3");
  EXPECT_EQ(list->resource_version, kube::resource_version_of(list->items[0]));
  EXPECT_EQ(reader.reads(), 5u);
  EXPECT_EQ(reader.writes(), 0u);
}

TEST(Faults, ScriptsPrintAndParse) {
  const std::string text = "crash-after@3,stale@2:4,lose-event@1,read-unavailable@7";
  std::vector<Fault> script = parse_faults(text).value();
  std::string again;
  for (const Fault& f : script) again += (again.empty() ? "" : ",") + f.to_string();
  EXPECT_EQ(again, text);
  for (const char* bad : {"crash@1", "crash-after", "crash-after@", "crash-after@0", "stale@1:x"})
    EXPECT_FALSE(parse_faults(bad).is_ok()) << bad;
  EXPECT_EQ(every_single_fault(3, 2, 4).size(), 3 * 6 + 2 * (1 + 4));
  const std::vector<Fault> a = random_faults(7, 10, 50, 50, 50), b = random_faults(7, 10, 50, 50, 50);
  ASSERT_EQ(a.size(), 10u);
  for (size_t i = 0; i < a.size(); i++) EXPECT_EQ(a[i].to_string(), b[i].to_string());
  EXPECT_TRUE(random_faults(7, 10, 0, 0, 0).empty());
}

TEST(ServerTest, TheSameRequestsMakeTheSameLog) {
  const auto run = [] {
    Server server;
    Kubelet kubelet(server);
    Client client(server, "op");
    (void)client.create(gvr::kPersistentVolumeClaims, claim("data"));
    (void)client.apply(gvr::kPods, pod("a", "data"), {.field_manager = "op", .subresource = "", .force = false});
    kubelet.settle();
    (void)client.remove(gvr::kPods, key("a"));
    kubelet.settle_with_time(60'000);
    std::string text;
    for (const WriteRecord& r : server.log()) text += r.to_string() + "\n" + (r.after ? r.after->dump() : "") + "\n";
    return text;
  };
  const std::string first = run();
  EXPECT_EQ(first, run());
  EXPECT_NE(first.find("op apply pods.v1 default/a"), std::string::npos) << first;
  EXPECT_NE(first.find("(gone)"), std::string::npos);
}

TEST(ServerTest, HistoryIsBounded) {
  ServerOptions options;
  options.history_max = 10;
  Server server(options);
  Client client(server, "op");
  const std::string start = client.list(gvr::kConfigMaps)->resource_version;
  for (int i = 0; i < 11; i++)
    ASSERT_TRUE(client.create(gvr::kConfigMaps, config_map("cm-" + std::to_string(i))).is_ok());
  kube::WatchOptions watch;
  watch.resource_version = start;
  watch.timeout = std::chrono::milliseconds(0);
  EXPECT_EQ(client.watch(gvr::kConfigMaps, watch, [](kube::WatchEvent) { return true; }, {}).code(), Code::kOutOfRange);
}

// ---- informer ----

class InformerTest : public testing::Test {
 protected:
  kube::Informer::ChangeHandler record() {
    return [this](const kube::Informer::ObjectPtr& before, const kube::Informer::ObjectPtr& after) {
      if (refuse_) return false;
      seen_ +=
          (before ? after ? before == after ? "!" : "~" : "-" : "+") + kube::name_of(after ? *after : *before) + " ";
      return true;
    };
  }
  std::string take_seen() { return std::exchange(seen_, ""); }

  Server server_;
  Client user_{server_, "user"};
  bool refuse_ = false;
  std::string seen_;
};

TEST_F(InformerTest, RepeatedEventsAreReportedOnce) {
  Client client(server_, "op", {{FaultKind::kRepeatEvent, 1, 0}, {FaultKind::kRepeatEvent, 2, 0}});
  kube::Informer informer(client, gvr::kConfigMaps, {}, record());
  EXPECT_TRUE(informer.poll().is_ok());
  EXPECT_TRUE(informer.synced());
  ASSERT_TRUE(user_.create(gvr::kConfigMaps, config_map("a")).is_ok());
  ASSERT_TRUE(user_.remove(gvr::kConfigMaps, key("a")).is_ok());
  EXPECT_TRUE(informer.poll().is_ok());
  EXPECT_EQ(take_seen(), "+a -a ");
  EXPECT_EQ(client.faults_hit(), 2u);
}

TEST_F(InformerTest, BrokenWatchResumesWithoutLoss) {
  Client client(server_, "op", {{FaultKind::kBreakWatch, 2, 0}});
  kube::Informer informer(client, gvr::kConfigMaps, {}, record());
  EXPECT_TRUE(informer.poll().is_ok());
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(user_.create(gvr::kConfigMaps, config_map(name)).is_ok());
  EXPECT_EQ(informer.poll().code(), Code::kUnavailable);
  EXPECT_EQ(informer.last_error().code(), Code::kUnavailable);
  EXPECT_EQ(take_seen(), "+a ");
  EXPECT_TRUE(informer.poll().is_ok());
  EXPECT_EQ(take_seen(), "+b +c ");
  EXPECT_EQ(informer.relists(), 1u);
}

TEST_F(InformerTest, ForgottenHistoryIsReplacedByAList) {
  Client client(server_, "op");
  for (const char* name : {"gone", "kept", "changed", "remade"})
    ASSERT_TRUE(user_.create(gvr::kConfigMaps, config_map(name)).is_ok());
  kube::Informer informer(client, gvr::kConfigMaps, {}, record());
  EXPECT_TRUE(informer.poll().is_ok());
  EXPECT_EQ(take_seen(), "+changed +gone +kept +remade ");
  ASSERT_TRUE(user_.remove(gvr::kConfigMaps, key("gone")).is_ok());
  ASSERT_TRUE(user_.merge_patch(gvr::kConfigMaps, key("changed"), {{"data", {{"v", "2"}}}}).is_ok());
  ASSERT_TRUE(user_.remove(gvr::kConfigMaps, key("remade")).is_ok());
  ASSERT_TRUE(user_.create(gvr::kConfigMaps, config_map("remade")).is_ok());
  server_.compact();
  EXPECT_EQ(informer.poll().code(), Code::kOutOfRange);
  EXPECT_TRUE(informer.poll().is_ok());
  EXPECT_EQ(take_seen(), "-gone ~changed -remade +remade ");  // a namesake is another object
  EXPECT_EQ(informer.relists(), 2u);
}

TEST_F(InformerTest, RefusedChangesAreOfferedAgain) {
  Client client(server_, "op");
  kube::Informer informer(client, gvr::kConfigMaps, {}, record());
  EXPECT_TRUE(informer.poll().is_ok());
  refuse_ = true;
  ASSERT_TRUE(user_.create(gvr::kConfigMaps, config_map("a")).is_ok());
  ASSERT_TRUE(user_.create(gvr::kConfigMaps, config_map("b")).is_ok());
  EXPECT_TRUE(informer.poll().is_ok());
  EXPECT_EQ(take_seen(), "");
  EXPECT_EQ(informer.list().size(), 2u);
  refuse_ = false;
  EXPECT_TRUE(informer.poll().is_ok());
  EXPECT_EQ(take_seen(), "!a !b ");
}

// ---- lease and events ----

kube::LeaseOptions fast_lease() {
  kube::LeaseOptions options;
  options.ns = "default";
  options.name = "operator";
  options.identity = "one";
  options.retry_period = std::chrono::milliseconds(2);
  return options;
}
std::string holder(const Server& server) {
  const ObjectPtr lease = server.find(gvr::kLeases, key("operator"));
  return lease ? string_at(*lease, {"spec", "holderIdentity"}) : "nobody";
}

TEST(LeaseRun, ReleasesWhenStopped) {
  Server server;
  Client client(server, "op");
  kube::LeaderLease lease(client, fast_lease());
  std::stop_source stop;
  std::string held_by;
  Status status = lease.run(stop.get_token(), [&] {
    held_by = holder(server);
    stop.request_stop();
  });
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_EQ(held_by, "one");
  EXPECT_EQ(holder(server), "");
}

TEST(LeaseRun, EndsWhenAnotherTookIt) {
  Server server;
  Client client(server, "op"), other(server, "other");
  kube::LeaderLease lease(client, fast_lease());
  Status status = lease.run(std::stop_token(), [&] {
    EXPECT_TRUE(other.merge_patch(gvr::kLeases, key("operator"), {{"spec", {{"holderIdentity", "two"}}}}).is_ok());
  });
  EXPECT_EQ(status.code(), Code::kAborted);
  EXPECT_EQ(holder(server), "two");
}

TEST(LeaseRun, EndsWhenItCannotRenew) {
  Server server;
  Client client(server, "op");
  kube::LeaseOptions options = fast_lease();
  options.renew_deadline = std::chrono::milliseconds(30);
  kube::LeaderLease lease(client, options);
  Status status = lease.run(std::stop_token(), [&] { client.crash(); });
  EXPECT_EQ(status.code(), Code::kAborted);
  EXPECT_EQ(holder(server), "one");  // it expires by itself
}

TEST(Events, MemoryIsBoundedAndForgettingDoesNotDuplicate) {
  Server server;
  Client client(server, "op");
  kube::EventRecorder recorder(client, "fairlead-operator", "host");
  const Json about = *client.create(gvr::kConfigMaps, config_map("a"));
  const auto emit = [&](size_t i) {
    recorder.emit(about, kube::EventType::kNormal, "Reason", "message " + std::to_string(i), 1'790'000'000'000);
  };
  for (size_t i = 0; i <= kube::kEventKeysMax; i++) emit(i);
  const uint64_t before = client.writes();
  emit(kube::kEventKeysMax);  // remembered: held back, too soon
  EXPECT_EQ(client.writes(), before);
  emit(0);  // forgotten, but on the server
  EXPECT_GT(client.writes(), before);
  EXPECT_EQ(recorder.failures(), 0u);
  int64_t counted = 0;
  for (const ObjectPtr& event : server.all(gvr::kEvents)) counted += kube::int_at(*event, {"count"});
  EXPECT_EQ(server.all(gvr::kEvents).size(), kube::kEventKeysMax + 1);
  EXPECT_EQ(counted, static_cast<int64_t>(kube::kEventKeysMax) + 2);
}

TEST(Events, FailuresAreCountedAndDoNotStopAnything) {
  Server server;
  Client client(server, "op", {{FaultKind::kUnavailable, 2, 0}});
  kube::EventRecorder recorder(client, "fairlead-operator", "host");
  const Json about = *client.create(gvr::kConfigMaps, config_map("a"));
  recorder.emit(about, kube::EventType::kNormal, "Reason", "text", 1'790'000'000'000);
  EXPECT_EQ(recorder.failures(), 1u);
  recorder.emit(about, kube::EventType::kNormal, "Reason", "text", 1'790'000'000'001);
  ASSERT_EQ(server.all(gvr::kEvents).size(), 1u);
  EXPECT_EQ(kube::int_at(*server.all(gvr::kEvents)[0], {"count"}), 2);  // the lost one is counted in
}

// ---- kubelet ----

TEST(KubeletTest, PodBecomesReadyOnItsVolumeAndLeavesIt) {
  Server server;
  Client client(server, "op");
  Kubelet kubelet(server);
  ASSERT_TRUE(client.create(gvr::kPods, pod("a", "data")).is_ok());
  kubelet.settle();
  EXPECT_EQ(string_at(*server.find(gvr::kPods, key("a")), {"spec", "nodeName"}), "");  // no volume yet
  ASSERT_TRUE(client.create(gvr::kPersistentVolumeClaims, claim("data")).is_ok());
  kubelet.settle();
  EXPECT_TRUE(is_ready(*server.find(gvr::kPods, key("a"))));
  EXPECT_EQ(string_at(*server.find(gvr::kPersistentVolumeClaims, key("data")), {"status", "phase"}), "Bound");

  EXPECT_TRUE(client.remove(gvr::kPersistentVolumeClaims, key("data")).is_ok());
  EXPECT_TRUE(client.remove(gvr::kPods, key("a")).is_ok());
  kubelet.settle();
  EXPECT_TRUE(kube::is_terminating(*server.find(gvr::kPods, key("a"))));  // its grace period
  EXPECT_TRUE(server.find(gvr::kPersistentVolumeClaims, key("data")));    // still in use
  kubelet.settle_with_time(30'000);
  EXPECT_FALSE(server.find(gvr::kPods, key("a")));
  EXPECT_FALSE(server.find(gvr::kPersistentVolumeClaims, key("data")));
}

TEST(KubeletTest, ThingsGoWrongOnRequest) {
  Server server;
  Client client(server, "op");
  Kubelet kubelet(server);
  ASSERT_TRUE(client.create(gvr::kPods, pod("a")).is_ok());
  kubelet.settle();
  EXPECT_TRUE(kubelet.crash_container(key("a")).is_ok());
  EXPECT_FALSE(is_ready(*server.find(gvr::kPods, key("a"))));
  kubelet.settle();
  const Json restarted = *server.find(gvr::kPods, key("a"));
  EXPECT_TRUE(is_ready(restarted));
  EXPECT_EQ(kube::int_at(at(restarted, {"status", "containerStatuses"}).at(0), {"restartCount"}), 1);

  kubelet.set_ready_policy([](const Json& p) { return kube::name_of(p) != "a"; });
  kubelet.settle();
  EXPECT_FALSE(is_ready(*server.find(gvr::kPods, key("a"))));
  EXPECT_TRUE(kubelet.fail_pod(key("a")).is_ok());
  kubelet.settle();
  EXPECT_EQ(string_at(*server.find(gvr::kPods, key("a")), {"status", "phase"}), "Failed");
  EXPECT_TRUE(kubelet.kill_pod(key("a")).is_ok());
  EXPECT_FALSE(server.find(gvr::kPods, key("a")));
  EXPECT_EQ(kubelet.kill_pod(key("a")).code(), Code::kNotFound);

  ASSERT_TRUE(client.create(gvr::kPersistentVolumeClaims, claim("data")).is_ok());
  kubelet.settle();
  EXPECT_TRUE(kubelet.lose_claim(key("data")).is_ok());
  EXPECT_EQ(string_at(*server.find(gvr::kPersistentVolumeClaims, key("data")), {"status", "phase"}), "Lost");
  EXPECT_TRUE(kubelet.destroy_claim(key("data")).is_ok());
  EXPECT_FALSE(server.find(gvr::kPersistentVolumeClaims, key("data")));
}

TEST(KubeletTest, StoppedNodeKeepsTerminatingPods) {
  Server server;
  Client client(server, "op");
  KubeletOptions options;
  options.nodes = {"only"};
  Kubelet kubelet(server, options);
  ASSERT_TRUE(client.create(gvr::kPods, pod("a")).is_ok());
  kubelet.settle();
  kubelet.stop_node("only");
  EXPECT_TRUE(client.remove(gvr::kPods, key("a")).is_ok());
  kubelet.settle_with_time(3'600'000);
  EXPECT_TRUE(server.find(gvr::kPods, key("a")));
  ASSERT_TRUE(client.create(gvr::kPods, pod("b")).is_ok());
  kubelet.settle();
  EXPECT_EQ(string_at(*server.find(gvr::kPods, key("b")), {"spec", "nodeName"}), "");
  kubelet.start_node("only");
  kubelet.settle();
  EXPECT_FALSE(server.find(gvr::kPods, key("a")));
  EXPECT_TRUE(is_ready(*server.find(gvr::kPods, key("b"))));
}

// ---- garbage collection ----

size_t collect_all(Server& server) {
  size_t passes = 0;
  while (server.collect_garbage() > 0) passes++;
  return passes;
}

TEST(Garbage, DependentsFollowTheirOwnersByUid) {
  Server server;
  Client client(server, "op");
  const Json owner = *client.create(gvr::kConfigMaps, config_map("owner"));
  const Json child = *client.create(gvr::kConfigMaps, owned_by(config_map("child"), owner));
  ASSERT_TRUE(client.create(gvr::kConfigMaps, owned_by(config_map("grandchild"), child)).is_ok());
  collect_all(server);
  EXPECT_TRUE(server.find(gvr::kConfigMaps, key("grandchild")));
  ASSERT_TRUE(client.remove(gvr::kConfigMaps, key("owner")).is_ok());
  ASSERT_TRUE(client.create(gvr::kConfigMaps, config_map("owner")).is_ok());  // a namesake is no owner
  collect_all(server);
  EXPECT_FALSE(server.find(gvr::kConfigMaps, key("child")));
  EXPECT_FALSE(server.find(gvr::kConfigMaps, key("grandchild")));
  EXPECT_TRUE(server.find(gvr::kConfigMaps, key("owner")));
}

TEST(Garbage, ForegroundAndOrphan) {
  Server server;
  Client client(server, "op");
  const Json first = *client.create(gvr::kConfigMaps, config_map("first"));
  Json held = owned_by(config_map("held"), first);
  held["metadata"]["finalizers"] = {"example.com/held"};
  ASSERT_TRUE(client.create(gvr::kConfigMaps, held).is_ok());
  kube::DeleteOptions options;
  options.propagation = kube::Propagation::kForeground;
  ASSERT_TRUE(client.remove(gvr::kConfigMaps, key("first"), options).is_ok());
  collect_all(server);
  EXPECT_TRUE(kube::is_terminating(*server.find(gvr::kConfigMaps, key("first"))));  // waits for its dependent
  ASSERT_TRUE(client.merge_patch(gvr::kConfigMaps, key("held"), {{"metadata", {{"finalizers", nullptr}}}}).is_ok());
  collect_all(server);
  EXPECT_FALSE(server.find(gvr::kConfigMaps, key("first")));

  const Json second = *client.create(gvr::kConfigMaps, config_map("second"));
  ASSERT_TRUE(client.create(gvr::kConfigMaps, owned_by(config_map("left"), second)).is_ok());
  options.propagation = kube::Propagation::kOrphan;
  ASSERT_TRUE(client.remove(gvr::kConfigMaps, key("second"), options).is_ok());
  collect_all(server);
  EXPECT_FALSE(server.find(gvr::kConfigMaps, key("second")));
  ASSERT_TRUE(server.find(gvr::kConfigMaps, key("left")));
  EXPECT_TRUE(at(*server.find(gvr::kConfigMaps, key("left")), {"metadata", "ownerReferences"}).is_null());
}

TEST(Garbage, NamespacesTakeTheirContentWithThem) {
  Server server;
  server.create_namespace("doomed");
  Client client(server, "op");
  Json object = config_map("a");
  object["metadata"]["namespace"] = "doomed";
  ASSERT_TRUE(client.create(gvr::kConfigMaps, object).is_ok());
  ASSERT_TRUE(client.remove(gvr::kNamespaces, {"", "doomed"}).is_ok());
  object["metadata"]["name"] = "late";
  EXPECT_EQ(client.create(gvr::kConfigMaps, object).code(), Code::kPermissionDenied);
  collect_all(server);
  EXPECT_FALSE(server.find(gvr::kNamespaces, {"", "doomed"}));
  EXPECT_FALSE(server.find(gvr::kConfigMaps, {"doomed", "a"}));
  EXPECT_TRUE(server.find(gvr::kNamespaces, {"", "default"}));
}

// ---- CEL and schemas ----

TEST(Cel, Table) {
  const Json self = {{"a", 3},
                     {"s", "hello"},
                     {"l", {1, 2, 3}},
                     {"m", {{"k", "v"}}},
                     {"items", Json::array({{{"n", "x"}, {"v", 1}}, {{"n", "y"}}})},
                     {"q", "1.5Gi"}};
  const Json old = {{"a", 2}};
  const std::pair<const char*, const char*> cases[] = {
      {"1 + 2 * 3 == 7", "true"},
      {"(1 + 2) * 3", "9"},
      {"7 / 2 + 7 % 2", "4"},
      {"-self.a", "-3"},
      {"self.a > oldSelf.a && !(self.a > 5)", "true"},
      {"self.a in [1, 2, 3] ? 'yes' : 'no'", "\"yes\""},
      {"'k' in self.m && self.m['k'] == \"v\"", "true"},
      {"has(self.m.k) && !has(self.m.z) && !has(self.zz)", "true"},
      {"self.l[0] + self.l[2]", "4"},
      {"size(self.l) == 3 && self.s.size() == 5", "true"},
      {"self.l.all(x, x > 0) && self.l.exists(x, x == 2) && self.l.exists_one(x, x == 2)", "true"},
      {"self.l.filter(x, x > 1).map(x, x * 10)", "[20,30]"},
      {"self.items.all(i, self.items.exists(j, j.n == i.n))", "true"},
      {"self.items.all(i, has(i.v) || i.n == 'y')", "true"},
      {"self.m.all(k, k == 'k')", "true"},
      {"self.s.startsWith('he') && self.s.endsWith('lo') && self.s.contains('ell') && self.s.matches('^h.*o$')",
       "true"},
      {"true || self.nothing", "true"},
      {"self.nothing || true", "true"},
      {"self.nothing && false", "false"},
      {"quantity(self.q).isGreaterThan(quantity('1Gi')) && quantity('1024Mi').compareTo(quantity('1Gi')) == 0", "true"},
      {"string(self.a) + '!' == '3!' && int('42') == 42", "true"},
      {"'it\\'s'", "\"it's\""},
      {"1.5 < 2", "true"},
  };
  for (const auto& [text, want] : cases) {
    Result<std::shared_ptr<const CelExpression>> expression = CelExpression::parse(text);
    ASSERT_TRUE(expression.is_ok()) << text << ": " << expression.status().to_string();
    Result<Json> got = (*expression)->evaluate(self, &old);
    ASSERT_TRUE(got.is_ok()) << text << ": " << got.status().to_string();
    EXPECT_EQ(got->dump(), want) << text;
  }
  for (const char* text : {"self.nothing", "self.a + 'x'", "self.l[3]", "1 / 0", "!self.a", "self.s ? 1 : 2", "unknown",
                           "self.items.all(i, i.v == 1)", "quantity('x')"}) {
    Result<std::shared_ptr<const CelExpression>> expression = CelExpression::parse(text);
    ASSERT_TRUE(expression.is_ok()) << text;
    EXPECT_FALSE((*expression)->evaluate(self, &old).is_ok()) << text;
  }
  for (const char* text : {"", "1 +", "self.", "(1", "[1", "'x", "self.l.reduce(x, x)", "duration('1s')", "has(self)",
                           "1 2", "self.l.all(1, true)"}) {
    EXPECT_FALSE(CelExpression::parse(text).is_ok()) << text;
  }
  EXPECT_FALSE(CelExpression::parse(std::string(1'000, '(')).is_ok());
  EXPECT_TRUE(CelExpression::parse("oldSelf.a == 1").value()->uses_old_self());
}

TEST(SchemaTest, UnknownRulesAreRefused) {
  const auto parse = [](const char* yaml) { return Schema::parse(kube::parse_yaml(yaml).value().at(0)).status(); };
  EXPECT_TRUE(parse("{type: object, properties: {a: {type: string}}}").is_ok());
  EXPECT_FALSE(parse("{type: object, oneOf: [{required: [a]}]}").is_ok());
  EXPECT_FALSE(parse("{type: object, properties: {a: {}}}").is_ok());
  EXPECT_FALSE(parse("{type: array}").is_ok());
  EXPECT_FALSE(parse("{type: string, format: cidr}").is_ok());
  EXPECT_FALSE(parse("{type: string, pattern: '('}").is_ok());
  EXPECT_FALSE(parse("{type: object, x-kubernetes-validations: [{rule: 'self.x('}]}").is_ok());
}

TEST(SchemaTest, TransitionRulesFollowMapItemsNotPositions) {
  const char* yaml = R"(
type: object
properties:
  list:
    type: array
    x-kubernetes-list-type: map
    x-kubernetes-list-map-keys: [name]
    items:
      type: object
      required: [name]
      properties: {name: {type: string}, id: {type: string}}
      x-kubernetes-validations: [{rule: "!has(oldSelf.id) || self.id == oldSelf.id", message: id is latched}]
)";
  std::shared_ptr<const Schema> schema = Schema::parse(kube::parse_yaml(yaml).value().at(0)).value();
  const Json old = {{"list", Json::array({{{"name", "a"}, {"id", "1"}}, {{"name", "b"}, {"id", "2"}}})}};
  const Json swapped = {{"list", Json::array({{{"name", "b"}, {"id", "2"}}, {{"name", "a"}, {"id", "1"}}})}};
  const Json changed = {{"list", Json::array({{{"name", "b"}, {"id", "1"}}})}};
  EXPECT_TRUE(schema->validate(swapped, &old).empty());
  ASSERT_EQ(schema->validate(changed, &old).size(), 1u);
  EXPECT_EQ(schema->validate(changed, &old)[0], "list[0]: Invalid value: id is latched");
  EXPECT_TRUE(schema->validate(changed, nullptr).empty());
}

}  // namespace
}  // namespace fairlead::apisim
