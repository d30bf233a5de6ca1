#include "server/node/alarm.h"

#include <algorithm>

#include "base/codec.h"
#include "base/text.h"
#include "server/node/entry.h"
#include "server/node/node.h"

namespace fairlead::node {
namespace {

constexpr uint64_t kKeyCostBytes = 256;  // etcd's share for the metadata of one revision
constexpr uint64_t kLeaseCostBytes = 64;
constexpr io::Nanos kAlarmTick = 1 * io::kSecond;
constexpr uint64_t kDisarmNumerator = 9, kDisarmDenominator = 10;  // of the quota

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

// ---- the node's part

uint64_t Node::quota_bytes() const {
  if (config_.quota_bytes < 0) return 0;
  return config_.quota_bytes == 0 ? kQuotaDefaultBytes : static_cast<uint64_t>(config_.quota_bytes);
}

bool Node::over_quota(const mvcc::Command& command) const {
  if (config_.quota_bytes < 0) return false;
  uint64_t cost = quota_cost(command);
  return cost > 0 && keyspace_->bytes_logical() + cost >= quota_bytes();
}

// As etcd: the alarm is on by the time the client reads the error.
void Node::refuse_for_space(ApplyDone done) {
  ++stats_.proposals_failed;
  Alarm own{member_id(), AlarmType::kNoSpace};
  if (alarms_.all().contains(own) || refused_for_space_.size() >= kProposalsMax) {
    world_.loop->post([done = std::move(done)] { done(err_no_space(), nullptr); });
    return;
  }
  refused_for_space_.push_back(std::move(done));
  if (refused_for_space_.size() > 1) return;  // it is on its way
  world_.log->warn("the quota is reached: raising alarm NOSPACE",
                   {{"logical-bytes", keyspace_->bytes_logical()}, {"quota-bytes", quota_bytes()}});
  alarm(AlarmAction::kActivate, own, [this, alive = alive_](const Status&, const std::vector<Alarm>&) {
    if (!*alive) return;
    for (ApplyDone& refused : std::exchange(refused_for_space_, {})) refused(err_no_space(), nullptr);
  });
}

void Node::alarm(AlarmAction action, Alarm alarm, AlarmDone done) {
  if (alarm.type == AlarmType::kNone) {  // changes nothing, in etcd too
    world_.loop->post([done = std::move(done)] { done(Status(), {}); });
    return;
  }
  propose_entry(kEntryAlarm, encode_alarm({action, alarm}), false,
                [this, action, alarm, done = std::move(done)](const Status& status, const mvcc::ApplyResult*) {
                  std::vector<Alarm> out;
                  if (status.is_ok() && (action == AlarmAction::kActivate || alarm_changed_)) out.push_back(alarm);
                  done(status, out);
                });
}

void Node::list_alarms(AlarmType type, AlarmDone done) {
  barrier([this, type, done = std::move(done)](const Status& status) {
    done(status, status.is_ok() ? alarms_.of(type) : std::vector<Alarm>());
  });
}

void Node::apply_alarm(const raft::Entry& entry, std::string_view payload) {
  Result<AlarmCommand> command = decode_alarm(payload);
  CHECK(command.is_ok(), "a committed alarm is malformed");
  alarm_changed_ = alarms_.apply(*command, keyspace_->side(), {entry.index.value, 0});
  if (!alarm_changed_) return;
  below_quota_since_ = 0;
  bool raised = command->action == AlarmAction::kActivate;
  stats_.space_alarms += raised && command->alarm.type == AlarmType::kNoSpace;
  world_.log->warn(raised ? "alarm raised" : "alarm disarmed", {{"alarm", alarm_name(command->alarm.type)},
                                                                {"member-id", hex(command->alarm.member.value)},
                                                                {"name", name_of(command->alarm.member)}});
}

// Its own, which only the member itself can judge; and the leader those of members that cannot speak for themselves.
bool Node::ends_alarm_of(MemberId member) const {
  if (member == member_id()) return true;
  if (!raft_->is_leader()) return false;
  auto peers = transport_->stats();
  auto it = peers.find(member);
  return it == peers.end() || !it->second.connected;
}

// NOSPACE ends by itself once there has been room for a while.
void Node::alarm_tick() {
  if (stopped_) return;
  alarm_timer_ = world_.loop->add_timer(world_.loop->now() + kAlarmTick, [this] { alarm_tick(); });
  io::Nanos now = world_.loop->now();
  bool room = !low_space_ && (config_.quota_bytes < 0 ||
                              keyspace_->bytes_logical() < quota_bytes() / kDisarmDenominator * kDisarmNumerator);
  if (!room || config_.auto_disarm_delay <= 0 || !alarms_.any(AlarmType::kNoSpace)) {
    below_quota_since_ = 0;
    return;
  }
  if (below_quota_since_ == 0) below_quota_since_ = now;
  if (now - below_quota_since_ < config_.auto_disarm_delay) return;
  below_quota_since_ = 0;
  for (const Alarm& one : alarms_.of(AlarmType::kNoSpace))
    if (ends_alarm_of(one.member))
      alarm(AlarmAction::kDeactivate, one, [](const Status&, const std::vector<Alarm>&) {});
}

}  // namespace fairlead::node
