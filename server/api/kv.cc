// The KV service (etcdserverpb.KV). Range, Put, DeleteRange and Txn never touch generated messages.
#include "base/codec.h"
#include "server/api/api.h"
#include "server/mvcc/range.h"
#include "server/mvcc/types.h"

namespace fairlead::api {
namespace {

constexpr io::Nanos kPhysicalPoll = 2 * io::kMillisecond;
constexpr size_t kStreamQueueMax = 4 << 20;  // unread bytes of a range stream before it waits
constexpr size_t kStreamDrainMark = 1 << 20;
constexpr size_t kPiecesFromKeys = 16;

// What a transaction is about, for the hot keys.
std::string_view first_key(const mvcc::TxnRequest& txn) {
  if (!txn.compares.empty()) return txn.compares[0].key;
  if (txn.success.empty()) return {};
  return std::visit(
      [](const auto& op) -> std::string_view {
        if constexpr (requires { op.key; })
          return op.key;
        else
          return {};
      },
      txn.success[0].op);
}

// KV.RangeStream (etcd 3.7): messages with field 1 = a RangeResponse; the last carries header, more and count.
class RangeStreamCall final : public net::CallHandler, public node::RangeSink {
 public:
  RangeStreamCall(Api& api, net::ServerCall& call) : api_(api), call_(&call) { call.set_drain_mark(kStreamDrainMark); }
  ~RangeStreamCall() override { close(); }

  void on_message(net::ServerCall& call, Bytes in) override {
    if (have_request_) return call.finish({Code::kInternal, "a server stream has one request message"});
    have_request_ = true;
    mvcc::RangeRequest request;
    Status status = decode(in.view(), request);
    if (status.is_ok()) status = mvcc::check(request);
    if (status.is_ok()) status = check_streamable(request);
    if (!status.is_ok()) return call.finish(status);
    // A target without an order: as with etcd each chunk is in that order by itself, so a short answer is as a whole.
    chunk_order_.sort_target = request.sort_target;
    chunk_order_.keys_only = request.keys_only;
    if (request.sort_target != mvcc::SortTarget::kValue) request.sort_target = mvcc::SortTarget::kKey;
    api_.with_caller(call.ref(), [this, in, request](const Result<node::Caller>& who) {
      if (!who.is_ok()) return call_->finish(who.status());
      api_.hot_keys().saw_read(request.key);
      id_ = api_.node().open_range(*who, in, request, this);
    });
  }
  void on_cancel(net::ServerCall&, const Status&) override { close(); }
  void on_drained(net::ServerCall&) override {
    if (id_ != 0) api_.node().resume_range(id_);
  }

  bool on_chunk(const mvcc::RangeResult& chunk) override {
    send(encode_range_chunk(in_order(chunk)));
    return call_->queued_bytes() <= kStreamQueueMax;
  }
  void on_end(const Status& status, const mvcc::RangeResult* last) override {
    id_ = 0;
    if (!status.is_ok()) return call_->finish(status);
    send(encode_range_pieces(api_.header(last->revision), in_order(*last)));
    call_->finish(Status());
  }

 private:
  const mvcc::RangeResult& in_order(const mvcc::RangeResult& chunk) {
    if (chunk_order_.sort_target == mvcc::SortTarget::kKey) return chunk;
    ordered_ = chunk;
    mvcc::finish_range(chunk_order_, ordered_);
    return ordered_;
  }
  static Status check_streamable(const mvcc::RangeRequest& r) {
    if (r.sort_order != mvcc::SortOrder::kNone &&
        !(r.sort_order == mvcc::SortOrder::kAscend && r.sort_target == mvcc::SortTarget::kKey))
      return {Code::kUnimplemented, "RangeStream does not support custom sort orders"};
    if (r.min_mod_revision || r.max_mod_revision || r.min_create_revision || r.max_create_revision)
      return {Code::kUnimplemented, "RangeStream does not support revision filters"};
    return {};
  }
  void send(Pieces response) {
    size_t size = 0;
    for (const Bytes& piece : response) size += piece.size();
    BytesBuilder head(1 + kVarintMax);
    *head.data() = 1 << 3 | 2;
    char* end = store_varint(head.data() + 1, size);
    auto used = static_cast<size_t>(end - head.data());
    response.insert(response.begin(), std::move(head).finish(used));
    call_->send_message(response);
  }
  void close() {
    if (id_ != 0) api_.node().close_range(std::exchange(id_, 0));
  }

  Api& api_;
  net::ServerCall* call_;
  mvcc::RangeRequest chunk_order_;
  mvcc::RangeResult ordered_;
  uint64_t id_ = 0;
  bool have_request_ = false;
};

}  // namespace

void Api::add_kv(net::Router& router) {
  router.add_unary("/etcdserverpb.KV/Range", [this](net::CallRef call, Bytes in) { range(std::move(call), in); });
  router.add_stream("/etcdserverpb.KV/RangeStream", net::MethodKind::kServerStream,
                    [this](net::ServerCall& call) -> std::unique_ptr<net::CallHandler> {
                      return std::make_unique<RangeStreamCall>(*this, call);
                    });
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
  hot_keys_.saw_read(request.key);
  if (std::optional<Status> status = node_.range_now(*who, request, point_read_)) {
    if (!status->is_ok()) return call->finish(*status);
    Bytes reply = encode_range_response(header(point_read_.revision), point_read_);
    point_read_.clear();  // lets go of the values, keeps its room
    return call->reply(reply);
  }
  std::function<bool()> wanted;
  if (!request.range_end.empty()) wanted = [call] { return !call->done(); };
  node_.range_later(
      *who, in, request,
      [this, call](const Status& status, const mvcc::RangeResult* result) {
        if (!status.is_ok()) return call->finish(status);
        if (result->kvs.items.size() < kPiecesFromKeys)
          return call->reply(encode_range_response(header(result->revision), *result));
        call->reply(std::span<const Bytes>(encode_range_pieces(header(result->revision), *result)));
      },
      std::move(wanted));
}

void Api::put(net::CallRef call, const Bytes& in) {
  mvcc::PutRequest request;
  if (Status s = decode(in.view(), request); !s.is_ok()) return call->finish(s);
  if (Status s = mvcc::check(request); !s.is_ok()) return call->finish(s);
  Result<node::Caller> who = caller(call);
  if (!who.is_ok()) return call->finish(who.status());
  hot_keys_.saw_write(request.key);
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
  hot_keys_.saw_write(request.key);
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
    hot_keys_.saw_read(first_key(request));
    return node_.read_txn(*who, in, std::move(request),
                          [this, call](const Status& status, const mvcc::TxnResult* result) {
                            if (!status.is_ok()) return call->finish(status);
                            call->reply(encode_txn_response(header(result->revision), *result));
                          });
  }
  hot_keys_.saw_write(first_key(request));
  node_.propose(*who, std::move(request), [this, call](const Status& status, const mvcc::ApplyResult* result) {
    if (!status.is_ok()) return call->finish(status);
    call->reply(encode_txn_response(header(result->revision), std::get<mvcc::TxnResult>(result->reply)));
  });
}

void Api::compact(net::CallRef call, const Bytes& in) {
  mvcc::CompactRequest request;
  if (Status s = decode(in.view(), request); !s.is_ok()) return call->finish(s);
  auto done = [this, call, asker = asker(call), physical = request.physical, revision = request.revision](
                  const Status& status, const mvcc::ApplyResult* result) {
    if (!status.is_ok()) return call->finish(status);
    world_.log->info("compacted for a client", {{"compact-revision", revision},
                                                {"physical", physical},
                                                {"by-user", asker.user},
                                                {"remote-address", asker.address}});
    if (physical) return reply_when_compacted(call);
    call->reply(encode_header_only(header(result->revision)));
  };
  node_.propose(request, std::move(done));
}

// "physical" promises that the revisions are gone, not only unreadable.
void Api::reply_when_compacted(net::CallRef call) {
  if (call->done()) return;
  if (!node_.keyspace().compaction_pending()) return call->reply(encode_header_only(header()));
  world_.loop->add_timer(world_.loop->now() + kPhysicalPoll, [this, call, alive = alive_] {
    if (*alive) reply_when_compacted(call);
  });
}

}  // namespace fairlead::api
