// Objects, conversions, pages. What needs an API server is in operator/sim (reconcile_test.cc,
// crash_matrix_test.cc).
#include <gtest/gtest.h>
#include <httplib.h>

#include "operator/main/convert.h"
#include "operator/main/log.h"
#include "operator/main/metrics.h"
#include "operator/main/objects.h"
#include "operator/plan/plan.h"

namespace fairlead::ops {
namespace {

using kube::at;
using kube::Json;
using kube::string_at;

// ---- objects ----

Json live_cluster() {
  return {{"apiVersion", "fairlead.io/v1alpha1"},
          {"kind", "FairleadCluster"},
          {"metadata", {{"namespace", "ns"}, {"name", "demo"}, {"uid", "C"}}}};
}

crd::Intent intent_of_two() {
  crd::Intent intent;
  intent.recorded = true;
  intent.token = "demo-C";
  intent.members = {{"demo-a", "Ma", "Va", ""}, {"demo-b", "Mb", "Vb", ""}};
  intent.target.image = "img:1";
  intent.target.storage_size = "1Gi";
  return intent;
}

TEST(Objects, PodHasTheFlagsOfAStaticCluster) {
  Json member = member_object(live_cluster(), "demo-a");
  member["metadata"]["uid"] = "Ma";
  const Json pod = pod_object(live_cluster(), member, intent_of_two(), plan::StartState::kNew);
  const Json& container = at(pod, {"spec", "containers"})[0];
  const Json wanted = {"--name=demo-a",
                       "--initial-advertise-peer-urls=http://demo-a.demo-peer.ns.svc:2380",
                       "--initial-cluster=demo-a=http://demo-a.demo-peer.ns.svc:2380,demo-b=http://"
                       "demo-b.demo-peer.ns.svc:2380",
                       "--initial-cluster-state=new",
                       "--initial-cluster-token=demo-C",
                       "--listen-metrics-urls=http://0.0.0.0:2381"};
  EXPECT_EQ(container["args"], wanted);
  std::map<std::string, std::string> env;
  for (const Json& e : container["env"]) env[string_at(e, {"name"})] = string_at(e, {"value"});
  const std::map<std::string, std::string> settings = {
      {"ETCD_DATA_DIR", "/var/lib/fairlead/data"},
      {"ETCD_LISTEN_CLIENT_URLS", "http://0.0.0.0:2379"},
      {"ETCD_ADVERTISE_CLIENT_URLS", "http://demo-a.demo-peer.ns.svc:2379"},
      {"ETCD_LISTEN_PEER_URLS", "http://0.0.0.0:2380"}};
  EXPECT_EQ(env, settings);
  EXPECT_EQ(container["image"], "img:1");
  EXPECT_EQ(string_at(pod, {"spec", "hostname"}), "demo-a");
  EXPECT_EQ(string_at(pod, {"spec", "subdomain"}), "demo-peer");
  EXPECT_EQ(at(pod, {"spec", "automountServiceAccountToken"}), false);
  EXPECT_EQ(at(pod, {"spec", "securityContext", "runAsNonRoot"}), true);
  EXPECT_EQ(container["securityContext"]["readOnlyRootFilesystem"], true);
  EXPECT_EQ(container["securityContext"]["capabilities"]["drop"], Json::array({"ALL"}));
  EXPECT_TRUE(at(pod, {"spec", "initContainers"}).is_null());
  EXPECT_EQ(string_at(kube::controller_of(pod), {"uid"}), "Ma");
}

TEST(Objects, RootRunsOnlyWhenAskedFor) {
  crd::Intent intent = intent_of_two();
  intent.target.fix_permissions = true;
  const Json pod =
      pod_object(live_cluster(), member_object(live_cluster(), "demo-a"), intent, plan::StartState::kExisting);
  const Json& init = at(pod, {"spec", "initContainers"});
  ASSERT_EQ(init.size(), 1u);
  EXPECT_EQ(init[0]["securityContext"]["runAsUser"], 0);
  EXPECT_EQ(init[0]["securityContext"]["capabilities"], Json({{"drop", {"ALL"}}, {"add", {"CHOWN"}}}));
  EXPECT_EQ(at(pod, {"spec", "securityContext", "runAsUser"}), kServerUid) << "the server itself does not";
}

TEST(Objects, VolumesHaveNoOwnerButLabels) {
  const Json v = volume_object(live_cluster(), "demo-a", "Ma", intent_of_two().target);
  EXPECT_TRUE(kube::controller_of(v).is_null()) << "data is not left to the garbage collector";
  EXPECT_EQ(volume_to_plan(v).member_uid, "Ma");
  EXPECT_EQ(volume_to_plan(v).cluster_uid, "C");
}

TEST(Objects, HoldsIgnoresWhatOthersAdded) {
  const Json wanted = {{"a", 1}, {"list", {{{"name", "x"}, {"port", 1}}}}};
  EXPECT_TRUE(
      holds({{"a", 1}, {"b", 2}, {"list", {{{"name", "y"}}, {{"name", "x"}, {"port", 1}, {"more", 3}}}}}, wanted));
  EXPECT_FALSE(holds({{"a", 2}, {"list", {{{"name", "x"}, {"port", 1}}}}}, wanted));
  EXPECT_FALSE(holds({{"a", 1}, {"list", {{{"name", "x"}, {"port", 2}}}}}, wanted));
  EXPECT_FALSE(holds({{"a", 1}}, wanted));
}

TEST(Objects, WhyAPodDoesNotStart) {
  Json pod = {{"metadata", {{"name", "demo-a"}}}, {"status", {{"phase", "Pending"}}}};
  pod["status"]["containerStatuses"] = {{{"state", {{"waiting", {{"reason", "ContainerCreating"}}}}}}};
  EXPECT_EQ(pod_to_plan(pod).problem, "");
  pod["status"]["containerStatuses"] = {{{"state", {{"waiting", {{"reason", "ImagePullBackOff"}}}}}}};
  EXPECT_EQ(pod_to_plan(pod).problem, "ImagePullBackOff");
  pod["status"]["containerStatuses"] = {
      {{"state", {{"waiting", {{"reason", "CrashLoopBackOff"}}}}},
       {"lastState", {{"terminated", {{"message", "started\nmake directory /data: Permission denied\n"}}}}}}};
  EXPECT_EQ(pod_to_plan(pod).problem, "CrashLoopBackOff: make directory /data: Permission denied");
  pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["message"] =
      "{\"level\":\"info\",\"msg\":\"listening\"}\n{\"level\":\"fatal\",\"msg\":\"fairlead ends\",\"error\":\"no "
      "room\"}\n";
  EXPECT_EQ(pod_to_plan(pod).problem, "CrashLoopBackOff: fairlead ends: no room");
  pod["status"] = {{"phase", "Pending"},
                   {"conditions", {{{"type", "PodScheduled"}, {"status", "False"}, {"reason", "Unschedulable"}}}}};
  EXPECT_EQ(pod_to_plan(pod).problem, "Unschedulable");
}

TEST(Convert, IntentSurvivesARoundTrip) {
  crd::Intent intent = intent_of_two();
  intent.members[0].member_id = "000000000000000b";
  intent.target = {3, "img", "1Gi", "fast", {{"limits", {{"memory", "1Gi"}}}}, true};
  const plan::Intent planned = to_plan(intent, "00000000000000ab");
  EXPECT_EQ(planned.cluster_id, ClusterId(0xab));
  EXPECT_EQ(planned.members[0].member_id, MemberId(11));
  EXPECT_EQ(to_plan(to_crd(planned), "00000000000000ab"), planned);
}

TEST(StatusServer, Pages) {
  std::string trouble;
  auto server = StatusServer::start("127.0.0.1:0", {[] { return std::string("m 1\n"); }, [&] { return trouble; },
                                                    [] { return std::string("not yet"); }});
  ASSERT_TRUE(server.is_ok()) << server.status().to_string();
  httplib::Client client("127.0.0.1", (*server)->port());
  auto metrics = client.Get("/metrics");
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->status, 200);
  EXPECT_EQ(metrics->body, "m 1\n");
  EXPECT_EQ(client.Get("/healthz")->status, 200);
  EXPECT_EQ(client.Get("/readyz")->status, 503);
  EXPECT_EQ(client.Get("/readyz")->body, "not yet\n");
  trouble = "stuck";
  EXPECT_EQ(client.Get("/healthz")->status, 503);
  EXPECT_EQ(client.Get("/other")->status, 404);
}

TEST(StatusServer, APortInUseIsAnError) {
  const auto nothing = [] { return std::string(); };
  auto first = StatusServer::start("127.0.0.1:0", {nothing, nothing, nothing});
  ASSERT_TRUE(first.is_ok());
  const std::string address = "127.0.0.1:" + std::to_string((*first)->port());
  EXPECT_EQ(StatusServer::start(address, {nothing, nothing, nothing}).code(), Code::kUnavailable);
}

TEST(StatusServer, RefusesBadAddresses) {
  for (const char* bad : {"nowhere", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000"}) {
    EXPECT_EQ(StatusServer::start(bad, {}).code(), Code::kInvalidArgument) << bad;
  }
}

TEST(Log, Levels) {
  EXPECT_TRUE(parse_log_level("warn").is_ok());
  EXPECT_FALSE(parse_log_level("loud").is_ok());
}

}  // namespace
}  // namespace fairlead::ops
