// Any requests to a whole member: one on a simulated machine, with every method of the client port, through the real
// front door. Whatever is asked for, it answers or refuses, and goes on serving.
//
//   input: calls of method u8 | flags u8 | length u16 | message. Bit 0 of flags: let time pass before it; bit 1: half a
//   second of it; bit 2: the last stream gets the message instead of a new call; bit 3: a token goes with it
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/codec.h"
#include "server/api/api.h"
#include "server/net/client.h"
#include "server/node/cluster_for_test.h"

using namespace fairlead;
using namespace fairlead::api;

namespace {

constexpr size_t kCallsMax = 40;
constexpr io::Nanos kCallTimeout = 20 * io::kSecond;

class Stream final : public net::ClientCallHandler {
 public:
  void on_message(net::ClientCall&, Bytes) override {}
  void on_end(net::ClientCall&, const Status&) override { over = true; }
  net::ClientCall* call = nullptr;
  bool over = false;
};

// A member for one input.
class Member {
 public:
  Member() : cluster_(1), client_host_(cluster_.world().add_host("10.0.1.1")) {
    cluster_.on_end = [this](size_t) {
      server_.reset();
      api_.reset();
    };
    cluster_.form();
    cluster_.in_turn(0, [this](node::Node& n) {
      ApiOptions options;
      options.auth.bcrypt_cost = kBcryptCostMin;
      api_ = std::make_unique<Api>(cluster_.io(0), n, options);
      CHECK(api_->open_auth().is_ok());
      api_->add_client_routes(router_);
      world_ = cluster_.io(0);
      server_ = std::make_unique<net::Server>(world_, net::ServerOptions());
      CHECK(server_->listen("10.0.0.1:2379", router_).is_ok());
    });
    io::World world = cluster_.world().start_process(client_host_);
    cluster_.world().post(client_host_, [this, world] {
      client_ = std::make_unique<net::Client>(*world.loop, world.net->connect("10.0.0.1:2379"), net::ClientOptions());
    });
    CHECK(cluster_.wait([this] { return client_ != nullptr; }));
  }
  ~Member() {
    client_.reset();
    cluster_.kill(0);
  }

  void call(uint8_t method, uint8_t flags, Bytes message) {
    if (flags & 2)
      cluster_.run_for(500 * io::kMillisecond);
    else if (flags & 1)
      cluster_.run_for(20 * io::kMillisecond);
    const net::Router::Route& route = *router_.routes()[method % router_.routes().size()];
    cluster_.world().post(client_host_, [this, &route, flags, message] {
      if ((flags & 4) && !streams_.empty() && !streams_.back().over) return streams_.back().call->send_message(message);
      net::Metadata metadata;
      if (flags & 8) metadata.emplace_back("token", "abcdefghijklmnop.7");
      net::CallOptions options{kCallTimeout, &metadata};  // locks and campaigns wait as long as they may
      if (route.kind == net::MethodKind::kUnary) {
        ++asked_;
        client_->unary(
            route.path, message, [this](const Status&, Bytes) { ++answered_; }, options);
        return;
      }
      streams_.emplace_back();
      streams_.back().call = &client_->open(route.path, &streams_.back(), options);
      streams_.back().call->send_message(message);
      if (route.kind == net::MethodKind::kServerStream) streams_.back().call->half_close();
    });
  }

  // Every call is answered in time, and no request makes the member give up, but one to remove it.
  void finish() {
    CHECK(cluster_.wait([this] { return answered_ == asked_; }, 2 * kCallTimeout), "a call is never answered");
    if (!cluster_.running(0)) CHECK(cluster_.fatal(0).find("removed") != std::string::npos, cluster_.fatal(0).c_str());
  }

 private:
  node::TestCluster cluster_;
  io::sim::HostId client_host_;
  io::World world_;
  net::Router router_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<net::Server> server_;
  std::unique_ptr<net::Client> client_;
  std::deque<Stream> streams_;
  size_t asked_ = 0, answered_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view in(reinterpret_cast<const char*>(data), size);
  if (in.size() < 4) return 0;
  Member member;
  for (size_t calls = 0; in.size() >= 4 && calls < kCallsMax; ++calls) {
    auto method = static_cast<uint8_t>(in[0]), flags = static_cast<uint8_t>(in[1]);
    std::string_view message = in.substr(4, load_fixed<uint16_t>(in.data() + 2));
    in.remove_prefix(4 + message.size());
    member.call(method, flags, Bytes::copy(message));
  }
  member.finish();
  return 0;
}
