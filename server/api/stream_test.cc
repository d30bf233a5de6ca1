// Streams of the v3 services through the front door: a member, its server and a gRPC client on simulated machines.
#include <gtest/gtest.h>

#include "proto/rpc.pb.h"
#include "server/api/api.h"
#include "server/net/client.h"
#include "server/node/cluster_for_test.h"

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
  StreamTest() : cluster_(1), client_host_(cluster_.world().add_host("10.0.1.1")) {
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

}  // namespace
}  // namespace fairlead::api
