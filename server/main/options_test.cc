#include "server/main/options.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <fstream>
#include <set>
#include <sstream>

#include "server/main/config_file.h"
#include "server/main/flags.h"
#include "server/main/gates.h"
#include "server/main/values.h"

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

Environment environment_of(std::map<std::string, std::string> variables) {
  return [variables](const std::string& name) -> std::optional<std::string> {
    auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
}

TEST(Options, EveryFlagIsAVariableToo) {
  auto o = parse_options({"--name=flag"}, environment_of({{"ETCD_DATA_DIR", "/env"}, {"ETCD_LOGGER", ""}}));
  ASSERT_TRUE(o.is_ok()) << o.status().to_string();
  EXPECT_EQ(o->name, "flag");
  EXPECT_EQ(o->data_dir, "/env");
  EXPECT_EQ(o->given.at("data-dir"), "env");
  o = parse_options({}, environment_of({{"ETCD_HEARTBEAT_INTERVAL", "soon"}}));
  EXPECT_NE(o.status().message().find("invalid value \"soon\" for ETCD_HEARTBEAT_INTERVAL"), std::string::npos);
}

TEST(Options, AFlagWinsOverItsVariable) {
  auto o = parse_options({"--name=flag"}, environment_of({{"ETCD_NAME", "env"}}));
  ASSERT_TRUE(o.is_ok()) << o.status().to_string();
  EXPECT_EQ(o->name, "flag");
  EXPECT_EQ(o->warnings,
            std::vector<std::string>{"environment variable ETCD_NAME is shadowed by its command-line flag"});
}

TEST(Options, UnknownVariablesAreWarnedOf) {
  Options o;
  warn_unknown_environment({"ETCD_NAME=x", "ETCD_FOO=1", "PATH=/", "ETCD_UNSUPPORTED_ARCH=amd64"}, o);
  EXPECT_EQ(o.warnings, std::vector<std::string>{"unrecognized environment variable ETCD_FOO=1"});
}

TEST(Options, NotNeededFlagsWarnOnce) {
  std::vector<std::string> args;
  size_t not_needed = 0;
  for (const Flag& flag : all_flags()) {
    if (flag.state != FlagState::kNotNeeded) continue;
    ++not_needed;
    std::string value = flag.kind == Kind::kBool         ? (default_text(flag) == "true" ? "false" : "true")
                        : flag.kind == Kind::kDurationMs ? "3s"
                                                         : "3";
    for (int twice = 0; twice < 2; ++twice) args.push_back("--" + std::string(flag.name) + "=" + value);
    EXPECT_NE(std::string_view(flag.note), "") << flag.name;
  }
  EXPECT_LE(not_needed, kNotNeededMax);
  auto o = parse_options(args, no_environment());
  ASSERT_TRUE(o.is_ok()) << o.status().to_string();
  EXPECT_EQ(o->warnings.size(), not_needed);
  EXPECT_TRUE(parse_options({"--pre-vote", "--pre-vote=true"}, no_environment())->warnings.empty());
  EXPECT_FALSE(parse_options({"--snapshot-count=many"}, no_environment()).is_ok());  // its form is checked all the same
}

TEST(Options, RefusedFlagsAreErrors) {
  EXPECT_TRUE(parse_options({"--unsafe-no-fsync=false"}, no_environment()).is_ok());
  EXPECT_NE(parse_options({"--unsafe-no-fsync"}, no_environment()).status().message().find("is refused: what is "),
            std::string::npos);
  for (const Flag& flag : all_flags()) {
    if (flag.state != FlagState::kRefused) continue;
    std::string name = "--" + std::string(flag.name);
    EXPECT_TRUE(parse_options({name + "=" + default_text(flag)}, no_environment()).is_ok()) << name;
    std::string other = name + (flag.kind == Kind::kBool ? "=true" : "=on");
    EXPECT_NE(parse_options({other}, no_environment()).status().message().find("is refused: " + std::string(flag.note)),
              std::string::npos)
        << other;
  }
}

TEST(Options, TheLogIsNotInTheDataDirectoryItself) {
  auto o = parse_options({"--data-dir=d", "--wal-dir=d"}, no_environment());
  ASSERT_TRUE(o.is_ok());
  EXPECT_NE(complete_options(*o).message().find("--wal-dir must not be the data directory itself"), std::string::npos);
  o = parse_options({"--data-dir=d", "--wal-dir=w"}, no_environment());
  EXPECT_TRUE(complete_options(*o).is_ok());
}

TEST(Options, LogFlags) {
  auto text = [](std::vector<std::string> args) {
    auto o = parse_options(args, no_environment());
    EXPECT_TRUE(o.is_ok()) << o.status().to_string();
    return std::string(complete_options(*o).message());
  };
  EXPECT_EQ(text({"--log-format=console", "--log-outputs=stderr,/tmp/x.log", "--log-level=panic"}), "");
  EXPECT_EQ(text({"--log-format=xml"}), "unknown log format: xml, supported values json, console");
  EXPECT_EQ(text({"--log-outputs=default,stdout"}), "multi logoutput for \"default\" is not supported yet");
  EXPECT_NE(text({"--log-outputs=systemd/journal"}).find("journal"), std::string::npos);
  EXPECT_NE(text({"--log-level=loud"}).find("unrecognized log level"), std::string::npos);
  EXPECT_NE(text({"--logger=capnslog"}).find("unknown logger option"), std::string::npos);
  EXPECT_EQ(text({"--enable-log-rotation", "--log-outputs=/tmp/x.log"}), "");
  for (const char* outputs : {"default", "stderr,/tmp/x.log", "/tmp/x.log,/tmp/y.log"})
    EXPECT_EQ(text({"--enable-log-rotation", "--log-outputs=" + std::string(outputs)}),
              "--log-outputs requires a single file path when --log-rotate-config-json is defined");
  auto r = parse_log_rotation(R"({"maxsize": 2, "maxage": 3, "maxbackups": 4, "localtime": true, "compress": true})");
  ASSERT_TRUE(r.is_ok()) << r.status().to_string();
  EXPECT_EQ(r->size_mb_max, 2);
  EXPECT_EQ(r->age_days_max, 3);
  EXPECT_EQ(r->backups_max, 4);
  EXPECT_TRUE(r->local_time && r->compress);
  EXPECT_EQ(parse_log_rotation("{}")->size_mb_max, 100);
  for (const char* bad :
       {"", "{", "[]", R"({"maxsize": "2"})", R"({"maxsize": 2.5})", R"({"size": 2})", R"({"compress": 1})"})
    EXPECT_FALSE(parse_log_rotation(bad).is_ok()) << bad;
}

TEST(Options, NamesOfEtcd35) {
  auto o =
      parse_options({"--experimental-watch-progress-notify-interval=5s", "--experimental-compaction-batch-limit", "9"},
                    no_environment());
  ASSERT_TRUE(o.is_ok()) << o.status().to_string();
  EXPECT_EQ(o->watch_progress_notify_interval_ms, 5000);
  EXPECT_EQ(o->warnings.size(), 3u);  // two old names, one flag that is not needed
  o = parse_options({}, environment_of({{"ETCD_EXPERIMENTAL_WARNING_APPLY_DURATION", "2s"}}));
  ASSERT_TRUE(o.is_ok()) << o.status().to_string();
  EXPECT_EQ(o->warning_apply_duration_ms, 2000);
  for (const RenamedFlag& r : renamed_flags()) {
    std::string_view now = r.new_name;
    EXPECT_NE(find_flag(now.substr(0, now.find('='))), nullptr) << now;
  }
}

TEST(Options, NamesAreUnique) {
  std::set<std::string_view> names;
  for (const Flag& flag : all_flags()) EXPECT_TRUE(names.insert(flag.name).second) << flag.name;
}

TEST(Options, IgnoresWhatEtcdIgnores) {
  auto o = parse_options({"--peer-heartbeat-interval", "5", "-vv=1", "--name=x"}, no_environment());
  ASSERT_TRUE(o.is_ok()) << o.status().to_string();
  EXPECT_EQ(o->name, "x");
  EXPECT_EQ(o->warnings.size(), 2u);
}

TEST(Options, SaysWhatIsWrong) {
  auto text = [](std::vector<std::string> args) {
    auto o = parse_options(args, no_environment());
    Status s = o.is_ok() ? complete_options(*o) : o.status();
    return std::string(s.message());
  };
  EXPECT_EQ(text({"--data-dri=/x"}),
            "flag provided but not defined: -data-dri; the nearest known flag is --data-dir (--help lists all)");
  EXPECT_EQ(text({"--experimental-foo"}), "flag provided but not defined: -experimental-foo (--help lists all)");
  EXPECT_EQ(text({"--experimental-max-learner"}),
            "flag provided but not defined: -experimental-max-learner; the nearest known flag is --max-learners "
            "(--help lists all)");
  EXPECT_EQ(text({"--name"}), "flag needs an argument: -name");
  EXPECT_EQ(text({"--heartbeat-interval=soon"}),
            "invalid value \"soon\" for flag -heartbeat-interval: expected a whole number, zero or above");
  EXPECT_EQ(text({"serve"}), "\"serve\" is not a valid flag; the server takes flags only (--help lists all)");
  EXPECT_NE(text({"--election-timeout=200"}).find("at least as 5 times"), std::string::npos);
  EXPECT_NE(text({"--listen-peer-urls=localhost:1"}).find("must have the form http://HOST:PORT"), std::string::npos);
  EXPECT_EQ(text({"--listen-peer-urls=https://localhost:1"}), "");
  EXPECT_NE(text({"--listen-peer-urls=ftp://localhost:1"}).find("must have scheme http, https, unix or unixs"),
            std::string::npos);
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

TEST(Options, DiscoveryFlagsFitTogether) {
  auto text = [](std::vector<std::string> args) {
    auto o = parse_options(args, no_environment());
    EXPECT_TRUE(o.is_ok()) << o.status().to_string();
    return std::string(complete_options(*o).message());
  };
  EXPECT_EQ(text({"--discovery-token=t", "--discovery-endpoints=http://x:1"}), "");
  EXPECT_EQ(text({"--discovery-srv=example.com"}), "");
  EXPECT_EQ(text({"--discovery-token=t"}), "both --discovery-token and --discovery-endpoints must be set");
  EXPECT_EQ(text({"--discovery-endpoints=http://x:1"}), "both --discovery-token and --discovery-endpoints must be set");
  EXPECT_NE(text({"--discovery-token=t", "--discovery-endpoints=a,,b"}).find("must not contain empty"),
            std::string::npos);
  EXPECT_NE(text({"--discovery-srv=x", "--initial-cluster=default=http://localhost:2380"}).find("Choose one of"),
            std::string::npos);
  EXPECT_NE(text({"--discovery-fallback=proxy"}).find("v2 proxy is deprecated"), std::string::npos);
}

TEST(Options, FeatureGates) {
  EXPECT_TRUE(gate_enabled("", "FastLeaseKeepAlive"));
  EXPECT_FALSE(gate_enabled("", "LeaseCheckpoint"));
  EXPECT_TRUE(gate_enabled("LeaseCheckpoint=false, LeaseCheckpoint=true", "LeaseCheckpoint"));
  EXPECT_TRUE(gate_enabled("AllAlpha=true,InitialCorruptCheck=false", "CompactHashCheck"));
  EXPECT_FALSE(gate_enabled("AllAlpha=true,InitialCorruptCheck=false", "InitialCorruptCheck"));
  EXPECT_FALSE(gate_enabled("AllBeta=0", "FastLeaseKeepAlive"));
  std::vector<std::string> warnings;
  EXPECT_TRUE(check_gates("TxnModeWriteWithSharedBuffer=true", warnings).is_ok());
  EXPECT_TRUE(warnings.empty());
  EXPECT_TRUE(check_gates("TxnModeWriteWithSharedBuffer=false", warnings).is_ok());
  EXPECT_EQ(warnings.size(), 1u);
  auto error = [&](std::string_view text) { return std::string(check_gates(text, warnings).message()); };
  EXPECT_NE(error("Nothing=true").find("unrecognized feature gate: Nothing"), std::string::npos);
  EXPECT_NE(error("LeaseCheckpoint").find("missing bool value for LeaseCheckpoint"), std::string::npos);
  EXPECT_NE(error("LeaseCheckpoint=maybe").find("invalid value of LeaseCheckpoint=maybe"), std::string::npos);
  EXPECT_NE(error("LeaseCheckpointPersist=true").find("requires enabling feature gate LeaseCheckpoint"),
            std::string::npos);
  auto o = parse_options({"--experimental-initial-corrupt-check", "--experimental-enable-lease-checkpoint=true"},
                         no_environment());
  ASSERT_TRUE(o.is_ok()) << o.status().to_string();
  EXPECT_EQ(o->feature_gates, "InitialCorruptCheck=true,LeaseCheckpoint=true");
}

TEST(Options, ValuesHaveGosForms) {
  int64_t n = 0;
  for (auto [text, value] : std::map<std::string, int64_t>{{"10", 10},
                                                           {"-3", -3},
                                                           {"+3", 3},
                                                           {"0x1F", 31},
                                                           {"0b11", 3},
                                                           {"0o17", 15},
                                                           {"017", 15},
                                                           {"1_000", 1000},
                                                           {"0", 0}}) {
    EXPECT_TRUE(parse_integer(text, n)) << text;
    EXPECT_EQ(n, value) << text;
  }
  for (const char* text : {"", "-", "x", "1__0", "_1", "1_", "08", "0x", "1.5", " 1", "9223372036854775808"})
    EXPECT_FALSE(parse_integer(text, n)) << text;
  for (auto [text, ms] : std::map<std::string, int64_t>{{"0", 0},
                                                        {"300ms", 300},
                                                        {"1h30m", 5400'000},
                                                        {"1.5s", 1500},
                                                        {"-2m", -120'000},
                                                        {"5000000ns", 5},
                                                        {"100us", 0}}) {
    EXPECT_TRUE(parse_duration_ms(text, n)) << text;
    EXPECT_EQ(n, ms) << text;
  }
  for (const char* text : {"", "5", "s", "1 s", "1d", "--1s", "1e3s"}) EXPECT_FALSE(parse_duration_ms(text, n)) << text;
}

TEST(ConfigFile, YamlAndJsonHaveTheKeysOfEtcd) {
  auto o = options_from_text(
      "name: m1\nheartbeat-interval: 50\nwatch-progress-notify-interval: 600000000000\n"
      "log-outputs: [stderr]\npre-vote: true\nclient-transport-security:\n  auto-tls: false\n");
  ASSERT_TRUE(o.is_ok()) << o.status().to_string();
  EXPECT_EQ(o->name, "m1");
  EXPECT_EQ(o->heartbeat_interval_ms, 50);
  EXPECT_EQ(o->watch_progress_notify_interval_ms, 600'000);
  EXPECT_EQ(o->log_outputs, "stderr");
  EXPECT_EQ(o->given.at("name"), "file");
  EXPECT_TRUE(o->warnings.empty());
  o = options_from_text(R"({"name": "m2", "election-timeout": 700, "experimental-warning-apply-duration": 1000000})");
  ASSERT_TRUE(o.is_ok()) << o.status().to_string();
  EXPECT_EQ(o->name, "m2");
  EXPECT_EQ(o->election_timeout_ms, 700);
  EXPECT_EQ(o->warning_apply_duration_ms, 1);
}

TEST(ConfigFile, AWrongKindEndsTheStart) {
  for (auto [text, why] : std::map<std::string, std::string>{
           {"name: 5", "cannot unmarshal number into field name of type string"},
           {"heartbeat-interval: \"50\"", "cannot unmarshal string into field heartbeat-interval of type uint"},
           {"watch-progress-notify-interval: 10m", "whole nanoseconds"},
           {"pre-vote: 1", "cannot unmarshal number into field pre-vote of type bool"},
           {"peer-transport-security: yes", "invalid peer-transport-security"},
           {"- a", "must hold keys and values"},
           {"{", "neither YAML nor JSON"}}) {
    auto o = options_from_text(text);
    EXPECT_NE(o.status().message().find(why), std::string::npos) << text << ": " << o.status().to_string();
  }
}

TEST(ConfigFile, UnknownKeysAreWarnedOf) {
  auto o = options_from_text("name: a\nsize: 3\nconfig-file: b\nsocket-options: {reuse-everything: true}\n");
  ASSERT_TRUE(o.is_ok()) << o.status().to_string();
  EXPECT_EQ(o->warnings.size(), 3u);
}

TEST(ConfigFile, TakesThePlaceOfFlagsAndVariables) {
  std::string path = testing::TempDir() + "fairlead-options-" + std::to_string(getpid()) + ".yaml";
  std::ofstream(path) << "name: file\n";
  for (bool by_variable : {false, true}) {
    std::map<std::string, std::string> variables = {{"ETCD_DATA_DIR", "/env"}};
    std::vector<std::string> args = {"--name=flag"};
    if (by_variable)
      variables["ETCD_CONFIG_FILE"] = path;
    else
      args.push_back("--config-file=" + path);
    auto o = parse_options(args, environment_of(variables));
    ASSERT_TRUE(o.is_ok()) << o.status().to_string();
    EXPECT_EQ(o->name, "file");
    EXPECT_EQ(o->data_dir, "");
  }
  unlink(path.c_str());
  EXPECT_FALSE(parse_options({"--config-file=" + path}, no_environment()).is_ok());
}

TEST(Options, ThePageInDocsIsTheTable) {
  std::ifstream page("docs/flags.md");
  std::stringstream text;
  text << page.rdbuf();
  EXPECT_EQ(text.str(), flags_markdown()) << "build/bin/fairlead --fairlead-help-markdown >docs/flags.md";
}

TEST(Options, HelpNamesEveryFlag) {
  for (const Flag& flag : all_flags())
    EXPECT_EQ(help_text().find("\n  --" + std::string(flag.name) + " '") == std::string::npos,
              flag.state == FlagState::kRefused)
        << flag.name;
  EXPECT_NE(help_text().find("--initial-cluster-token 'etcd-cluster'"), std::string::npos);
}

}  // namespace
}  // namespace fairlead::server
