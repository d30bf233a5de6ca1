// HTTP/1.1 on one connection: Boost.Beast parses the requests, the answers are written by hand. The
// only file that includes Beast (it costs seconds to compile). Requests are answered one after the
// other; what a client sends ahead waits in `input_`, up to a limit, then the socket is not read. It waits for the
// answer before it, and, so that short requests for long pages cost neither memory nor the loop's time, until that
// answer is on its way.
#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdio>
#include <optional>

#include "server/net/connection.h"
#include "server/net/grpc_wire.h"
#include "server/net/http.h"
#include "server/net/server_core.h"
#include "server/net/ws_session.h"

namespace fairlead::net {

namespace beast_http = boost::beast::http;

namespace {

constexpr size_t kAnswersAheadBytesMax = 256 * 1024;  // of pipelined requests, not yet handed to the connection

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view reason_of(int status) {
  auto text = beast_http::obsolete_reason(beast_http::int_to_status(static_cast<unsigned>(status)));
  return {text.data(), text.size()};
}

// "Sat, 21 Nov 2026 16:00:00 GMT". The civil date of a day number: Howard Hinnant's
// days_from_civil, inverted.
std::string http_date(int64_t unix_ms) {
  static constexpr const char* kDays[] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  int64_t seconds = unix_ms / 1000, days = seconds / 86400, rest = seconds % 86400;
  int64_t shifted = days + 719468;  // from 1 March of year 0
  int64_t era = shifted / 146097, day_of_era = shifted % 146097;
  int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t month = (5 * day_of_year + 2) / 153;
  int day = static_cast<int>(day_of_year - (153 * month + 2) / 5 + 1);
  int64_t calendar_month = month < 10 ? month + 3 : month - 9;
  int64_t year = year_of_era + era * 400 + (calendar_month <= 2);
  char text[64];
  int n = std::snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[days % 7], day,
                        kMonths[calendar_month - 1], static_cast<int>(year), static_cast<int>(rest / 3600),
                        static_cast<int>(rest / 60 % 60), static_cast<int>(rest % 60));
  return std::string(text, static_cast<size_t>(n));
}

}  // namespace

std::string_view HttpRequest::header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return value;
  }
  return {};
}

std::vector<std::string> HttpRequest::query_values(std::string_view name) const {
  std::vector<std::string> out;
  std::string_view rest = query;
  while (!rest.empty()) {
    size_t end = std::min(rest.find('&'), rest.size());
    std::string pair(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    std::replace(pair.begin(), pair.end(), '+', ' ');
    size_t equals = std::min(pair.find('='), pair.size());
    if (percent_decode(std::string_view(pair).substr(0, equals)) != name) continue;
    out.push_back(percent_decode(std::string_view(pair).substr(std::min(equals + 1, pair.size()))));
  }
  return out;
}

HttpResponse HttpResponse::text(int status, std::string_view body) {
  HttpResponse response;
  response.status = status;
  response.body = Bytes::copy(body);
  return response;
}

HttpResponse HttpResponse::json(int status, std::string_view body) {
  HttpResponse response = text(status, body);
  response.content_type = "application/json";
  return response;
}

class Http1Session;

// The link between an answer that may come late and a session that may be gone.
class Http1Reply final : public HttpReply {
 public:
  explicit Http1Reply(Http1Session& session) : session_(&session) {}
  ~Http1Reply() override;
  void send(HttpResponse response) override;
  void send_head(HttpResponse head) override;
  void send_chunk(Bytes chunk) override;
  void end() override;
  size_t queued_bytes() const override;
  bool alive() const override { return session_ != nullptr; }
  void on_gone(std::function<void()> callback) override { gone_ = std::move(callback); }
  std::unique_ptr<WebSocket> upgrade(const HttpRequest& request, const HttpHeaders& headers) override;

 private:
  friend class Http1Session;
  Http1Session* session_;  // null when the answer is complete or the client is gone
  std::function<void()> gone_;
};

class Http1Session final : public Session {
 public:
  Http1Session(Core& core, Connection& connection);
  ~Http1Session() override { lost(unavailable("server stopped")); }

  Status on_bytes(std::string_view bytes) override;
  bool on_eof() override;
  bool fill(OutQueue& out) override;
  void after_flush() override;
  bool finished() const override { return close_ && !reply_ && out_.empty(); }
  bool stalled(io::Nanos) const override { return false; }  // a full socket is the connection's to see
  Status sweep(io::Nanos now) override;
  io::Nanos quiet_until() const override;
  void drain() override;
  void lost(const Status& reason) override;

  void begin(const HttpResponse& response, bool chunked);
  void body(const Bytes& bytes, bool chunked);
  void complete(bool chunked);
  void dropped();  // the reply object died unanswered
  std::unique_ptr<WebSocket> upgrade(const HttpRequest& request, const HttpHeaders& headers);
  size_t queued_bytes() const;

 private:
  using Parser = beast_http::request_parser<beast_http::string_body>;
  void parse();
  Status parse_some(bool& progress);
  void new_parser();
  void serve();
  void refuse(int status, std::string_view text);
  void continue_100();
  HttpRequest take_request();
  // The client has to take answers before the next request is looked at.
  bool answers_wait() const { return out_bytes_ >= kAnswersAheadBytesMax; }
  void pace_reading();

  Core& core_;
  Connection& connection_;
  std::optional<Parser> parser_;
  std::string input_;
  std::vector<Bytes> out_;
  size_t out_bytes_ = 0;
  Http1Reply* reply_ = nullptr;  // of the request that is being answered
  io::Nanos request_since_ = 0;  // first byte of an unfinished request; 0 = none
  io::Nanos idle_since_;
  bool close_ = false;                                           // after what is queued
  bool keep_alive_ = true, head_only_ = false, http10_ = false;  // of the current request
  bool head_written_ = false, told_continue_ = false, eof_ = false, reading_paused_ = false;
};

// --- reply
// -------------------------------------------------------------------------------------------------------

Http1Reply::~Http1Reply() {
  if (session_) session_->dropped();
}

void Http1Reply::send(HttpResponse response) {
  if (!session_) return;
  session_->begin(response, false);
  session_->body(response.body, false);
  session_->complete(false);
}

void Http1Reply::send_head(HttpResponse head) {
  if (!session_) return;
  session_->begin(head, true);
  session_->body(head.body, true);
}

void Http1Reply::send_chunk(Bytes chunk) {
  if (session_) session_->body(chunk, true);
}

void Http1Reply::end() {
  if (session_) session_->complete(true);
}

std::unique_ptr<WebSocket> Http1Reply::upgrade(const HttpRequest& request, const HttpHeaders& headers) {
  return session_ ? session_->upgrade(request, headers) : nullptr;
}

size_t Http1Reply::queued_bytes() const { return session_ ? session_->queued_bytes() : 0; }

// --- session
// -----------------------------------------------------------------------------------------------------

Http1Session::Http1Session(Core& core, Connection& connection)
    : core_(core), connection_(connection), idle_since_(core.loop.now()) {
  new_parser();
}

void Http1Session::new_parser() {
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(core_.options.http_header_bytes_max));
  parser_->body_limit(core_.options.http_body_bytes_max);
  parser_->eager(true);
  told_continue_ = false;
}

Status Http1Session::on_bytes(std::string_view bytes) {
  if (close_) return Status();
  if (request_since_ == 0) request_since_ = core_.loop.now();
  input_.append(bytes);
  parse();
  pace_reading();
  return Status();
}

void Http1Session::pace_reading() {
  bool pause = input_.size() >= core_.options.http_pipeline_bytes_max && (reply_ || answers_wait());
  if (eof_ || pause == reading_paused_) return;
  reading_paused_ = pause;
  connection_.pause_reading(pause);
}

// Parses and serves as long as whole requests are there and each is answered at once.
void Http1Session::parse() {
  bool progress = true;
  while (progress && !reply_ && !close_ && !input_.empty() && !answers_wait()) {
    Status status = parse_some(progress);
    if (!status.is_ok()) break;
  }
  if (!reply_ && input_.empty() && parser_ && !parser_->got_some()) request_since_ = 0;
}

Status Http1Session::parse_some(bool& progress) {
  // Beast takes for granted (by an assertion) that it is not asked twice about a last chunk shorter than this, and a
  // client may send it byte by byte. Nothing shorter ends a chunked body.
  constexpr size_t kLastChunkBytes = std::string_view("0\r\n\r\n").size();
  if (parser_->is_header_done() && parser_->chunked() && input_.size() < kLastChunkBytes) {
    progress = false;
    return Status();
  }
  boost::beast::error_code error;
  size_t used = parser_->put(boost::asio::const_buffer(input_.data(), input_.size()), error);
  input_.erase(0, used);
  progress = used > 0;
  if (error == beast_http::error::need_more) error = {};
  if (error == beast_http::error::header_limit) {
    refuse(431, "request header fields are too large\n");
  } else if (error == beast_http::error::body_limit) {
    refuse(413, "the request body is too large\n");
  } else if (error) {
    refuse(400, "malformed HTTP request: " + error.message() + "\n");
  } else if (parser_->is_done()) {
    serve();
    return Status();
  } else {
    // What is left is an unfinished header, size of a chunk or trailer.
    if (!progress && input_.size() > core_.options.http_header_bytes_max) {
      refuse(431, "request header fields are too large\n");
    } else if (parser_->is_header_done()) {
      continue_100();
    }
    return Status();
  }
  return invalid_argument("refused");
}

void Http1Session::continue_100() {
  if (told_continue_) return;
  auto expect = parser_->get().find(beast_http::field::expect);
  told_continue_ = true;
  if (expect == parser_->get().end() || lower({expect->value().data(), expect->value().size()}) != "100-continue")
    return;
  out_.push_back(Bytes::literal("HTTP/1.1 100 Continue\r\n\r\n"));
  out_bytes_ += out_.back().size();
  connection_.mark_dirty();
}

HttpRequest Http1Session::take_request() {
  auto& message = parser_->get();
  HttpRequest request;
  request.method = std::string(message.method_string());
  request.target = std::string(message.target());
  std::string_view target = request.target;
  // Absolute form, as proxies send it.
  if (size_t scheme = target.find("://"); scheme != std::string_view::npos && !target.starts_with('/')) {
    size_t slash = target.find('/', scheme + 3);
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  target = target.substr(0, target.find('#'));
  size_t question = std::min(target.find('?'), target.size());
  request.path = percent_decode(target.substr(0, question));
  request.query = std::string(target.substr(std::min(question + 1, target.size())));
  for (const auto& field : message) {
    request.headers.emplace_back(lower({field.name_string().data(), field.name_string().size()}),
                                 std::string(field.value()));
  }
  request.body = std::move(message.body());
  request.peer_address = connection_.peer_address();
  request.secure = connection_.secure();
  request.peer_common_name = connection_.peer_common_name();
  return request;
}

void Http1Session::serve() {
  ++core_.stats.http_requests_total;
  HttpRequest request = take_request();
  bool last = eof_ && input_.empty();
  keep_alive_ = parser_->get().keep_alive() && !core_.draining && !last;
  http10_ = parser_->get().version() < 11;
  head_only_ = request.method == "HEAD";
  head_written_ = false;
  request_since_ = 0;
  new_parser();
  auto reply = std::make_unique<Http1Reply>(*this);
  reply_ = reply.get();
  if (connection_.router().http()) {
    connection_.router().http()(std::move(request), std::move(reply));
  } else {
    reply->send(HttpResponse::text(404, "nothing is served over HTTP/1.1 on this port\n"));
  }
}

void Http1Session::refuse(int status, std::string_view text) {
  ++core_.stats.connections_dropped;
  keep_alive_ = false;
  head_only_ = http10_ = false;
  HttpResponse response = HttpResponse::text(status, text);
  begin(response, false);
  body(response.body, false);
  close_ = true;
  input_ = std::string();
  connection_.mark_dirty();
}

void Http1Session::begin(const HttpResponse& response, bool chunked) {
  head_written_ = true;
  if (core_.draining) keep_alive_ = false;
  if (chunked && http10_) keep_alive_ = false;  // the end of the body is the end of the connection
  std::string head =
      "HTTP/1.1 " + std::to_string(response.status) + " " + std::string(reason_of(response.status)) + "\r\n";
  bool bodyless = response.status == 204 || response.status == 304 || response.status < 200;
  if (!response.content_type.empty() && !bodyless) head += "Content-Type: " + response.content_type + "\r\n";
  for (const auto& [name, value] : response.headers) head += name + ": " + value + "\r\n";
  if (chunked) {
    if (!http10_) head += "Transfer-Encoding: chunked\r\n";
  } else if (!bodyless) {
    head += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  }
  head += "Date: " + http_date(core_.loop.wall_ms()) + "\r\n";
  if (!keep_alive_) {
    head += "Connection: close\r\n";
  } else if (http10_) {
    head += "Connection: keep-alive\r\n";
  }
  head += "\r\n";
  out_bytes_ += head.size();
  out_.push_back(Bytes::take(std::move(head)));
  connection_.mark_dirty();
}

void Http1Session::body(const Bytes& bytes, bool chunked) {
  if (bytes.empty() || head_only_) return;
  auto add = [this](Bytes piece) {
    out_bytes_ += piece.size();
    out_.push_back(std::move(piece));
  };
  if (chunked && !http10_) {
    char size[24];
    int n = std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
    add(Bytes::copy({size, static_cast<size_t>(n)}));
  }
  add(bytes);
  if (chunked && !http10_) add(Bytes::literal("\r\n"));
  connection_.mark_dirty();
}

void Http1Session::complete(bool chunked) {
  if (chunked && !http10_ && !head_only_) {
    out_.push_back(Bytes::literal("0\r\n\r\n"));
    out_bytes_ += out_.back().size();
  }
  reply_->session_ = nullptr;
  reply_ = nullptr;
  idle_since_ = core_.loop.now();
  if (!keep_alive_) close_ = true;
  connection_.mark_dirty();
  pace_reading();
  if (!close_ && !input_.empty()) request_since_ = core_.loop.now();
}

// What waited behind an answer is looked at here, not in complete(): the handler must not be called
// from inside an answer.
void Http1Session::after_flush() {
  if (!reply_ && !close_ && !input_.empty()) parse();
  pace_reading();
  if (!eof_ || reply_ || close_ || answers_wait()) return;
  close_ = true;  // no whole request is left
  connection_.mark_dirty();
}

void Http1Session::dropped() {
  Http1Reply* reply = reply_;
  if (head_written_) {  // in the middle of an answer: the broken end tells the client
    reply->session_ = nullptr;
    reply_ = nullptr;
    close_ = true;
    connection_.mark_dirty();
  } else {
    reply->send(HttpResponse::text(500, "the request was dropped\n"));
  }
}

// The connection goes over to the session of a WebSocket; nothing of it happens here any more. A client that has sent
// more before it was answered does not keep to the rules and gets no answer: what it takes for frames may be a request
// that a proxy let pass.
std::unique_ptr<WebSocket> Http1Session::upgrade(const HttpRequest& request, const HttpHeaders& headers) {
  if (head_written_ || eof_ || core_.draining) return nullptr;
  if (!input_.empty()) {
    ++core_.stats.connections_dropped;
    lost(Status());
    connection_.mark_dirty();
    return nullptr;
  }
  std::string head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
  head += "Sec-WebSocket-Accept: " + ws_accept(request.header("sec-websocket-key")) + "\r\n";
  for (const auto& [name, value] : headers) head += name + ": " + value + "\r\n";
  head += "\r\n";
  reply_->session_ = nullptr;
  reply_->gone_ = nullptr;
  reply_ = nullptr;
  close_ = true;
  out_.push_back(Bytes::take(std::move(head)));
  auto next = std::make_unique<WsSession>(core_, connection_, std::exchange(out_, {}));
  out_bytes_ = 0;
  auto socket = next->socket();
  connection_.replace_session(std::move(next));
  return socket;
}

size_t Http1Session::queued_bytes() const { return out_bytes_; }

// A client that waits for an answer may have closed its sending side only; one that set on_gone is
// told.
bool Http1Session::on_eof() {
  eof_ = true;
  if (input_.empty()) keep_alive_ = false;
  if (reply_) return reply_->gone_ != nullptr;
  if (answers_wait() && !input_.empty()) return false;  // requests that wait for their turn
  close_ = true;
  return out_.empty();
}

bool Http1Session::fill(OutQueue& out) {
  size_t taken = 0;
  for (; taken < out_.size() && out.size() < kFillBytes; ++taken) {
    out_bytes_ -= out_[taken].size();
    out.append(out_[taken]);
  }
  out_.erase(out_.begin(), out_.begin() + static_cast<ptrdiff_t>(taken));
  if (out_.empty() && out_.capacity() > 64) out_.shrink_to_fit();
  return !out_.empty();
}

Status Http1Session::sweep(io::Nanos now) {
  if (close_ || reply_ || answers_wait()) return Status();
  if (request_since_ != 0 && now - request_since_ >= core_.options.http_request_timeout) {
    refuse(408, "the request took too long to arrive\n");
  } else if (request_since_ == 0 && now - idle_since_ >= core_.options.http_idle_timeout) {
    close_ = true;
    connection_.mark_dirty();
  }
  return Status();
}

io::Nanos Http1Session::quiet_until() const {
  if (close_) return 0;
  if (reply_ || answers_wait()) return INT64_MAX;
  return request_since_ != 0 ? request_since_ + core_.options.http_request_timeout
                             : idle_since_ + core_.options.http_idle_timeout;
}

void Http1Session::drain() {
  if (!reply_ && request_since_ == 0) {
    close_ = true;
    connection_.mark_dirty();
  }
}

void Http1Session::lost(const Status&) {
  if (!reply_) return;
  std::function<void()> gone = std::move(reply_->gone_);
  reply_->session_ = nullptr;
  reply_ = nullptr;
  close_ = true;
  if (gone) gone();
}

std::unique_ptr<Session> make_http1_session(Core& core, Connection& connection) {
  return std::make_unique<Http1Session>(core, connection);
}

}  // namespace fairlead::net
