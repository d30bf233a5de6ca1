// What is kept of calls: the slowest ones with their stages, and traces on their way to a collector. A member, its
// clients and a collector on simulated machines.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "proto/otlp.pb.h"
#include "proto/rpc.pb.h"
#include "server/api/api.h"
#include "server/api/kv_codec.h"
#include "server/api/request_text.h"
#include "server/net/client.h"
#include "server/node/cluster_for_test.h"

namespace fairlead::api {
namespace {

constexpr char kParent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

template <typename Message>
Bytes bytes_of(const Message& m) {
  return Bytes::copy(m.SerializeAsString());
}

etcdserverpb::PutRequest put_request(const std::string& key, const std::string& value) {
  etcdserverpb::PutRequest r;
  r.set_key(key);
  r.set_value(value);
  return r;
}

class RequestsTest : public ::testing::Test {
 protected:
  RequestsTest()
      : cluster_(1),
        client_host_(cluster_.world().add_host("10.0.1.1")),
        collector_host_(cluster_.world().add_host("10.0.2.1")) {
    cluster_.on_end = [this](size_t) {
      server_.reset();
      api_.reset();
    };
    cluster_.form();
    client_world_ = cluster_.world().start_process(client_host_);
    collector_world_ = cluster_.world().start_process(collector_host_);
    collector_router_.add_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                                [this](net::CallRef call, Bytes in) { take(call, in); });
  }
  ~RequestsTest() override {
    client_.reset();
    collector_.reset();
    cluster_.kill(0);
  }

  void serve(ApiOptions options) {
    cluster_.in_turn(0, [this, &options](node::Node& n) {
      api_ = std::make_unique<Api>(cluster_.io(0), n, options);
      api_->add_client_routes(router_);
      server_world_ = cluster_.io(0);
      server_ = std::make_unique<net::Server>(server_world_, net::ServerOptions());
      ASSERT_TRUE(server_->listen("10.0.0.1:2379", router_).is_ok());
    });
    cluster_.world().post(client_host_, [this] {
      client_ = std::make_unique<net::Client>(*client_world_.loop, client_world_.net->connect("10.0.0.1:2379"),
                                              net::ClientOptions());
    });
    EXPECT_TRUE(cluster_.wait([this] { return client_ != nullptr; }));
  }
  static ApiOptions traced(int64_t rate) {
    ApiOptions options;
    options.tracing = {{"10.0.2.1:4317", "etcd", "m0"}, rate};
    return options;
  }
  void start_collector() {
    cluster_.world().post(collector_host_, [this] {
      collector_ = std::make_unique<net::Server>(collector_world_, net::ServerOptions());
      ASSERT_TRUE(collector_->listen("10.0.2.1:4317", collector_router_).is_ok());
    });
    EXPECT_TRUE(cluster_.wait([this] { return collector_ != nullptr; }));
  }
  void take(net::CallRef call, const Bytes& in) {
    if (!refuse_.is_ok()) return call->finish(refuse_);
    otlp::ExportTraceServiceRequest request;
    ASSERT_TRUE(request.ParseFromString(in.to_string()));
    exports_.push_back(request);
    for (const auto& resource : request.resource_spans())
      for (const auto& scope : resource.scope_spans())
        for (const auto& span : scope.spans()) spans_.push_back(span);
    call->reply(Bytes());
  }
  template <typename Request>
  Status call(const char* path, const Request& request, const net::Metadata& metadata = {}) {
    std::optional<Status> out;
    cluster_.world().post(client_host_, [&] {
      net::CallOptions options;
      options.metadata = &metadata;
      client_->unary(
          path, bytes_of(request), [&](const Status& s, Bytes) { out = s; }, options);
    });
    EXPECT_TRUE(cluster_.wait([&] { return out.has_value(); }));
    return out.value_or(internal_error("no answer"));
  }
  Status put(const std::string& key, const net::Metadata& metadata = {}) {
    return call("/etcdserverpb.KV/Put", put_request(key, "v"), metadata);
  }
  const otlp::Span* span(const std::string& name) const {
    for (const auto& s : spans_)
      if (s.name() == name) return &s;
    return nullptr;
  }
  static std::string text(const otlp::Span& s, const std::string& key) {
    for (const auto& a : s.attributes()) {
      if (a.key() != key) continue;
      if (a.value().has_string_value()) return a.value().string_value();
      if (a.value().has_bool_value()) return a.value().bool_value() ? "true" : "false";
      return std::to_string(a.value().int_value());
    }
    return "(none)";
  }

  node::TestCluster cluster_;
  io::sim::HostId client_host_, collector_host_;
  io::World client_world_, collector_world_, server_world_;
  net::Router router_, collector_router_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<net::Server> server_, collector_;
  std::unique_ptr<net::Client> client_;
  Status refuse_;
  std::vector<otlp::ExportTraceServiceRequest> exports_;
  std::vector<otlp::Span> spans_;
};

TEST_F(RequestsTest, TheSlowestAreKeptWithTheirStages) {
  serve({});
  ASSERT_TRUE(put("quick").is_ok());
  etcdserverpb::RangeRequest range;
  range.set_key("quick");
  ASSERT_TRUE(call("/etcdserverpb.KV/Range", range).is_ok());
  std::vector<SlowRequest> calls = api_->requests().slowest();
  ASSERT_EQ(calls.size(), 2u);
  for (size_t i = 1; i < calls.size(); ++i) EXPECT_GE(calls[i - 1].took, calls[i].took);
  for (const SlowRequest& r : calls) {
    ASSERT_TRUE(r.stages) << r.method;
    const node::Stages& s = *r.stages;
    EXPECT_EQ(r.receive + r.check + s.queue + s.raft + s.apply_wait + s.apply + r.answer, r.took) << r.method;
    if (r.method != "etcdserverpb.KV/Put") continue;
    EXPECT_GT(s.raft, 0);
    EXPECT_GT(s.log_sync, 0);
    EXPECT_LE(s.log_sync, s.raft);
    EXPECT_EQ(r.content, "key:\"quick\" value_size:1");
  }
  nlohmann::json json = nlohmann::json::parse(slow_requests_json(calls));
  EXPECT_EQ(json["requests"].size(), 2u);
  EXPECT_NE(slow_requests_html(calls).find("etcdserverpb.KV/Put"), std::string::npos);
}

TEST_F(RequestsTest, ABoundedNumberIsKeptTheSlowestOfEachMinute) {
  serve({});
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(put("k" + std::to_string(i)).is_ok());
  EXPECT_EQ(api_->requests().slowest().size(), kSlowPerWindow);
  for (size_t minute = 0; minute < kSlowWindows + 2; ++minute) {
    cluster_.run_for(kSlowWindow + io::kSecond);
    ASSERT_TRUE(put("later").is_ok());
  }
  EXPECT_EQ(api_->requests().slowest().size(), kSlowWindows) << "one of each window, and the first minute forgotten";
}

TEST_F(RequestsTest, SlowCallsAreCounted) {
  ApiOptions options;
  options.warning_unary_request = 0;
  serve(options);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(put("k").is_ok());
  EXPECT_EQ(api_->requests().slow_total(), 3u);
}

TEST_F(RequestsTest, ACallerWhoTracesIsFollowed) {
  serve(traced(0));
  start_collector();
  ASSERT_TRUE(put("untraced").is_ok());
  ASSERT_TRUE(put("k", {{"traceparent", kParent}, {"tracestate", "a=b"}}).is_ok());
  std::string unsampled(kParent);
  unsampled.back() = '0';
  ASSERT_TRUE(put("unsampled", {{"traceparent", unsampled}}).is_ok());
  ASSERT_TRUE(cluster_.wait([&] { return !exports_.empty(); }));
  ASSERT_EQ(spans_.size(), 2u);
  const otlp::Span* outer = span("etcdserverpb.KV/Put");
  const otlp::Span* inner = span("put");
  ASSERT_TRUE(outer && inner);
  EXPECT_EQ(outer->trace_id(), std::string("\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c", 16));
  EXPECT_EQ(outer->parent_span_id(), std::string("\xb7\xad\x6b\x71\x69\x20\x33\x31", 8));
  EXPECT_EQ(outer->trace_state(), "a=b");
  EXPECT_EQ(outer->kind(), otlp::Span::SPAN_KIND_SERVER);
  EXPECT_EQ(outer->flags(), 0x301u);
  EXPECT_EQ(text(*outer, "rpc.system.name"), "grpc");
  EXPECT_EQ(text(*outer, "rpc.method"), "etcdserverpb.KV/Put");
  EXPECT_EQ(text(*outer, "rpc.response.status_code"), "OK");
  EXPECT_EQ(text(*outer, "server.port"), "2379");
  EXPECT_EQ(inner->trace_id(), outer->trace_id());
  EXPECT_EQ(inner->parent_span_id(), outer->span_id());
  EXPECT_EQ(inner->kind(), otlp::Span::SPAN_KIND_INTERNAL);
  EXPECT_EQ(inner->flags(), 0x101u);
  EXPECT_EQ(text(*inner, "key"), "k");
  EXPECT_GE(inner->start_time_unix_nano(), outer->start_time_unix_nano());
  EXPECT_GT(inner->end_time_unix_nano(), inner->start_time_unix_nano());
  EXPECT_EQ(exports_[0].resource_spans(0).resource().attributes_size(), 2);
}

TEST_F(RequestsTest, ErrorsAreTheServersOrTheCallers) {
  serve(traced(1'000'000));
  start_collector();
  EXPECT_EQ(call("/etcdserverpb.KV/Put", put_request("", "v")).code(), Code::kInvalidArgument);
  etcdserverpb::RangeRequest future;
  future.set_key("k");
  future.set_revision(1000);
  EXPECT_EQ(call("/etcdserverpb.KV/Range", future).code(), Code::kOutOfRange);
  ASSERT_TRUE(cluster_.wait([&] { return spans_.size() >= 3; }));
  EXPECT_EQ(spans_.size(), 3u);
  EXPECT_EQ(span("put"), nullptr) << "refused before it began";
  ASSERT_TRUE(span("range"));
  EXPECT_EQ(text(*span("range"), "rev"), "1000");
  EXPECT_EQ(text(*span("etcdserverpb.KV/Put"), "rpc.response.status_code"), "INVALID_ARGUMENT");
  EXPECT_EQ(span("etcdserverpb.KV/Put")->status().code(), otlp::Status::STATUS_CODE_UNSET);
}

TEST_F(RequestsTest, WhatTheCollectorMissesIsSentWhenItIsBack) {
  serve(traced(1'000'000));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(put("k").is_ok());
  ASSERT_TRUE(cluster_.wait([&] { return api_->tracer()->exporter().stats().failures > 0; }));
  start_collector();
  ASSERT_TRUE(cluster_.wait([&] { return spans_.size() == 20; }));
  EXPECT_EQ(api_->tracer()->exporter().stats().exported, 20u);
  EXPECT_EQ(api_->tracer()->exporter().stats().dropped_failed, 0u);
}

TEST_F(RequestsTest, ACollectorThatStaysAwayCostsABoundedQueue) {
  serve(traced(1'000'000));
  for (size_t i = 0; i < kSpansQueueMax; ++i) {
    Span s;
    s.name = "x";
    api_->tracer()->exporter().add(std::move(s));
  }
  cluster_.run_for(10 * io::kSecond);
  ASSERT_TRUE(put("k").is_ok()) << "calls do not care";
  for (size_t i = 0; i < 2 * kSpansQueueMax; ++i) api_->tracer()->exporter().add(Span());
  EXPECT_LE(api_->tracer()->exporter().queued(), kSpansQueueMax + kSpansPerExport);
  EXPECT_GT(api_->tracer()->exporter().stats().dropped_full, 0u);
  cluster_.run_for(120 * io::kSecond);
  EXPECT_GT(api_->tracer()->exporter().stats().dropped_failed, 0u) << "nothing is kept for ever";
}

TEST_F(RequestsTest, ARefusedBatchIsNotSentAgain) {
  refuse_ = invalid_argument("no");
  serve(traced(1'000'000));
  start_collector();
  ASSERT_TRUE(put("k").is_ok());
  ASSERT_TRUE(cluster_.wait([&] { return api_->tracer()->exporter().stats().dropped_failed == 2; }));
  EXPECT_EQ(api_->tracer()->exporter().stats().failures, 1u);
}

TEST(RequestText, ShowsNoValues) {
  etcdserverpb::TxnRequest txn;
  auto* compare = txn.add_compare();
  compare->set_target(etcdserverpb::Compare::VALUE);
  compare->set_key("c");
  compare->set_value("secret");
  auto* op = txn.add_success()->mutable_request_put();
  op->set_key("k\"\n");
  op->set_value("secret");
  txn.add_failure()->mutable_request_range()->set_key("r");
  etcdserverpb::TxnResponse reply;
  reply.set_succeeded(true);
  Bytes answer = bytes_of(reply);
  RequestShape s = request_shape("/etcdserverpb.KV/Txn", bytes_of(txn), std::span<const Bytes>(&answer, 1));
  EXPECT_EQ(s.content.find("secret"), std::string::npos);
  EXPECT_NE(s.content.find("target:VALUE key:\"c\" value_size:6"), std::string::npos) << s.content;
  EXPECT_NE(s.content.find("request_put:<key:\"k\\\"\\012\" value_size:6"), std::string::npos) << s.content;
  EXPECT_EQ(s.request_count, 1);
  EXPECT_EQ(s.request_size, static_cast<int64_t>(txn.success(0).ByteSizeLong()));
  EXPECT_EQ(request_shape("/etcdserverpb.Lease/LeaseGrant", Bytes(), {}).request_count, -1);
  std::string long_key(10'000, 'x');
  EXPECT_LE(request_shape("/etcdserverpb.KV/Put", bytes_of(put_request(long_key, "v")), {}).content.size(),
            kRequestTextMax + 64);
}

TEST(StalledLoop, ProbesAreTold) {
  std::string livez = answer_while_stalled("/livez", 7 * io::kSecond);
  EXPECT_TRUE(livez.starts_with("HTTP/1.1 503 "));
  EXPECT_NE(livez.find("[-]serializable_read failed: the server's loop has not turned for 7s\n\n"), std::string::npos);
  EXPECT_NE(answer_while_stalled("/readyz/non_learner", 0).find("[-]serializable_read failed: "), std::string::npos);
  EXPECT_NE(answer_while_stalled("/health", 0).find("{\"health\":\"false\""), std::string::npos);
}

TEST_F(RequestsTest, VersionsOfClientsAreBounded) {
  serve({});
  auto ask = [this](const std::string& version) {
    EXPECT_EQ(call("/etcdserverpb.KV/Put", put_request("k", "v"), {{"client-api-version", version}}), Status());
  };
  auto calls_of = [this](const std::string& version) {
    for (const Api::ClientVersion& v : api_->client_versions())
      if (v.version == version) return v.calls;
    return uint64_t{0};
  };
  const std::string longest(kClientVersionBytesMax, 'l');
  ask(longest);
  ask(longest + "l");
  EXPECT_EQ(calls_of(longest), 1u);
  EXPECT_EQ(calls_of("other"), 1u);
  for (size_t i = 1; i < kClientVersionsMax; ++i) ask("3." + std::to_string(i));
  EXPECT_EQ(calls_of("3." + std::to_string(kClientVersionsMax - 1)), 1u);
  EXPECT_EQ(calls_of("other"), 1u);
  ask("4.0");
  EXPECT_EQ(calls_of("4.0"), 0u);
  EXPECT_EQ(calls_of("other"), 2u);
  ask("3.1");
  EXPECT_EQ(calls_of("3.1"), 2u);
  EXPECT_EQ(api_->client_versions().size(), kClientVersionsMax + 1);
}

// What is told of a reply does not cost what the reply holds: its keys are not decoded, wherever they are.
TEST(RequestText, OfALargeReplyOnlyItsNumbersAreRead) {
  etcdserverpb::RangeRequest request;
  request.set_key("a");
  request.set_range_end("b");
  mvcc::RangeResult result;
  result.count = 777;
  std::string value(100'000, 'v');
  for (int i = 0; i < 3; ++i) result.kvs.items.push_back({"key", value, 1, 1, 1, 0});
  Pieces pieces = encode_range_pieces({1, 2, 3, 4}, result);
  ASSERT_GT(pieces.size(), 3u);
  for (size_t i = 1; i + 1 < pieces.size(); ++i) pieces[i] = Bytes::literal("\xff\xff noise");
  const std::string path = "/etcdserverpb.KV/Range";
  EXPECT_EQ(request_shape(path, bytes_of(request), pieces).response_count, 777);
  Bytes whole = encode_range_response({1, 2, 3, 4}, result);
  EXPECT_EQ(request_shape(path, bytes_of(request), {&whole, 1}).response_count, 777);
  EXPECT_EQ(request_shape(path, bytes_of(request), {}).response_count, 0);

  etcdserverpb::DeleteRangeResponse deleted;
  deleted.mutable_header()->set_revision(9);
  deleted.set_deleted(5);
  deleted.add_prev_kvs()->set_key("k");
  Bytes reply = bytes_of(deleted);
  EXPECT_EQ(request_shape("/etcdserverpb.KV/DeleteRange", Bytes(), {&reply, 1}).response_count, 5);

  etcdserverpb::TxnRequest txn;
  txn.add_success()->mutable_request_put()->set_key("k");
  for (int i = 0; i < 2; ++i) txn.add_failure()->mutable_request_range()->set_key("k");
  for (bool succeeded : {true, false}) {
    etcdserverpb::TxnResponse response;
    response.mutable_header()->set_revision(9);
    response.set_succeeded(succeeded);
    response.add_responses()->mutable_response_range()->set_count(1);
    reply = bytes_of(response);
    EXPECT_EQ(request_shape("/etcdserverpb.KV/Txn", bytes_of(txn), {&reply, 1}).request_count, succeeded ? 1 : 2);
  }
}

}  // namespace
}  // namespace fairlead::api
