// The JSON gateway: etcd's gRPC methods as POST requests under /v3/, as grpc-gateway 2 serves them. No second hop: a
// request is turned into a call of the same router, on the same loop.
//
// A unary method answers with one JSON object; a stream with one line {"result":...} per message, and takes one or more
// JSON values from the request's body. Errors are {"code","message"} with the HTTP status of the gRPC code.
//
// Over a WebSocket (gateway_socket.h) a stream takes requests as long as it lasts, and a unary method its one request
// as soon as it is whole: etcd's gateway waits there for an end of the input that a WebSocket has only with its own
// end.
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
  size_t input_bytes_max = SIZE_MAX;    // of JSON that is not complete yet, over the messages of a WebSocket
};

class LineReply;

bool is_gateway_path(std::string_view path);
void serve_gateway(const io::World& world, net::Router& router, const GatewayOptions& options, net::HttpRequest request,
                   net::HttpReplyPtr reply);
// The same with a body that comes in the messages of a WebSocket (gateway_socket.h).
void serve_gateway(const io::World& world, net::Router& router, const GatewayOptions& options, net::HttpRequest request,
                   std::unique_ptr<LineReply> reply);

}  // namespace fairlead::api
