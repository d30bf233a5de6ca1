#include "server/proxy/kv_proxy.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "server/proxy/wire.h"

namespace fairlead::proxy {

using etcdserverpb::CompactionRequest;
using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::DeleteRangeResponse;
using etcdserverpb::PutRequest;
using etcdserverpb::PutResponse;
using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using etcdserverpb::TxnRequest;
using etcdserverpb::TxnResponse;

namespace {

constexpr const char* kRange = "/etcdserverpb.KV/Range";
constexpr const char* kRangeStream = "/etcdserverpb.KV/RangeStream";
constexpr const char* kPut = "/etcdserverpb.KV/Put";
constexpr const char* kDeleteRange = "/etcdserverpb.KV/DeleteRange";
constexpr const char* kTxn = "/etcdserverpb.KV/Txn";
constexpr const char* kCompact = "/etcdserverpb.KV/Compact";

std::string who_asks(const net::ServerCall& call) {
  return std::string(call.metadata("token")) + '\0' + std::string(call.metadata("authorization"));
}

template <typename Message>
bool parsed(net::ServerCall& call, const Bytes& bytes, Message& out) {
  Status s = parse(bytes, out);
  if (!s.is_ok()) call.finish(s);
  return s.is_ok();
}

}  // namespace

int64_t header_revision(const Bytes& reply) {
  constexpr char kFirstField = 0x0A;
  constexpr int kShortLength = 0x80;  // a header has at most 44 bytes
  std::string_view bytes = reply.view();
  if (bytes.size() < 2 || bytes[0] != kFirstField || static_cast<unsigned char>(bytes[1]) >= kShortLength) return 0;
  bytes = bytes.substr(2, static_cast<size_t>(bytes[1]));
  etcdserverpb::ResponseHeader header;
  return header.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ? header.revision() : 0;
}

void KvProxy::written(const Status& status, const Bytes& reply) {
  if (status.is_ok()) written_ = std::max(written_, header_revision(reply));
}

// The request as it goes to the cluster; false: it was answered.
template <typename Request>
bool KvProxy::move_in(net::ServerCall& call, Request& request, const Bytes& original, Bytes* out) {
  *out = original;
  if (name_space_.empty()) return true;
  if (Status s = name_space_.request(request); !s.is_ok()) return call.finish(s), false;
  *out = serialize(request);
  return true;
}

// The answer as it goes to the client, read only where somebody must look inside.
template <typename Response>
Status KvProxy::move_out(Bytes* reply, int64_t* revision) {
  if (name_space_.empty() && !ordering_) return {};
  Response message;
  RETURN_IF_ERROR(parse(*reply, message));
  *revision = message.header().revision();
  if (name_space_.empty()) return {};
  name_space_.response(message);
  *reply = serialize(message);
  return {};
}

template <typename Response>
void KvProxy::read_in_order(net::CallRef call, UpstreamCall out, size_t attempt, int64_t at_least, Answer then) {
  UpstreamCall again = ordering_ ? out : UpstreamCall();
  forward(upstream_, call, std::move(out),
          [this, call, again, attempt, at_least, then](net::ServerCall& c, Status status, Bytes reply) {
            int64_t revision = 0;
            if (status.is_ok()) status = move_out<Response>(&reply, &revision);
            if (!status.is_ok() || !ordering_) return then(c, status, std::move(reply));
            if (revision >= at_least) {
              seen_revision(revision);
              return then(c, status, std::move(reply));
            }
            if (attempt >= kOrderAttemptsPerEndpoint * upstream_.endpoints().size())
              return c.finish(Status(Code::kUnknown,
                                     "etcdclient: no cluster members have a revision higher than the previously "
                                     "received revision"));
            read_in_order<Response>(call, again, attempt + 1, at_least, then);
          });
}

void KvProxy::add_routes(net::Router& router) {
  router.add_unary(kRange, [this](net::CallRef call, Bytes in) { range(std::move(call), in); });
  router.add_unary(kPut, [this](net::CallRef call, Bytes in) { put(std::move(call), in); });
  router.add_unary(kDeleteRange, [this](net::CallRef call, Bytes in) { delete_range(std::move(call), in); });
  router.add_unary(kTxn, [this](net::CallRef call, Bytes in) { txn(std::move(call), in); });
  router.add_unary(kCompact, [this](net::CallRef call, Bytes in) { compact(std::move(call), in); });
  router.add_stream(
      kRangeStream, net::MethodKind::kServerStream, [this](net::ServerCall& call) -> std::unique_ptr<net::CallHandler> {
        if (name_space_.empty() && !ordering_) return make_pipe(upstream_, call);
        call.finish(Status(Code::kUnimplemented,
                           "RangeStream is not supported by the gRPC proxy with a namespace or ordering"));
        return nullptr;
      });
}

void KvProxy::range(net::CallRef call, const Bytes& bytes) {
  RangeRequest request;
  if (!parsed(*call, bytes, request)) return;
  std::string who = who_asks(*call);
  if (request.serializable() && !ordering_) {
    Bytes answer;
    RangeCache::Found found = cache_.find(who, request, &answer);
    ++(found == RangeCache::Found::kNo ? stats_.cache_misses : stats_.cache_hits);
    if (found == RangeCache::Found::kYes) return call->reply(answer);
    if (found == RangeCache::Found::kCompacted)
      return call->finish({Code::kOutOfRange, "etcdserver: mvcc: required revision has been compacted"});
  }
  auto original = std::make_shared<RangeRequest>(request);
  Bytes out;
  if (!move_in(*call, request, bytes, &out)) return;
  uint64_t since = cache_.writes();
  read_in_order<RangeResponse>(call, upstream_call(*call, kRange, std::move(out), true), 0, seen_,
                               [this, who, original, since](net::ServerCall& c, const Status& status, Bytes reply) {
                                 bool fresh = original->revision() > 0 || header_revision(reply) >= written_;
                                 if (status.is_ok() && !ordering_ && fresh) cache_.add(who, *original, reply, since);
                                 answer_as_is(c, status, std::move(reply));
                               });
}

void KvProxy::put(net::CallRef call, const Bytes& bytes) {
  PutRequest request;
  if (!parsed(*call, bytes, request)) return;
  std::string key = request.key();
  cache_.invalidate(key, "");
  Bytes out;
  if (!move_in(*call, request, bytes, &out)) return;
  forward(upstream_, call, upstream_call(*call, kPut, std::move(out), false),
          [this, key](net::ServerCall& c, Status status, Bytes reply) {
            cache_.invalidate(key, "");
            written(status, reply);
            int64_t revision = 0;
            if (status.is_ok()) status = move_out<PutResponse>(&reply, &revision);
            answer_as_is(c, status, std::move(reply));
          });
}

void KvProxy::delete_range(net::CallRef call, const Bytes& bytes) {
  DeleteRangeRequest request;
  if (!parsed(*call, bytes, request)) return;
  std::string key = request.key(), end = request.range_end();
  cache_.invalidate(key, end);
  Bytes out;
  if (!move_in(*call, request, bytes, &out)) return;
  forward(upstream_, call, upstream_call(*call, kDeleteRange, std::move(out), false),
          [this, key, end](net::ServerCall& c, Status status, Bytes reply) {
            cache_.invalidate(key, end);
            written(status, reply);
            int64_t revision = 0;
            if (status.is_ok()) status = move_out<DeleteRangeResponse>(&reply, &revision);
            answer_as_is(c, status, std::move(reply));
          });
}

// Either branch may be the one that is done. A comparison may say that what is kept is old.
void KvProxy::invalidate(const TxnRequest& request) {
  for (const auto& compare : request.compare()) cache_.invalidate(compare.key(), compare.range_end());
  for (const auto* branch : {&request.success(), &request.failure()}) {
    for (const auto& op : *branch) {
      if (op.has_request_put()) cache_.invalidate(op.request_put().key(), "");
      if (op.has_request_delete_range())
        cache_.invalidate(op.request_delete_range().key(), op.request_delete_range().range_end());
      if (op.has_request_txn()) invalidate(op.request_txn());
    }
  }
}

void KvProxy::txn(net::CallRef call, const Bytes& bytes) {
  TxnRequest request;
  if (!parsed(*call, bytes, request)) return;
  auto original = std::make_shared<TxnRequest>(request);
  invalidate(*original);
  Bytes out;
  if (!move_in(*call, request, bytes, &out)) return;
  // Not read in order: a transaction that writes must not be sent twice.
  forward(upstream_, call, upstream_call(*call, kTxn, std::move(out), false),
          [this, original](net::ServerCall& c, Status status, Bytes reply) {
            invalidate(*original);
            written(status, reply);
            int64_t revision = 0;
            if (status.is_ok()) status = move_out<TxnResponse>(&reply, &revision);
            if (status.is_ok()) seen_revision(revision);
            answer_as_is(c, status, std::move(reply));
          });
}

void KvProxy::compact(net::CallRef call, const Bytes& bytes) {
  CompactionRequest request;
  if (!parsed(*call, bytes, request)) return;
  int64_t revision = request.revision();
  forward(upstream_, call, upstream_call(*call, kCompact, bytes, false),
          [this, revision](net::ServerCall& c, const Status& status, Bytes reply) {
            if (status.is_ok()) cache_.compact(revision);
            answer_as_is(c, status, std::move(reply));
          });
}

}  // namespace fairlead::proxy
