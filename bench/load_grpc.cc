// fairlead-bench-grpc: the closed loops of put and read through gRPC C++ (asynchronous, one
// thread), whose client is usually the limit itself; its row shows what such a client gets, and
// that our own client is not what makes the difference.
#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <memory>

#include "bench/options.h"
#include "bench/result.h"
#include "proto/rpc.grpc.pb.h"

namespace fairlead::bench {

namespace {

using etcdserverpb::KV;

class Loop {
 public:
  explicit Loop(const Options& options)
      : options_(options), random_(options.keys), value_(value_of(1, options.value_bytes)) {
    int connections = std::min(options.connections, options.in_flight);
    for (int i = 0; i < connections; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt("bench.connection",
                       i);  // channels of equal arguments would share one connection
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      stubs_.push_back(
          KV::NewStub(grpc::CreateCustomChannel(options.endpoints[static_cast<size_t>(i) % options.endpoints.size()],
                                                grpc::InsecureChannelCredentials(), arguments)));
    }
  }

  void start() {
    for (int i = 0; i < options_.in_flight; ++i) next(*stubs_[static_cast<size_t>(i) % stubs_.size()]);
  }

  void run(double seconds) {
    int64_t end = monotonic_nanos() + static_cast<int64_t>(seconds * 1e9);
    while (monotonic_nanos() < end) take_one(end);
  }

  void drain() {
    stopping_ = true;
    int64_t end = monotonic_nanos() + int64_t{10} * 1'000'000'000;
    while (open_ > 0 && monotonic_nanos() < end) take_one(end);
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) delete static_cast<Call*>(tag);
  }

  uint64_t operations = 0, errors = 0;
  Latencies latencies;
  std::string first_error;

 private:
  struct Call {
    grpc::ClientContext context;
    grpc::Status status;
    etcdserverpb::PutResponse put;
    etcdserverpb::RangeResponse range;
    std::unique_ptr<grpc::ClientAsyncResponseReader<etcdserverpb::PutResponse>> put_reader;
    std::unique_ptr<grpc::ClientAsyncResponseReader<etcdserverpb::RangeResponse>> range_reader;
    KV::Stub* stub = nullptr;
    int64_t sent = 0;
  };

  void next(KV::Stub& stub) {
    if (stopping_) return;
    ++open_;
    auto* call = new Call;
    call->stub = &stub;
    call->sent = monotonic_nanos();
    std::string key = key_name(random_.next() % options_.keys, options_.key_bytes);
    if (options_.mode == "read") {
      etcdserverpb::RangeRequest request;
      request.set_key(key);
      request.set_serializable(!options_.linearizable);
      call->range_reader = stub.AsyncRange(&call->context, request, &queue_);
      call->range_reader->Finish(&call->range, &call->status, call);
    } else {
      etcdserverpb::PutRequest request;
      request.set_key(key);
      request.set_value(value_);
      call->put_reader = stub.AsyncPut(&call->context, request, &queue_);
      call->put_reader->Finish(&call->put, &call->status, call);
    }
  }

  void take_one(int64_t end) {
    void* tag = nullptr;
    bool ok = false;
    gpr_timespec until = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                      gpr_time_from_nanos(std::max<int64_t>(0, end - monotonic_nanos()), GPR_TIMESPAN));
    if (queue_.AsyncNext(&tag, &ok, until) != grpc::CompletionQueue::GOT_EVENT) return;
    std::unique_ptr<Call> call(static_cast<Call*>(tag));
    --open_;
    bool found = options_.mode != "read" || call->range.kvs_size() == 1;
    if (call->status.ok() && found) {
      ++operations;
      latencies.add(monotonic_nanos() - call->sent);
    } else if (errors++ == 0) {
      first_error = found ? call->status.error_message() : "a key was not found: fill first";
    }
    next(*call->stub);
  }

  const Options& options_;
  Random random_;
  std::string value_;
  std::vector<std::unique_ptr<KV::Stub>> stubs_;
  grpc::CompletionQueue queue_;
  int open_ = 0;
  bool stopping_ = false;
};

}  // namespace

}  // namespace fairlead::bench

int main(int argc, char** argv) {
  using namespace fairlead::bench;
  auto options = parse_options(argc, argv);
  if (!options.is_ok() || (options->mode != "put" && options->mode != "read")) {
    std::string text =
        options.is_ok() ? "modes of fairlead-bench-grpc: put, read\n" : std::string(options.status().message());
    std::fputs(text.c_str(), stderr);
    return 2;
  }
  Loop loop(*options);
  loop.start();
  loop.run(options->warmup_seconds);
  loop.operations = loop.errors = 0;
  loop.latencies.clear();
  Window window;
  window.begin(*options);
  loop.run(options->seconds);
  window.end(*options);
  uint64_t operations = loop.operations, errors = loop.errors;
  loop.drain();
  if (operations == 0) {
    std::fprintf(stderr, "no operation succeeded: %s\n", loop.first_error.c_str());
    return 1;
  }
  Json json;
  put_rates(json, *options, "grpc-c++", operations, errors, window, loop.latencies);
  if (options->mode == "read") json.text("consistency", options->linearizable ? "linearizable" : "serializable");
  std::puts(json.line().c_str());
  return 0;
}
