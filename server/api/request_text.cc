#include "server/api/request_text.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <ranges>

#include "proto/rpc.pb.h"

namespace fairlead::api {
namespace {

using namespace etcdserverpb;

// The form of Go's protobuf text, in which etcd writes it.
void text_field(std::string& out, std::string_view name, std::string_view bytes) {
  if (bytes.empty()) return;
  constexpr char kOctal[] = "01234567";
  if (!out.empty() && out.back() != '<') out.push_back(' ');
  out += name;
  out += ":\"";
  for (char c : bytes) {
    auto b = static_cast<unsigned char>(c);
    if (out.size() > kRequestTextMax) break;
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (b < 0x20 || b >= 0x7f) {
      out.push_back('\\');
      out.push_back(kOctal[b >> 6]);
      out.push_back(kOctal[b >> 3 & 7]);
      out.push_back(kOctal[b & 7]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

void text_field(std::string& out, std::string_view name, int64_t value) {
  if (value == 0) return;
  if (!out.empty() && out.back() != '<') out.push_back(' ');
  out += name;
  out += ":" + std::to_string(value);
}

void text_field(std::string& out, std::string_view name, bool value) {
  if (!value) return;
  if (!out.empty() && out.back() != '<') out.push_back(' ');
  out += name;
  out += ":true";
}

template <typename Write>
void text_message(std::string& out, std::string_view name, const Write& write) {
  if (out.size() > kRequestTextMax) return;
  if (!out.empty() && out.back() != '<') out.push_back(' ');
  out += name;
  out += ":<";
  write();
  out += " > ";
}

void describe(std::string& out, const RangeRequest& r) {
  text_field(out, "key", std::string_view(r.key()));
  text_field(out, "range_end", std::string_view(r.range_end()));
  text_field(out, "limit", r.limit());
  text_field(out, "revision", r.revision());
  if (r.sort_order() != RangeRequest::NONE) out += " sort_order:" + RangeRequest::SortOrder_Name(r.sort_order());
  if (r.sort_target() != RangeRequest::KEY) out += " sort_target:" + RangeRequest::SortTarget_Name(r.sort_target());
  text_field(out, "serializable", r.serializable());
  text_field(out, "keys_only", r.keys_only());
  text_field(out, "count_only", r.count_only());
  text_field(out, "min_mod_revision", r.min_mod_revision());
  text_field(out, "max_mod_revision", r.max_mod_revision());
  text_field(out, "min_create_revision", r.min_create_revision());
  text_field(out, "max_create_revision", r.max_create_revision());
}

void describe(std::string& out, const PutRequest& r) {
  text_field(out, "key", std::string_view(r.key()));
  text_field(out, "value_size", static_cast<int64_t>(r.value().size()));
  text_field(out, "lease", r.lease());
  text_field(out, "prev_kv", r.prev_kv());
  text_field(out, "ignore_value", r.ignore_value());
  text_field(out, "ignore_lease", r.ignore_lease());
}

void describe(std::string& out, const DeleteRangeRequest& r) {
  text_field(out, "key", std::string_view(r.key()));
  text_field(out, "range_end", std::string_view(r.range_end()));
  text_field(out, "prev_kv", r.prev_kv());
}

void describe(std::string& out, const Compare& c) {
  if (c.result() != Compare::EQUAL) out += "result:" + Compare::CompareResult_Name(c.result());
  if (c.target() != Compare::VERSION) {
    if (out.back() != '<') out.push_back(' ');
    out += "target:" + Compare::CompareTarget_Name(c.target());
  }
  text_field(out, "key", std::string_view(c.key()));
  if (c.target() == Compare::VALUE) text_field(out, "value_size", static_cast<int64_t>(c.value().size()));
  text_field(out, "range_end", std::string_view(c.range_end()));
}

void describe(std::string& out, const TxnRequest& r);

void describe(std::string& out, const RequestOp& op) {
  if (op.has_request_range())
    text_message(out, "request_range", [&] { describe(out, op.request_range()); });
  else if (op.has_request_put())
    text_message(out, "request_put", [&] { describe(out, op.request_put()); });
  else if (op.has_request_delete_range())
    text_message(out, "request_delete_range", [&] { describe(out, op.request_delete_range()); });
  else if (op.has_request_txn())
    text_message(out, "request_txn", [&] { describe(out, op.request_txn()); });
}

void describe(std::string& out, const TxnRequest& r) {
  for (const Compare& c : r.compare()) text_message(out, "compare", [&] { describe(out, c); });
  for (const RequestOp& op : r.success()) text_message(out, "success", [&] { describe(out, op); });
  for (const RequestOp& op : r.failure()) text_message(out, "failure", [&] { describe(out, op); });
}

template <typename Message>
bool read(const Bytes& in, Message& out) {
  return out.ParseFromArray(in.data(), static_cast<int>(in.size()));
}

// A number among the fields of a reply, 0 where it is none of them. A reply may be as large as the store, and this is
// the loop: it is not decoded. Keys are skipped, and a large one comes in pieces of whole fields, of which the last has
// what stands behind its keys.
int64_t number_of(std::span<const Bytes> reply, int field) {
  using google::protobuf::internal::WireFormatLite;
  const uint32_t wanted = WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_VARINT);
  for (const Bytes& piece : reply | std::views::reverse) {
    google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(piece.data()),
                                              static_cast<int>(piece.size()));
    while (uint32_t tag = in.ReadTag()) {
      uint64_t value = 0;
      if (tag == wanted) return in.ReadVarint64(&value) ? static_cast<int64_t>(value) : 0;
      if (!WireFormatLite::SkipField(&in, tag)) break;
    }
  }
  return 0;
}

int64_t ops_size(const google::protobuf::RepeatedPtrField<RequestOp>& ops) {
  int64_t bytes = 0;
  for (const RequestOp& op : ops) bytes += static_cast<int64_t>(op.ByteSizeLong());
  return bytes;
}

void shape_range(const Bytes& in, std::span<const Bytes> reply, RequestShape& s) {
  RangeRequest request;
  if (!read(in, request)) return;
  s.request_count = 0;
  describe(s.content, request);
  s.response_count = number_of(reply, RangeResponse::kCountFieldNumber);
}

void shape_put(const Bytes& in, RequestShape& s) {
  PutRequest request;
  if (!read(in, request)) return;
  s.request_count = 1;
  describe(s.content, request);
  s.response_count = 0;
}

void shape_delete(const Bytes& in, std::span<const Bytes> reply, RequestShape& s) {
  DeleteRangeRequest request;
  if (!read(in, request)) return;
  s.request_count = 0;
  describe(s.content, request);
  s.response_count = number_of(reply, DeleteRangeResponse::kDeletedFieldNumber);
}

void shape_txn(const Bytes& in, std::span<const Bytes> reply, RequestShape& s) {
  TxnRequest request;
  if (!read(in, request)) return;
  s.request_count = s.response_count = 0;
  describe(s.content, request);
  if (reply.empty()) return;
  const auto& taken = number_of(reply, TxnResponse::kSucceededFieldNumber) ? request.success() : request.failure();
  s.request_count = taken.size();
  s.request_size = ops_size(taken);
}

}  // namespace

RequestShape request_shape(std::string_view path, const Bytes& request, std::span<const Bytes> reply) {
  RequestShape s;
  bool keys = path.starts_with("/etcdserverpb.KV/");
  std::string_view method = path.substr(std::min(path.rfind('/') + 1, path.size()));
  bool known = keys && (method == "Range" || method == "Put" || method == "DeleteRange" || method == "Txn");
  if (!known) return s;
  s.request_size = static_cast<int64_t>(request.size());
  s.response_size = 0;
  for (const Bytes& part : reply) s.response_size += static_cast<int64_t>(part.size());
  if (method == "Range") shape_range(request, reply, s);
  if (method == "Put") shape_put(request, s);
  if (method == "DeleteRange") shape_delete(request, reply, s);
  if (method == "Txn") shape_txn(request, reply, s);
  if (s.content.size() > kRequestTextMax) {
    s.content.resize(kRequestTextMax);
    s.content += "...";
  }
  return s;
}

}  // namespace fairlead::api
