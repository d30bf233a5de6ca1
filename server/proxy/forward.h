// Calls of clients handed on to the cluster as they are: unary ones, and streams in both directions.
//
// The metadata that means something to a member goes along (kForwardedMetadata), and what is left of the client's time.
// A client that goes away takes its call in the cluster with it.
// Bounds: of a stream, kPipeBytesMax in each direction; then the side that sends is held back by flow control.
// Threads: the loop.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "server/net/call.h"
#include "server/net/client.h"
#include "server/proxy/upstream.h"

namespace fairlead::proxy {

constexpr std::array<std::string_view, 4> kForwardedMetadata = {"token", "authorization", "hasleader",
                                                                "client-api-version"};
constexpr size_t kPipeBytesMax = 1 << 20;

net::Metadata forwarded_metadata(const net::ServerCall& call);
UpstreamCall upstream_call(const net::ServerCall& call, std::string path, Bytes request, bool repeatable);

// `then` runs unless the client is gone, and answers.
using Answer = std::function<void(net::ServerCall& call, const Status& status, Bytes reply)>;
void forward(Upstream& upstream, net::CallRef call, UpstreamCall out, Answer then);
// What the cluster answers is the answer.
void answer_as_is(net::ServerCall& call, const Status& status, Bytes reply);

std::unique_ptr<net::CallHandler> make_pipe(Upstream& upstream, net::ServerCall& call);

}  // namespace fairlead::proxy
