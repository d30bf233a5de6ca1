#include "server/net/ws_session.h"

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace fairlead::net {

namespace {

constexpr std::string_view kKeyHeader = "sec-websocket-key";
constexpr size_t kKeyBytes = 16;

bool is_token_char(char c) {
  bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return letter || (c >= '0' && c <= '9') || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool same_word(std::string_view a, std::string_view b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

// Is `word` in the list of tokens? What stands behind something malformed does not count.
bool has_token(const HttpRequest& request, std::string_view header, std::string_view word) {
  for (const auto& [name, value] : request.headers) {
    if (name != header) continue;
    std::string_view rest = value;
    for (;;) {
      rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
      auto size = static_cast<size_t>(std::find_if_not(rest.begin(), rest.end(), is_token_char) - rest.begin());
      std::string_view token = rest.substr(0, size);
      rest.remove_prefix(size);
      rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
      if (token.empty() || (!rest.empty() && rest.front() != ',')) break;
      if (same_word(token, word)) return true;
      if (rest.empty()) break;
      rest.remove_prefix(1);
    }
  }
  return false;
}

}  // namespace

bool wants_websocket(const HttpRequest& request) {
  return has_token(request, "connection", "upgrade") && has_token(request, "upgrade", "websocket");
}

std::optional<HttpResponse> refuse_websocket(const HttpRequest& request) {
  auto refuse = [](int status, std::string_view text) {
    HttpResponse response = HttpResponse::text(status, text);
    response.headers = {{"Sec-Websocket-Version", "13"}, {"X-Content-Type-Options", "nosniff"}};
    return response;
  };
  if (request.method != "GET") return refuse(405, "Method Not Allowed\n");
  std::optional<std::string> key = decode_base64(request.header(kKeyHeader));
  if (!has_token(request, "sec-websocket-version", "13") || !key || key->size() != kKeyBytes)
    return refuse(400, "Bad Request\n");
  return std::nullopt;
}

// The link between whoever uses the socket and a session that may be gone.
class WsSocket final : public WebSocket {
 public:
  explicit WsSocket(WsSession& session) : session_(&session) {}
  ~WsSocket() override { close(); }
  void set_handler(OnMessage on_message, std::function<void()> on_gone, std::function<void()> on_stop) override {
    on_message_ = std::move(on_message);
    gone_ = std::move(on_gone);
    stop_ = std::move(on_stop);
  }
  void send(Bytes message) override {
    if (session_) session_->send(std::move(message));
  }
  void close() override {
    if (session_) session_->close();
  }
  void fail(uint16_t code, std::string_view reason) override {
    if (session_) session_->fail(code, reason);
  }
  void pause_input(bool paused) override {
    if (session_) session_->pause_input(paused);
  }
  size_t queued_bytes() const override { return session_ ? session_->queued_bytes() : 0; }
  bool alive() const override { return session_ != nullptr; }

 private:
  friend class WsSession;
  WsSession* session_;
  OnMessage on_message_;
  std::function<void()> gone_, stop_;
};

WsSession::WsSession(Core& core, Connection& connection, std::vector<Bytes> first)
    : core_(core), connection_(connection), reader_(core.options.http_body_bytes_max) {
  for (Bytes& bytes : first) queue_raw({}, std::move(bytes));
  ++core_.stats.websockets_open;
  ++core_.stats.websockets_total;
}

WsSession::~WsSession() {
  lost(unavailable("server stopped"));
  --core_.stats.websockets_open;
}

std::unique_ptr<WebSocket> WsSession::socket() {
  auto socket = std::make_unique<WsSocket>(*this);
  socket_ = socket.get();
  return socket;
}

Status WsSession::on_bytes(std::string_view bytes) {
  if (closing_) return Status();
  if (held_taken_ == held_.size()) {
    held_.clear();
    held_taken_ = 0;
  }
  held_.append(bytes);
  if (!paused_) parse();
  return Status();
}

void WsSession::parse() {
  parsing_ = true;
  std::string_view in = std::string_view(held_).substr(held_taken_);
  while (!closing_ && !paused_) {
    WsEvent event = reader_.next(in);
    held_taken_ = held_.size() - in.size();
    if (event.kind == WsEvent::Kind::kNone) break;
    take(std::move(event));
  }
  parsing_ = false;
  if (closing_ || held_taken_ == held_.size()) {
    held_ = std::string();
    held_taken_ = 0;
  }
}

void WsSession::take(WsEvent event) {
  switch (event.kind) {
    case WsEvent::Kind::kMessage:
      if (event.payload.empty() && !allow_idle_frame()) return;
      if (socket_ && socket_->on_message_) socket_->on_message_(event.payload);
      return;
    case WsEvent::Kind::kPing:
      if (!allow_idle_frame()) return;
      pong_ = std::move(event.payload);
      return connection_.mark_dirty();
    case WsEvent::Kind::kEmpty:
    case WsEvent::Kind::kPong:
      (void)allow_idle_frame();
      return;
    case WsEvent::Kind::kClose:  // answered with the same code
      fail(event.code, {});
      return lost(Status());
    case WsEvent::Kind::kRefuse:
      ++core_.stats.connections_dropped;
      fail(event.code, event.payload);
      return lost(Status());
    case WsEvent::Kind::kNone:
      return;
  }
}

bool WsSession::allow_idle_frame() {
  const ServerOptions& o = core_.options;
  if (idle_frames_.allow(core_.loop.now(), o.control_frames_per_second_max, o.control_frames_burst_max)) return true;
  ++core_.stats.connections_dropped;
  fail(kWsPolicyViolation, "too many frames that carry nothing");
  lost(Status());
  return false;
}

void WsSession::queue(WsOpcode opcode, Bytes payload) {
  std::string head = ws_head(opcode, payload.size());
  queue_raw(std::move(head), std::move(payload));
}

void WsSession::queue_raw(std::string head, Bytes payload) {
  out_bytes_ += head.size() + payload.size();
  out_.push_back({std::move(head), std::move(payload)});
  connection_.mark_dirty();
}

void WsSession::send(Bytes message) {
  if (!closing_) queue(WsOpcode::kText, std::move(message));
}

void WsSession::close() {
  if (socket_) socket_->session_ = nullptr;
  socket_ = nullptr;
  closing_ = true;
  connection_.mark_dirty();
}

void WsSession::fail(uint16_t code, std::string_view reason) {
  if (closing_) return;
  queue(WsOpcode::kClose, Bytes::take(ws_close_payload(code, reason)));
  closing_ = true;
}

void WsSession::pause_input(bool paused) {
  if (paused == paused_) return;
  paused_ = paused;
  if (!eof_) connection_.pause_reading(paused);
  if (!paused && !parsing_) connection_.mark_dirty();  // see after_flush()
}

// What waited is looked at here and not in pause_input(): a message must not come from inside of what its handler does.
void WsSession::after_flush() {
  if (!paused_ && !closing_ && held_taken_ < held_.size()) parse();
}

bool WsSession::on_eof() {
  eof_ = true;
  return !closing_ || out_.empty();
}

bool WsSession::fill(OutQueue& out) {
  if (pong_ && (out_.empty() || !out_.front().head.empty())) {  // not before the handshake is answered
    std::string pong = *std::exchange(pong_, std::nullopt);
    if (!closing_) out.append(ws_head(WsOpcode::kPong, pong.size()) + pong);
  }
  while (!out_.empty() && out.size() < kFillBytes) {
    Frame frame = std::move(out_.front());
    out_.pop_front();
    out_bytes_ -= frame.head.size() + frame.payload.size();
    out.append(std::string_view(frame.head));
    out.append(frame.payload);
  }
  return !out_.empty();
}

Status WsSession::sweep(io::Nanos now) {
  const ServerOptions& o = core_.options;
  if (closing_ || paused_) {  // it is we who do not read
    ping_sent_ = 0;
    return Status();
  }
  if (ping_sent_ != 0) {
    if (connection_.last_read() > ping_sent_) {
      ping_sent_ = 0;
    } else if (now - ping_sent_ >= o.ping_timeout) {
      return unavailable("no answer to a ping");
    }
  } else if (o.ping_interval > 0 && now - connection_.last_read() >= o.ping_interval) {
    ping_sent_ = now;
    queue(WsOpcode::kPing, Bytes());
  }
  return Status();
}

io::Nanos WsSession::quiet_until() const {
  if (closing_ || paused_ || ping_sent_ != 0) return 0;
  io::Nanos interval = core_.options.ping_interval;
  return interval > 0 ? connection_.last_read() + interval : INT64_MAX;
}

void WsSession::drain() {
  if (closing_) return;
  if (socket_ && socket_->stop_) socket_->stop_();
  if (closing_) return;
  fail(kWsGoingAway, "server stopped");
  lost(Status());
}

void WsSession::lost(const Status&) {
  closing_ = true;
  WsSocket* socket = std::exchange(socket_, nullptr);
  if (!socket) return;
  socket->session_ = nullptr;
  if (auto gone = std::exchange(socket->gone_, nullptr)) gone();
}

}  // namespace fairlead::net
