#include "server/net/client.h"

#include <nghttp2/nghttp2.h>

#include <charconv>
#include <cstring>

#include "base/check.h"
#include "server/net/call.h"
#include "server/net/deadlines.h"
#include "server/net/grpc_wire.h"
#include "server/net/out_queue.h"
#include "server/net/server_core.h"

namespace fairlead::net {

namespace {

constexpr size_t kGrpcMessageBytesMax = 16 * 1024;  // of a server's grpc-message that we keep

std::string_view view(const uint8_t* data, size_t size) { return {reinterpret_cast<const char*>(data), size}; }

nghttp2_nv field(std::string_view name, std::string_view value, uint8_t flags) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(), flags};
}

constexpr uint8_t kNoCopy = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;

Status status_of_reset(uint32_t error) {
  std::string text = std::string("stream reset by the server: ") + nghttp2_http2_strerror(error);
  switch (error) {
    case NGHTTP2_REFUSED_STREAM:
      return unavailable(std::move(text));
    case NGHTTP2_CANCEL:
      return Status(Code::kCancelled, std::move(text));
    case NGHTTP2_ENHANCE_YOUR_CALM:
      return Status(Code::kResourceExhausted, std::move(text));
    default:
      return internal_error(std::move(text));
  }
}

// For servers that are none of gRPC's ("HTTP to gRPC status code mapping").
Status status_of_http(int http) {
  std::string text = "unexpected HTTP status " + std::to_string(http);
  switch (http) {
    case 400:
      return internal_error(std::move(text));
    case 401:
      return Status(Code::kUnauthenticated, std::move(text));
    case 403:
      return Status(Code::kPermissionDenied, std::move(text));
    case 404:
      return Status(Code::kUnimplemented, std::move(text));
    case 429:
    case 502:
    case 503:
    case 504:
      return unavailable(std::move(text));
    default:
      return Status(Code::kUnknown, std::move(text));
  }
}

}  // namespace

// A call on the wire. Unary calls have `done`, streaming ones a handler.
class WireCall final : public ClientCall, public DeadlineEntry {
 public:
  void send_message(std::span<const Bytes> parts) override;
  void half_close() override;
  void cancel() override;
  size_t queued_bytes() const override { return out.bytes(); }
  void pause_input(bool pause) override;
  void give_window();

  Client::Impl* client = nullptr;
  Client::UnaryDone done;
  ClientCallHandler* handler = nullptr;
  WireCall* previous = nullptr;
  WireCall* next = nullptr;
  MessageQueue out;
  MessageReader reader;
  Bytes reply;
  std::string grpc_message;
  int grpc_status = -1;
  int http_status = 0;
  int32_t stream_id = 0;
  size_t unread_bytes = 0;  // of the stream's window, kept while paused
  bool paused = false;
  bool unary = false, have_reply = false, half_closed = false, end_sent = false, deferred = false, ended = false;
};

struct Client::Impl final : public io::StreamHandler {
  Impl(io::Loop& loop, std::unique_ptr<io::Stream> stream, ClientOptions options);
  ~Impl() override;

  void on_connected() override { on_writable(); }
  void on_readable() override;
  void on_writable() override {
    blocked = false;
    mark_dirty();
  }

  WireCall& start(std::string_view path, const CallOptions& call_options);
  void submit(WireCall& call, std::string_view path, const CallOptions& call_options);
  void end(WireCall& call, const Status& status);  // calls back, unlinks, recycles
  void unlink(WireCall& call);
  void recycle(WireCall& call);
  void reset(WireCall& call, uint32_t error);
  void lost(const Status& reason);
  void go_away_seen();
  void tell_broken(const Status& reason);
  void mark_dirty();
  void flush();
  bool fill();
  void keepalive();
  void on_data(WireCall& call, std::string_view bytes);
  void on_header(WireCall& call, std::string_view name, std::string_view value);
  void on_server_end(WireCall& call);
  Status final_status(const WireCall& call) const;
  WireCall* call_of(int32_t stream_id) {
    return static_cast<WireCall*>(nghttp2_session_get_stream_user_data(h2, stream_id));
  }

  io::Loop& loop;
  std::unique_ptr<io::Stream> stream;
  ClientOptions options;
  nghttp2_session* h2 = nullptr;
  OutQueue out;
  Deadlines deadlines;
  std::vector<WireCall*> free_calls;
  std::vector<WireCall*> drained;
  std::vector<std::pair<WireCall*, Status>> failed;  // calls started on a broken connection
  WireCall* calls = nullptr;
  size_t calls_open = 0;
  std::function<void(const Status&)> broken_callback;
  std::function<void()> ready_callback;
  bool ready = false;
  std::shared_ptr<Impl*> self;
  Status broken_status;
  uint64_t hook = 0;
  io::Nanos last_flush = -1, last_read = 0, ping_sent = 0;
  io::TimerId keepalive_timer = 0;
  bool dirty = false, blocked = false, broken = false, gone = false, fill_stopped = false, wake_posted = false;
  bool failing_posted = false;
};

// --- nghttp2
// -------------------------------------------------------------------------------------------------------

struct ClientCallbacks {
  static Client::Impl& self(void* user) { return *static_cast<Client::Impl*>(user); }

  static int header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                    const uint8_t* value, size_t value_size, uint8_t, void* user) {
    WireCall* call = self(user).call_of(frame->hd.stream_id);
    if (call) self(user).on_header(*call, view(name, name_size), view(value, value_size));
    return 0;
  }

  static int data_chunk(nghttp2_session* h2, uint8_t, int32_t stream_id, const uint8_t* data, size_t size, void* user) {
    nghttp2_session_consume_connection(h2, size);  // a paused call holds back nobody else
    WireCall* call = self(user).call_of(stream_id);
    if (!call) return 0;
    call->unread_bytes += size;
    self(user).on_data(*call, view(data, size));
    if (self(user).call_of(stream_id) == call) call->give_window();
    return 0;
  }

  static int frame_recv(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    uint8_t type = frame->hd.type;
    if (type == NGHTTP2_GOAWAY) self(user).go_away_seen();
    if (type == NGHTTP2_SETTINGS && !std::exchange(self(user).ready, true)) {
      if (auto callback = std::exchange(self(user).ready_callback, nullptr)) callback();
    }
    if ((type == NGHTTP2_HEADERS || type == NGHTTP2_DATA) && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
      if (WireCall* call = self(user).call_of(frame->hd.stream_id)) self(user).on_server_end(*call);
    }
    return 0;
  }

  static int stream_close(nghttp2_session*, int32_t stream_id, uint32_t error, void* user) {
    WireCall* call = self(user).call_of(stream_id);
    if (!call) return 0;
    self(user).end(*call, error == NGHTTP2_NO_ERROR ? self(user).final_status(*call) : status_of_reset(error));
    return 0;
  }

  // A pooled call may serve another stream already when nghttp2 still has DATA of its former, reset
  // one in hand: hence the checks of the stream number.
  static ssize_t read_data(nghttp2_session*, int32_t stream_id, uint8_t*, size_t length, uint32_t* flags,
                           nghttp2_data_source* source, void*) {
    auto& call = *static_cast<WireCall*>(source->ptr);
    if (call.stream_id != stream_id) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (call.out.empty() && !call.half_closed) {
      call.deferred = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    size_t n = std::min(length, call.out.bytes());
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (call.half_closed && n == call.out.bytes()) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      call.end_sent = true;
    }
    return static_cast<ssize_t>(n);
  }

  static int send_data(nghttp2_session*, nghttp2_frame* frame, const uint8_t* head, size_t length,
                       nghttp2_data_source* source, void* user) {
    constexpr size_t kFrameHeadBytes = 9;
    Client::Impl& c = self(user);
    if (c.out.size() >= kFillBytes) {
      c.fill_stopped = true;
      return NGHTTP2_ERR_WOULDBLOCK;
    }
    auto& call = *static_cast<WireCall*>(source->ptr);
    if (call.stream_id != frame->hd.stream_id) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    c.out.append(view(head, kFrameHeadBytes));
    size_t before = call.out.bytes();
    call.out.move_to(c.out, length);
    if (call.handler && before > kDrainMarkDefaultBytes && call.out.bytes() <= kDrainMarkDefaultBytes) {
      c.drained.push_back(&call);
    }
    return 0;
  }

  static nghttp2_session_callbacks* table() {
    static nghttp2_session_callbacks* callbacks = [] {
      nghttp2_session_callbacks* c = nullptr;
      CHECK(nghttp2_session_callbacks_new(&c) == 0);
      nghttp2_session_callbacks_set_on_header_callback(c, header);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, data_chunk);
      nghttp2_session_callbacks_set_on_frame_recv_callback(c, frame_recv);
      nghttp2_session_callbacks_set_on_stream_close_callback(c, stream_close);
      nghttp2_session_callbacks_set_send_data_callback(c, send_data);
      return c;
    }();
    return callbacks;
  }
};

// --- calls
// ---------------------------------------------------------------------------------------------------------

void WireCall::send_message(std::span<const Bytes> parts) {
  if (ended || half_closed) return;
  out.push(parts);
  if (std::exchange(deferred, false)) (void)nghttp2_session_resume_data(client->h2, stream_id);
  client->mark_dirty();
}

void WireCall::half_close() {
  if (ended || half_closed) return;
  half_closed = true;
  if (std::exchange(deferred, false)) (void)nghttp2_session_resume_data(client->h2, stream_id);
  client->mark_dirty();
}

void WireCall::pause_input(bool pause) {
  paused = pause;
  if (!ended) give_window();
}

void WireCall::give_window() {
  if (paused || unread_bytes == 0 || client->gone || stream_id <= 0) return;
  nghttp2_session_consume_stream(client->h2, stream_id, std::exchange(unread_bytes, 0));
  client->mark_dirty();
}

void WireCall::cancel() {
  if (ended) return;
  client->reset(*this, NGHTTP2_CANCEL);
  client->unlink(*this);
  client->recycle(*this);
}

Client::Impl::Impl(io::Loop& l, std::unique_ptr<io::Stream> s, ClientOptions o)
    : loop(l),
      stream(std::move(s)),
      options(std::move(o)),
      deadlines(l,
                [this](DeadlineEntry& entry) {
                  auto& call = static_cast<WireCall&>(entry);
                  reset(call, NGHTTP2_CANCEL);
                  end(call, Status(Code::kDeadlineExceeded, "context deadline exceeded"));
                }),
      self(std::make_shared<Impl*>(this)),
      last_read(l.now()) {
  nghttp2_option* option = nullptr;
  CHECK(nghttp2_option_new(&option) == 0);
  nghttp2_option_set_no_closed_streams(option, 1);
  nghttp2_option_set_no_auto_window_update(option, 1);
  CHECK(nghttp2_session_client_new2(&h2, ClientCallbacks::table(), this, option) == 0);
  nghttp2_option_del(option);
  nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                       {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options.stream_window_bytes}};
  CHECK(nghttp2_submit_settings(h2, NGHTTP2_FLAG_NONE, settings, std::size(settings)) == 0);
  CHECK(nghttp2_session_set_local_window_size(h2, NGHTTP2_FLAG_NONE, 0,
                                              static_cast<int32_t>(options.connection_window_bytes)) == 0);
  hook = loop.add_turn_hook([this] {
    if (dirty) flush();
  });
  stream->set_handler(this);
  if (options.ping_interval > 0) keepalive();
  mark_dirty();
}

Client::Impl::~Impl() {
  *self = nullptr;
  broken_callback = nullptr;
  lost(unavailable("the client was closed"));
  for (auto& [call, status] : failed) {
    end(*call, status);
  }
  loop.remove_turn_hook(hook);
  if (keepalive_timer) loop.cancel_timer(keepalive_timer);
  stream.reset();
  nghttp2_session_del(h2);
  for (WireCall* call : free_calls) delete call;
}

WireCall& Client::Impl::start(std::string_view path, const CallOptions& call_options) {
  WireCall* call;
  if (free_calls.empty()) {
    call = new WireCall;
  } else {
    call = free_calls.back();
    free_calls.pop_back();
  }
  call->client = this;
  call->next = calls;
  call->previous = nullptr;
  if (calls) calls->previous = call;
  calls = call;
  ++calls_open;
  if (!broken) submit(*call, path, call_options);
  if (call->stream_id <= 0) {
    failed.emplace_back(call, broken ? broken_status : unavailable("no more streams on this connection"));
    if (!std::exchange(failing_posted, true)) {
      loop.post([alive = self] {
        if (!*alive) return;
        Impl& me = **alive;
        me.failing_posted = false;
        for (auto& [broken_call, status] : std::exchange(me.failed, {})) me.end(*broken_call, status);
      });
    }
    return *call;
  }
  if (call_options.timeout > 0) {
    call->deadline = loop.now() + call_options.timeout;
    deadlines.add(*call);
  }
  mark_dirty();
  return *call;
}

void Client::Impl::submit(WireCall& call, std::string_view path, const CallOptions& call_options) {
  constexpr size_t kFixedFields = 8;
  std::string timeout;
  nghttp2_nv small[kFixedFields] = {
      field(":method", "POST", kNoCopy),
      field(":scheme", "http", kNoCopy),
      field(":path", path, NGHTTP2_NV_FLAG_NO_COPY_NAME),
      field(":authority", options.authority, kNoCopy),
      field("te", "trailers", kNoCopy),
      field("content-type", "application/grpc", kNoCopy),
      field("user-agent", options.user_agent, kNoCopy),
  };
  size_t count = kFixedFields - 1;
  if (call_options.timeout > 0) {
    timeout = format_grpc_timeout(call_options.timeout);
    small[count++] = field("grpc-timeout", timeout, NGHTTP2_NV_FLAG_NO_COPY_NAME);
  }
  nghttp2_data_provider provider;
  provider.source.ptr = &call;
  provider.read_callback = ClientCallbacks::read_data;
  if (!call_options.metadata || call_options.metadata->empty()) {
    call.stream_id = nghttp2_submit_request(h2, nullptr, small, count, &provider, &call);
    return;
  }
  std::vector<nghttp2_nv> fields(small, small + count);
  for (const auto& [name, value] : *call_options.metadata) fields.push_back(field(name, value, NGHTTP2_NV_FLAG_NONE));
  call.stream_id = nghttp2_submit_request(h2, nullptr, fields.data(), fields.size(), &provider, &call);
}

void Client::Impl::reset(WireCall& call, uint32_t error) {
  if (gone) return;
  nghttp2_session_set_stream_user_data(h2, call.stream_id, nullptr);
  (void)nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, call.stream_id, error);
  mark_dirty();
}

void Client::Impl::unlink(WireCall& call) {
  call.ended = true;
  deadlines.remove(call);
  if (call.previous) call.previous->next = call.next;
  if (call.next) call.next->previous = call.previous;
  if (calls == &call) calls = call.next;
  --calls_open;
  if (!drained.empty()) std::erase(drained, &call);
  if (!failed.empty()) std::erase_if(failed, [&call](const auto& entry) { return entry.first == &call; });
}

void Client::Impl::recycle(WireCall& call) {
  // Never deleted before the client: nghttp2 may still hold the pointer.
  call.done = nullptr;
  call.handler = nullptr;
  call.out.clear();
  call.reader.reset();
  call.reply = Bytes();
  call.grpc_message = std::string();
  call.grpc_status = -1;
  call.http_status = 0;
  call.stream_id = 0;
  call.unread_bytes = 0;
  call.paused = false;
  call.deadline = 0;
  call.unary = call.have_reply = call.half_closed = call.end_sent = call.deferred = call.ended = false;
  free_calls.push_back(&call);
}

void Client::Impl::end(WireCall& call, const Status& status) {
  if (call.ended) return;
  if (!gone && call.stream_id > 0) nghttp2_session_set_stream_user_data(h2, call.stream_id, nullptr);
  unlink(call);
  if (call.unary) {
    Client::UnaryDone done = std::move(call.done);
    Bytes reply = std::move(call.reply);
    recycle(call);
    if (done) done(status, std::move(reply));
  } else {
    if (call.handler) call.handler->on_end(call, status);
    recycle(call);
  }
}

void Client::Impl::on_header(WireCall& call, std::string_view name, std::string_view value) {
  if (name == "grpc-status") {
    int code = -1;
    auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), code);
    bool known = error == std::errc() && end == value.data() + value.size() && code >= 0 && code <= 16;
    call.grpc_status = known ? code : static_cast<int>(Code::kUnknown);
  } else if (name == "grpc-message") {
    call.grpc_message = percent_decode(value.substr(0, kGrpcMessageBytesMax));
  } else if (name == ":status") {
    std::from_chars(value.data(), value.data() + value.size(), call.http_status);
  }
}

void Client::Impl::on_data(WireCall& call, std::string_view bytes) {
  if (call.http_status != 200) return;  // no message, a page
  int32_t stream_id = call.stream_id;
  while (!bytes.empty()) {
    Bytes message;
    MessageReader::Step step = call.reader.next(bytes, options.message_bytes_max, message);
    if (step == MessageReader::Step::kNeedMore) return;
    if (step != MessageReader::Step::kMessage || (call.unary && call.have_reply)) {
      bool large = step == MessageReader::Step::kTooLarge;
      reset(call, NGHTTP2_CANCEL);
      end(call, large ? Status(Code::kResourceExhausted, "received a message larger than the limit")
                      : internal_error("broken message framing by the server"));
      return;
    }
    if (call.unary) {
      call.have_reply = true;
      call.reply = std::move(message);
    } else if (call.handler) {
      call.handler->on_message(call, std::move(message));
      if (call_of(stream_id) != &call) return;  // cancelled in there
    }
  }
}

Status Client::Impl::final_status(const WireCall& call) const {
  if (call.grpc_status > 0) return Status(static_cast<Code>(call.grpc_status), call.grpc_message);
  if (call.http_status != 200 && call.http_status != 0) return status_of_http(call.http_status);
  if (call.grpc_status < 0) return internal_error("the server ended the stream without a status");
  if (call.unary && !call.have_reply) return internal_error("an answer without a message");
  return Status();
}

void Client::Impl::on_server_end(WireCall& call) {
  Status status = final_status(call);
  // The server has ended the call; if it did not wait for our end of it, nothing that we still have
  // matters.
  if (!call.end_sent) reset(call, NGHTTP2_CANCEL);
  end(call, status);
}

// --- connection
// ----------------------------------------------------------------------------------------------------

void Client::Impl::on_readable() {
  if (gone) return;
  std::span<char> buffer = thread_read_buffer();
  io::IoResult got = stream->read(buffer);
  if (got.bytes > 0) {
    last_read = loop.now();
    ssize_t n = nghttp2_session_mem_recv(h2, reinterpret_cast<const uint8_t*>(buffer.data()), got.bytes);
    mark_dirty();
    if (n < 0) {
      lost(internal_error(std::string("HTTP/2: ") + nghttp2_strerror(static_cast<int>(n))));
      return;
    }
  }
  if (!got.error.is_ok()) {
    lost(unavailable("connection lost: " + std::string(got.error.message())));
  } else if (got.eof) {
    lost(unavailable("connection closed by the server"));
  }
}

void Client::Impl::lost(const Status& reason) {
  if (gone) return;
  gone = true;
  stream->set_handler(nullptr);
  out.clear();
  loop.post([alive = self] {  // not now: this may be the stream's own callback
    if (*alive) (*alive)->stream.reset();
  });
  tell_broken(reason);
  std::vector<WireCall*> open;
  for (WireCall* call = calls; call; call = call->next) open.push_back(call);
  for (size_t i = open.size(); i > 0; --i) {  // oldest first
    if (!open[i - 1]->ended && open[i - 1]->stream_id > 0) end(*open[i - 1], reason);
  }
}

void Client::Impl::go_away_seen() { tell_broken(unavailable("the server said to go away")); }

void Client::Impl::tell_broken(const Status& reason) {
  if (std::exchange(broken, true)) return;
  broken_status = reason;
  loop.post([alive = self] {
    if (!*alive || !(*alive)->broken_callback) return;
    auto callback = std::exchange((*alive)->broken_callback, nullptr);
    callback((*alive)->broken_status);
  });
}

void Client::Impl::mark_dirty() {
  if (dirty || gone) return;
  dirty = true;
  if (last_flush == loop.now() && !wake_posted) {  // this turn's hook has run already
    wake_posted = true;
    loop.post([alive = self] {
      if (*alive) (*alive)->wake_posted = false;
    });
  }
}

bool Client::Impl::fill() {
  fill_stopped = false;
  while (out.size() < kFillBytes && !fill_stopped) {
    const uint8_t* data = nullptr;
    ssize_t n = nghttp2_session_mem_send(h2, &data);
    if (n < 0) {
      lost(internal_error(std::string("HTTP/2: ") + nghttp2_strerror(static_cast<int>(n))));
      return false;
    }
    if (n == 0) break;
    out.append(view(data, static_cast<size_t>(n)));
  }
  return fill_stopped || out.size() >= kFillBytes;
}

void Client::Impl::flush() {
  dirty = false;
  last_flush = loop.now();
  size_t written = 0;
  while (!blocked && !gone) {
    // With enough at hand nghttp2 is not asked, and may have more.
    bool more = out.size() >= kFillBytes || fill();
    if (out.empty() || gone) break;
    io::IoResult result = out.flush(*stream);
    written += result.bytes;
    if (!result.error.is_ok()) {
      lost(unavailable("connection lost: " + std::string(result.error.message())));
      return;
    }
    blocked = result.would_block;
    if (!more) break;
    if (written >= kTurnWriteBytesMax) {
      mark_dirty();
      break;
    }
  }
  // Nothing to say and nothing to hear any more: a broken protocol, or the end after a GOAWAY.
  if (!gone && out.empty() && !nghttp2_session_want_read(h2) && !nghttp2_session_want_write(h2)) {
    lost(broken ? broken_status : unavailable("the server does not speak HTTP/2 as it should"));
  }
  for (WireCall* call : std::exchange(drained, {})) {
    if (!call->ended && call->handler) call->handler->on_drained(*call);
  }
}

void Client::Impl::keepalive() {
  keepalive_timer = loop.add_timer(loop.now() + kSweepInterval, [this] { keepalive(); });
  io::Nanos now = loop.now();
  if (gone) return;
  if (ping_sent != 0 && last_read > ping_sent) ping_sent = 0;
  if (ping_sent != 0) {
    if (now - ping_sent >= options.ping_timeout) lost(unavailable("no answer to a keepalive ping"));
  } else if (now - last_read >= options.ping_interval && (options.ping_without_calls || calls_open > 0)) {
    ping_sent = now;
    (void)nghttp2_submit_ping(h2, NGHTTP2_FLAG_NONE, nullptr);
    mark_dirty();
  }
}

// --- public
// --------------------------------------------------------------------------------------------------------

Client::Client(io::Loop& loop, std::unique_ptr<io::Stream> stream, ClientOptions options)
    : impl_(std::make_unique<Impl>(loop, std::move(stream), std::move(options))) {}
Client::~Client() = default;

uint64_t Client::unary(std::string_view path, const Bytes& request, UnaryDone done, const CallOptions& options) {
  WireCall& call = impl_->start(path, options);
  call.unary = true;
  call.done = std::move(done);
  call.out.push({&request, 1});
  call.half_closed = true;
  return static_cast<uint64_t>(call.stream_id);
}

void Client::cancel_unary(uint64_t id) {
  if (id == 0 || impl_->gone) return;
  WireCall* call = impl_->call_of(static_cast<int32_t>(id));
  if (call && call->unary) call->cancel();
}

ClientCall& Client::open(std::string_view path, ClientCallHandler* handler, const CallOptions& options) {
  WireCall& call = impl_->start(path, options);
  call.handler = handler;
  return call;
}

bool Client::broken() const { return impl_->broken; }

void Client::on_broken(std::function<void(const Status&)> callback) { impl_->broken_callback = std::move(callback); }

size_t Client::open_calls() const { return impl_->calls_open; }

bool Client::ready() const { return impl_->ready && !impl_->broken; }

void Client::on_ready(std::function<void()> callback) { impl_->ready_callback = std::move(callback); }

}  // namespace fairlead::net
