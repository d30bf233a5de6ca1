#include "ctl/command.h"

#include <gtest/gtest.h>

namespace fairlead::ctl {
namespace {

struct Seen {
  std::vector<std::string> args;
  bool prefix = false;
  int64_t limit = 0;
  std::string format;
  std::vector<std::string> endpoints;
  size_t behind = 0;
};

int run(const std::vector<std::string>& line, Seen& seen) {
  Command root("etcdctl", "");
  root.global(Kind::kString, "write-out", "simple", "", 'w').global(Kind::kList, "endpoints", "a:1", "");
  root.add("get <key>", "",
           [&](Context& c) {
             seen = {c.args(),
                     c.on("prefix"),
                     c.number("limit"),
                     c.text("write-out"),
                     c.list("endpoints"),
                     c.behind_separator()};
           })
      .flag(Kind::kBool, "prefix", "false", "")
      .flag(Kind::kInt, "limit", "0", "");
  Command& lease = root.add("lease <subcommand>", "");
  lease.add("grant <ttl>", "", [&](Context& c) { seen.args = c.args(); });
  return root.execute(line);
}

TEST(Command, TakesFlagsAnywhereAndInEveryForm) {
  Seen seen;
  EXPECT_EQ(run({"-w", "json", "get", "--prefix", "k", "--limit=5", "e", "--endpoints", "x:1,y:2"}, seen), 0);
  EXPECT_EQ(seen.args, (std::vector<std::string>{"k", "e"}));
  EXPECT_TRUE(seen.prefix);
  EXPECT_EQ(seen.limit, 5);
  EXPECT_EQ(seen.format, "json");
  EXPECT_EQ(seen.endpoints, (std::vector<std::string>{"x:1", "y:2"}));
  EXPECT_EQ(run({"get", "-wfields", "--prefix=false", "--", "--limit"}, seen), 0);
  EXPECT_EQ(seen.args, std::vector<std::string>{"--limit"});
  EXPECT_EQ(seen.behind, 0u);
  EXPECT_FALSE(seen.prefix);
  EXPECT_EQ(seen.format, "fields");
}

TEST(Command, FindsVerbsByPrefixAndGroups) {
  Seen seen;
  EXPECT_EQ(run({"ge", "k"}, seen), 0);
  EXPECT_EQ(seen.args, std::vector<std::string>{"k"});
  EXPECT_EQ(run({"lease", "--endpoints=b:2", "grant", "10"}, seen), 0);
  EXPECT_EQ(seen.args, std::vector<std::string>{"10"});
  EXPECT_EQ(run({"lease"}, seen), 0) << "a group alone shows its help";
}

TEST(Command, TakesAVerbsFlagsBeforeTheVerb) {
  Seen seen;
  EXPECT_EQ(run({"--limit", "7", "get", "k"}, seen), 0);
  EXPECT_EQ(seen.args, std::vector<std::string>{"k"});
  EXPECT_EQ(seen.limit, 7);
  EXPECT_EQ(run({"--limit", "le", "get", "k"}, seen), 1) << "and no verb is found in its value";
  EXPECT_EQ(run({"--prefix=true", "get", "k"}, seen), 0);
  EXPECT_TRUE(seen.prefix);
  testing::internal::CaptureStdout();
  EXPECT_EQ(run({"--help", "get"}, seen), 0);
  EXPECT_NE(testing::internal::GetCapturedStdout().find("get <key>"), std::string::npos) << "help has no value";
}

TEST(Command, SaysWhatIsWrong) {
  Seen seen;
  testing::internal::CaptureStderr();
  EXPECT_EQ(run({"nosuch"}, seen), 1);
  EXPECT_EQ(run({"get", "--nosuch"}, seen), 1);
  EXPECT_EQ(run({"get", "--limit", "x"}, seen), 1);
  EXPECT_EQ(run({"get", "--limit", "99999999999999999999"}, seen), 1);
  EXPECT_EQ(run({"get", "--limit"}, seen), 1);
  EXPECT_EQ(run({"get", "-z"}, seen), 1);
  std::string text = testing::internal::GetCapturedStderr();
  for (const char* part :
       {"unknown command \"nosuch\" for \"etcdctl\"", "unknown flag: --nosuch",
        "invalid argument \"x\" for \"--limit\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
        "strconv.ParseInt: parsing \"99999999999999999999\": value out of range", "flag needs an argument: --limit",
        "unknown shorthand flag: 'z' in -z"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
}

TEST(Duration, AsGoParsesIt) {
  int64_t n = 0;
  EXPECT_TRUE(parse_duration("1m0.5s", n));
  EXPECT_EQ(n, 60'500'000'000);
  EXPECT_TRUE(parse_duration("-3ms", n));
  EXPECT_EQ(n, -3'000'000);
  for (const char* bad : {"", "5", "s", "1x", "1s2", "1e3s", "300000000h"}) EXPECT_FALSE(parse_duration(bad, n)) << bad;
}

}  // namespace
}  // namespace fairlead::ctl
