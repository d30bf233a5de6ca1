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
  // grpc-proxy
  std::string metrics_addr;
  std::string data_dir = "default.proxy";
  std::string name_space, leasing_prefix;
  std::string advertise_client_url = "127.0.0.1:23790";
  std::string resolver_prefix;
  int64_t resolver_ttl_seconds = 0;
  int64_t endpoints_auto_sync_interval_ms = 0;
  int64_t dial_keepalive_time_ms = 0;
  int64_t dial_keepalive_timeout_ms = 20'000;
  bool permit_without_stream = false;
  int64_t max_send_bytes = 1536 * 1024;
  int64_t max_recv_bytes = INT32_MAX;
  int64_t max_concurrent_streams = UINT32_MAX;
  int64_t grpc_keepalive_min_time_ms = 5'000;
  int64_t grpc_keepalive_interval_ms = 2 * 3600 * 1000;
  int64_t grpc_keepalive_timeout_ms = 20'000;
  std::string cert, key, cacert;  // towards the cluster
  bool insecure_skip_tls_verify = false;
  std::string cert_file, key_file, client_crl_file;  // towards clients
  std::vector<std::string> listen_cipher_suites;
  bool auto_tls = false;
  int64_t self_signed_cert_validity = 1;  // years
  std::string tls_min_version = "TLS1.2", tls_max_version;
  bool serializable_ordering = false, enable_grpc_logging = false, enable_pprof = false, debug = false;
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
