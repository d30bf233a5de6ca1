// Connections to all other members.
//
// One message connection per pair: the member with the lower id dials, and dials again with a growing, jittered pause;
// the other waits for it, and dials too when nobody has come for kAcceptPatience: whoever was removed from the cluster
// is dialed no more, and learns it only so. A new accepted connection takes the place of an old one (which is then half
// dead). Messages to a member without a connection are dropped, as Raft allows; nothing is queued for the absent.
//
// Threads: the loop. Messages leave in flush(), which node calls once at the end of its turn.
// Bounds: channel.h; reconnect pause between kRedialMin and kRedialMax.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/histogram.h"
#include "server/io/io.h"
#include "server/peer/channel.h"
#include "server/peer/codec.h"
#include "server/raft/types.h"

namespace fairlead::peer {

constexpr io::Nanos kRedialMin = 20 * io::kMillisecond;
constexpr io::Nanos kRedialMax = 500 * io::kMillisecond;
constexpr io::Nanos kAcceptPatience = 3 * io::kSecond;
constexpr io::Nanos kPingInterval = 1 * io::kSecond;
constexpr io::Nanos kSilenceMax = 4 * io::kSecond;  // then a connection counts as dead, pings and all

struct PeerStats {
  bool connected = false;
  uint64_t sent_bytes = 0;
  uint64_t received_bytes = 0;
  uint64_t send_failures = 0;                               // messages dropped: no connection, or too much unsent
  uint64_t receive_failures = 0;                            // connections ended by a damaged or impossible frame
  uint64_t disconnects = 0;                                 // established connections that were lost
  Histogram<16> round_trip_seconds{.first_bound = 0.0001};  // of pings, one a second
  io::Nanos connected_at = 0;
  std::string last_error;  // why there is no connection, where that is known
};

struct TransportCallbacks {
  std::function<Hello(MemberId to, ChannelKind kind)> hello;
  std::function<std::string(MemberId)> name;  // for the log; may be empty
  std::function<Verdict(const Hello& theirs)> judge;
  std::function<void(raft::Message)> on_message;
  std::function<void(MemberId from, std::string_view head)> on_app;
  std::function<void(MemberId, bool connected)> on_connected;
  std::function<void(MemberId by, const Verdict&)> on_refused;
  // An accepted snapshot connection whose handshake is done; the handler is to be set by the new owner.
  std::function<void(std::unique_ptr<Channel>)> on_snapshot_channel;
};

class Transport {
 public:
  Transport(io::World& world, MemberId self, TransportCallbacks callbacks);
  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  // Addresses as io::Net takes them, tried in turn. Replaces what was known.
  void set_peer(MemberId id, std::vector<std::string> addresses);
  void remove_peer(MemberId id);
  // A stream that was accepted on the peer port and begins with kMagic.
  void accept(std::unique_ptr<io::Stream> stream, std::string first);

  bool send(const raft::Message& message);            // false: dropped
  bool send_app(MemberId to, std::string_view head);  // false: no connection, or too much unsent
  void flush();
  bool connected(MemberId id) const;
  std::optional<io::Nanos> connected_since(MemberId id) const;  // loop time; nothing while it is not
  std::vector<MemberId> peers() const;                          // by rising id
  std::map<MemberId, PeerStats> stats() const;

  // A connection of its own for a snapshot to `to`; null if its address is not known. The handler also judges.
  std::unique_ptr<Channel> dial_snapshot(MemberId to, ChannelHandler* handler);
  Hello hello(MemberId to, ChannelKind kind) const { return callbacks_.hello(to, kind); }
  Verdict judge(const Hello& theirs) const { return callbacks_.judge(theirs); }

 private:
  struct Peer;
  struct Pending;  // an accepted connection that has not said who it is
  friend struct Peer;
  friend struct Pending;

  std::string name_of(MemberId id) const { return callbacks_.name ? callbacks_.name(id) : std::string(); }
  void dial(Peer& peer);
  void redial_later(Peer& peer);
  void adopt(std::unique_ptr<Channel> channel, MemberId from);
  void ping();
  void bury(std::unique_ptr<Channel> channel);
  void bury_pending(Pending* pending);

  io::World world_;
  const MemberId self_;
  TransportCallbacks callbacks_;
  MessageEncoder encoder_;
  std::map<MemberId, std::unique_ptr<Peer>> peers_;
  std::map<Pending*, std::unique_ptr<Pending>> pending_;  // looked up by address only, never walked for a decision
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  io::TimerId ping_timer_ = 0;
};

}  // namespace fairlead::peer
