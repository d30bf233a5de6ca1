// Hands spans to a collector by OTLP over gRPC: opentelemetry.proto.collector.trace.v1.TraceService/Export, without
// TLS, as etcd does. Nobody waits for it: spans go into a bounded queue and leave it in batches, one at a time; what
// finds the queue full, or cannot be delivered within kExportGiveUp, is dropped and counted.
//
// Threads: the loop; batches are encoded by a worker.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/api/span.h"
#include "server/io/io.h"
#include "server/net/client.h"

namespace fairlead::api {

constexpr size_t kSpansQueueMax = 2048;  // these four as OpenTelemetry's batcher
constexpr size_t kSpansPerExport = 512;
constexpr io::Nanos kExportInterval = 5 * io::kSecond;
constexpr io::Nanos kExportTimeout = 10 * io::kSecond;
constexpr io::Nanos kExportBackoffMin = 5 * io::kSecond;  // and these as its OTLP exporter
constexpr io::Nanos kExportBackoffMax = 30 * io::kSecond;
constexpr io::Nanos kExportGiveUp = 60 * io::kSecond;

struct ExportOptions {
  std::string address;  // "host:port"
  std::string service_name;
  std::string instance_id;  // empty: none
};

struct ExportStats {
  uint64_t exported = 0;
  uint64_t dropped_full = 0;    // the queue was full
  uint64_t dropped_failed = 0;  // refused, or not delivered in time
  uint64_t failures = 0;        // calls
};

class SpanExporter {
 public:
  SpanExporter(const io::World& world, ExportOptions options);
  ~SpanExporter();
  SpanExporter(const SpanExporter&) = delete;
  SpanExporter& operator=(const SpanExporter&) = delete;

  void add(Span span);
  // Everything that waits is tried once, now; `done` runs when that is over, not inside this call.
  void flush(std::function<void()> done);

  const ExportStats& stats() const { return stats_; }
  size_t queued() const { return queue_.size() + batch_.size(); }

  // What goes over the wire, for the tests.
  static std::string encode(const ExportOptions& options, const std::vector<Span>& spans);

 private:
  void schedule(io::Nanos delay);
  void start();
  void send(std::string request);
  void ended(const Status& status, const Bytes& reply);
  void drop_batch();
  void finish_flush();

  io::World world_;
  const ExportOptions options_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::deque<Span> queue_;
  std::vector<Span> batch_;  // under way, or to be tried again
  io::Nanos batch_since_ = 0;
  io::Nanos backoff_ = 0;
  bool running_ = false;
  io::TimerId timer_ = 0;
  bool told_ = false;  // that the collector cannot be reached
  std::function<void()> flushed_;
  std::unique_ptr<net::Client> client_;
  ExportStats stats_;
};

}  // namespace fairlead::api
