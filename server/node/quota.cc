// What this member does about the quota and about alarms: refuses, raises, lists, applies and ends them.
#include "base/text.h"
#include "server/node/entry.h"
#include "server/node/node.h"

namespace fairlead::node {
namespace {

constexpr io::Nanos kAlarmTick = 1 * io::kSecond;
constexpr uint64_t kDisarmNumerator = 9, kDisarmDenominator = 10;  // of the quota

}  // namespace

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
