// Streams of the v3 services through the front door: a member, its server and a gRPC client on simulated machines.
#include <gtest/gtest.h>

#include "proto/rpc.pb.h"
#include "server/api/api.h"
#include "server/net/client.h"
#include "server/node/cluster_for_test.h"
#include "server/node/public_snapshot.h"

namespace fairlead::api {
namespace {

template <typename Message>
Bytes bytes_of(const Message& m) {
  return Bytes::copy(m.SerializeAsString());
}

class WatchClient final : public net::ClientCallHandler {
 public:
  void on_message(net::ClientCall&, Bytes in) override {
    etcdserverpb::WatchResponse response;
    ASSERT_TRUE(response.ParseFromString(in.to_string()));
    responses.push_back(std::move(response));
  }
  void on_end(net::ClientCall&, const Status& s) override { ended = s; }

  std::vector<etcdserverpb::WatchResponse> responses;
  std::optional<Status> ended;
};

class StreamTest : public ::testing::Test {
 protected:
  explicit StreamTest(size_t members = 1) : cluster_(members), client_host_(cluster_.world().add_host("10.0.1.1")) {
    cluster_.on_end = [this](size_t) {
      server_.reset();
      api_.reset();
    };
    cluster_.form();
    cluster_.in_turn(0, [this](node::Node& n) {
      api_ = std::make_unique<Api>(cluster_.io(0), n);
      api_->add_client_routes(router_);
      server_world_ = cluster_.io(0);
      server_ = std::make_unique<net::Server>(server_world_, net::ServerOptions());
      ASSERT_TRUE(server_->listen("10.0.0.1:2379", router_).is_ok());
    });
    io::World world = cluster_.world().start_process(client_host_);
    cluster_.world().post(client_host_, [this, world] {
      client_ = std::make_unique<net::Client>(*world.loop, world.net->connect("10.0.0.1:2379"), net::ClientOptions());
    });
    EXPECT_TRUE(cluster_.wait([this] { return client_ != nullptr; }));
  }
  ~StreamTest() override {
    client_.reset();
    cluster_.kill(0);
  }

  node::TestCluster cluster_;
  io::sim::HostId client_host_;
  io::World server_world_;
  net::Router router_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<net::Server> server_;
  std::unique_ptr<net::Client> client_;
};

// A client that will ask for nothing more has not stopped listening: as with etcd, events go on until it cancels.
TEST_F(StreamTest, AWatchGoesOnAfterItsClientHalfCloses) {
  WatchClient watch;
  net::ClientCall* call = nullptr;
  cluster_.world().post(client_host_, [&] {
    call = &client_->open("/etcdserverpb.Watch/Watch", &watch);
    etcdserverpb::WatchRequest request;
    request.mutable_create_request()->set_key("k");
    call->send_message(bytes_of(request));
    call->half_close();
  });
  ASSERT_TRUE(cluster_.wait([&] { return watch.responses.size() == 1; }));
  EXPECT_TRUE(watch.responses[0].created());
  cluster_.run_for(io::kSecond);
  ASSERT_TRUE(cluster_.put(0, "k", "v").is_ok());
  ASSERT_TRUE(cluster_.wait([&] { return watch.responses.size() == 2; })) << "no event after the half close";
  ASSERT_EQ(watch.responses[1].events_size(), 1);
  EXPECT_EQ(watch.responses[1].events(0).kv().value(), "v");
  EXPECT_FALSE(watch.ended.has_value());
  // The stream is the client's to end.
  cluster_.world().post(client_host_, [&] { call->cancel(); });
  EXPECT_TRUE(cluster_.wait([&] { return server_->stats().calls_open == 0; }));
}

// ---- keepalives

class KeepAliveClient final : public net::ClientCallHandler {
 public:
  void on_message(net::ClientCall&, Bytes in) override {
    etcdserverpb::LeaseKeepAliveResponse response;
    ASSERT_TRUE(response.ParseFromString(in.to_string()));
    answers.emplace_back(response.id(), response.ttl());
  }
  void on_end(net::ClientCall&, const Status& s) override { ended = s; }

  std::vector<std::pair<int64_t, int64_t>> answers;  // id, ttl
  std::optional<Status> ended;
};

// Far more at once than one stream may have under way, among them leases that do not exist: each has its answer, in the
// order of the requests, and the end comes after the last one.
TEST_F(StreamTest, KeepAlivesAreAnsweredInTheirOrder) {
  constexpr int64_t kTtl = 60, kRequests = 3500;
  int granted = 0;
  cluster_.in_turn(0, [&](node::Node& n) {
    for (int64_t id : {1, 2, 3})
      n.lease_grant(id, kTtl, [&](const Status& s, const mvcc::ApplyResult*) { granted += s.is_ok(); });
  });
  ASSERT_TRUE(cluster_.wait([&] { return granted == 3; }));
  KeepAliveClient client;
  cluster_.world().post(client_host_, [&] {
    net::ClientCall& call = client_->open("/etcdserverpb.Lease/LeaseKeepAlive", &client);
    for (int64_t i = 0; i < kRequests; ++i) {
      etcdserverpb::LeaseKeepAliveRequest request;
      request.set_id(i % 7);
      call.send_message(bytes_of(request));
    }
    call.half_close();
  });
  ASSERT_TRUE(cluster_.wait([&] { return client.ended.has_value(); }));
  EXPECT_TRUE(client.ended->is_ok()) << client.ended->to_string();
  ASSERT_EQ(client.answers.size(), static_cast<size_t>(kRequests));
  for (int64_t i = 0; i < kRequests; ++i) {
    int64_t id = i % 7, ttl = id >= 1 && id <= 3 ? kTtl : 0;
    EXPECT_EQ(client.answers[static_cast<size_t>(i)], std::pair(id, ttl)) << i;
  }
}

class TwoMembersStreamTest : public StreamTest {
 protected:
  TwoMembersStreamTest() : StreamTest(2) {}
};

// Without a quorum no renewal is answered: what one stream may have under way is read, and no more.
TEST_F(TwoMembersStreamTest, KeepAlivesInFlightAreBounded) {
  cluster_.isolate(1, true);
  const net::MethodStats& stats = router_.find("/etcdserverpb.Lease/LeaseKeepAlive")->stats;
  for (size_t requests : {kKeepAlivesInFlightMax - 1, kKeepAlivesInFlightMax, kKeepAlivesInFlightMax + 1}) {
    SCOPED_TRACE(requests);
    KeepAliveClient client;
    net::ClientCall* call = nullptr;
    uint64_t before = stats.messages_received;
    cluster_.world().post(client_host_, [&] {
      call = &client_->open("/etcdserverpb.Lease/LeaseKeepAlive", &client);
      for (size_t i = 0; i < requests; ++i) {
        etcdserverpb::LeaseKeepAliveRequest request;
        request.set_id(static_cast<int64_t>(i) + 1);
        call->send_message(bytes_of(request));
      }
    });
    cluster_.run_for(io::kSecond);
    EXPECT_EQ(stats.messages_received - before, std::min(requests, kKeepAlivesInFlightMax));
    EXPECT_TRUE(client.answers.empty());
    cluster_.world().post(client_host_, [&] { call->cancel(); });
    ASSERT_TRUE(cluster_.wait([&] { return server_->stats().calls_open == 0; }));
  }
}

// ---- snapshots

class SnapshotClient final : public net::ClientCallHandler {
 public:
  void on_message(net::ClientCall&, Bytes in) override {
    etcdserverpb::SnapshotResponse response;
    ASSERT_TRUE(response.ParseFromString(in.to_string()));
    responses.push_back(std::move(response));
    if (responses.size() == 10 && at_tenth) at_tenth();
  }
  void on_end(net::ClientCall&, const Status& s) override { ended = s; }

  std::function<void()> at_tenth;
  std::vector<etcdserverpb::SnapshotResponse> responses;
  std::optional<Status> ended;
};

class SnapshotTest : public StreamTest {
 protected:
  SnapshotTest() {
    for (int i = 0; i < 40; ++i)
      EXPECT_TRUE(cluster_.put(0, "k" + std::to_string(i), std::string(100'000, 'v')).is_ok());
  }
  net::ClientCall* open(SnapshotClient& client) {
    net::ClientCall* call = &client_->open("/etcdserverpb.Maintenance/Snapshot", &client);
    call->send_message(bytes_of(etcdserverpb::SnapshotRequest()));
    call->half_close();
    return call;
  }
};

// As from etcd: blobs of 32 KiB, what is still to come, the storage version with each; last the hash of all before.
TEST_F(SnapshotTest, BlobsThenTheirHash) {
  SnapshotClient client;
  cluster_.world().post(client_host_, [&] { open(client); });
  ASSERT_TRUE(cluster_.wait([&] { return client.ended.has_value(); }));
  ASSERT_TRUE(client.ended->is_ok()) << client.ended->to_string();
  ASSERT_GT(client.responses.size(), 100u);
  std::string file;
  for (size_t i = 0; i + 1 < client.responses.size(); ++i) {
    const auto& r = client.responses[i];
    bool last = i + 2 == client.responses.size();
    EXPECT_EQ(r.blob().size(), last ? (r.blob().size() - 1) % (32 << 10) + 1 : size_t{32} << 10);
    EXPECT_EQ(r.version(), "3.7.0");
    file += r.blob();
  }
  size_t sent = 0;
  for (size_t i = 0; i + 1 < client.responses.size(); ++i)
    EXPECT_EQ(client.responses[i].remaining_bytes(), file.size() - (sent += client.responses[i].blob().size()));
  storage::Sha256 hash = storage::sha256(file);
  EXPECT_EQ(client.responses.back().blob(), std::string(reinterpret_cast<const char*>(hash.data()), hash.size()));
  EXPECT_EQ(client.responses.back().remaining_bytes(), 0u);
  auto reader = bolt::Reader::open(bolt::memory_source(file));
  ASSERT_TRUE(reader.is_ok()) << reader.status().to_string();
  size_t keys = 0;
  EXPECT_TRUE((*reader)
                  ->for_each(bolt::kKeyBucket,
                             [&](auto, auto) {
                               ++keys;
                               return Status();
                             })
                  .is_ok());
  EXPECT_EQ(keys, 40u);
  EXPECT_EQ(api_->snapshots_open(), 0u);
}

TEST_F(SnapshotTest, ACancelledOneHoldsNothing) {
  SnapshotClient client;
  net::ClientCall* call = nullptr;
  bool cancelled = false;
  client.at_tenth = [&] {
    cluster_.world().post(client_host_, [&] {
      ASSERT_FALSE(client.ended.has_value()) << "it was through already: the test proves nothing";
      call->cancel();
      cancelled = true;
    });
  };
  cluster_.world().post(client_host_, [&] { call = open(client); });
  ASSERT_TRUE(cluster_.wait([&] { return cancelled; }));
  EXPECT_TRUE(cluster_.wait([&] { return server_->stats().calls_open == 0; }));
  EXPECT_EQ(api_->snapshots_open(), 0u);
  EXPECT_FALSE(client.ended.has_value());
  ASSERT_TRUE(cluster_.put(0, "after", "v").is_ok());
}

TEST_F(SnapshotTest, ThereIsALimit) {
  std::vector<SnapshotClient> clients(9);
  cluster_.world().post(client_host_, [&] {
    for (SnapshotClient& client : clients) open(client);
  });
  ASSERT_TRUE(cluster_.wait([&] {
    return std::all_of(clients.begin(), clients.end(), [](const SnapshotClient& c) { return c.ended.has_value(); });
  }));
  size_t refused = 0;
  for (const SnapshotClient& client : clients) refused += client.ended->message() == "etcdserver: too many requests";
  EXPECT_EQ(refused, 1u);
}

template <typename Response>
class Collector final : public net::ClientCallHandler {
 public:
  void on_message(net::ClientCall&, Bytes in) override {
    Response response;
    ASSERT_TRUE(response.ParseFromString(in.to_string()));
    responses.push_back(std::move(response));
  }
  void on_end(net::ClientCall&, const Status& s) override { ended = s; }

  std::vector<Response> responses;
  std::optional<Status> ended;
};

// Chunks of one revision, in order; header, more and count come with the last.
TEST_F(StreamTest, ARangeStreamIsTheRangeInChunks) {
  constexpr int kKeys = 3000;
  for (int i = 0; i < kKeys; ++i) {
    char key[16];
    snprintf(key, sizeof key, "k%05d", i);
    ASSERT_TRUE(cluster_.put(0, key, std::string(100, 'v')).is_ok());
  }
  for (int64_t limit : {0, 25, kKeys}) {
    Collector<etcdserverpb::RangeStreamResponse> stream;
    cluster_.world().post(client_host_, [&] {
      etcdserverpb::RangeRequest request;
      request.set_key("k");
      request.set_range_end("l");
      request.set_limit(limit);
      net::ClientCall& call = client_->open("/etcdserverpb.KV/RangeStream", &stream);
      call.send_message(bytes_of(request));
      call.half_close();
    });
    ASSERT_TRUE(cluster_.wait([&] { return stream.ended.has_value(); }));
    EXPECT_TRUE(stream.ended->is_ok()) << stream.ended->message();
    int64_t expected = limit == 0 ? kKeys : limit, seen = 0;
    for (const auto& chunk : stream.responses) {
      const etcdserverpb::RangeResponse& r = chunk.range_response();
      bool last = &chunk == &stream.responses.back();
      EXPECT_EQ(r.has_header(), last);
      EXPECT_EQ(r.count(), last ? kKeys : 0);
      EXPECT_EQ(r.more(), last && expected < kKeys);
      for (const auto& kv : r.kvs()) {
        char key[16];
        snprintf(key, sizeof key, "k%05lld", static_cast<long long>(seen++));
        EXPECT_EQ(kv.key(), key);
      }
    }
    EXPECT_EQ(seen, expected);
    EXPECT_GT(stream.responses.size(), 1u);
    EXPECT_EQ(stream.responses[0].range_response().kvs_size(), 10) << "as etcd begins";
  }
}

TEST_F(StreamTest, ATargetWithoutAnOrderSortsAShortRangeStream) {
  for (auto [key, value] : {std::pair{"k1", "c"}, {"k2", "a"}, {"k3", "b"}})
    ASSERT_TRUE(cluster_.put(0, key, value).is_ok());
  for (bool keys_only : {false, true}) {
    Collector<etcdserverpb::RangeStreamResponse> stream;
    cluster_.world().post(client_host_, [&] {
      etcdserverpb::RangeRequest request;
      request.set_key("k");
      request.set_range_end("l");
      request.set_sort_target(etcdserverpb::RangeRequest::VALUE);
      request.set_keys_only(keys_only);
      net::ClientCall& call = client_->open("/etcdserverpb.KV/RangeStream", &stream);
      call.send_message(bytes_of(request));
      call.half_close();
    });
    ASSERT_TRUE(cluster_.wait([&] { return stream.ended.has_value(); }));
    ASSERT_TRUE(stream.ended->is_ok()) << stream.ended->message();
    ASSERT_EQ(stream.responses.size(), 1u);
    const etcdserverpb::RangeResponse& r = stream.responses[0].range_response();
    std::string order;
    for (const auto& kv : r.kvs()) order += kv.key() + kv.value() + " ";
    EXPECT_EQ(order, keys_only ? "k2 k3 k1 " : "k2a k3b k1c ");
    EXPECT_EQ(r.count(), 3);
  }
}

TEST_F(StreamTest, ARangeStreamRefusesWhatEtcdRefuses) {
  for (bool sorted : {true, false}) {
    Collector<etcdserverpb::RangeStreamResponse> stream;
    cluster_.world().post(client_host_, [&] {
      etcdserverpb::RangeRequest request;
      request.set_key("k");
      if (sorted) request.set_sort_order(etcdserverpb::RangeRequest::DESCEND);
      if (!sorted) request.set_min_mod_revision(1);
      net::ClientCall& call = client_->open("/etcdserverpb.KV/RangeStream", &stream);
      call.send_message(bytes_of(request));
      call.half_close();
    });
    ASSERT_TRUE(cluster_.wait([&] { return stream.ended.has_value(); }));
    EXPECT_EQ(stream.ended->code(), Code::kUnimplemented);
  }
}

// A revision that is larger than a client takes comes in several messages; all but the last say so.
TEST_F(StreamTest, LargeRevisionsComeInFragmentsToThoseWhoAsk) {
  WatchClient whole, split;
  cluster_.world().post(client_host_, [&] {
    for (WatchClient* w : {&whole, &split}) {
      etcdserverpb::WatchRequest request;
      request.mutable_create_request()->set_key("k");
      request.mutable_create_request()->set_range_end("l");
      request.mutable_create_request()->set_prev_kv(true);
      request.mutable_create_request()->set_fragment(w == &split);
      client_->open("/etcdserverpb.Watch/Watch", w).send_message(bytes_of(request));
    }
  });
  ASSERT_TRUE(cluster_.wait([&] { return whole.responses.size() == 1 && split.responses.size() == 1; }));
  // Less than a request may have; with the values before them the events of the second are more than a message may.
  mvcc::TxnRequest txn;
  std::vector<std::string> keys;
  std::string value(340 << 10, 'v');
  for (int i = 0; i < 4; ++i) keys.push_back("k" + std::to_string(i));
  for (const std::string& key : keys) {
    mvcc::PutRequest put;
    put.key = key;
    put.value = value;
    txn.success.push_back(mvcc::RequestOp{put});
  }
  for (int round = 0; round < 2; ++round) {
    bool done = false;
    cluster_.in_turn(0, [&](node::Node& n) {
      n.propose(node::Caller::cluster(), txn, [&](const Status& s, const mvcc::ApplyResult*) { done = s.is_ok(); });
    });
    ASSERT_TRUE(cluster_.wait([&] { return done; }));
  }
  ASSERT_TRUE(cluster_.wait([&] { return whole.responses.size() == 3 && split.responses.size() == 4; }));
  EXPECT_EQ(whole.responses[2].events_size(), 4);
  EXPECT_FALSE(whole.responses[2].fragment());
  EXPECT_FALSE(split.responses[1].fragment());
  EXPECT_EQ(split.responses[2].events_size() + split.responses[3].events_size(), 4);
  EXPECT_TRUE(split.responses[2].fragment());
  EXPECT_FALSE(split.responses[3].fragment());
  client_.reset();  // before its handlers
}

}  // namespace
}  // namespace fairlead::api
