// The KV service (etcdserverpb.KV). Range, Put, DeleteRange and Txn never touch generated messages.
#include "server/api/api.h"
#include "server/mvcc/types.h"

namespace fairlead::api {
namespace {
constexpr io::Nanos kPhysicalPoll = 2 * io::kMillisecond;
}

void Api::add_kv(net::Router& router) {
  router.add_unary("/etcdserverpb.KV/Range", [this](net::CallRef call, Bytes in) { range(std::move(call), in); });
  router.add_unary("/etcdserverpb.KV/Put", [this](net::CallRef call, Bytes in) { put(std::move(call), in); });
  router.add_unary("/etcdserverpb.KV/DeleteRange",
                   [this](net::CallRef call, Bytes in) { delete_range(std::move(call), in); });
  router.add_unary("/etcdserverpb.KV/Txn", [this](net::CallRef call, Bytes in) { txn(std::move(call), in); });
  router.add_unary("/etcdserverpb.KV/Compact", [this](net::CallRef call, Bytes in) { compact(std::move(call), in); });
}

void Api::range(net::CallRef call, const Bytes& in) {
  mvcc::RangeRequest request;
  if (Status s = decode(in.view(), request); !s.is_ok()) return call->finish(s);
  if (!request.serializable && node_.is_learner()) return call->finish(node::err_not_for_learner());
  if (Status s = mvcc::check(request); !s.is_ok()) return call->finish(s);
  Result<node::Caller> who = caller(call);
  if (!who.is_ok()) return call->finish(who.status());
  node_.range(
      *who, in, request,
      [this, call](const Status& status, const mvcc::RangeResult* result) {
        if (!status.is_ok()) return call->finish(status);
        call->reply(encode_range_response(header(result->revision), *result));
      },
      [call] { return !call->done(); });
}

void Api::put(net::CallRef call, const Bytes& in) {
  mvcc::PutRequest request;
  if (Status s = decode(in.view(), request); !s.is_ok()) return call->finish(s);
  if (Status s = mvcc::check(request); !s.is_ok()) return call->finish(s);
  Result<node::Caller> who = caller(call);
  if (!who.is_ok()) return call->finish(who.status());
  node_.propose(*who, request, [this, call](const Status& status, const mvcc::ApplyResult* result) {
    if (!status.is_ok()) return call->finish(status);
    call->reply(encode_put_response(header(result->revision), std::get<mvcc::PutResult>(result->reply)));
  });
}

void Api::delete_range(net::CallRef call, const Bytes& in) {
  mvcc::DeleteRangeRequest request;
  if (Status s = decode(in.view(), request); !s.is_ok()) return call->finish(s);
  if (Status s = mvcc::check(request); !s.is_ok()) return call->finish(s);
  Result<node::Caller> who = caller(call);
  if (!who.is_ok()) return call->finish(who.status());
  node_.propose(*who, request, [this, call](const Status& status, const mvcc::ApplyResult* result) {
    if (!status.is_ok()) return call->finish(status);
    call->reply(
        encode_delete_range_response(header(result->revision), std::get<mvcc::DeleteRangeResult>(result->reply)));
  });
}

void Api::txn(net::CallRef call, const Bytes& in) {
  mvcc::TxnRequest request;
  if (Status s = decode(in.view(), request); !s.is_ok()) return call->finish(s);
  if (Status s = mvcc::check(request, {static_cast<int64_t>(node_.config().txn_ops_max)}); !s.is_ok())
    return call->finish(s);
  Result<node::Caller> who = caller(call);
  if (!who.is_ok()) return call->finish(who.status());
  if (mvcc::is_read_only(request)) {
    return node_.read_txn(*who, in, std::move(request),
                          [this, call](const Status& status, const mvcc::TxnResult* result) {
                            if (!status.is_ok()) return call->finish(status);
                            call->reply(encode_txn_response(header(result->revision), *result));
                          });
  }
  node_.propose(*who, std::move(request), [this, call](const Status& status, const mvcc::ApplyResult* result) {
    if (!status.is_ok()) return call->finish(status);
    call->reply(encode_txn_response(header(result->revision), std::get<mvcc::TxnResult>(result->reply)));
  });
}

void Api::compact(net::CallRef call, const Bytes& in) {
  mvcc::CompactRequest request;
  if (Status s = decode(in.view(), request); !s.is_ok()) return call->finish(s);
  bool physical = request.physical;
  node_.propose(request, [this, call, physical](const Status& status, const mvcc::ApplyResult* result) {
    if (!status.is_ok()) return call->finish(status);
    if (physical) return reply_when_compacted(call);
    call->reply(encode_header_only(header(result->revision)));
  });
}

// "physical" promises that the revisions are gone, not only unreadable.
void Api::reply_when_compacted(net::CallRef call) {
  if (call->done()) return;
  if (!node_.keyspace().compaction_pending()) return call->reply(encode_header_only(header()));
  world_.loop->add_timer(world_.loop->now() + kPhysicalPoll, [this, call] { reply_when_compacted(call); });
}

}  // namespace fairlead::api
