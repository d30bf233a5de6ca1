#include "server/node/alarm.h"

#include <algorithm>

#include "base/codec.h"

namespace fairlead::node {
namespace {

constexpr uint64_t kKeyCostBytes = 256;  // etcd's share for the metadata of one revision
constexpr uint64_t kLeaseCostBytes = 64;

uint64_t put_cost(const mvcc::PutRequest& put) { return kKeyCostBytes + put.key.size() + put.value.size(); }

uint64_t txn_cost(const mvcc::TxnRequest& txn);
uint64_t branch_cost(const std::vector<mvcc::RequestOp>& ops) {
  uint64_t sum = 0;
  for (const mvcc::RequestOp& op : ops) {
    if (const auto* put = std::get_if<mvcc::PutRequest>(&op.op)) sum += put_cost(*put);
    if (const auto* txn = std::get_if<mvcc::TxnRequest>(&op.op)) sum += txn_cost(*txn);
  }
  return sum;
}
uint64_t txn_cost(const mvcc::TxnRequest& txn) { return std::max(branch_cost(txn.success), branch_cost(txn.failure)); }

}  // namespace

Status err_no_space() { return {Code::kResourceExhausted, "etcdserver: mvcc: database space exceeded"}; }
Status err_corrupt() { return {Code::kDataLoss, "etcdserver: corrupt cluster"}; }

std::string alarm_name(AlarmType type) {
  switch (type) {
    case AlarmType::kNone:
      return "NONE";
    case AlarmType::kNoSpace:
      return "NOSPACE";
    case AlarmType::kCorrupt:
      return "CORRUPT";
  }
  return std::to_string(static_cast<uint32_t>(type));
}

std::string alarm_text(const Alarm& alarm) {
  std::string out;
  if (alarm.member.value != 0) out = "memberID:" + std::to_string(alarm.member.value) + "  ";
  return out + "alarm:" + alarm_name(alarm.type);
}

std::string encode_alarm(const AlarmCommand& command) {
  std::string out;
  put_fixed(out, static_cast<uint8_t>(command.action));
  put_fixed(out, static_cast<uint32_t>(command.alarm.type));
  put_fixed(out, command.alarm.member.value);
  return out;
}

Result<AlarmCommand> decode_alarm(std::string_view bytes) {
  Reader in(bytes);
  AlarmCommand c;
  c.action = static_cast<AlarmAction>(in.fixed<uint8_t>());
  c.alarm.type = static_cast<AlarmType>(in.fixed<uint32_t>());
  c.alarm.member = MemberId(in.fixed<uint64_t>());
  if (!in.ok() || !in.at_end() || (c.action != AlarmAction::kActivate && c.action != AlarmAction::kDeactivate))
    return data_loss("an alarm entry is malformed");
  return c;
}

uint64_t quota_cost(const mvcc::Command& command) {
  if (const auto* put = std::get_if<mvcc::PutRequest>(&command)) return put_cost(*put);
  if (const auto* txn = std::get_if<mvcc::TxnRequest>(&command)) return txn_cost(*txn);
  if (std::holds_alternative<mvcc::LeaseGrantRequest>(command)) return kLeaseCostBytes;
  return 0;
}

// ---- the active ones

std::string alarm_side_id(const Alarm& alarm) {
  std::string id;
  put_fixed(id, __builtin_bswap64(alarm.member.value));
  put_fixed(id, static_cast<uint32_t>(alarm.type));
  return id;
}

std::optional<Alarm> parse_alarm_side_id(std::string_view id) {
  Reader in(id);
  Alarm alarm;
  alarm.member = MemberId(__builtin_bswap64(in.fixed<uint64_t>()));
  alarm.type = static_cast<AlarmType>(in.fixed<uint32_t>());
  return in.ok() ? std::optional<Alarm>(alarm) : std::nullopt;
}

void Alarms::count(const Alarm& alarm, int by) {
  if (alarm.type == AlarmType::kNoSpace) no_space_ += by;
  if (alarm.type == AlarmType::kCorrupt) corrupt_ += by;
}

void Alarms::load(const mvcc::SideTable& side) {
  *this = {};
  side.for_each(mvcc::SideKind::kAlarm, [this](std::string_view id, std::string_view) {
    std::optional<Alarm> alarm = parse_alarm_side_id(id);
    if (alarm && active_.insert(*alarm).second) count(*alarm, 1);
  });
}

bool Alarms::apply(const AlarmCommand& command, mvcc::SideTable& side, mvcc::SidePosition position) {
  const Alarm& alarm = command.alarm;
  if (alarm.type == AlarmType::kNone) return false;
  if (command.action == AlarmAction::kActivate) {
    if (!active_.insert(alarm).second) return false;
    count(alarm, 1);
    side.set(mvcc::SideKind::kAlarm, alarm_side_id(alarm), "", position);
    return true;
  }
  if (active_.erase(alarm) == 0) return false;
  count(alarm, -1);
  side.erase(mvcc::SideKind::kAlarm, alarm_side_id(alarm));
  return true;
}

std::vector<Alarm> Alarms::of(AlarmType type) const {
  std::vector<Alarm> out;
  for (const Alarm& alarm : active_)
    if (type == AlarmType::kNone || alarm.type == type) out.push_back(alarm);
  return out;
}

Status Alarms::refuses(const mvcc::Command& command) const {
  if (active_.empty()) return {};
  if (corrupt_ > 0 && !std::holds_alternative<mvcc::LeaseCheckpointRequest>(command)) return err_corrupt();
  if (no_space_ > 0 && quota_cost(command) > 0) return err_no_space();
  return {};
}

}  // namespace fairlead::node
