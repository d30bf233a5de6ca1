#include "server/api/claim.h"

#include "base/text.h"
#include "server/api/proto_util.h"

namespace fairlead::api {
namespace {

constexpr int64_t kSessionTtlSeconds = 60;  // of a lease that the server grants, as etcd

mvcc::Compare created_at(std::string_view key, int64_t revision) {
  mvcc::Compare c;
  c.target = mvcc::CompareTarget::kCreate;
  c.key = key;
  c.number = revision;
  return c;
}

}  // namespace

// A negative number prints as one, as Go's %x does.
std::string lease_text(int64_t lease) {
  return lease < 0 ? "-" + hex(0 - static_cast<uint64_t>(lease)) : hex(static_cast<uint64_t>(lease));
}

Claim::Claim(Api& api, node::Caller caller, Kind kind, std::string name, int64_t lease, std::string value)
    : api_(api),
      caller_(std::move(caller)),
      kind_(kind),
      prefix_(std::move(name) + "/"),
      prefix_end_(prefix_end(prefix_)),
      value_(std::move(value)),
      lease_(lease) {}

Claim::~Claim() {
  if (stream_ != 0) api_.node().close_watch(stream_);
}

void Claim::acquire(Done done) {
  done_ = std::move(done);
  auto self = shared_from_this();
  if (lease_ != 0) {
    api_.node().lease_keep_alive(lease_, [](const Status&, int64_t) {});
    return enter();
  }
  api_.node().lease_grant(0, kSessionTtlSeconds, [self](const Status& status, const mvcc::ApplyResult* result) {
    if (self->over_) return;
    if (!status.is_ok()) return self->finish(status, 0);
    self->lease_ = std::get<mvcc::LeaseGrantResult>(result->reply).id;
    self->enter();
  });
}

// Writes the key unless it is there already, and learns who owns.
void Claim::enter() {
  key_ = prefix_ + lease_text(lease_);
  mvcc::RangeRequest mine, owner;
  mine.key = key_;
  owner.key = prefix_;
  owner.range_end = prefix_end_;
  owner.sort_order = mvcc::SortOrder::kAscend;
  owner.sort_target = mvcc::SortTarget::kCreate;
  owner.limit = 1;
  mvcc::PutRequest put;
  put.key = key_;
  put.value = value_;
  put.lease = lease_;
  mvcc::TxnRequest txn;
  txn.compares.push_back(created_at(key_, 0));
  txn.success.push_back(mvcc::RequestOp{put});
  txn.success.push_back(mvcc::RequestOp{owner});
  txn.failure.push_back(mvcc::RequestOp{mine});
  txn.failure.push_back(mvcc::RequestOp{owner});
  api_.node().propose(caller_, txn, [self = shared_from_this()](const Status& status, const mvcc::ApplyResult* result) {
    if (!status.is_ok()) return self->finish(status, 0);
    self->entered(std::get<mvcc::TxnResult>(result->reply));
  });
}

void Claim::entered(const mvcc::TxnResult& result) {
  in_ = true;
  create_revision_ = entered_revision_ = result.revision;
  bool other_value = false;
  if (!result.succeeded) {
    const mvcc::KeyValue& mine = std::get<mvcc::RangeResult>(result.results[0].result).kvs.items.at(0);
    create_revision_ = mine.create_revision;
    other_value = mine.value != value_;
  }
  if (over_) return leave();  // given up while it was on its way
  const auto& owner = std::get<mvcc::RangeResult>(result.results[1].result).kvs.items;
  if (kind_ == Kind::kElection && other_value) return proclaim();
  if (owner.empty() || owner[0].create_revision == create_revision_) return finish(Status(), entered_revision_);
  wait_for_earlier();
}

// The key was there with another value.
void Claim::proclaim() {
  mvcc::TxnRequest txn;
  txn.compares.push_back(created_at(key_, create_revision_));
  mvcc::PutRequest put;
  put.key = key_;
  put.value = value_;
  put.lease = lease_;
  txn.success.push_back(mvcc::RequestOp{put});
  api_.node().propose(caller_, txn, [self = shared_from_this()](const Status& status, const mvcc::ApplyResult* result) {
    if (self->over_) return;
    if (status.is_ok() && std::get<mvcc::TxnResult>(result->reply).succeeded) return self->wait_for_earlier();
    self->leave();
    self->finish(status.is_ok() ? Status(Code::kUnknown, "election: not leader") : status, 0);
  });
}

void Claim::wait_for_earlier() {
  mvcc::RangeRequest earlier;
  earlier.key = prefix_;
  earlier.range_end = prefix_end_;
  earlier.sort_order = mvcc::SortOrder::kDescend;
  earlier.sort_target = mvcc::SortTarget::kCreate;
  earlier.limit = 1;
  earlier.max_create_revision = create_revision_ - 1;
  api_.node().range(caller_, Bytes(), earlier,
                    [self = shared_from_this()](const Status& status, const mvcc::RangeResult* result) {
                      if (self->over_) return;
                      if (!status.is_ok()) {
                        if (self->kind_ == Kind::kLock) self->leave();
                        return self->finish(status, 0);
                      }
                      if (!result->kvs.items.empty())
                        return self->watch(std::string(result->kvs.items[0].key), result->revision);
                      if (self->kind_ == Kind::kLock) return self->check_still_there();
                      self->finish(Status(), self->entered_revision_);
                    });
}

void Claim::watch(std::string key, int64_t revision) {
  watched_ = std::move(key);
  self_ = shared_from_this();
  stream_ = api_.node().open_watch(this);
  mvcc::WatchCreateRequest create;
  create.key = watched_;
  create.start_revision = revision;
  create.no_put = true;
  api_.node().watches().create(stream_, create);
}

void Claim::on_batch(const mvcc::WatchBatch& batch) {
  for (const mvcc::WatchMessage& m : batch.messages) {
    if (m.canceled || m.events_end > m.events_begin) return watch_over();
  }
}

// The key was deleted, or the watch could not go on: look again. Not from inside the delivery.
void Claim::watch_over() {
  if (stream_ == 0) return;
  mvcc::StreamId stream = std::exchange(stream_, 0);
  api_.world().loop->post([self = std::exchange(self_, nullptr), stream] {
    self->api_.node().close_watch(stream);
    if (!self->over_) self->wait_for_earlier();
  });
}

// The lease may have ended while others were waited for.
void Claim::check_still_there() {
  mvcc::RangeRequest mine;
  mine.key = key_;
  api_.node().range(caller_, Bytes(), mine,
                    [self = shared_from_this()](const Status& status, const mvcc::RangeResult* result) {
                      if (self->over_) return;
                      if (!status.is_ok()) {
                        self->leave();
                        return self->finish(status, 0);
                      }
                      if (result->kvs.items.empty())
                        return self->finish({Code::kUnknown, "mutex: session is expired"}, 0);
                      self->finish(Status(), result->revision);
                    });
}

void Claim::leave() {
  if (!std::exchange(in_, false)) return;
  mvcc::TxnRequest txn;
  txn.compares.push_back(created_at(key_, create_revision_));
  mvcc::DeleteRangeRequest gone;
  gone.key = key_;
  txn.success.push_back(mvcc::RequestOp{gone});
  api_.node().propose(caller_, txn, [self = shared_from_this()](const Status&, const mvcc::ApplyResult*) {});
}

void Claim::abandon() {
  if (std::exchange(over_, true)) return;
  if (stream_ != 0) api_.node().close_watch(std::exchange(stream_, 0));
  leave();
  done_ = nullptr;
  std::shared_ptr<Claim> last = std::move(self_);
}

void Claim::finish(const Status& status, int64_t revision) {
  if (std::exchange(over_, true)) return;
  std::exchange(done_, nullptr)(status, revision);
}

}  // namespace fairlead::api
