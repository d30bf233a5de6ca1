// What a unary call costs inside net, without the kernel: our client against our server over pipes
// in memory. The first figure holds both sides; the second replays a recorded client against the
// server alone.
#include <benchmark/benchmark.h>

#include <memory>

#include "server/net/client.h"
#include "server/net/server.h"
#include "server/net/test_world.h"

namespace fairlead::net {
namespace {

using test::make_pipe;
using test::TestLoop;

constexpr size_t kRequestBytes = 300, kReplyBytes = 320;

// Client and server; the client keeps `in_flight` calls open on each of `connections`.
void BM_UnaryBothSides(benchmark::State& state) {
  TestLoop loop;
  io::World world;
  world.loop = &loop;
  Router router;
  Bytes answer = Bytes::copy(std::string(kReplyBytes, 'v'));
  router.add_unary("/etcdserverpb.KV/Put", [&](CallRef call, Bytes) { call->reply(answer); });
  Server server(world, {});
  int connections = static_cast<int>(state.range(1));
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < connections; ++i) {
    auto [near, far] = make_pipe(loop);
    server.serve(std::move(far), router);
    clients.push_back(std::make_unique<Client>(loop, std::move(near), ClientOptions{}));
  }
  Bytes request = Bytes::copy(std::string(kRequestBytes, 'q'));
  int64_t calls = 0;
  std::function<void(Client&)> next = [&](Client& client) {
    client.unary("/etcdserverpb.KV/Put", request, [&](const Status& status, Bytes) {
      if (!status.is_ok()) return;  // the end of the run
      ++calls;
      next(client);
    });
  };
  for (int64_t i = 0; i < state.range(0); ++i) next(*clients[static_cast<size_t>(i) % clients.size()]);
  for (auto _ : state) {
    loop.turn();
    loop.turn();
  }
  state.SetItemsProcessed(calls);
  state.counters["time_per_call"] =
      benchmark::Counter(static_cast<double>(calls), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  for (auto& client : clients) client.reset();
}
BENCHMARK(BM_UnaryBothSides)->Args({1, 1})->Args({16, 1})->Args({256, 1})->Args({256, 16})->Args({256, 64});

// The server alone: batches of request frames recorded from a real client on a fresh connection,
// replayed in time.
void BM_UnaryServerOnly(benchmark::State& state) {
  constexpr int kCallsPerConnection = 20'000;
  int batch = static_cast<int>(state.range(0));
  TestLoop loop;
  io::World world;
  world.loop = &loop;
  Router router;
  Bytes answer = Bytes::copy(std::string(kReplyBytes, 'v'));
  int64_t calls = 0;
  router.add_unary("/etcdserverpb.KV/Put", [&](CallRef call, Bytes) {
    ++calls;
    call->reply(answer);
  });
  // Record.
  std::vector<std::string> recorded;
  {
    Server server(world, {});
    auto [near, far] = make_pipe(loop, SIZE_MAX);
    auto [tap_server, tap] = make_pipe(loop, SIZE_MAX);
    server.serve(std::move(tap_server), router);
    Client client(loop, std::move(near), ClientOptions{});
    // A tap between them: forwards both ways and keeps what the client says.
    struct Forward final : io::StreamHandler {
      io::Stream* from;
      io::Stream* to;
      std::string* keep;
      void on_readable() override {
        static char buffer[1 << 20];
        io::IoResult got = from->read(buffer);
        std::string_view parts[] = {{buffer, got.bytes}};
        if (keep) keep->append(parts[0]);
        if (got.bytes > 0) (void)to->writev(parts);
      }
    };
    std::string said;
    Forward up, down;
    up.from = far.get();
    up.to = tap.get();
    up.keep = &said;
    down.from = tap.get();
    down.to = far.get();
    down.keep = nullptr;
    far->set_handler(&up);
    tap->set_handler(&down);
    Bytes request = Bytes::copy(std::string(kRequestBytes, 'q'));
    for (int i = 0; i < kCallsPerConnection; i += batch) {
      for (int j = 0; j < batch; ++j) {
        client.unary("/etcdserverpb.KV/Put", request, [](const Status& s, Bytes) { CHECK(s.is_ok()); });
      }
      loop.settle();
      recorded.push_back(std::exchange(said, {}));
    }
  }
  calls = 0;
  // Replay.
  Server server(world, {});
  size_t position = recorded.size();
  std::unique_ptr<test::RawPeer> peer;
  for (auto _ : state) {
    if (position == recorded.size()) {
      state.PauseTiming();
      peer.reset();
      loop.settle();
      auto [near, far] = make_pipe(loop, SIZE_MAX);
      server.serve(std::move(far), router);
      peer = std::make_unique<test::RawPeer>(std::move(near));
      position = 0;
      state.ResumeTiming();
    }
    peer->send(recorded[position++]);
    loop.turn();
    peer->received.clear();
  }
  state.SetItemsProcessed(calls);
  state.counters["time_per_call"] =
      benchmark::Counter(static_cast<double>(calls), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  peer.reset();
}
BENCHMARK(BM_UnaryServerOnly)->Arg(1)->Arg(16)->Arg(256);

}  // namespace
}  // namespace fairlead::net

BENCHMARK_MAIN();
