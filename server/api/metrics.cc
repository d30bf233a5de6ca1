// /metrics: etcd's names with etcd's meaning, so that its dashboards and alerts work, and our own under fairlead_.
// Numbers are plain counters of the loop, collected when the page is asked for. docs/metrics.md has what differs.
#include "base/status.h"
#include "base/text.h"
#include "server/api/api.h"
#include "server/api/metrics_page.h"

namespace fairlead::api {
namespace {

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
  page.counter("etcd_server_slow_read_indexes_total",
               "The total number of pending read indexes not in sync with leader's or timed out read index requests.",
               static_cast<double>(s.slow_read_indexes));
  page.counter("etcd_server_heartbeat_send_failures_total",
               "The total number of leader heartbeat send failures (likely overloaded from slow disk).",
               static_cast<double>(s.heartbeats_late));
  page.gauge("etcd_server_snapshot_apply_in_progress_total",
             "1 if the server is applying the incoming snapshot. 0 if none.", node.installing());
  page.gauge("etcd_server_go_version",
             "Which Go version server is running with. 1 for 'server_go_version' label with current version.", 1,
             {{"server_go_version", "none"}});
}

// Only what has happened is listed, as in etcd.
void add_operations(Page& page, const node::Stats& s) {
  auto each = [&](const char* name, const char* help, const auto& seconds, const Labels& first) {
    for (size_t op = 0; op < node::kOperationCount; ++op) {
      for (bool ok : {true, false}) {
        const auto& histogram = seconds.of(op, ok);
        if (histogram.count == 0) continue;
        Labels labels = first;
        labels.emplace_back(first.empty() ? "type" : "op", node::kOperationNames[op]);
        labels.emplace_back("success", ok ? "true" : "false");
        page.histogram(name, help, histogram, labels);
      }
    }
  };
  each("etcd_server_apply_duration_seconds", "The latency distributions of applied entries, the mean of each batch.",
       s.apply, {{"version", "v3"}});
  each("etcd_server_request_duration_seconds", "Response latency distribution in seconds for each type.", s.request,
       {});
  const char* help = "The latency distributions of looking up ranges.";
  if (s.range.count > 0) page.histogram("etcd_server_range_duration_seconds", help, s.range, {{"success", "true"}});
  if (s.range_failed.count > 0)
    page.histogram("etcd_server_range_duration_seconds", help, s.range_failed, {{"success", "false"}});
}

void add_promotions(Page& page, const node::Stats& s) {
  page.counter("etcd_server_learner_promote_successes",
               "The total number of successful learner promotions while this member is leader.",
               static_cast<double>(s.promotions));
  for (const auto& [reason, count] : s.promotions_refused)
    page.counter(
        "etcd_server_learner_promote_failures",
        "The total number of failed learner promotions (likely learner not ready) while this member is leader.",
        static_cast<double>(count), {{"Reason", reason}});
}

void add_compaction(Page& page, const node::Stats& s) {
  page.gauge("etcd_debugging_mvcc_db_compaction_last", "The unix time of the last db compaction. Resets to 0 on start.",
             static_cast<double>(s.compaction_last_unix_s));
  page.histogram("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
                 "Bucketed histogram of db compaction total duration.", s.compaction_ms);
  page.histogram("etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
                 "Bucketed histogram of index compaction pause duration.", s.compaction_slice_ms);
}

void add_leases(Page& page, const node::Stats& s) {
  page.counter("etcd_debugging_server_lease_expired_total", "The total number of expired leases.",
               static_cast<double>(s.leases_expired));
  page.counter("etcd_debugging_lease_granted_total", "The total number of granted leases.",
               static_cast<double>(s.leases_granted));
  page.counter("etcd_debugging_lease_revoked_total", "The total number of revoked leases.",
               static_cast<double>(s.leases_revoked));
  page.counter("etcd_debugging_lease_renewed_total", "The number of renewed leases seen by the leader.",
               static_cast<double>(s.leases_renewed));
  page.histogram("etcd_debugging_lease_ttl_total", "Bucketed histogram of lease TTLs.", s.lease_ttl);
}

void add_alarms(Page& page, const node::Node& node) {
  const node::Stats& s = node.stats();
  page.counter("fairlead_proposals_repeated_total", "Proposals found in the log once more, or too late, and left out.",
               static_cast<double>(s.proposals_repeated));
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
  page.gauge("etcd_debugging_mvcc_total_put_size_in_bytes", "The total size of put kv pairs seen by this member.",
             static_cast<double>(k.put_bytes_total));
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
  // Write and sync are one operation here.
  page.histogram("etcd_disk_wal_write_duration_seconds", "The latency distributions of durable log writes.",
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
  page.gauge("fairlead_cold_reads_waiting", "Reads that wait for a worker to fetch their values.",
             static_cast<double>(node.fetches_waiting()));
  page.counter("fairlead_apply_parks_total", "Entries that waited for a value from a segment.",
               static_cast<double>(s.apply_parks));
  page.counter("fairlead_snapshots_sent_total", "Snapshots sent to other members.",
               static_cast<double>(s.snapshots_sent));
  page.counter("fairlead_snapshots_installed_total", "Snapshots installed from the leader.",
               static_cast<double>(s.snapshots_installed));
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

// Answered at once, without a worker: when the disk is so slow that all of them wait for it, somebody looks at this
// page.
void Api::metrics(net::HttpReplyPtr reply) {
  net::HttpResponse r = net::HttpResponse::text(200, metrics_text());
  r.content_type = "text/plain; version=0.0.4; charset=utf-8";
  reply->send(std::move(r));
}

std::string Api::metrics_text() {
  io::Nanos began = world_.loop->now_precise();
  Page page;
  add_server(page, node_);
  add_operations(page, node_.stats());
  add_promotions(page, node_.stats());
  add_store(page, node_);
  add_alarms(page, node_);
  add_compaction(page, node_.stats());
  add_leases(page, node_.stats());
  add_disk(page, node_, world_.disk->log_mode());
  add_network_metrics(page, node_, server_);
  add_tls(page, tls_sides_);
  for (const ClientVersion& v : client_versions_)
    page.counter("etcd_server_client_requests_total", "The total number of client requests per client version.",
                 static_cast<double>(v.calls),
                 {{"type", v.unary ? "unary" : "stream"}, {"client_api_version", v.version}});
  if (client_router_) add_call_metrics(page, *client_router_, server_ && server_->options().measure_handling);
  add_health(page);
  page.histogram("etcd_mvcc_hash_duration_seconds", "The latency distribution of storage hash operation.",
                 durations_.hash);
  page.histogram("etcd_mvcc_hash_rev_duration_seconds",
                 "The latency distribution of storage hash by revision operation.", durations_.hash_rev);
  page.histogram("etcd_disk_backend_snapshot_duration_seconds", "The latency distribution of backend snapshots.",
                 durations_.snapshot);
  for (const Feature& f : features_)
    page.gauge("etcd_server_feature_enabled", "Whether or not a feature is enabled. 1 is enabled, 0 is not.", f.enabled,
               {{"name", f.name}, {"stage", f.stage}});
  page.gauge("fairlead_turn_longest_seconds", "The longest turn of the loop since the last scrape.",
             static_cast<double>(node_.take_turn_longest_ns()) / 1e9);
  page.gauge("fairlead_unix_time_seconds", "This member's clock, in Unix time, when the page was made.",
             static_cast<double>(world_.loop->wall_ms()) / 1e3);
  page.gauge("fairlead_build_info", "Which Fairlead is running.", 1, {{"version", std::string(kFairleadVersion)}});
  page.gauge("fairlead_uptime_seconds", "Seconds since this process began to serve.",
             static_cast<double>(world_.loop->now() - started_at_) / 1e9);
  add_requests(page);
  add_process_metrics(page, io::process_stats());
  page.gauge("fairlead_metrics_page_seconds", "How long the last page of metrics took the loop.",
             metrics_page_seconds_);
  metrics_page_seconds_ = static_cast<double>(world_.loop->now_precise() - began) / 1e9;
  return page.text();
}

void Api::add_requests(Page& page) const {
  page.counter("fairlead_slow_requests_total", "Calls that took longer than --warning-unary-request-duration.",
               static_cast<double>(requests_->slow_total()));
  if (watchdog_)
    page.counter("fairlead_loop_stalls_total", "Times that the loop stood for so long that probes were told.",
                 static_cast<double>(watchdog_->stalls()));
  if (!tracer_) return;
  const ExportStats& s = tracer_->exporter().stats();
  page.counter("fairlead_trace_spans_exported_total", "Spans that the trace collector took.",
               static_cast<double>(s.exported));
  const char* help = "Spans that were not sent: the queue was full, the collector failed, or too many calls at a time.";
  page.counter("fairlead_trace_spans_dropped_total", help, static_cast<double>(s.dropped_full), {{"reason", "queue"}});
  page.counter("fairlead_trace_spans_dropped_total", help, static_cast<double>(s.dropped_failed),
               {{"reason", "collector"}});
  page.counter("fairlead_trace_spans_dropped_total", help, static_cast<double>(tracer_->dropped()),
               {{"reason", "calls"}});
  page.counter("fairlead_trace_export_failures_total", "Calls to the trace collector that failed.",
               static_cast<double>(s.failures));
  page.gauge("fairlead_trace_spans_queued", "Spans that wait to be sent.",
             static_cast<double>(tracer_->exporter().queued()));
}

void Api::add_health(Page& page) const {
  page.counter("etcd_server_health_success", "The total number of successful health checks.",
               static_cast<double>(health_success_));
  page.counter("etcd_server_health_failures", "The total number of failed health checks.",
               static_cast<double>(health_failures_));
  auto labels = [](const auto& check) { return Labels{{"type", check.first}, {"name", check.second}}; };
  for (const auto& [check, count] : health_checks_)
    page.gauge("etcd_server_healthcheck", "The result of each kind of healthcheck.", count.last, labels(check));
  for (const auto& [check, count] : health_checks_) {
    const char* help = "The total number of each kind of healthcheck.";
    for (bool ok : {true, false}) {
      uint64_t n = ok ? count.succeeded : count.failed;
      Labels l = labels(check);
      l.emplace_back("status", ok ? "success" : "error");
      if (n > 0) page.counter("etcd_server_healthchecks_total", help, static_cast<double>(n), l);
    }
  }
}

}  // namespace fairlead::api
