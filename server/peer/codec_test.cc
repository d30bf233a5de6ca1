#include "server/peer/codec.h"

#include <gtest/gtest.h>

#include <random>

#include "server/peer/hello.h"

namespace fairlead::peer {
namespace {

using namespace raft;

Entries run_of(Index first, Term term, size_t n) {
  std::vector<Entry> out;
  for (size_t i = 0; i < n; ++i) {
    auto type = i % 3 == 2 ? EntryType::kEmpty : i % 3 == 1 ? EntryType::kConfig : EntryType::kNormal;
    out.push_back({term, first + i, type, type == EntryType::kEmpty ? Bytes() : Bytes::copy(std::string(i * 7, 'a'))});
  }
  return Entries(std::move(out));
}

// One of each kind, with every field set to something of its own.
std::vector<Message> samples() {
  uint64_t big = 0xFEDCBA9876543210ull;
  MemberId a(big), b(2);
  Term t(7);
  return {
      {a, b, t, Append{Index(10), Term(6), Index(9), Index(8), ReadId(big), run_of(Index(11), Term(7), 5)}},
      {a, b, t, Append{Index(10), Term(6), Index(9), Index(8), ReadId(3), Entries()}},
      {a, b, t, AppendReply{Index(12), true, true, Index(11), Term(5), ReadId(4)}},
      {a, b, t, AppendReply{Index(12), false, false, Index(), Term(), ReadId()}},
      {a, b, t, Heartbeat{Index(5), Index(6), ReadId(7), true}},
      {a, b, t, HeartbeatReply{ReadId(big)}},
      {a, b, t, Vote{true, false, Index(4), Term(3)}},
      {a, b, t, Vote{false, true, Index(4), Term(3)}},
      {a, b, t, VoteReply{true, false}},
      {a, b, t, VoteReply{false, true}},
      {a, b, t, TimeoutNow{}},
      {a, b, t, Propose{ForwardId(big), {Bytes::literal("x"), Bytes(), Bytes::literal("longer")}}},
      {a, b, t, ProposeReply{ForwardId(9), ProposeError::kTooMuchPending, Term(1), Index(2)}},
      {a, b, t, ReadIndex{ReadId(big)}},
      {a, b, t, ReadIndexReply{ReadId(1), Index(2)}},
  };
}

// Everything a message says, to compare two of them.
std::string all_of(const Message& m) {
  std::string out = to_string(m);
  if (auto* a = std::get_if<Append>(&m.body)) {
    out += " match " + std::to_string(a->match.value);
    for (const Entry& e : a->entries)
      out += "|" + std::to_string(static_cast<int>(e.type)) + std::to_string(e.index.value) + e.data.to_string();
  }
  if (auto* h = std::get_if<Heartbeat>(&m.body)) out += " match " + std::to_string(h->match.value);
  if (auto* p = std::get_if<Propose>(&m.body)) {
    for (const Bytes& d : p->data) out += "|" + d.to_string();
  }
  return out;
}

TEST(Codec, EveryKindComesBackAsItWas) {
  MessageEncoder encoder;
  size_t kinds = 0;
  std::vector<bool> seen(std::variant_size_v<decltype(Message::body)>);
  for (const Message& m : samples()) {
    EncodedMessage encoded = encoder.encode(m);
    auto back = decode_message(encoded.head, encoded.body);
    ASSERT_TRUE(back.is_ok()) << all_of(m);
    EXPECT_EQ(all_of(*back), all_of(m));
    kinds += !seen[m.body.index()];
    seen[m.body.index()] = true;
  }
  EXPECT_EQ(kinds, seen.size()) << "a kind without a sample";
}

TEST(Codec, EntriesAreEncodedOnceForAllFollowers) {
  MessageEncoder encoder;
  Entries run = run_of(Index(1), Term(1), 20);
  auto to = [&](uint64_t id, Entries entries) {
    return encoder.encode(
        {MemberId(1), MemberId(id), Term(1), Append{Index(), Term(), Index(), Index(), ReadId(), std::move(entries)}});
  };
  EncodedMessage second = to(2, run), third = to(3, run), other = to(3, run.slice(0, 5));
  EXPECT_EQ(second.body.data(), third.body.data());
  EXPECT_EQ(second.body_crc, third.body_crc);
  EXPECT_NE(other.body.data(), third.body.data());
}

TEST(Codec, DamageIsRefusedOrHarmless) {
  MessageEncoder encoder;
  std::mt19937_64 random(1);
  for (const Message& m : samples()) {
    EncodedMessage encoded = encoder.encode(m);
    for (size_t n = 0; n < encoded.head.size(); ++n) {
      EXPECT_FALSE(decode_message(encoded.head.substr(0, n), encoded.body).is_ok()) << all_of(m) << " cut to " << n;
    }
    if (!encoded.body.empty()) {
      EXPECT_FALSE(decode_message(encoded.head, encoded.body.slice(0, encoded.body.size() - 1)).is_ok());
    }
    for (int i = 0; i < 300; ++i) {
      std::string head = encoded.head;
      std::string body = encoded.body.to_string();
      std::string& victim = !body.empty() && i % 2 ? body : head;
      victim[random() % victim.size()] ^= static_cast<char>(1 << random() % 8);
      (void)decode_message(head, Bytes::take(std::move(body)));  // must neither crash nor read outside (asan)
    }
  }
}

TEST(Hello, ComesBackAsItWas) {
  Hello hello;
  hello.kind = ChannelKind::kSnapshot;
  hello.cluster = ClusterId(0xFFFFFFFFFFFFFFFFull);
  hello.from = MemberId(3);
  hello.to = MemberId(4);
  hello.store = StoreId(5);
  hello.start_counter = 6;
  hello.features = 7;
  hello.removed = {MemberId(8), MemberId(9)};
  std::string bytes = encode(hello);
  auto back = decode_hello(bytes);
  ASSERT_TRUE(back.is_ok());
  EXPECT_EQ(encode(*back), bytes);
  EXPECT_EQ(back->removed, hello.removed);
  EXPECT_EQ(back->kind, ChannelKind::kSnapshot);
  EXPECT_EQ(back->start_counter, 6u);
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(decode_hello(bytes.substr(0, n)).is_ok()) << n;

  auto verdict = decode_verdict(encode(Verdict{Refusal::kAmnesia, "why"}));
  ASSERT_TRUE(verdict.is_ok());
  EXPECT_EQ(verdict->refusal, Refusal::kAmnesia);
  EXPECT_EQ(verdict->text, "why");
}

}  // namespace
}  // namespace fairlead::peer
