// A client of the v3 API for the tests: gRPC C++ and the generated stubs, nothing between them and the wire.
//
// Threads: a Client may be used by several threads at once; a WatchStream by one. Every call waits until a server is
// there, at most kCallSeconds; errors keep the server's code and message.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "proto/election.grpc.pb.h"
#include "proto/lock.grpc.pb.h"
#include "proto/rpc.grpc.pb.h"

namespace fairlead::clients {

constexpr int kCallSeconds = 60;
constexpr int kStreamSeconds = 300;

Status from_grpc(const grpc::Status& status);

class Client {
 public:
  explicit Client(const std::string& target,
                  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials());

  template <typename Stub, typename Request, typename Response>
  Result<Response> call(const std::unique_ptr<Stub>& stub,
                        grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                        const Request& request, int seconds = kCallSeconds) {
    grpc::ClientContext context;
    prepare(context, seconds);
    Response response;
    grpc::Status status = (stub.get()->*method)(&context, request, &response);
    if (!status.ok()) return from_grpc(status);
    return response;
  }
  void prepare(grpc::ClientContext& context, int seconds) const;

  Result<int64_t> put(const std::string& key, const std::string& value, int64_t lease = 0,
                      int seconds = kCallSeconds);  // its revision
  Result<etcdserverpb::RangeResponse> get(const std::string& key, const std::string& range_end = "");
  Result<std::string> value_of(const std::string& key);
  Result<int64_t> grant(int64_t seconds);  // a lease's id
  Status revoke(int64_t lease);
  Status log_in(const std::string& user, const std::string& password);  // later calls carry the token

  std::unique_ptr<etcdserverpb::KV::Stub> kv;
  std::unique_ptr<etcdserverpb::Watch::Stub> watch;
  std::unique_ptr<etcdserverpb::Lease::Stub> lease;
  std::unique_ptr<etcdserverpb::Auth::Stub> auth;
  std::unique_ptr<v3lockpb::Lock::Stub> lock;
  std::unique_ptr<v3electionpb::Election::Stub> election;

 private:
  std::string token_;
};

// One watch on one stream, of all keys with a prefix.
class WatchStream {
 public:
  struct Options {
    int64_t from = 0;
    bool no_puts = false;
  };
  WatchStream(const Client& client, const std::string& prefix, Options options);
  ~WatchStream() { context_.TryCancel(); }

  Result<std::vector<mvccpb::Event>> next();  // at least one event
  Result<std::vector<mvccpb::Event>> take(size_t count);

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>> stream_;
};

std::string prefix_end_of(std::string prefix);  // of a prefix whose last byte is below 0xff

}  // namespace fairlead::clients
