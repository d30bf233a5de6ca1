// What the definitions in manifests/crds accept and refuse, on the simulated server and, when
// FAIRLEAD_KUBECONFIG names a kubeconfig, on a real kube-apiserver: both must agree, or the tests
// on the simulated one prove nothing.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "operator/crd/types.h"
#include "operator/kube/http_api.h"
#include "operator/kube/yaml.h"
#include "operator/main/objects.h"
#include "operator/sim/client.h"
#include "operator/sim/server.h"

namespace fairlead::apisim {
namespace {

namespace gvr = ops::gvr;

class CrdContract : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const char* kubeconfig = std::getenv("FAIRLEAD_KUBECONFIG");
    if (std::string_view(GetParam()) == "Real") {
      if (kubeconfig == nullptr) GTEST_SKIP() << "FAIRLEAD_KUBECONFIG is not set";
      real_ = kube::connect(kube::load_kubeconfig(kubeconfig).value()).value();
    }
    for (const char* kind : {"fairleadclusters", "fairleadmembers"}) {
      const Json definition = kube::parse_yaml_file(std::string("manifests/crds/") + kind + ".yaml").value().at(0);
      kube::WriteOptions options;
      options.field_manager = "crd-contract";
      options.force = true;
      const Status applied = api().apply(kube::gvr::kCustomResourceDefinitions, definition, options).status();
      ASSERT_TRUE(applied.is_ok()) << applied.to_string();
    }
    static int counter = 0;  // a namespace that is being deleted takes nothing new
    ns_ = "crd-" + std::to_string(getpid()) + "-" + std::to_string(++counter);
    const Status made = api()
                            .create(kube::gvr::kNamespaces,
                                    {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", ns_}}}})
                            .status();
    ASSERT_TRUE(made.is_ok()) << made.to_string();
    // A definition is served a moment after it is accepted; a minute is "never".
    for (int i = 0;
         i < 600 && !api().list(gvr::kClusters, {.ns = ns_, .label_selector = "", .resource_version = ""}).is_ok();
         ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  void TearDown() override {
    if (real_ != nullptr) (void)real_->remove(kube::gvr::kNamespaces, {"", ns_});
  }

  kube::Api& api() { return real_ != nullptr ? *real_ : static_cast<kube::Api&>(simulated_); }

  Json cluster(const std::string& name, Json spec) const {
    return {{"apiVersion", crd::kApiVersion},
            {"kind", crd::kClusterKind},
            {"metadata", {{"name", name}, {"namespace", ns_}}},
            {"spec", std::move(spec)}};
  }
  Status create(const std::string& name, Json spec) {
    return api().create(gvr::kClusters, cluster(name, std::move(spec))).status();
  }
  Status patch(const std::string& name, Json patch, const char* subresource = "") {
    kube::WriteOptions options;
    options.subresource = subresource;
    return api().merge_patch(gvr::kClusters, {ns_, name}, std::move(patch), options).status();
  }

  Server server_;
  Client simulated_{server_, "user"};
  std::unique_ptr<kube::Api> real_;
  std::string ns_;
};

TEST_P(CrdContract, DefaultsAreThoseOfTheTypes) {
  ASSERT_TRUE(create("plain", Json::object()).is_ok());
  const Json live = api().get(gvr::kClusters, {ns_, "plain"}).value();
  const auto parsed = crd::parse_cluster(live);
  ASSERT_TRUE(parsed.is_ok()) << parsed.status().to_string();
  Json bare = live;
  bare["spec"] = Json::object();
  EXPECT_EQ(crd::to_json(parsed->spec), crd::to_json(crd::parse_cluster(bare)->spec)) << "schema and types disagree";
  EXPECT_EQ(kube::int_at(live, {"spec", "replicas"}), 3);
}

TEST_P(CrdContract, RefusesAtCreation) {
  const std::pair<const char*, Json> cases[] = {
      {"replicas", {{"replicas", 2}}},
      {"mode", {{"bootstrap", {{"mode", "DNSSRV"}}}}},
      {"size", {{"storage", {{"size", "lots"}}}}},
      {"reclaim", {{"storage", {{"reclaim", "Burn"}}}}},
      {"image", {{"image", ""}}},
      {"type", {{"storage", 7}}},
      {"1digit-first", Json::object()},
      {"dotted.name", Json::object()},
  };
  for (const auto& [name, spec] : cases) {
    EXPECT_EQ(create(name, spec).code(), Code::kInvalidArgument) << name << " " << spec;
  }
  EXPECT_EQ(create(std::string(53, 'n'), Json::object()).code(), Code::kInvalidArgument) << "a name that is too long";
  EXPECT_TRUE(create(std::string(52, 'n'), Json::object()).is_ok());
}

TEST_P(CrdContract, WhatMayChange) {
  ASSERT_TRUE(create("c", {{"replicas", 3}, {"storage", {{"size", "1Gi"}}}}).is_ok());
  EXPECT_TRUE(patch("c", {{"spec", {{"replicas", 5}}}}).is_ok());
  EXPECT_TRUE(patch("c", {{"spec", {{"storage", {{"size", "1.5Gi"}}}}}}).is_ok());
  EXPECT_EQ(patch("c", {{"spec", {{"storage", {{"size", "1Gi"}}}}}}).code(), Code::kInvalidArgument)
      << "volumes do not shrink";
  EXPECT_EQ(patch("c", {{"spec", {{"storage", {{"storageClassName", "fast"}}}}}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(patch("c", {{"spec", {{"replicas", 4}}}}).code(), Code::kInvalidArgument);
}

// The API server itself keeps the record of what was promised: even a broken operator cannot grant
// "new" twice.
TEST_P(CrdContract, TheIntentIsWrittenOnce) {
  ASSERT_TRUE(create("c", Json::object()).is_ok());
  const auto status = [this](Json fields) { return patch("c", {{"status", std::move(fields)}}, "status"); };
  const auto intent = [&](Json a) {
    return status({{"intent", {{"token", "t"}, {"members", {std::move(a), {{"name", "b"}}}}}}});
  };
  const Json named = {{"name", "a"}};
  const Json granted = {{"name", "a"}, {"memberUID", "m1"}, {"volumeUID", "v1"}};
  Json other_volume = granted, heard = granted;
  other_volume["volumeUID"] = "v2";
  heard["memberID"] = "0b";
  ASSERT_TRUE(intent(named).is_ok());
  EXPECT_EQ(status({{"intent", {{"token", "t2"}}}}).code(), Code::kInvalidArgument);
  ASSERT_TRUE(intent(granted).is_ok());
  EXPECT_EQ(intent(other_volume).code(), Code::kInvalidArgument) << "granted twice";
  EXPECT_EQ(intent(named).code(), Code::kInvalidArgument) << "a grant taken back";
  EXPECT_EQ(intent({{"name", "z"}}).code(), Code::kInvalidArgument) << "another name";
  ASSERT_TRUE(intent(heard).is_ok());
  EXPECT_EQ(intent(granted).code(), Code::kInvalidArgument) << "unheard";
  EXPECT_EQ(status({{"intent", nullptr}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(patch("c", {{"status", nullptr}}, "status").code(), Code::kInvalidArgument);
  ASSERT_TRUE(status({{"clusterID", "ab"}}).is_ok());
  EXPECT_EQ(status({{"clusterID", "ac"}}).code(), Code::kInvalidArgument);
}

TEST_P(CrdContract, TheSpecOfAMemberIsFixed) {
  Json member = {{"apiVersion", crd::kApiVersion},
                 {"kind", crd::kMemberKind},
                 {"metadata", {{"name", "m"}, {"namespace", ns_}}},
                 {"spec", crd::to_json(crd::MemberSpec{"c", "data-m"})}};
  ASSERT_TRUE(api().create(gvr::kMembers, member).is_ok());
  EXPECT_EQ(api().merge_patch(gvr::kMembers, {ns_, "m"}, {{"spec", {{"volumeName", "other"}}}}).code(),
            Code::kInvalidArgument);
  EXPECT_EQ(api()
                .create(gvr::kMembers, {{"apiVersion", crd::kApiVersion},
                                        {"kind", crd::kMemberKind},
                                        {"metadata", {{"name", "n"}, {"namespace", ns_}}},
                                        {"spec", Json::object()}})
                .code(),
            Code::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(All, CrdContract, testing::Values("Simulated", "Real"),
                         [](const auto& backend) { return std::string(backend.param); });

}  // namespace
}  // namespace fairlead::apisim
