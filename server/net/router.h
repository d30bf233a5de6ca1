// What a port serves: gRPC methods by path, one HTTP/1.1 handler, and raw protocols known by their
// first bytes. Filled before the server listens and unchanged afterwards; it must outlive the
// server.
//
// An unknown gRPC path is answered UNIMPLEMENTED as grpc-go words it: "unknown service S" or
// "unknown method M for service S".
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/io/io.h"
#include "server/net/call.h"
#include "server/net/http.h"

namespace fairlead::net {

// Answers by reply() or finish() on the reference, now or later.
using UnaryMethod = std::function<void(CallRef call, Bytes request)>;
// Called when the headers are in. Returns the call's handler, or null after finish() (a refusal).
using StreamMethod = std::function<std::unique_ptr<CallHandler>(ServerCall& call)>;
// Takes the connection over; `first` is what was read from it so far.
using RawProtocol = std::function<void(std::unique_ptr<io::Stream> stream, std::string first)>;

enum class MethodKind : uint8_t { kUnary, kClientStream, kServerStream, kBidi };

// grpc-go's bounds of grpc_server_handling_seconds.
constexpr std::array<double, 11> kHandlingBucketsSeconds = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};

// Counters in the shape of grpc_server_{started,handled,msg_received,msg_sent}_total.
struct MethodStats {
  uint64_t started = 0;
  std::array<uint64_t, 17> handled{};  // by status code
  uint64_t messages_received = 0;
  uint64_t messages_sent = 0;
  // From the request's headers to its end; counted where ServerOptions::measure_handling asks for it.
  std::array<uint64_t, kHandlingBucketsSeconds.size() + 1> handling_buckets{};  // not cumulative
  double handling_seconds_sum = 0;
};

class CallObserver;

class Router {
 public:
  struct Route {
    std::string path;     // "/package.Service/Method"
    std::string service;  // "package.Service"
    std::string method;
    MethodKind kind = MethodKind::kUnary;
    UnaryMethod unary;
    StreamMethod stream;
    MethodStats stats;
  };

  // Asked before every call: an error ends it. For what holds for all methods (no leader, a learner). Unary calls are
  // asked about when their request is complete; streams when their headers are, with `request` null.
  using Guard = std::function<Status(ServerCall& call, const Route& route, const Bytes* request)>;

  void add_unary(std::string path, UnaryMethod method);
  void add_stream(std::string path, MethodKind kind, StreamMethod method);
  void set_guard(Guard guard) { guard_ = std::move(guard); }
  const Guard& guard() const { return guard_; }
  // Watches every call from here on; must outlive the calls. None: nothing is measured.
  void set_observer(CallObserver* observer) { observer_ = observer; }
  CallObserver* observer() const { return observer_; }
  void set_http(HttpHandler handler) { http_ = std::move(handler); }
  // prefix: at most kRawPrefixMax bytes, not the start of an HTTP method or of another prefix.
  void add_raw(std::string prefix, RawProtocol protocol);

  Route* find(std::string_view path);
  std::string unknown_text(std::string_view path) const;  // grpc-go's words
  const HttpHandler& http() const { return http_; }
  const std::vector<std::pair<std::string, RawProtocol>>& raw() const { return raw_; }
  const std::vector<std::unique_ptr<Route>>& routes() const { return routes_; }
  bool empty_of_grpc() const { return routes_.empty(); }

 private:
  Route& add(std::string path, MethodKind kind);

  std::vector<std::unique_ptr<Route>> routes_;
  std::unordered_map<std::string_view, Route*> by_path_;
  Guard guard_;
  CallObserver* observer_ = nullptr;
  HttpHandler http_;
  std::vector<std::pair<std::string, RawProtocol>> raw_;
};

// Sees the calls of a router whose method exists: for what must know of all of them, as measuring and tracing. It keeps
// what it wants with a call in ServerCall::note(), which is empty when a call starts.
class CallObserver {
 public:
  virtual ~CallObserver() = default;
  virtual void on_start(ServerCall& call, const Router::Route& route) = 0;  // the headers are complete
  // The request of a unary call, or one message of a stream; before the method sees it.
  virtual void on_request(ServerCall& call, const Router::Route& route, const Bytes& request) = 0;
  // A message of a stream is about to be sent.
  virtual void on_sent(ServerCall&, const Router::Route&) {}
  // The end, however it came: at most once, and only after on_start(). Metadata can still be asked for. `reply` is the
  // one message of a unary call that is answered.
  virtual void on_end(ServerCall& call, const Router::Route& route, const Status& status,
                      std::span<const Bytes> reply) = 0;
};

constexpr size_t kRawPrefixMax = 16;

}  // namespace fairlead::net
