// The sub-commands `gateway start` and `grpc-proxy start`: their flags, --help, and their part of docs/flags.md.
//
// Grammar, as etcd's: two dashes; --flag value and --flag=value; a boolean takes its value only after '='; a list is
// separated by commas and may be given several times. No environment variables. Unlike etcd, a word that belongs to no
// flag is refused: it is what is left of a mistake.
// Errors: kInvalidArgument, with the flag's name; the exit code is 1, as etcd's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::server {

struct ProxyOptions {
  // both
  std::string listen_addr = "127.0.0.1:23790";
  std::vector<std::string> endpoints = {"127.0.0.1:2379"};
  std::string discovery_srv, discovery_srv_name;
  bool insecure_discovery = false;
  std::string trusted_ca_file;  // gateway: of discovered endpoints; grpc-proxy: of clients
  // gateway
  int64_t retry_delay_ms = 60'000;
};

struct SubCommandLine {
  std::string command;  // "gateway"
  std::string help;     // not empty: to be printed, and nothing else to be done
  ProxyOptions options;
};

bool is_sub_command(std::string_view word);
// args begin with the sub-command's name.
Result<SubCommandLine> parse_sub_command(const std::vector<std::string>& args);
std::string sub_command_markdown();

}  // namespace fairlead::server
