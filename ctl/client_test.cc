// The client against servers that misbehave on purpose: calls go round, reads go on, writes are sent once.
#include "ctl/client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>
#include <thread>

#include "ctl/load.h"

namespace fairlead::ctl {
namespace {

// A server of KV that counts what it sees and then does as it is told.
class FakeKv final : public pb::KV::Service {
 public:
  using Act = std::function<grpc::Status()>;
  grpc::Status Range(grpc::ServerContext*, const pb::RangeRequest*, pb::RangeResponse*) override {
    ++ranges;
    return act();
  }
  grpc::Status Put(grpc::ServerContext*, const pb::PutRequest*, pb::PutResponse*) override {
    ++puts;
    return act();
  }
  std::atomic<int> ranges{0}, puts{0};
  Act act = [] { return grpc::Status(); };
};

class FakeServer {
 public:
  FakeServer() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&kv);
    server_ = builder.BuildAndStart();
  }
  ~FakeServer() { stop(); }
  // Connections break, whatever is under way.
  void stop() {
    if (server_) server_->Shutdown(std::chrono::system_clock::now());
  }
  std::string endpoint() const { return "127.0.0.1:" + std::to_string(port_); }
  FakeKv kv;

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

ClientOptions options_for(std::vector<std::string> endpoints) {
  ClientOptions o;
  o.endpoints = std::move(endpoints);
  o.command_timeout_nanos = 60'000'000'000;
  return o;
}

grpc::Status read(Client& client) {
  pb::RangeResponse reply;
  return client.call<pb::KV>(&pb::KV::Stub::Range, pb::RangeRequest(), &reply, true);
}
grpc::Status write(Client& client) {
  pb::PutResponse reply;
  return client.call<pb::KV>(&pb::KV::Stub::Put, pb::PutRequest(), &reply, false);
}

const grpc::Status kNoLeader(grpc::StatusCode::UNAVAILABLE, "etcdserver: no leader");

TEST(Client, CallsGoRoundTheEndpoints) {
  FakeServer a, b, c;
  Client client(options_for({a.endpoint(), b.endpoint(), c.endpoint()}));
  std::vector<FakeServer*> all = {&a, &b, &c};
  // Until all three are connected, those that are take the calls.
  for (int i = 0; i < 60'000 && (a.kv.ranges == 0 || b.kv.ranges == 0 || c.kv.ranges == 0); ++i) {
    ASSERT_TRUE(read(client).ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::map<FakeServer*, int> before;
  for (FakeServer* s : all) before[s] = s->kv.ranges;
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(read(client).ok());
  for (FakeServer* s : all) EXPECT_EQ(s->kv.ranges - before[s], 10);
}

TEST(Client, EachProcessBeginsSomewhereElse) {
  FakeServer a, b, c;
  for (int i = 0; i < 10'000 && (a.kv.ranges == 0 || b.kv.ranges == 0 || c.kv.ranges == 0); ++i) {
    Client client(options_for({a.endpoint(), b.endpoint(), c.endpoint()}));
    ASSERT_TRUE(read(client).ok());
  }
  EXPECT_GT(a.kv.ranges, 0);
  EXPECT_GT(b.kv.ranges, 0);
  EXPECT_GT(c.kv.ranges, 0);
}

TEST(Client, AReadGoesOnAtTheNextEndpoint) {
  FakeServer bad, good;
  bad.kv.act = [] { return kNoLeader; };
  Client client(options_for({bad.endpoint(), good.endpoint()}));
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(read(client).ok());
  EXPECT_GE(good.kv.ranges, 10);
}

TEST(Client, AWriteThatWasAnsweredWithAnErrorIsNotSentAgain) {
  FakeServer one, two;
  for (FakeServer* s : {&one, &two}) s->kv.act = [] { return kNoLeader; };
  Client client(options_for({one.endpoint(), two.endpoint()}));
  EXPECT_EQ(write(client).error_message(), "etcdserver: no leader");
  EXPECT_EQ(one.kv.puts + two.kv.puts, 1);
}

// The worst case: it was applied, and the answer is lost.
TEST(Client, AWriteWhoseConnectionBreaksIsNotSentAgain) {
  FakeServer one, two;
  std::promise<void> applied;
  one.kv.act = [&] {
    applied.set_value();
    std::this_thread::sleep_for(std::chrono::seconds(1));  // its connection is cut meanwhile
    return grpc::Status();
  };
  two.kv.act = one.kv.act;
  Client client(options_for({one.endpoint(), two.endpoint()}));
  std::thread cut([&] {
    applied.get_future().wait();
    one.stop();
    two.stop();
  });
  grpc::Status status = write(client);
  cut.join();
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
  EXPECT_EQ(one.kv.puts + two.kv.puts, 1);
}

TEST(Client, AWriteThatFoundNoConnectionGoesToAnotherEndpoint) {
  FakeServer gone, good;
  std::string dead = gone.endpoint();
  Client client(options_for({dead, good.endpoint()}));
  for (int i = 0; i < 60'000 && gone.kv.puts == 0; ++i) ASSERT_TRUE(write(client).ok());
  ASSERT_GT(gone.kv.puts, 0) << "both are connected";
  gone.stop();
  int before = good.kv.puts;
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(write(client).ok());
  EXPECT_EQ(good.kv.puts - before, 20);
}

// A call that is handed a channel whose server is gone: what tells it from one that was sent.
TEST(Client, NeverSentIsToldFromSent) {
  FakeServer gone, refusing;
  gone.stop();
  refusing.kv.act = [] { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "failed to connect to all addresses"); };
  auto put = [](const std::string& endpoint, grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    pb::PutResponse reply;
    return pb::KV::NewStub(open_channel(ClientOptions(), endpoint))->Put(&context, pb::PutRequest(), &reply);
  };
  grpc::ClientContext first, second;
  grpc::Status unsent = put(gone.endpoint(), first), sent = put(refusing.endpoint(), second);
  EXPECT_TRUE(never_sent(unsent, first, gone.endpoint())) << unsent.error_message() << " " << first.peer();
  EXPECT_FALSE(never_sent(sent, second, refusing.endpoint())) << "whatever its text says: a server has answered";
  grpc::ClientContext third;
  std::string path = "unix://" + testing::TempDir() + "/there-is-no-such-socket";
  grpc::Status no_socket = put(path, third);
  EXPECT_TRUE(never_sent(no_socket, third, path)) << no_socket.error_message() << " " << third.peer();
}

TEST(Load, KeepsItsRateAndCounts) {
  FakeServer server;
  LoadPlan plan;
  plan.prefix = "p/";
  plan.key_bytes = 16;
  plan.value_bytes = 10;
  plan.clients = 3;
  plan.requests_max = 50;
  int64_t seen = 0;
  LoadReport report = run_load(options_for({server.endpoint()}), "", plan, [&](int64_t answers, double) {
    seen = answers;
    return true;
  });
  EXPECT_EQ(report.seconds.size(), 50u);
  EXPECT_EQ(seen, 50);
  EXPECT_EQ(server.kv.puts, 50);
  EXPECT_TRUE(report.errors.empty());
  EXPECT_GT(report.slowest(), 0);
  EXPECT_GE(report.slowest(), report.deviation());

  plan.requests_max = 0;
  plan.rate_per_second = 20;
  plan.duration = std::chrono::seconds(2);
  server.kv.puts = 0;
  report = run_load(options_for({server.endpoint()}), "", plan, [](int64_t, double) { return true; });
  EXPECT_LE(server.kv.puts, 42) << "no more than the rate";
  EXPECT_GE(server.kv.puts, 1);

  server.kv.act = [] {
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded");
  };
  plan.rate_per_second = 0;
  plan.duration = std::chrono::seconds(0);
  plan.requests_max = 7;
  report = run_load(options_for({server.endpoint()}), "", plan, [](int64_t, double) { return true; });
  EXPECT_EQ(report.errors, (std::map<std::string, int64_t>{{"etcdserver: mvcc: database space exceeded", 7}}));

  plan.requests_max = 0;  // without an end, but for whoever looks on
  report = run_load(options_for({server.endpoint()}), "", plan, [](int64_t answers, double) { return answers < 20; });
  EXPECT_GE(report.errors.begin()->second, 20);
}

}  // namespace
}  // namespace fairlead::ctl
