#include "server/peer/codec.h"

#include "base/codec.h"
#include "base/crc32c.h"

namespace fairlead::peer {
namespace {

using namespace raft;

constexpr uint64_t kEntriesMax = 1 << 20;

// Kind numbers are format: the order of Message::body's alternatives, frozen here.
enum Kind : uint8_t {
  kAppend = 0,
  kAppendReply,
  kHeartbeat,
  kHeartbeatReply,
  kVote,
  kVoteReply,
  kTimeoutNow,
  kPropose,
  kProposeReply,
  kReadIndex,
  kReadIndexReply,
};
static_assert(std::variant_size_v<decltype(Message::body)> == kReadIndexReply + 1,
              "a new kind needs a number and a codec");

void put(std::string& out, uint64_t v) { put_varint(out, v); }
template <typename Tag>
void put(std::string& out, StrongId<Tag, uint64_t> id) {
  put_varint(out, id.value);
}
template <typename Id>
Id take(Reader& in) {
  return Id(in.varint());
}

void write(std::string& o, const Append& m) {
  put(o, m.prev_index), put(o, m.prev_term), put(o, m.commit), put(o, m.match), put(o, m.read_id),
      put(o, m.entries.size());
}
// Who does not know of snapshots for joining members reads 2 as any other rejection.
uint64_t rejection(const AppendReply& m) { return m.needs_snapshot ? 2 : m.rejected ? 1 : 0; }
void write(std::string& o, const AppendReply& m) {
  put(o, m.index), put(o, rejection(m)), put(o, m.lost), put(o, m.hint_index), put(o, m.hint_term), put(o, m.read_id);
}
void write(std::string& o, const Heartbeat& m) {
  put(o, m.commit), put(o, m.match), put(o, m.read_id), put(o, m.reply_wanted);
}
void write(std::string& o, const HeartbeatReply& m) { put(o, m.read_id); }
void write(std::string& o, const Vote& m) {
  put(o, m.pre), put(o, m.transfer), put(o, m.last_index), put(o, m.last_term);
}
void write(std::string& o, const VoteReply& m) { put(o, m.pre), put(o, m.granted); }
void write(std::string&, const TimeoutNow&) {}
void write(std::string& o, const Propose& m) { put(o, m.id), put(o, m.data.size()); }
void write(std::string& o, const ProposeReply& m) {
  put(o, m.id), put(o, static_cast<uint64_t>(m.error)), put(o, m.term), put(o, m.first_index);
}
void write(std::string& o, const ReadIndex& m) { put(o, m.read_id); }
void write(std::string& o, const ReadIndexReply& m) { put(o, m.read_id), put(o, m.index); }

size_t entry_size(const Entry& e) { return 1 + varint_size(e.term.value) + varint_size(e.data.size()) + e.data.size(); }

Bytes encode_entries(const Entries& entries) {
  size_t size = 0;
  for (const Entry& e : entries) size += entry_size(e);
  BytesBuilder builder(size);
  char* p = builder.data();
  for (const Entry& e : entries) {
    *p++ = static_cast<char>(e.type);
    p = store_varint(p, e.term.value);
    p = store_varint(p, e.data.size());
    if (!e.data.empty()) std::memcpy(p, e.data.data(), e.data.size());
    p += e.data.size();
  }
  return std::move(builder).finish(size);
}

Status malformed() { return invalid_argument("a peer's message is malformed"); }

Result<Entries> decode_entries(const Bytes& body, Index first, uint64_t count) {
  if (count > kEntriesMax || count > body.size()) return malformed();
  std::vector<Entry> out;
  out.reserve(count);
  Reader in(body.view());
  for (uint64_t i = 0; i < count; ++i) {
    Entry e;
    e.type = static_cast<EntryType>(in.fixed<uint8_t>());
    e.term = Term(in.varint());
    e.index = first + i;
    std::string_view data = in.lengthed();
    if (!in.ok() || e.type > EntryType::kEmpty) return malformed();
    e.data = body.slice_of(data);
    out.push_back(std::move(e));
  }
  if (!in.at_end()) return malformed();
  return Entries(std::move(out));
}

Result<Message> read_append(Message m, Reader& in, const Bytes& body) {
  Append a;
  a.prev_index = take<Index>(in), a.prev_term = take<Term>(in), a.commit = take<Index>(in), a.match = take<Index>(in),
  a.read_id = take<ReadId>(in);
  uint64_t count = in.varint();
  if (!in.ok()) return malformed();
  if (count != 0) {
    ASSIGN_OR_RETURN(a.entries, decode_entries(body, a.prev_index + 1, count));
  }
  m.body = std::move(a);
  return m;
}

Result<Message> read_propose(Message m, Reader& in, const Bytes& body) {
  Propose p;
  p.id = take<ForwardId>(in);
  uint64_t count = in.varint();
  if (!in.ok() || count > kEntriesMax) return malformed();
  Reader data(body.view());
  for (uint64_t i = 0; i < count; ++i) {
    p.data.push_back(body.slice_of(data.lengthed()));
    if (!data.ok()) return malformed();
  }
  m.body = std::move(p);
  return m;
}

Result<Message> read_small(Message m, Kind kind, Reader& in) {
  switch (kind) {
    case kAppendReply: {
      AppendReply r;
      r.index = take<Index>(in);
      uint64_t rejection = in.varint();
      r.rejected = rejection != 0, r.needs_snapshot = rejection == 2, r.lost = in.varint() != 0,
      r.hint_index = take<Index>(in), r.hint_term = take<Term>(in), r.read_id = take<ReadId>(in);
      m.body = r;
      break;
    }
    case kHeartbeat: {
      Heartbeat h;
      h.commit = take<Index>(in), h.match = take<Index>(in), h.read_id = take<ReadId>(in),
      h.reply_wanted = in.varint() != 0;
      m.body = h;
      break;
    }
    case kHeartbeatReply: {
      HeartbeatReply h;
      h.read_id = take<ReadId>(in);
      m.body = h;
      break;
    }
    case kVote: {
      Vote v;
      v.pre = in.varint() != 0, v.transfer = in.varint() != 0, v.last_index = take<Index>(in),
      v.last_term = take<Term>(in);
      m.body = v;
      break;
    }
    case kVoteReply: {
      VoteReply v;
      v.pre = in.varint() != 0, v.granted = in.varint() != 0;
      m.body = v;
      break;
    }
    case kTimeoutNow:
      m.body = TimeoutNow{};
      break;
    case kProposeReply: {
      ProposeReply p;
      p.id = take<ForwardId>(in), p.error = static_cast<ProposeError>(in.varint()), p.term = take<Term>(in),
      p.first_index = take<Index>(in);
      m.body = p;
      break;
    }
    case kReadIndex:
      m.body = ReadIndex{take<ReadId>(in)};
      break;
    case kReadIndexReply: {
      ReadIndexReply r;
      r.read_id = take<ReadId>(in), r.index = take<Index>(in);
      m.body = r;
      break;
    }
    default:
      return malformed();
  }
  if (!in.ok()) return malformed();
  return m;
}

}  // namespace

MessageEncoder::Cached& MessageEncoder::encoded(const Entries& entries) {
  for (Cached& c : cache_)
    if (!c.entries.empty() && c.entries.same_block(entries)) return c;
  Cached& slot = cache_[next_++ % kCachedRuns];
  slot.entries = entries;
  slot.body = encode_entries(entries);
  slot.crc = crc32c(slot.body.view());
  return slot;
}

EncodedMessage MessageEncoder::encode(const Message& m) {
  EncodedMessage out;
  put_fixed<uint8_t>(out.head, static_cast<uint8_t>(m.body.index()));
  put(out.head, m.from), put(out.head, m.to), put(out.head, m.term);
  std::visit([&](const auto& body) { write(out.head, body); }, m.body);
  if (const auto* a = std::get_if<Append>(&m.body); a && !a->entries.empty()) {
    const Cached& c = encoded(a->entries);
    out.body = c.body;
    out.body_crc = c.crc;
  } else if (const auto* p = std::get_if<Propose>(&m.body)) {
    std::string body;
    for (const Bytes& data : p->data) put_lengthed(body, data.view());
    out.body = Bytes::take(std::move(body));
    out.body_crc = crc32c(out.body.view());
  }
  return out;
}

Result<Message> decode_message(std::string_view head, const Bytes& body) {
  Reader in(head);
  auto kind = static_cast<Kind>(in.fixed<uint8_t>());
  Message m;
  m.from = take<MemberId>(in), m.to = take<MemberId>(in), m.term = take<Term>(in);
  if (!in.ok()) return malformed();
  if (kind == kAppend) return read_append(std::move(m), in, body);
  if (kind == kPropose) return read_propose(std::move(m), in, body);
  return read_small(std::move(m), kind, in);
}

}  // namespace fairlead::peer
