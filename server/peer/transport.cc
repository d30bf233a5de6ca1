#include "server/peer/transport.h"

#include <algorithm>

#include "base/codec.h"
#include "base/failpoint.h"
#include "base/text.h"

namespace fairlead::peer {

// One other member: its addresses and, at most, one message connection.
struct Transport::Peer final : ChannelHandler {
  Peer(Transport& t, MemberId i) : transport(t), id(i) {}

  Transport& transport;
  MemberId id;
  std::vector<std::string> addresses;
  size_t next_address = 0;
  size_t next_snapshot_address = 0;  // retries take turns
  std::unique_ptr<Channel> channel;
  io::TimerId redial_timer = 0;
  io::Nanos redial_pause = kRedialMin;
  io::Nanos alone_since = 0;  // no channel since then
  PeerStats stats;            // of ended channels; the live one's bytes are added when asked

  Hello own_hello(Channel&) override { return transport.callbacks_.hello(id, ChannelKind::kMessages); }
  Verdict judge(Channel&, const Hello& theirs) override {
    if (theirs.from != id) return {Refusal::kNotMe, "another member answers at this address: check the peer URLs"};
    return transport.callbacks_.judge(theirs);
  }
  void on_established(Channel&) override {
    redial_pause = kRedialMin;
    stats.connected_at = transport.world_.loop->now();
    stats.last_error.clear();
    transport.world_.log->info("established a connection to a peer", {{"remote-peer-id", hex(id.value)},
                                                                      {"remote-peer-name", transport.name_of(id)},
                                                                      {"address", channel->peer_address()}});
    transport.callbacks_.on_connected(id, true);
  }
  void on_frame(Channel& c, uint8_t type, std::string_view head, const Bytes& body) override {
    if (type == kFramePong) {
      if (head.size() == 8) {
        io::Nanos sent = load_fixed<int64_t>(head.data());
        stats.round_trip_seconds.observe(static_cast<double>(transport.world_.loop->now() - sent) / 1e9);
      }
      return;
    }
    if (type == kFrameApp) return transport.callbacks_.on_app(id, head);
    if (type != kFrameMessage) return;  // a later version's: the handshake allows what both know only
    Result<raft::Message> message = decode_message(head, body);
    if (!message.is_ok() || message->from != id || message->to != transport.self_) {
      ++stats.receive_failures;
      return c.close(invalid_argument("a message from a peer is malformed or not for this member"));
    }
    if (FAILPOINT_FIRED(raftDropHeartbeat)) return;  // every message, as etcd's of this name does
    transport.callbacks_.on_message(std::move(*message));
  }
  void on_refused(Channel&, const Verdict& verdict) override { transport.callbacks_.on_refused(id, verdict); }
  void on_closed(Channel& c, const Status& why) override {
    if (&c != channel.get()) return;
    bool was_connected = c.established();
    stats.disconnects += was_connected;
    stats.sent_bytes += c.sent_bytes();
    stats.received_bytes += c.received_bytes();
    stats.last_error = why.message();
    transport.world_.log->log(
        was_connected ? io::LogLevel::kWarn : io::LogLevel::kDebug,
        was_connected ? "lost the connection to a peer" : "cannot connect to a peer",
        {{"remote-peer-id", hex(id.value)}, {"remote-peer-name", transport.name_of(id)}, {"error", why.message()}});
    transport.bury(std::move(channel));
    alone_since = transport.world_.loop->now();
    if (was_connected) transport.callbacks_.on_connected(id, false);
    transport.redial_later(*this);
  }
};

// An accepted connection during its handshake.
struct Transport::Pending final : ChannelHandler {
  explicit Pending(Transport& t) : transport(t) {}
  Transport& transport;
  std::unique_ptr<Channel> channel;

  Hello own_hello(Channel& c) override { return transport.callbacks_.hello(c.theirs().from, c.theirs().kind); }
  Verdict judge(Channel&, const Hello& theirs) override {
    if (theirs.to != transport.self_)
      return {Refusal::kNotMe, "this address belongs to another member: check the peer URLs"};
    Verdict verdict = transport.callbacks_.judge(theirs);
    if (verdict.refusal == Refusal::kNone && theirs.kind == ChannelKind::kMessages &&
        !transport.peers_.contains(theirs.from))
      return {Refusal::kUnknown, "this member is not known here (yet)"};
    return verdict;
  }
  void on_established(Channel& c) override {
    MemberId from = c.theirs().from;
    std::unique_ptr<Channel> mine = std::move(channel);
    if (c.theirs().kind == ChannelKind::kMessages)
      transport.adopt(std::move(mine), from);
    else
      transport.callbacks_.on_snapshot_channel(std::move(mine));
    transport.bury_pending(this);
  }
  void on_frame(Channel&, uint8_t, std::string_view, const Bytes&) override {}
  void on_refused(Channel& c, const Verdict& verdict) override {
    transport.callbacks_.on_refused(c.theirs().from, verdict);
  }
  void on_closed(Channel&, const Status& why) override {
    transport.world_.log->debug("an incoming peer connection ended in its handshake", {{"error", why.message()}});
    if (channel) transport.bury(std::move(channel));
    transport.bury_pending(this);
  }
};

Transport::Transport(io::World& world, MemberId self, TransportCallbacks callbacks)
    : world_(world), self_(self), callbacks_(std::move(callbacks)) {
  ping();
}

Transport::~Transport() {
  *alive_ = false;
  world_.loop->cancel_timer(ping_timer_);
  for (auto& [id, peer] : peers_) world_.loop->cancel_timer(peer->redial_timer);
}

void Transport::set_peer(MemberId id, std::vector<std::string> addresses) {
  CHECK(id != self_);
  std::unique_ptr<Peer>& peer = peers_[id];
  if (peer && peer->addresses == addresses) return;
  bool fresh = !peer;
  if (fresh) peer = std::make_unique<Peer>(*this, id);
  peer->addresses = std::move(addresses);
  peer->next_address = 0;
  peer->alone_since = world_.loop->now();
  if (fresh && self_ < id) dial(*peer);
}

void Transport::remove_peer(MemberId id) {
  auto it = peers_.find(id);
  if (it == peers_.end()) return;
  world_.loop->cancel_timer(it->second->redial_timer);
  // The peer outlives this call: it may be the one that is calling.
  std::shared_ptr<Peer> gone(it->second.release());
  peers_.erase(it);
  if (gone->channel) {
    bool was_connected = gone->channel->established();
    bury(std::move(gone->channel));
    if (was_connected) callbacks_.on_connected(id, false);
  }
  world_.loop->post([gone] {});
}

void Transport::accept(std::unique_ptr<io::Stream> stream, std::string first) {
  auto pending = std::make_unique<Pending>(*this);
  pending->channel = std::make_unique<Channel>(*world_.loop, std::move(stream), false, std::move(first), pending.get());
  Pending* raw = pending.get();
  pending_.emplace(raw, std::move(pending));
  raw->channel->start();
}

void Transport::dial(Peer& peer) {
  if (peer.channel || peer.addresses.empty()) return;
  const std::string& address = peer.addresses[peer.next_address++ % peer.addresses.size()];
  peer.channel = std::make_unique<Channel>(*world_.loop, world_.net->connect(address), true, std::string(), &peer);
  peer.channel->start();
}

void Transport::redial_later(Peer& peer) {
  if (!(self_ < peer.id)) return;
  io::Nanos jitter = static_cast<io::Nanos>(world_.random->next() % static_cast<uint64_t>(peer.redial_pause / 2));
  world_.loop->cancel_timer(peer.redial_timer);
  peer.redial_timer = world_.loop->add_timer(world_.loop->now() + peer.redial_pause / 2 + jitter, [this, id = peer.id] {
    auto it = peers_.find(id);
    if (it == peers_.end()) return;
    it->second->redial_timer = 0;
    dial(*it->second);
  });
  peer.redial_pause = std::min(peer.redial_pause * 2, kRedialMax);
}

void Transport::adopt(std::unique_ptr<Channel> channel, MemberId from) {
  auto it = peers_.find(from);
  if (it == peers_.end()) return bury(std::move(channel));
  Peer& peer = *it->second;
  if (peer.channel) {
    bool was_connected = peer.channel->established();
    peer.stats.disconnects += was_connected;
    peer.stats.sent_bytes += peer.channel->sent_bytes();
    peer.stats.received_bytes += peer.channel->received_bytes();
    bury(std::move(peer.channel));
    if (was_connected) callbacks_.on_connected(from, false);
  }
  peer.channel = std::move(channel);
  peer.channel->set_handler(&peer);
  peer.on_established(*peer.channel);
}

bool Transport::send(const raft::Message& message) {
  auto it = peers_.find(message.to);
  if (it == peers_.end()) return false;
  Peer& peer = *it->second;
  if (!peer.channel || !peer.channel->established()) {
    ++peer.stats.send_failures;
    return false;
  }
  EncodedMessage encoded = encoder_.encode(message);
  if (!peer.channel->send(kFrameMessage, encoded.head, std::move(encoded.body), encoded.body_crc)) {
    ++peer.stats.send_failures;
    return false;
  }
  return true;
}

bool Transport::send_app(MemberId to, std::string_view head) {
  auto it = peers_.find(to);
  if (it == peers_.end() || !it->second->channel || !it->second->channel->established()) return false;
  return it->second->channel->send(kFrameApp, head);
}

void Transport::flush() {
  for (auto& [id, peer] : peers_)
    if (peer->channel && peer->channel->queued_bytes() > 0) peer->channel->flush();
}

bool Transport::connected(MemberId id) const {
  auto it = peers_.find(id);
  return it != peers_.end() && it->second->channel && it->second->channel->established();
}

std::optional<io::Nanos> Transport::connected_since(MemberId id) const {
  if (!connected(id)) return std::nullopt;
  return peers_.at(id)->stats.connected_at;
}

std::vector<MemberId> Transport::peers() const {
  std::vector<MemberId> out;
  for (const auto& [id, peer] : peers_) out.push_back(id);
  return out;
}

std::map<MemberId, PeerStats> Transport::stats() const {
  std::map<MemberId, PeerStats> out;
  for (const auto& [id, peer] : peers_) {
    PeerStats s = peer->stats;
    if (peer->channel) {
      s.connected = peer->channel->established();
      s.sent_bytes += peer->channel->sent_bytes();
      s.received_bytes += peer->channel->received_bytes();
    }
    out.emplace(id, s);
  }
  return out;
}

std::unique_ptr<Channel> Transport::dial_snapshot(MemberId to, ChannelHandler* handler) {
  auto it = peers_.find(to);
  if (it == peers_.end() || it->second->addresses.empty()) return nullptr;
  Peer& peer = *it->second;
  const std::string& address = peer.addresses[peer.next_snapshot_address++ % peer.addresses.size()];
  return std::make_unique<Channel>(*world_.loop, world_.net->connect(address), true, std::string(), handler);
}

void Transport::ping() {
  std::string now;
  put_fixed(now, static_cast<int64_t>(world_.loop->now()));
  std::vector<Channel*> silent;
  for (auto& [id, peer] : peers_) {
    bool forgotten = id < self_ && world_.loop->now() - peer->alone_since >= kAcceptPatience;
    if (!peer->channel && forgotten) dial(*peer);
    if (!peer->channel || !peer->channel->established()) continue;
    if (world_.loop->now() - peer->channel->heard_at() > kSilenceMax) {
      silent.push_back(peer->channel.get());
    } else {
      peer->channel->send(kFramePing, now);
    }
  }
  // TCP would wait for minutes on a cut network, and then go on with what is long out of date.
  for (Channel* channel : silent) channel->close(unavailable("nothing was heard on the connection"));
  flush();
  ping_timer_ = world_.loop->add_timer(world_.loop->now() + kPingInterval, [this] { ping(); });
}

// A channel may not die inside its own callback.
void Transport::bury(std::unique_ptr<Channel> channel) {
  channel->abandon();
  std::shared_ptr<Channel> dead(channel.release());
  world_.loop->post([dead] {});
}

void Transport::bury_pending(Pending* pending) {
  world_.loop->post([this, pending, alive = alive_] {
    if (*alive) pending_.erase(pending);
  });
}

}  // namespace fairlead::peer
