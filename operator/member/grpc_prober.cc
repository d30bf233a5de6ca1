#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>

#include "operator/member/member.h"
#include "proto/fairlead.grpc.pb.h"
#include "proto/rpc.grpc.pb.h"

namespace fairlead::member {
namespace {

// A fresh channel a round: a kept one may sit in its reconnect backoff while the member has long
// been back.
std::shared_ptr<grpc::Channel> open_channel(const std::string& endpoint) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY,
                   0);  // members are next door; a proxy of the environment is not for them
  return grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(), arguments);
}

std::string describe(const grpc::Status& status) {
  constexpr size_t kErrorBytesMax = 200;
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return "no answer within " + std::to_string(kCallTimeoutMs) + " ms";
  }
  return status.error_message().substr(0, kErrorBytesMax);
}

// The calls to one member, in flight at the same time.
struct Calls {
  std::unique_ptr<etcdserverpb::Maintenance::Stub> maintenance;
  std::unique_ptr<etcdserverpb::Cluster::Stub> cluster;
  std::unique_ptr<fairleadpb::Probe::Stub> probe;
  grpc::ClientContext status_context, list_context, write_context;
  etcdserverpb::StatusResponse status_reply;
  etcdserverpb::MemberListResponse list_reply;
  fairleadpb::WriteProbeResponse write_reply;
  grpc::Status status_result, list_result, write_result;
  std::unique_ptr<grpc::ClientAsyncResponseReader<etcdserverpb::StatusResponse>> status_reader;
  std::unique_ptr<grpc::ClientAsyncResponseReader<etcdserverpb::MemberListResponse>> list_reader;
  std::unique_ptr<grpc::ClientAsyncResponseReader<fairleadpb::WriteProbeResponse>> write_reader;
  static constexpr size_t kCalls = 3;

  void start(const std::string& endpoint, std::chrono::system_clock::time_point deadline,
             grpc::CompletionQueue* queue) {
    const auto channel = open_channel(endpoint);
    maintenance = etcdserverpb::Maintenance::NewStub(channel);
    cluster = etcdserverpb::Cluster::NewStub(channel);
    probe = fairleadpb::Probe::NewStub(channel);
    status_context.set_deadline(deadline);
    list_context.set_deadline(deadline);
    write_context.set_deadline(deadline);
    status_reader = maintenance->AsyncStatus(&status_context, etcdserverpb::StatusRequest(), queue);
    status_reader->Finish(&status_reply, &status_result, this);
    etcdserverpb::MemberListRequest request;
    request.set_linearizable(true);
    list_reader = cluster->AsyncMemberList(&list_context, request, queue);
    list_reader->Finish(&list_reply, &list_result, this);
    write_reader = probe->AsyncWrite(&write_context, fairleadpb::WriteProbeRequest(), queue);
    write_reader->Finish(&write_reply, &write_result, this);
  }
};

void fill(const Calls& calls, Answer* answer) {
  if (!calls.status_result.ok()) {
    answer->error = describe(calls.status_result);
    return;
  }
  const etcdserverpb::StatusResponse& reply = calls.status_reply;
  answer->answered = true;
  answer->cluster_id = ClusterId(reply.header().cluster_id());
  answer->member_id = MemberId(reply.header().member_id());
  answer->leader_id = MemberId(reply.leader());
  answer->term = Term(reply.raftterm());
  answer->applied = Index(reply.raftappliedindex());
  answer->learner = reply.islearner();
  answer->version = reply.version();
  answer->db_size_bytes = reply.dbsize();
}

void fill(const Calls& calls, const Answer& from, List* list) {
  list->asked = true;
  if (list->answered) return;
  if (!calls.list_result.ok()) {
    if (list->error.empty()) list->error = from.name + ": " + describe(calls.list_result);
    return;
  }
  if (from.learner) return;  // a learner's view is not the cluster's
  list->answered = true;
  list->answered_by = from.name;
  for (const etcdserverpb::Member& m : calls.list_reply.members()) {
    list->members.push_back({MemberId(m.id()), m.name(), {m.peerurls().begin(), m.peerurls().end()}, m.islearner()});
  }
}

void fill(const Calls& calls, const Answer& from, WriteProbe* write) {
  write->asked = true;
  if (write->answered) return;
  if (!calls.write_result.ok()) {
    if (write->error.empty()) write->error = from.name + ": " + describe(calls.write_result);
    return;
  }
  write->answered = true;
  write->answered_by = from.name;
}

class GrpcProber : public Prober {
 public:
  Round ask(const std::string& scope, const std::vector<Target>& targets, int64_t now_ms) override {
    Round round;
    std::vector<std::unique_ptr<Calls>> calls(std::min<size_t>(targets.size(), kTargetsMax));
    grpc::CompletionQueue queue;
    const auto deadline = std::chrono::system_clock::now() + std::chrono::milliseconds(kCallTimeoutMs);
    size_t in_flight = 0;
    for (size_t i = 0; i < calls.size(); ++i) {
      if (targets[i].endpoint.empty()) continue;
      calls[i] = std::make_unique<Calls>();
      calls[i]->start(targets[i].endpoint, deadline, &queue);
      in_flight += Calls::kCalls;
    }
    // Each call ends by its answer or by its deadline, so this ends too.
    void* tag = nullptr;
    bool ok = false;
    for (; in_flight > 0 && queue.Next(&tag, &ok); --in_flight) {
    }
    queue.Shutdown();
    while (queue.Next(&tag, &ok)) {
    }
    for (size_t i = 0; i < targets.size(); ++i) {
      Answer answer;
      answer.name = targets[i].name;
      if (i < calls.size() && calls[i] != nullptr) {
        answer.asked = true;
        fill(*calls[i], &answer);
        fill(*calls[i], answer, &round.list);
        fill(*calls[i], answer, &round.write);
      } else {
        answer.error = "it has no address yet";
      }
      round.answers.push_back(std::move(answer));
    }
    silences_.note(scope, targets, round.answers, now_ms);
    return round;
  }

  void forget(const std::string& scope) override { silences_.forget(scope); }

 private:
  SilenceLog silences_;
};

}  // namespace

std::unique_ptr<Prober> make_grpc_prober() { return std::make_unique<GrpcProber>(); }

}  // namespace fairlead::member
