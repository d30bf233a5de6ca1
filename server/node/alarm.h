// Alarms: NOSPACE (the quota is reached) and CORRUPT (members hold different data), each for one member, or for none in
// particular (member 0). Replicated: raised and cleared by log entries, kept as side records; so every member refuses
// the same entries while one is active. Protocol: etcd's, to the letter of its errors.
//
// The quota itself is not replicated and never judged by apply: a member compares its own count of logical bytes when a
// request comes in, and raises the alarm for itself.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "server/mvcc/side.h"
#include "server/mvcc/types.h"

namespace fairlead::node {

enum class AlarmType : uint32_t { kNone = 0, kNoSpace = 1, kCorrupt = 2 };  // the protocol's numbers
enum class AlarmAction : uint8_t { kActivate = 1, kDeactivate = 2 };

struct Alarm {
  MemberId member;  // 0: none in particular
  AlarmType type = AlarmType::kNone;
  auto operator<=>(const Alarm&) const = default;
};

std::string alarm_name(AlarmType type);
std::string alarm_text(const Alarm& alarm);  // as etcd prints one in Status: "memberID:1  alarm:NOSPACE"

struct AlarmCommand {
  AlarmAction action = AlarmAction::kActivate;
  Alarm alarm;
};
// The id of its side record, which has no payload.
std::string alarm_side_id(const Alarm& alarm);
std::optional<Alarm> parse_alarm_side_id(std::string_view id);

std::string encode_alarm(const AlarmCommand& command);
Result<AlarmCommand> decode_alarm(std::string_view bytes);

// The active ones: a view of the side table, kept beside it.
class Alarms {
 public:
  void load(const mvcc::SideTable& side);
  // False if nothing changed: it was active already, or was not.
  bool apply(const AlarmCommand& command, mvcc::SideTable& side, mvcc::SidePosition position);
  const std::set<Alarm>& all() const { return active_; }
  std::vector<Alarm> of(AlarmType type) const;  // kNone: all
  bool any(AlarmType type) const { return type == AlarmType::kNoSpace ? no_space_ > 0 : corrupt_ > 0; }
  // What an active alarm makes of a command: etcd's error, or ok.
  Status refuses(const mvcc::Command& command) const;

 private:
  void count(const Alarm& alarm, int by);
  std::set<Alarm> active_;
  int no_space_ = 0;
  int corrupt_ = 0;
};

constexpr uint64_t kQuotaDefaultBytes = uint64_t{2} << 30;
// What a command may add to the store, at most; 0: it adds nothing, and no quota stops it.
uint64_t quota_cost(const mvcc::Command& command);

Status err_no_space();  // ResourceExhausted "etcdserver: mvcc: database space exceeded"
Status err_corrupt();   // DataLoss "etcdserver: corrupt cluster"

}  // namespace fairlead::node
