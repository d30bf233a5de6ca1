#include "server/io/real/net.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "server/io/real/workers.h"

namespace fairlead::io {
namespace {

// Echoes what it reads, or only collects it.
class Peer final : public StreamHandler {
 public:
  Peer(std::unique_ptr<Stream> stream, bool echo) : stream_(std::move(stream)), echo_(echo) {
    stream_->set_handler(this);
  }
  void on_connected() override { connected_ = true; }
  void on_readable() override {
    char buffer[16384];
    IoResult result = stream_->read(buffer);
    if (!result.error.is_ok()) {
      error_ = result.error;
      stream_->pause_reading(true);
      return;
    }
    if (result.eof) {
      eof_ = true;
      stream_->pause_reading(true);
      if (echo_) stream_->shutdown_write();
      return;
    }
    received_.append(buffer, result.bytes);
    if (echo_) send(std::string_view(buffer, result.bytes));
  }
  void on_writable() override { flush(); }
  void send(std::string_view data) {
    out_.append(data);
    flush();
  }
  void flush() {
    // Many small parts, empty ones too: more than one gather's worth.
    while (!out_.empty()) {
      std::vector<std::string_view> parts;
      std::string_view rest = out_;
      while (!rest.empty() && parts.size() < 3000) {
        parts.push_back(rest.substr(0, 7));
        parts.push_back({});
        rest.remove_prefix(parts[parts.size() - 2].size());
      }
      IoResult result = stream_->writev(parts);
      out_.erase(0, result.bytes);
      if (!result.error.is_ok()) error_ = result.error;
      if (result.would_block || !result.error.is_ok()) return;
    }
  }

  std::unique_ptr<Stream> stream_;
  bool echo_;
  bool connected_ = false;
  bool eof_ = false;
  Status error_;
  std::string received_;
  std::string out_;
};

class RealNetTest : public testing::Test {
 protected:
  template <typename Condition>
  bool run_until(Condition condition, Nanos limit = 20 * kSecond) {
    Nanos end = loop.now_precise() + limit;
    while (!condition()) {
      if (loop.now_precise() > end) return false;
      loop.run_turn(10 * kMillisecond);
    }
    return true;
  }
  void exchange(const std::string& address) {
    std::vector<std::unique_ptr<Peer>> served;
    auto listener = net.listen(
        address, [&](std::unique_ptr<Stream> s) { served.push_back(std::make_unique<Peer>(std::move(s), true)); });
    ASSERT_TRUE(listener.is_ok()) << listener.status().to_string();
    Peer client(net.connect((*listener)->address()), false);
    std::string data(3 << 20, 'x');
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 31 + i / 251);
    client.send(data);  // before the connection stands
    ASSERT_TRUE(run_until([&] { return client.received_.size() == data.size() && client.out_.empty(); }));
    EXPECT_TRUE(client.received_ == data);
    EXPECT_TRUE(client.connected_);
    client.stream_->shutdown_write();
    ASSERT_TRUE(run_until([&] { return client.eof_; }));
    EXPECT_TRUE(served.at(0)->eof_);
  }

  RealLoop loop;
  RealWorkers workers{&loop, 1};
  RealNet net{&loop, &workers, nullptr};
};

TEST_F(RealNetTest, BytesArriveWholeAndInOrderOverIPv4) { exchange("127.0.0.1:0"); }
TEST_F(RealNetTest, BytesArriveWholeAndInOrderOverUnixSockets) {
  exchange("unix:" + testing::TempDir() + "net-test-" + std::to_string(getpid()));
}
TEST_F(RealNetTest, BytesArriveWholeAndInOrderOverIPv6) {
  auto probe = net.listen("[::1]:0", [](std::unique_ptr<Stream>) {});
  if (!probe.is_ok()) GTEST_SKIP() << "no IPv6 here: " << probe.status().to_string();
  exchange("[::1]:0");
}

TEST_F(RealNetTest, NamesAreResolvedOffTheLoop) {
  int accepted = 0;
  auto listener = net.listen("127.0.0.1:0", [&](std::unique_ptr<Stream>) { ++accepted; });
  ASSERT_TRUE(listener.is_ok());
  std::string address = (*listener)->address();
  Peer client(net.connect("localhost" + address.substr(address.rfind(':'))), false);
  ASSERT_TRUE(run_until([&] { return client.connected_ && accepted == 1; }));
}

TEST_F(RealNetTest, FailedConnectsAreToldByRead) {
  // A port that was just free again, a bad address, a missing socket.
  std::string closed;
  {
    auto listener = net.listen("127.0.0.1:0", [](std::unique_ptr<Stream>) {});
    ASSERT_TRUE(listener.is_ok());
    closed = (*listener)->address();
  }
  for (const std::string& address : {closed, std::string("nonsense"), std::string("unix:/nonexistent/s")}) {
    Peer client(net.connect(address), false);
    EXPECT_TRUE(client.error_.is_ok()) << "not inside the call";
    ASSERT_TRUE(run_until([&] { return !client.error_.is_ok(); })) << address;
    EXPECT_FALSE(client.connected_);
  }
}

TEST_F(RealNetTest, BadListenAddressesAreRefusedWithAReason) {
  auto none = [](std::unique_ptr<Stream>) {};
  EXPECT_NE(net.listen("127.0.0.1", none).status().message().find("missing port"), std::string::npos);
  EXPECT_NE(net.listen("127.0.0.1:x", none).status().message().find("port"), std::string::npos);
  EXPECT_NE(net.listen("::1:80", none).status().message().find("brackets"), std::string::npos);
  auto first = net.listen("127.0.0.1:0", none);
  ASSERT_TRUE(first.is_ok());
  EXPECT_NE(net.listen((*first)->address(), none).status().message().find("in use"), std::string::npos);
  std::string path = testing::TempDir() + "net-stale-" + std::to_string(getpid());
  auto unix_first = net.listen("unix:" + path, none);
  ASSERT_TRUE(unix_first.is_ok());
  EXPECT_NE(net.listen("unix:" + path, none).status().message().find("in use"), std::string::npos);
}

TEST_F(RealNetTest, AStreamMayBeDeletedInItsOwnCallback) {
  struct Suicide final : StreamHandler {
    std::unique_ptr<Stream> stream;
    bool gone = false;
    void on_readable() override {
      stream.reset();
      gone = true;
    }
  } handler;
  auto listener = net.listen("127.0.0.1:0", [&](std::unique_ptr<Stream> s) {
    handler.stream = std::move(s);
    handler.stream->set_handler(&handler);
  });
  ASSERT_TRUE(listener.is_ok());
  Peer client(net.connect((*listener)->address()), false);
  client.send("x");
  ASSERT_TRUE(run_until([&] { return handler.gone && (client.eof_ || !client.error_.is_ok()); }));
}

TEST_F(RealNetTest, APausedStreamWhosePeerIsGoneDoesNotSpin) {
  std::unique_ptr<Peer> served;
  auto listener = net.listen("127.0.0.1:0", [&](std::unique_ptr<Stream> s) {
    served = std::make_unique<Peer>(std::move(s), false);
    served->stream_->pause_reading(true);
  });
  ASSERT_TRUE(listener.is_ok());
  auto client = std::make_unique<Peer>(net.connect((*listener)->address()), false);
  client->send("last words");
  ASSERT_TRUE(run_until([&] { return client->connected_ && served && client->out_.empty(); }));
  client.reset();
  Nanos end = loop.now_precise() + 50 * kMillisecond;
  uint64_t turns = loop.turn_stats().turns;
  while (loop.now_precise() < end) loop.run_turn(10 * kMillisecond);
  EXPECT_LT(loop.turn_stats().turns - turns, 50u);
  served->stream_->pause_reading(false);
  ASSERT_TRUE(run_until([&] { return served->eof_ || !served->error_.is_ok(); }));
  EXPECT_EQ(served->received_, "last words");
}

TEST_F(RealNetTest, OutOfDescriptorsPausesAcceptingAndRecovers) {
  std::vector<std::unique_ptr<Stream>> accepted;
  auto listener = net.listen("127.0.0.1:0", [&](std::unique_ptr<Stream> s) { accepted.push_back(std::move(s)); });
  ASSERT_TRUE(listener.is_ok());
  Peer client(net.connect((*listener)->address()), false);
  ASSERT_TRUE(run_until([&] { return accepted.size() == 1; }));
  Peer second(net.connect((*listener)->address()), false);  // has its own descriptor already
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  int next_free = dup(0);
  close(next_free);
  rlimit low = before;
  low.rlim_cur = static_cast<rlim_t>(next_free);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  uint64_t turns = loop.turn_stats().turns;
  Nanos end = loop.now_precise() + 30 * kMillisecond;
  while (loop.now_precise() < end) loop.run_turn(5 * kMillisecond);
  EXPECT_EQ(accepted.size(), 1u);
  EXPECT_LT(loop.turn_stats().turns - turns, 30u) << "it spins";
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(run_until([&] { return accepted.size() == 2; }));
}

}  // namespace
}  // namespace fairlead::io
