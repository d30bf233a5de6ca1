#include "server/proxy/watch_proxy.h"

#include <utility>

#include "server/proxy/forward.h"
#include "server/proxy/wire.h"

namespace fairlead::proxy {

using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

namespace {
constexpr const char* kWatch = "/etcdserverpb.Watch/Watch";
}

// A client's stream.
class WatchProxy::Client final : public net::CallHandler {
 public:
  Client(WatchProxy& proxy, net::ServerCall& c) : call(&c), proxy_(proxy) {
    c.set_drain_mark(kStreamQueueBytesMax / 4);
    stream_ = proxy_.hub_->open_stream(forwarded_metadata(c));
    proxy_.clients_[stream_] = this;
  }
  ~Client() override { leave(); }
  void on_message(net::ServerCall& c, Bytes bytes) override {
    WatchRequest request;
    if (Status s = parse(bytes, request); !s.is_ok()) {
      leave();
      return c.finish(s);
    }
    proxy_.hub_->request(stream_, request);
  }
  void on_half_close(net::ServerCall& c) override {
    leave();
    c.finish({});
  }
  void on_cancel(net::ServerCall&, const Status&) override { leave(); }
  void on_drained(net::ServerCall&) override { proxy_.hub_->drained(stream_); }

  net::ServerCall* call;

 private:
  void leave() {
    if (proxy_.clients_.erase(stream_) > 0) proxy_.hub_->close_stream(stream_);
  }
  WatchProxy& proxy_;
  WatchHub::StreamId stream_ = 0;
};

// A stream to the cluster, one after the other.
class WatchProxy::Up final : public net::ClientCallHandler {
 public:
  Up(WatchProxy& proxy, WatchHub::UpId id, const WatchHub::Who& who) : proxy_(proxy), id_(id), metadata_(who) {}
  ~Up() override { close(); }

  void open() {
    waiting_ = proxy_.upstream_.when_ready([this](const Status& status, Upstream::ClientPtr client) {
      waiting_ = 0;
      if (!status.is_ok()) return open();  // nobody knows how long it takes
      client_ = std::move(client);
      net::CallOptions options;
      options.metadata = &metadata_;
      call_ = &client_->open(kWatch, this, options);
      proxy_.hub_->up_ready(id_);
    });
  }
  void send(const WatchRequest& request) {
    if (call_) call_->send_message(serialize(request));
  }
  void close() {
    if (waiting_) proxy_.upstream_.cancel(std::exchange(waiting_, 0));
    if (call_) std::exchange(call_, nullptr)->cancel();
  }
  void on_message(net::ClientCall&, Bytes bytes) override {
    WatchResponse message;
    if (parse(bytes, message).is_ok()) proxy_.hub_->up_message(id_, message);
  }
  void on_end(net::ClientCall&, const Status& status) override {
    call_ = nullptr;
    WatchProxy& proxy = proxy_;
    // Not at once: an endpoint that ends every stream must not keep the loop busy.
    proxy.world_.loop->add_timer(proxy.world_.loop->now() + kWatchReopenPause,
                                 [&proxy, alive = proxy.alive_, id = id_, status] {
                                   if (*alive && proxy.ups_.contains(id)) proxy.hub_->up_ended(id, status);
                                 });
  }

 private:
  WatchProxy& proxy_;
  const WatchHub::UpId id_;
  const net::Metadata metadata_;
  Upstream::ClientPtr client_;
  net::ClientCall* call_ = nullptr;
  uint64_t waiting_ = 0;
};

WatchProxy::WatchProxy(const io::World& world, Upstream& upstream, const Namespace& name_space)
    : world_(world),
      upstream_(upstream),
      hub_(std::make_unique<WatchHub>(static_cast<WatchHub::Output&>(*this), name_space)) {}

WatchProxy::~WatchProxy() { *alive_ = false; }

void WatchProxy::add_routes(net::Router& router) {
  router.add_stream(kWatch, net::MethodKind::kBidi, [this](net::ServerCall& call) -> std::unique_ptr<net::CallHandler> {
    return std::make_unique<Client>(*this, call);
  });
}

WatchHub::StreamId WatchProxy::listen(const WatchRequest& request, Listener listener) {
  WatchHub::StreamId stream = hub_->open_stream({});
  listeners_[stream] = std::move(listener);
  hub_->request(stream, request);
  return stream;
}

void WatchProxy::close(WatchHub::StreamId stream) {
  if (listeners_.erase(stream) > 0) hub_->close_stream(stream);
}

void WatchProxy::later(std::function<void()> f) {
  world_.loop->post([alive = alive_, f = std::move(f)] {
    if (*alive) f();
  });
}

void WatchProxy::send(WatchHub::StreamId stream, std::span<const Bytes> parts) {
  if (auto at = clients_.find(stream); at != clients_.end()) return at->second->call->send_message(parts);
  if (!listeners_.contains(stream)) return;
  std::string all;
  for (const Bytes& part : parts) all += part.view();
  later([this, stream, all] {  // it may close its stream: outside of the hub
    WatchResponse message;
    auto at = listeners_.find(stream);
    if (at == listeners_.end() || !message.ParseFromString(all)) return;
    Listener listener = at->second;
    listener(message);
  });
}

size_t WatchProxy::queued_bytes(WatchHub::StreamId stream) {
  auto at = clients_.find(stream);
  return at == clients_.end() ? 0 : at->second->call->queued_bytes();
}

void WatchProxy::end(WatchHub::StreamId stream, const Status& status) {
  auto at = clients_.find(stream);
  if (at == clients_.end()) {  // one of the proxy's own, which has to begin again
    WatchResponse over;
    over.set_canceled(true);
    over.set_cancel_reason(std::string(status.message()));
    Bytes bytes = serialize(over);
    return send(stream, {&bytes, 1});
  }
  net::ServerCall* call = at->second->call;
  clients_.erase(at);
  call->finish(status);
}

void WatchProxy::open_up(WatchHub::UpId id, const WatchHub::Who& who) {
  std::shared_ptr<Up>& up = ups_[id];
  if (!up) up = std::make_shared<Up>(*this, id, who);
  up->open();
}

void WatchProxy::send_up(WatchHub::UpId id, const WatchRequest& request) {
  if (auto at = ups_.find(id); at != ups_.end()) at->second->send(request);
}

void WatchProxy::close_up(WatchHub::UpId id) {
  auto node = ups_.extract(id);
  if (node.empty()) return;
  node.mapped()->close();
  later([up = std::move(node.mapped())] {});  // this may be its own callback
}

}  // namespace fairlead::proxy
