// The JSON gateway: etcd's gRPC methods as POST requests under /v3/, as grpc-gateway 2 serves them. No second hop: a
// request is turned into a call of the same router, on the same loop.
//
// A unary method answers with one JSON object; a stream with one line {"result":...} per message, and takes one or more
// JSON values from the request's body. Errors are {"code","message"} with the HTTP status of the gRPC code.
//
// Threads: the loop. Bounds: the request's size is net's; a stream that is not read is held back as a gRPC one is.
#pragma once

#include "server/io/io.h"
#include "server/net/http.h"
#include "server/net/router.h"

namespace fairlead::api {

struct GatewayOptions {
  bool legacy_errors = false;           // error bodies with the additional field "error", as etcd up to 3.5
  size_t message_bytes_max = SIZE_MAX;  // of an encoded request; the Api sets what holds for gRPC
};

bool is_gateway_path(std::string_view path);
void serve_gateway(const io::World& world, net::Router& router, const GatewayOptions& options, net::HttpRequest request,
                   net::HttpReplyPtr reply);

}  // namespace fairlead::api
