// The five output formats of etcdctl: simple, fields, json, protobuf, table. What a format cannot show ends the program
// with kExitBadFeature, as etcdctl does.
#pragma once

#include <string>
#include <vector>

#include "ctl/command.h"
#include "proto/rpc.pb.h"
#include "server/bolt/inspect.h"

namespace fairlead::ctl {

namespace pb = etcdserverpb;

enum class Format : uint8_t { kSimple, kFields, kJson, kProtobuf, kTable };

struct EndpointHealth {
  std::string endpoint;
  bool health = false;
  std::string took;
  std::string error;
};
struct EndpointStatus {
  std::string endpoint;
  pb::StatusResponse status;
};
struct EndpointHash {
  std::string endpoint;
  pb::HashKVResponse hash;
};

class Printer {
 public:
  explicit Printer(Context& context);  // --write-out and --hex

  Format format() const { return format_; }
  bool simple() const { return format_ == Format::kSimple; }
  void set_value_only() { value_only_ = true; }

  void get(const pb::RangeResponse& r);
  void put(const pb::PutResponse& r);
  void del(const pb::DeleteRangeResponse& r);
  void txn(const pb::TxnResponse& r);
  void watch(const pb::WatchResponse& r);

  void grant(const pb::LeaseGrantResponse& r);
  void revoke(int64_t id, const pb::LeaseRevokeResponse& r);
  void keep_alive(const pb::LeaseKeepAliveResponse& r);
  void time_to_live(const pb::LeaseTimeToLiveResponse& r, bool keys);
  void leases(const pb::LeaseLeasesResponse& r);

  void member_add(const pb::MemberAddResponse& r);
  void member_remove(uint64_t id, const pb::MemberRemoveResponse& r);
  void member_update(uint64_t id, const pb::MemberUpdateResponse& r);
  void member_promote(uint64_t id, const pb::MemberPromoteResponse& r);
  void member_list(const pb::MemberListResponse& r);

  void endpoint_health(const std::vector<EndpointHealth>& all);
  void endpoint_status(const std::vector<EndpointStatus>& all);
  void endpoint_hash(const std::vector<EndpointHash>& all);
  void database_status(const bolt::Summary& summary);
  void database_hash(const bolt::KeyHash& hash);
  void move_leader(uint64_t leader, uint64_t target, const pb::MoveLeaderResponse& r);
  void downgrade(const std::string& verb, const pb::DowngradeResponse& r);
  void alarm(const pb::AlarmResponse& r);

  void role_get(const std::string& role, const pb::AuthRoleGetResponse& r);
  void role_list(const pb::AuthRoleListResponse& r);
  void role_revoke(const std::string& role, const std::string& key, const std::string& end,
                   const pb::AuthRoleRevokePermissionResponse& r);
  void user_get(const std::string& user, const pb::AuthUserGetResponse& r);
  void user_list(const pb::AuthUserListResponse& r);
  void auth_status(const pb::AuthStatusResponse& r);
  // A change that answers with a header only; `text` is its line in the simple format.
  // `in_fields`: whether the fields format can show it (etcdctl cannot for some).
  template <typename Response>
  void done(const std::string& text, const Response& r, bool in_fields = true) {
    if (simple()) return line(text);
    if (format_ == Format::kFields && in_fields) return header(r.header());
    generic(r);
  }

 private:
  struct Value {
    std::string heading;  // of a table
    std::string field;
    std::string json;
    std::string shown;  // to people
    std::string plain;
    bool text = false;
  };
  void values(const std::vector<Value>& all);
  static void line(const std::string& text);
  [[noreturn]] void unsupported() const;
  void header_bytes(const pb::ResponseHeader& h) const;
  void generic(const google::protobuf::Message& r);  // json, protobuf; else unsupported
  void key_value(const mvccpb::KeyValue& kv);
  void header(const pb::ResponseHeader& h);
  void fields(const std::string& prefix, const mvccpb::KeyValue& kv);
  std::string id(uint64_t value) const;
  std::string lease_id(int64_t value) const;
  std::string json_header(const pb::ResponseHeader& h) const;
  template <typename Response>
  void members_json(const Response& r, const pb::Member* added);

  Format format_ = Format::kSimple;
  bool hex_ = false;
  bool value_only_ = false;
};

}  // namespace fairlead::ctl
