// The encoding of commands in the log.
//   command   u8 kind, then the fields of the request
//   numbers   varint (zigzag where negative numbers are usual input), flags packed into one byte
//   bytes     varint length, bytes
//   lists     varint count, elements; an operation of a txn is u8 kind (0 = empty, 8 = range, else as a command)
#include "base/codec.h"
#include "server/mvcc/types.h"

namespace fairlead::mvcc {
namespace {

enum Kind : uint8_t {
  kEmpty = 0,
  kPut = 1,
  kDeleteRange = 2,
  kTxn = 3,
  kCompact = 4,
  kLeaseGrant = 5,
  kLeaseRevoke = 6,
  kLeaseCheckpoint = 7,
  kRange = 8,
};

// Deeper nesting than any check() lets through is damage; the limit keeps recursion off the stack's end.
constexpr int kTxnDepthMax = 1000;

void put_signed(std::string& out, int64_t v) { put_varint(out, zigzag(v)); }
int64_t get_signed(Reader& in) { return unzigzag(in.varint()); }

void put_flags(std::string& out, std::initializer_list<bool> flags) {
  unsigned byte = 0, bit = 1;
  for (bool flag : flags) {
    byte |= flag ? bit : 0;
    bit <<= 1;
  }
  out.push_back(static_cast<char>(byte));
}

void encode(std::string& out, const TxnRequest& r);

void encode(std::string& out, const PutRequest& r) {
  put_flags(out, {r.prev_kv, r.ignore_value, r.ignore_lease});
  put_lengthed(out, r.key);
  put_lengthed(out, r.value);
  put_signed(out, r.lease);
}
void encode(std::string& out, const DeleteRangeRequest& r) {
  put_flags(out, {r.prev_kv});
  put_lengthed(out, r.key);
  put_lengthed(out, r.range_end);
}
void encode(std::string& out, const RangeRequest& r) {
  put_flags(out, {r.serializable, r.keys_only, r.count_only});
  put_lengthed(out, r.key);
  put_lengthed(out, r.range_end);
  for (int64_t v : {r.limit, r.revision, static_cast<int64_t>(r.sort_order), static_cast<int64_t>(r.sort_target),
                    r.min_mod_revision, r.max_mod_revision, r.min_create_revision, r.max_create_revision}) {
    put_signed(out, v);
  }
}
void encode(std::string& out, const CompactRequest& r) {
  put_flags(out, {r.physical});
  put_signed(out, r.revision);
}
void encode(std::string& out, const LeaseGrantRequest& r) {
  put_signed(out, r.id);
  put_signed(out, r.ttl);
}
void encode(std::string& out, const LeaseRevokeRequest& r) { put_signed(out, r.id); }
void encode(std::string& out, const LeaseCheckpointRequest& r) {
  put_varint(out, r.items.size());
  for (const auto& item : r.items) {
    put_signed(out, item.id);
    put_signed(out, item.remaining_ttl);
  }
}
void encode(std::string& out, const Compare& c) {
  put_signed(out, static_cast<int64_t>(c.result));
  put_signed(out, static_cast<int64_t>(c.target));
  put_lengthed(out, c.key);
  put_lengthed(out, c.range_end);
  put_signed(out, c.number);
  put_lengthed(out, c.value);
}
void encode(std::string&, std::monostate) {}

struct KindOf {
  uint8_t operator()(std::monostate) const { return kEmpty; }
  uint8_t operator()(const PutRequest&) const { return kPut; }
  uint8_t operator()(const DeleteRangeRequest&) const { return kDeleteRange; }
  uint8_t operator()(const TxnRequest&) const { return kTxn; }
  uint8_t operator()(const CompactRequest&) const { return kCompact; }
  uint8_t operator()(const LeaseGrantRequest&) const { return kLeaseGrant; }
  uint8_t operator()(const LeaseRevokeRequest&) const { return kLeaseRevoke; }
  uint8_t operator()(const LeaseCheckpointRequest&) const { return kLeaseCheckpoint; }
  uint8_t operator()(const RangeRequest&) const { return kRange; }
};

template <typename Variant>
void encode_variant(std::string& out, const Variant& v) {
  out.push_back(static_cast<char>(std::visit(KindOf{}, v)));
  std::visit([&](const auto& request) { encode(out, request); }, v);
}

void encode(std::string& out, const TxnRequest& r) {
  put_varint(out, r.compares.size());
  for (const Compare& c : r.compares) encode(out, c);
  for (const auto* branch : {&r.success, &r.failure}) {
    put_varint(out, branch->size());
    for (const RequestOp& op : *branch) encode_variant(out, op.op);
  }
}

class Decoder {
 public:
  explicit Decoder(std::string_view in) : in_(in) {}

  bool whole() const { return in_.ok() && in_.at_end() && !bad_; }
  uint8_t kind() { return in_.fixed<uint8_t>(); }

  PutRequest put() {
    PutRequest r;
    auto flags = in_.fixed<uint8_t>();
    r.prev_kv = flags & 1;
    r.ignore_value = flags & 2;
    r.ignore_lease = flags & 4;
    r.key = in_.lengthed();
    r.value = in_.lengthed();
    r.lease = get_signed(in_);
    return r;
  }
  DeleteRangeRequest delete_range() {
    DeleteRangeRequest r;
    r.prev_kv = in_.fixed<uint8_t>() & 1;
    r.key = in_.lengthed();
    r.range_end = in_.lengthed();
    return r;
  }
  RangeRequest range() {
    RangeRequest r;
    auto flags = in_.fixed<uint8_t>();
    r.serializable = flags & 1;
    r.keys_only = flags & 2;
    r.count_only = flags & 4;
    r.key = in_.lengthed();
    r.range_end = in_.lengthed();
    r.limit = get_signed(in_);
    r.revision = get_signed(in_);
    r.sort_order = static_cast<SortOrder>(get_signed(in_));
    r.sort_target = static_cast<SortTarget>(get_signed(in_));
    r.min_mod_revision = get_signed(in_);
    r.max_mod_revision = get_signed(in_);
    r.min_create_revision = get_signed(in_);
    r.max_create_revision = get_signed(in_);
    return r;
  }
  CompactRequest compact() {
    CompactRequest r;
    r.physical = in_.fixed<uint8_t>() & 1;
    r.revision = get_signed(in_);
    return r;
  }
  LeaseGrantRequest lease_grant() {
    LeaseGrantRequest r;
    r.id = get_signed(in_);
    r.ttl = get_signed(in_);
    return r;
  }
  LeaseRevokeRequest lease_revoke() { return {get_signed(in_)}; }
  LeaseCheckpointRequest lease_checkpoint() {
    LeaseCheckpointRequest r;
    for (size_t n = count(); n > 0; --n) {
      int64_t id = get_signed(in_);
      r.items.push_back({id, get_signed(in_)});
    }
    return r;
  }
  TxnRequest txn(int depth) {
    TxnRequest r;
    if (depth > kTxnDepthMax) bad_ = true;
    if (bad_) return r;
    size_t n = count();
    r.compares.reserve(n);
    for (; n > 0; --n) r.compares.push_back(compare());
    for (auto* branch : {&r.success, &r.failure}) {
      n = count();
      branch->reserve(n);
      for (; n > 0 && !bad_; --n) branch->push_back(op(depth + 1));
    }
    return r;
  }

 private:
  // Every element takes at least one byte, so a count beyond what is left is damage, and reserve() is bounded.
  size_t count() {
    uint64_t n = in_.varint();
    if (n <= in_.remaining()) return static_cast<size_t>(n);
    bad_ = true;
    return 0;
  }
  Compare compare() {
    Compare c;
    c.result = static_cast<CompareResult>(get_signed(in_));
    c.target = static_cast<CompareTarget>(get_signed(in_));
    c.key = in_.lengthed();
    c.range_end = in_.lengthed();
    c.number = get_signed(in_);
    c.value = in_.lengthed();
    return c;
  }
  RequestOp op(int depth) {
    switch (kind()) {
      case kEmpty:
        return {};
      case kPut:
        return {put()};
      case kDeleteRange:
        return {delete_range()};
      case kTxn:
        return {txn(depth)};
      case kRange:
        return {range()};
      default:
        bad_ = true;
        return {};
    }
  }

  Reader in_;
  bool bad_ = false;
};

}  // namespace

void append_command(std::string& out, const Command& command) { encode_variant(out, command); }

std::string encode_command(const Command& command) {
  std::string out;
  if (const auto* put = std::get_if<PutRequest>(&command)) out.reserve(put->key.size() + put->value.size() + 24);
  append_command(out, command);
  return out;
}

namespace {
Command decode_kind(Decoder& decoder, uint8_t kind) {
  switch (kind) {
    case kPut:
      return decoder.put();
    case kDeleteRange:
      return decoder.delete_range();
    case kTxn:
      return decoder.txn(0);
    case kCompact:
      return decoder.compact();
    case kLeaseGrant:
      return decoder.lease_grant();
    case kLeaseRevoke:
      return decoder.lease_revoke();
    default:
      return decoder.lease_checkpoint();
  }
}
}  // namespace

Result<Command> decode_command(std::string_view in) {
  Decoder decoder(in);
  uint8_t kind = decoder.kind();
  if (kind < kPut || kind > kLeaseCheckpoint) return data_loss("command: unknown kind");
  Result<Command> command = decode_kind(decoder, kind);
  if (!decoder.whole()) return data_loss("command: malformed");
  return command;
}

}  // namespace fairlead::mvcc
