#include "server/io/real/logger.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <unistd.h>
#include <algorithm>
#include <filesystem>
#include <fstream>

#include <chrono>
#include <string>
#include <thread>

namespace fairlead::io {
namespace {

struct Pipe {
  Pipe() { EXPECT_EQ(pipe(fds), 0); }
  ~Pipe() {
    close(fds[0]);
    if (fds[1] >= 0) close(fds[1]);
  }
  std::string drain() {
    std::string out;
    char buffer[65536];
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    for (ssize_t n; (n = read(fds[0], buffer, sizeof buffer)) > 0;) out.append(buffer, static_cast<size_t>(n));
    return out;
  }
  int fds[2];
};

TEST(LogLine, HasEtcdsShapeAndIsAlwaysJson) {
  EXPECT_EQ(format_log_time(1795190647000042), "2026-11-20T16:04:07.000042Z");
  EXPECT_EQ(
      format_log_line(LogLevel::kInfo, "T", "fairlead", "ready",
                      {{"n", 3}, {"u", uint64_t{1} << 63}, {"ok", true}, {"f", 1.5}, {"who", std::string("m\"1")}}),
      R"({"level":"info","ts":"T","caller":"fairlead","msg":"ready","n":3,"u":9223372036854775808,"ok":true,"f":1.5,"who":"m\"1"})");
  EXPECT_EQ(format_log_line(LogLevel::kWarn, "T", "x", "a\nb\x01\xFF\xC3\xA4", {{"caller", "io/net"}}),
            "{\"level\":\"warn\",\"ts\":\"T\",\"caller\":\"io/net\",\"msg\":\"a\\nb\\u0001\\ufffd\xC3\xA4\"}");
}

TEST(RealLogger, WritesLinesInOrderAndHonoursTheLevel) {
  Pipe pipe;
  {
    RealLogger logger({.fd = pipe.fds[1], .level = LogLevel::kInfo, .caller = "test"});
    logger.debug("not this");
    logger.info("one");
    logger.error("two", {{"why", "because"}});
    logger.set_level(LogLevel::kDebug);
    logger.debug("three");
  }
  std::string out = pipe.drain();
  EXPECT_EQ(out.find("not this"), std::string::npos);
  size_t one = out.find("\"msg\":\"one\""), two = out.find("\"msg\":\"two\",\"why\":\"because\""),
         three = out.find("three");
  EXPECT_TRUE(one < two && two < three && three != std::string::npos) << out;
  EXPECT_EQ(out.back(), '\n');
}

TEST(RealLogger, ABlockedSinkBlocksNobodyAndDropsAreCounted) {
  Pipe pipe;  // nobody reads: 64 KiB and it is full
  RealLogger logger({.fd = pipe.fds[1], .level = LogLevel::kInfo, .caller = "test", .queue_bytes_max = 64 << 10});
  std::string text(1000, 'x');
  auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 2000; ++i) logger.info(text);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  uint64_t dropped = logger.dropped_lines();
  EXPECT_GT(dropped, 1500u);
  logger.error("this still has room");
  EXPECT_EQ(logger.dropped_lines(), dropped);
  for (int i = 0; i < 1000; ++i) logger.error(text);
  EXPECT_GT(logger.dropped_lines(), dropped) << "the reserve is bounded too";
  // The sink comes back: what was kept is written, and the loss is told.
  std::string out;
  while (!logger.flush(10 * kMillisecond)) out += pipe.drain();
  out += pipe.drain();
  EXPECT_NE(out.find("this still has room"), std::string::npos);
  EXPECT_NE(out.find("log lines dropped"), std::string::npos);
}

TEST(RealLogger, GoesAwayInTimeFromABlockedSink) {
  Pipe pipe;
  auto start = std::chrono::steady_clock::now();
  {
    RealLogger logger({.fd = pipe.fds[1], .level = LogLevel::kInfo, .caller = "test"});
    for (int i = 0; i < 300; ++i) logger.info(std::string(1000, 'x'));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(4));
}

TEST(RealLoggerDeathTest, AFailedCheckIsLogged) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        RealLogger logger({.fd = 2, .level = LogLevel::kInfo, .caller = "test"});
        logger.install_check_handler();
        CHECK(1 + 1 == 3, "sums must hold");
      },
      "\"level\":\"fatal\".*\"condition\":\"1 \\+ 1 == 3\",\"reason\":\"sums must hold\"");
}

// ---- files

struct Folder {
  std::string path = testing::TempDir() + "fairlead-logs-" + std::to_string(getpid());
  Folder() {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string read(const std::string& name) const {
    std::ifstream in(path + "/" + name);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(path)) out.push_back(entry.path().filename());
    std::sort(out.begin(), out.end());
    return out;
  }
};

LogSink open_sink(const std::vector<std::string>& outputs, const LogRotation* rotation = nullptr) {
  Result<LogSink> sink = LogSink::open(outputs, rotation);
  CHECK(sink.is_ok());
  return std::move(*sink);
}
const std::atomic<bool> kGoOn{false};

TEST(LogSink, EveryOutputGetsEveryLine) {
  Folder folder;
  std::ofstream(folder.path + "/b.log") << "before\n";
  LogSink sink = open_sink({folder.path + "/a.log", folder.path + "/b.log"});
  EXPECT_TRUE(sink.write("one\ntwo\n", kGoOn));
  EXPECT_EQ(folder.read("a.log"), "one\ntwo\n");
  EXPECT_EQ(folder.read("b.log"), "before\none\ntwo\n");
  EXPECT_FALSE(LogSink::open({folder.path + "/none/a.log"}, nullptr).is_ok());
}

TEST(LogSink, RotatesBetweenLinesAndKeepsSoMany) {
  Folder folder;
  LogRotation rotation;
  rotation.size_bytes_max = 100;
  rotation.backups_max = 3;
  LogSink sink = open_sink({folder.path + "/f.log"}, &rotation);
  std::string line(39, 'x');
  for (int i = 0; i < 40; ++i) EXPECT_TRUE(sink.write(line + "\n" + line + "\n", kGoOn));
  std::vector<std::string> names = folder.names();
  ASSERT_EQ(names.size(), 4u);
  for (const std::string& name : names) EXPECT_EQ(folder.read(name).size(), 80u) << name;
  EXPECT_EQ(names.back(), "f.log");
  EXPECT_TRUE(names[0].starts_with("f-2") && names[0].ends_with(".log")) << names[0];
}

TEST(LogSink, BackupsCanBeCompressed) {
  Folder folder;
  LogRotation rotation;
  rotation.size_bytes_max = 100;
  rotation.compress = true;
  LogSink sink = open_sink({folder.path + "/f.log"}, &rotation);
  EXPECT_TRUE(sink.write(std::string(90, 'a') + "\n", kGoOn));
  EXPECT_TRUE(sink.write(std::string(90, 'b') + "\n", kGoOn));
  std::vector<std::string> names = folder.names();
  ASSERT_EQ(names.size(), 2u);
  ASSERT_TRUE(names[0].ends_with(".log.gz")) << names[0];
  gzFile in = gzopen((folder.path + "/" + names[0]).c_str(), "rb");
  char text[200];
  EXPECT_EQ(gzread(in, text, sizeof text), 91);
  gzclose(in);
  EXPECT_EQ(std::string(text, 91), std::string(90, 'a') + "\n");
  EXPECT_EQ(folder.read("f.log"), std::string(90, 'b') + "\n");
}

TEST(RealLogger, LinesForPeople) {
  EXPECT_EQ(format_console_line(LogLevel::kWarn, "T", "fairlead", "hello", {{"a", "b\"c"}, {"n", 5}}),
            "T\twarn\tfairlead\thello\t{\"a\": \"b\\\"c\", \"n\": 5}");
  EXPECT_EQ(format_console_line(LogLevel::kInfo, "T", "fairlead", "hello", {}), "T\tinfo\tfairlead\thello");
  Pipe pipe;
  {
    RealLogger logger({.fd = pipe.fds[1], .caller = "test", .console = true});
    logger.info("hello");
  }
  EXPECT_NE(pipe.drain().find("\tinfo\ttest\thello\n"), std::string::npos);
}

TEST(LogLevels, AreParsed) {
  EXPECT_TRUE(*parse_log_level("warn") == LogLevel::kWarn);
  EXPECT_FALSE(parse_log_level("loud").is_ok());
}

}  // namespace
}  // namespace fairlead::io
