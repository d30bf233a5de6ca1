#include "server/main/options.h"

#include <gtest/gtest.h>

namespace fairlead::server {
namespace {

Environment no_environment() {
  return [](const std::string&) { return std::nullopt; };
}

TEST(Options, TakesBothDashesAndBothForms) {
  auto o = parse_options({"-name", "a", "--data-dir=/x", "--heartbeat-interval", "50", "-election-timeout=500"},
                         no_environment());
  ASSERT_TRUE(o.is_ok()) << o.status().to_string();
  EXPECT_EQ(o->name, "a");
  EXPECT_EQ(o->data_dir, "/x");
  EXPECT_EQ(o->heartbeat_interval_ms, 50);
  EXPECT_EQ(o->election_timeout_ms, 500);
}

TEST(Options, AFlagWinsOverTheEnvironment) {
  Environment env = [](const std::string& n) -> std::optional<std::string> {
    if (n == "ETCD_NAME") return "from-env";
    if (n == "ETCD_DATA_DIR") return "/env";
    return std::nullopt;
  };
  auto o = parse_options({"--name=flag"}, env);
  ASSERT_TRUE(o.is_ok());
  EXPECT_EQ(o->name, "flag");
  EXPECT_EQ(o->data_dir, "/env");
}

TEST(Options, SaysWhatIsWrong) {
  auto text = [](std::vector<std::string> args) {
    auto o = parse_options(args, no_environment());
    Status s = o.is_ok() ? complete_options(*o) : o.status();
    return std::string(s.message());
  };
  EXPECT_EQ(text({"--data-dri=/x"}),
            "flag provided but not defined: -data-dri; the nearest known flag is --data-dir (--help lists all)");
  EXPECT_EQ(text({"--name"}), "flag needs an argument: -name");
  EXPECT_EQ(text({"--heartbeat-interval=soon"}),
            "invalid value \"soon\" for flag -heartbeat-interval: expected a whole number above zero");
  EXPECT_EQ(text({"serve"}), "'serve' is not a valid flag; the server takes flags only (--help lists all)");
  EXPECT_NE(text({"--election-timeout=200"}).find("at least as 5 times"), std::string::npos);
  EXPECT_NE(text({"--listen-peer-urls=localhost:1"}).find("must have the form http://HOST:PORT"), std::string::npos);
  EXPECT_NE(text({"--listen-peer-urls=https://localhost:1"}).find("TLS"), std::string::npos);
  EXPECT_NE(text({"--listen-client-urls=http://0.0.0.0:2379"}).find("--advertise-client-urls is required"),
            std::string::npos);
  EXPECT_NE(text({"--grpc-keepalive-min-time=5"}).find("expected a duration"), std::string::npos);
  EXPECT_NE(text({"--initial-cluster-state=old"}).find("expected new or existing"), std::string::npos);
}

TEST(Options, DurationsAndBytes) {
  auto o = parse_options(
      {"--grpc-keepalive-interval=1h30m", "--watch-progress-notify-interval=500ms", "--fairlead-memory-limit=2GiB"},
      no_environment());
  ASSERT_TRUE(o.is_ok());
  EXPECT_EQ(o->grpc_keepalive_interval_ms, 90 * 60 * 1000);
  EXPECT_EQ(o->watch_progress_notify_interval_ms, 500);
  EXPECT_EQ(o->fairlead_memory_limit_bytes, int64_t{2} << 30);
}

TEST(Options, InitialClusterGroupsUrlsByName) {
  auto c = parse_initial_cluster("a=http://h2:1,b=http://h3:1,a=http://h1:1");
  ASSERT_TRUE(c.is_ok());
  EXPECT_EQ((*c)["a"], (std::vector<std::string>{"http://h1:1", "http://h2:1"}));
  EXPECT_FALSE(parse_initial_cluster("http://h2:1").is_ok());
}

TEST(Options, HelpNamesEveryFlag) {
  EXPECT_NE(help_text().find("--initial-cluster-token 'etcd-cluster'"), std::string::npos);
}

}  // namespace
}  // namespace fairlead::server
