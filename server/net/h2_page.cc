// Pages over HTTP/2: what is no gRPC call on a TLS connection goes to the port's HTTP handler, as with etcd, whose
// clients agree on h2 wherever they offer it (curl, browsers, scrapers). Without TLS HTTP/2 is gRPC's alone, also as
// with etcd.
//
// A page is a GrpcCall without a route: it has the stream, its queue and its flow control. Bounds: the body
// (ServerOptions::http_body_bytes_max), what is unfinished on the connection (over_held()), and what waits there for
// its client to take it (over_queue(): then further pages wait as unary calls do).
#include <algorithm>

#include "base/check.h"
#include "server/net/h2_session.h"
#include "server/net/websocket.h"

namespace fairlead::net {

// The link between an answer that may come late and a stream that may be gone.
class H2Reply final : public HttpReply {
 public:
  explicit H2Reply(GrpcCall& call) : call_(&call), keep_(&call) { call.page_ = this; }
  ~H2Reply() override {
    if (call_ && !call_->page_head_sent()) send(HttpResponse::text(500, "Internal Server Error\n"));
    if (call_) call_->end_page();
    forget();
  }
  void send(HttpResponse response) override {
    if (!call_) return;
    call_->page_head(response, response.body.size());
    call_->page_body(response.body);
    end();
  }
  void send_head(HttpResponse head) override {
    if (!call_) return;
    call_->page_head(head, std::nullopt);
    call_->page_body(head.body);
  }
  void send_chunk(Bytes chunk) override {
    if (call_) call_->page_body(chunk);
  }
  void end() override {
    if (!call_) return;
    call_->end_page();
    forget();
  }
  size_t queued_bytes() const override { return call_ ? call_->queued_bytes() : 0; }
  bool alive() const override { return call_ != nullptr; }
  void on_gone(std::function<void()> callback) override { gone_ = std::move(callback); }
  std::unique_ptr<WebSocket> upgrade(const HttpRequest&, const HttpHeaders&) override { return nullptr; }

  // The client left before the answer was complete.
  void lost() {
    call_ = nullptr;
    if (auto gone = std::exchange(gone_, nullptr)) gone();
  }

 private:
  void forget() {
    if (call_) call_->page_ = nullptr;
    call_ = nullptr;
    gone_ = nullptr;
  }
  GrpcCall* call_;  // null when the answer is complete or the client is gone
  CallRef keep_;
  std::function<void()> gone_;
};

namespace {

constexpr size_t kRestBytesMax = 64 << 20;
constexpr io::Nanos kRestTime = io::kSecond;

nghttp2_nv field(std::string_view name, std::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

}  // namespace

bool GrpcCall::may_be_page() const { return session_->connection().secure() && session_->connection().router().http(); }

void GrpcCall::page_data(std::string_view bytes) {
  size_t before = held_bytes();
  held_.append(bytes);
  consume(bytes.size());
  account_held(before);
  bool too_large = held_.size() > session_->core().options.http_body_bytes_max;
  if (!too_large && !session_->over_held()) return;
  is_page_open_ = true;
  page_head(HttpResponse::text(too_large ? 413 : 503, ""), 0);
  end_page();
  io::Loop& loop = session_->core().loop;
  loop.add_timer(loop.now() + kRestTime, [this, keep = CallRef(this)] { end_page_rest(); });
}

// What still comes of a body that was refused. A reset at once would be in order (RFC 9113, 8.1), but some clients
// (curl 7.88) then lose the answer too; without one they wait. So it comes a moment later.
void GrpcCall::page_rest(size_t bytes) {
  page_rest_bytes_ += bytes;
  if (page_rest_bytes_ > kRestBytesMax) return end_page_rest();
  consume(bytes);
}

void GrpcCall::end_page_rest() {
  if (!session_ || half_closed_) return;
  nghttp2_submit_rst_stream(session_->h2(), NGHTTP2_FLAG_NONE, stream_id_, NGHTTP2_NO_ERROR);
  session_->mark_dirty();
}

void GrpcCall::serve_page() {
  ++session_->core().stats.http_requests_total;
  is_page_open_ = true;
  HttpRequest request;
  request.target = path();
  std::string_view target = request.target;
  target = target.substr(0, target.find('#'));
  size_t question = std::min(target.find('?'), target.size());
  request.path = percent_decode(target.substr(0, question));
  request.query = target.substr(std::min(question + 1, target.size()));
  for (const Header& header : headers_) {
    std::string name(header.name), value(header.value);
    if (name == ":method")
      request.method = value;
    else if (name == ":authority")
      request.headers.emplace_back("host", value);
    else if (name[0] != ':')
      request.headers.emplace_back(std::move(name), std::move(value));
  }
  page_without_body_ = request.method == "HEAD";
  size_t before = held_bytes();
  request.body = std::exchange(held_, {});
  account_held(before);
  request.peer_address = peer_address();
  request.secure = true;
  request.peer_common_name = peer_common_name();
  CallRef keep(this);
  session_->connection().router().http()(std::move(request), std::make_unique<H2Reply>(*this));
}

void GrpcCall::page_head(const HttpResponse& response, std::optional<size_t> size) {
  if (!is_page_open_ || head_sent_ || done_) return;
  std::vector<std::pair<std::string, std::string>> all = {{":status", std::to_string(response.status)}};
  bool bodyless = response.status == 204 || response.status == 304;
  if (!response.content_type.empty() && !bodyless) all.emplace_back("content-type", response.content_type);
  if (size && !bodyless) all.emplace_back("content-length", std::to_string(*size));
  for (const auto& [name, value] : response.headers) all.emplace_back(lower(name), value);
  std::vector<nghttp2_nv> fields;
  fields.reserve(all.size());
  for (const auto& [name, value] : all) fields.push_back(field(name, value));
  head_sent_ = true;
  nghttp2_data_provider provider;
  provider.source.ptr = this;
  provider.read_callback = [](nghttp2_session*, int32_t, uint8_t*, size_t length, uint32_t* flags,
                              nghttp2_data_source* source, void*) -> ssize_t {
    return static_cast<GrpcCall*>(source->ptr)->read_data(length, flags);
  };
  (void)nghttp2_submit_response(session_->h2(), stream_id_, fields.data(), fields.size(), &provider);
  session_->mark_dirty();
}

void GrpcCall::page_body(const Bytes& bytes) {
  if (done_ || bytes.empty() || page_without_body_) return;
  out.push_raw(bytes);
  session_->queued(static_cast<ptrdiff_t>(bytes.size()), true);
  resume();
  session_->mark_dirty();
}

void GrpcCall::end_page() {
  if (done_) return;
  finished_ = true;
  end(Status());
  resume();
  session_->mark_dirty();
}

void GrpcCall::lose_page() {
  if (H2Reply* reply = std::exchange(page_, nullptr)) reply->lost();
}

}  // namespace fairlead::net
