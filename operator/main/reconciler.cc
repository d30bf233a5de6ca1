#include "operator/main/reconciler.h"

#include "operator/main/convert.h"
#include "operator/main/execute.h"
#include "operator/main/log.h"
#include "operator/main/objects.h"
#include "operator/plan/plan.h"

namespace fairlead::ops {
namespace {

using kube::Json;
using plan::ActionKind;

bool is_record(ActionKind kind) { return kind <= ActionKind::kRecordClusterId; }

std::string rules_text(const std::vector<int>& rules) {
  std::string text;
  for (const int rule : rules) text += (text.empty() ? "" : ",") + std::to_string(rule);
  return text;
}

// Equal but for sizes, which move with every write of a client.
bool equal_but_sizes(Json a, Json b) {
  for (Json* s : {&a, &b}) s->erase("dbSize");
  return a == b;
}

const crd::Condition* find(const crd::ClusterStatus& status, std::string_view type) {
  for (const crd::Condition& c : status.conditions) {
    if (c.type == type) return &c;
  }
  return nullptr;
}

// Refused by the API server: repeating cannot help until somebody changes something (a quota, a
// policy, a permission).
bool is_refusal(const Status& status) {
  return status.code() == Code::kInvalidArgument || status.code() == Code::kPermissionDenied;
}

// An action that did not happen is not a plan that works out: the user is told the error.
void say_failed(const Status& status, plan::Decision* decision) {
  if (status.code() == Code::kAborted || status.code() == Code::kAlreadyExists) return;  // seen anew in the next round
  const std::string text = std::string(plan::action_name(decision->action->kind)) + " " + decision->action->name +
                           " failed: " + std::string(status.message());
  decision->why = text;
  for (plan::Condition& c : decision->report.conditions) {
    if (c.type == "Reconciling") c = {c.type, plan::Truth::kTrue, "ActionFailed", text};
    if (c.type == "Stalled" && is_refusal(status)) c = {c.type, plan::Truth::kTrue, "ActionRefused", text};
    if (c.type == "Degraded" && is_refusal(status)) c = {c.type, plan::Truth::kTrue, "ActionRefused", text};
  }
}

// The intent as it is after a record was written; before, and for other actions, the one that is
// there.
const plan::Intent& intent_after(const View& view, const plan::Decision& decision) {
  if (decision.action && is_record(decision.action->kind)) return decision.action->intent;
  return view.observed.cluster.intent;
}

}  // namespace

Reconciler::Reconciler(kube::Api& api, member::Prober& prober, kube::EventRecorder& events, Options options)
    : api_(api), prober_(prober), events_(events), options_(std::move(options)) {}

Outcome Reconciler::reconcile(const kube::ObjectKey& key) {
  Memory memory;
  {
    std::lock_guard lock(mutex_);
    if (const auto it = memory_.find(key); it != memory_.end()) memory = it->second;
  }
  Outcome outcome = round(key, &memory);
  std::lock_guard lock(mutex_);
  if (outcome.again_in_ms < 0) {
    memory_.erase(key);
  } else {
    memory_[key] = std::move(memory);
  }
  return outcome;
}

std::map<kube::ObjectKey, ClusterFacts> Reconciler::facts() const {
  std::lock_guard lock(mutex_);
  std::map<kube::ObjectKey, ClusterFacts> all;
  for (const auto& [key, memory] : memory_) all.emplace(key, memory.facts);
  return all;
}

Outcome Reconciler::round(const kube::ObjectKey& key, Memory* memory) {
  std::vector<std::string> suffixes;
  for (int i = 0; i < kSuffixesPerRound; ++i) suffixes.push_back(options_.random_suffix());
  Result<View> observed = observe(api_, prober_, key, options_.now_ms(), std::move(suffixes));
  if (observed.code() == Code::kNotFound) {
    if (!memory->cluster_uid.empty()) prober_.forget(memory->cluster_uid);
    return {Status(), -1, false, ""};
  }
  if (!observed.is_ok()) return {observed.status(), 0, false, ""};
  const View& view = *observed;
  memory->cluster_uid = view.parsed.meta.uid;

  const plan::Decision decision = plan::plan(view.observed);
  crd::ClusterStatus status =
      make_status(decision.report, intent_after(view, decision), decision, view.parsed, view.observed.now_ms);
  Json cluster = view.cluster;
  Outcome outcome = act(view, decision, memory, &cluster, &status);
  const bool released = outcome.acted && decision.action->kind == ActionKind::kReleaseCluster;
  if (released) return outcome;
  // The report is written even when the action failed (rule 14); its error matters less than the
  // action's.
  const Status reported = report(view, cluster, status, decision, memory);
  if (outcome.status.is_ok() && !reported.is_ok()) outcome.status = reported;
  return outcome;
}

Outcome Reconciler::act(const View& view, const plan::Decision& decision, Memory* memory, Json* cluster,
                        crd::ClusterStatus* status) {
  const std::string name = view.parsed.meta.name_space + "/" + view.parsed.meta.name;
  if (!decision.action) {
    memory->last_action.clear();
    const plan::Condition& ready = decision.report.conditions[0];
    int64_t again = ready.status == plan::Truth::kTrue ? kSettledPeriodMs : kUnsettledPeriodMs;
    if (decision.wake_at_ms != 0)
      again = std::min(again, std::max<int64_t>(1, decision.wake_at_ms - view.observed.now_ms));
    return {Status(), again, false, ""};
  }
  const plan::Action& action = *decision.action;
  const std::string action_name(plan::action_name(action.kind));
  const Result<Json> done = execute(api_, view, action, crd::to_json(*status));
  if (!done.is_ok()) {
    log_warn(
        "action failed",
        {{"cluster", name}, {"action", action_name}, {"object", action.name}, {"error", done.status().to_string()}});
    plan::Decision failed = decision;
    say_failed(done.status(), &failed);
    // Made anew from the intent that is there: what was not recorded must not be claimed.
    *status = make_status(failed.report, view.observed.cluster.intent, failed, view.parsed, view.observed.now_ms);
    return {done.status(), 0, false, action_name};
  }
  if (!done->is_null()) *cluster = *done;
  log_info(action.text, {{"cluster", name},
                         {"action", action_name},
                         {"object", action.name},
                         {"reason", action.reason},
                         {"rules", rules_text(action.rules)}});
  events_.emit(*cluster, kube::EventType::kNormal, action.reason, action.name + ": " + action.text, options_.now_ms());
  // The same write twice in a row on the same object did not have its effect: do not do it at full
  // speed.
  const std::string signature = action_name + "/" + action.name + "/" + action.uid;
  const bool repeated = memory->last_action == signature;
  memory->last_action = signature;
  return {Status(), repeated ? kUnsettledPeriodMs : 0, true, action_name};
}

Status Reconciler::report(const View& view, const Json& cluster, const crd::ClusterStatus& status,
                          const plan::Decision& decision, Memory* memory) {
  memory->facts.members = static_cast<int>(status.members.size());
  memory->facts.members_healthy = status.ready_replicas;
  memory->facts.conditions.clear();
  for (const crd::Condition& c : status.conditions) memory->facts.conditions[c.type] = c.status;

  const Json after = crd::to_json(status);
  const Json& live = kube::at(cluster, {"status"});
  const bool refresh = view.observed.now_ms - memory->size_written_ms >= kSizeRefreshPeriodMs;
  if (live != after && (refresh || !equal_but_sizes(live.is_object() ? live : Json::object(), after))) {
    RETURN_IF_ERROR(write_status(api_, gvr::kClusters, cluster, after).status());
    memory->size_written_ms = view.observed.now_ms;
  }
  tell_transitions(cluster, view.parsed.status, status);
  return report_members(view, decision, memory);
}

Status Reconciler::report_members(const View& view, const plan::Decision& decision, Memory* memory) {
  for (const plan::MemberReport& m : decision.report.members) {
    const auto it = view.members.find(m.name);
    if (it == view.members.end()) continue;
    ASSIGN_OR_RETURN(const crd::Member previous, crd::parse_member(it->second));
    if (previous.meta.owner_uid != view.parsed.meta.uid) continue;
    const Json after = crd::to_json(make_member_status(m, previous, view.observed.now_ms));
    const Json& live = kube::at(it->second, {"status"});
    int64_t& written_ms = memory->member_size_written_ms[m.name];
    const bool refresh = view.observed.now_ms - written_ms >= kSizeRefreshPeriodMs;
    if (live == after || (!refresh && equal_but_sizes(live.is_object() ? live : Json::object(), after))) continue;
    const Result<Json> written = write_status(api_, gvr::kMembers, it->second, after);
    // This round may have released or deleted it; the next one sees what is there.
    if (written.code() == Code::kNotFound || written.code() == Code::kAborted) continue;
    RETURN_IF_ERROR(written.status());
    written_ms = view.observed.now_ms;
  }
  return {};
}

// Events for what a person should know about; each change once.
void Reconciler::tell_transitions(const Json& cluster, const crd::ClusterStatus& before,
                                  const crd::ClusterStatus& after) {
  struct Watched {
    const char* type;
    const char* bad;
  };
  static constexpr Watched kWatched[] = {{"Ready", ""},
                                         {"Available", "False"},
                                         {"Degraded", "True"},
                                         {"ClusterIDConsistent", "False"},
                                         {"SpecAccepted", "False"}};
  for (const Watched& w : kWatched) {
    const crd::Condition* now = find(after, w.type);
    const crd::Condition* then = find(before, w.type);
    if (now == nullptr) continue;
    const bool changed = then == nullptr || then->status != now->status || then->reason != now->reason;
    if (!changed) continue;
    // While a cluster forms, nothing answers yet: no news.
    const bool expected = after.cluster_id.empty() && std::string_view(w.type) == "Available";
    if (now->status == w.bad && !expected) {
      events_.emit(cluster, kube::EventType::kWarning, now->reason, now->message, options_.now_ms());
    } else if (std::string_view(w.type) == "Ready" && now->status == "True") {
      events_.emit(cluster, kube::EventType::kNormal, "Ready", now->message, options_.now_ms());
    }
  }
}

}  // namespace fairlead::ops
