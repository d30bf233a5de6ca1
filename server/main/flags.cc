#include "server/main/flags.h"

#include <algorithm>
#include <cctype>

#include "server/main/values.h"

namespace fairlead::server {
namespace {

constexpr FlagState kNotNeeded = FlagState::kNotNeeded;

// clang-format off
const Flag kFlags[] = {
    {"Member", "name", Kind::kString, field<&Options::name>, "Human-readable name for this member.",
     "e2e/interop/flags_test.sh: name, data-dir, listen and advertise URLs"},
    {"Member", "data-dir", Kind::kString, field<&Options::data_dir>, "Path to the data directory.",
     "e2e/interop/flags_test.sh: name, data-dir, listen and advertise URLs", FlagState::kWorks, "", "${name}.etcd"},
    {"Member", "wal-dir", Kind::kString, field<&Options::wal_dir>,
     "Path to the dedicated wal directory: here, of the log's segments.", "e2e/interop/flags_test.sh: wal-dir"},
    {"Member", "snapshot-count", Kind::kUint, nullptr, "Number of committed transactions to trigger a snapshot.",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded,
     "a checkpoint starts by bytes and time, not by entries: see --fairlead-checkpoint-tail", "10000"},
    {"Member", "heartbeat-interval", Kind::kUint, field<&Options::heartbeat_interval_ms>,
     "Time (in milliseconds) of a heartbeat interval.", "e2e/interop/flags_test.sh: heartbeat-interval"},
    {"Member", "election-timeout", Kind::kUint, field<&Options::election_timeout_ms>,
     "Time (in milliseconds) for an election to timeout. See tuning documentation for details.",
     "e2e/interop/flags_test.sh: election-timeout"},
    {"Member", "initial-election-tick-advance", Kind::kBool, nullptr,
     "Whether to fast-forward initial election ticks on boot for faster election.",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded,
     "a fresh cluster elects as soon as a quorum is connected, and a restarted member waits a whole election timeout", "true"},
    {"Member", "listen-peer-urls", Kind::kString, field<&Options::listen_peer_urls>,
     "List of URLs to listen on for peer traffic.", "e2e/interop/flags_test.sh: name, data-dir, listen and advertise URLs"},
    {"Member", "listen-client-urls", Kind::kString, field<&Options::listen_client_urls>,
     "List of URLs to listen on for client grpc traffic and http as long as --listen-client-http-urls is not specified.",
     "e2e/interop/flags_test.sh: name, data-dir, listen and advertise URLs"},
    {"Member", "listen-client-http-urls", Kind::kString, field<&Options::listen_client_http_urls>,
     "List of URLs to listen on for HTTP alone; --listen-client-urls then serves gRPC alone.", "e2e/interop/tls_test.sh: pages and gRPC apart"},
    {"Member", "max-snapshots", Kind::kUint, nullptr,
     "Maximum number of snapshot files to retain (0 is unlimited). Deprecated in v3.6 and will be decommissioned in v3.8.",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded,
     "segments are kept as long as the manifest names them, and deleted when it does not", "5"},
    {"Member", "max-wals", Kind::kUint, nullptr, "Maximum number of wal files to retain (0 is unlimited).",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded,
     "log segments are reused as soon as a checkpoint has what they hold: see --fairlead-log-segment", "5"},
    {"Member", "memory-mlock", Kind::kBool, field<&Options::memory_mlock>,
     "Enable to enforce etcd pages (in particular bbolt) to stay in RAM.", "e2e/interop/flags_test.sh: memory-mlock"},
    {"Member", "backend-bbolt-freelist-type", Kind::kString, nullptr,
     "BackendFreelistType specifies the type of freelist that boltdb backend uses(array and map are supported types).",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded, "there is no bbolt file: the store is a set of record segments", "map"},
    {"Member", "backend-batch-interval", Kind::kDurationMs, nullptr,
     "BackendBatchInterval is the maximum time before commit the backend transaction.",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded, "there are no backend transactions: see --fairlead-checkpoint-tail", "0s"},
    {"Member", "backend-batch-limit", Kind::kSigned, nullptr,
     "BackendBatchLimit is the maximum operations before commit the backend transaction.",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded, "there are no backend transactions: see --fairlead-checkpoint-tail", "0"},
    {"Member", "quota-backend-bytes", Kind::kSigned, field<&Options::quota_backend_bytes>,
     "Raise alarms when backend size exceeds the given quota (0 defaults to low space quota).",
     "e2e/interop/space_test.sh: alarm commands"},
    {"Member", "max-txn-ops", Kind::kUint, field<&Options::max_txn_ops>,
     "Maximum number of operations permitted in a transaction.", "e2e/interop/flags_test.sh: max-txn-ops"},
    {"Member", "max-request-bytes", Kind::kInt, field<&Options::max_request_bytes>,
     "Maximum client request size in bytes the server will accept.", "e2e/interop/flags_test.sh: max-request-bytes"},
    {"Member", "max-concurrent-streams", Kind::kUint, field<&Options::max_concurrent_streams>,
     "Maximum concurrent streams that each client can open at a time.", "e2e/interop/flags_test.sh: max-concurrent-streams"},
    {"Member", "grpc-keepalive-min-time", Kind::kDurationMs, field<&Options::grpc_keepalive_min_time_ms>,
     "Minimum duration interval that a client should wait before pinging server.", "e2e/interop/flags_test.sh: grpc-keepalive-min-time"},
    {"Member", "grpc-keepalive-interval", Kind::kDurationMs, field<&Options::grpc_keepalive_interval_ms>,
     "Frequency duration of server-to-client ping to check if a connection is alive (0 to disable).", "e2e/interop/flags_test.sh: grpc-keepalive-interval"},
    {"Member", "grpc-keepalive-timeout", Kind::kDurationMs, field<&Options::grpc_keepalive_timeout_ms>,
     "Additional duration of wait before closing a non-responsive connection (0 to disable).", "e2e/interop/flags_test.sh: grpc-keepalive-interval, grpc-keepalive-timeout"},
    {"Member", "enable-grpc-gateway", Kind::kBool, field<&Options::enable_grpc_gateway>,
     "Enable GRPC gateway.", "e2e/interop/gateway_test.py: test_gateway_off"},
    {"Member", "raft-read-timeout", Kind::kDurationMs, nullptr, "Read timeout set on each rafthttp connection",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded, "a silent peer is noticed by its missing heartbeats: see --election-timeout", "5s"},
    {"Member", "raft-write-timeout", Kind::kDurationMs, nullptr, "Write timeout set on each rafthttp connection",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded, "a silent peer is noticed by its missing heartbeats: see --election-timeout", "5s"},
    {"Member", "socket-reuse-port", Kind::kBool, field<&Options::socket_reuse_port>,
     "Enable to set socket option SO_REUSEPORT on listeners allowing rebinding of a port already in use.",
     "e2e/interop/flags_test.sh: socket-reuse-port"},
    {"Member", "socket-reuse-address", Kind::kBool, nullptr,
     "Enable to set socket option SO_REUSEADDR on listeners allowing binding to an address in TIME_WAIT state.",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded, "listeners always have SO_REUSEADDR", "false"},
    {"Member", "feature-gates", Kind::kString, field<&Options::feature_gates>,
     "A set of key=value pairs that describe server level feature gates for alpha/experimental features; the gates are listed below.",
     "e2e/interop/lease_test.sh: checkpoints"},

    {"Clustering", "initial-advertise-peer-urls", Kind::kString, field<&Options::initial_advertise_peer_urls>,
     "List of this member's peer URLs to advertise to the rest of the cluster.", "e2e/interop/bootstrap_test.sh: static: the own URL is not the advertised one"},
    {"Clustering", "initial-cluster", Kind::kString, field<&Options::initial_cluster>,
     "Initial cluster configuration for bootstrapping.", "e2e/interop/bootstrap_test.sh: static: the own name is not there", FlagState::kWorks, "", "default=http://localhost:2380"},
    {"Clustering", "initial-cluster-state", Kind::kString, field<&Options::initial_cluster_state>,
     "Initial cluster state ('new' when bootstrapping a new cluster or 'existing' when adding new members to an existing cluster).", "e2e/interop/flags_test.sh: initial-cluster-state"},
    {"Clustering", "initial-cluster-token", Kind::kString, field<&Options::initial_cluster_token>,
     "Initial cluster token for the etcd cluster during bootstrap.", "e2e/interop/bootstrap_test.sh: three members by SRV records with a suffix"},
    {"Clustering", "advertise-client-urls", Kind::kString, field<&Options::advertise_client_urls>,
     "List of this member's client URLs to advertise to the public.", "e2e/interop/bootstrap_test.sh: three members by SRV records"},
    {"Clustering", "discovery-token", Kind::kString, field<&Options::discovery_token>,
     "V3 discovery: discovery token for the etcd cluster to be bootstrapped.", "e2e/interop/bootstrap_test.sh: three members by a token"},
    {"Clustering", "discovery-endpoints", Kind::kString, field<&Options::discovery_endpoints>,
     "V3 discovery: List of gRPC endpoints of the discovery service.", "e2e/interop/bootstrap_test.sh: three members by a token"},
    {"Clustering", "discovery-dial-timeout", Kind::kDurationMs, field<&Options::discovery_dial_timeout_ms>,
     "V3 discovery: dial timeout for client connections.", "server/discovery/discovery_test.cc: AServiceThatDoesNotAnswerIsAskedAgain"},
    {"Clustering", "discovery-request-timeout", Kind::kDurationMs, field<&Options::discovery_request_timeout_ms>,
     "V3 discovery: timeout for discovery requests (excluding dial timeout).", "server/discovery/discovery_test.cc: AServiceThatDoesNotAnswerIsAskedAgain"},
    {"Clustering", "discovery-keepalive-time", Kind::kDurationMs, field<&Options::discovery_keepalive_time_ms>,
     "V3 discovery: keepalive time for client connections.", "server/discovery/discovery_test.cc: ASilentServiceIsLeft"},
    {"Clustering", "discovery-keepalive-timeout", Kind::kDurationMs, field<&Options::discovery_keepalive_timeout_ms>,
     "V3 discovery: keepalive timeout for client connections.", "server/discovery/discovery_test.cc: ASilentServiceIsLeft"},
    {"Clustering", "discovery-insecure-transport", Kind::kBool, field<&Options::discovery_insecure_transport>,
     "V3 discovery: disable transport security for client connections.", "e2e/interop/bootstrap_test.sh: token over TLS"},
    {"Clustering", "discovery-insecure-skip-tls-verify", Kind::kBool, field<&Options::discovery_insecure_skip_tls_verify>,
     "V3 discovery: skip server certificate verification (CAUTION: this option should be enabled only for testing purposes).", "e2e/interop/bootstrap_test.sh: token over TLS, not verified"},
    {"Clustering", "discovery-cert", Kind::kString, field<&Options::discovery_cert>,
     "V3 discovery: identify secure client using this TLS certificate file.", "e2e/interop/bootstrap_test.sh: token over TLS"},
    {"Clustering", "discovery-key", Kind::kString, field<&Options::discovery_key>,
     "V3 discovery: identify secure client using this TLS key file.", "e2e/interop/bootstrap_test.sh: token over TLS"},
    {"Clustering", "discovery-cacert", Kind::kString, field<&Options::discovery_cacert>,
     "V3 discovery: verify certificates of TLS-enabled secure servers using this CA bundle.", "e2e/interop/bootstrap_test.sh: token over TLS"},
    {"Clustering", "discovery-user", Kind::kString, field<&Options::discovery_user>,
     "V3 discovery: username[:password] for authentication.", "server/discovery/discovery_test.cc: Passwords"},
    {"Clustering", "discovery-password", Kind::kString, field<&Options::discovery_password>,
     "V3 discovery: password for authentication (if this option is used, --user option shouldn't include password).", "server/discovery/discovery_test.cc: Passwords"},
    {"Clustering", "discovery-fallback", Kind::kString, field<&Options::discovery_fallback>,
     "Expected behavior ('exit') when discovery services fails. Note that v2 proxy is removed.", "server/main/options_test.cc: DiscoveryFlagsFitTogether"},
    {"Clustering", "discovery-srv", Kind::kString, field<&Options::discovery_srv>,
     "DNS srv domain used to bootstrap the cluster.", "e2e/interop/bootstrap_test.sh: three members by SRV records"},
    {"Clustering", "discovery-srv-name", Kind::kString, field<&Options::discovery_srv_name>,
     "Suffix to the dns srv name queried when bootstrapping.", "e2e/interop/bootstrap_test.sh: three members by SRV records with a suffix"},
    {"Clustering", "discovery", Kind::kString, nullptr, "Discovery URL used to bootstrap the cluster, by the v2 API.",
     "e2e/interop/flags_test.sh: names of the v2 API", FlagState::kRefused,
     "the discovery service of the v2 API is not here yet: use --discovery-token and --discovery-endpoints, --discovery-srv or --initial-cluster", ""},
    {"Clustering", "discovery-proxy", Kind::kString, nullptr, "HTTP proxy to use for traffic to the discovery service of the v2 API.",
     "e2e/interop/flags_test.sh: names of the v2 API", FlagState::kRefused,
     "it belongs to --discovery, which is not here yet: the members would not go through the proxy", ""},
    {"Clustering", "enable-v2", Kind::kBool, nullptr, "Accept etcd V2 client requests.",
     "e2e/interop/flags_test.sh: names of the v2 API", FlagState::kRefused,
     "the v2 HTTP API is not here yet, and its clients would find nobody; v3 clients need no flag", "false"},
    {"Clustering", "proxy", Kind::kString, nullptr, "Proxy mode setting ('off', 'readonly' or 'on').",
     "e2e/interop/flags_test.sh: names of the v2 API", FlagState::kRefused,
     "the v2 proxy is gone, as from etcd 3.6 on: point clients at the members", "off"},
    {"Clustering", "strict-reconfig-check", Kind::kBool, field<&Options::strict_reconfig_check>,
     "Reject reconfiguration requests that would cause quorum loss.",
     "e2e/interop/flags_test.sh: strict-reconfig-check"},
    {"Clustering", "auto-compaction-retention", Kind::kString, field<&Options::auto_compaction_retention>,
     "Auto compaction retention length. 0 means disable auto compaction.", "e2e/interop/flags_test.sh: auto-compaction"},
    {"Clustering", "auto-compaction-mode", Kind::kString, field<&Options::auto_compaction_mode>,
     "Interpret 'auto-compaction-retention' one of: periodic|revision. 'periodic' for duration based retention, defaulting to hours if no time unit is provided (e.g. '5m'). 'revision' for revision number based retention.",
     "e2e/interop/flags_test.sh: auto-compaction"},
    {"Clustering", "pre-vote", Kind::kBool, nullptr,
     "Enable the raft Pre-Vote algorithm to prevent disruption when a node that has been partitioned away rejoins the cluster.",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded, "pre-vote is always on", "true"},
    {"Clustering", "v2-deprecation", Kind::kString, nullptr, "Phase of v2store deprecation. The default value is enforced, ignoring user input.",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded, "there is no v2 store to drop", "write-only"},

    {"Security", "cert-file", Kind::kString, field<&Options::cert_file>,
     "Path to the server TLS certificate (with its chain) for clients.", "e2e/interop/tls_test.sh: mutual TLS"},
    {"Security", "key-file", Kind::kString, field<&Options::key_file>,
     "Path to the key of --cert-file.", "e2e/interop/tls_test.sh: mutual TLS"},
    {"Security", "client-cert-file", Kind::kString, field<&Options::client_cert_file>,
     "Path to a client certificate of its own; checked at start, and not needed besides: the gateway makes no connection.", "e2e/interop/tls_test.sh: contradictions"},
    {"Security", "client-key-file", Kind::kString, field<&Options::client_key_file>,
     "Path to the key of --client-cert-file.", "e2e/interop/tls_test.sh: contradictions"},
    {"Security", "client-cert-auth", Kind::kBool, field<&Options::client_cert_auth>,
     "Clients must show a certificate; its common name is their user.", "e2e/interop/tls_test.sh: mutual TLS"},
    {"Security", "client-crl-file", Kind::kString, field<&Options::client_crl_file>,
     "Path to a list of revoked client certificates.", "e2e/interop/tls_test.sh: a revoked certificate"},
    {"Security", "client-cert-allowed-hostname", Kind::kString, field<&Options::client_cert_allowed_hostname>,
     "Comma-separated list of names or addresses, one of which a client certificate must have.", "e2e/interop/tls_test.sh: allowed hostname"},
    {"Security", "trusted-ca-file", Kind::kString, field<&Options::trusted_ca_file>,
     "Path to the certificates of who may sign client certificates.", "e2e/interop/tls_test.sh: mutual TLS"},
    {"Security", "auto-tls", Kind::kBool, field<&Options::auto_tls>,
     "Client TLS with a certificate made by itself.", "e2e/interop/tls_test.sh: auto TLS"},
    {"Security", "peer-cert-file", Kind::kString, field<&Options::peer_cert_file>,
     "Path to the server TLS certificate for other members.", "e2e/interop/tls_test.sh: three members"},
    {"Security", "peer-key-file", Kind::kString, field<&Options::peer_key_file>,
     "Path to the key of --peer-cert-file.", "e2e/interop/tls_test.sh: three members"},
    {"Security", "peer-client-cert-file", Kind::kString, field<&Options::peer_client_cert_file>,
     "Path to a certificate to show to other members (default: --peer-cert-file).", "e2e/interop/tls_test.sh: three members"},
    {"Security", "peer-client-key-file", Kind::kString, field<&Options::peer_client_key_file>,
     "Path to the key of --peer-client-cert-file.", "e2e/interop/tls_test.sh: three members"},
    {"Security", "peer-client-cert-auth", Kind::kBool, field<&Options::peer_client_cert_auth>,
     "Other members must show a certificate.", "e2e/interop/tls_test.sh: three members"},
    {"Security", "peer-trusted-ca-file", Kind::kString, field<&Options::peer_trusted_ca_file>,
     "Path to the certificates of who may sign the members' certificates.", "e2e/interop/tls_test.sh: three members"},
    {"Security", "peer-crl-file", Kind::kString, field<&Options::peer_crl_file>,
     "Path to a list of revoked members' certificates.", "e2e/interop/tls_test.sh: a revoked member"},
    {"Security", "peer-cert-allowed-cn", Kind::kString, field<&Options::peer_cert_allowed_cn>,
     "Comma-separated list of common names that members' certificates may have.", "e2e/interop/tls_test.sh: a wrong common name"},
    {"Security", "peer-cert-allowed-hostname", Kind::kString, field<&Options::peer_cert_allowed_hostname>,
     "Comma-separated list of names or addresses, one of which a member's certificate must have.", "e2e/interop/tls_test.sh: a wrong hostname"},
    {"Security", "peer-auto-tls", Kind::kBool, field<&Options::peer_auto_tls>,
     "Peer TLS with a certificate made by itself.", "e2e/interop/tls_test.sh: auto TLS"},
    {"Security", "self-signed-cert-validity", Kind::kUint, field<&Options::self_signed_cert_validity>,
     "Years for which the certificates of --auto-tls and --peer-auto-tls are valid.", "e2e/interop/tls_test.sh: auto TLS"},
    {"Security", "cipher-suites", Kind::kString, field<&Options::cipher_suites>,
     "Comma-separated list of TLS cipher suites, by Go's names (default: Go's).", "e2e/interop/tls_test.sh: versions and cipher suites"},
    {"Security", "tls-min-version", Kind::kString, field<&Options::tls_min_version>,
     "Minimum TLS version: TLS1.2 or TLS1.3.", "e2e/interop/tls_test.sh: versions and cipher suites"},
    {"Security", "tls-max-version", Kind::kString, field<&Options::tls_max_version>,
     "Maximum TLS version: TLS1.2 or TLS1.3 (default: the highest).", "e2e/interop/tls_test.sh: versions and cipher suites"},

    {"Auth", "auth-token", Kind::kString, field<&Options::auth_token>,
     "Specify a v3 authentication token type and its options ('simple' or 'jwt').", "server/api/jwt_test.cc: AuthTokenOption"},
    {"Auth", "bcrypt-cost", Kind::kUint, field<&Options::bcrypt_cost>,
     "Specify the cost / strength of the bcrypt algorithm for hashing auth passwords. Valid values are between 4 and 31.", "e2e/interop/flags_test.sh: bcrypt-cost"},
    {"Auth", "auth-token-ttl", Kind::kUint, field<&Options::auth_token_ttl_seconds>,
     "Time (in seconds) of the auth-token-ttl.", "e2e/interop/flags_test.sh: auth-token-ttl"},
    {"Security", "cors", Kind::kString, field<&Options::cors>,
     "Comma-separated whitelist of origins for CORS, or cross-origin resource sharing, (empty or * means allow all).",
     "e2e/interop/gateway_test.py: test_cors_and_hosts"},
    {"Security", "host-whitelist", Kind::kString, field<&Options::host_whitelist>,
     "Acceptable hostnames from HTTP client requests, if server is not secure (empty or * means allow all).",
     "e2e/interop/gateway_test.py: test_cors_and_hosts"},

    {"Profiling and Monitoring", "enable-pprof", Kind::kBool, field<&Options::enable_pprof>,
     "Enable runtime profiling data via HTTP server. Address is at client URL + \"/debug/pprof/\"; here: profile (CPU, for go tool pprof), symbol and cmdline, the pages of Go's runtime are not there.",
     "e2e/interop/debug_test.py: pprof"},
    {"Profiling and Monitoring", "listen-metrics-urls", Kind::kString, field<&Options::listen_metrics_urls>,
     "List of URLs to listen on for the /metrics and /health endpoints. For https, the client URL TLS info is used.", "e2e/interop/flags_test.sh: listen-metrics-urls"},
    {"Profiling and Monitoring", "metrics", Kind::kString, field<&Options::metrics>,
     "Set level of detail for exported metrics, specify 'extensive' to include server side grpc histogram metrics.",
     "e2e/interop/metrics_test.py: extensive"},

    {"Logging", "logger", Kind::kString, field<&Options::logger>, "Currently only supports 'zap' for structured logging.", "e2e/interop/flags_test.sh: refusals"},
    {"Logging", "log-outputs", Kind::kString, field<&Options::log_outputs>,
     "Specify 'stdout' or 'stderr' to skip journald logging even when running under systemd, or list of comma separated output targets.", "e2e/interop/flags_test.sh: log-outputs, log-level, log-format"},
    {"Logging", "log-level", Kind::kString, field<&Options::log_level>,
     "Configures log level. Only supports debug, info, warn, error, panic, or fatal.", "e2e/interop/flags_test.sh: log-outputs, log-level, log-format"},

    {"Logging", "log-format", Kind::kString, field<&Options::log_format>,
     "Configures log format. Only supports json, console.", "e2e/interop/flags_test.sh: log-outputs, log-level, log-format"},
    {"Logging", "enable-log-rotation", Kind::kBool, field<&Options::enable_log_rotation>,
     "Enable log rotation of a single log-outputs file target.", "e2e/interop/flags_test.sh: enable-log-rotation, log-rotation-config-json"},
    {"Logging", "log-rotation-config-json", Kind::kString, field<&Options::log_rotation_config_json>,
     "Configures log rotation if enabled with a JSON logger config. MaxSize(MB), MaxAge(days,0=no limit), MaxBackups(0=no limit), LocalTime(use computers local time), Compress(gzip).",
     "e2e/interop/flags_test.sh: enable-log-rotation, log-rotation-config-json"},
    {"Logging", "warning-unary-request-duration", Kind::kDurationMs, field<&Options::warning_unary_request_duration_ms>,
     "Set time duration after which a warning is logged if a unary request takes more than this duration.",
     "e2e/interop/debug_test.py: request stats"},

    {"Distributed tracing", "enable-distributed-tracing", Kind::kBool, field<&Options::enable_distributed_tracing>,
     "Enable distributed tracing.", "e2e/interop/tracing_test.py: the same spans"},
    {"Distributed tracing", "distributed-tracing-address", Kind::kString, field<&Options::distributed_tracing_address>,
     "Distributed tracing collector address.", "e2e/interop/tracing_test.py: the same spans"},
    {"Distributed tracing", "distributed-tracing-service-name", Kind::kString, field<&Options::distributed_tracing_service_name>,
     "Distributed tracing service name, must be same across all etcd instances.", "e2e/interop/tracing_test.py: resource"},
    {"Distributed tracing", "distributed-tracing-instance-id", Kind::kString, field<&Options::distributed_tracing_instance_id>,
     "Distributed tracing instance ID, must be unique per each etcd instance.", "e2e/interop/tracing_test.py: resource"},
    {"Distributed tracing", "distributed-tracing-sampling-rate", Kind::kSigned, field<&Options::distributed_tracing_sampling_rate>,
     "Number of samples to collect per million spans for distributed tracing.", "e2e/interop/tracing_test.py: sampling"},

    {"Features", "compaction-batch-limit", Kind::kSigned, nullptr,
     "CompactionBatchLimit sets the maximum revisions deleted in each compaction batch.",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded, "a compaction is cut into slices by the time they take", "1000"},
    {"Features", "snapshot-catchup-entries", Kind::kUint, field<&Options::snapshot_catchup_entries>,
     "Number of entries for a slow follower to catch up after compacting the raft storage entries.",
     "e2e/interop/flags_test.sh: snapshot-catchup-entries"},
    {"Features", "downgrade-check-time", Kind::kDurationMs, field<&Options::downgrade_check_time_ms>,
     "Duration of time between two downgrade status checks.", "server/node/cluster_test.cc: ADowngradeIsOverWhenAllHaveArrived"},
    {"Features", "corrupt-check-time", Kind::kDurationMs, field<&Options::corrupt_check_time_ms>,
     "Duration of time between cluster corruption check passes.",
     "e2e/interop/flags_test.sh: corrupt-check-time"},
    {"Features", "compact-hash-check-time", Kind::kDurationMs, field<&Options::compact_hash_check_time_ms>,
     "Duration of time between leader checks followers compaction hashes.",
     "e2e/interop/flags_test.sh: compact-hash-check-time"},
    {"Features", "watch-progress-notify-interval", Kind::kDurationMs, field<&Options::watch_progress_notify_interval_ms>,
     "Duration of periodical watch progress notification.", "e2e/interop/flags_test.sh: watch-progress-notify-interval"},
    {"Features", "warning-apply-duration", Kind::kDurationMs, field<&Options::warning_apply_duration_ms>,
     "Warning is generated if requests take more than this duration.", "e2e/interop/flags_test.sh: warning-apply-duration"},
    {"Features", "bootstrap-defrag-threshold-megabytes", Kind::kUint, nullptr,
     "Enable the defrag during etcd server bootstrap on condition that it will free at least the provided threshold of disk space.",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded, "nothing is ever defragmented: space of dead records comes back in the background", "0"},
    {"Features", "peer-skip-client-san-verification", Kind::kBool, field<&Options::peer_skip_client_san_verification>,
     "Do not ask that a member's certificate names the address it connects from.", "e2e/interop/tls_test.sh: a wrong address"},
    {"Features", "max-learners", Kind::kSigned, field<&Options::max_learners>,
     "Sets the maximum number of learners that can be available in the cluster membership.",
     "e2e/interop/flags_test.sh: max-learners"},
    {"Features", "compaction-sleep-interval", Kind::kDurationMs, nullptr,
     "Sets the sleep interval between each compaction batch.",
     "server/main/options_test.cc: NotNeededFlagsWarnOnce", kNotNeeded, "a compaction is cut into slices by the time they take", "10ms"},

    {"Unsafe feature", "force-new-cluster", Kind::kBool, field<&Options::force_new_cluster>,
     "Force to create a new one-member cluster: of what this data directory holds; all other members are removed. "
     "For a cluster that has lost its majority for good.", "e2e/interop/flags_test.sh: force-new-cluster"},
    {"Unsafe feature", "unsafe-no-fsync", Kind::kBool, nullptr, "Disables fsync, unsafe, will cause data loss.",
     "e2e/interop/flags_test.sh: refusals", FlagState::kRefused, "what is acknowledged must be durable; put the data on a tmpfs for tests", "false"},

    {"Fairlead", "fairlead-auto-disarm-delay", Kind::kDurationMs, field<&Options::fairlead_auto_disarm_delay_ms>,
     "The NOSPACE alarm ends by itself when the store has stayed below 90 % of the quota for so long (0: by hand only).",
     "e2e/interop/space_test.sh: NOSPACE ends by itself"},
    {"Fairlead", "fairlead-free-space-floor", Kind::kBytes, field<&Options::fairlead_free_space_floor_bytes>,
     "Free space on the disk of the data directory below which this member raises the NOSPACE alarm (0: not looked at).",
     "server/node/space_test.cc: AFullDiskIsAnAlarmBeforeItIsAFailure"},
    {"Fairlead", "fairlead-lease-checkpoint-interval", Kind::kDurationMs, field<&Options::fairlead_lease_checkpoint_interval_ms>,
     "With the feature gate LeaseCheckpoint: a change of leader lengthens a lease by at most about this.",
     "e2e/interop/lease_test.sh: checkpoints"},
    {"Fairlead", "fairlead-log-io", Kind::kString, field<&Options::fairlead_log_io>,
     "How the log is written: auto, uring or pwrite.", "e2e/interop/flags_test.sh: fairlead-log-io"},
    {"Fairlead", "fairlead-memory-limit", Kind::kBytes, field<&Options::fairlead_memory_limit_bytes>,
     "Memory that the value cache is sized from, e.g. 2GiB (0: half of the memory of the control group or machine).",
     "e2e/interop/flags_test.sh: fairlead-memory-limit"},
    {"Fairlead", "fairlead-value-cache", Kind::kBytes, field<&Options::fairlead_value_cache_bytes>,
     "Memory for newest values (0: a quarter of the memory limit, at most 64MiB); older ones are read from disk.", "e2e/interop/flags_test.sh: fairlead-value-cache"},
    {"Fairlead", "fairlead-checkpoint-tail", Kind::kBytes, field<&Options::fairlead_checkpoint_tail_bytes>,
     "Bytes of unflushed records at which a checkpoint starts.", "e2e/interop/flags_test.sh: fairlead-checkpoint-tail"},
    {"Fairlead", "fairlead-gateway-legacy-errors", Kind::kBool, field<&Options::fairlead_gateway_legacy_errors>,
     "Error bodies of the JSON gateway with the additional field 'error', as etcd up to 3.5 sends them.",
     "e2e/interop/gateway_test.py: test_legacy_errors"},
    {"Fairlead", "fairlead-log-segment", Kind::kBytes, field<&Options::fairlead_log_segment_bytes>,
     "Size of a log segment.", "e2e/interop/flags_test.sh: fairlead-log-segment"},

    {"Other", "config-file", Kind::kString, field<&Options::config_file>,
     "Path to the server configuration file. Note that if a configuration file is provided, other command line flags and environment variables will be ignored.", "e2e/interop/flags_test.sh: config-file"},
    {"Other", "version", Kind::kBool, field<&Options::show_version>, "Print the version and exit.", "e2e/interop/flags_test.sh: version"},
    {"Other", "help", Kind::kBool, field<&Options::show_help>, "Print this text and exit.", "e2e/interop/flags_test.sh: help"},
    {"Other", "fairlead-help-markdown", Kind::kBool, field<&Options::show_help_markdown>, "Print docs/flags.md and exit.", "server/main/options_test.cc: ThePageInDocsIsTheTable"},
};

// etcd 3.5 called these experimental; a name with '=' is a gate of --feature-gates now.
const RenamedFlag kRenamed[] = {
    {"experimental-compact-hash-check-time", "compact-hash-check-time"},
    {"experimental-corrupt-check-time", "corrupt-check-time"},
    {"experimental-compaction-batch-limit", "compaction-batch-limit"},
    {"experimental-compaction-sleep-interval", "compaction-sleep-interval"},
    {"experimental-watch-progress-notify-interval", "watch-progress-notify-interval"},
    {"experimental-warning-apply-duration", "warning-apply-duration"},
    {"experimental-warning-unary-request-duration", "warning-unary-request-duration"},
    {"experimental-bootstrap-defrag-threshold-megabytes", "bootstrap-defrag-threshold-megabytes"},
    {"experimental-memory-mlock", "memory-mlock"},
    {"experimental-snapshot-catchup-entries", "snapshot-catchup-entries"},
    {"experimental-downgrade-check-time", "downgrade-check-time"},
    {"experimental-peer-skip-client-san-verification", "peer-skip-client-san-verification"},
    {"experimental-max-learners", "max-learners"},
    {"experimental-enable-distributed-tracing", "enable-distributed-tracing"},
    {"experimental-distributed-tracing-address", "distributed-tracing-address"},
    {"experimental-distributed-tracing-service-name", "distributed-tracing-service-name"},
    {"experimental-distributed-tracing-instance-id", "distributed-tracing-instance-id"},
    {"experimental-distributed-tracing-sampling-rate", "distributed-tracing-sampling-rate"},
    {"experimental-initial-corrupt-check", "feature-gates=InitialCorruptCheck"},
    {"experimental-compact-hash-check-enabled", "feature-gates=CompactHashCheck"},
    {"experimental-enable-lease-checkpoint", "feature-gates=LeaseCheckpoint"},
    {"experimental-enable-lease-checkpoint-persist", "feature-gates=LeaseCheckpointPersist"},
    {"experimental-txn-mode-write-with-shared-buffer", "feature-gates=TxnModeWriteWithSharedBuffer"},
    {"experimental-stop-grpc-service-on-defrag", "feature-gates=StopGRPCServiceOnDefrag"},
    {"experimental-set-member-localaddr", "feature-gates=SetMemberLocalAddr"},
};
// clang-format on

constexpr std::string_view kAncient[] = {"cluster-active-size",
                                         "cluster-remove-delay",
                                         "cluster-sync-interval",
                                         "config",
                                         "force",
                                         "max-result-buffer",
                                         "max-retry-attempts",
                                         "peer-heartbeat-interval",
                                         "peer-election-timeout",
                                         "retry-interval",
                                         "snapshot",
                                         "v",
                                         "vv"};

Status bad_value(const Flag& flag, std::string_view value, std::string_view expected) {
  return invalid_argument("invalid value \"" + std::string(value) + "\" for flag -" + flag.name + ": " +
                          std::string(expected));
}

}  // namespace

const std::vector<Flag>& all_flags() {
  static const std::vector<Flag> flags(std::begin(kFlags), std::end(kFlags));
  return flags;
}

const Flag* find_flag(std::string_view name) {
  if (name == "h") name = "help";
  for (const Flag& flag : all_flags())
    if (name == flag.name) return &flag;
  return nullptr;
}

const std::vector<RenamedFlag>& renamed_flags() {
  static const std::vector<RenamedFlag> renamed(std::begin(kRenamed), std::end(kRenamed));
  return renamed;
}

std::optional<std::string_view> renamed_flag(std::string_view old_name) {
  for (const RenamedFlag& r : kRenamed)
    if (old_name == r.old_name) return r.new_name;
  return std::nullopt;
}

bool is_ancient_flag(std::string_view name) {
  return std::find(std::begin(kAncient), std::end(kAncient), name) != std::end(kAncient);
}

std::string default_text(const Flag& flag) {
  if (!flag.field || *flag.default_text) return flag.default_text;
  Options defaults;
  void* value = flag.field(defaults);
  switch (flag.kind) {
    case Kind::kString:
      return *static_cast<std::string*>(value);
    case Kind::kBool:
      return *static_cast<bool*>(value) ? "true" : "false";
    case Kind::kInt:
    case Kind::kUint:
    case Kind::kSigned:
    case Kind::kBytes:
      return std::to_string(*static_cast<int64_t*>(value));
    case Kind::kDurationMs:
      return duration_text(*static_cast<int64_t*>(value));
  }
  return {};
}

namespace {

// What of the value's own form: kept where there is a field. The same parse decides whether it is the default.
struct Parsed {
  std::string text;
  bool truth = false;
  int64_t number = 0;
  bool operator==(const Parsed&) const = default;
};

Result<Parsed> parse(const Flag& flag, std::string_view value) {
  Parsed p;
  switch (flag.kind) {
    case Kind::kString:
      p.text = value;
      return p;
    case Kind::kBool:
      if (!parse_bool(value, p.truth)) return bad_value(flag, value, "expected true or false");
      return p;
    case Kind::kInt:
      if (!parse_integer(value, p.number) || p.number <= 0)
        return bad_value(flag, value, "expected a whole number above zero");
      return p;
    case Kind::kUint:
      if (!parse_integer(value, p.number) || p.number < 0)
        return bad_value(flag, value, "expected a whole number, zero or above");
      return p;
    case Kind::kSigned:
      if (!parse_integer(value, p.number)) return bad_value(flag, value, "expected a whole number");
      return p;
    case Kind::kDurationMs:
      if (!parse_duration_ms(value, p.number))
        return bad_value(flag, value, "expected a duration such as 300ms, 5s or 1h30m");
      return p;
    case Kind::kBytes:
      if (!parse_bytes(value, p.number)) return bad_value(flag, value, "expected bytes such as 1048576, 64MiB or 2GiB");
      return p;
  }
  return p;
}

}  // namespace

Status assign(const Flag& flag, Options& options, std::string_view value) {
  ASSIGN_OR_RETURN(Parsed parsed, parse(flag, value));
  if (flag.state != FlagState::kWorks) {
    Result<Parsed> usual = parse(flag, default_text(flag));
    bool is_default = usual.is_ok() && *usual == parsed;
    std::string name = "--" + std::string(flag.name);
    if (flag.state == FlagState::kRefused && !is_default) return invalid_argument(name + " is refused: " + flag.note);
    bool obeyed = is_default && flag.kind == Kind::kBool;
    if (flag.state == FlagState::kNotNeeded && !obeyed && !options.given.contains(flag.name))
      options.warnings.push_back(name + " has no effect here: " + flag.note);
  }
  if (!flag.field) return {};
  void* target = flag.field(options);
  if (flag.kind == Kind::kString)
    *static_cast<std::string*>(target) = parsed.text;
  else if (flag.kind == Kind::kBool)
    *static_cast<bool*>(target) = parsed.truth;
  else
    *static_cast<int64_t*>(target) = parsed.number;
  return {};
}

std::string environment_name(std::string_view flag) {
  std::string out = "ETCD_";
  for (char c : flag) out.push_back(c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
  return out;
}

}  // namespace fairlead::server
