#include "e2e/clients/cpp/client.h"

namespace fairlead::clients {

Status from_grpc(const grpc::Status& status) {
  if (status.ok()) return Status::ok();
  return Status(static_cast<Code>(status.error_code()), status.error_message());
}

std::string prefix_end_of(std::string prefix) {
  ++prefix.back();
  return prefix;
}

Client::Client(const std::string& target, std::shared_ptr<grpc::ChannelCredentials> credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own for each client
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  auto channel = grpc::CreateCustomChannel(target, std::move(credentials), arguments);
  kv = etcdserverpb::KV::NewStub(channel);
  watch = etcdserverpb::Watch::NewStub(channel);
  lease = etcdserverpb::Lease::NewStub(channel);
  auth = etcdserverpb::Auth::NewStub(channel);
  lock = v3lockpb::Lock::NewStub(channel);
  election = v3electionpb::Election::NewStub(channel);
}

void Client::prepare(grpc::ClientContext& context, int seconds) const {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(seconds));
  context.set_wait_for_ready(true);
  if (!token_.empty()) context.AddMetadata("token", token_);
}

Result<int64_t> Client::put(const std::string& key, const std::string& value, int64_t lease_id, int seconds) {
  etcdserverpb::PutRequest request;
  request.set_key(key);
  request.set_value(value);
  request.set_lease(lease_id);
  ASSIGN_OR_RETURN(auto response, call(kv, &etcdserverpb::KV::Stub::Put, request, seconds));
  return response.header().revision();
}

Result<etcdserverpb::RangeResponse> Client::get(const std::string& key, const std::string& range_end) {
  etcdserverpb::RangeRequest request;
  request.set_key(key);
  request.set_range_end(range_end);
  return call(kv, &etcdserverpb::KV::Stub::Range, request);
}

Result<std::string> Client::value_of(const std::string& key) {
  ASSIGN_OR_RETURN(auto response, get(key));
  if (response.kvs_size() != 1) return not_found(key + " is not there");
  return response.kvs(0).value();
}

Result<int64_t> Client::grant(int64_t seconds) {
  etcdserverpb::LeaseGrantRequest request;
  request.set_ttl(seconds);
  ASSIGN_OR_RETURN(auto response, call(lease, &etcdserverpb::Lease::Stub::LeaseGrant, request));
  return response.id();
}

Status Client::revoke(int64_t id) {
  etcdserverpb::LeaseRevokeRequest request;
  request.set_id(id);
  return call(lease, &etcdserverpb::Lease::Stub::LeaseRevoke, request).status();
}

Status Client::log_in(const std::string& user, const std::string& password) {
  etcdserverpb::AuthenticateRequest request;
  request.set_name(user);
  request.set_password(password);
  ASSIGN_OR_RETURN(auto response, call(auth, &etcdserverpb::Auth::Stub::Authenticate, request));
  token_ = response.token();
  return Status::ok();
}

WatchStream::WatchStream(const Client& client, const std::string& prefix, Options options) {
  client.prepare(context_, kStreamSeconds);
  stream_ = client.watch->Watch(&context_);
  etcdserverpb::WatchRequest request;
  auto* create = request.mutable_create_request();
  create->set_key(prefix);
  create->set_range_end(prefix_end_of(prefix));
  create->set_start_revision(options.from);
  create->set_prev_kv(true);
  if (options.no_puts) create->add_filters(etcdserverpb::WatchCreateRequest::NOPUT);
  stream_->Write(request);
}

Result<std::vector<mvccpb::Event>> WatchStream::next() {
  etcdserverpb::WatchResponse response;
  while (stream_->Read(&response)) {
    if (response.canceled()) return failed_precondition("the server cancelled the watch: " + response.cancel_reason());
    if (response.events_size() > 0)
      return std::vector<mvccpb::Event>(response.events().begin(), response.events().end());
  }
  Status status = from_grpc(stream_->Finish());
  return status.is_ok() ? unavailable("the stream ended") : status;
}

Result<std::vector<mvccpb::Event>> WatchStream::take(size_t count) {
  std::vector<mvccpb::Event> all;
  while (all.size() < count) {
    ASSIGN_OR_RETURN(auto some, next());
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace fairlead::clients
