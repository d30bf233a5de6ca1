// gRPC on one connection: HTTP/2 by nghttp2, messages and status by us. Inside of net.
//
// nghttp2 decides what may be sent (priorities, both flow-control windows); the bytes of messages
// never pass through it: its DATA frames are filled from a call's MessageQueue straight into the
// connection's OutQueue.
#pragma once

#include <nghttp2/nghttp2.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/net/connection.h"
#include "server/net/grpc_wire.h"
#include "server/net/http.h"
#include "server/net/server_core.h"

namespace fairlead::net {

class H2Reply;
class H2Session;

// States: open -> done (finished or cancelled) -> detached (stream closed). The session holds one
// reference until then.
class GrpcCall final : public ServerCall, public DeadlineEntry {
 public:
  // --- ServerCall
  std::string_view path() const override;
  std::string_view metadata(std::string_view name) const override;
  std::string_view peer_address() const override;
  std::string_view peer_common_name() const override;
  std::string local_address() const override;
  io::Nanos deadline() const override { return DeadlineEntry::deadline; }
  void send_message(std::span<const Bytes> parts) override;
  void finish(const Status& status) override;
  void reply(std::span<const Bytes> parts) override;
  size_t queued_bytes() const override { return out.bytes(); }
  void set_drain_mark(size_t bytes) override { drain_mark_ = bytes; }
  void pause_input(bool paused) override;
  void set_handler(std::unique_ptr<CallHandler> handler) override;
  CallHandler* handler() const override { return handler_.get(); }
  bool done() const override { return done_; }

  // --- for the session
  void attach(H2Session& session, int32_t stream_id);
  void detach();  // the stream is closed
  void on_header(nghttp2_rcbuf* name, nghttp2_rcbuf* value);
  void start();  // headers are complete
  void on_data(std::string_view bytes, bool last_frame);
  void on_end_of_input();
  void dispatch();  // the unary call or the page, once its request is complete
  void cancel(const Status& reason, bool tell_client);
  ssize_t read_data(size_t length, uint32_t* flags);
  void on_sent(size_t bytes);
  void drained();
  size_t held_bytes() const { return reader_.held_bytes() + held_.size() + request_.size(); }
  int32_t stream_id() const { return stream_id_; }
  // Answered once, and as a whole: what such answers make wait is bounded by the session (over_queue()). A stream's
  // handler looks after itself.
  bool unary() const { return is_page_ || (route_ && route_->kind == MethodKind::kUnary); }
  bool reset_after_end() const { return reset_after_end_; }

  // --- pages (h2_page.cc)
  void page_head(const HttpResponse& response, std::optional<size_t> size);
  void page_body(const Bytes& bytes);
  void end_page();
  bool page_head_sent() const { return head_sent_; }
  H2Reply* page_ = nullptr;  // while it is answered

  MessageQueue out;
  GrpcCall* previous = nullptr;  // the session's open calls
  GrpcCall* next = nullptr;
  CallPool* pool = nullptr;

 private:
  void release() override;
  void push(std::span<const Bytes> parts);
  void submit_head();
  void submit_trailers_only(const Status& status, const char* http_status);
  void submit_trailers();
  void refuse_http(const char* http_status, const Status& status);
  void resume();
  void deliver(std::string_view bytes);
  void take_message(Bytes message);
  void account_held(size_t before);
  void consume(size_t bytes);
  void count_handling();
  void keep_header(nghttp2_rcbuf* name_buffer, nghttp2_rcbuf* value_buffer, std::string_view name,
                   std::string_view value);
  bool check_request();
  bool may_be_page() const;
  void page_data(std::string_view bytes);
  void page_rest(size_t bytes);
  void end_page_rest();
  void serve_page();
  void lose_page();
  void end(const Status& status);  // counts, frees what an open call holds
  CallObserver* observer() const;

  H2Session* session_ = nullptr;  // null when detached
  CallRef self_;                  // the session's reference
  Router::Route* route_ = nullptr;
  std::unique_ptr<CallHandler> handler_;
  struct Header {
    nghttp2_rcbuf *name_buffer, *value_buffer;
    std::string_view name, value;
  };
  std::vector<Header> headers_;
  nghttp2_rcbuf* path_ = nullptr;
  MessageReader reader_;
  std::string held_;  // input that came while paused
  Bytes request_;     // unary: until the client half-closes
  Status status_;
  std::span<const Bytes> reply_;  // while it is given to the observer
  size_t drain_mark_ = kDrainMarkDefaultBytes;
  uint32_t header_bytes_ = 0;
  io::Nanos began_ = -1;  // where handling is measured
  int32_t stream_id_ = 0;
  bool done_ = false, finished_ = false, head_sent_ = false, deferred_ = false;
  bool paused_ = false, delivering_ = false, half_closed_ = false, half_close_told_ = false, have_request_ = false;
  bool is_post_ = false, is_grpc_ = false, bad_timeout_ = false, reset_after_end_ = false, in_drained_ = false;
  bool observed_ = false;
  size_t page_rest_bytes_ = 0;
  bool is_page_ = false, is_page_open_ = false, page_without_body_ = false;
};

class H2Session final : public Session {
 public:
  H2Session(Core& core, Connection& connection);
  ~H2Session() override;

  Status on_bytes(std::string_view bytes) override;
  bool on_eof() override { return true; }  // a gRPC client that closes its side is gone
  bool fill(OutQueue& out) override;
  void after_flush() override;
  bool finished() const override;
  bool stalled(io::Nanos now) const override;
  Status sweep(io::Nanos now) override;
  io::Nanos quiet_until() const override;
  void drain() override;
  void lost(const Status& reason) override;

  // --- for its calls
  Core& core() { return core_; }
  Connection& connection() { return connection_; }
  nghttp2_session* h2() { return h2_; }
  void mark_dirty() { connection_.mark_dirty(); }
  void queued(ptrdiff_t delta, bool unary);
  bool over_queue() const { return queued_ >= core_.options.connection_queue_bytes_max; }
  void held(ptrdiff_t delta) { held_ += static_cast<size_t>(delta); }
  bool over_held() const { return held_ > core_.options.connection_partial_bytes_max; }
  void wait_for_room(GrpcCall& call) { waiting_.emplace_back(&call); }
  void add_drained(GrpcCall& call) { drained_.emplace_back(&call); }
  void on_data_sent() { ping_strikes_reset_ = true; }
  void go_away(uint32_t error, std::string_view text);  // and close

 private:
  friend struct H2Callbacks;
  void refuse_stream(int32_t stream_id);
  std::string with_streams_max(std::string_view frames) const;
  void open_call(int32_t stream_id);
  void close_call(GrpcCall& call);
  GrpcCall* call_of(int32_t stream_id);
  void on_ping(const nghttp2_frame& frame);
  bool allow_control_frame(const nghttp2_frame_hd& head);
  void submit_ping(bool for_drain);
  void run_waiting();

  Core& core_;
  Connection& connection_;
  nghttp2_session* h2_ = nullptr;
  OutQueue* filling_ = nullptr;  // during fill()
  bool fill_stopped_ = false;
  GrpcCall* calls_ = nullptr;  // open streams
  uint32_t calls_open_ = 0;
  GrpcCall* headers_call_ = nullptr;  // whose header block is being read
  size_t queued_ = 0, queued_unary_ = 0;
  size_t held_ = 0;
  std::vector<CallRef> waiting_;  // complete unary calls and pages, while over_queue()
  std::vector<CallRef> drained_;
  io::Nanos last_taken_;  // progress of the client in taking answers
  RateLimit resets_, control_frames_;
  io::Nanos last_ping_ = 0;  // of the client
  int ping_strikes_ = 0;
  bool ping_strikes_reset_ = true;
  io::Nanos ping_sent_ = 0;  // ours, unanswered
  bool draining_ = false, final_goaway_ = false, closing_ = false, goaway_sent_ = false;
  bool settings_said_ = false;
};

}  // namespace fairlead::net
