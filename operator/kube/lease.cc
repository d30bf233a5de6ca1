#include "operator/kube/lease.h"

#include <condition_variable>
#include <mutex>

#include "operator/kube/work_queue.h"

namespace fairlead::kube {

namespace {

int64_t wall_now_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

}  // namespace

LeaderLease::LeaderLease(Api& api, LeaseOptions options) : api_(api), options_(std::move(options)) {
  CHECK(options_.renew_deadline < options_.duration, "a holder must stop before another may start");
  CHECK(!options_.identity.empty(), "two nameless processes would both hold the lease");
}

bool LeaderLease::held(int64_t monotonic_ms) const {
  return ours_.load(std::memory_order_acquire) &&
         monotonic_ms - renewed_ms_.load(std::memory_order_acquire) < options_.renew_deadline.count();
}

Status LeaderLease::step(int64_t monotonic_ms, int64_t wall_ms) {
  Result<Json> current = api_.call(request(Verb::kGet, Json()));
  if (current.code() == Code::kNotFound) {
    ours_.store(false, std::memory_order_release);
    return take(nullptr, monotonic_ms, wall_ms);
  }
  RETURN_IF_ERROR(current.status());
  const std::string version = resource_version_of(*current);
  const std::string holder = string_at(*current, {"spec", "holderIdentity"});
  if (version != observed_version_) {
    observed_version_ = version;
    observed_ms_ = monotonic_ms;
  }
  observed_holder_ = holder;
  if (holder == options_.identity) return take(&*current, monotonic_ms, wall_ms);
  ours_.store(false, std::memory_order_release);
  if (holder.empty()) return take(&*current, monotonic_ms, wall_ms);
  const int64_t duration_ms =
      int_at(*current, {"spec", "leaseDurationSeconds"}, options_.duration.count() / 1000) * 1000;
  if (monotonic_ms - observed_ms_ < duration_ms) return {};  // another's, and alive as far as we can tell
  return take(&*current, monotonic_ms, wall_ms);
}

// A renewal is two calls; both must fit well into the renew deadline.
Request LeaderLease::request(Verb verb, Json body) const {
  Request r;
  r.verb = verb;
  r.gvr = gvr::kLeases;
  r.key = {options_.ns, options_.name};
  r.body = std::move(body);
  r.field_manager = "leader-lease";
  r.timeout = options_.renew_deadline / 3;
  return r;
}

Json LeaderLease::spec(const Json* current, int64_t wall_ms) const {
  Json spec = {{"holderIdentity", options_.identity},
               {"leaseDurationSeconds", (options_.duration.count() + 999) / 1000},
               {"renewTime", format_micro_time(wall_ms)},
               {"acquireTime", format_micro_time(wall_ms)},
               {"leaseTransitions", 0}};
  if (current == nullptr) return spec;
  const bool renewal = string_at(*current, {"spec", "holderIdentity"}) == options_.identity;
  const int64_t transitions = int_at(*current, {"spec", "leaseTransitions"});
  spec["leaseTransitions"] = renewal ? transitions : transitions + 1;
  if (renewal) spec["acquireTime"] = at(*current, {"spec", "acquireTime"});
  return spec;
}

// Creates or replaces the record; the resourceVersion read before makes two takers exclude each other.
Status LeaderLease::take(const Json* current, int64_t monotonic_ms, int64_t wall_ms) {
  Json lease = {{"apiVersion", gvr::kLeases.api_version()},
                {"kind", "Lease"},
                {"metadata", {{"namespace", options_.ns}, {"name", options_.name}}},
                {"spec", spec(current, wall_ms)}};
  if (current != nullptr) {
    lease["metadata"]["resourceVersion"] = resource_version_of(*current);
    lease["metadata"]["uid"] = uid_of(*current);
  }
  Result<Json> written = api_.call(request(current == nullptr ? Verb::kCreate : Verb::kReplace, std::move(lease)));
  if (written.code() == Code::kAborted || written.code() == Code::kAlreadyExists) {
    return {};  // another was first; the next step sees who
  }
  RETURN_IF_ERROR(written.status());
  observed_version_ = resource_version_of(*written);
  observed_holder_ = options_.identity;
  observed_ms_ = monotonic_ms;
  transitions_.store(int_at(*written, {"spec", "leaseTransitions"}), std::memory_order_release);
  renewed_ms_.store(monotonic_ms, std::memory_order_release);
  ours_.store(true, std::memory_order_release);
  return {};
}

Status LeaderLease::release(int64_t wall_ms) {
  ours_.store(false, std::memory_order_release);
  Result<Json> current = api_.call(request(Verb::kGet, Json()));
  if (current.code() == Code::kNotFound) return {};
  RETURN_IF_ERROR(current.status());
  if (string_at(*current, {"spec", "holderIdentity"}) != options_.identity) return {};
  Json lease = *current;
  lease["spec"]["holderIdentity"] = "";
  lease["spec"]["leaseDurationSeconds"] = 1;
  lease["spec"]["renewTime"] = format_micro_time(wall_ms);
  Status status = api_.call(request(Verb::kReplace, std::move(lease))).status();
  return status.code() == Code::kAborted ? Status() : status;
}

Status LeaderLease::run(std::stop_token stop, const std::function<void()>& on_started) {
  std::mutex mutex;
  std::condition_variable_any wake;
  bool started = false;
  while (!stop.stop_requested()) {
    const int64_t now_ms = steady_now_ms();
    Status status = step(now_ms, wall_now_ms());
    const bool leading = held(steady_now_ms());
    if (started && !leading) {
      return Status(Code::kAborted,
                    "leader lease lost, holder is now '" + observed_holder_ + "' (" + status.to_string() + ")");
    }
    if (!started && leading) {
      started = true;
      on_started();
    }
    std::unique_lock lock(mutex);
    wake.wait_for(lock, stop, options_.retry_period, [] { return false; });
  }
  return started ? release(wall_now_ms()) : Status();
}

}  // namespace fairlead::kube
