// What the operator relies on in a Kubernetes API server, as one set of cases run against three servers:
//   InProcess   the simulated server, called directly
//   Http        the same, served over HTTP and reached by the real client
//   Real        a real kube-apiserver, when FAIRLEAD_KUBECONFIG names a kubeconfig for one (needs only kube-apiserver
//               and its etcd, with the ServiceAccount admission plugin off; cases that need a controller are not here)
// A case that passes on the simulated server and fails on the real one is a bug of the simulated server.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "operator/kube/events.h"
#include "operator/kube/http_api.h"
#include "operator/kube/informer.h"
#include "operator/kube/lease.h"
#include "operator/kube/yaml.h"
#include "operator/sim/client.h"
#include "operator/sim/http_front.h"
#include "operator/sim/server.h"

namespace fairlead::apisim {
namespace {

using kube::Api;
using kube::at;
using kube::key_of;
using kube::resource_version_of;
using kube::string_at;
using kube::uid_of;
using kube::WatchEvent;
using kube::WatchEventType;
namespace gvr = kube::gvr;

const Gvr kWidgets{"contract.fairlead.io", "v1", "widgets"};

const char* const kWidgetCrd = R"yaml(
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.contract.fairlead.io}
spec:
  group: contract.fairlead.io
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [replicas]
            x-kubernetes-validations:
            - rule: "self.mode == oldSelf.mode"
              message: mode is immutable
            - rule: "self.mode != 'Small' || self.replicas <= 3"
              message: Small has at most 3 replicas
            properties:
              replicas: {type: integer, format: int32, minimum: 0, maximum: 7}
              mode: {type: string, enum: [Small, Large], default: Large}
              note: {type: string, maxLength: 20, pattern: "^[a-z ]*$"}
              storage:
                type: object
                default: {}
                properties:
                  size: {type: string, default: 1Gi, maxLength: 20}
              limits:
                type: object
                additionalProperties: {x-kubernetes-int-or-string: true}
              ports:
                type: array
                maxItems: 3
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties:
                    name: {type: string, maxLength: 20}
                    number: {type: integer}
              tags:
                type: array
                x-kubernetes-list-type: set
                items: {type: string}
              order:
                type: array
                items: {type: string}
          status:
            type: object
            properties:
              replicas: {type: integer}
              selector: {type: string}
              phase: {type: string}
)yaml";

// ---- the three servers ----

class Backend {
 public:
  virtual ~Backend() = default;
  virtual Api& api() = 0;
  virtual void forget_history() {}  // where it can be done
  virtual bool simulated() const { return true; }
};

class InProcess : public Backend {
 public:
  Api& api() override { return client_; }
  void forget_history() override { server_.compact(); }

 private:
  Server server_;
  Client client_{server_, "contract"};
};

class OverHttp : public Backend {
 public:
  OverHttp() {
    front_ = HttpFront::start(server_, client_).value();
    kube::ConnectionConfig config;
    config.server = front_->url();
    api_ = kube::connect(config).value();
  }
  Api& api() override { return *api_; }
  void forget_history() override { server_.compact(); }

 private:
  Server server_;
  Client client_{server_, "contract"};
  std::unique_ptr<HttpFront> front_;
  std::unique_ptr<Api> api_;
};

class Real : public Backend {
 public:
  explicit Real(const std::string& kubeconfig) {
    api_ = kube::connect(kube::load_kubeconfig(kubeconfig).value()).value();
  }
  Api& api() override { return *api_; }
  bool simulated() const override { return false; }

 private:
  std::unique_ptr<Api> api_;
};

std::string expect_message(const Status& status) { return status.to_string(); }
#define EXPECT_OK(expression)                            \
  do {                                                   \
    const Status status_ = (expression);                 \
    EXPECT_TRUE(status_.is_ok()) << status_.to_string(); \
  } while (0)
#define EXPECT_CODE(expected, expression)                                                 \
  do {                                                                                    \
    const Status status_ = (expression);                                                  \
    EXPECT_EQ(code_name(status_.code()), code_name(expected)) << expect_message(status_); \
  } while (0)

class Contract : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string kind = GetParam();
    const char* kubeconfig = std::getenv("FAIRLEAD_KUBECONFIG");
    if (kind == "Real" && kubeconfig == nullptr) GTEST_SKIP() << "FAIRLEAD_KUBECONFIG is not set";
    if (kind == "InProcess")
      backend_ = std::make_unique<InProcess>();
    else if (kind == "Http")
      backend_ = std::make_unique<OverHttp>();
    else
      backend_ = std::make_unique<Real>(kubeconfig);
    static int counter = 0;
    ns_ = "contract-" + std::to_string(getpid()) + "-" + std::to_string(++counter);
    EXPECT_OK(
        api()
            .create(gvr::kNamespaces, {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", ns_}}}})
            .status());
    install_crd();
  }

  Api& api() { return backend_->api(); }

  void install_crd() {
    Json crd = kube::parse_yaml(kWidgetCrd).value().at(0);
    Status created = api().create(gvr::kCustomResourceDefinitions, crd).status();
    ASSERT_TRUE(created.is_ok() || created.code() == Code::kAlreadyExists) << created.to_string();
    eventually([&] { return api().list(kWidgets, {.ns = ns_, .label_selector = "", .resource_version = ""}).is_ok(); });
  }

  // Waits for a condition, never for time; a minute is "never".
  template <typename F>
  void eventually(F condition) {
    for (int i = 0; i < 6000; i++) {
      if (condition()) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ADD_FAILURE() << "did not happen";
  }

  Json widget(const std::string& name, Json spec = {{"replicas", 1}}) {
    return {{"apiVersion", "contract.fairlead.io/v1"},
            {"kind", "Widget"},
            {"metadata", {{"namespace", ns_}, {"name", name}}},
            {"spec", std::move(spec)}};
  }
  Json config_map(const std::string& name, Json labels = Json::object()) {
    return {{"apiVersion", "v1"},
            {"kind", "ConfigMap"},
            {"metadata", {{"namespace", ns_}, {"name", name}, {"labels", labels}}},
            {"data", {{"a", "1"}}}};
  }
  Json pod(const std::string& name) {
    return {{"apiVersion", "v1"},
            {"kind", "Pod"},
            {"metadata", {{"namespace", ns_}, {"name", name}}},
            {"spec",
             {{"terminationGracePeriodSeconds", 30},
              {"containers", Json::array({{{"name", "main"}, {"image", "localhost/x:1"}}})}}}};
  }
  ObjectKey key(const std::string& name) { return {ns_, name}; }
  Json must(Result<Json> result) {
    EXPECT_TRUE(result.is_ok()) << result.status().to_string();
    return result.is_ok() ? *result : Json::object();
  }
  kube::ListOptions in_ns(const std::string& selector = "") {
    kube::ListOptions options;
    options.ns = ns_;
    options.label_selector = selector;
    return options;
  }
  kube::WriteOptions by(const std::string& manager, bool force = false, const std::string& subresource = "") {
    return {.field_manager = manager, .subresource = subresource, .force = force};
  }
  // Events until `count` have come (bookmarks left out).
  std::vector<WatchEvent> watch_some(const Gvr& resource, const std::string& from, size_t count,
                                     const std::string& selector = "") {
    std::vector<WatchEvent> events;
    kube::WatchOptions options;
    options.ns = ns_;
    options.resource_version = from;
    options.label_selector = selector;
    options.timeout = std::chrono::seconds(20);
    EXPECT_OK(api().watch(
        resource, options,
        [&](WatchEvent event) {
          if (event.type != WatchEventType::kBookmark) events.push_back(std::move(event));
          return events.size() < count;
        },
        std::stop_token()));
    EXPECT_EQ(events.size(), count);
    events.resize(count);
    return events;
  }

  std::unique_ptr<Backend> backend_;
  std::string ns_;
};

}  // namespace
}  // namespace fairlead::apisim
