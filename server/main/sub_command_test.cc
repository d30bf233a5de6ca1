#include "server/main/sub_command.h"

#include <gtest/gtest.h>

namespace fairlead::server {
namespace {

std::string error_of(const std::vector<std::string>& args) {
  Result<SubCommandLine> line = parse_sub_command(args);
  return line.is_ok() ? "" : std::string(line.status().message());
}

TEST(SubCommand, GatewayTakesItsFlags) {
  Result<SubCommandLine> line =
      parse_sub_command({"gateway", "start", "--endpoints", "a:1,b:2", "--endpoints=c:3", "--listen-addr=0.0.0.0:1",
                         "--retry-delay", "1m30s", "--discovery-srv", "example.com", "--discovery-srv-name=blue",
                         "--insecure-discovery", "--trusted-ca-file=ca.crt"});
  ASSERT_TRUE(line.is_ok()) << line.status().to_string();
  const ProxyOptions& o = line->options;
  EXPECT_EQ(o.endpoints, (std::vector<std::string>{"a:1", "b:2", "c:3"}));
  EXPECT_EQ(o.listen_addr, "0.0.0.0:1");
  EXPECT_EQ(o.retry_delay_ms, 90'000);
  EXPECT_EQ(o.discovery_srv, "example.com");
  EXPECT_EQ(o.discovery_srv_name, "blue");
  EXPECT_TRUE(o.insecure_discovery);
  EXPECT_EQ(o.trusted_ca_file, "ca.crt");
}

TEST(SubCommand, Mistakes) {
  EXPECT_EQ(error_of({"gateway", "start", "--endpoint", "a"}), "unknown flag: --endpoint");
  EXPECT_EQ(error_of({"gateway", "start", "--endpoints"}), "flag needs an argument: --endpoints");
  EXPECT_EQ(error_of({"gateway", "start", "a:1"}), "unexpected argument \"a:1\"");
  EXPECT_EQ(error_of({"gateway", "start", "-endpoints=a"}), "unexpected argument \"-endpoints=a\"");
  EXPECT_EQ(error_of({"gateway", "start", "--insecure-discovery", "false"}), "unexpected argument \"false\"");
  EXPECT_NE(error_of({"gateway", "start", "--retry-delay=1"}).find("invalid argument \"1\" for \"--retry-delay\""),
            std::string::npos);
  EXPECT_NE(error_of({"gateway", "start", "--retry-delay=-1s"}).find("not below zero"), std::string::npos);
  EXPECT_NE(error_of({"gateway", "start", "--insecure-discovery=maybe"}).find("true or false"), std::string::npos);
  EXPECT_NE(error_of({"gateway", "stop"}).find("unknown command \"stop\""), std::string::npos);
}

TEST(SubCommand, GrpcProxyTakesItsFlags) {
  Result<SubCommandLine> line = parse_sub_command({"grpc-proxy", "start", "--namespace=n/", "--resolver-ttl=5",
                                                   "--max-recv-bytes", "7", "--auto-tls", "--listen-cipher-suites=A,B",
                                                   "--enable-pprof=false", "--experimental-leasing-prefix="});
  ASSERT_TRUE(line.is_ok()) << line.status().to_string();
  EXPECT_EQ(line->options.name_space, "n/");
  EXPECT_EQ(line->options.resolver_ttl_seconds, 5);
  EXPECT_EQ(line->options.max_recv_bytes, 7);
  EXPECT_TRUE(line->options.auto_tls);
  EXPECT_EQ(line->options.listen_cipher_suites, (std::vector<std::string>{"A", "B"}));
  EXPECT_EQ(error_of({"grpc-proxy", "start", "--retry-delay=1s"}), "unknown flag: --retry-delay");
  EXPECT_NE(error_of({"grpc-proxy", "start", "--resolver-ttl=-1"}).find("zero or above"), std::string::npos);
}

TEST(SubCommand, WhatIsNotHereIsRefusedByName) {
  EXPECT_EQ(error_of({"grpc-proxy", "start", "--enable-pprof"}),
            "--enable-pprof: the proxy has no profiling pages yet");
  EXPECT_EQ(error_of({"grpc-proxy", "start", "--experimental-leasing-prefix=x"}),
            "--experimental-leasing-prefix: leasing is not here yet");
}

TEST(SubCommand, Help) {
  Result<SubCommandLine> group = parse_sub_command({"gateway"});
  ASSERT_TRUE(group.is_ok());
  EXPECT_NE(group->help.find("Available Commands:\n  start"), std::string::npos);
  Result<SubCommandLine> start = parse_sub_command({"gateway", "start", "--listen-addr=x", "--help"});
  ASSERT_TRUE(start.is_ok());
  EXPECT_NE(start->help.find("      --endpoints strings "), std::string::npos) << start->help;
  EXPECT_NE(start->help.find("(default [127.0.0.1:2379])"), std::string::npos);
  EXPECT_NE(start->help.find("(default 1m0s)"), std::string::npos);
  EXPECT_NE(start->help.find("  -h, --help "), std::string::npos);
}

}  // namespace
}  // namespace fairlead::server
