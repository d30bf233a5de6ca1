// The connection to a cluster: one gRPC channel per endpoint, tokens, deadlines, and a retry that is safe.
//
// Calls go round the endpoints that are connected. A read that fails with Unavailable is tried at the next one until
// the deadline. A write is tried again only when it was surely not applied: when gRPC never found a connection to send
// it on. Of one that was sent nobody knows what became, whatever the error says (clientv3's rule: at most once).
//
// Threads: any; a Client is used by one at a time but for streams, which may each have a thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "ctl/command.h"
#include "proto/rpc.grpc.pb.h"

namespace fairlead::ctl {

namespace pb = etcdserverpb;

struct TlsOptions {
  std::string cert, key, cacert;  // files
  std::string server_name;
  bool insecure_transport = true;
  bool skip_verify = false;
  bool given() const { return !cert.empty() || !key.empty() || !cacert.empty() || !server_name.empty(); }
};
// For endpoints without scheme.
inline bool wants_tls(const TlsOptions& tls) { return tls.given() || !tls.insecure_transport; }

struct ClientOptions {
  std::vector<std::string> endpoints;
  TlsOptions tls;
  std::string user, password, token;
  int64_t dial_timeout_nanos = 2'000'000'000;
  int64_t command_timeout_nanos = 5'000'000'000;
  int64_t keepalive_time_nanos = 2'000'000'000;
  int64_t keepalive_timeout_nanos = 6'000'000'000;
  int request_bytes_max = 0;  // 0: 2 MiB
  int reply_bytes_max = 0;    // 0: no limit
};

// From the global flags and ETCDCTL_*; ends the program on bad ones, as etcdctl does. Asks for a password where needed,
// once.
ClientOptions client_options(Context& context);

// Ends the program where the domain has no records. Endpoints without TLS only if `insecure`.
std::vector<std::string> discover_endpoints(const std::string& domain, const std::string& service, bool insecure);

std::string ask_password(const std::string& prompt);

// How a failed call reads: etcd's own text, or "rpc error: code = ... desc = ..." as grpc-go words others.
std::string error_text(const grpc::Status& status);
bool is_etcd_error(const grpc::Status& status, std::string_view text);
// Why a server could not be asked, in a few words: "connection refused", "no answer in time".
std::string short_error(const grpc::Status& status);

// A channel to one endpoint, with TLS as the options and the endpoint's scheme say. With `own_connection` it shares no
// connection with other channels of this process.
std::shared_ptr<grpc::Channel> open_channel(const ClientOptions& options, const std::string& endpoint,
                                            bool own_connection = false);
// Whether nobody can have seen the request of this call, which ended with `status`.
bool never_sent(const grpc::Status& status, const grpc::ClientContext& context, const std::string& endpoint);

class Client {
 public:
  explicit Client(ClientOptions options);  // logs in where there is a user; ends the program if that fails

  const ClientOptions& options() const { return options_; }
  const std::vector<std::string>& endpoints() const { return options_.endpoints; }
  // What log_in() got, or --auth-jwt-token.
  const std::string& token() const { return options_.token.empty() ? token_ : options_.token; }

  // Stub: pb::KV, pb::Lease, ...; call: &pb::KV::Stub::Range. Without a deadline when `timed` is false.
  template <typename Service, typename Request, typename Reply>
  grpc::Status call(grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                    const Request& request, Reply* reply, bool idempotent, bool timed = true) {
    return attempt(
        [&](const std::shared_ptr<grpc::Channel>& channel, grpc::ClientContext* context) {
          return (*Service::NewStub(channel).*method)(context, request, reply);
        },
        idempotent, timed);
  }

  // For streams: a connected channel, or null after both timeouts or `at_most`; and a context with the token.
  std::shared_ptr<grpc::Channel> connected_channel(std::chrono::nanoseconds at_most = std::chrono::nanoseconds::max());
  void prepare(grpc::ClientContext& context, bool timed, bool require_leader = false);

 private:
  using Attempt = std::function<grpc::Status(const std::shared_ptr<grpc::Channel>&, grpc::ClientContext*)>;
  grpc::Status attempt(const Attempt& call, bool idempotent, bool timed);
  // Which endpoint's turn it is, of those that are connected or connect in time; -1 where none does.
  int connected(std::chrono::system_clock::time_point until);
  void log_in();
  // Says on standard error why no endpoint is connected; the first time only.
  void explain();

  ClientOptions options_;
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::atomic<size_t> next_{0};  // whose turn it is
  std::string token_;
  std::atomic<bool> explained_{false};
};

// A client of the global flags.
Client make_client(Context& context);
// The same for one endpoint only.
Client make_client(Context& context, const std::string& endpoint);

}  // namespace fairlead::ctl
