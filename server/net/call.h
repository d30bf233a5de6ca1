// One gRPC call as the server sees it: a request message in, a reply out; or messages both ways.
//
// A call is made by the session when the request headers are complete and ends in one of two ways:
// finish() (or reply()) was called, or it was cancelled (the client reset it, its deadline passed,
// the connection broke, or the server stopped). After either, every call on it does nothing, so
// that whoever still holds a CallRef may answer late without asking first. done() tells.
//
// Threads: everything here belongs to the loop of the server that made it.
// Callbacks: CallHandler's functions run inside the session's work; every function of ServerCall
// may be called from them. Bytes leave at the end of the turn, in one write per connection. Bounds:
// a message from the client is at most ServerOptions::message_bytes_max; what the handler queues is
// not limited here: a streaming handler watches queued_bytes() and waits for on_drained().
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/status.h"
#include "server/io/io.h"

namespace fairlead::net {

class ServerCall;

// What a call's owner wants to hear. Unary methods need none; one may be set to hear of
// cancellation.
class CallHandler {
 public:
  virtual ~CallHandler() = default;
  virtual void on_message(ServerCall&, Bytes) {}
  virtual void on_half_close(ServerCall&) {}  // the client will send no more
  // At most once, never after finish(): free what the call holds. The reason is kCancelled,
  // kDeadlineExceeded or kUnavailable (connection lost, server stopping).
  virtual void on_cancel(ServerCall&, const Status& reason) { (void)reason; }
  // queued_bytes() was above the mark and has fallen to it or below it.
  virtual void on_drained(ServerCall&) {}
};

constexpr size_t kDrainMarkDefaultBytes = 64 * 1024;

// A counted handle. Keeps the ServerCall object valid, not the call alive. One thread only.
class CallRef {
 public:
  CallRef() = default;
  explicit CallRef(ServerCall* call);
  CallRef(const CallRef& o) : CallRef(o.call_) {}
  CallRef(CallRef&& o) noexcept : call_(o.call_) { o.call_ = nullptr; }
  CallRef& operator=(CallRef o) noexcept {
    ServerCall* mine = call_;
    call_ = o.call_;
    o.call_ = mine;
    return *this;
  }
  ~CallRef();
  ServerCall* operator->() const { return call_; }
  ServerCall& operator*() const { return *call_; }
  ServerCall* get() const { return call_; }
  explicit operator bool() const { return call_ != nullptr; }

 private:
  ServerCall* call_ = nullptr;
};

// What whoever watches all calls (CallObserver, router.h) keeps with one of them.
struct CallNote {
  io::Nanos began = 0;       // when the headers were complete
  io::Nanos dispatched = 0;  // when the request was, and the method was called
  Bytes request;             // of a unary call, while it runs
  uint64_t trace = 0;        // 0: not traced
};

class ServerCall {
 public:
  virtual std::string_view path() const = 0;  // "/etcdserverpb.KV/Put"; valid while the call is not done
  // The first value of a request header ("token", "hasleader"; lower case), empty if absent. Valid
  // while not done.
  virtual std::string_view metadata(std::string_view name) const = 0;
  virtual std::string_view peer_address() const = 0;
  virtual std::string local_address() const { return {}; }  // of the connection; empty when it is gone
  // The common name of the client's certificate where TLS verified one and --client-cert-auth asks for it, else empty:
  // also on calls that the JSON gateway makes. Valid while not done.
  virtual std::string_view peer_common_name() const { return {}; }
  // When the client gives up (io::Loop time), from grpc-timeout; 0 = never. The session itself ends
  // the call then with DEADLINE_EXCEEDED "context deadline exceeded" and tells on_cancel.
  virtual io::Nanos deadline() const = 0;

  // Queues one message made of the parts in order; their bytes are shared, not copied, unless they
  // are small.
  virtual void send_message(std::span<const Bytes> parts) = 0;
  void send_message(std::initializer_list<Bytes> parts) {
    send_message(std::span<const Bytes>(parts.begin(), parts.size()));
  }
  void send_message(const Bytes& message) { send_message(std::span<const Bytes>(&message, 1)); }
  // Ends the call: what is queued is sent first, then the trailers.
  virtual void finish(const Status& status) = 0;
  // The unary answer: one message, then OK.
  virtual void reply(std::span<const Bytes> parts) = 0;
  void reply(std::initializer_list<Bytes> parts) { reply(std::span<const Bytes>(parts.begin(), parts.size())); }
  void reply(const Bytes& message) { reply(std::span<const Bytes>(&message, 1)); }

  virtual size_t queued_bytes() const = 0;        // messages not yet handed to the socket, with their headers
  virtual void set_drain_mark(size_t bytes) = 0;  // default kDrainMarkDefaultBytes
  // While paused no on_message comes and the client is held back by flow control.
  virtual void pause_input(bool paused) = 0;
  // The handler is destroyed when the call is over, at the end of that turn.
  virtual void set_handler(std::unique_ptr<CallHandler> handler) = 0;
  virtual CallHandler* handler() const = 0;
  virtual bool done() const = 0;  // finished or cancelled

  CallRef ref() { return CallRef(this); }
  CallNote& note() { return note_; }

 protected:
  virtual ~ServerCall() = default;
  virtual void release() = 0;  // the last reference is gone: back to the pool

 private:
  friend class CallRef;
  uint32_t references_ = 0;
  CallNote note_;
};

inline CallRef::CallRef(ServerCall* call) : call_(call) {
  if (call_) ++call_->references_;
}
inline CallRef::~CallRef() {
  if (call_ && --call_->references_ == 0) call_->release();
}

}  // namespace fairlead::net
