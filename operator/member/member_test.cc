// The client against servers of its own kind: answers, silence, a refused port, a learner.
#include "operator/member/member.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>

#include "proto/fairlead.grpc.pb.h"
#include "proto/rpc.grpc.pb.h"

namespace fairlead::member {
namespace {

class FakeMember final : public etcdserverpb::Maintenance::Service,
                         public etcdserverpb::Cluster::Service,
                         public fairleadpb::Probe::Service {
 public:
  FakeMember() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(static_cast<etcdserverpb::Maintenance::Service*>(this));
    builder.RegisterService(static_cast<etcdserverpb::Cluster::Service*>(this));
    builder.RegisterService(static_cast<fairleadpb::Probe::Service*>(this));
    server_ = builder.BuildAndStart();
  }
  ~FakeMember() override {
    wake();
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
  }
  std::string endpoint() const { return "127.0.0.1:" + std::to_string(port_); }
  void wake() {
    std::lock_guard lock(mutex_);
    silent = false;
    changed_.notify_all();
  }

  bool silent = false, learner = false, list_fails = false, write_fails = false;
  bool linearizable_asked = false;

 private:
  grpc::Status Status(grpc::ServerContext*, const etcdserverpb::StatusRequest*,
                      etcdserverpb::StatusResponse* reply) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !silent; });
    reply->mutable_header()->set_cluster_id(7);
    reply->mutable_header()->set_member_id(11);
    reply->set_leader(12);
    reply->set_raftterm(3);
    reply->set_version("3.7.1");
    reply->set_dbsize(4096);
    reply->set_islearner(learner);
    return grpc::Status::OK;
  }
  grpc::Status MemberList(grpc::ServerContext*, const etcdserverpb::MemberListRequest* request,
                          etcdserverpb::MemberListResponse* reply) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !silent; });
    linearizable_asked = request->linearizable();
    if (list_fails) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "etcdserver: no leader");
    etcdserverpb::Member* m = reply->add_members();
    m->set_id(11);
    m->set_name("a");
    m->add_peerurls("http://a:2380");
    return grpc::Status::OK;
  }

  grpc::Status Write(grpc::ServerContext*, const fairleadpb::WriteProbeRequest*,
                     fairleadpb::WriteProbeResponse*) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !silent; });
    if (write_fails) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "etcdserver: request timed out");
    return grpc::Status::OK;
  }

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

TEST(GrpcProber, AnswersAndList) {
  FakeMember a;
  const auto prober = make_grpc_prober();
  const Round round = prober->ask("C", {{"a", a.endpoint(), "P1"}, {"b", "", "P2"}}, 1000);
  ASSERT_EQ(round.answers.size(), 2u);
  const Answer& first = round.answers[0];
  EXPECT_TRUE(first.asked && first.answered) << first.error;
  EXPECT_EQ(first.cluster_id, ClusterId(7));
  EXPECT_EQ(first.member_id, MemberId(11));
  EXPECT_EQ(first.leader_id, MemberId(12));
  EXPECT_EQ(first.version, "3.7.1");
  EXPECT_EQ(first.db_size_bytes, 4096);
  EXPECT_FALSE(round.answers[1].asked);
  EXPECT_EQ(round.answers[1].unknown_since_ms, 1000);
  EXPECT_TRUE(round.list.asked && round.list.answered);
  EXPECT_EQ(round.list.answered_by, "a");
  ASSERT_EQ(round.list.members.size(), 1u);
  EXPECT_EQ(round.list.members[0].id, MemberId(11));
  EXPECT_TRUE(a.linearizable_asked);
  EXPECT_TRUE(round.write.asked && round.write.answered);
  EXPECT_EQ(round.write.answered_by, "a");
}

TEST(GrpcProber, ReadsMayBeServedWhenNoWriteIs) {
  FakeMember alone;
  alone.write_fails = true;
  const Round round = make_grpc_prober()->ask("C", {{"a", alone.endpoint(), "P1"}}, 1000);
  EXPECT_TRUE(round.list.answered);
  EXPECT_TRUE(round.write.asked);
  EXPECT_FALSE(round.write.answered);
  EXPECT_EQ(round.write.error, "a: etcdserver: request timed out");
}

TEST(GrpcProber, ASilentMemberCostsOneDeadlineAndHoldsNobodyUp) {
  FakeMember silent, good;
  silent.silent = true;
  const auto prober = make_grpc_prober();
  const auto begin = std::chrono::steady_clock::now();
  const Round round = prober->ask("C", {{"s", silent.endpoint(), "P1"}, {"g", good.endpoint(), "P2"}}, 5000);
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(took, std::chrono::milliseconds(2 * kCallTimeoutMs));
  EXPECT_FALSE(round.answers[0].answered);
  EXPECT_EQ(round.answers[0].error, "no answer within 2000 ms");
  EXPECT_TRUE(round.answers[1].answered);
  EXPECT_TRUE(round.list.answered);
  EXPECT_EQ(round.list.answered_by, "g");
  silent.wake();
}

TEST(GrpcProber, ARefusedPortSaysSo) {
  std::string dead;
  {
    FakeMember gone;
    dead = gone.endpoint();
  }
  const auto prober = make_grpc_prober();
  const Round round = prober->ask("C", {{"a", dead, "P1"}}, 1000);
  EXPECT_FALSE(round.answers[0].answered);
  EXPECT_FALSE(round.answers[0].error.empty());
  EXPECT_TRUE(round.list.asked);
  EXPECT_FALSE(round.list.answered);
}

TEST(GrpcProber, ALearnersListIsNotTheClusters) {
  FakeMember learner;
  learner.learner = true;
  const Round round = make_grpc_prober()->ask("C", {{"a", learner.endpoint(), "P1"}}, 1000);
  EXPECT_TRUE(round.answers[0].learner);
  EXPECT_FALSE(round.list.answered);
}

TEST(GrpcProber, StatusMayAnswerWhenTheListCannot) {
  FakeMember alone;
  alone.list_fails = true;
  const Round round = make_grpc_prober()->ask("C", {{"a", alone.endpoint(), "P1"}}, 1000);
  EXPECT_TRUE(round.answers[0].answered);
  EXPECT_FALSE(round.list.answered);
  EXPECT_EQ(round.list.error, "a: etcdserver: no leader");
}

TEST(SilenceLog, RemembersTheFirstSilenceOfEachPod) {
  SilenceLog log;
  const std::vector<Target> targets = {{"a", "", "P1"}};
  std::vector<Answer> answers(1);
  log.note("C", targets, answers, 1000);
  log.note("C", targets, answers, 2000);
  EXPECT_EQ(answers[0].unknown_since_ms, 1000);
  log.note("D", targets, answers, 3000);
  EXPECT_EQ(answers[0].unknown_since_ms, 3000) << "another cluster";
  log.note("C", {{"a", "", "P2"}}, answers, 4000);
  EXPECT_EQ(answers[0].unknown_since_ms, 4000) << "a new pod starts afresh";
  answers[0].answered = true;
  log.note("C", targets, answers, 5000);
  answers[0].answered = false;
  log.note("C", targets, answers, 6000);
  EXPECT_EQ(answers[0].unknown_since_ms, 6000) << "it had answered in between";
  log.forget("C");
  log.note("C", targets, answers, 7000);
  EXPECT_EQ(answers[0].unknown_since_ms, 7000);
}

}  // namespace
}  // namespace fairlead::member
