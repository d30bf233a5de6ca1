// Any bytes as the body of a gateway call: refused, or a message that is the same after it was written as JSON and read
// again. The first byte chooses the message.
#include <cstdint>
#include <memory>
#include <string>

#include "base/check.h"
#include "proto/election.pb.h"
#include "proto/lock.pb.h"
#include "proto/rpc.pb.h"
#include "server/api/proto_json.h"

using namespace fairlead;
using namespace fairlead::api;

namespace {

using google::protobuf::Message;

const Message* const kMessages[] = {
    &etcdserverpb::RangeRequest::default_instance(),
    &etcdserverpb::PutRequest::default_instance(),
    &etcdserverpb::DeleteRangeRequest::default_instance(),
    &etcdserverpb::TxnRequest::default_instance(),
    &etcdserverpb::CompactionRequest::default_instance(),
    &etcdserverpb::WatchRequest::default_instance(),
    &etcdserverpb::LeaseGrantRequest::default_instance(),
    &etcdserverpb::MemberAddRequest::default_instance(),
    &etcdserverpb::AlarmRequest::default_instance(),
    &etcdserverpb::DowngradeRequest::default_instance(),
    &etcdserverpb::AuthUserAddRequest::default_instance(),
    &etcdserverpb::AuthRoleGrantPermissionRequest::default_instance(),
    &etcdserverpb::WatchResponse::default_instance(),
    &etcdserverpb::TxnResponse::default_instance(),
    &v3electionpb::ProclaimRequest::default_instance(),
    &v3lockpb::LockRequest::default_instance(),
};

std::unique_ptr<Message> read(const Message& kind, std::string_view json) {
  std::string_view rest = json;
  Result<std::optional<std::string_view>> value = take_json(rest);
  CHECK(value.is_ok() && *value && rest.empty(), "what is written as JSON is JSON");
  std::unique_ptr<Message> message(kind.New());
  Status status = from_json(**value, *message);
  CHECK(status.is_ok(), "what is written as JSON can be read");
  return message;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const Message& kind = *kMessages[data[0] % std::size(kMessages)];
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::string owned(rest);  // so that a step over its end is seen
  rest = owned;
  while (true) {
    size_t before = rest.size();
    Result<std::optional<std::string_view>> value = take_json(rest);
    if (!value.is_ok() || !*value) break;
    CHECK(rest.size() < before, "a value takes room");
    std::string alone(**value);
    std::unique_ptr<Message> message(kind.New());
    if (!from_json(alone, *message).is_ok()) continue;
    std::string json = to_json(*message);
    CHECK(to_json(*read(kind, json)) == json, "JSON, read and written, is the same");
  }
  return 0;
}
