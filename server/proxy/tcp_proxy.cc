#include "server/proxy/tcp_proxy.h"

#include <functional>
#include <list>
#include <utility>

#include "server/net/rate_limit.h"

namespace fairlead::proxy {
namespace {

class Pair;

// One of the two streams of a pair, and what waits to be written to it.
struct Side final : io::StreamHandler {
  void on_connected() override;
  void on_readable() override;
  void on_writable() override;

  Pair* pair = nullptr;
  Side* other = nullptr;
  std::unique_ptr<io::Stream> stream;
  std::string waiting;  // from the other side, not yet taken by this one
  size_t taken = 0;     // of it
  bool ended = false;   // it will say no more
};

}  // namespace

struct TcpProxy::Impl {
  Impl(const io::World& w, TcpProxyOptions o);
  ~Impl();

  void accept(std::unique_ptr<io::Stream> stream);
  void close(Pair& pair);
  void failed(size_t endpoint, const Status& why);
  void retry();
  void probe(size_t endpoint);

  // Looks whether an endpoint answers again.
  struct Probe final : io::StreamHandler {
    void on_connected() override { impl->probed(*this, {}); }
    void on_readable() override {
      char byte;
      io::IoResult got = stream->read({&byte, 1});
      if (!got.error.is_ok()) impl->probed(*this, got.error);
    }
    Impl* impl = nullptr;
    size_t endpoint = 0;
    std::unique_ptr<io::Stream> stream;
    io::TimerId timer = 0;
    bool ended = false;
  };
  void probed(Probe& probe, const Status& outcome);
  void later(std::function<void()> f);

  const io::World world;
  const TcpProxyOptions options;
  EndpointSet endpoints;
  TcpProxyStats stats;
  std::unique_ptr<io::Listener> listener;
  std::list<std::unique_ptr<Pair>> pairs;
  std::list<std::unique_ptr<Pair>> closed;  // until the next turn: a stream may be in its own callback
  std::list<std::unique_ptr<Probe>> probes;
  std::vector<char> buffer;
  io::Nanos retry_delay = 0;
  net::RateLimit log_rate;
  io::TimerId retry_timer = 0;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
};

namespace {

class Pair {
 public:
  Pair(TcpProxy::Impl& impl, std::unique_ptr<io::Stream> client) : impl_(impl) {
    client_.stream = std::move(client);
    for (Side* side : {&client_, &server_}) side->pair = this;
    client_.other = &server_;
    server_.other = &client_;
  }
  ~Pair() { impl_.world.loop->cancel_timer(timer_); }

  // Nothing is read from the client until an endpoint has answered.
  void dial() {
    std::optional<size_t> next = impl_.endpoints.pick(impl_.world.random->next());
    if (!next) {
      ++impl_.stats.unreachable;
      return close();
    }
    endpoint_ = *next;
    server_.stream = impl_.world.net->connect(impl_.endpoints.at(endpoint_).address);
    server_.stream->set_handler(&server_);
    timer_ = impl_.world.loop->add_timer(impl_.world.loop->now() + kTcpDialTimeout,
                                         [this] { dial_failed(unavailable("connect: no answer in time")); });
  }

  void connected() {
    if (std::exchange(connected_, true)) return;
    impl_.world.loop->cancel_timer(std::exchange(timer_, 0));
    client_.stream->set_handler(&client_);
  }

  void readable(Side& from) {
    if (closing_ || !from.other->waiting.empty()) return;
    if (!connected_) {
      io::IoResult got = from.stream->read({impl_.buffer.data(), 1});
      if (!got.error.is_ok()) dial_failed(got.error);
      return;
    }
    io::IoResult got = from.stream->read(impl_.buffer);
    active_at_ = impl_.world.loop->now();
    if (got.bytes > 0) pass_on(from, {impl_.buffer.data(), got.bytes});
    if (closing_) return;
    if (!got.error.is_ok()) return close();
    if (got.eof) end(from);
  }

  void writable(Side& to) {
    if (closing_ || to.waiting.empty()) return;
    std::string_view rest = std::string_view(to.waiting).substr(to.taken);
    io::IoResult put = to.stream->writev({&rest, 1});
    if (!put.error.is_ok()) return close();
    active_at_ = impl_.world.loop->now();
    to.taken += put.bytes;
    if (to.taken < to.waiting.size()) return;
    to.waiting = std::string();
    to.taken = 0;
    if (to.other->ended) return finish(to);
    to.other->stream->pause_reading(false);
  }

  std::list<std::unique_ptr<Pair>>::iterator place;
  bool closing_ = false;

 private:
  void dial_failed(const Status& why) {
    impl_.world.loop->cancel_timer(std::exchange(timer_, 0));
    impl_.failed(endpoint_, why);
    server_.stream->set_handler(nullptr);
    impl_.later([this, gone = std::shared_ptr<io::Stream>(std::move(server_.stream))] { dial(); });
  }

  void pass_on(Side& from, std::string_view bytes) {
    Side& to = *from.other;
    io::IoResult put = to.stream->writev({&bytes, 1});
    if (!put.error.is_ok()) return close();
    if (put.bytes == bytes.size()) return;
    to.waiting = bytes.substr(put.bytes);
    from.stream->pause_reading(true);
  }

  void end(Side& from) {
    from.ended = true;
    from.stream->pause_reading(true);
    if (from.other->waiting.empty()) finish(*from.other);
    if (!closing_) watch_half_open();
  }

  // All that the other side had to say is written.
  void finish(Side& to) {
    to.stream->shutdown_write();
    if (to.ended && to.other->waiting.empty()) close();
  }

  void watch_half_open() {
    io::Loop& loop = *impl_.world.loop;
    if (timer_ != 0) return;
    timer_ = loop.add_timer(active_at_ + kHalfOpenIdleMax, [this, &loop] {
      timer_ = 0;
      if (loop.now() - active_at_ >= kHalfOpenIdleMax) return close();
      watch_half_open();
    });
  }

  void close() {
    if (!std::exchange(closing_, true)) impl_.close(*this);
  }

  TcpProxy::Impl& impl_;
  Side client_, server_;
  size_t endpoint_ = 0;
  bool connected_ = false;
  io::Nanos active_at_ = 0;
  io::TimerId timer_ = 0;  // of the connection, then of the half-open pair
};

void Side::on_connected() { pair->connected(); }
void Side::on_readable() { pair->readable(*this); }
void Side::on_writable() { pair->writable(*this); }

}  // namespace

TcpProxy::Impl::Impl(const io::World& w, TcpProxyOptions o)
    : world(w), options(std::move(o)), endpoints(options.endpoints), buffer(kTcpReadBytes) {
  retry_delay = options.retry_delay > 0 ? options.retry_delay : kRetryDelayDefault;
  retry_timer = world.loop->add_timer(world.loop->now() + retry_delay, [this] { retry(); });
}

TcpProxy::Impl::~Impl() {
  *alive = false;
  world.loop->cancel_timer(retry_timer);
  for (auto& probe : probes) world.loop->cancel_timer(probe->timer);
}

void TcpProxy::Impl::later(std::function<void()> f) {
  world.loop->post([alive = alive, f = std::move(f)] {
    if (*alive) f();
  });
}

void TcpProxy::Impl::accept(std::unique_ptr<io::Stream> stream) {
  ++stats.total;
  if (stats.open >= options.connections_max) {
    ++stats.refused;
    if (log_rate.allow(world.loop->now(), 1, 1))
      world.log->warn("too many connections: one more is closed", {{"connections-max", options.connections_max}});
    return;
  }
  ++stats.open;
  pairs.push_front(std::make_unique<Pair>(*this, std::move(stream)));
  pairs.front()->place = pairs.begin();
  pairs.front()->dial();
}

void TcpProxy::Impl::close(Pair& pair) {
  --stats.open;
  bool first = closed.empty();
  closed.splice(closed.end(), pairs, pair.place);
  if (first) later([this] { closed.clear(); });
}

void TcpProxy::Impl::failed(size_t endpoint, const Status& why) {
  if (!endpoints.set_active(endpoint, false)) return;
  world.log->warn("deactivated endpoint", {{"address", endpoints.at(endpoint).address},
                                           {"interval-ms", retry_delay / io::kMillisecond},
                                           {"error", why.message()}});
}

void TcpProxy::Impl::retry() {
  retry_timer = world.loop->add_timer(world.loop->now() + retry_delay, [this] { retry(); });
  for (size_t i = 0; i < endpoints.size(); ++i)
    if (!endpoints.active(i)) probe(i);
}

void TcpProxy::Impl::probe(size_t endpoint) {
  for (const auto& one : probes)
    if (one->endpoint == endpoint) return;  // still at it
  probes.push_back(std::make_unique<Probe>());
  Probe& probe = *probes.back();
  probe.impl = this;
  probe.endpoint = endpoint;
  probe.stream = world.net->connect(endpoints.at(endpoint).address);
  probe.stream->set_handler(&probe);
  probe.timer = world.loop->add_timer(world.loop->now() + kTcpDialTimeout,
                                      [this, &probe] { probed(probe, unavailable("connect: no answer in time")); });
}

void TcpProxy::Impl::probed(Probe& probe, const Status& outcome) {
  if (std::exchange(probe.ended, true)) return;
  world.loop->cancel_timer(probe.timer);
  probe.stream->set_handler(nullptr);
  const std::string& address = endpoints.at(probe.endpoint).address;
  if (outcome.is_ok()) {
    endpoints.set_active(probe.endpoint, true);
    world.log->info("activated", {{"address", address}});
  } else {
    world.log->warn(
        "failed to activate endpoint (stay inactive for another interval)",
        {{"address", address}, {"interval-ms", retry_delay / io::kMillisecond}, {"error", outcome.message()}});
  }
  later([this, gone = &probe] { probes.remove_if([gone](const auto& one) { return one.get() == gone; }); });
}

TcpProxy::TcpProxy(const io::World& world, TcpProxyOptions options)
    : impl_(std::make_unique<Impl>(world, std::move(options))) {}
TcpProxy::~TcpProxy() = default;

Result<std::string> TcpProxy::listen(const std::string& address) {
  ASSIGN_OR_RETURN(impl_->listener, impl_->world.net->listen(address, [this](std::unique_ptr<io::Stream> stream) {
    impl_->accept(std::move(stream));
  }));
  return impl_->listener->address();
}

const TcpProxyStats& TcpProxy::stats() const { return impl_->stats; }

}  // namespace fairlead::proxy
