// /metrics: etcd's names with etcd's meaning, so that its dashboards and alerts work, and our own under fairlead_.
// Numbers are plain counters of the loop, collected when the page is asked for; prometheus-cpp writes the text.
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <cstdio>
#include <limits>
#include <sstream>

#include "base/status.h"
#include "server/api/api.h"
#include "server/io/real/process_stats.h"

namespace fairlead::api {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

class Page {
 public:
  void counter(const char* name, const char* help, double value, const Labels& labels = {}) {
    add(name, help, prometheus::MetricType::Counter, labels).counter.value = value;
  }
  void gauge(const char* name, const char* help, double value, const Labels& labels = {}) {
    add(name, help, prometheus::MetricType::Gauge, labels).gauge.value = value;
  }
  // counts are per bucket, not cumulative; one more than bounds.
  template <typename Bounds, typename Counts>
  void histogram(const char* name, const char* help, const Bounds& bounds, const Counts& counts, double sum) {
    prometheus::ClientMetric::Histogram h;
    size_t i = 0;
    for (double bound : bounds) {
      h.sample_count += counts[i++];
      h.bucket.push_back({h.sample_count, bound});
    }
    h.sample_count += counts[i];
    h.bucket.push_back({h.sample_count, std::numeric_limits<double>::infinity()});
    h.sample_sum = sum;
    add(name, help, prometheus::MetricType::Histogram, {}).histogram = std::move(h);
  }
  template <size_t N>
  void histogram(const char* name, const char* help, const node::Histogram<N>& h) {
    std::vector<double> bounds(N);
    double bound = h.first_bound_seconds;
    for (double& b : bounds) b = bound, bound *= 2;
    histogram(name, help, bounds, h.counts, h.sum_seconds);
  }
  std::string text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, families_);
    return out.str();
  }

 private:
  prometheus::ClientMetric& add(const char* name, const char* help, prometheus::MetricType type, const Labels& labels) {
    if (families_.empty() || families_.back().name != name) families_.push_back({name, help, type, {}});
    prometheus::ClientMetric metric;
    for (const auto& [key, value] : labels) metric.label.push_back({key, value});
    families_.back().metric.push_back(std::move(metric));
    return families_.back().metric.back();
  }
  std::vector<prometheus::MetricFamily> families_;
};

std::string hex(uint64_t v) {
  char out[17];
  snprintf(out, sizeof out, "%llx", static_cast<unsigned long long>(v));
  return out;
}

void add_server(Page& page, const node::Node& node) {
  const raft::Raft& raft = node.raft();
  const node::Stats& s = node.stats();
  page.gauge("etcd_debugging_auth_revision", "The current revision of auth store.",
             static_cast<double>(node.auth().revision()));
  page.gauge("etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.", node.has_leader());
  page.gauge("etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise.",
             raft.is_leader());
  page.gauge("etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise.",
             node.status().is_learner);
  page.counter("etcd_server_leader_changes_seen_total", "The number of leader changes seen.",
               static_cast<double>(s.leader_changes_seen));
  page.gauge("etcd_server_id", "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.", 1,
             {{"server_id", hex(node.member_id().value)}});
  page.gauge("etcd_server_version", "Which version is running. 1 for 'server_version' label with current version.", 1,
             {{"server_version", std::string(kEtcdVersion)}});
  for (node::ApiLevel level : node.versions_seen())
    page.gauge("etcd_cluster_version",
               "Which version is running. 1 for 'cluster_version' label with current cluster version",
               node.cluster_version().level() == level, {{"cluster_version", node::to_short(level)}});
  page.gauge("etcd_server_proposals_committed_total", "The total number of consensus proposals committed.",
             static_cast<double>(s.proposals_committed));
  page.gauge("etcd_server_proposals_applied_total", "The total number of consensus proposals applied.",
             static_cast<double>(s.proposals_applied));
  page.gauge("etcd_server_proposals_pending", "The current number of pending proposals to commit.",
             static_cast<double>(node.proposals_pending()));
  page.counter("etcd_server_proposals_failed_total", "The total number of failed proposals seen.",
               static_cast<double>(s.proposals_failed));
  page.counter("etcd_server_read_indexes_failed_total", "The total number of failed read indexes seen.",
               static_cast<double>(s.read_indexes_failed));
  page.counter("etcd_server_slow_apply_total",
               "The total number of slow apply requests (likely overloaded from slow disk).",
               static_cast<double>(s.slow_applies));
  page.counter("etcd_debugging_server_lease_expired_total", "The total number of expired leases.",
               static_cast<double>(s.leases_expired));
  page.histogram("etcd_server_apply_duration_seconds",
                 "The latency distributions of applied entries, the mean of each batch.", s.apply);
}

void add_alarms(Page& page, const node::Node& node) {
  const node::Stats& s = node.stats();
  page.counter("fairlead_hash_checks_total", "Comparisons of the members' data, led by this member.",
               static_cast<double>(s.hash_checks));
  page.counter("fairlead_hash_mismatches_total", "Comparisons that found a difference.",
               static_cast<double>(s.hash_mismatches));
  page.gauge("fairlead_disk_free_bytes", "Free space on the disk of the data directory, when it was last looked at.",
             static_cast<double>(s.free_bytes));
  page.gauge("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes.",
             static_cast<double>(node.status().db_quota_bytes));
  for (const node::Alarm& alarm : node.alarms().all())
    page.gauge("etcd_debugging_server_alarms",
               "Alarms for every member in cluster. 1 for 'server_id' label with current ID. 2 for 'alarm_type' label "
               "with type of this alarm",
               1, {{"alarm_type", node::alarm_name(alarm.type)}, {"server_id", hex(alarm.member.value)}});
}

void add_store(Page& page, const node::Node& node) {
  mvcc::KeyspaceStats k = node.keyspace().stats();
  mvcc::WatchStats w = node.watch_hub().stats();
  node::NodeStatus status = node.status();
  page.gauge("etcd_debugging_mvcc_keys_total", "Total number of keys.", static_cast<double>(k.keys));
  page.gauge("etcd_debugging_mvcc_current_revision", "The current revision of store.",
             static_cast<double>(node.keyspace().revision()));
  page.gauge("etcd_debugging_mvcc_compact_revision", "The revision of the last compaction in store.",
             static_cast<double>(node.keyspace().compact_revision()));
  page.counter("etcd_debugging_mvcc_db_compaction_keys_total", "Total number of db keys compacted.",
               static_cast<double>(k.compact_keys_dropped_total));
  page.counter("etcd_debugging_mvcc_events_total", "Total number of events sent by this member.",
               static_cast<double>(w.events_total));
  page.gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers.", static_cast<double>(w.watchers));
  page.gauge("etcd_debugging_mvcc_slow_watcher_total", "Total number of unsynced slow watchers.",
             static_cast<double>(w.cursors));
  page.gauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams.",
             static_cast<double>(w.streams));
  page.gauge("etcd_debugging_mvcc_pending_events_total", "Total number of pending events to be sent.",
             static_cast<double>(w.pending_events));
  page.counter("etcd_mvcc_put_total", "Total number of puts seen by this member.", static_cast<double>(k.puts_total));
  page.counter("etcd_mvcc_delete_total", "Total number of deletes seen by this member.",
               static_cast<double>(k.deletes_total));
  page.counter("etcd_mvcc_range_total", "Total number of ranges seen by this member.",
               static_cast<double>(k.ranges_total));
  page.counter("etcd_mvcc_txn_total", "Total number of txns seen by this member.", static_cast<double>(k.txns_total));
  page.gauge("etcd_mvcc_db_total_size_in_bytes", "Total size of the underlying database physically allocated in bytes.",
             static_cast<double>(status.db_size_bytes));
  page.gauge("etcd_mvcc_db_total_size_in_use_in_bytes",
             "Total size of the underlying database logically in use in bytes.",
             static_cast<double>(status.db_size_in_use_bytes));
  page.gauge("fairlead_keyspace_index_bytes", "Memory of the index, keys included.",
             static_cast<double>(k.bytes_index + k.bytes_keys));
  page.gauge("fairlead_keyspace_tail_bytes", "Applied records that no checkpoint has made durable yet.",
             static_cast<double>(k.bytes_tail));
  page.gauge("fairlead_keyspace_cache_bytes", "Records in memory, the tail included.",
             static_cast<double>(k.bytes_cached));
  page.gauge("fairlead_keyspace_revisions", "Revisions in the index, tombstones included.",
             static_cast<double>(k.revisions));
  page.gauge("fairlead_leases", "Leases that exist.", static_cast<double>(k.leases));
}

void add_disk(Page& page, const node::Node& node, std::string_view log_mode) {
  const storage::LogStats& log = node.log().stats();
  storage::StoreStats store = node.store().stats();
  const node::Stats& s = node.stats();
  page.histogram("etcd_disk_wal_fsync_duration_seconds", "The latency distributions of durable log writes.",
                 storage::kSyncBucketsSeconds, log.sync_buckets, log.sync_seconds_sum);
  page.gauge("etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL.",
             static_cast<double>(log.bytes));
  page.histogram("etcd_disk_backend_commit_duration_seconds",
                 "The latency distributions of checkpoints, which take the place of etcd's backend commits.",
                 s.checkpoint);
  page.gauge("fairlead_log_mode", "How the log is written.", 1, {{"mode", std::string(log_mode)}});
  page.counter("fairlead_log_syncs_total", "Batches made durable.", static_cast<double>(log.syncs));
  page.counter("fairlead_log_entries_total", "Entries written.", static_cast<double>(log.entries));
  page.gauge("fairlead_log_segments", "Log segments in use.", static_cast<double>(log.segments));
  page.counter("fairlead_log_torn_tails_cut_total", "Torn tails cut at this start.",
               static_cast<double>(log.torn_tails_cut));
  page.gauge("fairlead_segments", "Record segments in use.", static_cast<double>(store.segments));
  page.gauge("fairlead_segments_dead_bytes", "Bytes of dead records in segments, estimated.",
             static_cast<double>(store.dead_bytes));
  const storage::CleanerStats& clean = node.cleaner();
  page.gauge("etcd_disk_defrag_inflight", "Whether or not a round of the cleaner that Defragment began is under way.",
             clean.round_running);
  page.histogram("etcd_disk_backend_defrag_duration_seconds",
                 "How long the rounds of the cleaner took that Defragment began.", s.defragment);
  page.gauge("fairlead_cleaner_running", "Whether a run of segments is being rewritten.", clean.running);
  page.counter("fairlead_cleaner_runs_total", "Runs of segments rewritten.", static_cast<double>(clean.runs));
  page.counter("fairlead_cleaner_runs_failed_total", "Runs given up: a failed write, damage, or segments that went.",
               static_cast<double>(clean.runs_failed));
  page.counter("fairlead_cleaner_segments_in_total", "Segments that were rewritten or dropped.",
               static_cast<double>(clean.segments_in));
  page.counter("fairlead_cleaner_segments_out_total", "Segments that took their place.",
               static_cast<double>(clean.segments_out));
  page.counter("fairlead_cleaner_read_bytes_total", "Bytes read by the cleaner.",
               static_cast<double>(clean.bytes_read));
  page.counter("fairlead_cleaner_written_bytes_total", "Bytes written by the cleaner.",
               static_cast<double>(clean.bytes_written));
  page.counter("fairlead_cleaner_freed_bytes_total", "Bytes of files given back to the file system.",
               static_cast<double>(clean.bytes_freed));
  page.counter("fairlead_cleaner_records_dropped_total", "Dead records left out.",
               static_cast<double>(clean.records_dropped));
  page.counter("fairlead_cleaner_pauses_total", "Pieces put off because the log was slow.",
               static_cast<double>(clean.pauses));
  page.counter("fairlead_checkpoints_total", "Checkpoints written.", static_cast<double>(s.checkpoints));
  page.counter("fairlead_cold_reads_total", "Values read from segments.", static_cast<double>(s.cold_reads));
  page.counter("fairlead_apply_parks_total", "Entries that waited for a value from a segment.",
               static_cast<double>(s.apply_parks));
  page.counter("fairlead_snapshots_sent_total", "Snapshots sent to other members.",
               static_cast<double>(s.snapshots_sent));
  page.counter("fairlead_snapshots_installed_total", "Snapshots installed from the leader.",
               static_cast<double>(s.snapshots_installed));
}

void add_network(Page& page, const node::Node& node, const net::Server* server) {
  auto peers = node.transport().stats();
  std::string self = hex(node.member_id().value);
  page.gauge("etcd_network_known_peers", "The current number of known peers.", static_cast<double>(peers.size()),
             {{"Local", self}});
  for (const auto& [id, p] : peers)
    page.gauge("etcd_network_active_peers", "The current number of active peer connections.", p.connected,
               {{"Local", self}, {"Remote", hex(id.value)}});
  for (const auto& [id, p] : peers)
    page.counter("etcd_network_peer_sent_bytes_total", "The total number of bytes sent to peers.",
                 static_cast<double>(p.sent_bytes), {{"To", hex(id.value)}});
  for (const auto& [id, p] : peers)
    page.counter("etcd_network_peer_received_bytes_total", "The total number of bytes received from peers.",
                 static_cast<double>(p.received_bytes), {{"From", hex(id.value)}});
  for (const auto& [id, p] : peers)
    page.counter("etcd_network_peer_sent_failures_total", "The total number of send failures from peers.",
                 static_cast<double>(p.send_failures), {{"To", hex(id.value)}});
  for (const auto& [id, p] : peers)
    page.gauge("fairlead_peer_round_trip_seconds", "The last measured round trip to a peer.", p.round_trip_seconds,
               {{"To", hex(id.value)}});
  if (!server) return;
  const net::ServerStats& s = server->stats();
  page.counter("etcd_network_client_grpc_received_bytes_total", "The total number of bytes received from clients.",
               static_cast<double>(s.received_bytes));
  page.counter("etcd_network_client_grpc_sent_bytes_total", "The total number of bytes sent to clients.",
               static_cast<double>(s.sent_bytes));
  page.gauge("fairlead_connections", "Open client connections.", static_cast<double>(s.connections_open));
  page.counter("fairlead_connections_dropped_total", "Client connections closed for a broken limit or a bad frame.",
               static_cast<double>(s.connections_dropped));
  page.gauge("fairlead_send_queue_bytes", "Answers not yet handed to a socket.", static_cast<double>(s.queued_bytes));
}

const char* kind_name(net::MethodKind kind) {
  switch (kind) {
    case net::MethodKind::kUnary:
      return "unary";
    case net::MethodKind::kClientStream:
      return "client_stream";
    case net::MethodKind::kServerStream:
      return "server_stream";
    case net::MethodKind::kBidi:
      return "bidi_stream";
  }
  return "";
}

// grpc-go's spelling of the codes, as its metrics have it.
std::string go_code(size_t code) {
  static constexpr const char* kNames[] = {
      "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
      "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
      "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
      "DataLoss", "Unauthenticated"};
  return kNames[code];
}

void add_grpc(Page& page, const net::Router* router) {
  if (!router) return;
  auto labels = [](const net::Router::Route& r) {
    return Labels{{"grpc_method", r.method}, {"grpc_service", r.service}, {"grpc_type", kind_name(r.kind)}};
  };
  for (const auto& r : router->routes())
    page.counter("grpc_server_started_total", "Total number of RPCs started on the server.",
                 static_cast<double>(r->stats.started), labels(*r));
  for (const auto& r : router->routes()) {
    for (size_t code = 0; code < r->stats.handled.size(); ++code) {
      if (code != 0 && r->stats.handled[code] == 0) continue;
      Labels l = labels(*r);
      l.insert(l.begin(), {"grpc_code", go_code(code)});
      page.counter("grpc_server_handled_total",
                   "Total number of RPCs completed on the server, regardless of success or failure.",
                   static_cast<double>(r->stats.handled[code]), l);
    }
  }
  for (const auto& r : router->routes())
    page.counter("grpc_server_msg_received_total", "Total number of RPC stream messages received on the server.",
                 static_cast<double>(r->stats.messages_received), labels(*r));
  for (const auto& r : router->routes())
    page.counter("grpc_server_msg_sent_total", "Total number of gRPC stream messages sent by the server.",
                 static_cast<double>(r->stats.messages_sent), labels(*r));
}

void add_process(Page& page, const io::ProcessStats& p) {
  page.counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", p.cpu_seconds);
  page.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", static_cast<double>(p.resident_bytes));
  page.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", static_cast<double>(p.virtual_bytes));
  page.gauge("process_max_fds", "Maximum number of open file descriptors.", static_cast<double>(p.files_max));
}

}  // namespace

namespace {

void add_tls(Page& page, const std::vector<Api::TlsSide>& all) {
  std::vector<Api::TlsSide> sides;
  for (const Api::TlsSide& side : all)
    if (side.context) sides.push_back(side);
  for (const Api::TlsSide& side : sides) {
    const net::TlsStats& s = side.server->tls_stats();
    for (auto [result, count] :
         {std::pair{"ok", s.ok}, std::pair{"failed", s.failed}, std::pair{"timeout", s.timed_out},
          std::pair{"pushed_out", s.pushed_out}, std::pair{"not_tls", s.not_tls}})
      page.counter("fairlead_tls_handshakes_total", "TLS handshakes of accepted connections, by how they ended.",
                   static_cast<double>(count), {{"side", side.name}, {"result", result}});
  }
  for (const Api::TlsSide& side : sides)
    page.counter("fairlead_tls_resumed_total", "TLS handshakes that resumed a session.",
                 static_cast<double>(side.server->tls_stats().resumed), {{"side", side.name}});
  for (const Api::TlsSide& side : sides)
    page.counter("fairlead_tls_handshake_seconds_total", "Seconds of the TLS handshakes that ended well.",
                 side.server->tls_stats().seconds, {{"side", side.name}});
  for (const Api::TlsSide& side : sides)
    page.gauge("fairlead_tls_handshakes_open", "TLS handshakes that have not ended.",
               static_cast<double>(side.server->tls_stats().open), {{"side", side.name}});
  for (const Api::TlsSide& side : sides)
    page.counter("fairlead_tls_reloads_total", "Times that changed TLS files were taken.",
                 static_cast<double>(side.context->reloads()), {{"side", side.name}});
  for (const Api::TlsSide& side : sides)
    page.counter("fairlead_tls_reload_failures_total", "Times that changed TLS files could not be used.",
                 static_cast<double>(side.context->reload_failures()), {{"side", side.name}});
  for (const Api::TlsSide& side : sides)
    page.gauge("fairlead_tls_certificate_not_after_seconds", "When this member's certificate ends, in Unix time.",
               static_cast<double>(side.context->not_after_seconds()), {{"side", side.name}});
}

}  // namespace

std::string Api::metrics_text() {
  Page page;
  add_server(page, node_);
  add_store(page, node_);
  add_alarms(page, node_);
  add_disk(page, node_, world_.disk->log_mode());
  add_network(page, node_, server_);
  add_tls(page, tls_sides_);
  add_grpc(page, client_router_);
  for (const ClientVersion& v : client_versions_)
    page.counter("etcd_server_client_requests_total", "The total number of client requests per client version.",
                 static_cast<double>(v.calls),
                 {{"type", v.unary ? "unary" : "stream"}, {"client_api_version", v.version}});
  page.counter("etcd_server_health_success", "The total number of successful health checks.",
               static_cast<double>(health_success_));
  page.counter("etcd_server_health_failures", "The total number of failed health checks.",
               static_cast<double>(health_failures_));
  page.gauge("fairlead_turn_longest_seconds", "The longest turn of the loop since the last scrape.",
             static_cast<double>(node_.take_turn_longest_ns()) / 1e9);
  page.gauge("fairlead_uptime_seconds", "Seconds since this process began to serve.",
             static_cast<double>(world_.loop->now() - started_at_) / 1e9);
  add_process(page, io::process_stats());
  return page.text();
}

}  // namespace fairlead::api
