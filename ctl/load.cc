#include "ctl/load.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <random>

#include "base/codec.h"

namespace fairlead::ctl {
namespace {

using Steady = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLook{200};

double seconds_between(Steady::time_point a, Steady::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

// One client: a connection, and the request that is under way on it.
struct Worker {
  std::unique_ptr<pb::KV::Stub> stub;
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<pb::PutResponse>> reader;
  pb::PutResponse reply;
  grpc::Status status;
  Steady::time_point begin;
};

class Load {
 public:
  Load(const ClientOptions& options, const std::string& token, const LoadPlan& plan)
      : plan_(plan), token_(token), workers_(static_cast<size_t>(plan.clients)) {
    request_.set_value(std::string(plan.value_bytes, '\0'));
    std::vector<std::string> endpoints = live(options);
    std::vector<std::shared_ptr<grpc::Channel>> channels;
    for (size_t i = 0; i < workers_.size(); ++i) {
      channels.push_back(open_channel(options, endpoints[i % endpoints.size()], true));
      channels.back()->GetState(true);
      workers_[i].stub = pb::KV::NewStub(channels.back());
      idle_.push_back(&workers_[i]);
    }
    auto until = dial_deadline(options);
    for (auto& channel : channels) channel->WaitForConnected(until);
  }

  LoadReport run(const std::function<bool(int64_t, double)>& each) {
    begin_ = next_due_ = Steady::now();
    Steady::time_point looked = begin_;
    while (true) {
      Steady::time_point now = Steady::now();
      make_requests(now);
      while (waiting_ > 0 && !idle_.empty()) start();
      if (over_ && waiting_ == 0 && under_way_ == 0) break;
      bool answered = wait(now);
      now = Steady::now();
      if (!answered && now - looked < kLook) continue;
      looked = now;
      if (!each(answers_, seconds_between(begin_, now))) over_ = true, waiting_ = 0;
    }
    report_.total_seconds = seconds_between(begin_, Steady::now());
    std::sort(report_.seconds.begin(), report_.seconds.end());
    queue_.Shutdown();
    return std::move(report_);
  }

 private:
  static std::chrono::system_clock::time_point dial_deadline(const ClientOptions& options) {
    return std::chrono::system_clock::now() + std::chrono::nanoseconds(options.dial_timeout_nanos);
  }
  // The endpoints that can be connected to; all of them where none can.
  static std::vector<std::string> live(const ClientOptions& options) {
    std::vector<std::shared_ptr<grpc::Channel>> channels;
    for (const std::string& endpoint : options.endpoints) {
      channels.push_back(open_channel(options, endpoint));
      channels.back()->GetState(true);
    }
    auto until = dial_deadline(options);
    std::vector<std::string> found;
    for (size_t i = 0; i < channels.size(); ++i)
      if (channels[i]->WaitForConnected(until)) found.push_back(options.endpoints[i]);
    return found.empty() ? options.endpoints : found;
  }
  // A request that is due waits until a client is free; when as many wait as there are clients, none are made.
  void make_requests(Steady::time_point now) {
    auto wanted = [&] {
      if (plan_.duration.count() > 0 && now - begin_ >= plan_.duration) over_ = true;
      if (plan_.requests_max > 0 && made_ >= plan_.requests_max) over_ = true;
      return !over_ && waiting_ < workers_.size();
    };
    if (plan_.rate_per_second <= 0) {
      while (wanted()) ++waiting_, ++made_;
      return;
    }
    auto interval = std::chrono::nanoseconds(static_cast<int64_t>(1e9 / plan_.rate_per_second));
    while (wanted() && next_due_ <= now) {
      ++waiting_;
      ++made_;
      next_due_ += interval;
    }
    // What was missed while nobody could take it is not made up for.
    if (waiting_ >= workers_.size()) next_due_ = std::max(next_due_, now);
  }

  void start() {
    Worker* w = idle_.front();
    idle_.pop_front();
    --waiting_;
    ++under_way_;
    std::string key = plan_.prefix;
    put_varint(key, random_() >> 1);
    key.resize(plan_.prefix.size() + plan_.key_bytes, '\0');
    request_.set_key(key);
    w->context = std::make_unique<grpc::ClientContext>();
    if (!token_.empty()) w->context->AddMetadata("token", token_);
    w->begin = Steady::now();
    w->reader = w->stub->AsyncPut(w->context.get(), request_, &queue_);
    w->reader->Finish(&w->reply, &w->status, w);
  }

  // For an answer, or for the next thing that is due.
  bool wait(Steady::time_point now) {
    auto until = now + kLook;
    if (plan_.rate_per_second > 0 && !over_ && waiting_ < workers_.size()) until = std::min(until, next_due_);
    void* tag = nullptr;
    bool ok = false;
    auto deadline =
        std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(until - now);
    if (queue_.AsyncNext(&tag, &ok, deadline) != grpc::CompletionQueue::GOT_EVENT) return false;
    auto* w = static_cast<Worker*>(tag);
    if (w->status.ok())
      report_.seconds.push_back(seconds_between(w->begin, Steady::now()));
    else
      ++report_.errors[error_text(w->status)];
    --under_way_;
    ++answers_;
    idle_.push_back(w);
    return true;
  }

  const LoadPlan& plan_;
  std::string token_;
  grpc::CompletionQueue queue_;
  std::vector<Worker> workers_;
  std::deque<Worker*> idle_;
  pb::PutRequest request_;
  std::mt19937_64 random_{std::random_device()()};
  Steady::time_point begin_, next_due_;
  size_t waiting_ = 0, under_way_ = 0;
  int64_t made_ = 0, answers_ = 0;
  bool over_ = false;
  LoadReport report_;
};

}  // namespace

double LoadReport::deviation() const {
  double sum = 0, squares = 0;
  for (double s : seconds) sum += s;
  double mean = sum / static_cast<double>(seconds.size());
  for (double s : seconds) squares += (s - mean) * (s - mean);
  return std::sqrt(squares / static_cast<double>(seconds.size()));
}

LoadReport run_load(const ClientOptions& options, const std::string& token, const LoadPlan& plan,
                    const std::function<bool(int64_t, double)>& each) {
  return Load(options, token, plan).run(each);
}

}  // namespace fairlead::ctl
