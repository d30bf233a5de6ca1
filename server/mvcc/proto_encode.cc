#include "server/mvcc/proto_encode.h"

#include "base/codec.h"

namespace fairlead::mvcc {
namespace {

enum Wire : uint8_t { kVarint = 0, kLengthed = 2 };
constexpr char tag(int field, Wire wire) { return static_cast<char>(field << 3 | wire); }
constexpr int kWatchResponseEvents = 11;

size_t number_size(int64_t v) { return v == 0 ? 0 : 1 + varint_size(static_cast<uint64_t>(v)); }
size_t bytes_size(std::string_view s) { return s.empty() ? 0 : 1 + varint_size(s.size()) + s.size(); }
size_t message_size(size_t size) { return 1 + varint_size(size) + size; }

char* store_number(char* out, int field, int64_t v) {
  if (v == 0) return out;
  *out++ = tag(field, kVarint);
  return store_varint(out, static_cast<uint64_t>(v));
}
char* store_bytes(char* out, int field, std::string_view s) {
  if (s.empty()) return out;
  *out++ = tag(field, kLengthed);
  out = store_varint(out, s.size());
  std::memcpy(out, s.data(), s.size());
  return out + s.size();
}
char* store_message(char* out, int field, const KeyValue& kv) {
  *out++ = tag(field, kLengthed);
  return store_key_value(store_varint(out, key_value_size(kv)), kv);
}

}  // namespace

KeyValue to_key_value(const KeyRecord& r) {
  if (r.tombstone()) return {r.key, {}, 0, r.position.main, 0, 0};
  return {r.key, r.value, r.create, r.position.main, r.version, r.lease};
}

size_t key_value_size(const KeyValue& kv) {
  return bytes_size(kv.key) + number_size(kv.create_revision) + number_size(kv.mod_revision) + number_size(kv.version) +
         bytes_size(kv.value) + number_size(kv.lease);
}

char* store_key_value(char* out, const KeyValue& kv) {
  out = store_bytes(out, 1, kv.key);
  out = store_number(out, 2, kv.create_revision);
  out = store_number(out, 3, kv.mod_revision);
  out = store_number(out, 4, kv.version);
  out = store_bytes(out, 5, kv.value);
  return store_number(out, 6, kv.lease);
}

void append_key_value(std::string& out, const KeyValue& kv) {
  size_t at = out.size();
  out.resize(at + key_value_size(kv));
  store_key_value(out.data() + at, kv);
}

size_t key_value_field_size(const KeyValue& kv) { return message_size(key_value_size(kv)); }

void append_key_value_field(std::string& out, int field_number, const KeyValue& kv) {
  size_t at = out.size();
  out.resize(at + key_value_field_size(kv));
  store_message(out.data() + at, field_number, kv);
}

size_t event_size(EventType type, const KeyValue& kv, const KeyValue* prev_kv) {
  return (type == EventType::kPut ? 0 : 2) + key_value_field_size(kv) + (prev_kv ? key_value_field_size(*prev_kv) : 0);
}

char* store_event(char* out, EventType type, const KeyValue& kv, const KeyValue* prev_kv) {
  out = store_number(out, 1, static_cast<int64_t>(type));
  out = store_message(out, 2, kv);
  return prev_kv ? store_message(out, 3, *prev_kv) : out;
}

void append_event(std::string& out, EventType type, const KeyValue& kv, const KeyValue* prev_kv) {
  size_t at = out.size();
  out.resize(at + event_size(type, kv, prev_kv));
  store_event(out.data() + at, type, kv, prev_kv);
}

Bytes encode_watch_event(const KeyRecord& record, const KeyRecord* prev) {
  EventType type = record.tombstone() ? EventType::kDelete : EventType::kPut;
  KeyValue kv = to_key_value(record), prev_kv;
  if (prev) prev_kv = to_key_value(*prev);
  const KeyValue* prev_of = prev ? &prev_kv : nullptr;
  size_t size = event_size(type, kv, prev_of);
  BytesBuilder builder(message_size(size));
  char* out = builder.data();
  *out++ = tag(kWatchResponseEvents, kLengthed);
  store_event(store_varint(out, size), type, kv, prev_of);
  return std::move(builder).finish(message_size(size));
}

}  // namespace fairlead::mvcc
