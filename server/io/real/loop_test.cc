#include "server/io/real/loop.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>

#include "server/io/real/workers.h"
#include "server/io/real/world.h"

namespace fairlead::io {
namespace {

TEST(RealLoop, TimersFireInOrderOfTimeAndNotBefore) {
  RealLoop loop;
  std::string order;
  Nanos start = loop.now_precise();
  Nanos fired_at = 0;
  loop.add_timer(start + 8 * kMillisecond, [&] {
    order += "b";
    fired_at = loop.now();
    loop.stop();
  });
  loop.add_timer(start + 2 * kMillisecond, [&] { order += "a"; });
  TimerId cancelled = loop.add_timer(start + 4 * kMillisecond, [&] { order += "x"; });
  loop.cancel_timer(cancelled);
  loop.cancel_timer(cancelled);
  loop.run();
  EXPECT_EQ(order, "ab");
  EXPECT_GE(fired_at, start + 8 * kMillisecond);
}

TEST(RealLoop, WhatNeverRanTakesItsLeaveOfAWholeLoop) {
  struct Guest {
    explicit Guest(RealLoop& l) : loop(l), hook(l.add_turn_hook([] {})) {}
    ~Guest() {
      loop.remove_turn_hook(hook);
      loop.cancel_timer(1);
      if (next) loop.post([keep = next] {});
    }
    RealLoop& loop;
    uint64_t hook;
    std::shared_ptr<Guest> next;
  };
  std::weak_ptr<Guest> posted, timed, last;
  {
    RealLoop loop;
    auto one = std::make_shared<Guest>(loop), two = std::make_shared<Guest>(loop),
         three = std::make_shared<Guest>(loop);
    posted = one, timed = two, last = three;
    one->next = std::move(three);
    loop.post([one = std::move(one)] {});
    loop.add_timer(loop.now() + 60 * kSecond, [two = std::move(two)] {});
  }
  EXPECT_TRUE(posted.expired() && timed.expired() && last.expired());
}

TEST(RealLoop, ATurnThatShouldBeOverByNowDoesNotWait) {
  RealLoop loop;
  bool called = false;
  loop.add_timer(loop.now_precise() + 60 * kSecond, [&] { called = true; });
  Nanos start = loop.now_precise();
  loop.run_turn(-5 * kMillisecond);
  EXPECT_FALSE(called);
  EXPECT_LT(loop.now_precise() - start, 60 * kSecond);
}

TEST(RealLoop, ATimerThatAddsADueTimerDoesNotHoldTheTurn) {
  RealLoop loop;
  int fired = 0;
  std::function<void()> again = [&] {
    ++fired;
    loop.add_timer(0, again);
  };
  loop.add_timer(0, again);
  loop.run_turn(0);
  EXPECT_EQ(fired, 1);
  loop.run_turn(0);
  EXPECT_EQ(fired, 2);
}

TEST(RealLoop, ATimerMayCancelAnotherThatIsDueInTheSameTurn) {
  RealLoop loop;
  std::string order;
  TimerId second = 0;
  loop.add_timer(1, [&] {
    order += "a";
    loop.cancel_timer(second);
  });
  second = loop.add_timer(2, [&] { order += "b"; });
  loop.run_turn(0);
  EXPECT_EQ(order, "a");
}

TEST(RealLoop, PostsFromOtherThreadsWakeItAndNoneIsLost) {
  RealLoop loop;
  constexpr int kEach = 2000;
  int seen = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        loop.post([&] {
          if (++seen == 2 * kEach) loop.stop();
        });
      }
    });
  }
  loop.run();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(seen, 2 * kEach);
}

TEST(RealLoop, APostFromTheLoopRunsInTheNextTurn) {
  RealLoop loop;
  std::string order;
  loop.post([&] {
    order += "a";
    loop.post([&] { order += "b"; });
  });
  loop.add_turn_hook([&] { order += "|"; });
  loop.run_turn(0);
  EXPECT_EQ(order, "a|");
  loop.run_turn(0);
  EXPECT_EQ(order, "a|b|");
}

TEST(RealLoop, HooksRunInOrderAndMayRemoveEachOther) {
  RealLoop loop;
  std::string order;
  uint64_t second = 0;
  loop.add_turn_hook([&] {
    order += "1";
    loop.remove_turn_hook(second);
  });
  second = loop.add_turn_hook([&] { order += "2"; });
  uint64_t third = 0;
  third = loop.add_turn_hook([&] {
    order += "3";
    loop.remove_turn_hook(third);
    loop.add_turn_hook([&] { order += "4"; });
  });
  loop.run_turn(0);
  loop.run_turn(0);
  EXPECT_EQ(order, "13414");
}

TEST(RealLoop, StopBeforeRunReturnsAtOnceAndTheLongestTurnIsMeasured) {
  RealLoop loop;
  loop.stop();
  loop.run();
  loop.post([] { std::this_thread::sleep_for(std::chrono::milliseconds(5)); });
  loop.run_turn(0);
  EXPECT_GE(loop.turn_stats().longest_turn, 5 * kMillisecond);
  loop.reset_longest_turn();
  EXPECT_EQ(loop.turn_stats().longest_turn, 0);
}

TEST(RealLoop, SignalsArriveAsCallbacks) {
  RealLoop loop;
  int terms = 0;
  loop.on_signal(SIGTERM, [&] {
    ++terms;
    loop.stop();
  });
  loop.on_signal(SIGINT, [&] { terms += 100; });
  raise(SIGTERM);
  loop.run();
  EXPECT_EQ(terms, 1);
}

TEST(RealWorkers, WorkRunsElsewhereAndDoneOnTheLoop) {
  RealLoop loop;
  RealWorkers workers(&loop, 2);
  std::thread::id loop_thread = std::this_thread::get_id();
  constexpr int kJobs = 500;
  std::atomic<int> worked{0};
  int done = 0;
  for (int i = 0; i < kJobs; ++i) {
    workers.run(
        [&] {
          EXPECT_NE(std::this_thread::get_id(), loop_thread);
          ++worked;
        },
        [&] {
          EXPECT_EQ(std::this_thread::get_id(), loop_thread);
          if (++done == kJobs) loop.stop();
        });
  }
  loop.run();
  EXPECT_EQ(worked.load(), kJobs);
}

TEST(RealWorkersDeathTest, TheQueueIsBounded) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        RealLoop loop;
        RealWorkers workers(&loop, 1);
        for (size_t i = 0; i < kWorkersQueueMax + 3; ++i) {
          workers.run([] { std::this_thread::sleep_for(std::chrono::seconds(60)); }, [] {});
        }
      },
      "");
}

TEST(RealRandom, DoesNotRepeat) {
  RealRandom random;
  std::vector<uint64_t> drawn;
  for (int i = 0; i < 100; ++i) drawn.push_back(random.next());
  std::sort(drawn.begin(), drawn.end());
  EXPECT_EQ(std::adjacent_find(drawn.begin(), drawn.end()), drawn.end());
}

}  // namespace
}  // namespace fairlead::io
