#include "server/api/span_exporter.h"

#include <algorithm>

#include "base/text.h"
#include "proto/otlp.pb.h"

namespace fairlead::api {
namespace {

constexpr std::string_view kExportPath = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
constexpr size_t kReplyBytesMax = 1 << 20;
constexpr uint32_t kFlagHasRemote = 0x100;
constexpr uint32_t kFlagRemote = 0x200;

void set(otlp::KeyValue* out, const std::string& key, const AttributeValue& value) {
  out->set_key(key);
  if (const auto* text = std::get_if<std::string>(&value))
    out->mutable_value()->set_string_value(*text);
  else if (const auto* number = std::get_if<int64_t>(&value))
    out->mutable_value()->set_int_value(*number);
  else
    out->mutable_value()->set_bool_value(std::get<bool>(value));
}

template <size_t N>
void set(std::string* out, const std::array<uint8_t, N>& id) {
  out->assign(reinterpret_cast<const char*>(id.data()), N);
}

void fill(otlp::Span* out, const Span& s) {
  set(out->mutable_trace_id(), s.trace);
  set(out->mutable_span_id(), s.id);
  if (s.parent != SpanId{}) set(out->mutable_parent_span_id(), s.parent);
  out->set_trace_state(s.trace_state);
  out->set_name(s.name);
  out->set_kind(s.server ? otlp::Span::SPAN_KIND_SERVER : otlp::Span::SPAN_KIND_INTERNAL);
  out->set_start_time_unix_nano(static_cast<uint64_t>(s.began_unix_ns));
  out->set_end_time_unix_nano(static_cast<uint64_t>(s.ended_unix_ns));
  out->set_flags(s.flags | kFlagHasRemote | (s.parent_remote ? kFlagRemote : 0));
  for (const auto& [key, value] : s.attributes) set(out->add_attributes(), key, value);
  otlp::Status* status = out->mutable_status();
  if (s.failed) status->set_code(otlp::Status::STATUS_CODE_ERROR);
  status->set_message(s.message);
  if (s.exception.empty()) return;
  otlp::Span::Event* event = out->add_events();
  event->set_name("exception");
  event->set_time_unix_nano(static_cast<uint64_t>(s.ended_unix_ns));
  set(event->add_attributes(), "exception.message", s.exception);
}

// OTLP's specification: these are worth another try, all others are not.
bool may_be_tried_again(Code code) {
  switch (code) {
    case Code::kCancelled:
    case Code::kDeadlineExceeded:
    case Code::kAborted:
    case Code::kOutOfRange:
    case Code::kUnavailable:
    case Code::kDataLoss:
      return true;
    default:
      return false;
  }
}

// All text of a message must be UTF-8; keys need not be.
std::string utf8(std::string_view in) {
  std::string out;
  while (!in.empty()) {
    uint32_t rune = 0;
    size_t length = decode_rune(in, rune);
    if (length == 0)
      append_rune(out, 0xFFFD);
    else
      out.append(in.substr(0, length));
    in.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

}  // namespace

std::string SpanExporter::encode(const ExportOptions& options, const std::vector<Span>& spans) {
  otlp::ExportTraceServiceRequest request;
  otlp::ResourceSpans* all = request.add_resource_spans();
  set(all->mutable_resource()->add_attributes(), "service.name", options.service_name);
  if (!options.instance_id.empty())
    set(all->mutable_resource()->add_attributes(), "service.instance.id", options.instance_id);
  otlp::ScopeSpans* scope = all->add_scope_spans();
  scope->mutable_scope()->set_name("fairlead");
  for (const Span& s : spans) fill(scope->add_spans(), s);
  return request.SerializeAsString();
}

SpanExporter::SpanExporter(const io::World& world, ExportOptions options)
    : world_(world), options_(std::move(options)) {}

SpanExporter::~SpanExporter() {
  *alive_ = false;
  world_.loop->cancel_timer(timer_);
}

void SpanExporter::add(Span span) {
  if (queue_.size() >= kSpansQueueMax) {
    ++stats_.dropped_full;
    return;
  }
  for (auto& [key, value] : span.attributes)
    if (auto* text = std::get_if<std::string>(&value)) *text = utf8(*text);
  span.message = utf8(span.message);
  span.exception = utf8(span.exception);
  queue_.push_back(std::move(span));
  if (running_ || backoff_ > 0) return;
  if (queue_.size() >= kSpansPerExport)
    schedule(0);
  else if (timer_ == 0)
    schedule(kExportInterval);
}

void SpanExporter::schedule(io::Nanos delay) {
  world_.loop->cancel_timer(timer_);
  timer_ = world_.loop->add_timer(world_.loop->now() + delay, [this] {
    timer_ = 0;
    start();
  });
}

void SpanExporter::start() {
  if (running_) return;  // its end goes on
  if (batch_.empty()) {
    size_t n = std::min(queue_.size(), kSpansPerExport);
    if (n == 0) return finish_flush();
    batch_.assign(std::make_move_iterator(queue_.begin()),
                  std::make_move_iterator(queue_.begin() + static_cast<ptrdiff_t>(n)));
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<ptrdiff_t>(n));
    batch_since_ = world_.loop->now();
  }
  running_ = true;
  auto request = std::make_shared<std::string>();
  auto spans = std::make_shared<std::vector<Span>>(batch_);
  world_.workers->run([options = options_, request, spans] { *request = encode(options, *spans); },
                      [this, alive = alive_, request] {
                        if (*alive) send(std::move(*request));
                      });
}

void SpanExporter::send(std::string request) {
  if (client_ && client_->broken()) client_.reset();
  if (!client_) {
    net::ClientOptions options;
    options.authority = options_.address;
    options.message_bytes_max = kReplyBytesMax;
    client_ = std::make_unique<net::Client>(*world_.loop, world_.net->connect(options_.address), options);
  }
  net::CallOptions call;
  call.timeout = kExportTimeout;
  client_->unary(
      kExportPath, Bytes::take(std::move(request)),
      [this, alive = alive_](const Status& status, Bytes reply) {
        // Out of the client's own work first: it may be replaced.
        world_.loop->post([this, alive, status, reply = std::move(reply)] {
          if (*alive) ended(status, reply);
        });
      },
      call);
}

void SpanExporter::ended(const Status& status, const Bytes& reply) {
  running_ = false;
  if (status.is_ok()) {
    otlp::ExportTraceServiceResponse response;
    uint64_t rejected = 0;
    if (response.ParseFromArray(reply.data(), static_cast<int>(reply.size())) && response.has_partial_success())
      rejected = std::min<uint64_t>(
          batch_.size(), static_cast<uint64_t>(std::max<int64_t>(0, response.partial_success().rejected_spans())));
    stats_.exported += batch_.size() - rejected;
    stats_.dropped_failed += rejected;
    if (std::exchange(told_, false)) world_.log->info("the trace collector takes spans again");
    batch_.clear();
    backoff_ = 0;
    if (queue_.size() >= kSpansPerExport || flushed_) return start();
    if (!queue_.empty()) schedule(kExportInterval);
    return;
  }
  ++stats_.failures;
  if (!std::exchange(told_, true))
    world_.log->warn("cannot hand traces to the collector",
                     {{"address", options_.address}, {"error", status.message()}});
  if (!may_be_tried_again(status.code()) || world_.loop->now() - batch_since_ > kExportGiveUp) drop_batch();
  if (flushed_) return finish_flush();
  backoff_ = std::clamp(backoff_ * 2, kExportBackoffMin, kExportBackoffMax);
  schedule(backoff_);
}

void SpanExporter::drop_batch() {
  stats_.dropped_failed += batch_.size();
  batch_.clear();
}

void SpanExporter::flush(std::function<void()> done) {
  flushed_ = std::move(done);
  world_.loop->post([this, alive = alive_] {
    if (*alive) start();
  });
}

void SpanExporter::finish_flush() {
  if (auto done = std::exchange(flushed_, nullptr)) done();
}

}  // namespace fairlead::api
