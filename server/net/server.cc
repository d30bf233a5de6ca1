#include "server/net/server.h"

#include <algorithm>
#include <list>
#include <utility>

#include "server/net/connection.h"
#include "server/net/h2_session.h"
#include "server/net/server_core.h"

namespace fairlead::net {

// --- shared parts
// --------------------------------------------------------------------------------------------------

namespace {
constexpr size_t kFreeCallsMax = 4096;
}

CallPool::~CallPool() {
  for (GrpcCall* call : free_) delete call;
}

GrpcCall* CallPool::take() {
  ++outstanding_;
  if (free_.empty()) {
    auto* call = new GrpcCall;
    call->pool = this;
    return call;
  }
  GrpcCall* call = free_.back();
  free_.pop_back();
  return call;
}

void CallPool::give(GrpcCall* call) {
  --outstanding_;
  if (free_.size() < kFreeCallsMax && !orphaned_) {
    free_.push_back(call);
  } else {
    delete call;
  }
  if (orphaned_ && outstanding_ == 0) delete this;
}

void CallPool::orphan() {
  orphaned_ = true;
  if (outstanding_ == 0) delete this;
}

bool RateLimit::allow(io::Nanos now, uint32_t per_second, uint32_t burst) {
  if (per_second == 0) return true;
  if (tokens_ < 0) {
    tokens_ = burst;
  } else {
    double earned = static_cast<double>(now - since_) / static_cast<double>(io::kSecond) * per_second;
    tokens_ = std::min<double>(burst, tokens_ + earned);
  }
  since_ = now;
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

Core::Core(io::World& w, ServerOptions o)
    : world(w),
      loop(*w.loop),
      options(std::move(o)),
      pool(new CallPool),
      deadlines(loop,
                [](DeadlineEntry& entry) {
                  static_cast<GrpcCall&>(entry).cancel(Status(Code::kDeadlineExceeded, "context deadline exceeded"),
                                                       true);
                }),
      self(std::make_shared<Core*>(this)) {}

Core::~Core() {
  *self = nullptr;
  graveyard.clear();
  pool->orphan();
}

void Core::mark_dirty(Connection& connection) {
  if (connection.dirty) return;
  connection.dirty = true;
  dirty.push_back(&connection);
  // The hook of this turn has run already: ask for another turn.
  if (last_flush == loop.now() && !wake_posted) {
    wake_posted = true;
    loop.post([alive = self] {
      if (*alive) (*alive)->wake_posted = false;
    });
  }
}

void Core::flush_turn() {
  std::vector<Connection*> now = std::exchange(dirty, {});
  for (Connection* connection : now) {
    connection->dirty = false;
    connection->flush();
  }
  last_flush = loop.now();
  for (Connection* connection : now) {
    connection->after_flush();
    if (connection->index < quiet_until.size()) quiet_until[connection->index] = 0;
  }
  if (dirty.empty()) {
    now.clear();
    dirty = std::move(now);  // keeps the capacity
  }
  std::vector<std::unique_ptr<CallHandler>> ended = std::exchange(graveyard, {});
  ended.clear();
}

// --- the server
// ----------------------------------------------------------------------------------------------------

struct Server::Impl {
  Impl(io::World& world, ServerOptions options);
  ~Impl();
  void accept(std::unique_ptr<io::Stream> stream, Router& router, std::string peer_common_name = {});
  void turn();
  void bury();
  void sweep();
  void arm_sweep();
  void stop();
  void check_drained();

  Core core;
  TlsHandshakes handshakes;
  std::list<TlsListen> tls_listens;
  std::vector<std::unique_ptr<io::Listener>> listeners;
  std::vector<std::unique_ptr<Connection>> connections;
  std::vector<std::unique_ptr<Connection>> dead;
  std::function<void()> on_drained;
  uint64_t hook = 0;
  io::TimerId sweep_timer = 0;
};

Server::Impl::Impl(io::World& world, ServerOptions options)
    : core(world, std::move(options)), handshakes(world, core.options.tls_fresh_max, core.options.tls_begun_max) {
  hook = core.loop.add_turn_hook([this] { turn(); });
  core.on_dead = [this](Connection& connection) {
    size_t index = connection.index;
    if (index == SIZE_MAX) return;
    connection.index = SIZE_MAX;
    dead.push_back(std::move(connections[index]));
    if (index + 1 != connections.size()) {
      connections[index] = std::move(connections.back());
      connections[index]->index = index;
    }
    connections.pop_back();
    core.quiet_until[index] = core.quiet_until.back();
    core.quiet_until.pop_back();
  };
}

Server::Impl::~Impl() {
  stop();
  bury();
  core.loop.remove_turn_hook(hook);
  if (sweep_timer) core.loop.cancel_timer(sweep_timer);
}

void Server::Impl::accept(std::unique_ptr<io::Stream> stream, Router& router, std::string peer_common_name) {
  if (connections.size() >= core.options.connections_max || core.draining) {
    if (!core.draining) ++core.stats.connections_refused;
    return;  // closed
  }
  auto connection = std::make_unique<Connection>(core, std::move(stream), router, std::move(peer_common_name));
  connection->index = connections.size();
  connections.push_back(std::move(connection));
  core.quiet_until.push_back(0);
  arm_sweep();
}

void Server::Impl::turn() {
  if (!core.dirty.empty() || !core.graveyard.empty()) core.flush_turn();
  if (!dead.empty()) bury();
}

void Server::Impl::bury() {
  std::vector<std::unique_ptr<Connection>> gone = std::exchange(dead, {});
  for (auto& connection : gone) {
    if (connection->dirty) std::erase(core.dirty, connection.get());
  }
  gone.clear();
  core.graveyard.clear();
  check_drained();
}

void Server::Impl::check_drained() {
  if (!core.draining || !connections.empty() || !on_drained) return;
  std::exchange(on_drained, nullptr)();
}

void Server::Impl::arm_sweep() {
  if (sweep_timer || connections.empty()) return;
  sweep_timer = core.loop.add_timer(core.loop.now() + kSweepInterval, [this] { sweep(); });
}

void Server::Impl::sweep() {
  sweep_timer = 0;
  io::Nanos now = core.loop.now();
  for (size_t i = connections.size(); i > 0; --i) {
    if (i > connections.size() || core.quiet_until[i - 1] > now) continue;
    Connection& connection = *connections[i - 1];
    connection.sweep(now);
    // Others may have gone with it: its place may be another one now.
    if (connection.index != SIZE_MAX) core.quiet_until[connection.index] = connection.quiet_until();
  }
  arm_sweep();
}

void Server::Impl::stop() {
  listeners.clear();
  handshakes.stop();
  core.draining = true;
  while (!connections.empty()) connections.back()->abort(unavailable("server stopped"));
}

Server::Server(io::World& world, ServerOptions options) : impl_(std::make_unique<Impl>(world, std::move(options))) {}
Server::~Server() = default;

Result<std::string> Server::listen(const std::string& address, Router& router) {
  auto listener = impl_->core.world.net->listen(
      address,
      [impl = impl_.get(), &router](std::unique_ptr<io::Stream> stream) { impl->accept(std::move(stream), router); });
  if (!listener.is_ok()) return listener.status();
  std::string taken = listener.value()->address();
  impl_->listeners.push_back(std::move(listener).value());
  return taken;
}

Result<std::string> Server::listen(const std::string& address, Router& router, TlsListen tls) {
  const TlsListen& how = impl_->tls_listens.emplace_back(std::move(tls));
  auto listener = impl_->core.world.net->listen(
      address, [this, &router, &how](std::unique_ptr<io::Stream> stream) { serve(std::move(stream), router, how); });
  if (!listener.is_ok()) return listener.status();
  std::string taken = listener.value()->address();
  impl_->listeners.push_back(std::move(listener).value());
  return taken;
}

void Server::serve(std::unique_ptr<io::Stream> accepted, Router& router, const TlsListen& tls) {
  if (impl_->core.draining) return;
  impl_->handshakes.accept(
      std::move(accepted), tls,
      [impl = impl_.get(), &router, &tls](std::unique_ptr<io::Stream> stream, const TlsPeer& peer) {
        bool identified = tls.context->config().client_cert_auth && peer.verified;
        impl->accept(std::move(stream), router, identified ? peer.common_name : std::string());
      });
}

void Server::serve(std::unique_ptr<io::Stream> stream, Router& router, std::string peer_common_name) {
  impl_->accept(std::move(stream), router, std::move(peer_common_name));
}

void Server::drain(std::function<void()> done) {
  impl_->listeners.clear();
  impl_->handshakes.stop();
  impl_->core.draining = true;
  impl_->on_drained = std::move(done);
  for (size_t i = impl_->connections.size(); i > 0; --i) impl_->connections[i - 1]->drain();
  impl_->core.loop.post([alive = impl_->core.self, impl = impl_.get()] {
    if (*alive) impl->check_drained();
  });
}

void Server::stop() { impl_->stop(); }

const ServerOptions& Server::options() const { return impl_->core.options; }
const ServerStats& Server::stats() const { return impl_->core.stats; }
const TlsStats& Server::tls_stats() const { return impl_->handshakes.stats(); }

}  // namespace fairlead::net
