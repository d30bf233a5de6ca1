// /metrics, the half that looks outward: other members, clients and their calls, the process.
#include "base/text.h"
#include "server/api/metrics_page.h"
#include "server/net/server.h"
#include "server/node/node.h"

namespace fairlead::api {
namespace {

double number(uint64_t n) { return static_cast<double>(n); }

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

// One family of all peers at a time: that is the form of the page.
void add_peers(Page& page, const std::string& self, const std::map<MemberId, peer::PeerStats>& peers) {
  auto pair = [&](MemberId id) { return Labels{{"Local", self}, {"Remote", hex(id.value)}}; };
  page.gauge("etcd_network_known_peers", "The current number of known peers.", 1, {{"Local", self}, {"Remote", self}});
  for (const auto& [id, p] : peers)
    page.gauge("etcd_network_known_peers", "The current number of known peers.", 1, pair(id));
  for (const auto& [id, p] : peers)
    page.gauge("etcd_network_active_peers", "The current number of active peer connections.", p.connected, pair(id));
  for (const auto& [id, p] : peers)
    page.counter("etcd_network_disconnected_peers_total", "The total number of disconnected peers.",
                 number(p.disconnects), pair(id));
  for (const auto& [id, p] : peers)
    page.counter("etcd_network_peer_sent_bytes_total", "The total number of bytes sent to peers.", number(p.sent_bytes),
                 {{"To", hex(id.value)}});
  for (const auto& [id, p] : peers)
    page.counter("etcd_network_peer_received_bytes_total", "The total number of bytes received from peers.",
                 number(p.received_bytes), {{"From", hex(id.value)}});
  for (const auto& [id, p] : peers)
    page.counter("etcd_network_peer_sent_failures_total", "The total number of send failures from peers.",
                 number(p.send_failures), {{"To", hex(id.value)}});
  for (const auto& [id, p] : peers)
    page.counter("etcd_network_peer_received_failures_total", "The total number of receive failures from peers.",
                 number(p.receive_failures), {{"From", hex(id.value)}});
  for (const auto& [id, p] : peers)
    page.histogram("etcd_network_peer_round_trip_time_seconds", "Round-Trip-Time histogram between peers.",
                   p.round_trip_seconds, {{"To", hex(id.value)}});
}

void add_snapshots(Page& page, const std::string& way, const char* label,
                   const std::map<MemberId, node::SnapshotStats>& snapshots) {
  std::string name = "etcd_network_snapshot_" + way;
  auto labels = [&](MemberId id) { return Labels{{label, hex(id.value)}}; };
  for (const auto& [id, s] : snapshots)
    page.counter(name + "_success", "Total number of successful snapshots.", number(s.succeeded), labels(id));
  for (const auto& [id, s] : snapshots)
    page.counter(name + "_failures", "Total number of failed snapshots.", number(s.failed), labels(id));
  for (const auto& [id, s] : snapshots)
    page.gauge(name + "_inflights_total", "Number of snapshots on their way.", number(s.in_flight), labels(id));
  for (const auto& [id, s] : snapshots)
    page.histogram(name + "_total_duration_seconds", "Total latency distributions of snapshots.", s.seconds,
                   labels(id));
}

void add_clients(Page& page, const net::ServerStats& s) {
  page.counter("etcd_network_client_grpc_received_bytes_total", "The total number of bytes received from clients.",
               number(s.received_bytes));
  page.counter("etcd_network_client_grpc_sent_bytes_total", "The total number of bytes sent to clients.",
               number(s.sent_bytes));
  page.gauge("fairlead_connections", "Open client connections.", number(s.connections_open));
  page.gauge("fairlead_websockets", "Open WebSockets of the gateway.", number(s.websockets_open));
  page.counter("fairlead_connections_dropped_total", "Client connections closed for a broken limit or a bad frame.",
               number(s.connections_dropped));
  page.gauge("fairlead_send_queue_bytes", "Answers not yet handed to a socket.", number(s.queued_bytes));
}

}  // namespace

void add_network_metrics(Page& page, const node::Node& node, const net::Server* server) {
  add_peers(page, hex(node.member_id().value), node.transport().stats());
  add_snapshots(page, "send", "To", node.stats().snapshots_to);
  add_snapshots(page, "receive", "From", node.stats().snapshots_from);
  if (server) add_clients(page, server->stats());
}

void add_call_metrics(Page& page, const net::Router& router, bool handling) {
  auto labels = [](const net::Router::Route& r) {
    return Labels{{"grpc_method", r.method}, {"grpc_service", r.service}, {"grpc_type", kind_name(r.kind)}};
  };
  for (const auto& r : router.routes())
    page.counter("grpc_server_started_total", "Total number of RPCs started on the server.", number(r->stats.started),
                 labels(*r));
  for (const auto& r : router.routes()) {
    for (size_t code = 0; code < r->stats.handled.size(); ++code) {
      Labels l = labels(*r);
      l.insert(l.begin(), {"grpc_code", go_code(code)});
      page.counter("grpc_server_handled_total",
                   "Total number of RPCs completed on the server, regardless of success or failure.",
                   number(r->stats.handled[code]), l);
    }
  }
  for (const auto& r : router.routes())
    page.counter("grpc_server_msg_received_total", "Total number of RPC stream messages received on the server.",
                 number(r->stats.messages_received), labels(*r));
  for (const auto& r : router.routes())
    page.counter("grpc_server_msg_sent_total", "Total number of gRPC stream messages sent by the server.",
                 number(r->stats.messages_sent), labels(*r));
  if (!handling) return;
  for (const auto& r : router.routes())
    page.histogram(
        "grpc_server_handling_seconds",
        "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
        net::kHandlingBucketsSeconds, r->stats.handling_buckets, r->stats.handling_seconds_sum, labels(*r));
}

void add_process_metrics(Page& page, const io::ProcessStats& p) {
  page.gauge("os_fd_used", "The number of used file descriptors.", number(p.files_open));
  page.gauge("os_fd_limit", "The file descriptor limit.", number(p.files_max));
  page.counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", p.cpu_seconds);
  page.gauge("process_open_fds", "Number of open file descriptors.", number(p.files_open));
  page.gauge("process_max_fds", "Maximum number of open file descriptors.", number(p.files_max));
  page.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", number(p.resident_bytes));
  page.gauge("fairlead_memory_limit_bytes", "Memory that the control group, or the machine, has for this process.",
             number(p.memory_max_bytes));
  page.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", number(p.virtual_bytes));
  page.gauge("process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes.",
             number(p.virtual_bytes_max));
  page.gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
             p.start_unix_seconds);
  page.counter("process_network_receive_bytes_total", "Number of bytes received by the process's network.",
               number(p.network_received_bytes));
  page.counter("process_network_transmit_bytes_total", "Number of bytes sent by the process's network.",
               number(p.network_sent_bytes));
}

}  // namespace fairlead::api
