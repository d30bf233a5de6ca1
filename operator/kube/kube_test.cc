// Everything of operator/kube that needs no API server. The client against servers: operator/sim/contract_test.cc and
// operator/sim/http_test.cc.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "operator/kube/api.h"
#include "operator/kube/backoff.h"
#include "operator/kube/http_api.h"
#include "operator/kube/http_status.h"
#include "operator/kube/object.h"
#include "operator/kube/work_queue.h"
#include "operator/kube/yaml.h"

namespace fairlead::kube {
namespace {

TEST(Object, AccessorsForgive) {
  const Json odd = {{"metadata", {{"name", 5}, {"labels", {{"a", 1}, {"b", "x"}}}, {"finalizers", "f"}}},
                    {"spec", Json::array()}};
  EXPECT_EQ(name_of(odd), "");
  EXPECT_EQ(labels_of(odd), (std::map<std::string, std::string>{{"b", "x"}}));
  EXPECT_FALSE(has_finalizer(odd, "f"));
  EXPECT_TRUE(at(odd, {"spec", "replicas"}).is_null());
  EXPECT_EQ(int_at(odd, {"spec", "replicas"}, 7), 7);
  EXPECT_TRUE(controller_of(Json()).is_null());
  EXPECT_EQ(ObjectKey::parse("a/b").to_string(), "a/b");
  EXPECT_EQ(ObjectKey::parse("b"), (ObjectKey{"", "b"}));
}

TEST(Object, Selectors) {
  const auto matches = [](const char* text, std::map<std::string, std::string> labels) {
    return LabelSelector::parse(text).value().matches(labels);
  };
  EXPECT_TRUE(matches("", {}));
  EXPECT_TRUE(matches("a=b,c!=d", {{"a", "b"}}));
  EXPECT_FALSE(matches("a=b,c!=d", {{"a", "b"}, {"c", "d"}}));
  EXPECT_TRUE(matches("a in (x,y), !b", {{"a", "y"}}));
  EXPECT_FALSE(matches("a in (x,y)", {}));
  EXPECT_TRUE(matches("a notin (x,y)", {}));
  EXPECT_FALSE(LabelSelector::parse("a in x").is_ok());
  EXPECT_FALSE(LabelSelector::parse("a b").is_ok());
  EXPECT_FALSE(LabelSelector::parse("a,,b").is_ok());
}

TEST(Object, Times) {
  EXPECT_EQ(format_time(1'767'225'600'999), "2026-01-01T00:00:00Z");
  EXPECT_EQ(format_micro_time(1'767'225'600'042), "2026-01-01T00:00:00.042000Z");
  EXPECT_EQ(parse_time("2026-01-01T00:00:00Z").value(), 1'767'225'600'000);
  EXPECT_EQ(parse_time("2026-01-01T00:00:00.042000Z").value(), 1'767'225'600'042);
  EXPECT_EQ(parse_time("2026-01-01T02:00:00+02:00").value(), 1'767'225'600'000);
  EXPECT_FALSE(parse_time("2026-01-01").is_ok());
  EXPECT_FALSE(parse_time("2026-01-01T00:00:00").is_ok());
}

TEST(Yaml, ScalarsHaveKubernetesTypes) {
  const Json document =
      parse_yaml("{a: 1, b: '1', c: true, d: yes, e: null, f: 1.5, g: 1Gi, h: \"true\", i: [x], j: 08}").value().at(0);
  EXPECT_EQ(document, (Json{{"a", 1},
                            {"b", "1"},
                            {"c", true},
                            {"d", "yes"},
                            {"e", nullptr},
                            {"f", 1.5},
                            {"g", "1Gi"},
                            {"h", "true"},
                            {"i", {"x"}},
                            {"j", 8}}));
  EXPECT_EQ(parse_yaml("---\na: 1\n---\n---\nb: 2\n").value().size(), 2u);
  EXPECT_FALSE(parse_yaml("a: [1").is_ok());
  EXPECT_FALSE(parse_yaml(std::string(150, '[') + std::string(150, ']')).is_ok());  // nested too deeply
  EXPECT_FALSE(parse_yaml_file("no/such/file.yaml").is_ok());
}

TEST(HttpStatus, CodesSayWhatMayHaveHappened) {
  const auto code = [](int http, const char* reason) {
    return status_from_answer(http, {{"reason", reason}, {"message", "m"}}, "").code();
  };
  EXPECT_EQ(code(404, "NotFound"), Code::kNotFound);
  EXPECT_EQ(code(409, "Conflict"), Code::kAborted);
  EXPECT_EQ(code(409, "AlreadyExists"), Code::kAlreadyExists);
  EXPECT_EQ(code(410, "Expired"), Code::kOutOfRange);
  EXPECT_EQ(code(422, "Invalid"), Code::kInvalidArgument);
  EXPECT_EQ(code(403, "Forbidden"), Code::kPermissionDenied);
  EXPECT_EQ(code(429, "TooManyRequests"), Code::kResourceExhausted);
  EXPECT_TRUE(outcome_unknown(status_from_answer(504, {}, "gateway")));
  EXPECT_TRUE(outcome_unknown(status_from_answer(500, {}, "")));
  EXPECT_FALSE(outcome_unknown(status_from_answer(503, {}, "")));
  EXPECT_FALSE(outcome_unknown(status_from_answer(429, {}, "")));
  EXPECT_EQ(status_from_answer(418, {}, "a pot").message(), "a pot (HTTP 418)");
}

TEST(BackoffTest, GrowsWithinBoundsAndIsRepeatable) {
  const BackoffOptions options{std::chrono::milliseconds(100), std::chrono::milliseconds(1'000)};
  Backoff a(options, 7), b(options, 7);
  int64_t nominal = 100;
  for (int i = 0; i < 100; i++) {
    const int64_t wait = a.next().count();
    EXPECT_EQ(wait, b.next().count());
    EXPECT_GE(wait, nominal / 2);
    EXPECT_LE(wait, nominal);
    nominal = std::min<int64_t>(nominal * 2, 1'000);
  }
  a.reset();
  EXPECT_LE(a.next().count(), 100);
}

// ---- work queue ----

TEST(WorkQueueTest, OneKeyIsOneTurn) {
  WorkQueue queue;
  for (int i = 0; i < 1000; i++) EXPECT_TRUE(queue.add("a"));
  queue.add("b");
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(queue.try_get(0), "a");
  EXPECT_TRUE(queue.add("a"));  // while in work: comes back after done()
  EXPECT_EQ(queue.try_get(0), "b");
  EXPECT_EQ(queue.try_get(0), std::nullopt);
  queue.done("a");
  EXPECT_EQ(queue.try_get(0), "a");
  queue.done("a");
  queue.done("b");
  queue.done("b");  // twice does no harm
  EXPECT_EQ(queue.try_get(0), std::nullopt);
}

TEST(WorkQueueTest, DelaysAndEarlierWins) {
  WorkQueue queue;
  queue.add_at("a", 100);
  EXPECT_EQ(queue.try_get(99), std::nullopt);
  EXPECT_EQ(queue.next_due_ms(), 100);
  queue.add_at("a", 50);
  queue.add_at("a", 200);
  EXPECT_EQ(queue.next_due_ms(), 50);
  EXPECT_EQ(queue.try_get(50), "a");
  queue.add_at("a", 70);
  queue.done("a");
  EXPECT_EQ(queue.try_get(60), std::nullopt);
  EXPECT_EQ(queue.try_get(70), "a");
}

TEST(WorkQueueTest, IsBounded) {
  WorkQueue queue({}, 1, 2);
  EXPECT_TRUE(queue.add("a"));
  EXPECT_TRUE(queue.add("b"));
  EXPECT_FALSE(queue.add("c"));
  EXPECT_TRUE(queue.add("a"));  // known already
  EXPECT_EQ(queue.refused(), 1u);
  EXPECT_EQ(queue.try_get(0), "a");
  EXPECT_FALSE(queue.add("c"));  // in work counts
  queue.done("a");
  EXPECT_TRUE(queue.add("c"));
}

TEST(WorkQueueTest, RetriesBackOffUntilForgotten) {
  WorkQueue queue({std::chrono::milliseconds(100), std::chrono::milliseconds(10'000)});
  int64_t now = 0, last = 0;
  for (int i = 0; i < 6; i++) {
    queue.add_retry("a", now);
    const int64_t wait = *queue.next_due_ms() - now;
    EXPECT_GE(wait, 50 << i);
    EXPECT_LE(wait, 100 << i);
    now += wait;
    last = wait;
    EXPECT_EQ(queue.try_get(now), "a");
    queue.done("a");
  }
  queue.forget("a");
  queue.add_retry("a", now);
  EXPECT_LT(*queue.next_due_ms() - now, last);
}

TEST(WorkQueueTest, GetBlocksUntilAddedDueOrStopped) {
  WorkQueue queue;
  std::stop_source stop;
  std::vector<std::string> got;
  std::thread worker([&] {
    while (auto key = queue.get(stop.get_token())) {
      got.push_back(*key);
      queue.done(*key);
      if (got.size() == 3) stop.request_stop();
    }
  });
  queue.add_at("never", steady_now_ms() + 3'600'000);
  queue.add_at("later", steady_now_ms() + 30);
  queue.add("now");
  queue.add_at("soon", steady_now_ms() + 10);
  worker.join();
  EXPECT_EQ(got, (std::vector<std::string>{"now", "soon", "later"}));
}

// ---- where the server is ----

class Files {
 public:
  Files() {
    char pattern[] = "/tmp/fairlead-kube-XXXXXX";
    folder_ = ::mkdtemp(pattern);
  }
  ~Files() {
    for (const std::string& f : files_) ::unlink(f.c_str());
    ::rmdir(folder_.c_str());
  }
  std::string write(const std::string& name, const std::string& text) {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path) << text;
    files_.push_back(path);
    return path;
  }
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  std::vector<std::string> files_;
};

TEST(Kubeconfig, InlineFilesAndContexts) {
  Files files;
  files.write("ca.pem", "CA FROM FILE");
  const std::string path = files.write("config", R"(
apiVersion: v1
kind: Config
current-context: one
clusters:
- {name: c1, cluster: {server: "https://127.0.0.1:1", certificate-authority: ca.pem}}
- {name: c2, cluster: {server: "https://127.0.0.1:2", certificate-authority-data: SEVMTE8=, insecure-skip-tls-verify: true}}
users:
- {name: u1, user: {client-certificate-data: Y2VydA==, client-key-data: a2V5}}
- {name: u2, user: {token: secret}}
contexts:
- {name: one, context: {cluster: c1, user: u1, namespace: ns1}}
- {name: two, context: {cluster: c2, user: u2}}
- {name: lost, context: {cluster: c9, user: u2}}
)");
  ConnectionConfig one = load_kubeconfig(path).value();
  EXPECT_EQ(one.server, "https://127.0.0.1:1");
  EXPECT_EQ(one.ca_pem, "CA FROM FILE");
  EXPECT_EQ(one.client_certificate_pem, "cert");
  EXPECT_EQ(one.client_key_pem, "key");
  EXPECT_EQ(one.default_namespace, "ns1");
  ConnectionConfig two = load_kubeconfig(path, "two").value();
  EXPECT_EQ(two.ca_pem, "HELLO");
  EXPECT_EQ(two.token, "secret");
  EXPECT_TRUE(two.insecure_skip_tls_verify);
  EXPECT_FALSE(load_kubeconfig(path, "lost").is_ok());
  EXPECT_FALSE(load_kubeconfig(path, "three").is_ok());
  EXPECT_FALSE(load_kubeconfig(files.folder() + "/none").is_ok());
}

TEST(Kubeconfig, WhatIsNotSupportedIsSaid) {
  Files files;
  const std::string path = files.write("config", R"(
current-context: x
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {exec: {command: aws}}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
)");
  const Status status = load_kubeconfig(path).status();
  EXPECT_EQ(status.code(), Code::kUnimplemented);
  EXPECT_NE(status.message().find("exec"), std::string_view::npos);
}

TEST(InCluster, ReadsTheMountedAccount) {
  Files files;
  files.write("ca.crt", "CA");
  files.write("namespace", "fairlead-system");
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  EXPECT_EQ(load_in_cluster(files.folder()).code(), Code::kFailedPrecondition);
  ::setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  ::setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  ConnectionConfig config = load_in_cluster(files.folder()).value();
  EXPECT_EQ(config.server, "https://[fd00::1]:443");
  EXPECT_EQ(config.ca_pem, "CA");
  EXPECT_EQ(config.token_file, files.folder() + "/token");
  EXPECT_EQ(config.default_namespace, "fairlead-system");
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  ::unsetenv("KUBERNETES_SERVICE_PORT");
}

TEST(Connect, RefusesWhatItCannotUse) {
  const auto code = [](const std::string& server, const std::string& ca = "", const std::string& certificate = "",
                       const std::string& key = "") {
    ConnectionConfig config;
    config.server = server;
    config.ca_pem = ca;
    config.client_certificate_pem = certificate;
    config.client_key_pem = key;
    return connect(config).code();
  };
  EXPECT_EQ(code("127.0.0.1:1"), Code::kInvalidArgument);
  EXPECT_EQ(code("http://"), Code::kInvalidArgument);
  EXPECT_EQ(code("http://host:99999"), Code::kInvalidArgument);
  EXPECT_EQ(code("http://[::1"), Code::kInvalidArgument);
  EXPECT_EQ(code("https://host", "not a certificate"), Code::kInvalidArgument);
  EXPECT_EQ(code("https://host", "", "certificate without key"), Code::kInvalidArgument);
  EXPECT_EQ(code("https://host"), Code::kOk);
  EXPECT_EQ(code("http://[::1]:80/prefix/"), Code::kOk);
}

}  // namespace
}  // namespace fairlead::kube
