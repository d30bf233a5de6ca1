#include "server/sim/users.h"

#include <cstdio>

#include "server/mvcc/errors.h"

namespace fairlead::sim {
namespace {

constexpr io::Nanos kAnswerWait = 8 * io::kSecond;
constexpr io::Nanos kPause = 1500 * io::kMillisecond;

// It is as the change would have it.
bool stands(mvcc::AuthChange::Kind kind, const Status& s) {
  using Kind = mvcc::AuthChange::Kind;
  if (s.is_ok()) return true;
  if (kind == Kind::kUserAdd) return s == mvcc::err_user_exists();
  if (kind == Kind::kRoleDelete) return s == mvcc::err_role_not_found();
  return false;
}

}  // namespace

Users::Users(Cluster* cluster, Counters* counters, uint64_t keys)
    : cluster_(cluster), counters_(counters), prng_(cluster->prng().fork(23)) {
  area_begin_ = "k100";
  area_end_ = "k" + std::to_string(100 + std::max<uint64_t>(1, keys / 2));
}

mvcc::AuthChange Users::change_of(Kind kind, std::string name, std::string role) {
  mvcc::AuthChange c;
  c.kind = kind;
  c.name = std::move(name);
  c.role = std::move(role);
  return c;
}

void Users::start() {
  running_ = true;
  for (const char* user : {"root", "low"}) plan_.push_back({change_of(Kind::kUserAdd, user)});
  plan_.push_back({change_of(Kind::kUserGrant, "root", "root")});
  plan_.push_back({change_of(Kind::kEnable, "")});
  next();
}

void Users::later(io::Nanos delay) {
  cluster_->world().scheduler().after(delay, nullptr, "users.next", [this] { next(); });
}

void Users::next() {
  if (!running_) return;
  if (plan_.empty()) make_period();
  Change change = plan_.front();
  ask(change);
}

// One period of rights, some changes that are none of low's, and the end of the rights.
void Users::make_period() {
  std::string role = "low-" + std::to_string(++period_);
  Change make{change_of(Kind::kRoleAdd, role)};
  make.unsure_is_over = true;
  plan_.push_back(make);
  Change permit{change_of(Kind::kRoleGrant, role)};
  permit.change.permission.type = static_cast<int32_t>(prng_.below(3));
  permit.change.permission.key = area_begin_;
  permit.change.permission.range_end = area_end_;
  plan_.push_back(permit);
  Change grant{change_of(Kind::kUserGrant, "low", role)};
  grant.grants_read = permit.change.permission.type != mvcc::Permission::kWrite;
  grant.grants_write = permit.change.permission.type != mvcc::Permission::kRead;
  plan_.push_back(grant);
  for (uint64_t n = prng_.below(3); n > 0; --n)
    plan_.push_back({change_of(Kind::kUserAdd, "user-" + std::to_string(period_) + "-" + std::to_string(n))});
  if (prng_.chance(0.3)) plan_.push_back({change_of(Kind::kUserPassword, "low")});
  Change end{change_of(Kind::kRoleDelete, role)};
  end.ends_rights = true;
  plan_.push_back(end);
}

void Users::ask(const Change& change) {
  size_t member = prng_.below(kMembers);
  if (cluster_->node(member) == nullptr) return later(200 * io::kMillisecond);
  if (change.grants_read) no_read_since_ = -1;
  if (change.grants_write) no_write_since_ = -1;
  uint64_t attempt = ++attempt_;
  cluster_->in_turn(member, [this, attempt, change](node::Node& node) {
    node::Caller root;
    if (node.auth().enabled()) root = {"root", node.auth().revision(), node::Caller::Kind::kSimpleToken};
    node.propose_auth(root, change.change,
                      [this, attempt, change](const Status& s, Index) { answered(attempt, change, s); });
  });
  cluster_->world().scheduler().after(kAnswerWait, nullptr, "users.timeout",
                                      [this, attempt, change] { answered(attempt, change, node::err_timeout()); });
}

void Users::answered(uint64_t attempt, const Change& change, const Status& status) {
  if (attempt != attempt_) return;  // given up
  ++attempt_;
  if (!stands(change.change.kind, status)) {
    if (change.unsure_is_over) plan_.clear();
    return later(prng_.delay(kPause / 2));
  }
  ++counters_->auth_changes;
  if (change.change.kind == Kind::kEnable) enabled_since_ = cluster_->now();
  if (change.ends_rights) {
    if (no_read_since_ < 0) no_read_since_ = cluster_->now();
    if (no_write_since_ < 0) no_write_since_ = cluster_->now();
  }
  plan_.pop_front();
  later(prng_.delay(kPause));
}

node::Caller Users::caller(node::Node& node, const Op& op) const {
  if (!node.auth().enabled()) return {};
  return {is_low(op.client) ? "low" : "root", node.auth().revision(), node::Caller::Kind::kSimpleToken};
}

std::string Users::check(const Op& op) const {
  bool reads = op.kind == OpKind::kRange || op.kind == OpKind::kReadTxn, writes = false;
  auto inside = [&](const std::string& key, const std::string& end) {
    return key >= area_begin_ && key < area_end_ && end <= area_end_;
  };
  for (const Compare& c : op.compares) {
    reads = true;
    if (!inside(c.key, "")) return "compared " + c.key;
  }
  for (const auto* ops : {&op.success, &op.failure}) {
    for (const SubOp& sub : *ops) {
      if (!inside(sub.key, sub.range_end)) return "touched " + sub.key + " " + sub.range_end;
      reads |= sub.kind == SubOp::Kind::kRange || sub.prev_kv;
      writes |= sub.kind != SubOp::Kind::kRange;
    }
  }
  if (reads && no_read_since_ >= 0 && op.invoked >= no_read_since_) return "read without the right";
  if (writes && no_write_since_ >= 0 && op.invoked >= no_write_since_) return "wrote without the right";
  return "";
}

std::string Users::judge(const Op& op) {
  bool on_keys = op.writes_keys() || op.kind == OpKind::kRange || op.kind == OpKind::kReadTxn;
  if (!is_low(op.client) || !on_keys || op.kind == OpKind::kLeaseRevoke || op.serializable) return "";
  if (op.error == mvcc::err_permission_denied().message()) ++counters_->denied;
  // What was asked before authentication was certainly on is nobody's.
  if (!op.ok() || enabled_since_ < 0 || op.invoked < enabled_since_) return "";
  std::string what = check(op);
  return what.empty() ? "" : "the user low " + what + ": " + describe(op);
}

}  // namespace fairlead::sim
