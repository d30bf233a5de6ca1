#include "operator/main/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace fairlead::ops {

struct Metrics::Impl {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& rounds = prometheus::BuildCounter()
                                                        .Name("fairlead_operator_reconcile_total")
                                                        .Help("Rounds of reconciliation, by result.")
                                                        .Register(registry);
  prometheus::Family<prometheus::Counter>& actions = prometheus::BuildCounter()
                                                         .Name("fairlead_operator_actions_total")
                                                         .Help("Actions tried, by kind and result.")
                                                         .Register(registry);
  prometheus::Histogram& seconds =
      prometheus::BuildHistogram()
          .Name("fairlead_operator_reconcile_duration_seconds")
          .Help("Duration of a round, reads and probes included.")
          .Register(registry)
          .Add({}, prometheus::Histogram::BucketBoundaries{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10});
  prometheus::Gauge& leader = prometheus::BuildGauge()
                                  .Name("fairlead_operator_leader")
                                  .Help("1 while this process is the one that acts.")
                                  .Register(registry)
                                  .Add({});
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

void Metrics::reconciled(const Outcome& outcome, double seconds) {
  const char* result = outcome.status.is_ok() ? "ok" : outcome.status.code() == Code::kAborted ? "conflict" : "error";
  impl_->rounds.Add({{"result", result}}).Increment();
  if (!outcome.action.empty()) impl_->actions.Add({{"action", outcome.action}, {"result", result}}).Increment();
  impl_->seconds.Observe(seconds);
}

void Metrics::set_leader(bool leader) { impl_->leader.Set(leader ? 1 : 0); }

std::string Metrics::scrape(const Sources& sources) const {
  prometheus::Registry now;  // lives for this scrape
  const auto gauge = [&now](const char* name, const char* help) -> prometheus::Family<prometheus::Gauge>& {
    return prometheus::BuildGauge().Name(name).Help(help).Register(now);
  };
  auto& clusters = gauge("fairlead_operator_clusters", "FairleadClusters known.");
  auto& members = gauge("fairlead_operator_cluster_members", "Members of a cluster, by health.");
  auto& conditions = gauge("fairlead_operator_cluster_condition", "1 for the status that a condition has.");
  gauge("fairlead_operator_queue_depth", "Clusters that wait for a round.")
      .Add({})
      .Set(static_cast<double>(sources.queue_depth()));
  gauge("fairlead_operator_event_write_failures", "Events that could not be written since the start.")
      .Add({})
      .Set(static_cast<double>(sources.event_failures()));
  const auto facts = sources.facts();
  clusters.Add({}).Set(static_cast<double>(facts.size()));
  for (const auto& [key, f] : facts) {
    const std::map<std::string, std::string> labels = {{"namespace", key.ns}, {"name", key.name}};
    const auto with = [&labels](std::map<std::string, std::string> more) {
      more.insert(labels.begin(), labels.end());
      return more;
    };
    members.Add(with({{"state", "healthy"}})).Set(f.members_healthy);
    members.Add(with({{"state", "unhealthy"}})).Set(f.members - f.members_healthy);
    for (const auto& [type, status] : f.conditions) conditions.Add(with({{"type", type}, {"status", status}})).Set(1);
  }
  std::vector<prometheus::MetricFamily> all = impl_->registry.Collect();
  for (prometheus::MetricFamily& family : now.Collect()) all.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace fairlead::ops
