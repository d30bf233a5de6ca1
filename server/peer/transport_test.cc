// Transports on simulated hosts: handshake, refusals, damage, bounds, reconnecting.
#include "server/peer/transport.h"

#include <gtest/gtest.h>

#include "base/codec.h"
#include "base/crc32c.h"
#include "server/io/sim/world.h"

namespace fairlead::peer {
namespace {

using io::kMillisecond;
using io::kSecond;

std::string address_of(uint64_t id) { return "10.0.0." + std::to_string(id) + ":2380"; }

// Reads what an accepted stream begins with, as the server's port does, and hands the stream on with it.
struct FirstBytes final : io::StreamHandler {
  std::unique_ptr<io::Stream> stream;
  std::function<void(std::unique_ptr<io::Stream>, std::string)> done;
  std::string got;
  void on_readable() override {
    char buffer[64 << 10];
    io::IoResult r = stream->read(buffer);
    got.append(buffer, r.bytes);
    if (got.size() < kMagic.size() || !done) return;
    stream->set_handler(nullptr);
    std::exchange(done, nullptr)(std::move(stream), std::move(got));
  }
};

struct Member {
  io::World world;
  MemberId id;
  Hello self;
  std::unique_ptr<Transport> transport;
  std::unique_ptr<io::Listener> listener;
  std::vector<std::unique_ptr<FirstBytes>> arriving;
  std::function<Verdict(const Hello&)> judge = [](const Hello&) { return Verdict{}; };
  std::vector<raft::Message> messages;
  std::vector<std::string> events;  // "up 2", "down 2", "refused 2 unknown-member: text"
  std::vector<std::unique_ptr<Channel>> snapshots;

  Member(io::World w, uint64_t number) : world(w), id(number) {
    self.cluster = ClusterId(77);
    self.from = id;
    self.store = StoreId(1000 + number);
    self.start_counter = 1;
    TransportCallbacks callbacks;
    callbacks.hello = [this](MemberId to, ChannelKind kind) {
      Hello hello = self;
      hello.to = to;
      hello.kind = kind;
      return hello;
    };
    callbacks.judge = [this](const Hello& theirs) { return judge(theirs); };
    callbacks.on_message = [this](raft::Message m) { messages.push_back(std::move(m)); };
    callbacks.on_connected = [this](MemberId m, bool up) {
      events.push_back((up ? "up " : "down ") + std::to_string(m.value));
    };
    callbacks.on_refused = [this](MemberId by, const Verdict& v) {
      events.push_back("refused " + std::to_string(by.value) + " " + std::string(refusal_name(v.refusal)) + ": " +
                       v.text);
    };
    callbacks.on_snapshot_channel = [this](std::unique_ptr<Channel> c) { snapshots.push_back(std::move(c)); };
    transport = std::make_unique<Transport>(world, id, std::move(callbacks));
    auto listening = world.net->listen(address_of(number), [this](std::unique_ptr<io::Stream> stream) {
      auto first = std::make_unique<FirstBytes>();
      first->stream = std::move(stream);
      first->done = [this](std::unique_ptr<io::Stream> s, std::string bytes) {
        transport->accept(std::move(s), std::move(bytes));
      };
      first->stream->set_handler(first.get());
      arriving.push_back(std::move(first));
    });
    listener = *std::move(listening);
  }

  size_t count(const std::string& event) const {
    return static_cast<size_t>(std::count(events.begin(), events.end(), event));
  }
  bool has(const std::string& prefix) const {
    return std::any_of(events.begin(), events.end(), [&](const std::string& e) { return e.starts_with(prefix); });
  }
};

raft::Message message(uint64_t from, uint64_t to, uint64_t number, size_t bytes = 0) {
  using namespace raft;
  if (bytes == 0) return {MemberId(from), MemberId(to), Term(1), HeartbeatReply{ReadId(number)}};
  std::vector<Entry> entries{{Term(1), Index(number), EntryType::kNormal, Bytes::take(std::string(bytes, 'x'))}};
  return {MemberId(from), MemberId(to), Term(1),
          Append{Index(number - 1), Term(1), {}, {}, {}, Entries(std::move(entries))}};
}

class TransportTest : public testing::Test {
 protected:
  TransportTest() : sim_(1) {
    sim_.on_process_end = [this](io::sim::HostId host, io::sim::End) { members_[host].reset(); };
    for (uint64_t i = 1; i <= 3; ++i) sim_.add_host("10.0.0." + std::to_string(i));
    members_.resize(3);
    for (uint64_t i = 1; i <= 3; ++i) start(i);
  }
  void start(uint64_t i) {
    members_[i - 1] = std::make_unique<Member>(sim_.start_process(static_cast<uint32_t>(i - 1)), i);
  }
  Member& m(uint64_t i) { return *members_[i - 1]; }
  // Runs a call inside a member's process.
  void in(uint64_t i, std::function<void()> call) {
    sim_.post(static_cast<uint32_t>(i - 1), std::move(call));
    sim_.run_for(kMillisecond);
  }
  void know(uint64_t i, uint64_t other) {
    in(i, [=, this] { m(i).transport->set_peer(MemberId(other), {address_of(other)}); });
  }
  void know_each_other(uint64_t a, uint64_t b) {
    know(b, a);
    know(a, b);
  }
  void send(uint64_t from, uint64_t to, uint64_t number, size_t bytes = 0) {
    in(from, [=, this] {
      m(from).transport->send(message(from, to, number, bytes));
      m(from).transport->flush();
    });
  }
  void set_links(uint64_t a, uint64_t b, bool up) {
    sim_.set_link(static_cast<uint32_t>(a - 1), static_cast<uint32_t>(b - 1), up);
    sim_.set_link(static_cast<uint32_t>(b - 1), static_cast<uint32_t>(a - 1), up);
  }
  bool connected(uint64_t a, uint64_t b) {
    return m(a).transport->connected(MemberId(b)) && m(b).transport->connected(MemberId(a));
  }

  std::vector<std::unique_ptr<Member>> members_;  // outlives the world, whose end empties it
  io::sim::SimWorld sim_;
};

TEST_F(TransportTest, MessagesArriveOnceAndInOrder) {
  know_each_other(1, 2);
  sim_.run_for(kSecond);
  ASSERT_TRUE(connected(1, 2));
  EXPECT_EQ(m(1).events, std::vector<std::string>{"up 2"});
  EXPECT_EQ(m(2).events, std::vector<std::string>{"up 1"});
  in(1, [&] {
    for (uint64_t n = 1; n <= 200; ++n) EXPECT_TRUE(m(1).transport->send(message(1, 2, n, n % 3 ? 0 : 3000 * n)));
    m(1).transport->flush();
  });
  send(2, 1, 7);
  sim_.run_for(5 * kSecond);
  ASSERT_EQ(m(2).messages.size(), 200u);
  for (uint64_t n = 1; n <= 200; ++n) {
    const raft::Message& got = m(2).messages[n - 1];
    if (auto* append = std::get_if<raft::Append>(&got.body)) {
      ASSERT_EQ(append->entries.front().index.value, n);
      EXPECT_EQ(append->entries.front().data.size(), 3000 * n);
    } else {
      EXPECT_EQ(std::get<raft::HeartbeatReply>(got.body).read_id.value, n);
    }
  }
  ASSERT_EQ(m(1).messages.size(), 1u);
  PeerStats stats = m(1).transport->stats().at(MemberId(2));
  EXPECT_GT(stats.sent_bytes, 3000u * 66);
  EXPECT_GT(stats.round_trip_seconds.count, 0u);
  EXPECT_LT(stats.round_trip_seconds.sum, 0.1 * static_cast<double>(stats.round_trip_seconds.count));
  EXPECT_EQ(m(2).transport->stats().at(MemberId(1)).receive_failures, 0u);
}

TEST_F(TransportTest, TheLowerMemberDialsOneConnectionAPair) {
  for (uint64_t i = 1; i <= 3; ++i)
    for (uint64_t j = 1; j <= 3; ++j)
      if (i != j) know(i, j);
  sim_.run_for(2 * kSecond);
  EXPECT_TRUE(connected(1, 2) && connected(1, 3) && connected(2, 3));
  for (uint64_t i = 1; i <= 3; ++i) {
    EXPECT_FALSE(m(i).has("down"));
    for (uint64_t j = 1; j <= 3; ++j)
      EXPECT_EQ(m(i).count("up " + std::to_string(j)), i == j ? 0u : 1u) << "no flapping";
  }
}

TEST_F(TransportTest, EveryRefusalReachesTheRefusedWithItsReason) {
  for (Refusal refusal :
       {Refusal::kCluster, Refusal::kUnknown, Refusal::kRemoved, Refusal::kAmnesia, Refusal::kOldStart}) {
    for (uint64_t refuser : {1, 2}) {
      SCOPED_TRACE(std::string(refusal_name(refusal)) + " by " + std::to_string(refuser));
      uint64_t refused = 3 - refuser;
      if (!sim_.running(0)) start(1);
      if (!sim_.running(1)) start(2);
      m(refuser).judge = [=](const Hello& theirs) {
        EXPECT_EQ(theirs.from.value, refused);
        EXPECT_EQ(theirs.store.value, 1000 + refused);
        return Verdict{refusal, "because"};
      };
      know_each_other(1, 2);
      sim_.run_for(2 * kSecond);
      EXPECT_FALSE(m(1).transport->connected(MemberId(2)));
      EXPECT_FALSE(m(2).transport->connected(MemberId(1)));
      EXPECT_TRUE(m(refused).has("refused " + std::to_string(refuser) + " " + std::string(refusal_name(refusal)) +
                                 ": because"));
      EXPECT_FALSE(m(refuser).has("refused"));
      EXPECT_FALSE(m(refuser).has("up"));
      sim_.end_process(0, io::sim::End::kKill);
      sim_.end_process(1, io::sim::End::kKill);
    }
  }
}

TEST_F(TransportTest, AnotherMembersAddressIsRefused) {
  // Member 1 believes that member 3 lives where member 2 does.
  in(1, [&] { m(1).transport->set_peer(MemberId(3), {address_of(2)}); });
  know(2, 1);
  sim_.run_for(2 * kSecond);
  EXPECT_TRUE(m(1).has("refused 3 wrong-address"));
  EXPECT_FALSE(m(2).has("up"));
}

TEST_F(TransportTest, AStrangerIsRefusedUntilItIsKnown) {
  know(1, 2);  // member 2 has not heard of member 1
  sim_.run_for(2 * kSecond);
  EXPECT_TRUE(m(1).has("refused 2 unknown-member"));
  know(2, 1);
  sim_.run_for(2 * kSecond);
  EXPECT_TRUE(connected(1, 2));
}

TEST_F(TransportTest, ReconnectsAfterAKillWithinABoundedTime) {
  know_each_other(1, 2);
  sim_.run_for(kSecond);
  sim_.end_process(1, io::sim::End::kKill);
  sim_.run_for(10 * kSecond);
  EXPECT_EQ(m(1).events, (std::vector<std::string>{"up 2", "down 2"}));
  uint64_t refused = sim_.net_stats().refused;
  EXPECT_GT(refused, 10u) << "it keeps trying";
  EXPECT_LT(refused, 60u) << "at a growing pause";
  start(2);
  know(2, 1);
  sim_.run_for(kSecond);
  EXPECT_TRUE(connected(1, 2));
}

TEST_F(TransportTest, ASilentConnectionIsGivenUp) {
  know_each_other(1, 2);
  sim_.run_for(kSecond);
  set_links(1, 2, false);  // as if a cable were pulled: nobody is told
  sim_.run_for(kSilenceMax + 2 * kPingInterval);
  EXPECT_EQ(m(1).count("down 2"), 1u);
  EXPECT_EQ(m(2).count("down 1"), 1u);
  set_links(1, 2, true);
  sim_.run_for(kHandshakeTimeout + 2 * kSecond);
  EXPECT_TRUE(connected(1, 2));
  send(1, 2, 5);
  sim_.run_for(kSecond);
  EXPECT_EQ(m(2).messages.size(), 1u);
}

TEST_F(TransportTest, WhatIsUnsentIsBounded) {
  know_each_other(1, 2);
  sim_.run_for(kSecond);
  set_links(1, 2, false);
  constexpr size_t kBytes = 1 << 20;
  in(1, [&] {
    size_t accepted = 0;
    while (accepted < 1000 && m(1).transport->send(message(1, 2, accepted + 1, kBytes))) ++accepted;
    m(1).transport->flush();
    EXPECT_GE(accepted, kQueueBytesMax / kBytes - 1);
    EXPECT_LE(accepted, kQueueBytesMax / kBytes + 2);
  });
  EXPECT_GT(m(1).transport->stats().at(MemberId(2)).send_failures, 0u);
  EXPECT_TRUE(m(1).transport->connected(MemberId(2))) << "dropping messages is no reason to drop the connection";
}

TEST_F(TransportTest, NothingIsQueuedForTheAbsent) {
  know(1, 2);
  in(1, [&] {
    EXPECT_FALSE(m(1).transport->send(message(1, 2, 1)));
    EXPECT_FALSE(m(1).transport->send(message(1, 3, 1))) << "no such peer";
  });
  know(2, 1);
  sim_.run_for(2 * kSecond);
  EXPECT_TRUE(connected(1, 2));
  EXPECT_TRUE(m(2).messages.empty());
}

TEST_F(TransportTest, ARemovedPeerIsLetGo) {
  know_each_other(1, 2);
  sim_.run_for(kSecond);
  in(2, [&] { m(2).transport->remove_peer(MemberId(1)); });
  sim_.run_for(2 * kSecond);
  EXPECT_EQ(m(2).events, (std::vector<std::string>{"up 1", "down 1"}));
  EXPECT_TRUE(m(1).has("refused 2 unknown-member"));
}

// A client that speaks bytes, not the protocol.
struct Raw final : io::StreamHandler {
  std::unique_ptr<io::Stream> stream;
  std::string to_send, received;
  bool ended = false;
  void on_connected() override { on_writable(); }
  void on_writable() override {
    std::string_view part[] = {to_send};
    io::IoResult r = stream->writev(part);
    to_send.erase(0, r.bytes);
  }
  void on_readable() override {
    char buffer[4096];
    io::IoResult r = stream->read(buffer);
    received.append(buffer, r.bytes);
    ended = ended || r.eof || !r.error.is_ok();
    if (ended) stream->pause_reading(true);
  }
};

std::string frame(uint8_t type, std::string_view head, std::string_view body = {}) {
  std::string out;
  put_fixed(out, static_cast<uint32_t>(head.size()));
  put_fixed(out, static_cast<uint32_t>(body.size()));
  put_fixed(out, body.empty() ? 0u : crc32c(body));
  put_fixed(out, static_cast<uint32_t>(type));
  put_fixed(out, crc32c_extend(crc32c(out), head));
  return out.append(head).append(body);
}

class BadPeer : public TransportTest {
 protected:
  // Says `bytes` to member 2, from host 3; true if the connection is ended within a second.
  bool is_ended_by(std::string bytes, io::Nanos wait = kSecond) {
    raw_ = std::make_unique<Raw>();
    raw_->to_send = std::move(bytes);
    in(3, [&] {
      raw_->stream = m(3).world.net->connect(address_of(2));
      raw_->stream->set_handler(raw_.get());
    });
    sim_.run_for(wait);
    return raw_->ended;
  }
  std::string greeting() {
    Hello hello = m(3).self;
    hello.to = MemberId(2);
    return std::string(kMagic) + frame(kFrameHello, encode(hello));
  }
  std::unique_ptr<Raw> raw_;
};

TEST_F(BadPeer, DamageEndsThatConnectionAlone) {
  know_each_other(1, 2);
  know(2, 3);
  sim_.run_for(kSecond);
  ASSERT_TRUE(connected(1, 2));
  std::string good = greeting();
  std::string accepted = good + frame(kFrameVerdict, encode(Verdict{}));
  MessageEncoder encoder;
  auto said = [&](const raft::Message& m) {
    EncodedMessage e = encoder.encode(m);
    return frame(kFrameMessage, e.head, e.body.view());
  };
  EXPECT_FALSE(is_ended_by(accepted + said(message(3, 2, 1, 100)))) << raw_->received.size();
  EXPECT_EQ(m(2).messages.size(), 1u);

  EXPECT_TRUE(is_ended_by(std::string(kMagic) + std::string(1000, 'z')));
  EXPECT_TRUE(is_ended_by(good + said(message(3, 2, 1)))) << "before the verdict";
  EXPECT_TRUE(is_ended_by(accepted + said(message(1, 2, 1)))) << "in another's name";
  EXPECT_TRUE(is_ended_by(accepted + said(message(3, 1, 1)))) << "not for this member";
  EXPECT_TRUE(is_ended_by(accepted + frame(kFrameMessage, "\xff\xff")));
  for (size_t damaged_at : {size_t{0}, size_t{5}, size_t{9}, size_t{17}, size_t{25}, size_t{60}}) {
    std::string wire = said(message(3, 2, 1, 100));
    wire[damaged_at] ^= 0x10;
    // A damaged length may make it wait for more, which then does not check out either.
    EXPECT_TRUE(is_ended_by(accepted + wire + std::string(70000, 'z'))) << damaged_at;
  }
  std::string huge = frame(kFrameMessage, "");
  store_fixed(huge.data() + 4, static_cast<uint32_t>(kBodyBytesMax + 1));
  EXPECT_TRUE(is_ended_by(accepted + huge)) << "refused by its size, before its bytes are waited for";

  EXPECT_EQ(m(2).messages.size(), 1u);
  EXPECT_TRUE(connected(1, 2));
  EXPECT_EQ(m(1).events.size(), 1u);
}

TEST_F(BadPeer, HalfAHandshakeTimesOut) {
  EXPECT_FALSE(is_ended_by(std::string(kMagic)));
  sim_.run_for(kHandshakeTimeout);
  EXPECT_TRUE(raw_->ended);
  EXPECT_FALSE(is_ended_by(greeting().substr(0, 30)));
  sim_.run_for(kHandshakeTimeout);
  EXPECT_TRUE(raw_->ended);
}

TEST_F(BadPeer, NoCommonFormatIsSaid) {
  Hello hello = m(3).self;
  hello.to = MemberId(2);
  hello.format_min = hello.format_max = kFormatMax + 1;
  (void)is_ended_by(std::string(kMagic) + frame(kFrameHello, encode(hello)));
  EXPECT_NE(raw_->received.find("upgrade one version at a time"), std::string::npos);
}

// The newer connection of a member takes the older one's place: the older may be half dead.
TEST_F(TransportTest, ANewConnectionReplacesTheOld) {
  know_each_other(1, 2);
  sim_.run_for(kSecond);
  sim_.end_process(0, io::sim::End::kPowerCut);  // member 2 is not told
  EXPECT_TRUE(m(2).transport->connected(MemberId(1)));
  start(1);
  know(1, 2);
  sim_.run_for(kSecond);
  ASSERT_TRUE(connected(1, 2));
  EXPECT_EQ(m(2).events, (std::vector<std::string>{"up 1", "down 1", "up 1"}));
  send(2, 1, 9);
  sim_.run_for(kSecond);
  EXPECT_EQ(m(1).messages.size(), 1u);
}

// A snapshot travels on a connection of its own.
struct Collector final : ChannelHandler {
  Member* member = nullptr;
  MemberId to;
  std::string received, ended;
  bool established = false;
  Hello own_hello(Channel&) override { return member->transport->hello(to, ChannelKind::kSnapshot); }
  Verdict judge(Channel&, const Hello& theirs) override { return member->transport->judge(theirs); }
  void on_established(Channel&) override { established = true; }
  void on_frame(Channel&, uint8_t type, std::string_view head, const Bytes& body) override {
    received += std::to_string(type) + ":" + std::string(head) + ":" + body.to_string() + ";";
  }
  void on_refused(Channel&, const Verdict&) override {}
  void on_closed(Channel&, const Status& why) override { ended = why.to_string(); }
};

TEST_F(TransportTest, SnapshotsHaveAConnectionOfTheirOwn) {
  know_each_other(1, 2);
  sim_.run_for(kSecond);
  Collector sender, receiver;
  sender.member = &m(2);
  sender.to = MemberId(1);
  std::unique_ptr<Channel> channel;
  in(2, [&] {  // the higher member may dial it, too
    channel = m(2).transport->dial_snapshot(MemberId(1), &sender);
    channel->start();
    EXPECT_EQ(m(2).transport->dial_snapshot(MemberId(3), &sender), nullptr) << "its address is not known";
  });
  sim_.run_for(kSecond);
  ASSERT_TRUE(sender.established);
  ASSERT_EQ(m(1).snapshots.size(), 1u);
  m(1).snapshots[0]->set_handler(&receiver);
  EXPECT_EQ(m(1).snapshots[0]->theirs().from, MemberId(2));
  in(2, [&] {
    channel->send(kFrameFirstFree, "head", Bytes::literal("body"));
    channel->flush();
  });
  sim_.run_for(kSecond);
  EXPECT_EQ(receiver.received, "16:head:body;");
  EXPECT_TRUE(connected(1, 2)) << "the messages' connection is untouched";
  in(2, [&] { channel.reset(); });
  sim_.run_for(kSecond);
  EXPECT_NE(receiver.ended, "");
  in(1, [&] { m(1).snapshots.clear(); });
}

}  // namespace
}  // namespace fairlead::peer
