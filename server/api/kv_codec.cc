#include "server/api/kv_codec.h"

#include <cstring>
#include <span>

#include "base/codec.h"
#include "server/mvcc/proto_encode.h"

namespace fairlead::api {
namespace {

using mvcc::RequestOp;

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kLengthed = 2, kFixed32 = 5 };

Status malformed(const char* what) {
  return {Code::kInternal, std::string("grpc: error unmarshalling request: proto: ") + what};
}

// Walks the fields of one message.
class Fields {
 public:
  explicit Fields(std::string_view in) : in_(in) {}

  // The next field's number, 0 at the end or on malformed input (then ok() tells).
  uint32_t next() {
    if (in_.at_end()) return 0;
    uint64_t tag = in_.varint();
    uint32_t number = static_cast<uint32_t>(tag >> 3);
    type_ = static_cast<uint32_t>(tag & 7);
    if (!in_.ok() || number == 0 || tag >> 32 != 0) return bad_ = true, 0;
    switch (type_) {
      case kVarint:
        scalar_ = in_.varint();
        break;
      case kFixed64:
        scalar_ = in_.fixed<uint64_t>();
        break;
      case kLengthed:
        bytes_ = in_.lengthed();
        break;
      case kFixed32:
        scalar_ = in_.fixed<uint32_t>();
        break;
      default:
        bad_ = true;  // groups are not part of proto3
    }
    if (!in_.ok()) bad_ = true;
    return bad_ ? 0 : number;
  }
  bool ok() const { return !bad_; }

  // False: of another type, as if it were unknown.
  bool take(std::string_view& out) const {
    if (type_ == kLengthed) out = bytes_;
    return type_ == kLengthed;
  }
  bool take(int64_t& out) const {
    if (type_ == kVarint) out = static_cast<int64_t>(scalar_);
    return type_ == kVarint;
  }
  void take(bool& out) const {
    if (type_ == kVarint) out = scalar_ != 0;
  }
  template <typename Enum>
  void take_enum(Enum& out) const {
    if (type_ == kVarint) out = static_cast<Enum>(static_cast<int32_t>(scalar_));
  }
  bool is_message() const { return type_ == kLengthed; }
  std::string_view message() const { return bytes_; }

 private:
  Reader in_;
  uint32_t type_ = 0;
  uint64_t scalar_ = 0;
  std::string_view bytes_;
  bool bad_ = false;
};

Status decode_range(std::string_view in, mvcc::RangeRequest& out) {
  Fields f(in);
  while (uint32_t n = f.next()) {
    switch (n) {
      case 1:
        f.take(out.key);
        break;
      case 2:
        f.take(out.range_end);
        break;
      case 3:
        f.take(out.limit);
        break;
      case 4:
        f.take(out.revision);
        break;
      case 5:
        f.take_enum(out.sort_order);
        break;
      case 6:
        f.take_enum(out.sort_target);
        break;
      case 7:
        f.take(out.serializable);
        break;
      case 8:
        f.take(out.keys_only);
        break;
      case 9:
        f.take(out.count_only);
        break;
      case 10:
        f.take(out.min_mod_revision);
        break;
      case 11:
        f.take(out.max_mod_revision);
        break;
      case 12:
        f.take(out.min_create_revision);
        break;
      case 13:
        f.take(out.max_create_revision);
        break;
      default:
        break;
    }
  }
  return f.ok() ? Status() : malformed("cannot parse RangeRequest");
}

Status decode_put(std::string_view in, mvcc::PutRequest& out) {
  Fields f(in);
  while (uint32_t n = f.next()) {
    switch (n) {
      case 1:
        f.take(out.key);
        break;
      case 2:
        f.take(out.value);
        break;
      case 3:
        f.take(out.lease);
        break;
      case 4:
        f.take(out.prev_kv);
        break;
      case 5:
        f.take(out.ignore_value);
        break;
      case 6:
        f.take(out.ignore_lease);
        break;
      default:
        break;
    }
  }
  return f.ok() ? Status() : malformed("cannot parse PutRequest");
}

Status decode_delete(std::string_view in, mvcc::DeleteRangeRequest& out) {
  Fields f(in);
  while (uint32_t n = f.next()) {
    switch (n) {
      case 1:
        f.take(out.key);
        break;
      case 2:
        f.take(out.range_end);
        break;
      case 3:
        f.take(out.prev_kv);
        break;
      default:
        break;
    }
  }
  return f.ok() ? Status() : malformed("cannot parse DeleteRangeRequest");
}

// The union's members share storage in meaning: the last one present wins, and its number must fit the target.
Status decode_compare(std::string_view in, mvcc::Compare& out) {
  Fields f(in);
  int64_t numbers[4] = {0, 0, 0, 0};  // version, create, mod, lease
  uint32_t given = 0;
  while (uint32_t n = f.next()) {
    switch (n) {
      case 1:
        f.take_enum(out.result);
        break;
      case 2:
        f.take_enum(out.target);
        break;
      case 3:
        f.take(out.key);
        break;
      case 4:
      case 5:
      case 6:
        if (f.take(numbers[n - 4])) given = n;
        break;
      case 7:
        if (f.take(out.value)) given = n;
        break;
      case 8:
        if (f.take(numbers[3])) given = n;
        break;
      case 64:
        f.take(out.range_end);
        break;
      default:
        break;
    }
  }
  if (!f.ok()) return malformed("cannot parse Compare");
  if (given != 7) out.value = {};
  switch (out.target) {  // a value given for another target counts as not given
    case mvcc::CompareTarget::kVersion:
      out.number = given == 4 ? numbers[0] : 0;
      break;
    case mvcc::CompareTarget::kCreate:
      out.number = given == 5 ? numbers[1] : 0;
      break;
    case mvcc::CompareTarget::kMod:
      out.number = given == 6 ? numbers[2] : 0;
      break;
    case mvcc::CompareTarget::kLease:
      out.number = given == 8 ? numbers[3] : 0;
      break;
    default:
      break;
  }
  return {};
}

Status decode_txn(std::string_view in, mvcc::TxnRequest& out, int depth);

// A message that is given in parts is one message, as for every decoder of Protocol Buffers.
template <typename T>
T& op_of(RequestOp& out) {
  T* there = std::get_if<T>(&out.op);
  return there ? *there : out.op.emplace<T>();
}

Status decode_op(std::string_view in, RequestOp& out, int depth) {
  Fields f(in);
  while (uint32_t n = f.next()) {
    if (!f.is_message()) continue;
    switch (n) {
      case 1:
        RETURN_IF_ERROR(decode_range(f.message(), op_of<mvcc::RangeRequest>(out)));
        break;
      case 2:
        RETURN_IF_ERROR(decode_put(f.message(), op_of<mvcc::PutRequest>(out)));
        break;
      case 3:
        RETURN_IF_ERROR(decode_delete(f.message(), op_of<mvcc::DeleteRangeRequest>(out)));
        break;
      case 4:
        RETURN_IF_ERROR(decode_txn(f.message(), op_of<mvcc::TxnRequest>(out), depth + 1));
        break;
      default:
        break;
    }
  }
  return f.ok() ? Status() : malformed("cannot parse RequestOp");
}

Status decode_txn(std::string_view in, mvcc::TxnRequest& out, int depth) {
  if (depth > kNestingMax) return malformed("exceeded maximum recursion depth");
  Fields f(in);
  while (uint32_t n = f.next()) {
    if (!f.is_message()) continue;
    switch (n) {
      case 1:
        RETURN_IF_ERROR(decode_compare(f.message(), out.compares.emplace_back()));
        break;
      case 2:
        RETURN_IF_ERROR(decode_op(f.message(), out.success.emplace_back(), depth));
        break;
      case 3:
        RETURN_IF_ERROR(decode_op(f.message(), out.failure.emplace_back(), depth));
        break;
      default:
        break;
    }
  }
  return f.ok() ? Status() : malformed("cannot parse TxnRequest");
}

// ---- encoding: sizes first, then one buffer of exactly that size

size_t varint_field_size(uint64_t value) { return value == 0 ? 0 : 1 + varint_size(value); }
char* store_varint_field(char* out, int number, uint64_t value) {
  if (value == 0) return out;
  *out++ = static_cast<char>(number << 3);
  return store_varint(out, value);
}
char* store_length(char* out, int number, size_t size) {
  *out++ = static_cast<char>(number << 3 | kLengthed);
  return store_varint(out, size);
}
size_t lengthed_size(size_t size) { return 1 + varint_size(size) + size; }

size_t header_size(const Header& h) {
  return varint_field_size(h.cluster_id) + varint_field_size(h.member_id) +
         varint_field_size(static_cast<uint64_t>(h.revision)) + varint_field_size(h.raft_term);
}

size_t key_values_size(const mvcc::KeyValues& kvs) {
  size_t size = 0;
  for (const mvcc::KeyValue& kv : kvs.items) size += mvcc::key_value_field_size(kv);
  return size;
}
char* store_key_values(char* out, int number, std::span<const mvcc::KeyValue> items) {
  for (const mvcc::KeyValue& kv : items) {
    out = store_length(out, number, mvcc::key_value_size(kv));
    out = mvcc::store_key_value(out, kv);
  }
  return out;
}
char* store_key_values(char* out, int number, const mvcc::KeyValues& kvs) {
  return store_key_values(out, number, std::span<const mvcc::KeyValue>(kvs.items));
}

size_t body_size(const Header& h, const mvcc::RangeResult& r) {
  return header_field_size(h) + key_values_size(r.kvs) + (r.more ? 2 : 0) +
         varint_field_size(static_cast<uint64_t>(r.count));
}
char* store_body(char* out, const Header& h, const mvcc::RangeResult& r) {
  out = store_header_field(out, h);
  out = store_key_values(out, 2, r.kvs);
  out = store_varint_field(out, 3, r.more);
  return store_varint_field(out, 4, static_cast<uint64_t>(r.count));
}
size_t body_size(const Header& h, const mvcc::PutResult& r) { return header_field_size(h) + key_values_size(r.prev); }
char* store_body(char* out, const Header& h, const mvcc::PutResult& r) {
  return store_key_values(store_header_field(out, h), 2, r.prev);
}
size_t body_size(const Header& h, const mvcc::DeleteRangeResult& r) {
  return header_field_size(h) + varint_field_size(static_cast<uint64_t>(r.deleted)) + key_values_size(r.prev_kvs);
}
char* store_body(char* out, const Header& h, const mvcc::DeleteRangeResult& r) {
  out = store_varint_field(store_header_field(out, h), 2, static_cast<uint64_t>(r.deleted));
  return store_key_values(out, 3, r.prev_kvs);
}

size_t body_size(const Header& h, const mvcc::TxnResult& r);
char* store_body(char* out, const Header& h, const mvcc::TxnResult& r);

// Inside a transaction a reply's header carries the revision only, and a nested transaction's nothing at all.
Header inner_header(int64_t revision) { return Header{0, 0, revision, 0}; }
Header inner_header_of(const mvcc::RangeResult& r) { return inner_header(r.revision); }
Header inner_header_of(const mvcc::PutResult& r) { return inner_header(r.revision); }
Header inner_header_of(const mvcc::DeleteRangeResult& r) { return inner_header(r.revision); }
Header inner_header_of(const mvcc::TxnResult&) { return {}; }

int op_field(const mvcc::OpResult& op) { return static_cast<int>(op.result.index()) + 1; }
size_t op_body_size(const mvcc::OpResult& op) {
  return std::visit([](const auto& r) { return body_size(inner_header_of(r), r); }, op.result);
}
size_t body_size(const Header& h, const mvcc::TxnResult& r) {
  size_t size = header_field_size(h) + (r.succeeded ? 2 : 0);
  for (const mvcc::OpResult& op : r.results) size += lengthed_size(lengthed_size(op_body_size(op)));
  return size;
}
char* store_body(char* out, const Header& h, const mvcc::TxnResult& r) {
  out = store_varint_field(store_header_field(out, h), 2, r.succeeded);
  for (const mvcc::OpResult& op : r.results) {
    size_t size = op_body_size(op);
    out = store_length(out, 3, lengthed_size(size));
    out = store_length(out, op_field(op), size);
    out = std::visit([out](const auto& x) { return store_body(out, inner_header_of(x), x); }, op.result);
  }
  return out;
}

template <typename R>
Bytes encode(const Header& header, const R& result) {
  size_t size = body_size(header, result);
  BytesBuilder builder(size);
  char* end = store_body(builder.data(), header, result);
  CHECK(end == builder.data() + size);
  return std::move(builder).finish(size);
}

}  // namespace

Status decode(std::string_view in, mvcc::RangeRequest& out) { return decode_range(in, out); }
Status decode(std::string_view in, mvcc::PutRequest& out) { return decode_put(in, out); }
Status decode(std::string_view in, mvcc::DeleteRangeRequest& out) { return decode_delete(in, out); }
Status decode(std::string_view in, mvcc::TxnRequest& out) { return decode_txn(in, out, 0); }
Status decode(std::string_view in, mvcc::CompactRequest& out) {
  Fields f(in);
  while (uint32_t n = f.next()) {
    if (n == 1) f.take(out.revision);
    if (n == 2) f.take(out.physical);
  }
  return f.ok() ? Status() : malformed("cannot parse CompactionRequest");
}

size_t header_field_size(const Header& header) { return lengthed_size(header_size(header)); }
char* store_header_field(char* out, const Header& h) {
  out = store_length(out, 1, header_size(h));
  out = store_varint_field(out, 1, h.cluster_id);
  out = store_varint_field(out, 2, h.member_id);
  out = store_varint_field(out, 3, static_cast<uint64_t>(h.revision));
  return store_varint_field(out, 4, h.raft_term);
}

Bytes encode_range_response(const Header& h, const mvcc::RangeResult& r) { return encode(h, r); }

Pieces encode_range_chunk(const mvcc::RangeResult& r) {
  Pieces out;
  const auto& items = r.kvs.items;
  for (size_t from = 0, to = 0; from < items.size(); from = to) {
    size_t size = 0;
    while (to < items.size() && (to == from || size + mvcc::key_value_field_size(items[to]) <= kPieceBytes))
      size += mvcc::key_value_field_size(items[to++]);
    BytesBuilder builder(size);
    char* end = store_key_values(builder.data(), 2, std::span(items).subspan(from, to - from));
    CHECK(end == builder.data() + size);
    out.push_back(std::move(builder).finish(size));
  }
  return out;
}

Pieces encode_range_pieces(const Header& h, const mvcc::RangeResult& r) {
  mvcc::RangeResult rest;  // the same without its keys: what stands before and behind them
  rest.more = r.more;
  rest.count = r.count;
  Bytes around = encode(h, rest);
  Pieces out = encode_range_chunk(r);
  out.insert(out.begin(), around.slice(0, header_field_size(h)));
  out.push_back(around.slice(header_field_size(h), around.size() - header_field_size(h)));
  return out;
}

Bytes encode_put_response(const Header& h, const mvcc::PutResult& r) { return encode(h, r); }
Bytes encode_delete_range_response(const Header& h, const mvcc::DeleteRangeResult& r) { return encode(h, r); }
Bytes encode_txn_response(const Header& h, const mvcc::TxnResult& r) { return encode(h, r); }
Bytes encode_header_only(const Header& h) {
  size_t size = header_field_size(h);
  BytesBuilder builder(size);
  store_header_field(builder.data(), h);
  return std::move(builder).finish(size);
}

}  // namespace fairlead::api
