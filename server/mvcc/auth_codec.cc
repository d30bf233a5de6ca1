// The bytes of users, roles and their changes.
#include "base/codec.h"
#include "server/mvcc/auth.h"

namespace fairlead::mvcc {
namespace {

// Protocol Buffers: a field's tag is number << 3 | wire type.
enum Wire : uint8_t { kVarint = 0, kFixed64 = 1, kLengthed = 2, kFixed32 = 5 };
constexpr uint8_t tag(int number, Wire wire) { return static_cast<uint8_t>(number << 3 | wire); }

void put_bytes_field(std::string& out, int number, std::string_view value) {
  if (value.empty()) return;  // a default value is left out
  put_fixed(out, tag(number, kLengthed));
  put_lengthed(out, value);
}

// Calls field(number, text, value) for each field: text of lengthed ones, value of varints. False when malformed.
template <typename OnField>
bool each_field(std::string_view in, OnField&& field) {
  Reader reader(in);
  while (reader.ok() && !reader.at_end()) {
    uint64_t key = reader.varint();
    int number = key >> 3 <= 15 ? static_cast<int>(key >> 3) : 0;  // no field of ours is above
    switch (key & 7) {
      case kVarint:
        field(number, std::string_view(), reader.varint());
        break;
      case kFixed64:
        reader.fixed<uint64_t>();
        break;
      case kLengthed: {
        std::string_view text = reader.lengthed();
        if (reader.ok()) field(number, text, uint64_t{0});
        break;
      }
      case kFixed32:
        reader.fixed<uint32_t>();
        break;
      default:
        return false;
    }
  }
  return reader.ok();
}

std::string encode_permission(const Permission& permission) {
  std::string out;
  if (permission.type != 0) {
    put_fixed(out, tag(1, kVarint));
    put_varint(out, static_cast<uint64_t>(int64_t{permission.type}));
  }
  put_bytes_field(out, 2, permission.key);
  put_bytes_field(out, 3, permission.range_end);
  return out;
}

bool decode_permission(std::string_view in, Permission& out) {
  return each_field(in, [&](int number, std::string_view text, uint64_t value) {
    if (number == 1) out.type = static_cast<int32_t>(value);
    if (number == 2) out.key = text;
    if (number == 3) out.range_end = text;
  });
}

}  // namespace

std::string encode_user(const User& user) {
  std::string out;
  put_bytes_field(out, 1, user.name);
  put_bytes_field(out, 2, user.password);
  for (const std::string& role : user.roles) {
    put_fixed(out, tag(3, kLengthed));
    put_lengthed(out, role);
  }
  std::string options;
  if (user.no_password) put_fixed(options, tag(1, kVarint)), put_varint(options, 1);
  put_fixed(out, tag(4, kLengthed));
  put_lengthed(out, options);
  return out;
}

bool decode_user(std::string_view in, User& out) {
  bool whole = true;
  bool read = each_field(in, [&](int number, std::string_view text, uint64_t) {
    if (number == 1) out.name = text;
    if (number == 2) out.password = text;
    if (number == 3) out.roles.emplace_back(text);
    if (number == 4) {
      whole &= each_field(text, [&](int option, std::string_view, uint64_t value) {
        if (option == 1) out.no_password = value != 0;
      });
    }
  });
  return read && whole && !out.name.empty();
}

std::string encode_role(const Role& role) {
  std::string out;
  put_bytes_field(out, 1, role.name);
  for (const Permission& permission : role.permissions) {
    put_fixed(out, tag(2, kLengthed));
    put_lengthed(out, encode_permission(permission));
  }
  return out;
}

bool decode_role(std::string_view in, Role& out) {
  bool whole = true;
  bool read = each_field(in, [&](int number, std::string_view text, uint64_t) {
    if (number == 1) out.name = text;
    if (number == 2) whole &= decode_permission(text, out.permissions.emplace_back());
  });
  return read && whole && !out.name.empty();
}

// Every field, whatever the kind: changes are few.
std::string encode_auth_change(const AuthChange& change) {
  std::string out;
  put_fixed(out, change.kind);
  put_fixed<uint8_t>(out, change.no_password);
  put_lengthed(out, change.name);
  put_lengthed(out, change.role);
  put_lengthed(out, change.password);
  put_lengthed(out, encode_permission(change.permission));
  put_lengthed(out, change.token);
  return out;
}

Result<AuthChange> decode_auth_change(std::string_view in) {
  Reader reader(in);
  AuthChange change;
  change.kind = static_cast<AuthChange::Kind>(reader.fixed<uint8_t>());
  change.no_password = reader.fixed<uint8_t>() != 0;
  change.name = reader.lengthed();
  change.role = reader.lengthed();
  change.password = reader.lengthed();
  bool permission = decode_permission(reader.lengthed(), change.permission);
  change.token = reader.lengthed();
  if (!permission || !reader.ok() || !reader.at_end() || change.kind < AuthChange::Kind::kEnable ||
      change.kind > AuthChange::Kind::kToken)
    return data_loss("a change of users and roles is malformed");
  return change;
}

}  // namespace fairlead::mvcc
