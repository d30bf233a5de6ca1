#include "server/api/tracer.h"

#include <algorithm>
#include <cstring>

#include "proto/rpc.pb.h"

namespace fairlead::api {
namespace {

using namespace etcdserverpb;

constexpr io::Nanos kClockAnchorLife = 60 * io::kSecond;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// "0af7...-" from the front of `text`, lower case only; the dash is needed unless nothing follows.
template <size_t N>
bool take_hex(std::string_view& text, std::array<uint8_t, N>& out) {
  std::string_view part = text.substr(0, text.find('-'));
  if (part.size() != 2 * N) return false;
  for (size_t i = 0; i < N; ++i) {
    int high = hex_digit(part[2 * i]), low = hex_digit(part[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<uint8_t>(high << 4 | low);
  }
  text.remove_prefix(std::min(text.size(), part.size() + 1));
  return true;
}

// OpenTelemetry's spelling.
const char* otel_code_name(Code code) {
  static constexpr const char* kNames[] = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  return kNames[static_cast<size_t>(code)];
}

// A server's span has failed where the server has, not where its caller asked for the wrong thing.
bool is_failure(Code code) {
  switch (code) {
    case Code::kUnknown:
    case Code::kDeadlineExceeded:
    case Code::kUnimplemented:
    case Code::kInternal:
    case Code::kUnavailable:
    case Code::kDataLoss:
      return true;
    default:
      return false;
  }
}

std::pair<std::string, int64_t> split_address(const std::string& address) {
  size_t colon = address.rfind(':');
  int64_t port = 0;
  if (colon == std::string::npos || address.starts_with("unix:")) return {address, 0};
  for (char c : std::string_view(address).substr(colon + 1)) {
    if (c < '0' || c > '9') return {address, 0};
    port = port * 10 + (c - '0');
  }
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return {host, port};
}

// ---- the steps' attributes, etcd's

template <typename Message>
bool read(const Bytes& in, Message& out) {
  return out.ParseFromArray(in.data(), static_cast<int>(in.size()));
}

void describe_range(const Bytes& in, Span& s, bool streaming) {
  RangeRequest r;
  if (!read(in, r)) return;
  s.name = streaming ? "range_streaming" : "range";
  s.attributes = {{"range_begin", r.key()},
                  {"range_end", r.range_end()},
                  {"rev", r.revision()},
                  {"limit", r.limit()},
                  {"count_only", r.count_only()}};
  if (!streaming) s.attributes.emplace_back("keys_only", r.keys_only());
}

void describe_put(const Bytes& in, Span& s) {
  PutRequest r;
  if (!read(in, r)) return;
  s.name = "put";
  s.attributes = {{"key", r.key()}};
}

void describe_delete(const Bytes& in, Span& s) {
  DeleteRangeRequest r;
  if (!read(in, r)) return;
  s.name = "delete_range";
  s.attributes = {{"range_begin", r.key()}, {"range_end", r.range_end()}};
}

using Ops = google::protobuf::RepeatedPtrField<RequestOp>;

std::string first_key(const Ops& ops) {
  for (const RequestOp& op : ops) {
    const std::string& key = op.has_request_put()     ? op.request_put().key()
                             : op.has_request_range() ? op.request_range().key()
                                                      : op.request_delete_range().key();
    if (!key.empty()) return key;
  }
  return "";
}

std::string first_type(const Ops& ops) {
  for (const RequestOp& op : ops) {
    if (op.has_request_put()) return "put";
    if (op.has_request_range()) return "range";
    if (op.has_request_delete_range()) return "delete_range";
    if (op.has_request_txn()) return "txn";
  }
  return "";
}

int64_t first_lease(const Ops& ops) {
  for (const RequestOp& op : ops)
    if (op.has_request_put()) return op.request_put().lease();
  return -1;
}

bool is_read_only(const TxnRequest& r) {
  for (const Ops* ops : {&r.success(), &r.failure()})
    for (const RequestOp& op : *ops)
      if (!op.has_request_range() && !(op.has_request_txn() && is_read_only(op.request_txn()))) return false;
  return true;
}

void describe_txn(const Bytes& in, Span& s) {
  TxnRequest r;
  if (!read(in, r)) return;
  std::string compare_key;
  for (const Compare& c : r.compare())
    if (compare_key.empty()) compare_key = c.key();
  s.name = "txn";
  s.attributes = {{"compare_first_key", compare_key},
                  {"success_first_key", first_key(r.success())},
                  {"success_first_type", first_type(r.success())},
                  {"success_first_lease", first_lease(r.success())},
                  {"compare_len", int64_t{r.compare_size()}},
                  {"success_len", int64_t{r.success_size()}},
                  {"failure_len", int64_t{r.failure_size()}},
                  {"read_only", is_read_only(r)}};
}

void describe_compact(const Bytes& in, Span& s) {
  CompactionRequest r;
  if (!read(in, r)) return;
  s.name = "compact";
  s.attributes = {{"is_physical", r.physical()}, {"rev", r.revision()}};
}

void describe_lease(std::string_view method, const Bytes& in, Span& s) {
  if (method == "LeaseGrant") {
    LeaseGrantRequest r;
    if (!read(in, r)) return;
    s.name = "lease_grant";
    s.attributes = {{"id", r.id()}, {"ttl", r.ttl()}};
  } else if (method == "LeaseRevoke") {
    LeaseRevokeRequest r;
    if (!read(in, r)) return;
    s.name = "lease_revoke";
    s.attributes = {{"id", r.id()}};
  } else if (method == "LeaseKeepAlive") {
    LeaseKeepAliveRequest r;
    if (!read(in, r)) return;
    s.name = "lease_renew";
    s.attributes = {{"id", r.id()}};
  }
}

void describe_watch(const Bytes& in, Span& s) {
  WatchRequest r;
  if (!read(in, r) || !r.has_create_request()) return;
  const WatchCreateRequest& c = r.create_request();
  // One byte 0 means "from the key on", which etcd says by an empty end.
  std::string end = c.range_end() == std::string(1, '\0') ? "" : c.range_end();
  s.name = "watch";
  s.attributes = {{"key", c.key()},
                  {"range_end", end},
                  {"start_rev", c.start_revision()},
                  {"progress_notify", c.progress_notify()},
                  {"prev_kv", c.prev_kv()},
                  {"fragment", c.fragment()}};
}

// The step that this message begins; without a name: none.
Span describe(const net::Router::Route& route, const Bytes& in) {
  Span s;
  if (route.service == "etcdserverpb.KV") {
    if (route.method == "Range" || route.method == "RangeStream") describe_range(in, s, route.method != "Range");
    if (route.method == "Put") describe_put(in, s);
    if (route.method == "DeleteRange") describe_delete(in, s);
    if (route.method == "Txn") describe_txn(in, s);
    if (route.method == "Compact") describe_compact(in, s);
  } else if (route.service == "etcdserverpb.Lease") {
    describe_lease(route.method, in, s);
  } else if (route.service == "etcdserverpb.Watch") {
    describe_watch(in, s);
  }
  return s;
}

// What etcd refuses before the step begins: a request that is malformed, a member that serves no such call.
bool refused_before(const Status& status) {
  if (status.code() == Code::kInvalidArgument) return status.message() != "etcdserver: request is too large";
  return status.message() == "etcdserver: rpc not supported for learner";
}

// The server chooses the id of a lease that was asked for without one.
void take_lease_id(const net::Router::Route& route, std::span<const Bytes> reply, Span& step) {
  if (route.method != "LeaseGrant" || reply.empty() || step.attributes.empty()) return;
  LeaseGrantResponse granted;
  if (read(reply.front(), granted)) step.attributes[0].second = granted.id();
}

}  // namespace

std::optional<TraceParent> parse_traceparent(std::string_view text) {
  TraceParent out;
  std::array<uint8_t, 1> version{}, flags{};
  if (!take_hex(text, version) || version[0] == 0xff) return std::nullopt;
  if (!take_hex(text, out.trace) || !take_hex(text, out.span)) return std::nullopt;
  size_t before = text.size();
  if (!take_hex(text, flags)) return std::nullopt;
  bool more = before != 2;
  if (version[0] == 0 && (more || flags[0] > 3)) return std::nullopt;
  if (out.trace == TraceId{} || out.span == SpanId{}) return std::nullopt;
  out.flags = flags[0] & 3;
  return out;
}

bool is_sampled(const TraceId& trace, int64_t rate_per_million) {
  if (rate_per_million >= kSamplingRateMax) return true;
  if (rate_per_million <= 0) return false;
  uint64_t number = 0;
  for (size_t i = 8; i < 16; ++i) number = number << 8 | trace[i];
  double share = static_cast<double>(rate_per_million) / static_cast<double>(kSamplingRateMax);
  return number >> 1 < static_cast<uint64_t>(share * 9223372036854775808.0);
}

Tracer::Tracer(const io::World& world, ExportOptions options, int64_t rate_per_million)
    : world_(world), rate_per_million_(rate_per_million), exporter_(world, std::move(options)) {}

int64_t Tracer::unix_ns(io::Nanos at) {
  io::Nanos now = world_.loop->now_precise();
  if (unix_offset_ == 0 || now - anchored_at_ > kClockAnchorLife) {
    unix_offset_ = world_.loop->wall_ms() * io::kMillisecond - now;
    anchored_at_ = now;
  }
  return unix_offset_ + at;
}

SpanId Tracer::new_span_id() {
  SpanId id{};
  while (id == SpanId{}) {
    uint64_t random = world_.random->next();
    std::memcpy(id.data(), &random, sizeof random);
  }
  return id;
}

void Tracer::on_start(net::ServerCall& call, const net::Router::Route& route) {
  std::optional<TraceParent> parent = parse_traceparent(call.metadata("traceparent"));
  Span span;
  if (parent) {
    if (!parent->sampled()) return;
    span.trace = parent->trace;
    span.parent = parent->span;
    span.flags = parent->flags;
    span.parent_remote = true;
    std::string_view state = call.metadata("tracestate");
    if (state.size() <= kTraceStateBytesMax) span.trace_state = state;
  } else {
    if (rate_per_million_ <= 0) return;
    for (size_t half : {0, 8}) {
      uint64_t random = world_.random->next();
      std::memcpy(span.trace.data() + half, &random, sizeof random);
    }
    if (span.trace == TraceId{} || !is_sampled(span.trace, rate_per_million_)) return;
  }
  if (calls_.size() >= kTracesMax) {
    ++dropped_;
    return;
  }
  span.id = new_span_id();
  span.server = true;
  span.name = std::string_view(route.path).substr(1);
  span.began_unix_ns = unix_ns(call.note().began);
  span.attributes = {{"rpc.method", span.name}, {"rpc.system.name", std::string("grpc")}};
  if (std::string local = call.local_address(); !local.empty()) {
    auto [host, port] = split_address(local);
    span.attributes.emplace_back("server.address", host);
    if (port != 0) span.attributes.emplace_back("server.port", port);
  }
  call.note().trace = next_;
  calls_.emplace(next_++, Call{std::move(span), {}});
}

void Tracer::on_request(net::ServerCall& call, const net::Router::Route& route, const Bytes& request) {
  auto it = calls_.find(call.note().trace);
  if (it == calls_.end()) return;
  Span step = describe(route, request);
  if (step.name.empty()) return;
  if (it->second.steps.size() >= kStepsMax) {
    ++dropped_;
    return;
  }
  const Span& outer = it->second.span;
  step.trace = outer.trace;
  step.parent = outer.id;
  step.flags = outer.flags;
  step.trace_state = outer.trace_state;
  step.id = new_span_id();
  step.began_unix_ns = unix_ns(world_.loop->now_precise());
  it->second.steps.push_back(std::move(step));
}

// Keep-alives of a stream are answered in their order.
void Tracer::on_sent(net::ServerCall& call, const net::Router::Route& route) {
  if (route.method != "LeaseKeepAlive") return;
  auto it = calls_.find(call.note().trace);
  if (it == calls_.end() || it->second.steps.empty()) return;
  Span step = std::move(it->second.steps.front());
  it->second.steps.pop_front();
  step.ended_unix_ns = unix_ns(world_.loop->now_precise());
  exporter_.add(std::move(step));
}

void Tracer::on_end(net::ServerCall& call, const net::Router::Route& route, const Status& status,
                    std::span<const Bytes> reply) {
  auto it = calls_.find(call.note().trace);
  if (it == calls_.end()) return;
  Call ended = std::move(it->second);
  calls_.erase(it);
  int64_t now = unix_ns(world_.loop->now_precise());
  if (refused_before(status)) ended.steps.clear();
  for (Span& step : ended.steps) {
    take_lease_id(route, reply, step);
    step.ended_unix_ns = now;
    if (status.code() == Code::kUnavailable) step.exception = status.message();
    exporter_.add(std::move(step));
  }
  Span& span = ended.span;
  span.ended_unix_ns = now;
  span.attributes.emplace_back("rpc.response.status_code", std::string(otel_code_name(status.code())));
  if (is_failure(status.code())) {
    span.failed = true;
    span.message = status.message();
  }
  exporter_.add(std::move(span));
}

}  // namespace fairlead::api
