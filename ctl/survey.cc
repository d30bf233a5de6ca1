#include "ctl/survey.h"

#include <time.h>

#include <algorithm>
#include <mutex>
#include <thread>

#include "ctl/go_format.h"
#include "ctl/wire.h"

namespace fairlead::ctl {
namespace {

using Steady = std::chrono::steady_clock;

constexpr int kRoundTrips = 3;            // the fastest counts
constexpr double kDateHeaderError = 0.5;  // an HTTP date has whole seconds

double seconds_since(Steady::time_point begin) { return std::chrono::duration<double>(Steady::now() - begin).count(); }

double unix_now() {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

// All at once: one member that does not answer must not delay the others.
template <typename T, typename F>
void for_all_at_once(std::vector<T>& items, F&& f) {
  std::vector<std::thread> threads;
  threads.reserve(items.size());
  for (T& item : items) threads.emplace_back([&f, &item] { f(item); });
  for (std::thread& t : threads) t.join();
}

class Surveyor {
 public:
  Surveyor(const ClientOptions& options, const SurveyOptions& what, std::string& token)
      : options_(options), what_(what), token_(token) {}

  Survey run() {
    std::vector<MemberView> given;
    for (const std::string& endpoint : options_.endpoints) {
      MemberView view;
      view.endpoint = endpoint;
      view.given = true;
      given.push_back(std::move(view));
    }
    log_in_somewhere();
    for_all_at_once(given, [&](MemberView& v) { ask_status(v, v.endpoint); });
    list_members(given);
    assign(given);
    for_all_at_once(survey_.members, [&](MemberView& v) { ask_more(v); });
    if (what_.metrics) read_metrics();
    return std::move(survey_);
  }

 private:
  template <typename Service, typename Request, typename Reply>
  grpc::Status ask(const std::string& endpoint,
                   grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                   const Request& request, Reply* reply, int64_t nanos_max) {
    grpc::ClientContext context;
    // Fails at once where nothing listens, and says why; waits where nothing answers.
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::nanoseconds(nanos_max));
    if (!token_.empty()) context.AddMetadata("token", token_);
    return (*Service::NewStub(channel_to(endpoint)).*method)(&context, request, reply);
  }
  std::shared_ptr<grpc::Channel> channel_to(const std::string& endpoint) {
    std::lock_guard lock(mutex_);
    std::shared_ptr<grpc::Channel>& channel = channels_[endpoint];
    if (!channel) channel = open_channel(options_, endpoint);
    return channel;
  }
  int64_t short_nanos() const { return options_.dial_timeout_nanos; }
  int64_t long_nanos() const {
    return options_.command_timeout_nanos > 0 ? options_.command_timeout_nanos : 5'000'000'000;
  }

  // At the first endpoint that answers. Where none does the survey shows as much.
  void log_in_somewhere() {
    if (!options_.token.empty()) token_ = options_.token;
    if (options_.user.empty() || !token_.empty()) return;
    pb::AuthenticateRequest request;
    request.set_name(options_.user);
    request.set_password(options_.password);
    for (const std::string& endpoint : options_.endpoints) {
      pb::AuthenticateResponse reply;
      grpc::Status status = ask<pb::Auth>(endpoint, &pb::Auth::Stub::Authenticate, request, &reply, long_nanos());
      if (status.ok()) token_ = reply.token();
      if (status.ok() || is_etcd_error(status, "authentication is not enabled")) return;
    }
  }

  void ask_status(MemberView& v, const std::string& endpoint) {
    v.endpoint = endpoint;
    auto begin = Steady::now();
    grpc::Status status =
        ask<pb::Maintenance>(endpoint, &pb::Maintenance::Stub::Status, pb::StatusRequest(), &v.status, short_nanos());
    v.answers = status.ok();
    v.error = status.ok() ? "" : short_error(status);
    v.round_trip_seconds = seconds_since(begin);
  }

  // Through the quorum, from any member that can; else as one of them knows it.
  void list_members(const std::vector<MemberView>& given) {
    for (bool linearizable : {true, false}) {
      for (const MemberView& v : given) {
        if (!v.answers) continue;
        pb::MemberListRequest request;
        request.set_linearizable(linearizable);
        pb::MemberListResponse reply;
        grpc::Status status =
            ask<pb::Cluster>(v.endpoint, &pb::Cluster::Stub::MemberList, request, &reply, long_nanos());
        if (!status.ok()) {
          if (survey_.list_error.empty()) survey_.list_error = short_error(status);
          continue;
        }
        survey_.have_list = true;
        survey_.list_may_be_old = !linearizable;
        survey_.cluster_id = reply.header().cluster_id();
        for (const pb::Member& m : reply.members()) {
          MemberView member;
          member.listed = true;
          member.member = m;
          survey_.members.push_back(std::move(member));
        }
        return;
      }
    }
  }

  // Which given endpoint is whose; who was not given is asked where it says it is.
  void assign(std::vector<MemberView>& given) {
    if (!survey_.have_list && !given.empty())
      for (const MemberView& v : given)
        if (v.answers && survey_.cluster_id == 0) survey_.cluster_id = v.status.header().cluster_id();
    for (MemberView& v : given) {
      MemberView* place = nullptr;
      for (MemberView& m : survey_.members) {
        bool its = v.answers ? v.status.header().cluster_id() == survey_.cluster_id &&
                                   v.status.header().member_id() == m.member.id()
                             : advertises(m.member, v.endpoint);
        if (its) place = &m;
      }
      if (place && (place->endpoint.empty() || (!place->answers && v.answers))) {
        v.listed = true;
        v.member = place->member;
        *place = std::move(v);
      } else if (!place && !survey_.have_list && v.answers && v.status.header().cluster_id() == survey_.cluster_id) {
        survey_.members.push_back(std::move(v));
      } else if (!place) {
        survey_.strangers.push_back(std::move(v));
      }
    }
    for_all_at_once(survey_.members, [&](MemberView& m) {
      if (m.answers) return;
      for (const std::string& url : m.member.clienturls()) {
        if (m.answers || url == m.endpoint) continue;
        MemberView tried = m;
        ask_status(tried, url);
        if (tried.answers && tried.status.header().member_id() != m.member.id()) {
          tried.answers = false;
          tried.error = "another member answers there";
        }
        if (tried.answers || m.endpoint.empty()) m = std::move(tried);
      }
    });
  }

  static bool advertises(const pb::Member& member, const std::string& endpoint) {
    std::string wanted = parse_address(endpoint, false).text();
    return std::any_of(member.clienturls().begin(), member.clienturls().end(),
                       [&](const std::string& url) { return parse_address(url, false).text() == wanted; });
  }

  void ask_more(MemberView& v) {
    if (!v.answers) return;
    for (int i = 0; i < kRoundTrips; ++i) {
      auto begin = Steady::now();
      pb::StatusResponse again;
      if (!ask<pb::Maintenance>(v.endpoint, &pb::Maintenance::Stub::Status, pb::StatusRequest(), &again, short_nanos())
               .ok())
        break;
      v.round_trip_seconds = std::min(v.round_trip_seconds, seconds_since(begin));
      v.status = std::move(again);
    }
    auto begin = Steady::now();
    pb::RangeRequest request;
    request.set_key("health");
    pb::RangeResponse reply;
    // A learner serves no such read, and is not asked.
    grpc::Status status = v.status.islearner()
                              ? grpc::Status()
                              : ask<pb::KV>(v.endpoint, &pb::KV::Stub::Range, request, &reply, long_nanos());
    v.read_seconds = seconds_since(begin);
    // Who may not read this key has asked the quorum all the same.
    if (!status.ok() && !is_etcd_error(status, "permission denied")) v.read_error = short_error(status);
    if (v.status.islearner()) return;
    pb::AlarmResponse alarms;
    status = ask<pb::Maintenance>(v.endpoint, &pb::Maintenance::Stub::Alarm, pb::AlarmRequest(), &alarms, long_nanos());
    std::lock_guard lock(mutex_);
    if (!status.ok()) {
      survey_.alarms_error = short_error(status);
    } else if (survey_.alarms.empty()) {
      survey_.alarms.assign(alarms.alarms().begin(), alarms.alarms().end());
    }
  }

  // ---- pages

  struct PageOf {
    std::string url;
    MemberView* member = nullptr;  // null: the page tells
    Result<Page> page = Status(Code::kUnavailable, "not asked");
    double local_seconds = 0;  // this machine's clock, half a round trip back
  };
  void read_metrics() {
    std::vector<PageOf> pages;
    if (what_.metrics_urls.empty()) {
      for (MemberView& v : survey_.members)
        if (v.answers) pages.push_back({v.endpoint, &v});
    } else {
      for (const std::string& url : what_.metrics_urls) pages.push_back({url});
    }
    for_all_at_once(pages, [&](PageOf& p) {
      Address address = parse_address(p.url, wants_tls(options_.tls));
      p.page = http_get(address, options_.tls, "/metrics", Wire::Clock::now() + std::chrono::nanoseconds(long_nanos()));
      if (p.page.is_ok()) p.local_seconds = unix_now() - std::chrono::duration<double>(p.page->took).count() / 2;
    });
    for (PageOf& p : pages) take_page(p);
  }

  void take_page(PageOf& p) {
    if (!p.page.is_ok() || p.page->status != 200) {
      std::string why =
          p.page.is_ok() ? "HTTP status " + std::to_string(p.page->status) : std::string(p.page.status().message());
      for (MemberView& v : survey_.members)
        if (p.member == &v || (!p.member && v.metrics_error.empty())) v.metrics_error = p.url + ": " + why;
      return;
    }
    Metrics metrics(p.page->body);
    for (MemberView& v : survey_.members) {
      bool its = p.member ? p.member == &v
                          : !metrics.all("etcd_server_id").empty() &&
                                metrics.all("etcd_server_id")[0].has({{"server_id", go_hex(v.member.id())}});
      if (!its) continue;
      double took = std::chrono::duration<double>(p.page->took).count();
      if (double theirs = metrics.value("fairlead_unix_time_seconds"); theirs > 0) {
        v.clock_ahead_seconds = theirs - p.local_seconds;
        v.clock_error_seconds = took / 2 + 0.001;
      } else if (tm parts{}; strptime(p.page->date.c_str(), "%a, %d %b %Y %H:%M:%S", &parts)) {
        v.clock_ahead_seconds = static_cast<double>(timegm(&parts)) + kDateHeaderError - p.local_seconds;
        v.clock_error_seconds = took / 2 + kDateHeaderError;
      }
      v.metrics = std::move(metrics);
      v.metrics_error.clear();
      return;
    }
  }

  const ClientOptions& options_;
  const SurveyOptions& what_;
  std::string& token_;
  std::mutex mutex_;  // guards what the threads share: the next, and the survey's alarms
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_;
  Survey survey_;
};

}  // namespace

std::string MemberView::name() const {
  if (!member.name().empty()) return member.name();
  if (member.id() != 0) return go_hex(member.id());
  return endpoint;
}

size_t Survey::voters() const {
  return static_cast<size_t>(
      std::count_if(members.begin(), members.end(), [](const MemberView& v) { return !v.member.islearner(); }));
}
size_t Survey::voters_answering() const {
  return static_cast<size_t>(std::count_if(members.begin(), members.end(),
                                           [](const MemberView& v) { return v.answers && !v.member.islearner(); }));
}
const MemberView* Survey::leader() const {
  // After a change two may still think so: the newer term is right.
  const MemberView* found = nullptr;
  for (const MemberView& v : members)
    if (v.is_leader() && (!found || v.status.raftterm() > found->status.raftterm())) found = &v;
  return found;
}
const MemberView* Survey::by_id(uint64_t id) const {
  for (const MemberView& v : members)
    if (v.member.id() == id || (v.answers && v.status.header().member_id() == id)) return &v;
  return nullptr;
}
std::string Survey::name_of(uint64_t id) const {
  const MemberView* found = by_id(id);
  return found ? found->name() : go_hex(id);
}

Survey take_survey(const ClientOptions& options, const SurveyOptions& what, std::string& token) {
  return Surveyor(options, what, token).run();
}

}  // namespace fairlead::ctl
