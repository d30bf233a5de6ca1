// grpc.health.v1.Health, the probe of gRPC's own balancers. As in etcd there is one service, "": the server as a whole.
// It serves from the moment it listens until it stops.
#include "proto/health.pb.h"
#include "server/api/proto_util.h"

namespace fairlead::api {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::health::v1::HealthListRequest;
using grpc::health::v1::HealthListResponse;

// The first state at once; there is no other one while the stream lives.
class HealthWatch final : public net::CallHandler {
 public:
  void on_message(net::ServerCall& call, Bytes in) override {
    HealthCheckRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call.finish(s);
    HealthCheckResponse reply;
    reply.set_status(request.service().empty() ? HealthCheckResponse::SERVING : HealthCheckResponse::SERVICE_UNKNOWN);
    call.send_message(serialize(reply));
  }
};

}  // namespace

void Api::add_health(net::Router& router) {
  router.add_unary("/grpc.health.v1.Health/Check", [](net::CallRef call, Bytes in) {
    HealthCheckRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    if (!request.service().empty()) return call->finish({Code::kNotFound, "unknown service"});
    HealthCheckResponse reply;
    reply.set_status(HealthCheckResponse::SERVING);
    call->reply(serialize(reply));
  });
  router.add_unary("/grpc.health.v1.Health/List", [](net::CallRef call, Bytes in) {
    HealthListRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    HealthListResponse reply;
    (*reply.mutable_statuses())[""].set_status(HealthCheckResponse::SERVING);
    call->reply(serialize(reply));
  });
  router.add_stream(
      "/grpc.health.v1.Health/Watch", net::MethodKind::kServerStream,
      [](net::ServerCall&) -> std::unique_ptr<net::CallHandler> { return std::make_unique<HealthWatch>(); });
}

}  // namespace fairlead::api
