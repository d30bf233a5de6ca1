#include "operator/main/operator.h"

#include <chrono>

#include "operator/main/log.h"
#include "operator/main/objects.h"

namespace fairlead::ops {

Operator::Operator(kube::Api& api, Reconciler& reconciler, Metrics& metrics, Options options)
    : api_(api), reconciler_(reconciler), metrics_(metrics), options_(std::move(options)), queue_({}, 1) {}

Operator::~Operator() { stop(); }

void Operator::add_informer(const kube::Gvr& gvr, const std::string& selector) {
  kube::InformerOptions options;
  options.ns = options_.ns;
  options.label_selector = selector;
  options.seed = informers_.size() + 1;
  informers_.push_back(std::make_unique<kube::Informer>(
      api_, gvr, options, [this](const auto& before, const auto& after) { return wake(after ? after : before); }));
}

void Operator::start() {
  // What is read here decides only when to look. Pods carry most of the news; members are asked by
  // time.
  add_informer(gvr::kClusters, "");
  add_informer(gvr::kMembers, "");
  add_informer(kube::gvr::kPods, kLabelCluster);
  add_informer(kube::gvr::kPersistentVolumeClaims, kLabelCluster);
  for (const auto& informer : informers_) informer->start();
  for (int i = 0; i < options_.workers; ++i) {
    busy_since_.push_back(std::make_unique<std::atomic<int64_t>>(0));
    workers_.emplace_back([this, busy = busy_since_.back().get()](std::stop_token stop) { work(stop, busy); });
  }
}

void Operator::stop() {
  for (const auto& informer : informers_) informer->stop();
  for (std::jthread& worker : workers_) worker.request_stop();
  workers_.clear();  // joins
}

bool Operator::synced() const {
  for (const auto& informer : informers_) {
    if (!informer->synced()) return false;
  }
  return !informers_.empty();
}

std::string Operator::unhealthy() const {
  const int64_t now = kube::steady_now_ms();
  for (const auto& busy : busy_since_) {
    const int64_t since = busy->load(std::memory_order_relaxed);
    if (since != 0 && now - since > kRoundStuckMs) return "a round has been running for over two minutes";
  }
  return "";
}

// The key of the cluster that an object belongs to: its label, or itself.
bool Operator::wake(const std::shared_ptr<const kube::Json>& object) {
  const auto labels = kube::labels_of(*object);
  const auto label = labels.find(kLabelCluster);
  if (kube::string_at(*object, {"kind"}) == crd::kClusterKind) return queue_.add(kube::key_of(*object).to_string());
  if (label == labels.end()) return true;
  return queue_.add(kube::ObjectKey{kube::namespace_of(*object), label->second}.to_string());
}

void Operator::work(std::stop_token stop, std::atomic<int64_t>* busy_since) {
  while (const std::optional<std::string> key = queue_.get(stop)) {
    busy_since->store(kube::steady_now_ms(), std::memory_order_relaxed);
    round(*key);
    busy_since->store(0, std::memory_order_relaxed);
    queue_.done(*key);
  }
}

void Operator::round(const std::string& key) {
  const int64_t begin = kube::steady_now_ms();
  const Outcome outcome = reconciler_.reconcile(kube::ObjectKey::parse(key));
  const int64_t now = kube::steady_now_ms();
  metrics_.reconciled(outcome, static_cast<double>(now - begin) / 1000);
  if (!outcome.status.is_ok()) {
    // A conflict is the ordinary way of learning that somebody else wrote; a failed action has its
    // line already.
    const bool known = outcome.status.code() == Code::kAborted || !outcome.action.empty();
    const LogLevel level = known ? LogLevel::kDebug : LogLevel::kWarn;
    log_line(level, "round failed", {{"cluster", key}, {"error", outcome.status.to_string()}});
    queue_.add_retry(key, now);
    return;
  }
  if (outcome.again_in_ms != 0 || !outcome.acted) queue_.forget(key);
  if (outcome.again_in_ms >= 0) queue_.add_at(key, now + outcome.again_in_ms);
}

}  // namespace fairlead::ops
