#include "server/net/connection.h"

#include <algorithm>

#include "server/net/tls_stream.h"

namespace fairlead::net {

namespace {

constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr char kTlsHandshakeByte = 0x16;
constexpr size_t kHttp2PrefixBytes = 4;  // "PRI " is no HTTP/1.1 method

// Is `text` a beginning of `whole`, or the other way round?
bool may_become(std::string_view text, std::string_view whole) {
  size_t n = std::min(text.size(), whole.size());
  return text.substr(0, n) == whole.substr(0, n);
}

// On an address that is served with and without TLS every stream is a TlsStream.
bool is_encrypted(const io::Stream& stream) {
  const auto* tls = dynamic_cast<const TlsStream*>(&stream);
  return tls && tls->encrypted();
}

}  // namespace

std::span<char> thread_read_buffer() {
  static thread_local std::unique_ptr<char[]> buffer(new char[kReadBufferBytes]);
  return {buffer.get(), kReadBufferBytes};
}

Connection::Connection(Core& core, std::unique_ptr<io::Stream> stream, Router& router, std::string peer_common_name)
    : core_(core),
      router_(router),
      stream_(std::move(stream)),
      peer_address_(stream_->peer_address()),
      secure_(is_encrypted(*stream_)),
      peer_common_name_(std::move(peer_common_name)),
      opened_(core.loop.now()),
      last_read_(opened_),
      last_write_(opened_) {
  ++core_.stats.connections_open;
  ++core_.stats.connections_total;
  stream_->set_handler(this);
}

Connection::~Connection() {
  if (!dead()) abort(unavailable("server stopped"));
  --core_.stats.connections_open;
}

void Connection::on_readable() {
  if (dead()) return;
  std::span<char> buffer = thread_read_buffer();
  io::IoResult got = stream_->read(buffer);
  if (got.bytes > 0) {
    core_.stats.received_bytes += got.bytes;
    last_read_ = core_.loop.now();
    feed({buffer.data(), got.bytes});
  }
  if (dead()) return;
  if (!got.error.is_ok()) {
    abort(unavailable("connection lost: " + std::string(got.error.message())));
  } else if (got.eof) {
    end_of_input();
  }
}

void Connection::feed(std::string_view bytes) {
  if (state_ == State::kLingering || closing_) return;  // no longer listened to
  if (state_ == State::kSniffing) {
    first_.append(bytes);
    sniff();
    return;
  }
  Status status = session_->on_bytes(bytes);
  if (!status.is_ok()) close_after_flush(true);
  mark_dirty();
}

void Connection::sniff() {
  for (const auto& [prefix, protocol] : router_.raw()) {
    if (!may_become(first_, prefix)) continue;
    if (first_.size() < prefix.size()) return;  // more will tell
    stream_->set_handler(nullptr);
    state_ = State::kDead;
    std::unique_ptr<io::Stream> stream = std::move(stream_);
    core_.on_dead(*this);
    protocol(std::move(stream), std::move(first_));
    return;
  }
  if (first_[0] == kTlsHandshakeByte) {
    if (core_.world.log && core_.tls_on_plain_log.allow(core_.loop.now(), kTlsLogPerSecond, kTlsLogBurst))
      core_.world.log->warn("rejected connection: a TLS handshake on an address that is served without TLS",
                            {{"remote-addr", peer_address_}, {"local-addr", stream_->local_address()}});
    ++core_.stats.connections_dropped;
    return abort(unavailable("TLS where none is spoken"));
  }
  if (may_become(first_, kHttp2Preface)) {
    if (first_.size() < kHttp2PrefixBytes) return;
    session_ = make_h2_session(core_, *this);
  } else {
    session_ = make_http1_session(core_, *this);
  }
  state_ = State::kSession;
  std::string first = std::exchange(first_, std::string());
  if (core_.draining) session_->drain();
  feed(first);
}

void Connection::end_of_input() {
  if (state_ == State::kSession && !closing_ && !session_->on_eof()) {
    stream_->pause_reading(true);  // only the write side is left
    mark_dirty();
    return;
  }
  abort(unavailable("connection closed by the client"));
}

void Connection::on_writable() {
  blocked_ = false;
  mark_dirty();
}

void Connection::flush() {
  if (dead() || blocked_) return;
  size_t written = 0;
  for (;;) {
    // With enough at hand the session is not asked, and may have more.
    bool more = session_ && (out_.size() >= kFillBytes || session_->fill(out_));
    if (out_.empty()) break;
    io::IoResult result = out_.flush(*stream_);
    core_.stats.sent_bytes += result.bytes;
    written += result.bytes;
    if (result.bytes > 0) last_write_ = core_.loop.now();
    if (!result.error.is_ok()) {
      abort(unavailable("connection lost: " + std::string(result.error.message())));
      return;
    }
    if (result.would_block) {
      blocked_ = true;
      return;
    }
    if (!more) break;
    if (written >= kTurnWriteBytesMax) {
      mark_dirty();
      return;
    }
  }
  last_write_ = core_.loop.now();
  if (session_ && session_->finished()) closing_ = true;
  if (closing_ && state_ != State::kLingering) linger();
}

void Connection::replace_session(std::unique_ptr<Session> next) {
  replaced_ = std::exchange(session_, std::move(next));
  mark_dirty();
}

void Connection::after_flush() {
  replaced_.reset();
  if (session_ && !dead()) session_->after_flush();
}

void Connection::close_after_flush(bool dropped) {
  if (dropped && !dropped_) ++core_.stats.connections_dropped;
  dropped_ = dropped_ || dropped;
  closing_ = true;
  mark_dirty();
}

// Closing a socket with unread input resets it, and the client may lose our last words: so
// half-close, and wait a little for the client to do the same.
void Connection::linger() {
  if (session_) session_->lost(unavailable("connection closed"));
  state_ = State::kLingering;
  linger_until_ = core_.loop.now() + kLingerTimeout;
  stream_->shutdown_write();
  stream_->pause_reading(false);
}

void Connection::abort(const Status& reason) {
  if (dead()) return;
  bool had_session = session_ && state_ == State::kSession;
  state_ = State::kDead;
  stream_->set_handler(nullptr);
  if (had_session) session_->lost(reason);
  out_.clear();
  core_.on_dead(*this);
}

void Connection::drain() {
  if (state_ == State::kSniffing) {
    abort(unavailable("server stopped"));
  } else if (session_ && state_ == State::kSession) {
    session_->drain();
    mark_dirty();
  }
}

void Connection::sweep(io::Nanos now) {
  const ServerOptions& options = core_.options;
  if (dead()) return;
  if (state_ == State::kLingering) {
    if (now >= linger_until_) abort(unavailable("connection closed"));
    return;
  }
  if (state_ == State::kSniffing) {
    if (now - opened_ >= options.first_bytes_timeout) {
      ++core_.stats.connections_dropped;
      abort(unavailable("nothing was said"));
    }
    return;
  }
  bool stuck = blocked_ && now - last_write_ >= options.write_stall_timeout;
  if (stuck || session_->stalled(now)) {
    ++core_.stats.connections_dropped;
    abort(unavailable("the client does not read"));
    return;
  }
  Status status = session_->sweep(now);
  if (!status.is_ok()) {
    ++core_.stats.connections_dropped;
    abort(status);
  }
}

io::Nanos Connection::quiet_until() const {
  return state_ != State::kSession || blocked_ || closing_ ? 0 : session_->quiet_until();
}

}  // namespace fairlead::net
