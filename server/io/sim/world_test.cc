#include "server/io/sim/world.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace fairlead::io::sim {
namespace {

// A process that sends numbered lines to another one and collects what comes.
struct Talker final : StreamHandler {
  Talker(World w, const std::string& listen_at) : world(w) {
    auto made = world.net->listen(listen_at, [this](std::unique_ptr<Stream> s) {
      incoming = std::move(s);
      incoming->set_handler(this);
    });
    listener = *std::move(made);
  }
  void connect(const std::string& to) {
    out_handler.talker = this;
    outgoing = world.net->connect(to);
    outgoing->set_handler(&out_handler);
    out = data;
    flush();
  }
  void flush() {
    while (!out.empty()) {
      std::string_view parts[] = {std::string_view(out).substr(0, 3),
                                  std::string_view(out).substr(std::min<size_t>(3, out.size()))};
      IoResult result = outgoing->writev(parts);
      out.erase(0, result.bytes);
      if (!result.error.is_ok()) error = result.error;
      if (result.would_block || !result.error.is_ok()) return;
    }
  }
  void on_readable() override {
    char buffer[5000];
    IoResult result = incoming->read(buffer);
    received.append(buffer, result.bytes);
    if (result.eof || !result.error.is_ok()) incoming.reset();
  }
  struct Out final : StreamHandler {
    Talker* talker;
    void on_connected() override { talker->connected = true; }
    void on_writable() override { talker->flush(); }
    void on_readable() override {
      char c;
      IoResult result = talker->outgoing->read({&c, 1});
      if (!result.error.is_ok()) talker->error = result.error;
      if (result.eof) talker->outgoing->pause_reading(true);
    }
  };

  World world;
  std::unique_ptr<Listener> listener;
  Out out_handler;
  std::unique_ptr<Stream> outgoing, incoming;
  std::string data, out, received;
  bool connected = false;
  Status error;
};

struct Pair {
  explicit Pair(uint64_t seed, size_t bytes = 1 << 20) : world(seed) {
    for (int i = 0; i < 2; ++i) hosts[i] = world.add_host("10.0.0." + std::to_string(i + 1));
    world.on_process_end = [this](HostId host, End) { talkers[host].reset(); };
    for (int i = 0; i < 2; ++i) start(i);
    for (size_t i = 0; i < bytes; ++i) talkers[0]->data.push_back(static_cast<char>(i * 7 + i / 255));
  }
  void start(int i) { talkers[hosts[i]] = std::make_unique<Talker>(world.start_process(hosts[i]), "0.0.0.0:2380"); }
  Talker& a() { return *talkers[0]; }
  Talker& b() { return *talkers[1]; }

  std::map<HostId, std::unique_ptr<Talker>> talkers;  // outlives the world, whose end empties it
  SimWorld world;
  HostId hosts[2];
};

TEST(SimWorld, StreamsCarryBytesInOrderThroughPartitionsAndClogs) {
  uint64_t held = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Pair pair(seed);
    std::string data = pair.a().data;
    pair.world.post(0, [&] { pair.a().connect("10.0.0.2:2380"); });
    for (int i = 0; i < 200 && pair.b().received.size() < data.size(); ++i) {
      pair.world.set_link(0, 1, pair.world.prng().chance(0.7));
      pair.world.set_link(1, 0, pair.world.prng().chance(0.7));
      if (pair.world.prng().chance(0.2)) pair.world.clog_link(0, 1, 50 * kMillisecond);
      pair.world.run_for(5 * kMillisecond);
    }
    pair.world.heal_all_links();
    pair.world.run_for(10 * kSecond);
    EXPECT_TRUE(pair.b().received == data) << "seed " << seed;
    EXPECT_TRUE(pair.a().error.is_ok());
    held += pair.world.net_stats().pieces_held;
  }
  EXPECT_GT(held, 10u);
}

TEST(SimWorld, OneSeedOneHistory) {
  auto run = [](uint64_t seed) {
    Pair pair(seed, 200000);
    pair.world.post(0, [&] { pair.a().connect("10.0.0.2:2380"); });
    pair.world.run_for(kSecond);
    pair.world.end_process(1, End::kPowerCut);
    pair.start(1);
    pair.world.post(0, [&] { pair.a().connect("10.0.0.2:2380"); });
    pair.world.run_for(kSecond);
    return pair.world.scheduler().trace_hash();
  };
  EXPECT_EQ(run(3), run(3));
  EXPECT_EQ(run(4), run(4));
  EXPECT_NE(run(3), run(4));
}

TEST(SimWorld, ConnectingToNobody) {
  Pair pair(1);
  pair.world.post(0, [&] { pair.a().connect("10.0.0.2:9"); });
  pair.world.run_for(kSecond);
  EXPECT_NE(pair.a().error.message().find("refused"), std::string::npos);
  pair.a().error = Status();
  pair.world.post(0, [&] { pair.a().connect("nowhere:1"); });
  pair.world.run_for(kSecond);
  EXPECT_NE(pair.a().error.message().find("no such host"), std::string::npos);
  pair.a().error = Status();
  pair.world.end_process(1, End::kPowerCut);
  pair.world.post(0, [&] { pair.a().connect("10.0.0.2:2380"); });
  pair.world.run_for(kSecond);
  EXPECT_TRUE(pair.a().error.is_ok()) << "a dark machine refuses nothing";
  pair.world.run_for(20 * kSecond);
  EXPECT_NE(pair.a().error.message().find("timed out"), std::string::npos);
}

TEST(SimWorld, AKilledProcessIsNoticedAMachineWithoutPowerIsNot) {
  for (End how : {End::kKill, End::kPowerCut}) {
    Pair pair(1, 100);
    pair.world.post(0, [&] { pair.a().connect("10.0.0.2:2380"); });
    pair.world.run_for(kSecond);
    ASSERT_EQ(pair.b().received.size(), 100u);
    pair.world.end_process(1, how);
    auto write = [&] {
      pair.world.post(0, [&] {
        pair.a().out = "more";
        pair.a().flush();
      });
    };
    write();
    pair.world.run_for(3 * kSecond);
    write();  // the first may only have drawn the reset
    pair.world.run_for(3 * kSecond);
    EXPECT_EQ(pair.a().error.is_ok(), how == End::kPowerCut);
    pair.start(1);
    write();
    pair.world.run_for(3 * kSecond);
    EXPECT_FALSE(pair.a().error.is_ok()) << "the new process knows nothing of the old connection";
  }
}

TEST(SimWorld, ADeadProcessRunsNothing) {
  SimWorld world(1);
  HostId host = world.add_host("h");
  World w = world.start_process(host);
  int ended = 0, ran = 0;
  world.on_process_end = [&](HostId, End) { ++ended; };
  w.loop->add_timer(w.loop->now() + kSecond, [&] { ++ran; });
  w.workers->run([&] { ++ran; }, [&] { ++ran; });
  w.loop->post([&] {
    world.end_process(host, End::kKill);  // from within its own callback
    EXPECT_EQ(ended, 0);
    w.loop->post([&] { ++ran; });
  });
  world.run_for(10 * kSecond);
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(ran, 0);
  EXPECT_FALSE(world.running(host));
}

TEST(SimWorld, ACrashPointInAWorkerEndsTheProcess) {
  SimWorld world(1);
  HostId host = world.add_host("h");
  World w = world.start_process(host);
  int ended = 0;
  world.set_crash_point_end(End::kPowerCut);
  world.on_process_end = [&](HostId, End how) {
    ++ended;
    EXPECT_TRUE(how == End::kPowerCut);
  };
  world.disk(host).crash_at_operation(2, false);
  bool done = false;
  w.workers->run(
      [&] {
        auto file = w.disk->open("f", OpenMode::kCreate);
        Status status = (*file)->write_at(0, "x");
        ADD_FAILURE() << "went on after its end: " << status.to_string();
      },
      [&] { done = true; });
  world.run_for(kSecond);
  EXPECT_EQ(ended, 1);
  EXPECT_FALSE(done);
}

TEST(SimWorld, APausedProcessSleepsWhileItsClockGoesOn) {
  SimWorld world(1);
  HostId host = world.add_host("h");
  World w = world.start_process(host);
  Nanos start = w.loop->now();
  Nanos fired = 0;
  w.loop->add_timer(start + kSecond, [&] { fired = w.loop->now(); });
  world.pause(host, 5 * kSecond);
  world.run_for(4 * kSecond);
  EXPECT_EQ(fired, 0);
  world.run_for(2 * kSecond);
  EXPECT_GE(fired, start + 5 * kSecond);
}

TEST(SimWorld, TurnsRunHooksAfterEverythingElse) {
  SimWorld world(5);
  HostId host = world.add_host("h");
  World w = world.start_process(host);
  std::string order;
  w.loop->add_turn_hook([&] { order += "1"; });
  w.loop->add_turn_hook([&] { order += "2 "; });
  w.loop->post([&] {
    order += "a";
    w.loop->post([&] { order += "b"; });
  });
  world.run_for(kSecond);
  EXPECT_EQ(order, "a12 b12 ");
}

TEST(Prng, IsSpreadAndBounded) {
  Prng prng(1);
  int counts[10] = {};
  for (int i = 0; i < 10000; ++i) ++counts[prng.below(10)];
  for (int count : counts) EXPECT_NEAR(count, 1000, 150);
  for (int i = 0; i < 1000; ++i) {
    int64_t v = prng.between(-3, 3);
    EXPECT_TRUE(v >= -3 && v <= 3);
  }
  EXPECT_NE(Prng(1).fork(1).next(), Prng(1).fork(2).next());
}

// Timers go by the clock of their machine: never early by it, and no more than its error late.
TEST(SimWorldTest, AClockThatDriftsMovesItsTimers) {
  for (int64_t ppm : {-30000, -7, 0, 1, 50000}) {
    SimWorld world(5);
    HostId host = world.add_host("10.0.0.1");
    world.set_clock_drift(host, ppm);
    World process = world.start_process(host);
    Nanos begin = process.loop->now(), rang = 0;
    process.loop->add_timer(begin + 10 * kSecond, [&] { rang = process.loop->now_precise(); });
    Nanos world_begin = world.now();
    while (rang == 0 && world.now() < 20 * kSecond) world.run_for(kMillisecond);
    EXPECT_GE(rang, begin + 10 * kSecond);
    EXPECT_LE(rang, begin + 10 * kSecond + kMillisecond);
    double took = static_cast<double>(world.now() - world_begin) / 1e9;
    EXPECT_NEAR(took, 10 / (1 + static_cast<double>(ppm) / 1e6), 0.003) << ppm;
  }
}

}  // namespace
}  // namespace fairlead::io::sim
