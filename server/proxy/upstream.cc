#include "server/proxy/upstream.h"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

namespace fairlead::proxy {

std::string dial_address(const std::string& endpoint, bool secure_by_default) {
  bool secure = secure_by_default;
  std::string address = endpoint;
  if (size_t scheme = endpoint.find("://"); scheme != std::string::npos) {
    std::string name = endpoint.substr(0, scheme);
    secure = name == "https" || name == "unixs";
    address = endpoint.substr(scheme + 3);
    if (name == "unix" || name == "unixs") return (secure ? "tls:unix:" : "unix:") + address;
    address = address.substr(0, address.find('/'));
  }
  return (secure ? "tls:" : "") + address;
}

namespace {

std::string authority_of(const std::string& address) {
  std::string out = address.starts_with("tls:") ? address.substr(4) : address;
  return out.starts_with("unix:") ? "localhost" : out;
}

}  // namespace

struct Upstream::Impl : std::enable_shared_from_this<Upstream::Impl> {
  struct Connection {
    std::string endpoint;
    ClientPtr client;
    io::Nanos pause = 0;
    io::TimerId timer = 0;
    uint64_t generation = 0;
    bool dropped = false;
  };
  struct Waiting {
    std::function<void(const Status&, ClientPtr)> then;
    io::TimerId timer = 0;
  };
  struct Running {
    UpstreamCall call;
    Done done;
    ClientPtr client;  // null: waits for one
    uint64_t client_call = 0;
    uint64_t waiting = 0;
    int attempts = 0;
  };

  Impl(const io::World& w, UpstreamOptions o) : world(w), options(std::move(o)) {}

  void close() {
    closed = true;
    for (auto& c : connections) drop(*c);
    for (auto& [id, w] : waiting) world.loop->cancel_timer(w.timer);
    waiting.clear();
    for (auto& [id, r] : running)
      if (r.client) r.client->cancel_unary(r.client_call);
    running.clear();
  }

  // ---- connections

  void drop(Connection& c) {
    c.dropped = true;
    ++c.generation;
    world.loop->cancel_timer(c.timer);
    retire(std::move(c.client));
  }

  // Not inside the client's own work.
  void retire(ClientPtr client) {
    if (client) world.loop->post([client = std::move(client)] {});
  }

  void dial(const std::shared_ptr<Connection>& c) {
    if (c->dropped) return;
    std::string address = dial_address(c->endpoint, options.secure_by_default);
    net::ClientOptions o = options.client;
    o.authority = authority_of(address);
    uint64_t generation = ++c->generation;
    c->client = std::make_shared<net::Client>(*world.loop, world.net->connect(address), o);
    std::weak_ptr<Impl> weak = weak_from_this();
    auto mine = [weak, c, generation] {
      auto self = weak.lock();
      return self && !self->closed && c->generation == generation ? self : nullptr;
    };
    c->client->on_ready([this, mine, c] {
      if (!mine()) return;
      c->pause = 0;
      world.loop->post([this, mine] {  // out of the client's own work
        if (mine()) serve_waiting();
      });
    });
    c->client->on_broken([this, mine, c](const Status& why) {
      if (!mine()) return;
      last_error = c->endpoint + ": " + std::string(why.message());
      world.log->warn("lost an endpoint", {{"endpoint", c->endpoint}, {"error", why.message()}});
      retire(std::move(c->client));
      c->pause = std::clamp(c->pause * 2, kUpstreamPauseMin, kUpstreamPauseMax);
      c->timer = world.loop->add_timer(world.loop->now() + c->pause, [this, mine, c] {
        if (mine()) dial(c);
      });
    });
  }

  ClientPtr pick() {
    for (size_t i = 0; i < connections.size(); ++i) {
      const Connection& c = *connections[turn++ % connections.size()];
      if (c.client && c.client->ready()) return c.client;
    }
    return nullptr;
  }

  // ---- who waits for a connection

  uint64_t wait(std::function<void(const Status&, ClientPtr)> then, io::Nanos deadline) {
    uint64_t id = ++last_id;
    io::Nanos end = world.loop->now() + kUpstreamWaitMax;
    if (deadline > 0) end = std::min(end, deadline);
    Waiting& w = waiting[id];
    w.then = std::move(then);
    w.timer = world.loop->add_timer(end, [this, id] {
      auto node = waiting.extract(id);
      if (node.empty()) return;
      std::string why = last_error.empty() ? "" : ": " + last_error;
      node.mapped().then(unavailable("no endpoint of the cluster can be reached" + why), nullptr);
    });
    return id;
  }

  void serve_waiting() {
    while (!waiting.empty()) {
      ClientPtr client = pick();
      if (!client) return;
      auto node = waiting.extract(waiting.begin());
      world.loop->cancel_timer(node.mapped().timer);
      node.mapped().then({}, std::move(client));
    }
  }

  // ---- unary calls

  void start(uint64_t id) {
    Running& r = running.at(id);
    if (ClientPtr client = pick()) return run_on(id, std::move(client));
    r.waiting = wait(
        [this, id](const Status& status, ClientPtr client) {
          auto at = running.find(id);
          if (at == running.end()) return;
          at->second.waiting = 0;
          if (!status.is_ok()) return finish(id, status, {});
          run_on(id, std::move(client));
        },
        r.call.deadline);
  }

  void run_on(uint64_t id, ClientPtr client) {
    Running& r = running.at(id);
    net::CallOptions o;
    o.metadata = &r.call.metadata;
    if (r.call.deadline > 0) o.timeout = std::max<io::Nanos>(r.call.deadline - world.loop->now(), io::kMillisecond);
    ++r.attempts;
    std::weak_ptr<Impl> weak = weak_from_this();
    r.client = client;
    r.client_call = client->unary(
        r.call.path, r.call.request,
        [weak, id](const Status& status, Bytes reply) {
          if (auto self = weak.lock()) self->ended(id, status, std::move(reply));
        },
        o);
  }

  void ended(uint64_t id, const Status& status, Bytes reply) {
    auto at = running.find(id);
    if (at == running.end()) return;
    Running& r = at->second;
    bool lost = status.code() == Code::kUnavailable && r.client->broken();
    retire(std::move(r.client));
    if (lost && r.call.repeatable && r.attempts < kUpstreamAttemptsMax) return start(id);
    finish(id, status, std::move(reply));
  }

  void finish(uint64_t id, const Status& status, Bytes reply) {
    auto node = running.extract(id);
    if (!node.empty()) node.mapped().done(status, std::move(reply));
  }

  const io::World world;
  const UpstreamOptions options;
  std::vector<std::shared_ptr<Connection>> connections;
  std::map<uint64_t, Waiting> waiting;  // oldest first
  std::map<uint64_t, Running> running;
  std::string last_error;
  size_t turn = 0;
  uint64_t last_id = 0;
  bool closed = false;
};

Upstream::Upstream(const io::World& world, UpstreamOptions options)
    : impl_(std::make_shared<Impl>(world, std::move(options))) {
  impl_->turn = impl_->world.random->next() % kUpstreamEndpointsMax;
  set_endpoints(impl_->options.endpoints);
}

Upstream::~Upstream() { impl_->close(); }

uint64_t Upstream::unary(UpstreamCall call, Done done) {
  uint64_t id = ++impl_->last_id;
  Status refused;
  size_t max = impl_->options.send_bytes_max;
  if (max > 0 && call.request.size() > max)
    refused =
        Status(Code::kResourceExhausted, "trying to send message larger than max (" +
                                             std::to_string(call.request.size()) + " vs. " + std::to_string(max) + ")");
  else if (impl_->waiting.size() >= kUpstreamWaitingMax)
    refused = unavailable("too many calls wait for an endpoint of the cluster");
  Impl::Running& running = impl_->running[id];
  running.call = std::move(call);
  running.done = std::move(done);
  if (refused.is_ok()) {
    impl_->start(id);
    return id;
  }
  std::weak_ptr<Impl> weak = impl_;
  impl_->world.loop->post([weak, id, refused] {
    if (auto self = weak.lock()) self->finish(id, refused, {});
  });
  return id;
}

void Upstream::cancel(uint64_t id) {
  auto drop_waiting = [this](uint64_t waiting_id) {
    auto node = impl_->waiting.extract(waiting_id);
    if (!node.empty()) impl_->world.loop->cancel_timer(node.mapped().timer);
  };
  drop_waiting(id);
  auto node = impl_->running.extract(id);
  if (node.empty()) return;
  drop_waiting(node.mapped().waiting);
  if (!node.mapped().client) return;
  node.mapped().client->cancel_unary(node.mapped().client_call);
  impl_->retire(std::move(node.mapped().client));
}

Upstream::ClientPtr Upstream::client() { return impl_->pick(); }

uint64_t Upstream::when_ready(std::function<void(const Status&, ClientPtr)> then) {
  uint64_t id = impl_->wait(std::move(then), 0);
  std::weak_ptr<Impl> weak = impl_;
  impl_->world.loop->post([weak] {
    if (auto self = weak.lock(); self && !self->closed) self->serve_waiting();
  });
  return id;
}

void Upstream::set_endpoints(const std::vector<std::string>& endpoints) {
  auto has = [](const auto& list, const std::string& name, auto name_of) {
    return std::any_of(list.begin(), list.end(), [&](const auto& one) { return name_of(one) == name; });
  };
  auto& connections = impl_->connections;
  std::erase_if(connections, [&](const auto& c) {
    bool gone = !has(endpoints, c->endpoint, [](const std::string& one) { return one; });
    if (gone) impl_->drop(*c);
    return gone;
  });
  for (const std::string& endpoint : endpoints) {
    if (connections.size() >= kUpstreamEndpointsMax) break;
    if (has(connections, endpoint, [](const auto& c) { return c->endpoint; })) continue;
    connections.push_back(std::make_shared<Impl::Connection>());
    connections.back()->endpoint = endpoint;
    impl_->dial(connections.back());
  }
}

std::vector<std::string> Upstream::endpoints() const {
  std::vector<std::string> out;
  for (const auto& c : impl_->connections) out.push_back(c->endpoint);
  return out;
}

bool Upstream::secure() const { return impl_->options.secure_by_default; }

}  // namespace fairlead::proxy
