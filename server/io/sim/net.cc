// Byte streams between simulated hosts. A connection has two sides and two pipes; a pipe is a queue of pieces with
// delivery times that never fall, so bytes stay in order whatever the links do. A piece whose link is cut waits and is
// tried again, as TCP's retransmission does; nothing is ever lost inside a connection that lives.
#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>

#include "base/check.h"
#include "server/io/sim/process.h"

namespace fairlead::io::sim {
namespace {

constexpr int kConnectTries = 6;
constexpr Nanos kConnectRetry = 1 * kSecond;

std::string host_of(const std::string& address) { return address.substr(0, address.rfind(':')); }
std::string port_of(const std::string& address) { return address.substr(address.rfind(':') + 1); }

}  // namespace

class SimStream;
class SimListener;
class SimNet;

struct Piece {
  enum class Kind { kData, kFin, kReset } kind;
  Nanos at;
  std::string bytes;
};

struct Side {
  HostId host = 0;
  Life life;
  SimNet* net = nullptr;
  SimStream* stream = nullptr;  // null once its owner deleted it, or its process died
  std::string address;
  // The pipe that leads to this side.
  std::deque<Piece> coming;
  Nanos last_at = 0;
  bool retry_planned = false;
  // What has arrived and is not yet read.
  std::string inbox;
  bool eof = false;
  Status error;
  bool told_error = false;
  size_t unread_bytes = 0;  // sent to this side and not yet read by it
  bool peer_wants_room = false;
  bool closed = false;    // no stream reads here any more
  bool vanished = false;  // power cut: nothing answers
};

struct Connection {
  Side sides[2];
  bool established = false;
};

struct SimNetwork::Impl {
  Impl(Scheduler* s, Prng p, NetFaults* f) : scheduler(s), prng(p), faults(f) {}
  Scheduler* scheduler;
  Prng prng;
  NetFaults* faults;
  NetStats stats;
  std::map<std::string, HostId> hosts;
  std::map<HostId, std::string> addresses;
  std::set<HostId> dark;  // machines without power: they answer nothing
  std::map<std::pair<HostId, std::string>, SimListener*> listeners;
  std::set<std::pair<HostId, HostId>> cut_links;
  std::map<std::pair<HostId, HostId>, Nanos> clogs;
  std::vector<std::weak_ptr<Connection>> connections;
  uint64_t next_port = 40000;

  bool link_up(HostId from, HostId to) const { return from == to || !cut_links.count({from, to}); }
  Nanos delay(HostId from, HostId to) {
    auto it = clogs.find({from, to});
    Nanos base = from == to ? 20 * kMicrosecond : faults->delay;
    return prng.delay(base) + (it == clogs.end() ? 0 : prng.between(0, it->second));
  }
  bool answers(HostId host) const { return !dark.count(host); }

  void send(const std::shared_ptr<Connection>& c, int to, Piece::Kind kind, std::string bytes);
  void pump(const std::shared_ptr<Connection>& c, int to);
  void deliver(const std::shared_ptr<Connection>& c, int to, Piece piece);
  void wake(Side& side);
  void try_connect(const std::shared_ptr<Connection>& c, const std::string& address, int tries_left);
  void fail_connect(const std::shared_ptr<Connection>& c, Status why);
  void establish(const std::shared_ptr<Connection>& c, SimListener* listener);
};

class SimStream final : public Stream {
 public:
  SimStream(SimNetwork::Impl* network, std::shared_ptr<Connection> c, int side, uint64_t id)
      : network_(network), connection_(std::move(c)), index_(side), id_(id) {
    me().stream = this;
  }
  ~SimStream() override;

  void set_handler(StreamHandler* handler) override {
    handler_ = handler;
    network_->wake(me());
  }
  IoResult read(std::span<char> into) override;
  IoResult writev(std::span<const std::string_view> parts) override;
  void shutdown_write() override;
  void pause_reading(bool paused) override {
    paused_ = paused;
    network_->wake(me());
  }
  std::string peer_address() const override { return connection_->sides[1 - index_].address; }
  std::string local_address() const override { return connection_->sides[index_].address; }

  uint64_t id() const { return id_; }
  bool dispatch();  // tells the handler what there is; true if there will be more to tell
  void tell_connected() { connected_to_tell_ = true; }
  void tell_writable() { room_ = true; }
  Side& me() { return connection_->sides[index_]; }

 private:
  bool readable() const {
    const Side& side = connection_->sides[index_];
    return !side.inbox.empty() || side.eof || (!side.error.is_ok() && !side.told_error);
  }

  SimNetwork::Impl* network_;
  std::shared_ptr<Connection> connection_;
  int index_;
  uint64_t id_;
  StreamHandler* handler_ = nullptr;
  bool paused_ = false;
  bool connected_to_tell_ = false;
  bool want_write_ = false;
  bool room_ = false;
  bool fin_sent_ = false;
};

class SimListener final : public Listener {
 public:
  SimListener(SimNetwork::Impl* network, SimNet* net, HostId host, std::string port,
              std::function<void(std::unique_ptr<Stream>)> on_accept)
      : network_(network), net_(net), host_(host), port_(std::move(port)), on_accept_(std::move(on_accept)) {
    network_->listeners[{host_, port_}] = this;
  }
  ~SimListener() override {
    *alive_ = false;
    auto it = network_->listeners.find({host_, port_});
    if (it != network_->listeners.end() && it->second == this) network_->listeners.erase(it);
  }
  std::string address() const override { return network_->addresses[host_] + ":" + port_; }

  SimNet* net() { return net_; }
  std::shared_ptr<bool> alive() { return alive_; }
  void accept(std::unique_ptr<Stream> stream) { on_accept_(std::move(stream)); }

 private:
  SimNetwork::Impl* network_;
  SimNet* net_;
  HostId host_;
  std::string port_;
  std::function<void(std::unique_ptr<Stream>)> on_accept_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

class SimNet final : public Net {
 public:
  SimNet(SimNetwork::Impl* network, HostId host, Life life, SimLoop* loop)
      : network_(network), host_(host), life_(std::move(life)), loop_(loop) {
    loop_->dispatch_streams = [this] { return dispatch(); };
  }
  Result<std::unique_ptr<Listener>> listen(const std::string& address,
                                           std::function<void(std::unique_ptr<Stream>)> on_accept) override;
  std::unique_ptr<Stream> connect(const std::string& address) override;

  HostId host() const { return host_; }
  const Life& life() const { return life_; }
  SimLoop* loop() { return loop_; }
  std::unique_ptr<SimStream> make_stream(std::shared_ptr<Connection> c, int side);
  void forget(uint64_t id) { streams_.erase(id); }

 private:
  bool dispatch();

  SimNetwork::Impl* network_;
  HostId host_;
  Life life_;
  SimLoop* loop_;
  std::map<uint64_t, SimStream*> streams_;
  uint64_t next_stream_ = 1;
};

// --- pipes -----------------------------------------------------------------------------------------------------------

void SimNetwork::Impl::wake(Side& side) {
  if (side.life && side.life->alive && side.net != nullptr) side.net->loop()->wake();
}

void SimNetwork::Impl::send(const std::shared_ptr<Connection>& c, int to, Piece::Kind kind, std::string bytes) {
  Side& target = c->sides[to];
  HostId from = c->sides[1 - to].host;
  target.last_at = std::max(target.last_at, scheduler->now() + delay(from, target.host));
  target.coming.push_back({kind, target.last_at, std::move(bytes)});
  scheduler->at(target.last_at, nullptr, "net.piece", [this, c, to] { pump(c, to); });
}

void SimNetwork::Impl::pump(const std::shared_ptr<Connection>& c, int to) {
  Side& target = c->sides[to];
  HostId from = c->sides[1 - to].host;
  while (!target.coming.empty() && target.coming.front().at <= scheduler->now()) {
    bool deaf = target.vanished && !answers(target.host);
    if (!link_up(from, target.host) || deaf) {
      ++stats.pieces_held;
      if (target.retry_planned) return;
      target.retry_planned = true;
      scheduler->after(prng.between(50, 300) * kMillisecond, nullptr, "net.retry", [this, c, to] {
        c->sides[to].retry_planned = false;
        pump(c, to);
      });
      return;
    }
    Piece piece = std::move(target.coming.front());
    target.coming.pop_front();
    deliver(c, to, std::move(piece));
  }
}

void SimNetwork::Impl::deliver(const std::shared_ptr<Connection>& c, int to, Piece piece) {
  Side& target = c->sides[to];
  Side& sender = c->sides[1 - to];
  if (target.closed || target.vanished) {
    // Nobody is there: TCP answers with a reset, unless there is nobody to reset either.
    if (piece.kind == Piece::Kind::kData && !sender.closed && !sender.vanished) {
      send(c, 1 - to, Piece::Kind::kReset, "");
    }
    return;
  }
  switch (piece.kind) {
    case Piece::Kind::kData:
      if (!target.error.is_ok()) return;
      target.inbox += piece.bytes;
      break;
    case Piece::Kind::kFin:
      target.eof = true;
      break;
    case Piece::Kind::kReset:
      ++stats.resets;
      if (target.error.is_ok())
        target.error = unavailable("read from " + sender.address + ": connection reset by peer");
      target.inbox.clear();
      target.told_error = false;
      break;
  }
  wake(target);
}

// --- connecting ------------------------------------------------------------------------------------------------------

void SimNetwork::Impl::fail_connect(const std::shared_ptr<Connection>& c, Status why) {
  Side& client = c->sides[0];
  client.error = std::move(why);
  wake(client);
}

void SimNetwork::Impl::try_connect(const std::shared_ptr<Connection>& c, const std::string& address, int tries_left) {
  Side& client = c->sides[0];
  Side& server = c->sides[1];
  if (client.closed || client.vanished) return;
  bool reachable = link_up(client.host, server.host) && link_up(server.host, client.host) && answers(server.host);
  if (!reachable) {
    ++stats.pieces_held;
    if (tries_left == 0) {
      fail_connect(c, unavailable("connect " + address + ": connection timed out"));
      return;
    }
    scheduler->after(kConnectRetry, client.life, "net.syn",
                     [this, c, address, tries_left] { try_connect(c, address, tries_left - 1); });
    return;
  }
  auto it = listeners.find({server.host, port_of(address)});
  if (it == listeners.end()) {
    ++stats.refused;
    scheduler->after(delay(server.host, client.host), client.life, "net.refused", [this, c, address] {
      fail_connect(c, unavailable("connect " + address + ": connection refused"));
    });
    return;
  }
  establish(c, it->second);
}

void SimNetwork::Impl::establish(const std::shared_ptr<Connection>& c, SimListener* listener) {
  ++stats.connections;
  Side& client = c->sides[0];
  Side& server = c->sides[1];
  server.life = listener->net()->life();
  server.net = listener->net();
  // The kernel accepts before the process does: the stream exists from here on.
  auto stream = std::make_shared<std::unique_ptr<SimStream>>(server.net->make_stream(c, 1));
  server.net->loop()->post([listener, alive = listener->alive(), stream] {
    if (*alive) listener->accept(std::move(*stream));
  });
  scheduler->after(delay(server.host, client.host), client.life, "net.connected", [this, c] {
    Side& side = c->sides[0];
    if (side.closed || side.stream == nullptr) return;
    c->established = true;
    side.stream->tell_connected();
    wake(side);
  });
}

// --- stream ----------------------------------------------------------------------------------------------------------

SimStream::~SimStream() {
  Side& side = me();
  side.stream = nullptr;
  if (side.net != nullptr) side.net->forget(id_);
  if (!side.life || !side.life->alive) return;  // process_ended() has told or will tell the other side
  side.closed = true;
  bool unread = !side.inbox.empty();
  side.inbox.clear();
  bool server_knows = connection_->sides[1].net != nullptr;
  if (!server_knows || !side.error.is_ok()) return;
  if (unread)
    network_->send(connection_, 1 - index_, Piece::Kind::kReset, "");
  else if (!fin_sent_)
    network_->send(connection_, 1 - index_, Piece::Kind::kFin, "");
}

IoResult SimStream::read(std::span<char> into) {
  IoResult result;
  Side& side = me();
  if (!side.life->alive) {
    result.error = unavailable("the process is gone");
    return result;
  }
  if (!side.error.is_ok()) {
    side.told_error = true;
    result.error = side.error;
    return result;
  }
  if (side.inbox.empty()) {
    result.eof = side.eof;
    result.would_block = !side.eof;
    return result;
  }
  size_t n = std::min(into.size(), side.inbox.size());
  if (n > 1 && network_->prng.chance(0.2)) n = 1 + network_->prng.below(n);  // a stream has no message borders
  std::copy_n(side.inbox.data(), n, into.data());
  side.inbox.erase(0, n);
  result.bytes = n;
  side.unread_bytes -= n;
  if (side.peer_wants_room && side.unread_bytes < network_->faults->window_bytes / 2) {
    side.peer_wants_room = false;
    Side& peer = connection_->sides[1 - index_];
    network_->scheduler->after(network_->delay(side.host, peer.host), nullptr, "net.room",
                               [network = network_, c = connection_, to = 1 - index_] {
                                 Side& target = c->sides[to];
                                 if (target.stream == nullptr) return;
                                 target.stream->tell_writable();
                                 network->wake(target);
                               });
  }
  return result;
}

IoResult SimStream::writev(std::span<const std::string_view> parts) {
  IoResult result;
  Side& side = me();
  Side& peer = connection_->sides[1 - index_];
  if (!side.life->alive) {
    result.error = unavailable("the process is gone");
    return result;
  }
  if (!side.error.is_ok() || fin_sent_) {
    result.error = side.error.is_ok() ? unavailable("write after shutdown") : side.error;
    return result;
  }
  if (index_ == 0 && !connection_->established) {
    want_write_ = true;
    result.would_block = true;
    return result;
  }
  size_t window = network_->faults->window_bytes;
  size_t room = window > peer.unread_bytes ? window - peer.unread_bytes : 0;
  size_t total = 0;
  for (std::string_view part : parts) total += part.size();
  size_t take = std::min(total, room);
  if (take > 1 && network_->prng.chance(0.05)) take = 1 + network_->prng.below(take);
  std::string bytes;
  bytes.reserve(take);
  for (std::string_view part : parts) bytes.append(part.substr(0, take - bytes.size()));
  result.bytes = take;
  if (take > 0) {
    network_->stats.bytes += take;
    network_->scheduler->mix(bytes);
    peer.unread_bytes += take;
    network_->send(connection_, 1 - index_, Piece::Kind::kData, std::move(bytes));
  }
  if (take < total) {
    result.would_block = true;
    want_write_ = true;
    if (take < room) {
      room_ = true;  // cut short by chance: there is room at once
      network_->wake(side);
    } else {
      peer.peer_wants_room = true;
    }
  }
  return result;
}

void SimStream::shutdown_write() {
  if (fin_sent_ || !me().life->alive) return;
  fin_sent_ = true;
  network_->send(connection_, 1 - index_, Piece::Kind::kFin, "");
}

bool SimStream::dispatch() {
  Side& side = me();
  if (handler_ == nullptr) return false;
  std::shared_ptr<Connection> keep = connection_;
  int index = index_;
  auto gone = [&] { return keep->sides[index].stream != this; };
  if (connected_to_tell_) {
    connected_to_tell_ = false;
    if (want_write_) room_ = true;
    handler_->on_connected();
    if (gone()) return false;
  }
  bool can_write = room_ || !side.error.is_ok();
  if (want_write_ && can_write && handler_ != nullptr) {
    want_write_ = false;
    room_ = false;
    handler_->on_writable();
    if (gone()) return false;
  }
  if (readable() && !paused_ && handler_ != nullptr) {
    handler_->on_readable();
    if (gone()) return false;
  }
  if (handler_ == nullptr) return false;
  return (readable() && !paused_) || (want_write_ && room_);
}

// --- a process's network ---------------------------------------------------------------------------------------------

std::unique_ptr<SimStream> SimNet::make_stream(std::shared_ptr<Connection> c, int side) {
  auto stream = std::make_unique<SimStream>(network_, std::move(c), side, next_stream_);
  streams_[next_stream_++] = stream.get();
  return stream;
}

bool SimNet::dispatch() {
  std::vector<uint64_t> ids;
  for (const auto& [id, stream] : streams_) ids.push_back(id);
  bool more = false;
  for (uint64_t id : ids) {
    auto it = streams_.find(id);  // another stream's callback may have deleted it
    if (it != streams_.end() && life_->alive) more |= it->second->dispatch();
  }
  return more;
}

Result<std::unique_ptr<Listener>> SimNet::listen(const std::string& address,
                                                 std::function<void(std::unique_ptr<Stream>)> on_accept) {
  if (address.find(':') == std::string::npos || address.starts_with("unix:")) {
    return invalid_argument("a simulated host listens on host:port only: " + address);
  }
  std::string port = port_of(address);
  if (port == "0") port = std::to_string(network_->next_port++);
  if (network_->listeners.count({host_, port})) return io_error("listen " + address, 98);
  return std::unique_ptr<Listener>(new SimListener(network_, this, host_, port, std::move(on_accept)));
}

std::unique_ptr<Stream> SimNet::connect(const std::string& address) {
  auto c = std::make_shared<Connection>();
  c->sides[0].host = host_;
  c->sides[0].life = life_;
  c->sides[0].net = this;
  c->sides[0].address = network_->addresses[host_] + ":" + std::to_string(network_->next_port++);
  c->sides[1].address = address;
  network_->connections.push_back(c);
  auto stream = make_stream(c, 0);
  std::string name = host_of(address);
  bool local = name == "127.0.0.1" || name == "localhost" || name == "0.0.0.0";
  auto it = network_->hosts.find(name);
  if (!local && it == network_->hosts.end()) {
    network_->scheduler->after(kMillisecond, life_, "net.unknown", [network = network_, c, address] {
      network->fail_connect(c, unavailable("resolve " + address + ": no such host"));
    });
    return stream;
  }
  c->sides[1].host = local ? host_ : it->second;
  network_->scheduler->after(network_->delay(host_, c->sides[1].host), life_, "net.syn",
                             [network = network_, c, address] { network->try_connect(c, address, kConnectTries); });
  return stream;
}

// --- switchboard -----------------------------------------------------------------------------------------------------

SimNetwork::SimNetwork(Scheduler* scheduler, Prng prng, NetFaults* faults)
    : impl_(std::make_unique<Impl>(scheduler, prng, faults)) {}
SimNetwork::~SimNetwork() = default;

void SimNetwork::add_host(HostId host, const std::string& address) {
  impl_->hosts[address] = host;
  impl_->addresses[host] = address;
}

std::unique_ptr<Net> SimNetwork::make_net(HostId host, Life life, SimLoop* loop) {
  impl_->dark.erase(host);
  return std::make_unique<SimNet>(impl_.get(), host, std::move(life), loop);
}

// A killed process's sockets are closed by its kernel; a machine without power says nothing.
void SimNetwork::process_ended(HostId host, const Life& life, bool power_cut) {
  if (power_cut) impl_->dark.insert(host);
  std::erase_if(impl_->connections, [](const auto& weak) { return weak.expired(); });
  for (const auto& weak : impl_->connections) {
    std::shared_ptr<Connection> c = weak.lock();
    for (int i = 0; i < 2; ++i) {
      Side& side = c->sides[i];
      if (side.life != life || side.closed || side.vanished) continue;
      side.inbox.clear();
      if (power_cut) {
        side.vanished = true;
        continue;
      }
      side.closed = true;
      if (c->sides[1].net == nullptr) continue;
      impl_->send(c, 1 - i, impl_->prng.chance(0.5) ? Piece::Kind::kReset : Piece::Kind::kFin, "");
    }
  }
  for (auto it = impl_->listeners.begin(); it != impl_->listeners.end();) {
    it = it->second->net()->life() == life ? impl_->listeners.erase(it) : std::next(it);
  }
}

void SimNetwork::set_link(HostId from, HostId to, bool up) {
  if (up)
    impl_->cut_links.erase({from, to});
  else
    impl_->cut_links.insert({from, to});
}
bool SimNetwork::link_up(HostId from, HostId to) const { return impl_->link_up(from, to); }
void SimNetwork::clog(HostId from, HostId to, Nanos extra) {
  if (extra == 0)
    impl_->clogs.erase({from, to});
  else
    impl_->clogs[{from, to}] = extra;
}
void SimNetwork::heal_all() {
  impl_->cut_links.clear();
  impl_->clogs.clear();
}

void SimNetwork::reset(HostId a, HostId b) {
  std::erase_if(impl_->connections, [](const auto& weak) { return weak.expired(); });
  for (const auto& weak : impl_->connections) {
    std::shared_ptr<Connection> c = weak.lock();
    HostId x = c->sides[0].host, y = c->sides[1].host;
    if (!c->established || !((x == a && y == b) || (x == b && y == a))) continue;
    for (int i = 0; i < 2; ++i) {
      if (!c->sides[i].closed && !c->sides[i].vanished) impl_->deliver(c, i, {Piece::Kind::kReset, 0, ""});
    }
  }
}

const NetStats& SimNetwork::stats() const { return impl_->stats; }

}  // namespace fairlead::io::sim
