// What becomes of every call once it is over: etcd's line "request stats" for one that took too long, and the slowest
// ones of the last minutes with where their time went, for /debug/requests. Traced calls go on to the Tracer.
//
// Cost of a call that is not slow: a comparison. The clock is the turn's, and looked at once for kCallsPerClock calls
// that end in one turn: a turn that takes long by itself is noticed, a clock for each call would cost more than some
// calls. Its request is kept while it runs (it is what the line shows), as long as all that are kept stay below
// kRequestsKeptBytesMax. Bounds: kSlowPerWindow calls of each of the last kSlowWindows windows of kSlowWindow. Threads:
// the loop.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/io/io.h"
#include "server/net/router.h"
#include "server/node/stages.h"

namespace fairlead::node {
class Node;
}

namespace fairlead::api {

class Tracer;

constexpr size_t kSlowPerWindow = 32;
constexpr size_t kSlowWindows = 10;
constexpr io::Nanos kSlowWindow = 60 * io::kSecond;
constexpr size_t kRequestsKeptBytesMax = 32 << 20;
constexpr size_t kSlowContentMax = 256;
constexpr size_t kCallsPerClock = 32;

struct SlowRequest {
  int64_t began_unix_ms = 0;
  std::string method;  // "etcdserverpb.KV/Put"
  std::string peer;
  std::string content;
  Code code = Code::kOk;
  int64_t request_bytes = -1;
  io::Nanos took = 0;
  io::Nanos receive = 0;               // from the headers to the whole request
  io::Nanos check = 0;                 // until the node had it: decoding, who asks, what is allowed
  std::optional<node::Stages> stages;  // none: answered without the node, or by work whose stages are not kept
  io::Nanos answer = 0;                // what is left: the reply is encoded and handed to the connection
};

class RequestLog final : public net::CallObserver {
 public:
  // warn_after: --warning-unary-request-duration. tracer may be null.
  RequestLog(const io::World& world, const node::Node& node, io::Nanos warn_after, Tracer* tracer)
      : world_(world), node_(node), warn_after_(warn_after), tracer_(tracer) {}

  void on_start(net::ServerCall& call, const net::Router::Route& route) override;
  void on_request(net::ServerCall& call, const net::Router::Route& route, const Bytes& request) override;
  void on_sent(net::ServerCall& call, const net::Router::Route& route) override;
  void on_end(net::ServerCall& call, const net::Router::Route& route, const Status& status,
              std::span<const Bytes> reply) override;

  // The slowest first.
  std::vector<SlowRequest> slowest();
  uint64_t slow_total() const { return slow_total_; }  // lines "request stats" at warn

 private:
  struct Window {
    io::Nanos ends = 0;
    std::vector<SlowRequest> calls;  // a heap, the fastest in front
  };
  struct End;
  io::Nanos clock();
  Window& window(io::Nanos now);
  void warn(const End& end, io::LogLevel level);
  void keep(const End& end);

  io::World world_;
  const node::Node& node_;
  const io::Nanos warn_after_;
  Tracer* tracer_;
  std::deque<Window> windows_;  // the newest last
  io::Nanos floor_ = -1;        // of the newest window: what a call must exceed to be kept
  io::Nanos floor_until_ = 0;
  size_t kept_bytes_ = 0;
  io::Nanos turn_ = 0, clock_ = 0;
  size_t ends_in_turn_ = 0;
  uint64_t slow_total_ = 0;
};

// For people, and for programs.
std::string slow_requests_html(const std::vector<SlowRequest>& calls);
std::string slow_requests_json(const std::vector<SlowRequest>& calls);

}  // namespace fairlead::api
