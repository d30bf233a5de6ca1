#include "server/api/gateway.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/io/coded_stream.h>

#include <deque>
#include <unordered_map>

#include "base/text.h"
#include "server/api/gateway_socket.h"
#include "server/api/proto_json.h"
#include "server/api/proto_util.h"
#include "server/net/grpc_wire.h"

namespace fairlead::api {
namespace {

using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

constexpr int kReplyDepthMax = 3 * kNestingMax;  // two a txn in a txn, and what stands in the innermost
constexpr io::Nanos kDrainPoll = 10 * io::kMillisecond;

const std::unordered_map<std::string_view, std::string_view>& methods() {
  static const std::unordered_map<std::string_view, std::string_view> table = {
      {"/v3/kv/range", "etcdserverpb.KV.Range"},
      {"/v3/kv/put", "etcdserverpb.KV.Put"},
      {"/v3/kv/deleterange", "etcdserverpb.KV.DeleteRange"},
      {"/v3/kv/txn", "etcdserverpb.KV.Txn"},
      {"/v3/kv/compaction", "etcdserverpb.KV.Compact"},
      {"/v3/watch", "etcdserverpb.Watch.Watch"},
      {"/v3/lease/grant", "etcdserverpb.Lease.LeaseGrant"},
      {"/v3/lease/revoke", "etcdserverpb.Lease.LeaseRevoke"},
      {"/v3/kv/lease/revoke", "etcdserverpb.Lease.LeaseRevoke"},
      {"/v3/lease/keepalive", "etcdserverpb.Lease.LeaseKeepAlive"},
      {"/v3/lease/timetolive", "etcdserverpb.Lease.LeaseTimeToLive"},
      {"/v3/kv/lease/timetolive", "etcdserverpb.Lease.LeaseTimeToLive"},
      {"/v3/lease/leases", "etcdserverpb.Lease.LeaseLeases"},
      {"/v3/kv/lease/leases", "etcdserverpb.Lease.LeaseLeases"},
      {"/v3/cluster/member/add", "etcdserverpb.Cluster.MemberAdd"},
      {"/v3/cluster/member/remove", "etcdserverpb.Cluster.MemberRemove"},
      {"/v3/cluster/member/update", "etcdserverpb.Cluster.MemberUpdate"},
      {"/v3/cluster/member/list", "etcdserverpb.Cluster.MemberList"},
      {"/v3/cluster/member/promote", "etcdserverpb.Cluster.MemberPromote"},
      {"/v3/maintenance/alarm", "etcdserverpb.Maintenance.Alarm"},
      {"/v3/maintenance/status", "etcdserverpb.Maintenance.Status"},
      {"/v3/maintenance/defragment", "etcdserverpb.Maintenance.Defragment"},
      {"/v3/maintenance/hash", "etcdserverpb.Maintenance.Hash"},
      {"/v3/maintenance/hashkv", "etcdserverpb.Maintenance.HashKV"},
      {"/v3/maintenance/snapshot", "etcdserverpb.Maintenance.Snapshot"},
      {"/v3/maintenance/transfer-leadership", "etcdserverpb.Maintenance.MoveLeader"},
      {"/v3/maintenance/downgrade", "etcdserverpb.Maintenance.Downgrade"},
      {"/v3/auth/enable", "etcdserverpb.Auth.AuthEnable"},
      {"/v3/auth/disable", "etcdserverpb.Auth.AuthDisable"},
      {"/v3/auth/status", "etcdserverpb.Auth.AuthStatus"},
      {"/v3/auth/authenticate", "etcdserverpb.Auth.Authenticate"},
      {"/v3/auth/user/add", "etcdserverpb.Auth.UserAdd"},
      {"/v3/auth/user/get", "etcdserverpb.Auth.UserGet"},
      {"/v3/auth/user/list", "etcdserverpb.Auth.UserList"},
      {"/v3/auth/user/delete", "etcdserverpb.Auth.UserDelete"},
      {"/v3/auth/user/changepw", "etcdserverpb.Auth.UserChangePassword"},
      {"/v3/auth/user/grant", "etcdserverpb.Auth.UserGrantRole"},
      {"/v3/auth/user/revoke", "etcdserverpb.Auth.UserRevokeRole"},
      {"/v3/auth/role/add", "etcdserverpb.Auth.RoleAdd"},
      {"/v3/auth/role/get", "etcdserverpb.Auth.RoleGet"},
      {"/v3/auth/role/list", "etcdserverpb.Auth.RoleList"},
      {"/v3/auth/role/delete", "etcdserverpb.Auth.RoleDelete"},
      {"/v3/auth/role/grant", "etcdserverpb.Auth.RoleGrantPermission"},
      {"/v3/auth/role/revoke", "etcdserverpb.Auth.RoleRevokePermission"},
      {"/v3/lock/lock", "v3lockpb.Lock.Lock"},
      {"/v3/lock/unlock", "v3lockpb.Lock.Unlock"},
      {"/v3/election/campaign", "v3electionpb.Election.Campaign"},
      {"/v3/election/proclaim", "v3electionpb.Election.Proclaim"},
      {"/v3/election/leader", "v3electionpb.Election.Leader"},
      {"/v3/election/observe", "v3electionpb.Election.Observe"},
      {"/v3/election/resign", "v3electionpb.Election.Resign"},
  };
  return table;
}

int http_status(Code code) {
  switch (static_cast<int>(code)) {
    case 0:
      return 200;
    case 1:
      return 499;
    case 3:   // InvalidArgument
    case 9:   // FailedPrecondition
    case 11:  // OutOfRange
      return 400;
    case 4:
      return 504;
    case 5:
      return 404;
    case 6:   // AlreadyExists
    case 10:  // Aborted
      return 409;
    case 7:
      return 403;
    case 8:
      return 429;
    case 12:
      return 501;
    case 14:
      return 503;
    case 16:
      return 401;
    default:
      return 500;
  }
}

std::string error_json(const Status& status, const GatewayOptions& options) {
  std::string text = json_string(status.message());
  std::string out = options.legacy_errors ? "{\"error\":" + text + "," : "{";
  return out + "\"code\":" + std::to_string(static_cast<int>(status.code())) + ",\"message\":" + text + "}";
}

std::unique_ptr<Message> new_message(const google::protobuf::Descriptor* type) {
  return std::unique_ptr<Message>(google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
}

// A call whose client speaks JSON. Keeps itself alive until it is over.
class GatewayCall final : public net::ServerCall {
 public:
  // `lines`: the reply, where it is one; its messages are the input then, and not the request's body.
  GatewayCall(const io::World& world, const MethodDescriptor& method, net::Router& router, net::Router::Route& route,
              const GatewayOptions& options, net::HttpRequest request, net::HttpReplyPtr reply, LineReply* lines)
      : loop_(*world.loop),
        method_(method),
        router_(router),
        route_(route),
        options_(options),
        request_(std::move(request)),
        reply_(std::move(reply)),
        lines_(lines),
        self_(this) {
    if (lines_) {
      lines_->on_message([this](std::string_view text) { more(text); });
      lines_->on_stop([this] { cancel({Code::kUnavailable, "etcdserver: server stopped"}, true); });
    } else {
      input_.set_whole(std::move(request_.body));
    }
    reply_->on_gone([this] { cancel({Code::kCancelled, "context canceled"}, false); });
    if (std::string_view timeout = request_.header("grpc-timeout"); !timeout.empty()) {
      if (auto given = net::parse_grpc_timeout(timeout)) deadline_ = loop_.now() + std::max<io::Nanos>(*given, 1);
    }
    if (deadline_ != 0)
      deadline_timer_ = loop_.add_timer(deadline_, [this] {
        deadline_timer_ = 0;
        cancel({Code::kDeadlineExceeded, "context deadline exceeded"}, true);
      });
  }

  void run() {
    net::CallRef keep(this);
    if (is_bidi() || !lines_) start();
    is_bidi() ? open_stream() : ask();
  }

  // --- ServerCall
  std::string_view path() const override { return route_.path; }
  std::string_view metadata(std::string_view name) const override {
    if (name == "authorization" || name == "token") return request_.header("authorization");
    return request_.header("grpc-metadata-" + std::string(name));
  }
  std::string_view peer_address() const override { return request_.peer_address; }
  std::string_view peer_common_name() const override { return {}; }  // a certificate is nobody's here, as in etcd
  io::Nanos deadline() const override { return deadline_; }

  void send_message(std::span<const Bytes> parts) override {
    if (done_) return;
    ++route_.stats.messages_sent;
    head();
    reply_->send_chunk(Bytes::take("{\"result\":" + json(parts) + "}\n"));
    if (queued_bytes() > drain_mark_) poll_drain();
  }
  void reply(std::span<const Bytes> parts) override {
    if (done_) return;
    ++route_.stats.messages_sent;
    net::HttpResponse response = net::HttpResponse::json(200, json(parts));
    response.headers.emplace_back("Grpc-Metadata-Content-Type", "application/grpc");
    reply_->send(std::move(response));
    over(Status(), parts);
  }
  void finish(const Status& status) override {
    if (done_) return;
    if (head_sent_ || (status.is_ok() && route_.kind != net::MethodKind::kUnary)) {
      head();
      if (!status.is_ok()) reply_->send_chunk(Bytes::take("{\"error\":" + error_json(status, options_) + "}\n"));
      reply_->end();
    } else {
      std::string body = error_json(status, options_);
      if (route_.kind != net::MethodKind::kUnary && in_stream_) body = "{\"error\":" + body + "}\n";
      net::HttpResponse response = net::HttpResponse::json(http_status(status.code()), body);
      if (status.code() == Code::kUnauthenticated)
        response.headers.emplace_back("WWW-Authenticate", std::string(status.message()));
      reply_->send(std::move(response));
    }
    over(status);
  }

  size_t queued_bytes() const override { return done_ ? 0 : reply_->queued_bytes(); }
  void set_drain_mark(size_t bytes) override { drain_mark_ = bytes; }
  void pause_input(bool paused) override {
    paused_ = paused;
    if (lines_) lines_->pause_input(paused);
    if (!paused && !feeding_) feed();
  }
  void set_handler(std::unique_ptr<net::CallHandler> handler) override {
    if (!done_) handler_ = std::move(handler);
  }
  net::CallHandler* handler() const override { return handler_.get(); }
  bool done() const override { return done_; }

 private:
  ~GatewayCall() override = default;
  void release() override { delete this; }
  net::CallRef self() { return net::CallRef(this); }
  bool is_bidi() const { return route_.kind == net::MethodKind::kBidi; }

  void start() {
    started_ = true;
    ++route_.stats.started;
    observer_ = router_.observer();
    if (!observer_) return;
    observed_ = true;
    observer_->on_start(*this, route_);
  }
  bool refused_by_guard(const Bytes* message) {
    const net::Router::Guard& guard = router_.guard();
    Status s = guard ? guard(*this, route_, message) : Status();
    if (!s.is_ok()) finish(s);
    return !s.is_ok();
  }
  // Of what takes one request: it runs when that is there.
  void ask() {
    Result<std::optional<Bytes>> next = next_message();
    if (next.is_ok() && !*next) {
      if (lines_) return;   // it is still to come
      next = encode("{}");  // an empty body is an empty message
    }
    input_over_ = true;
    if (!started_) start();
    if (!next.is_ok()) {
      in_stream_ = next.status().code() != Code::kInvalidArgument;  // nothing has been called yet
      return finish(next.status());
    }
    bool unary = route_.kind == net::MethodKind::kUnary;
    Bytes message = std::move(**next);
    if (refused_by_guard(unary ? &message : nullptr)) return;
    if (unary) {
      ++route_.stats.messages_received;
      if (observed_) observer_->on_request(*this, route_, message);
      return route_.unary(self(), std::move(message));
    }
    if (!make_handler()) return;
    take(std::move(message));
    half_close();
  }
  void open_stream() {
    if (!refused_by_guard(nullptr) && make_handler()) feed();
  }
  bool make_handler() {
    std::unique_ptr<net::CallHandler> handler = route_.stream(*this);
    if (!done_) handler_ = std::move(handler);
    return !done_;
  }
  // A message of the WebSocket.
  void more(std::string_view text) {
    net::CallRef keep(this);
    if (done_ || input_over_) return;
    input_.append(text);
    input_.append("\n");
    is_bidi() ? feed() : ask();
    if (done_ || input_over_ || input_.held_bytes() <= options_.input_bytes_max) return;
    if (!started_) start();
    cancel({Code::kResourceExhausted, "the request is too large"}, true);
  }

  // The next request, encoded. Nothing: more has to come, or nothing is left.
  Result<std::optional<Bytes>> next_message() {
    ASSIGN_OR_RETURN(std::optional<std::string_view> value, input_.next());
    if (!value) return std::optional<Bytes>();
    return encode(*value);
  }
  Result<std::optional<Bytes>> encode(std::string_view value) const {
    std::unique_ptr<Message> message = new_message(method_.input_type());
    RETURN_IF_ERROR(from_json(value, *message));
    Bytes out = Bytes::take(message->SerializeAsString());
    if (out.size() > options_.message_bytes_max)
      return Status(Code::kResourceExhausted, "grpc: received message larger than max (" + std::to_string(out.size()) +
                                                  " vs. " + std::to_string(options_.message_bytes_max) + ")");
    return std::optional<Bytes>(std::move(out));
  }
  std::string json(std::span<const Bytes> parts) const {
    std::string bytes;
    for (const Bytes& part : parts) bytes += part.view();
    std::unique_ptr<Message> message = new_message(method_.output_type());
    google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                                              static_cast<int>(bytes.size()));
    in.SetRecursionLimit(kReplyDepthMax);
    CHECK(message->ParseFromCodedStream(&in), "an answer of ours is a message");
    return to_json(*message);
  }

  void head() {
    if (std::exchange(head_sent_, true)) return;
    net::HttpResponse response = net::HttpResponse::json(200, "");
    response.headers.emplace_back("Grpc-Metadata-Content-Type", "application/grpc");
    reply_->send_head(std::move(response));
  }
  void take(Bytes message) {
    ++route_.stats.messages_received;
    if (observed_) observer_->on_request(*this, route_, message);
    if (handler_ && !done_) handler_->on_message(*this, std::move(message));
  }
  void half_close() {
    if (handler_ && !done_) handler_->on_half_close(*this);
  }
  // A value that is no request ends the input there, as grpc-gateway does; the stream goes on.
  void feed() {
    net::CallRef keep(this);
    feeding_ = true;
    while (!done_ && !paused_ && !input_over_) {
      Result<std::optional<Bytes>> next = next_message();
      if (next.is_ok() && !*next && lines_) break;  // more may come
      if (next.is_ok() && *next)
        take(std::move(**next));
      else
        input_over_ = true;
    }
    feeding_ = false;
    if (input_over_ && !std::exchange(half_close_told_, true)) half_close();
  }

  void poll_drain() {
    if (drain_timer_ != 0) return;
    drain_timer_ = loop_.add_timer(loop_.now() + kDrainPoll, [this] {
      drain_timer_ = 0;
      net::CallRef keep(this);
      if (done_) return;
      if (queued_bytes() > drain_mark_) return poll_drain();
      if (handler_) handler_->on_drained(*this);
    });
  }

  void cancel(const Status& reason, bool tell_client) {
    if (done_) return;
    net::CallRef keep(this);
    std::unique_ptr<net::CallHandler> handler = std::move(handler_);
    if (tell_client)
      finish(reason);
    else
      over(reason);
    if (handler) handler->on_cancel(*this, reason);
  }
  void over(const Status& status, std::span<const Bytes> parts = {}) {
    if (std::exchange(done_, true)) return;
    lines_ = nullptr;
    if (started_) ++route_.stats.handled[static_cast<size_t>(status.code())];
    if (std::exchange(observed_, false)) observer_->on_end(*this, route_, status, parts);
    for (io::TimerId* timer : {&deadline_timer_, &drain_timer_})
      if (*timer != 0) loop_.cancel_timer(std::exchange(*timer, 0));
    // From inside the handler's own code it must not be destroyed.
    loop_.post([self = std::move(self_), handler = std::shared_ptr<net::CallHandler>(std::move(handler_)),
                reply = std::shared_ptr<net::HttpReply>(std::move(reply_))] {});
  }

  io::Loop& loop_;
  const MethodDescriptor& method_;
  net::Router& router_;
  net::Router::Route& route_;
  GatewayOptions options_;
  net::HttpRequest request_;
  net::HttpReplyPtr reply_;
  LineReply* lines_;  // reply_, of a WebSocket that is open
  net::CallRef self_;
  std::unique_ptr<net::CallHandler> handler_;
  JsonValues input_;
  io::Nanos deadline_ = 0;
  io::TimerId deadline_timer_ = 0;
  io::TimerId drain_timer_ = 0;
  size_t drain_mark_ = net::kDrainMarkDefaultBytes;
  bool started_ = false, head_sent_ = false, done_ = false, paused_ = false, feeding_ = false;
  bool input_over_ = false, half_close_told_ = false;
  bool in_stream_ = true;  // an error is one of a stream, where the method is one
  net::CallObserver* observer_ = nullptr;
  bool observed_ = false;
};

}  // namespace

bool is_gateway_path(std::string_view path) { return path.starts_with("/v3/") || path.starts_with("/v3beta/"); }

namespace {

void serve(const io::World& world, net::Router& router, const GatewayOptions& options, net::HttpRequest request,
           net::HttpReplyPtr reply, LineReply* lines) {
  auto refuse = [&](const Status& status) {
    net::HttpResponse response = net::HttpResponse::json(http_status(status.code()), error_json(status, options));
    reply->send(std::move(response));
  };
  std::string path = request.path;
  if (path.starts_with("/v3beta/")) path.erase(3, 4);
  auto it = methods().find(path);
  if (it == methods().end()) return refuse({Code::kNotFound, "Not Found"});
  if (request.method != "POST") return refuse({Code::kUnimplemented, "Method Not Allowed"});
  const MethodDescriptor* method =
      google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(std::string(it->second));
  CHECK(method, "a gateway path names no method");
  net::Router::Route* route =
      router.find("/" + std::string(method->service()->full_name()) + "/" + std::string(method->name()));
  if (!route)
    return refuse({Code::kUnimplemented, "unknown method " + std::string(method->name()) + " for service " +
                                             std::string(method->service()->full_name())});
  auto* call = new GatewayCall(world, *method, router, *route, options, std::move(request), std::move(reply), lines);
  call->run();
}

}  // namespace

void serve_gateway(const io::World& world, net::Router& router, const GatewayOptions& options, net::HttpRequest request,
                   net::HttpReplyPtr reply) {
  serve(world, router, options, std::move(request), std::move(reply), nullptr);
}

void serve_gateway(const io::World& world, net::Router& router, const GatewayOptions& options, net::HttpRequest request,
                   std::unique_ptr<LineReply> reply) {
  LineReply* lines = reply.get();
  serve(world, router, options, std::move(request), std::move(reply), lines);
}

}  // namespace fairlead::api
