// mvccpb.KeyValue and mvccpb.Event, written by hand: HashKV needs these exact bytes, and watchers share them. Fields in
// number order, default values left out, exactly as a canonical Protocol Buffers serializer writes them.
//
//   KeyValue: 1 key, 2 create_revision, 3 mod_revision, 4 version, 5 value, 6 lease
//   Event:    1 type (PUT 0, DELETE 1), 2 kv, 3 prev_kv
#pragma once

#include <cstddef>
#include <string>

#include "server/mvcc/types.h"

namespace fairlead::mvcc {

KeyValue to_key_value(const KeyRecord& record);  // of a tombstone: key and mod_revision only

size_t key_value_size(const KeyValue& kv);
char* store_key_value(char* out, const KeyValue& kv);  // writes key_value_size() bytes; returns the end
void append_key_value(std::string& out, const KeyValue& kv);
// The KeyValue as a field of another message: tag, length, message. field_number < 16.
size_t key_value_field_size(const KeyValue& kv);
void append_key_value_field(std::string& out, int field_number, const KeyValue& kv);

enum class EventType : uint8_t { kPut = 0, kDelete = 1 };
size_t event_size(EventType type, const KeyValue& kv, const KeyValue* prev_kv);
char* store_event(char* out, EventType type, const KeyValue& kv, const KeyValue* prev_kv);
void append_event(std::string& out, EventType type, const KeyValue& kv, const KeyValue* prev_kv);
// The event as an element of WatchResponse.events (field 11): tag, length, message. A watch response with events is a
// small header followed by such slices, whoever they were encoded for.
Bytes encode_watch_event(const KeyRecord& record, const KeyRecord* prev);

}  // namespace fairlead::mvcc
