// Users and rights: changes through the log, commands in the name of a user, reads judged where they are served.
//
// Payloads of entries:
//   kEntryAs    u8 who (1 a user, 2 the cluster itself) | length, user | var auth revision | command
//   kEntryAuth  length, user | var auth revision | change (mvcc::encode_auth_change)
#include "base/codec.h"
#include "server/mvcc/errors.h"
#include "server/node/entry.h"
#include "server/node/node.h"

namespace fairlead::node {
namespace {

enum Who : uint8_t { kUser = 1, kCluster = 2 };

constexpr std::string_view kFirstKey("\0", 1);
constexpr std::string_view kToTheEnd("\0", 1);

void put_caller(std::string& out, const Caller& caller) {
  put_lengthed(out, caller.user);
  put_varint(out, caller.auth_revision);
}

}  // namespace

void Node::append_caller(std::string& out, const Caller& caller) {
  put_fixed<uint8_t>(out, caller.kind == Caller::Kind::kCluster ? kCluster : kUser);
  put_caller(out, caller);
}

bool Node::apply_as(const raft::Entry& entry, std::string_view payload, uint64_t request, bool mine) {
  Reader in(payload);
  auto who = in.fixed<uint8_t>();
  mvcc::Identity identity;
  identity.user = in.lengthed();
  identity.auth_revision = in.varint();
  CHECK(in.ok() && (who == kUser || who == kCluster), "a committed command in a user's name is malformed");
  return apply_command(entry, who == kCluster ? nullptr : &identity, in.rest(), request, mine);
}

void Node::propose_auth(const Caller& caller, const mvcc::AuthChange& change, AuthDone done) {
  std::string payload;
  put_caller(payload, caller);
  payload += mvcc::encode_auth_change(change);
  if (payload.size() > config_.request_bytes_max) {
    world_.loop->post([done = std::move(done)] {
      done({Code::kInvalidArgument, "etcdserver: request is too large"}, Index());
    });
    return;
  }
  propose_entry(kEntryAuth, payload, false,
                [this, done = std::move(done)](const Status& status, const mvcc::ApplyResult*) {
                  done(status, status.is_ok() ? auth_change_index_ : Index());
                });
}

void Node::apply_auth(const raft::Entry& entry, std::string_view payload, uint64_t request, bool mine) {
  using Kind = mvcc::AuthChange::Kind;
  Reader in(payload);
  mvcc::Identity identity;
  identity.user = in.lengthed();
  identity.auth_revision = in.varint();
  Result<mvcc::AuthChange> change = in.ok() ? mvcc::decode_auth_change(in.rest()) : data_loss("");
  CHECK(change.is_ok(), "a committed change of users and roles is malformed");
  Status status = auth_.apply(identity, *change, entry.index, keyspace_->side());
  if (status.is_ok()) {
    if (change->kind == Kind::kToken)
      tokens_.assign(change->token + "." + std::to_string(entry.index.value), change->name, world_.loop->now());
    if (change->kind == Kind::kUserDelete || change->kind == Kind::kUserPassword) tokens_.drop_user(change->name);
    if (change->kind == Kind::kDisable) tokens_.clear();
  }
  auth_change_index_ = entry.index;
  if (mine) answer(request, status, nullptr);
}

// An identity of a moment ago counts as one of now if it would be given again: then no right of then is used.
mvcc::Identity Node::identity(const Caller& caller) const {
  bool renewable = caller.kind == Caller::Kind::kSimpleToken || caller.kind == Caller::Kind::kCertificate;
  uint64_t revision = caller.auth_revision;
  if (renewable && revision < auth_.revision() && auth_.credentials_stand(caller.user, revision))
    revision = auth_.revision();
  return {caller.user, revision};
}

Status Node::check_fresh(const Caller& caller) const {
  // A token that was signed at another revision speaks of other rights.
  if (caller.kind == Caller::Kind::kJwt && caller.auth_revision != auth_.revision())
    return mvcc::err_auth_old_revision();
  return {};
}

Status Node::check_read(const Caller& caller, std::string_view key, std::string_view range_end) const {
  if (!auth_.enabled() || caller.kind == Caller::Kind::kCluster) return {};
  RETURN_IF_ERROR(check_fresh(caller));
  return auth_.check_read(identity(caller), key, range_end);
}

Status Node::check_txn(const Caller& caller, const mvcc::TxnRequest& request) const {
  if (!auth_.enabled() || caller.kind == Caller::Kind::kCluster) return {};
  RETURN_IF_ERROR(check_fresh(caller));
  return auth_.check(identity(caller), request, *keyspace_);
}

Status Node::check_admin(const Caller& caller) const {
  if (!auth_.enabled() || caller.kind == Caller::Kind::kCluster) return {};
  return auth_.check_admin({caller.user, caller.auth_revision});
}

void Node::when_permitted(std::function<Status()> judge, Done done) {
  if (Status s = judge(); s.is_ok()) return done(s);
  linearizable([judge = std::move(judge), done = std::move(done)](const Status& barrier) {
    Status s = judge();
    done(barrier.is_ok() || s.is_ok() ? s : barrier);
  });
}

// ---- leases in the name of a caller

void Node::lease_keep_alive(const Caller& caller, int64_t id, std::function<void(const Status&, int64_t)> done) {
  if (!auth_.enabled() || caller.kind == Caller::Kind::kCluster) return lease_keep_alive(id, std::move(done));
  auto judge = [this, caller, id]() -> Status {
    if (!auth_.enabled()) return {};
    if (caller.nobody()) return mvcc::err_user_empty();
    return auth_.check_lease_write(identity(caller), id, *keyspace_);
  };
  when_permitted(judge, [this, id, done = std::move(done)](const Status& status) {
    if (!status.is_ok()) return done(status, 0);
    lease_keep_alive(id, done);
  });
}

// Whoever asks for a lease's keys must be allowed to read all of them. The answer itself is judged: it may hold keys
// that this member has not applied yet.
void Node::lease_time_to_live(const Caller& caller, int64_t id, bool keys,
                              std::function<void(const Status&, const LeaseTimeToLive*)> done) {
  if (!keys) return lease_time_to_live(id, keys, std::move(done));
  lease_time_to_live(
      id, keys, [this, caller, done = std::move(done), alive = alive_](const Status& status, const LeaseTimeToLive* t) {
        if (!status.is_ok() || !*alive || !auth_.enabled()) return done(status, t);
        auto answer = std::make_shared<LeaseTimeToLive>(*t);
        auto judge = [this, caller, answer]() -> Status {
          if (check_admin(caller).is_ok() && !caller.nobody()) return {};
          for (const std::string& key : answer->keys) RETURN_IF_ERROR(check_read(caller, key, {}));
          return {};
        };
        when_permitted(judge, [answer, done](const Status& s) { done(s, s.is_ok() ? answer.get() : nullptr); });
      });
}

void Node::lease_list(const Caller& caller, std::function<void(const Status&, const std::vector<int64_t>*)> done) {
  lease_list([this, caller, done = std::move(done)](const Status& status, const std::vector<int64_t>* ids) {
    if (!status.is_ok() || !auth_.enabled()) return done(status, ids);
    Status judged = caller.nobody() ? mvcc::err_user_empty() : Status();
    if (judged.is_ok() && !check_admin(caller).is_ok() && !check_read(caller, kFirstKey, kToTheEnd).is_ok()) {
      for (int64_t id : *ids) {
        judged = auth_.check_lease_read(identity(caller), id, *keyspace_);
        if (!judged.is_ok()) break;
      }
    }
    done(judged, judged.is_ok() ? ids : nullptr);
  });
}

}  // namespace fairlead::node
