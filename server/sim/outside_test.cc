// The trap for calls outside of the simulation must catch: our own code, the C++ library, and other libraries.
#include "server/sim/outside.h"

#include <gtest/gtest.h>
#include <openssl/rand.h>
#include <sys/random.h>
#include <sys/time.h>
#include <time.h>

#include <chrono>
#include <functional>
#include <random>

#include "server/sim/simulation.h"

namespace fairlead::sim {
namespace {

TEST(Outside, EveryWayToTheClockAndToRandomnessIsSeen) {
  const std::pair<const char*, std::function<void()>> ways[] = {
      {"clock_gettime",
       [] {
         timespec t;
         clock_gettime(CLOCK_MONOTONIC, &t);
       }},
      {"time", [] { ASSERT_GT(::time(nullptr), 0); }},
      {"gettimeofday",
       [] {
         timeval t;
         gettimeofday(&t, nullptr);
       }},
      {"getrandom",
       [] {
         char bytes[8];
         ASSERT_EQ(getrandom(bytes, sizeof bytes, 0), 8);
       }},
      {"clock_gettime", [] { (void)std::chrono::steady_clock::now(); }},
      {"clock_gettime", [] { (void)std::chrono::system_clock::now(); }},
  };
  for (const auto& [function, call] : ways) {
    EXPECT_EQ(NoOutside::first_call(), "") << "of an earlier one";
    std::string seen;
    {
      NoOutside guard;
      call();
      EXPECT_EQ(NoOutside::calls(), 1u) << function;
      seen = NoOutside::first_call();
    }
    EXPECT_TRUE(seen.starts_with(std::string(function) + " from ")) << seen;
    NoOutside forget;
  }
}

TEST(Outside, ALibrarysRandomnessIsSeen) {
  NoOutside guard;
  unsigned char bytes[8];
  ASSERT_EQ(RAND_priv_bytes(bytes, sizeof bytes), 1);
  EXPECT_GT(NoOutside::calls(), 0u) << "OpenSSL draws from somewhere else than this test knows";
}

// The other way round: a whole seed asks for nothing, with clients that enter through HTTP/2 too.
TEST(Outside, ASeedAsksForNothing) {
  for (uint64_t seed : {1, 2}) {
    SeedResult result = run_seed(seed, false);
    EXPECT_EQ(result.wrong, "");
  }
}

}  // namespace
}  // namespace fairlead::sim
