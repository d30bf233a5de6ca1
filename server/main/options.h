// Flags, environment and config file of the server, with etcd's grammar: -x and --x, --flag value and --flag=value, a
// boolean flag takes its value only after '='. Each flag is also ETCD_<UPPER_SNAKE>; a flag on the command line wins
// over it, with a warning. A config file takes the place of all flags and variables. An unknown flag or a bad value is
// an error that names the nearest known flag or the form that was expected. flags.h has the table of all flags.
//
// Errors: kInvalidArgument is a broken command line (etcd's exit code 2), others are values that do not fit (1).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::server {

struct Options {
  // member
  std::string name = "default";
  std::string data_dir;  // empty: "<name>.etcd"
  std::string wal_dir;   // empty: in the data directory
  std::string listen_peer_urls = "http://localhost:2380";
  std::string listen_client_urls = "http://localhost:2379";
  std::string listen_client_http_urls;  // then listen_client_urls serve gRPC alone
  std::string listen_metrics_urls;
  std::string metrics = "basic";  // or "extensive": with histograms of every call
  int64_t heartbeat_interval_ms = 100;
  int64_t election_timeout_ms = 1000;
  int64_t quota_backend_bytes = 0;
  int64_t corrupt_check_time_ms = 0;
  int64_t compact_hash_check_time_ms = 60'000;
  int64_t max_txn_ops = 128;
  int64_t max_request_bytes = 1536 * 1024;
  int64_t max_concurrent_streams = UINT32_MAX;
  int64_t grpc_keepalive_min_time_ms = 5000;
  int64_t grpc_keepalive_interval_ms = 2 * 3600 * 1000;
  int64_t grpc_keepalive_timeout_ms = 20'000;
  int64_t watch_progress_notify_interval_ms = 600'000;
  int64_t warning_apply_duration_ms = 100;
  int64_t snapshot_catchup_entries = 5000;
  int64_t downgrade_check_time_ms = 5000;
  bool socket_reuse_port = false;
  bool force_new_cluster = false;
  int64_t warning_unary_request_duration_ms = 300;
  bool enable_pprof = false;
  bool enable_distributed_tracing = false;
  std::string distributed_tracing_address = "localhost:4317";
  std::string distributed_tracing_service_name = "etcd";
  std::string distributed_tracing_instance_id;
  int64_t distributed_tracing_sampling_rate = 0;  // of a million traces
  bool enable_grpc_gateway = true;
  std::string cors = "*";
  std::string host_whitelist = "*";
  // clustering
  std::string initial_advertise_peer_urls = "http://localhost:2380";
  std::string advertise_client_urls = "http://localhost:2379";
  std::string initial_cluster;  // empty: "<name>=<initial-advertise-peer-urls>"
  std::string initial_cluster_state = "new";
  std::string initial_cluster_token = "etcd-cluster";
  bool strict_reconfig_check = true;
  int64_t max_learners = 1;
  std::string discovery_token;
  std::string discovery_endpoints;
  int64_t discovery_dial_timeout_ms = 2000;
  int64_t discovery_request_timeout_ms = 5000;
  int64_t discovery_keepalive_time_ms = 2000;
  int64_t discovery_keepalive_timeout_ms = 6000;
  bool discovery_insecure_transport = true;
  bool discovery_insecure_skip_tls_verify = false;
  std::string discovery_cert, discovery_key, discovery_cacert;
  std::string discovery_user;
  std::string discovery_password;
  std::string discovery_fallback = "exit";
  std::string discovery_srv;
  std::string discovery_srv_name;
  // security
  std::string cert_file, key_file, client_cert_file, client_key_file, trusted_ca_file, client_crl_file;
  std::string client_cert_allowed_hostname;
  bool client_cert_auth = false;
  bool auto_tls = false;
  std::string peer_cert_file, peer_key_file, peer_client_cert_file, peer_client_key_file, peer_trusted_ca_file;
  std::string peer_crl_file, peer_cert_allowed_cn, peer_cert_allowed_hostname;
  bool peer_client_cert_auth = false;
  bool peer_auto_tls = false;
  bool peer_skip_client_san_verification = false;
  int64_t self_signed_cert_validity = 1;  // years
  std::string cipher_suites;
  std::string tls_min_version = "TLS1.2";
  std::string tls_max_version;
  // authentication
  std::string auth_token = "simple";
  int64_t bcrypt_cost = 10;
  int64_t auth_token_ttl_seconds = 300;
  // logging
  std::string logger = "zap";
  std::string log_level = "info";
  std::string log_outputs = "default";
  std::string log_format = "json";
  bool enable_log_rotation = false;
  std::string log_rotation_config_json =
      R"({"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false})";
  // ours
  int64_t fairlead_auto_disarm_delay_ms = 60'000;
  int64_t fairlead_lease_checkpoint_interval_ms = 300'000;
  int64_t fairlead_free_space_floor_bytes = 64 << 20;
  std::string fairlead_log_io = "auto";
  int64_t fairlead_memory_limit_bytes = 0;  // 0: half of the cgroup's limit, or of the machine
  int64_t fairlead_value_cache_bytes = 0;   // 0: a quarter of the memory limit, at most 64 MiB
  int64_t fairlead_checkpoint_tail_bytes = 32 << 20;
  int64_t fairlead_log_segment_bytes = 64 << 20;
  bool fairlead_gateway_legacy_errors = false;

  std::string feature_gates;
  std::string auto_compaction_mode = "periodic";
  std::string auto_compaction_retention = "0";
  bool memory_mlock = false;
  std::string config_file;
  bool show_version = false;
  bool show_help = false;
  bool show_help_markdown = false;
  std::vector<std::string> warnings;         // logged once at start
  std::map<std::string, std::string> given;  // flags that were set, by name, and from where: "flag" or "env"
};

using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// args without the program's name.
Result<Options> parse_options(const std::vector<std::string>& args, const Environment& environment);

// Checks what no single flag can: URL lists, intervals that do not fit together, a member missing in initial-cluster.
// Fills in the defaults that depend on others (data_dir, initial_cluster).
Status complete_options(Options& options);

// One warning for each variable ETCD_... that is no flag's; `variables` are lines "NAME=VALUE".
void warn_unknown_environment(const std::vector<std::string>& variables, Options& options);

// --log-rotation-config-json; sizes in MiB.
struct LogRotationConfig {
  int64_t size_mb_max = 100;
  int64_t age_days_max = 0;
  int64_t backups_max = 0;
  bool local_time = false;
  bool compress = false;
};
Result<LogRotationConfig> parse_log_rotation(const std::string& json);
// A comma-separated list without empty items.
std::vector<std::string> split_list(const std::string& list);

std::string help_text();       // in the shape of etcd's
std::string flags_markdown();  // docs/flags.md

// "http://a:1,https://b:2" -> the URLs, after checking scheme (http, https, unix, unixs) and port.
Result<std::vector<std::string>> split_urls(std::string_view flag, const std::string& urls);

// "a=http://x:2380,a=http://y:2380,b=..." -> name -> sorted URLs.
Result<std::map<std::string, std::vector<std::string>>> parse_initial_cluster(const std::string& text);

}  // namespace fairlead::server
