#include "server/net/h2_session.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "server/net/h2_memory.h"

namespace fairlead::net {

namespace {

constexpr int kPingStrikesMax = 2;                                   // as grpc-go
constexpr io::Nanos kPingIntervalWithoutCalls = 7200 * io::kSecond;  // as grpc-go
// nghttp2 ends the whole connection of a client that opens more streams than it was told; etcd, and RFC 9113 (5.1.2),
// refuse the one stream. So nghttp2 does not know the limit: it stands in the frame that leaves.
constexpr uint32_t kStreamsForNghttp2 = INT32_MAX;
constexpr size_t kStreamsMaxOffset = 9 + 2;  // behind the head of the first frame and the number of its first setting
constexpr uint8_t kOurPing[8] = {'f', 'a', 'i', 'r', 'l', 'e', 'a', 'd'};
constexpr uint8_t kDrainPing[8] = {'d', 'r', 'a', 'i', 'n', 'i', 'n', 'g'};

Status bad_http2(int error) { return Status(Code::kInternal, std::string("HTTP/2: ") + nghttp2_strerror(error)); }

}  // namespace

// nghttp2's callbacks, turned into calls on the session.
struct H2Callbacks {
  static H2Session& self(void* user) { return *static_cast<H2Session*>(user); }

  static int begin_frame(nghttp2_session*, const nghttp2_frame_hd* head, void* user) {
    H2Session& s = self(user);
    if (!s.closing_ && !s.allow_control_frame(*head)) {
      ++s.core_.stats.goaways_calm;
      s.go_away(NGHTTP2_ENHANCE_YOUR_CALM, "too_many_resets_or_control_frames");
    }
    return 0;
  }

  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    H2Session& s = self(user);
    s.headers_call_ = nullptr;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      s.calls_open_ < s.core_.options.concurrent_streams_max ? s.open_call(frame->hd.stream_id)
                                                             : s.refuse_stream(frame->hd.stream_id);
    }
    return 0;
  }

  static std::string_view text_of(nghttp2_rcbuf* buffer) {
    nghttp2_vec v = nghttp2_rcbuf_get_buf(buffer);
    return {reinterpret_cast<const char*>(v.base), v.len};
  }
  static int header(nghttp2_session*, const nghttp2_frame*, nghttp2_rcbuf* name, nghttp2_rcbuf* value, uint8_t,
                    void* user) {
    GrpcCall* call = self(user).headers_call_;
    if (auto& trace = self(user).core_.options.trace_header; trace) trace(text_of(name), text_of(value));
    if (call) call->on_header(name, value);
    return 0;
  }

  static int frame_recv(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    H2Session& s = self(user);
    if (s.closing_) return 0;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS: {
        GrpcCall* call = s.headers_call_;
        s.headers_call_ = nullptr;
        if (call) {
          call->start();
        } else {
          call = s.call_of(frame->hd.stream_id);
        }
        if (call && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) call->on_end_of_input();
        break;
      }
      case NGHTTP2_DATA:
        if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
          if (GrpcCall* call = s.call_of(frame->hd.stream_id)) call->on_end_of_input();
        }
        break;
      case NGHTTP2_PING:
        s.on_ping(*frame);
        break;
      default:
        break;
    }
    return 0;
  }

  static int data_chunk(nghttp2_session* h2, uint8_t flags, int32_t stream_id, const uint8_t* data, size_t size,
                        void* user) {
    H2Session& s = self(user);
    nghttp2_session_consume_connection(h2, size);
    GrpcCall* call = s.closing_ ? nullptr : s.call_of(stream_id);
    if (call) call->on_data({reinterpret_cast<const char*>(data), size}, flags & NGHTTP2_FLAG_END_STREAM);
    return 0;
  }

  static int stream_close(nghttp2_session*, int32_t stream_id, uint32_t, void* user) {
    H2Session& s = self(user);
    if (GrpcCall* call = s.call_of(stream_id)) s.close_call(*call);
    return 0;
  }

  static int frame_send(nghttp2_session* h2, const nghttp2_frame* frame, void* user) {
    H2Session& s = self(user);
    if (frame->hd.type == NGHTTP2_GOAWAY) {
      s.goaway_sent_ = true;
    } else if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
               (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA)) {
      // Answered before the client was through: tell it to stop (RFC 9113, 8.1).
      GrpcCall* call = s.call_of(frame->hd.stream_id);
      if (call && call->reset_after_end()) {
        nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
      }
    }
    return 0;
  }

  static ssize_t read_data(nghttp2_session*, int32_t, uint8_t*, size_t length, uint32_t* flags,
                           nghttp2_data_source* source, void*) {
    return static_cast<GrpcCall*>(source->ptr)->read_data(length, flags);
  }

  static int send_data(nghttp2_session*, nghttp2_frame*, const uint8_t* head, size_t length,
                       nghttp2_data_source* source, void* user) {
    constexpr size_t kFrameHeadBytes = 9;
    H2Session& s = self(user);
    CHECK(s.filling_, "DATA is sent by fill() only");
    if (s.filling_->size() >= kFillBytes) {
      s.fill_stopped_ = true;
      return NGHTTP2_ERR_WOULDBLOCK;
    }
    auto& call = *static_cast<GrpcCall*>(source->ptr);
    s.filling_->append(std::string_view(reinterpret_cast<const char*>(head), kFrameHeadBytes));
    call.out.move_to(*s.filling_, length);
    call.on_sent(length);
    s.last_taken_ = s.core_.loop.now();
    return 0;
  }

  static nghttp2_session_callbacks* table() {
    static nghttp2_session_callbacks* callbacks = [] {
      nghttp2_session_callbacks* c = nullptr;
      CHECK(nghttp2_session_callbacks_new(&c) == 0);
      nghttp2_session_callbacks_set_on_begin_frame_callback(c, begin_frame);
      nghttp2_session_callbacks_set_on_begin_headers_callback(c, begin_headers);
      nghttp2_session_callbacks_set_on_header_callback2(c, header);
      nghttp2_session_callbacks_set_on_frame_recv_callback(c, frame_recv);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, data_chunk);
      nghttp2_session_callbacks_set_on_stream_close_callback(c, stream_close);
      nghttp2_session_callbacks_set_on_frame_send_callback(c, frame_send);
      nghttp2_session_callbacks_set_send_data_callback(c, send_data);
      return c;
    }();
    return callbacks;
  }

  static nghttp2_option* options() {
    static nghttp2_option* option = [] {
      nghttp2_option* o = nullptr;
      CHECK(nghttp2_option_new(&o) == 0);
      nghttp2_option_set_no_auto_window_update(o, 1);
      nghttp2_option_set_no_closed_streams(o, 1);  // keeps no memory of them
      // Go clients of etcd 3.4 send an :authority such as "passthrough:///http://host", which
      // nghttp2's own check of HTTP semantics resets; what a call needs of its headers is checked
      // in GrpcCall::check_request.
      nghttp2_option_set_no_http_messaging(o, 1);
      // The library's own limiter runs on a clock of its own and punishes clients that cancel much:
      // see RateLimit.
      nghttp2_option_set_stream_reset_rate_limit(o, UINT64_MAX / 2, UINT64_MAX / 2);
      return o;
    }();
    return option;
  }
};

H2Session::H2Session(Core& core, Connection& connection)
    : core_(core), connection_(connection), last_taken_(core.loop.now()) {
  CHECK(nghttp2_session_server_new3(&h2_, H2Callbacks::table(), this, H2Callbacks::options(), h2_memory()) == 0);
  const ServerOptions& o = core_.options;
  nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kStreamsForNghttp2},  // must be the first: see say_streams_max()
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, o.stream_window_bytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<uint32_t>(o.header_bytes_max)},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  };
  CHECK(nghttp2_submit_settings(h2_, NGHTTP2_FLAG_NONE, settings, std::size(settings)) == 0);
  CHECK(nghttp2_session_set_local_window_size(h2_, NGHTTP2_FLAG_NONE, 0,
                                              static_cast<int32_t>(o.connection_window_bytes)) == 0);
}

H2Session::~H2Session() {
  lost(unavailable("server stopped"));
  nghttp2_session_del(h2_);
}

Status H2Session::on_bytes(std::string_view bytes) {
  ssize_t n = nghttp2_session_mem_recv(h2_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  if (n < 0) return bad_http2(static_cast<int>(n));
  return Status();
}

bool H2Session::fill(OutQueue& out) {
  if (closing_ && goaway_sent_) return false;
  filling_ = &out;
  fill_stopped_ = false;
  while (out.size() < kFillBytes && !fill_stopped_) {
    const uint8_t* data = nullptr;
    ssize_t n = nghttp2_session_mem_send(h2_, &data);
    if (n <= 0) {
      if (n < 0) closing_ = goaway_sent_ = true;
      break;
    }
    std::string_view frames(reinterpret_cast<const char*>(data), static_cast<size_t>(n));
    if (std::exchange(settings_said_, true))
      out.append(frames);
    else
      out.append(with_streams_max(frames));
  }
  filling_ = nullptr;
  return fill_stopped_ || out.size() >= kFillBytes;
}

// The first bytes that leave are our SETTINGS frame.
std::string H2Session::with_streams_max(std::string_view frames) const {
  std::string out(frames);
  CHECK(out.size() >= kStreamsMaxOffset + 4 && out[3] == NGHTTP2_SETTINGS, "a server begins with its settings");
  for (int i = 0; i < 4; ++i)
    out[kStreamsMaxOffset + static_cast<size_t>(i)] =
        static_cast<char>(core_.options.concurrent_streams_max >> (24 - 8 * i));
  return out;
}

// One more than the client may have open. Who goes on is not answered for ever.
void H2Session::refuse_stream(int32_t stream_id) {
  if (closing_) return;
  const ServerOptions& o = core_.options;
  if (!control_frames_.allow(core_.loop.now(), o.control_frames_per_second_max, o.control_frames_burst_max)) {
    ++core_.stats.goaways_calm;
    return go_away(NGHTTP2_ENHANCE_YOUR_CALM, "too_many_refused_streams");
  }
  nghttp2_submit_rst_stream(h2_, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_REFUSED_STREAM);
  mark_dirty();
}

void H2Session::after_flush() {
  if (!waiting_.empty() && !over_queue()) run_waiting();
  if (drained_.empty()) return;
  std::vector<CallRef> drained = std::exchange(drained_, {});
  for (CallRef& call : drained) static_cast<GrpcCall&>(*call).drained();
}

void H2Session::run_waiting() {
  std::vector<CallRef> waiting = std::exchange(waiting_, {});
  for (CallRef& ref : waiting) {
    auto& call = static_cast<GrpcCall&>(*ref);
    if (call.done()) continue;
    if (over_queue()) {
      waiting_.push_back(std::move(ref));
    } else {
      call.dispatch();
    }
  }
}

bool H2Session::finished() const {
  if (closing_) return goaway_sent_;
  return !nghttp2_session_want_read(h2_) && !nghttp2_session_want_write(h2_);
}

bool H2Session::stalled(io::Nanos now) const {
  return (queued_unary_ > 0 || !waiting_.empty()) && now - last_taken_ >= core_.options.write_stall_timeout;
}

Status H2Session::sweep(io::Nanos now) {
  const ServerOptions& o = core_.options;
  if (draining_ && !final_goaway_) {  // the client did not answer our ping within a sweep
    final_goaway_ = true;
    nghttp2_submit_goaway(h2_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h2_), NGHTTP2_NO_ERROR,
                          nullptr, 0);
    mark_dirty();
  }
  if (ping_sent_ != 0) {
    if (connection_.last_read() > ping_sent_) {
      ping_sent_ = 0;
    } else if (now - ping_sent_ >= o.ping_timeout) {
      return unavailable("no answer to a keepalive ping");
    }
  } else if (o.ping_interval > 0 && now - connection_.last_read() >= o.ping_interval) {
    ping_sent_ = now;
    submit_ping(false);
  }
  return Status();
}

io::Nanos H2Session::quiet_until() const {
  if (closing_ || draining_ || ping_sent_ != 0 || queued_ > 0 || !waiting_.empty()) return 0;
  io::Nanos interval = core_.options.ping_interval;
  return interval > 0 ? connection_.last_read() + interval : INT64_MAX;
}

void H2Session::submit_ping(bool for_drain) {
  nghttp2_submit_ping(h2_, NGHTTP2_FLAG_NONE, for_drain ? kDrainPing : kOurPing);
  mark_dirty();
}

// In two steps, so that calls on their way here are not lost (RFC 9113, 6.8): first "no more,
// please", then, when the client has seen that, the number of the last stream that is served.
void H2Session::drain() {
  if (draining_ || closing_) return;
  draining_ = true;
  nghttp2_submit_shutdown_notice(h2_);
  submit_ping(true);
}

void H2Session::lost(const Status& reason) {
  closing_ = goaway_sent_ = true;
  waiting_.clear();
  while (calls_) {
    GrpcCall& call = *calls_;
    if (!call.done()) call.cancel(reason, false);
    close_call(call);
  }
  drained_.clear();
}

void H2Session::go_away(uint32_t error, std::string_view text) {
  closing_ = true;
  nghttp2_submit_goaway(h2_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h2_), error,
                        reinterpret_cast<const uint8_t*>(text.data()), text.size());
  ++core_.stats.connections_dropped;
  mark_dirty();
}

bool H2Session::allow_control_frame(const nghttp2_frame_hd& head) {
  const ServerOptions& o = core_.options;
  switch (head.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:   // nghttp2 bounds their number
    case NGHTTP2_WINDOW_UPDATE:  // no state, no answer
      return true;
    case NGHTTP2_DATA:
      if (head.length > 0 || (head.flags & NGHTTP2_FLAG_END_STREAM)) return true;
      break;
    case NGHTTP2_RST_STREAM:
      return resets_.allow(core_.loop.now(), o.resets_per_second_max, o.resets_burst_max);
    default:
      break;
  }
  return control_frames_.allow(core_.loop.now(), o.control_frames_per_second_max, o.control_frames_burst_max);
}

// The rules of grpc-go's keepalive enforcement: a strike for a ping that comes too soon after the
// last one, forgiven by whatever we sent meanwhile; the third ends the connection.
void H2Session::on_ping(const nghttp2_frame& frame) {
  if (frame.hd.flags & NGHTTP2_FLAG_ACK) {
    if (draining_ && std::memcmp(frame.ping.opaque_data, kDrainPing, sizeof(kDrainPing)) == 0 && !final_goaway_) {
      final_goaway_ = true;
      nghttp2_submit_goaway(h2_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h2_), NGHTTP2_NO_ERROR,
                            nullptr, 0);
    }
    return;
  }
  if (core_.options.ping_min_interval == 0) return;
  io::Nanos now = core_.loop.now();
  io::Nanos since = now - last_ping_;
  bool first = last_ping_ == 0;
  last_ping_ = now;
  if (std::exchange(ping_strikes_reset_, false)) {
    ping_strikes_ = 0;
    return;
  }
  io::Nanos wanted = calls_open_ == 0 ? kPingIntervalWithoutCalls : core_.options.ping_min_interval;
  if (!first && since < wanted && ++ping_strikes_ > kPingStrikesMax) {
    ++core_.stats.goaways_too_many_pings;
    go_away(NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
  }
}

GrpcCall* H2Session::call_of(int32_t stream_id) {
  return static_cast<GrpcCall*>(nghttp2_session_get_stream_user_data(h2_, stream_id));
}

void H2Session::open_call(int32_t stream_id) {
  if (closing_) return;
  GrpcCall* call = core_.pool->take();
  nghttp2_session_set_stream_user_data(h2_, stream_id, call);
  call->attach(*this, stream_id);
  call->next = calls_;
  if (calls_) calls_->previous = call;
  calls_ = call;
  ++calls_open_;
  ++core_.stats.calls_open;
  headers_call_ = call;
}

void H2Session::close_call(GrpcCall& call) {
  if (headers_call_ == &call) headers_call_ = nullptr;
  if (call.previous) call.previous->next = call.next;
  if (call.next) call.next->previous = call.previous;
  if (calls_ == &call) calls_ = call.next;
  call.previous = call.next = nullptr;
  --calls_open_;
  --core_.stats.calls_open;
  nghttp2_session_set_stream_user_data(h2_, call.stream_id(), nullptr);
  call.detach();
}

void H2Session::queued(ptrdiff_t delta, bool unary) {
  queued_ += static_cast<size_t>(delta);
  core_.stats.queued_bytes += static_cast<uint64_t>(delta);
  if (!unary) return;
  if (queued_unary_ == 0) last_taken_ = core_.loop.now();
  queued_unary_ += static_cast<size_t>(delta);
}

std::unique_ptr<Session> make_h2_session(Core& core, Connection& connection) {
  return std::make_unique<H2Session>(core, connection);
}

}  // namespace fairlead::net
