// The same sessions over the real side of io: sockets, wake-ups, thousands of connections.
#include <gtest/gtest.h>

#include <sys/resource.h>

#include "server/io/real/world.h"
#include "server/net/client.h"
#include "server/net/server.h"

namespace fairlead::net {
namespace {

struct Real : testing::Test {
  Real() {
    auto made = io::RealWorld::create({});
    CHECK(made.is_ok());
    real = std::move(made).value();
    world = real->world();
    router.add_unary("/t.S/Echo", [](CallRef call, Bytes request) { call->reply(request); });
    server.emplace(world, ServerOptions{});
  }
  ~Real() override { server.reset(); }

  std::string listen(const std::string& address) {
    auto taken = server->listen(address, router);
    CHECK(taken.is_ok());
    return *taken;
  }
  template <typename Done>
  bool until(Done done) {
    int64_t end = world.loop->now_precise() + 60 * io::kSecond;
    while (!done()) {
      if (world.loop->now_precise() > end) return false;
      real->loop().run_turn(100 * io::kMillisecond);
    }
    return true;
  }

  std::unique_ptr<io::RealWorld> real;
  io::World world;
  Router router;
  std::optional<Server> server;
};

TEST_F(Real, ManyCallsOverTcpAndUnixSocket) {
  for (std::string address : {std::string("127.0.0.1:0"), "unix:" + testing::TempDir() + "net_real_test.sock"}) {
    std::string taken = listen(address);
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 4; ++i) {
      clients.push_back(std::make_unique<Client>(*world.loop, world.net->connect(taken), ClientOptions{}));
    }
    int good = 0, left = 20'000;
    std::function<void(Client&, int)> next = [&](Client& client, int n) {
      if (left-- <= 0) return;
      Bytes request = Bytes::copy(std::string(static_cast<size_t>(n % 100 == 0 ? 300'000 : n % 500), 'r'));
      client.unary("/t.S/Echo", request, [&, request, n](const Status& status, Bytes reply) {
        good += status.is_ok() && reply == request;
        next(client, n + 1);
      });
    };
    for (int i = 0; i < 64; ++i) next(*clients[static_cast<size_t>(i) % clients.size()], i);
    EXPECT_TRUE(until([&] { return good == 20'000; })) << address << " " << good;
  }
}

// The server's side only is in this process twice over (its clients' sockets and sessions are here
// as well), so the count is kept below the usual limit of open files.
TEST_F(Real, ThousandsOfIdleConnections) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  size_t count = std::min<size_t>(10'000, (files.rlim_cur - 200) / 2);
  std::string address = listen("127.0.0.1:0");
  std::vector<std::unique_ptr<io::Stream>> idle;
  struct Silent final : io::StreamHandler {
    explicit Silent(io::Stream* s) : stream(s) {}
    void on_connected() override {
      std::string_view hello[] = {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", std::string_view("\0\0\0\4\0\0\0\0\0", 9)};
      (void)stream->writev(hello);
    }
    void on_readable() override {
      char buffer[1024];
      io::IoResult got = stream->read(buffer);
      if (got.eof || !got.error.is_ok()) stream->set_handler(nullptr);
    }
    io::Stream* stream;
  };
  std::vector<std::unique_ptr<Silent>> handlers;
  while (idle.size() < count) {
    for (int i = 0; i < 100; ++i) {
      idle.push_back(world.net->connect(address));
      handlers.push_back(std::make_unique<Silent>(idle.back().get()));
      idle.back()->set_handler(handlers.back().get());
    }
    ASSERT_TRUE(until([&] { return server->stats().connections_open == idle.size(); }));
  }
  Client client(*world.loop, world.net->connect(address), {});
  bool answered = false;
  client.unary("/t.S/Echo", Bytes::literal("x"), [&](const Status& s, Bytes) { answered = s.is_ok(); });
  EXPECT_TRUE(until([&] { return answered; }));
  EXPECT_EQ(server->stats().connections_open, idle.size() + 1);
  idle.clear();
  EXPECT_TRUE(until([&] { return server->stats().connections_open == 1; }));
}

}  // namespace
}  // namespace fairlead::net
