// What the core costs, without disk, network and apply: three members in one thread, proposals in batches through to
// commit on all of them. Prints nanoseconds per entry for the leader alone and for the whole cluster; checks only that
// all is committed (a time limit would fail on a busy machine). RAFT_COST_ENTRIES=2000000 for figures worth quoting.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "server/raft/raft.h"

namespace fairlead::raft {
namespace {

using Clock = std::chrono::steady_clock;

struct Bench {
  std::vector<std::unique_ptr<Raft>> members;
  std::vector<Message> net;
  double leader_ns = 0;

  Bench() {
    Configuration config{{MemberId(1), MemberId(2), MemberId(3)}, {}};
    for (uint64_t i = 1; i <= 3; ++i) {
      Options options;
      options.id = MemberId(i);
      options.seed = i;
      options.memory_bytes_max = 1 << 20;
      members.push_back(std::make_unique<Raft>(options, Restored{{}, {}, config, {}, {}, {}}));
    }
    members[0]->connected(MemberId(2), true);
    settle();
  }

  void turn(Raft& r) {
    Ready ready = r.ready();
    for (Message& m : ready.messages) net.push_back(std::move(m));
    if (ready.write_seq) r.log_durable(ready.write_seq);
    if (!ready.committed.empty()) r.applied(ready.committed.back().back().index);
  }

  template <typename Call>
  void timed(Raft& r, Call call) {
    if (&r != members[0].get()) return call();
    auto start = Clock::now();
    call();
    leader_ns += std::chrono::duration<double, std::nano>(Clock::now() - start).count();
  }

  void settle() {
    for (bool any = true; any;) {
      any = false;
      for (auto& r : members) {
        while (r->has_ready()) {
          any = true;
          timed(*r, [&] { turn(*r); });
        }
      }
      std::vector<Message> batch;
      batch.swap(net);
      for (Message& m : batch) {
        any = true;
        Raft& r = *members[m.to.value - 1];
        timed(r, [&] { r.step(std::move(m)); });
      }
    }
  }

  void run(size_t batch, size_t entries) {
    leader_ns = 0;
    Bytes value = Bytes::copy(std::string(256, 'x'));
    auto start = Clock::now();
    for (size_t done = 0; done < entries; done += batch) {
      std::vector<Bytes> data(batch, value);
      timed(*members[0], [&] { (void)members[0]->propose(std::move(data)); });
      settle();
    }
    double all = std::chrono::duration<double, std::nano>(Clock::now() - start).count();
    std::printf("batch %4zu: leader %6.1f ns/entry, cluster %6.1f ns/entry\n", batch, leader_ns / entries,
                all / entries);
  }
};

TEST(Cost, PerEntry) {
  const char* asked = std::getenv("RAFT_COST_ENTRIES");
  size_t entries = asked ? std::strtoull(asked, nullptr, 10) : 20'000;
  Bench bench;
  size_t proposed = 1;  // the empty entry
  for (size_t batch : {1, 8, 64, 256}) {
    size_t n = std::max<size_t>(batch, entries / (batch < 8 ? 10 : 1)) / batch * batch;
    bench.run(batch, n);
    proposed += n;
  }
  for (auto& r : bench.members) EXPECT_EQ(r->applied_index().value, proposed);
}

}  // namespace
}  // namespace fairlead::raft
