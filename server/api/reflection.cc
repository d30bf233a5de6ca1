// gRPC server reflection, so that tools such as grpcurl need no files of ours. etcd has none; it gives away nothing but
// the public protocol.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <set>

#include "proto/reflection.pb.h"
#include "server/api/proto_util.h"

namespace fairlead::api {
namespace {

using namespace grpc::reflection::v1;
using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;

constexpr int kNotFound = 5;  // gRPC status codes, as numbers in the answer
constexpr int kUnimplemented = 12;

class ReflectionCall final : public net::CallHandler {
 public:
  explicit ReflectionCall(const net::Router& router) : router_(router) {}

  void on_message(net::ServerCall& call, Bytes in) override {
    ServerReflectionRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call.finish(s);
    ServerReflectionResponse reply;
    reply.set_valid_host(request.host());
    *reply.mutable_original_request() = request;
    const DescriptorPool& pool = *DescriptorPool::generated_pool();
    switch (request.message_request_case()) {
      case ServerReflectionRequest::kListServices:
        list(*reply.mutable_list_services_response());
        break;
      case ServerReflectionRequest::kFileByFilename:
        file(pool.FindFileByName(request.file_by_filename()), request.file_by_filename(), reply);
        break;
      case ServerReflectionRequest::kFileContainingSymbol:
        file(pool.FindFileContainingSymbol(request.file_containing_symbol()), request.file_containing_symbol(), reply);
        break;
      case ServerReflectionRequest::kFileContainingExtension:
      case ServerReflectionRequest::kAllExtensionNumbersOfType:
        error(reply, kNotFound, "the protocol has no extensions");
        break;
      default:
        error(reply, kUnimplemented, "unknown request");
    }
    call.send_message(serialize(reply));
  }
  void on_half_close(net::ServerCall& call) override { call.finish(Status()); }

 private:
  void list(ListServiceResponse& out) const {
    std::set<std::string> names;
    for (const auto& route : router_.routes()) names.insert(route->service);
    for (const std::string& name : names) out.add_service()->set_name(name);
  }
  // With all that it imports, each file before those that need it.
  static void add(const FileDescriptor& file, std::set<std::string>& seen, FileDescriptorResponse& out) {
    if (!seen.insert(std::string(file.name())).second) return;
    for (int i = 0; i < file.dependency_count(); ++i) add(*file.dependency(i), seen, out);
    google::protobuf::FileDescriptorProto proto;
    file.CopyTo(&proto);
    out.add_file_descriptor_proto(proto.SerializeAsString());
  }
  static void file(const FileDescriptor* file, const std::string& asked, ServerReflectionResponse& reply) {
    if (!file) return error(reply, kNotFound, "not found: " + asked);
    std::set<std::string> seen;
    add(*file, seen, *reply.mutable_file_descriptor_response());
  }
  static void error(ServerReflectionResponse& reply, int code, const std::string& text) {
    reply.mutable_error_response()->set_error_code(code);
    reply.mutable_error_response()->set_error_message(text);
  }

  const net::Router& router_;
};

}  // namespace

void Api::add_reflection(net::Router& router) {
  for (const char* path : {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                           "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"})
    router.add_stream(path, net::MethodKind::kBidi, [&router](net::ServerCall&) -> std::unique_ptr<net::CallHandler> {
      return std::make_unique<ReflectionCall>(router);
    });
}

}  // namespace fairlead::api
