// What the sessions of one server share. Inside of net.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/net/call.h"
#include "server/net/deadlines.h"
#include "server/net/out_queue.h"
#include "server/net/rate_limit.h"
#include "server/net/server.h"

namespace fairlead::net {

class Connection;
class GrpcCall;

// Pooled call objects. Outlives its server while somebody still holds a CallRef.
class CallPool {
 public:
  GrpcCall* take();
  void give(GrpcCall* call);
  void orphan();  // the server is gone: deletes itself with the last call

 private:
  ~CallPool();
  std::vector<GrpcCall*> free_;
  size_t outstanding_ = 0;
  bool orphaned_ = false;
};

struct Core {
  Core(io::World& world, ServerOptions options);
  ~Core();

  void mark_dirty(Connection& connection);  // flushed at the end of this turn
  void flush_turn();                        // the turn hook

  io::World& world;
  io::Loop& loop;
  const ServerOptions options;
  ServerStats stats;
  CallPool* pool;
  Deadlines deadlines;
  std::vector<Connection*> dirty;
  // By index of the connection: until then the sweep need not look at it, unless it is flushed before. Of thousands of
  // idle connections a sweep reads only this.
  std::vector<io::Nanos> quiet_until;
  std::vector<std::unique_ptr<CallHandler>> graveyard;  // handlers of ended calls, until the end of the turn
  std::function<void(Connection&)> on_dead;
  bool draining = false;
  io::Nanos last_flush = -1;
  RateLimit tls_on_plain_log;
  bool wake_posted = false;
  std::shared_ptr<Core*> self;  // emptied on destruction: for posted closures
};

// One protocol on a connection.
class Session {
 public:
  virtual ~Session() = default;
  // An error ends the connection once what is queued is written.
  virtual Status on_bytes(std::string_view bytes) = 0;
  virtual bool on_eof() = 0;  // true: nothing is left to be said, close now
  // Appends up to about kFillBytes; true if there is more.
  virtual bool fill(OutQueue& out) = 0;
  virtual void after_flush() {}
  virtual bool finished() const = 0;              // all is said: close when `out` is written
  virtual bool stalled(io::Nanos now) const = 0;  // the client takes nothing of what waits for it
  virtual Status sweep(io::Nanos now) = 0;        // about once a second; an error closes
  // No sweep before that would do or find anything, as long as the connection is not flushed. 0: look each time.
  virtual io::Nanos quiet_until() const = 0;
  virtual void drain() = 0;
  virtual void lost(const Status& reason) = 0;  // the connection is gone: cancel everything
};

constexpr size_t kFillBytes = 512 * 1024;
constexpr size_t kTurnWriteBytesMax =
    4 * 1024 * 1024;                             // of one connection, so that it does not keep the others waiting
constexpr size_t kReadBufferBytes = 256 * 1024;  // one for all sessions of a thread
constexpr io::Nanos kSweepInterval = io::kSecond;
constexpr io::Nanos kLingerTimeout = 2 * io::kSecond;  // for the client to read our last words

std::span<char> thread_read_buffer();

std::unique_ptr<Session> make_h2_session(Core& core, Connection& connection);
std::unique_ptr<Session> make_http1_session(Core& core, Connection& connection);

}  // namespace fairlead::net
