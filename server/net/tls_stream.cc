#include "server/net/tls_stream.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/check.h"

namespace fairlead::net {
namespace {

constexpr char kHandshakeRecord = 0x16;
constexpr size_t kHandshakeReadBytes = 16 * 1024;
constexpr size_t kCipherBufferBytes = 256 * 1024;

constexpr size_t kRecordHeaderBytes = 5;

bool has_whole_record(std::string_view input) {
  if (input.size() < kRecordHeaderBytes) return false;
  size_t length = static_cast<size_t>(static_cast<unsigned char>(input[3])) << 8 | static_cast<unsigned char>(input[4]);
  return input.size() >= kRecordHeaderBytes + length;
}

std::span<char> cipher_buffer() {
  static thread_local std::unique_ptr<char[]> buffer(new char[kCipherBufferBytes]);
  return {buffer.get(), kCipherBufferBytes};
}

}  // namespace

std::string host_of_address(const std::string& address) {
  if (address.starts_with("unix:")) return {};
  std::string host = address.substr(0, std::min(address.rfind(':'), address.size()));
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return host;
}

struct TlsStream::Job {
  std::shared_ptr<TlsContext> context;
  bool server;
  std::string host;
  std::string address;  // of the other side, without the port
  io::Nanos now = 0;
  std::atomic<bool> cancelled = false;

  std::unique_ptr<TlsEngine> engine;
  std::string in, out;
  TlsEngine::Step step = TlsEngine::Step::kMore;
  TlsPeer peer;
  bool names_address = true;

  void run() {
    if (cancelled) return;
    if (!engine) engine = std::make_unique<TlsEngine>(context->current(now), server, host);
    step = engine->handshake(in, out);
    in.clear();
    if (step == TlsEngine::Step::kMore) return;
    peer = engine->peer();
    if (server && !address.empty()) names_address = engine->names_address(address);
  }
};

TlsStream::TlsStream(io::Loop& loop, std::unique_ptr<io::Stream> inner, std::shared_ptr<TlsContext> context,
                     std::shared_ptr<TlsGate> gate, bool server, std::string host, Done done)
    : loop_(loop),
      inner_(std::move(inner)),
      gate_(std::move(gate)),
      server_(server),
      job_(std::make_shared<Job>()),
      done_(std::move(done)),
      state_(server ? State::kHandshake : State::kConnecting) {
  job_->context = std::move(context);
  job_->server = server;
  job_->host = std::move(host);
  job_->address = host_of_address(inner_->peer_address());
  inner_->set_handler(this);
}

std::unique_ptr<TlsStream> TlsStream::client(io::Loop& loop, std::unique_ptr<io::Stream> inner,
                                             std::shared_ptr<TlsContext> context, std::shared_ptr<TlsGate> gate,
                                             std::string host) {
  std::unique_ptr<TlsStream> out(
      new TlsStream(loop, std::move(inner), std::move(context), std::move(gate), false, std::move(host), nullptr));
  out->timer_ = loop.add_timer(loop.now() + kTlsHandshakeTimeout, [stream = out.get()] {
    stream->timer_ = 0;
    stream->fail(unavailable("tls: the handshake took too long"));
  });
  return out;
}

std::unique_ptr<TlsStream> TlsStream::server(io::Loop& loop, std::unique_ptr<io::Stream> inner,
                                             std::shared_ptr<TlsContext> context, std::shared_ptr<TlsGate> gate,
                                             Done done) {
  return std::unique_ptr<TlsStream>(
      new TlsStream(loop, std::move(inner), std::move(context), std::move(gate), true, std::string(), std::move(done)));
}

TlsStream::~TlsStream() {
  *alive_ = false;
  job_->cancelled = true;
  if (timer_) loop_.cancel_timer(timer_);
}

// --- handshake

void TlsStream::on_connected() {
  if (state_ != State::kConnecting) return;
  state_ = State::kHandshake;
  submit_step();
}

void TlsStream::read_handshake() {
  char buffer[kHandshakeReadBytes];
  io::IoResult got = inner_->read(buffer);
  input_.append(buffer, got.bytes);
  if (got.bytes == 0 && got.would_block) return;
  if (server_ && steps_ == 0 && !input_.empty() && input_[0] != kHandshakeRecord) {
    state_ = State::kPlain;
    update_reading();
    std::exchange(done_, nullptr)(TlsResult::kPlain);
    return;
  }
  if (!got.error.is_ok() || got.eof) {
    inner_ended_ = true;
    return fail(got.eof ? unavailable("EOF") : got.error);
  }
  if (input_.size() > kTlsHandshakeInputMax) return fail(invalid_argument("tls: too much was said in the handshake"));
  if (server_ && steps_ == 0 && !has_whole_record(input_)) return;
  submit_step();
}

void TlsStream::submit_step() {
  if (step_running_) return;
  step_running_ = true;
  update_reading();
  job_->now = loop_.now();
  job_->in = std::exchange(input_, std::string());
  gate_->run(
      steps_++ > 0, [job = job_] { job->run(); },
      [this, alive = alive_] {
        if (*alive) step_done();
      });
}

void TlsStream::step_done() {
  step_running_ = false;
  if (state_ != State::kHandshake) return;
  if (!job_->out.empty()) send(std::exchange(job_->out, std::string()));
  if (job_->step == TlsEngine::Step::kFailed) return fail(job_->engine->error());
  if (job_->step == TlsEngine::Step::kDone) return opened();
  update_reading();
  if (done_) done_(TlsResult::kWaiting);
}

void TlsStream::opened() {
  state_ = State::kOpen;
  peer_ = std::move(job_->peer);
  names_own_address_ = job_->names_address;
  job_->context.reset();
  if (timer_) loop_.cancel_timer(std::exchange(timer_, 0));
  update_reading();
  if (holds_input()) wake();
  if (done_) return std::exchange(done_, nullptr)(TlsResult::kOk);
  std::shared_ptr<bool> alive = alive_;
  if (handler_) handler_->on_connected();
  if (*alive && want_write_ && out_.empty() && handler_) {
    want_write_ = false;
    handler_->on_writable();
  }
}

void TlsStream::fail(Status why) {
  if (state_ == State::kDead) return;
  if (job_->engine) peer_ = job_->engine && !step_running_ ? job_->engine->peer() : TlsPeer();
  state_ = State::kDead;
  error_ = std::move(why);
  if (timer_) loop_.cancel_timer(std::exchange(timer_, 0));
  update_reading();
  if (done_) return std::exchange(done_, nullptr)(TlsResult::kFailed);
  wake();
}

// --- bytes

void TlsStream::send(std::string_view ciphertext) {
  if (out_.empty()) {
    io::IoResult wrote = inner_->writev({&ciphertext, 1});
    if (!wrote.error.is_ok()) return;  // read() will tell
    ciphertext.remove_prefix(wrote.bytes);
  }
  out_.append(ciphertext);
}

bool TlsStream::flush_out() {
  if (out_.empty()) return true;
  std::string_view rest = std::string_view(out_).substr(out_offset_);
  io::IoResult wrote = inner_->writev({&rest, 1});
  out_offset_ += wrote.bytes;
  if (out_offset_ < out_.size() && wrote.error.is_ok()) return false;
  out_ = std::string();
  out_offset_ = 0;
  return true;
}

io::IoResult TlsStream::writev(std::span<const std::string_view> parts) {
  if (state_ == State::kDead) return {.error = error_};
  if (state_ == State::kPlain) return inner_->writev(parts);
  if (state_ != State::kOpen || !flush_out()) {
    want_write_ = true;
    return {.would_block = true};
  }
  static thread_local std::string ciphertext;
  ciphertext.clear();
  io::IoResult result;
  result.bytes = job_->engine->write(parts, kTlsWriteBytesMax, ciphertext);
  std::string_view rest = ciphertext;
  if (rest.empty()) {
    bool nothing = std::all_of(parts.begin(), parts.end(), [](std::string_view part) { return part.empty(); });
    if (!nothing) result.error = unavailable("tls: cannot write");
    return result;
  }
  io::IoResult wrote = inner_->writev({&rest, 1});
  result.error = wrote.error;
  if (wrote.bytes < rest.size() && wrote.error.is_ok()) {
    out_.assign(rest.substr(wrote.bytes));
    out_offset_ = 0;
    want_write_ = true;
    result.would_block = true;
  }
  return result;
}

io::IoResult TlsStream::read_plain(std::span<char> into) {
  if (input_.empty()) return inner_->read(into);
  size_t n = std::min(into.size(), input_.size());
  std::copy_n(input_.data(), n, into.data());
  input_.erase(0, n);
  if (!input_.empty()) wake();
  return {.bytes = n};
}

io::IoResult TlsStream::read(std::span<char> into) {
  if (state_ == State::kDead) return {.error = error_};
  if (state_ == State::kPlain) return read_plain(into);
  if (state_ != State::kOpen) return {.would_block = true};
  TlsEngine& engine = *job_->engine;
  std::string reply;
  io::IoResult result;
  TlsEngine::Read got;
  if (engine.holds_input()) {
    got = engine.read({}, into, reply);
  } else {
    std::span<char> buffer = cipher_buffer();
    io::IoResult raw = inner_->read(buffer.first(std::min(buffer.size(), into.size())));
    result.eof = raw.eof;
    result.error = raw.error;
    if (raw.bytes > 0) got = engine.read({buffer.data(), raw.bytes}, into, reply);
  }
  if (!reply.empty()) send(reply);
  result.bytes = got.bytes;
  result.eof = result.eof || got.end;
  if (!got.error.is_ok()) result.error = error_ = got.error;
  result.would_block = result.bytes == 0 && !result.eof && result.error.is_ok();
  if (!got.end && got.error.is_ok() && engine.holds_input()) wake();
  return result;
}

void TlsStream::shutdown_write() {
  if (std::exchange(shutdown_wanted_, true)) return;
  if (state_ == State::kOpen) {
    std::string last;
    job_->engine->close(last);
    if (!last.empty()) send(last);
  }
  if (flush_out() && !std::exchange(shutdown_sent_, true)) inner_->shutdown_write();
}

void TlsStream::linger(std::function<void()> gone) {
  state_ = State::kLinger;
  handler_ = nullptr;
  gone_ = std::move(gone);
  if (flush_out() && !std::exchange(shutdown_sent_, true)) inner_->shutdown_write();
  shutdown_wanted_ = true;
  update_reading();
}

void TlsStream::discard() {
  io::IoResult got = inner_->read(cipher_buffer());
  if ((got.eof || !got.error.is_ok()) && gone_) std::exchange(gone_, nullptr)();
}

// --- readiness

void TlsStream::set_handler(io::StreamHandler* handler) {
  handler_ = handler;
  update_reading();
  if (handler_ && (state_ == State::kDead || holds_input())) wake();
}

void TlsStream::pause_reading(bool paused) {
  paused_ = paused;
  update_reading();
  if (!paused_ && (state_ == State::kDead || holds_input())) wake();
}

bool TlsStream::holds_input() const {
  if (state_ == State::kPlain) return !input_.empty();
  return state_ == State::kOpen && job_->engine->holds_input();
}

void TlsStream::update_reading() {
  bool pause = false;
  if (state_ == State::kHandshake) pause = step_running_;
  if (state_ == State::kOpen || state_ == State::kPlain) pause = paused_ || !handler_;
  if (state_ == State::kDead) pause = true;
  if (pause == inner_paused_) return;
  inner_paused_ = pause;
  inner_->pause_reading(pause);
}

// The inner stream has nothing to tell, and yet there is something to be read.
void TlsStream::wake() {
  if (std::exchange(wake_posted_, true)) return;
  loop_.post([this, alive = alive_] {
    if (!*alive) return;
    wake_posted_ = false;
    if (handler_ && !paused_) handler_->on_readable();
  });
}

void TlsStream::on_readable() {
  switch (state_) {
    case State::kConnecting: {  // the connection failed
      char none[1];
      io::IoResult got = inner_->read(none);
      if (!got.error.is_ok()) fail(got.error);
      return;
    }
    case State::kHandshake:
      if (!step_running_) read_handshake();
      return;
    case State::kLinger:
      return discard();
    case State::kOpen:
    case State::kPlain:
    case State::kDead:
      if (handler_ && !paused_) handler_->on_readable();
  }
}

void TlsStream::on_writable() {
  if (!flush_out()) return;
  if (shutdown_wanted_ && !std::exchange(shutdown_sent_, true)) inner_->shutdown_write();
  if ((state_ == State::kOpen || state_ == State::kPlain) && handler_ && (want_write_ || state_ == State::kPlain)) {
    want_write_ = false;
    handler_->on_writable();
  }
}

}  // namespace fairlead::net
