#include "server/io/real/watchdog.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstring>
#include <future>
#include <thread>

#include "server/io/real/cpu_profile.h"
#include "server/io/real/logger.h"
#include "server/io/real/loop.h"
#include "server/io/real/symbols.h"

namespace fairlead::io {
namespace {

int listening_socket(uint16_t& port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(listen(fd, 16), 0);
  socklen_t length = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  port = ntohs(address.sin_port);
  return fd;
}

std::string get(uint16_t port, const std::string& path, int seconds) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  timeval limit{seconds, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string out;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n";
    EXPECT_EQ(send(fd, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
    char buffer[512];
    ssize_t n;
    while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0) out.append(buffer, static_cast<size_t>(n));
  }
  close(fd);
  return out;
}

// The loop really stands: a closure on it waits for the test.
TEST(Watchdog, AnswersWhileTheLoopStandsAndOnlyThen) {
  RealLogger log({.fd = open("/dev/null", O_WRONLY)});
  RealLoop loop;
  std::thread thread([&] { loop.run(); });
  uint16_t port = 0;
  {
    Watchdog watchdog(loop, log,
                      [](std::string_view path, Nanos stalled) {
                        return "HTTP/1.1 503 x\r\n\r\n" + std::string(path) +
                               (stalled >= 200 * kMillisecond ? " late" : " early");
                      },
                      {.look = 20 * kMillisecond, .stall = 200 * kMillisecond});
    watchdog.share(listening_socket(port));
    EXPECT_EQ(get(port, "/livez", 1), "") << "the loop turns, the connection is its own to take";
    EXPECT_EQ(watchdog.stalls(), 0u);

    std::promise<void> go_on;
    loop.post([&] { go_on.get_future().wait(); });
    EXPECT_EQ(get(port, "/livez?verbose", 60), "HTTP/1.1 503 x\r\n\r\n/livez late");
    EXPECT_EQ(watchdog.stalls(), 1u);
    EXPECT_EQ(get(port, "/livez?verbose", 60), "HTTP/1.1 503 x\r\n\r\n/livez late");
    go_on.set_value();
    // It turns again: nobody answers here any more.
    std::promise<void> turned;
    loop.post([&] { turned.set_value(); });
    turned.get_future().wait();
    for (int i = 0; i < 60 && !get(port, "/livez", 1).empty(); ++i) {
    }
    EXPECT_EQ(get(port, "/livez", 1), "");
    EXPECT_EQ(watchdog.stalls(), 1u);
  }
  loop.stop();
  thread.join();
}

__attribute__((noinline)) uint64_t burn_cpu_for_the_profile(int milliseconds) {
  timespec from, now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
  volatile uint64_t sum = 0;
  do {
    for (int i = 0; i < 10'000; ++i) sum = sum + static_cast<uint64_t>(i);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  } while ((now.tv_sec - from.tv_sec) * 1000 + (now.tv_nsec - from.tv_nsec) / 1'000'000 < milliseconds);
  return sum;
}

TEST(CpuProfile, SaysWhereTheTimeWent) {
  ASSERT_TRUE(start_cpu_profile().is_ok());
  EXPECT_EQ(start_cpu_profile().message(), "cpu profiling already in use");
  burn_cpu_for_the_profile(500);
  std::string profile = stop_cpu_profile();
  const char* p = profile.data();
  auto word = [&p] {
    uintptr_t w;
    std::memcpy(&w, p, sizeof w);
    p += sizeof w;
    return w;
  };
  ASSERT_GT(profile.size(), 8 * sizeof(uintptr_t));
  EXPECT_EQ(word(), 0u);
  EXPECT_EQ(word(), 3u);
  EXPECT_EQ(word(), 0u);
  EXPECT_EQ(word(), 10'000u);
  EXPECT_EQ(word(), 0u);
  size_t samples = 0, ours = 0;
  while (uintptr_t count = word()) {
    uintptr_t depth = word();
    ASSERT_LE(depth, static_cast<uintptr_t>(kProfileDepthMax));
    bool found = false;
    for (uintptr_t i = 0; i < depth; ++i)
      found |= symbol_of(word()).find("burn_cpu_for_the_profile") != std::string::npos;
    samples += count;
    ours += found;
  }
  EXPECT_EQ(word(), 1u);
  EXPECT_EQ(word(), 0u);
  EXPECT_NE(std::string_view(p).find("[stack]"), std::string_view::npos) << "the maps follow";
  EXPECT_GE(samples, 20u) << "500 ms of CPU time, a sample each 10 ms";
  EXPECT_GE(ours, samples / 2);
  EXPECT_TRUE(start_cpu_profile().is_ok()) << "another one can follow";
  stop_cpu_profile();
}

TEST(Symbols, OfTheProgramAndOfLibraries) {
  EXPECT_NE(symbol_of(reinterpret_cast<uint64_t>(&burn_cpu_for_the_profile)).find("burn_cpu"), std::string::npos);
  EXPECT_EQ(symbol_of(1), "");
}

}  // namespace
}  // namespace fairlead::io
