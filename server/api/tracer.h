// Spans of the calls of clients, as etcd 3.7 makes them: one of each call, named by its method, and inside of it one of
// the request: "range", "range_streaming", "put", "delete_range", "txn", "compact", "lease_grant", "lease_revoke",
// "lease_renew" and "watch", with etcd's attributes. What is done inside of Lock, Campaign and the like makes none.
//
// Sampling, as etcd's: a caller who shows a trace (W3C's "traceparent" in the metadata) has decided for both; without
// one, --distributed-tracing-sampling-rate of a million traces begin here.
// Bounds: kTracesMax calls at a time and kStepsMax steps of each; what is more is dropped and counted.
// Threads: the loop.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>

#include "server/api/span_exporter.h"
#include "server/io/io.h"
#include "server/net/router.h"

namespace fairlead::api {

constexpr size_t kTracesMax = 64 * 1024;
constexpr size_t kStepsMax = 64;
constexpr size_t kTraceStateBytesMax = 512;
constexpr int64_t kSamplingRateMax = 1'000'000;

// Of "traceparent"; nothing for what is malformed.
struct TraceParent {
  TraceId trace;
  SpanId span;
  uint8_t flags = 0;
  bool sampled() const { return (flags & 1) != 0; }
};
std::optional<TraceParent> parse_traceparent(std::string_view text);

// Whether a trace of that id is one of `rate` of a million.
bool is_sampled(const TraceId& trace, int64_t rate_per_million);

class Tracer {
 public:
  Tracer(const io::World& world, ExportOptions options, int64_t rate_per_million);

  void on_start(net::ServerCall& call, const net::Router::Route& route);
  void on_request(net::ServerCall& call, const net::Router::Route& route, const Bytes& request);
  void on_sent(net::ServerCall& call, const net::Router::Route& route);
  void on_end(net::ServerCall& call, const net::Router::Route& route, const Status& status,
              std::span<const Bytes> reply);

  SpanExporter& exporter() { return exporter_; }
  uint64_t dropped() const { return dropped_; }

 private:
  struct Call {
    Span span;
    std::deque<Span> steps;  // open ones
  };
  int64_t unix_ns(io::Nanos at);
  SpanId new_span_id();

  io::World world_;
  const int64_t rate_per_million_;
  SpanExporter exporter_;
  std::unordered_map<uint64_t, Call> calls_;  // by ServerCall::note().trace
  uint64_t next_ = 1;
  uint64_t dropped_ = 0;
  int64_t unix_offset_ = 0;  // from loop time to Unix time, as of anchored_at_: spans of one trace stay in order
  io::Nanos anchored_at_ = 0;
};

}  // namespace fairlead::api
