#include "server/proxy/tcp_proxy.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "server/io/sim/world.h"

namespace fairlead::proxy {
namespace {

using io::kMillisecond;
using io::kSecond;

// An end of a connection that a test holds: gathers what comes, sends when there is room.
struct End final : io::StreamHandler {
  explicit End(std::unique_ptr<io::Stream> s) : stream(std::move(s)) { stream->set_handler(this); }
  void on_connected() override { send(""); }
  void on_readable() override {
    char buffer[4096];
    io::IoResult result = stream->read(buffer);
    got.append(buffer, result.bytes);
    if (result.eof || !result.error.is_ok()) {
      eof = true;
      broken |= !result.error.is_ok();
      stream->pause_reading(true);
    }
  }
  void on_writable() override { send(""); }
  void send(std::string_view bytes) {
    to_send.append(bytes);
    std::string_view rest = to_send;
    if (rest.empty()) return;
    io::IoResult result = stream->writev({&rest, 1});
    broken |= !result.error.is_ok();
    to_send.erase(0, result.bytes);
  }
  std::unique_ptr<io::Stream> stream;
  std::string got, to_send;
  bool eof = false, broken = false;
};

class TcpProxyTest : public testing::Test {
 protected:
  static constexpr io::sim::HostId kProxy = 0, kClient = 1, kFirst = 2;
  void SetUp() override {
    sim.add_host("10.0.0.1");
    sim.add_host("10.0.0.2");
    sim.add_host("10.0.1.0");
    sim.add_host("10.0.1.1");
    proxy_world = sim.start_process(kProxy);
    client_world = sim.start_process(kClient);
    servers.resize(2);
    listeners.resize(2);
    sim.on_process_end = [this](io::sim::HostId host, io::sim::End) {
      if (host < kFirst) return;
      listeners[host - kFirst].reset();
      servers[host - kFirst].clear();
    };
    start_server(0);
    start_server(1);
  }
  void TearDown() override {
    sim.on_process_end = nullptr;
    clients.clear();
    proxy.reset();
    for (auto& list : servers) list.clear();
    for (auto& listener : listeners) listener.reset();
  }
  void start_server(uint32_t i) {
    io::World world = sim.start_process(kFirst + i);
    listeners[i] = *world.net->listen("10.0.1." + std::to_string(i) + ":2379", [this, i](auto stream) {
      servers[i].push_back(std::make_unique<End>(std::move(stream)));
    });
  }
  void start_proxy(TcpProxyOptions options = {}) {
    if (options.endpoints.empty()) options.endpoints = {{"10.0.1.0:2379", 1}, {"10.0.1.1:2379", 2}};
    proxy = std::make_unique<TcpProxy>(proxy_world, options);
    ASSERT_TRUE(proxy->listen("10.0.0.1:23790").is_ok());
  }
  End& connect() {
    clients.push_back(std::make_unique<End>(client_world.net->connect("10.0.0.1:23790")));
    sim.run_for(100 * kMillisecond);
    return *clients.back();
  }

  io::sim::SimWorld sim{11};
  io::World proxy_world, client_world;
  std::vector<std::unique_ptr<io::Listener>> listeners;
  std::vector<std::vector<std::unique_ptr<End>>> servers;
  std::vector<std::unique_ptr<End>> clients;
  std::unique_ptr<TcpProxy> proxy;
};

TEST_F(TcpProxyTest, BytesGoBothWays) {
  start_proxy();
  End& client = connect();
  client.send("question");
  sim.run_for(kSecond);
  ASSERT_EQ(servers[0].size(), 1u);
  EXPECT_TRUE(servers[1].empty()) << "its priority is lower";
  EXPECT_EQ(servers[0][0]->got, "question");
  servers[0][0]->send("answer");
  sim.run_for(kSecond);
  EXPECT_EQ(client.got, "answer");
  EXPECT_EQ(proxy->stats().open, 1u);
}

TEST_F(TcpProxyTest, AnEndIsPassedOnWhenAllBeforeItIs) {
  start_proxy();
  End& client = connect();
  End& server = *servers[0].at(0);
  std::string much(1 << 20, 'x');
  client.send(much);
  for (int i = 0; i < 1000 && !client.to_send.empty(); ++i) sim.run_for(10 * kMillisecond);
  client.stream->shutdown_write();
  sim.run_for(5 * kSecond);
  EXPECT_EQ(server.got.size(), much.size());
  EXPECT_TRUE(server.eof);
  EXPECT_EQ(proxy->stats().open, 1u) << "the server may still answer";
  server.send("late answer");
  sim.run_for(kSecond);
  EXPECT_EQ(client.got, "late answer");
  EXPECT_FALSE(client.eof);
  server.stream->shutdown_write();
  sim.run_for(kSecond);
  EXPECT_TRUE(client.eof);
  EXPECT_FALSE(client.broken);
  EXPECT_EQ(proxy->stats().open, 0u);
}

TEST_F(TcpProxyTest, AHalfOpenPairThatIsSilentIsClosed) {
  start_proxy();
  End& client = connect();
  client.stream->shutdown_write();
  sim.run_for(kHalfOpenIdleMax - 2 * kSecond);
  servers[0].at(0)->send("x");
  sim.run_for(kHalfOpenIdleMax - 2 * kSecond);
  EXPECT_EQ(proxy->stats().open, 1u) << "a byte has come on the way";
  sim.run_for(4 * kSecond);
  EXPECT_EQ(proxy->stats().open, 0u);
  EXPECT_TRUE(client.eof);
}

TEST_F(TcpProxyTest, AWholePairMayBeSilentForHours) {
  start_proxy();
  End& client = connect();
  sim.run_for(3 * 3600 * kSecond);
  client.send("still here");
  sim.run_for(kSecond);
  EXPECT_EQ(servers[0].at(0)->got, "still here");
}

TEST_F(TcpProxyTest, WhatOneSideDoesNotTakeIsNotReadFromTheOther) {
  start_proxy();
  End& client = connect();
  End& server = *servers[0].at(0);
  server.stream->pause_reading(true);
  client.send(std::string(8 << 20, 'x'));
  sim.run_for(10 * kSecond);
  size_t on_the_way = (8u << 20) - client.to_send.size();
  EXPECT_LE(on_the_way, 3 * sim.net_faults.window_bytes) << "two connections' buffers and one read";
  server.stream->pause_reading(false);
  for (int i = 0; i < 2000 && server.got.size() < 8u << 20; ++i) sim.run_for(10 * kMillisecond);
  EXPECT_EQ(server.got.size(), 8u << 20);
}

TEST_F(TcpProxyTest, ADeadEndpointIsLeftOutAndComesBack) {
  TcpProxyOptions options;
  options.retry_delay = 5 * kSecond;
  sim.end_process(kFirst, io::sim::End::kKill);
  start_proxy(options);
  connect().send("a");
  sim.run_for(kSecond);
  ASSERT_EQ(servers[1].size(), 1u) << "the next one took it";
  EXPECT_EQ(servers[1][0]->got, "a");
  start_server(0);
  sim.run_for(kSecond);
  connect();
  EXPECT_EQ(servers[1].size(), 2u) << "not tried again yet";
  sim.run_for(6 * kSecond);
  connect().send("b");
  sim.run_for(kSecond);
  EXPECT_EQ(servers[0].back()->got, "b");
}

TEST_F(TcpProxyTest, WithoutAnyEndpointConnectionsAreClosed) {
  sim.end_process(kFirst, io::sim::End::kKill);
  sim.end_process(kFirst + 1, io::sim::End::kKill);
  start_proxy();
  End& client = connect();
  sim.run_for(kSecond);
  EXPECT_TRUE(client.eof);
  EXPECT_EQ(proxy->stats().unreachable, 1u);
  EXPECT_EQ(proxy->stats().open, 0u);
}

TEST_F(TcpProxyTest, AnEndpointThatDoesNotAnswerAtAllIsGivenUp) {
  sim.set_link(kProxy, kFirst, false);
  start_proxy();
  End& client = connect();
  client.send("a");
  sim.run_for(kTcpDialTimeout + kSecond);
  ASSERT_EQ(servers[1].size(), 1u);
  EXPECT_EQ(servers[1][0]->got, "a");
}

TEST_F(TcpProxyTest, ABrokenSideEndsTheOther) {
  start_proxy();
  End& client = connect();
  sim.end_process(kFirst, io::sim::End::kKill);
  sim.run_for(kSecond);
  client.send("x");
  sim.run_for(kSecond);
  EXPECT_TRUE(client.eof);
  EXPECT_EQ(proxy->stats().open, 0u);
}

TEST_F(TcpProxyTest, OneConnectionTooManyIsClosed) {
  TcpProxyOptions options;
  options.connections_max = 2;
  start_proxy(options);
  connect();
  End& second = connect();
  End& third = connect();
  EXPECT_TRUE(third.eof);
  EXPECT_EQ(proxy->stats().refused, 1u);
  second.stream->shutdown_write();
  servers[0].at(1)->stream->shutdown_write();
  sim.run_for(kSecond);
  End& fourth = connect();
  EXPECT_FALSE(fourth.eof);
  EXPECT_EQ(proxy->stats().open, 2u);
}

}  // namespace
}  // namespace fairlead::proxy
