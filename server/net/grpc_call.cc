// The gRPC half of h2_session.h: one call from its headers to its trailers.
#include <algorithm>

#include "base/check.h"
#include "server/net/h2_session.h"

namespace fairlead::net {

namespace {

constexpr size_t kHeaderOverheadBytes = 32;  // RFC 9113, 6.5.2
constexpr size_t kHeadersKept = 16;          // capacity a pooled call keeps

std::string_view view(nghttp2_rcbuf* buffer) {
  nghttp2_vec v = nghttp2_rcbuf_get_buf(buffer);
  return {reinterpret_cast<const char*>(v.base), v.len};
}

// Field of a constant name and value that outlive the session.
nghttp2_nv constant(std::string_view name, std::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}
nghttp2_nv copied(std::string_view name, std::string_view value) {
  nghttp2_nv field = constant(name, value);
  field.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME;
  return field;
}

constexpr std::string_view kCodes[] = {"0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
                                       "9", "10", "11", "12", "13", "14", "15", "16"};
std::string_view code_text(Code code) { return kCodes[static_cast<size_t>(code)]; }

bool is_grpc_content_type(std::string_view type) {
  constexpr std::string_view kBase = "application/grpc";
  if (!type.starts_with(kBase)) return false;
  return type.size() == kBase.size() || type[kBase.size()] == '+' || type[kBase.size()] == ';';
}

}  // namespace

CallObserver* GrpcCall::observer() const { return session_->connection().router().observer(); }

// --- life
// --------------------------------------------------------------------------------------------------------

void GrpcCall::attach(H2Session& session, int32_t stream_id) {
  session_ = &session;
  stream_id_ = stream_id;
  self_ = CallRef(this);
}

void GrpcCall::detach() {
  lose_page();
  if (!done_) cancel(Status(Code::kCancelled, "context canceled"), false);
  session_->queued(-static_cast<ptrdiff_t>(out.bytes()), unary());
  out.clear();
  size_t before = held_bytes();
  held_ = std::string();
  request_ = Bytes();
  reader_.reset();
  account_held(before);
  session_ = nullptr;
  CallRef last = std::move(self_);
}

// Back to the pool, as new. Containers keep their capacity while it is small.
void GrpcCall::release() {
  CHECK(!session_, "an attached call is referenced by its session");
  CallPool* mine = pool;
  if (headers_.capacity() > kHeadersKept) headers_ = {};
  route_ = nullptr;
  status_ = Status();
  drain_mark_ = kDrainMarkDefaultBytes;
  header_bytes_ = 0;
  began_ = -1;
  stream_id_ = 0;
  DeadlineEntry::deadline = 0;
  done_ = finished_ = head_sent_ = deferred_ = paused_ = delivering_ = half_closed_ = false;
  half_close_told_ = have_request_ = is_post_ = is_grpc_ = bad_timeout_ = reset_after_end_ = in_drained_ = false;
  page_rest_bytes_ = 0;
  observed_ = is_page_ = is_page_open_ = page_without_body_ = false;
  note() = {};
  mine->give(this);
}

void GrpcCall::end(const Status& status) {
  done_ = true;
  if (route_) ++route_->stats.handled[static_cast<size_t>(status.code())];
  if (std::exchange(observed_, false)) {
    observer()->on_end(*this, *route_, status, reply_);
    note().request = Bytes();
  }
  if (route_ && session_->core().options.measure_handling) count_handling();
  session_->core().deadlines.remove(*this);
  for (const Header& header : headers_) {
    nghttp2_rcbuf_decref(header.name_buffer);
    nghttp2_rcbuf_decref(header.value_buffer);
  }
  headers_.clear();
  if (path_) nghttp2_rcbuf_decref(path_);
  path_ = nullptr;
  // It may be running right now: it goes at the end of the turn.
  if (handler_) session_->core().graveyard.push_back(std::move(handler_));
}

void GrpcCall::cancel(const Status& reason, bool tell_client) {
  std::unique_ptr<CallHandler> handler = std::move(handler_);
  H2Session* session = session_;
  end(reason);
  if (handler) handler->on_cancel(*this, reason);
  if (handler) session->core().graveyard.push_back(std::move(handler));
  if (!tell_client) return;
  reset_after_end_ = !half_closed_;
  if (!head_sent_) {
    submit_trailers_only(reason, "200");
  } else {
    nghttp2_submit_rst_stream(session->h2(), NGHTTP2_FLAG_NONE, stream_id_, NGHTTP2_CANCEL);
  }
  session->mark_dirty();
}

// --- request
// -----------------------------------------------------------------------------------------------------

std::string_view GrpcCall::path() const { return path_ ? view(path_) : std::string_view(); }

std::string_view GrpcCall::metadata(std::string_view name) const {
  for (const Header& header : headers_) {
    if (header.name == name) return header.value;
  }
  return {};
}

std::string_view GrpcCall::peer_address() const {
  return session_ ? std::string_view(session_->connection().peer_address()) : std::string_view();
}

std::string_view GrpcCall::peer_common_name() const {
  return session_ ? std::string_view(session_->connection().peer_common_name()) : std::string_view();
}

std::string GrpcCall::local_address() const {
  return session_ ? session_->connection().local_address() : std::string();
}

void GrpcCall::set_handler(std::unique_ptr<CallHandler> handler) {
  if (!done_) handler_ = std::move(handler);
}

void GrpcCall::on_header(nghttp2_rcbuf* name_buffer, nghttp2_rcbuf* value_buffer) {
  std::string_view name = view(name_buffer), value = view(value_buffer);
  size_t limit = session_->core().options.header_bytes_max;
  header_bytes_ += static_cast<uint32_t>(name.size() + value.size() + kHeaderOverheadBytes);
  if (header_bytes_ > limit) {
    // Answered in start(); who goes on and on is not waited for.
    if (header_bytes_ > limit * 4) session_->go_away(NGHTTP2_ENHANCE_YOUR_CALM, "headers too large");
    return;
  }
  if (name == ":path") {
    if (path_) return;  // twice: the first one counts
    nghttp2_rcbuf_incref(value_buffer);
    path_ = value_buffer;
  } else if (name == ":method") {
    is_post_ = value == "POST";
    if (may_be_page()) keep_header(name_buffer, value_buffer, name, value);
  } else if (name == ":authority" && may_be_page()) {
    keep_header(name_buffer, value_buffer, name, value);
  } else if (name == "content-type" && is_grpc_content_type(value)) {
    is_grpc_ = true;
  } else if (name == "grpc-timeout") {
    auto timeout = parse_grpc_timeout(value);
    bad_timeout_ = !timeout;
    if (timeout) DeadlineEntry::deadline = session_->core().loop.now() + std::max<io::Nanos>(*timeout, 1);
  } else if (!name.empty() && name[0] != ':' && name != "te") {
    keep_header(name_buffer, value_buffer, name, value);
  }
}

void GrpcCall::keep_header(nghttp2_rcbuf* name_buffer, nghttp2_rcbuf* value_buffer, std::string_view name,
                           std::string_view value) {
  nghttp2_rcbuf_incref(name_buffer);
  nghttp2_rcbuf_incref(value_buffer);
  headers_.push_back({name_buffer, value_buffer, name, value});
}

// Refuses what is no call of ours; the order and the words are grpc-go's.
bool GrpcCall::check_request() {
  Core& core = session_->core();
  if (header_bytes_ > core.options.header_bytes_max) {
    finish(Status(Code::kResourceExhausted, "request headers are larger than the limit of " +
                                                std::to_string(core.options.header_bytes_max) + " bytes"));
    return false;
  }
  if (!is_grpc_ && may_be_page()) {
    is_page_ = true;
    return false;
  }
  if (!is_grpc_) {
    refuse_http("415", Status(Code::kInvalidArgument,
                              "invalid gRPC request content-type \"" + std::string(metadata("content-type")) + "\""));
    return false;
  }
  if (!is_post_) {
    refuse_http("405", Status(Code::kInternal, "a gRPC call is a POST request"));
    return false;
  }
  if (bad_timeout_) {
    finish(Status(Code::kInternal, "malformed grpc-timeout"));
    return false;
  }
  Router& router = session_->connection().router();
  route_ = router.find(path());
  if (!route_) {
    finish(Status(Code::kUnimplemented, router.unknown_text(path())));
    return false;
  }
  std::string_view encoding = metadata("grpc-encoding");
  if (!encoding.empty() && encoding != "identity") {
    finish(Status(Code::kUnimplemented,
                  "grpc: Decompressor is not installed for grpc-encoding \"" + std::string(encoding) + "\""));
    return false;
  }
  return true;
}

void GrpcCall::count_handling() {
  if (began_ < 0) return;
  double seconds = static_cast<double>(session_->core().loop.now_precise() - std::exchange(began_, -1)) / 1e9;
  auto bucket = std::lower_bound(kHandlingBucketsSeconds.begin(), kHandlingBucketsSeconds.end(), seconds);
  ++route_->stats.handling_buckets[static_cast<size_t>(bucket - kHandlingBucketsSeconds.begin())];
  route_->stats.handling_seconds_sum += seconds;
}

void GrpcCall::start() {
  Core& core = session_->core();
  ++core.stats.calls_total;
  if (!check_request()) return;
  ++route_->stats.started;
  if (core.options.measure_handling) began_ = core.loop.now_precise();
  if (CallObserver* watching = observer()) {
    observed_ = true;
    watching->on_start(*this, *route_);
  }
  if (DeadlineEntry::deadline != 0) core.deadlines.add(*this);
  if (route_->kind == MethodKind::kUnary) return;
  // Streams take turns among themselves, so that a long one does not starve the others.
  nghttp2_extpri priority{NGHTTP2_EXTPRI_DEFAULT_URGENCY, 1};
  nghttp2_session_change_extpri_stream_priority(session_->h2(), stream_id_, &priority, 1);
  CallRef keep(this);
  if (const Router::Guard& guard = session_->connection().router().guard()) {
    if (Status s = guard(*this, *route_, nullptr); !s.is_ok()) return finish(s);
  }
  std::unique_ptr<CallHandler> handler = route_->stream(*this);
  CHECK(handler || done_, "a stream method returns a handler or finishes the call");
  if (done_) {
    if (handler) core.graveyard.push_back(std::move(handler));
  } else {
    handler_ = std::move(handler);
  }
}

void GrpcCall::account_held(size_t before) {
  session_->held(static_cast<ptrdiff_t>(held_bytes()) - static_cast<ptrdiff_t>(before));
}

void GrpcCall::consume(size_t bytes) { nghttp2_session_consume_stream(session_->h2(), stream_id_, bytes); }

void GrpcCall::on_data(std::string_view bytes, bool last_frame) {
  if (is_page_) return done_ ? page_rest(bytes.size()) : page_data(bytes);
  if (done_) return;  // the stream is about to be reset; what still comes is not read
  size_t before = held_bytes();
  CallRef keep(this);
  if (paused_ || delivering_ || !held_.empty()) {
    held_.append(bytes);
  } else {
    deliver(bytes);
    if (session_ && !last_frame) consume(bytes.size() - held_.size());
  }
  if (!session_) return;
  account_held(before);
  if (!done_ && session_->over_held()) {
    finish(Status(Code::kResourceExhausted, "too many bytes of unfinished requests on this connection"));
  }
}

void GrpcCall::deliver(std::string_view bytes) {
  size_t size_max = session_->core().options.message_bytes_max;
  delivering_ = true;
  while (!bytes.empty() && !paused_ && !done_) {
    Bytes message;
    switch (reader_.next(bytes, size_max, message)) {
      case MessageReader::Step::kNeedMore:
        break;
      case MessageReader::Step::kMessage:
        take_message(std::move(message));
        break;
      case MessageReader::Step::kTooLarge:
        finish(Status(Code::kResourceExhausted, "grpc: received message larger than max (" +
                                                    std::to_string(reader_.announced_bytes()) + " vs. " +
                                                    std::to_string(size_max) + ")"));
        break;
      case MessageReader::Step::kCompressed:
        finish(Status(Code::kInternal, "grpc: compressed flag set with identity or empty encoding"));
        break;
    }
  }
  delivering_ = false;
  if (!done_ && !bytes.empty()) held_.assign(bytes);
}

void GrpcCall::take_message(Bytes message) {
  ++route_->stats.messages_received;
  if (route_->kind != MethodKind::kUnary) {
    if (observed_) observer()->on_request(*this, *route_, message);
    if (handler_) handler_->on_message(*this, std::move(message));
  } else if (have_request_) {
    finish(Status(Code::kInternal, "a unary call has one request message"));
  } else {
    have_request_ = true;
    request_ = std::move(message);
  }
}

void GrpcCall::pause_input(bool paused) {
  paused_ = paused;
  if (paused || delivering_ || done_ || !session_) return;
  CallRef keep(this);
  size_t before = held_bytes();
  size_t had = held_.size();
  std::string held = std::exchange(held_, {});
  deliver(held);
  if (!session_) return;
  if (had > held_.size() && !half_closed_) {
    consume(had - held_.size());
    session_->mark_dirty();
  }
  account_held(before);
  if (half_closed_) on_end_of_input();
}

void GrpcCall::on_end_of_input() {
  half_closed_ = true;
  if (is_page_ && !done_) return session_->over_queue() ? session_->wait_for_room(*this) : dispatch();
  if (done_ || half_close_told_ || !held_.empty()) return;
  half_close_told_ = true;
  if (!reader_.between_messages()) {
    finish(Status(Code::kInternal, "the client ended the stream in the middle of a message"));
  } else if (route_->kind != MethodKind::kUnary) {
    CallRef keep(this);
    if (handler_) handler_->on_half_close(*this);
  } else if (!have_request_) {
    finish(Status(Code::kInternal, "a unary call without a request message"));
  } else if (session_->over_queue()) {
    session_->wait_for_room(*this);
  } else {
    dispatch();
  }
}

void GrpcCall::dispatch() {
  if (is_page_) return serve_page();
  size_t before = held_bytes();
  Bytes request = std::exchange(request_, Bytes());
  account_held(before);
  if (observed_) observer()->on_request(*this, *route_, request);
  if (const Router::Guard& guard = session_->connection().router().guard()) {
    if (Status s = guard(*this, *route_, &request); !s.is_ok()) return finish(s);
  }
  route_->unary(CallRef(this), std::move(request));
}

// --- answer
// ------------------------------------------------------------------------------------------------------

void GrpcCall::push(std::span<const Bytes> parts) {
  size_t before = out.bytes();
  out.push(parts);
  session_->queued(static_cast<ptrdiff_t>(out.bytes() - before), unary());
  ++route_->stats.messages_sent;
}

void GrpcCall::send_message(std::span<const Bytes> parts) {
  if (done_) return;
  if (observed_ && note().trace != 0) observer()->on_sent(*this, *route_);
  push(parts);
  if (!head_sent_) {
    submit_head();
  } else {
    resume();
  }
  session_->mark_dirty();
}

void GrpcCall::reply(std::span<const Bytes> parts) {
  if (done_) return;
  push(parts);
  reply_ = parts;
  finish(Status());
  reply_ = {};
}

void GrpcCall::finish(const Status& status) {
  if (done_) return;
  finished_ = true;
  status_ = status;
  reset_after_end_ = !half_closed_;
  end(status);
  if (head_sent_) {
    resume();
  } else if (!out.empty()) {
    submit_head();
  } else {
    submit_trailers_only(status, "200");
  }
  session_->mark_dirty();
}

void GrpcCall::submit_head() {
  static const nghttp2_nv kHead[] = {constant(":status", "200"), constant("content-type", "application/grpc")};
  head_sent_ = true;
  session_->on_data_sent();
  nghttp2_data_provider provider;
  provider.source.ptr = this;
  provider.read_callback = [](nghttp2_session*, int32_t, uint8_t*, size_t length, uint32_t* flags,
                              nghttp2_data_source* source, void*) -> ssize_t {
    return static_cast<GrpcCall*>(source->ptr)->read_data(length, flags);
  };
  // Fails only when the stream is closing already; its end is told by detach().
  (void)nghttp2_submit_response(session_->h2(), stream_id_, kHead, std::size(kHead), &provider);
}

void GrpcCall::submit_trailers_only(const Status& status, const char* http_status) {
  head_sent_ = true;
  session_->on_data_sent();
  std::string message = percent_encode_message(status.message());
  nghttp2_nv fields[] = {copied(":status", http_status), constant("content-type", "application/grpc"),
                         constant("grpc-status", code_text(status.code())), copied("grpc-message", message)};
  size_t count = message.empty() ? 3 : 4;
  (void)nghttp2_submit_response(session_->h2(), stream_id_, fields, count, nullptr);
}

// Not a gRPC client, or hardly.
void GrpcCall::refuse_http(const char* http_status, const Status& status) {
  finished_ = true;
  reset_after_end_ = !half_closed_;
  end(status);
  submit_trailers_only(status, http_status);
  session_->mark_dirty();
}

void GrpcCall::resume() {
  if (!deferred_) return;
  deferred_ = false;
  (void)nghttp2_session_resume_data(session_->h2(), stream_id_);
}

void GrpcCall::submit_trailers() {
  static const nghttp2_nv kOk[] = {constant("grpc-status", "0")};
  if (status_.is_ok()) {
    (void)nghttp2_submit_trailer(session_->h2(), stream_id_, kOk, 1);
    return;
  }
  std::string message = percent_encode_message(status_.message());
  nghttp2_nv fields[] = {constant("grpc-status", code_text(status_.code())), copied("grpc-message", message)};
  (void)nghttp2_submit_trailer(session_->h2(), stream_id_, fields, std::size(fields));
}

// nghttp2 asks how much of the queue fits into the next DATA frame; the bytes are moved when it is
// sent.
ssize_t GrpcCall::read_data(size_t length, uint32_t* flags) {
  if (out.empty() && !finished_) {
    deferred_ = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  size_t n = std::min(length, out.bytes());
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (finished_ && n == out.bytes()) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (is_page_) return static_cast<ssize_t>(n);
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    submit_trailers();
  }
  return static_cast<ssize_t>(n);
}

void GrpcCall::on_sent(size_t bytes) {
  session_->queued(-static_cast<ptrdiff_t>(bytes), unary());
  session_->on_data_sent();
  size_t now = out.bytes();
  if (handler_ && !in_drained_ && now <= drain_mark_ && now + bytes > drain_mark_) {
    in_drained_ = true;
    session_->add_drained(*this);
  }
}

void GrpcCall::drained() {
  in_drained_ = false;
  if (handler_ && !done_ && out.bytes() <= drain_mark_) handler_->on_drained(*this);
}

}  // namespace fairlead::net
