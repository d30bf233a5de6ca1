// What the user is told. Everything here follows from this round's observations; nothing is carried
// over, so a status can be wrong only as long as one round takes (rules 13, 14).
#include <algorithm>

#include "operator/plan/view.h"

namespace fairlead::plan {
namespace {

template <typename T>
const T* find_by_name(const std::vector<T>& all, const std::string& name) {
  for (const T& one : all) {
    if (one.name == name) return &one;
  }
  return nullptr;
}

constexpr const char* kUnexpected = "the cluster's own member list differs from the members that the operator started";

// In coarse steps: a text that changes every second would be a write every second.
std::string how_long(TimeMs now, TimeMs then) {
  struct Step {
    TimeMs ms;
    const char* text;
  };
  static constexpr Step kSteps[] = {{3'600'000, " for over an hour"},
                                    {300'000, " for over 5 minutes"},
                                    {60'000, " for over a minute"},
                                    {10'000, " for over 10 seconds"}};
  for (const Step& step : kSteps) {
    if (now - then >= step.ms) return step.text;
  }
  return "";
}

// Compares runs of digits as numbers, so that 3.9 comes before 3.10.
bool version_less(const std::string& a, const std::string& b) {
  const auto numbers = [](const std::string& text) {
    std::vector<long> parts = {0};
    for (const char c : text) {
      if (c == '.') {
        parts.push_back(0);
      } else if (c >= '0' && c <= '9') {
        parts.back() = parts.back() * 10 + (c - '0');
      } else {
        break;
      }
    }
    return parts;
  };
  return numbers(a) < numbers(b);
}

// How many voters answered with a leader, and of how many we cannot tell.
struct Census {
  int voters = 0;
  int answering = 0;
  int unknown = 0;
  int healthy = 0;  // answering, and their pod is ready

  int needed() const { return quorum(voters); }
};

class Reporter {
 public:
  Reporter(const Observed& o, const Decision& d, const std::vector<Block>& blocks)
      : o_(o), c_(o.cluster), d_(d), blocks_(blocks), gaps_(spec_gaps(o)) {}

  Report make() {
    r_.observed_generation = c_.generation;
    for (const IntentMember& m : c_.intent.members) r_.members.push_back(member(m));
    summary();
    for (const std::string_view type : kConditionTypes) r_.conditions.push_back(condition(type));
    return std::move(r_);
  }

 private:
  bool formed() const { return static_cast<bool>(c_.intent.cluster_id); }

  const Block* block_of(const std::string& member) const {
    for (const Block& b : blocks_) {
      if (b.member == member) return &b;
    }
    return nullptr;
  }
  const Block* first_stalled() const {
    const Block* first = nullptr;
    for (const Block& b : blocks_) {
      if (!b.stalled) continue;
      if (b.reason == "VolumeLost") return &b;  // data first
      if (first == nullptr) first = &b;
    }
    return first;
  }

  // ---- members ----

  MemberReport member(const IntentMember& m) const {
    MemberReport r;
    r.name = m.name;
    r.id = m.member_id;
    r.volume_uid = m.volume_uid;
    const Pod* pod = find_pod(o_, m.name);
    if (pod != nullptr && pod->owner_uid != m.member_uid) pod = nullptr;  // not its own
    if (pod != nullptr) r.pod_uid = pod->uid;
    const Endpoint* e = find_endpoint(o_, m.name);
    if (pod != nullptr && e != nullptr && e->answered) {
      r.version = e->version;
      r.db_size_bytes = e->db_size_bytes;
      r.learner = e->learner;
      r.leader = e->leader_id && e->leader_id == e->member_id;
    }
    judge(m, pod, e, &r);
    // A lost volume is said even while the pod that still holds it open serves.
    if (const Block* b = block_of(m.name); b != nullptr) {
      r.reason = b->reason;
      r.message = b->text;
    }
    return r;
  }

  void judge(const IntentMember& m, const Pod* pod, const Endpoint* e, MemberReport* r) const {
    const auto say = [r](const char* reason, std::string message) {
      r->reason = reason;
      r->message = std::move(message);
    };
    if (pod == nullptr) return say("PodMissing", m.granted() ? "it has no pod" : "not started yet");
    if (pod->terminating) return say("PodTerminating", "its pod is ending");
    if (pod->phase == PodPhase::kFailed || pod->phase == PodPhase::kSucceeded)
      return say("PodFailed", "its pod has ended");
    if (pod->phase != PodPhase::kRunning) {
      return say("PodStarting",
                 pod->problem.empty() ? "its pod is starting" : "its pod does not start: " + pod->problem);
    }
    if (e == nullptr) return say("NotProbed", "its pod has no address yet");
    if (!e->answered) {
      return say("Unreachable", "no answer" + how_long(o_.now_ms, e->unknown_since_ms) + ": " + e->error +
                                    (pod->problem.empty() ? "" : " (" + pod->problem + ")"));
    }
    if (formed() && e->cluster_id != c_.intent.cluster_id)
      return say("ClusterIDMismatch", "it reports another cluster ID");
    if (m.member_id && e->member_id != m.member_id) return say("MemberIDMismatch", "it reports another member ID");
    if (!e->leader_id) return say("NoLeader", "it knows no leader");
    if (!pod->ready)
      return say("NotReady", pod->problem.empty() ? "it answers, but its readiness probe fails" : pod->problem);
    r->healthy = true;
    say("Healthy", e->learner ? "it answers (learner)" : "it answers and knows the leader");
  }

  void summary() {
    const auto owned = [this](const Pod& p) {
      return !p.terminating &&
             std::any_of(c_.intent.members.begin(), c_.intent.members.end(),
                         [&](const IntentMember& m) { return m.name == p.name && m.member_uid == p.owner_uid; });
    };
    r_.replicas = static_cast<int>(std::count_if(o_.pods.begin(), o_.pods.end(), owned));
    r_.voters = live_voters(o_) != 0 ? live_voters(o_) : static_cast<int>(c_.intent.members.size());
    census_.voters = r_.voters;
    for (size_t i = 0; i < r_.members.size(); ++i) {
      const MemberReport& m = r_.members[i];
      r_.db_size_bytes = std::max(r_.db_size_bytes, m.db_size_bytes);
      if (!m.version.empty() && (r_.version.empty() || version_less(m.version, r_.version))) r_.version = m.version;
      if (m.healthy) ++r_.ready_replicas;
      if (m.healthy && !m.learner) ++census_.healthy;
      count(c_.intent.members[i], m);
    }
    r_.leader = leader();
  }

  void count(const IntentMember& m, const MemberReport& r) {
    const Endpoint* e = find_endpoint(o_, m.name);
    const Pod* pod = find_pod(o_, m.name);
    if (r.pod_uid.empty()) return;
    if (e != nullptr && e->answered) {
      const bool ours = !formed() || e->cluster_id == c_.intent.cluster_id;
      if (ours && e->leader_id && !e->learner) ++census_.answering;
    } else if (pod->phase == PodPhase::kRunning || pod->phase == PodPhase::kUnknown) {
      ++census_.unknown;  // its silence may be ours
    }
  }

  // The member that a quorum of answers calls leader; a lone claim is not enough.
  std::string leader() const {
    for (const IntentMember& candidate : c_.intent.members) {
      int votes = 0;
      for (const Endpoint& e : o_.endpoints) {
        if (e.answered && e.leader_id && e.leader_id == candidate.member_id) ++votes;
      }
      if (candidate.member_id && votes >= census_.needed()) return candidate.name;
    }
    return "";
  }

  // ---- conditions ----

  static Condition say(std::string_view type, Truth truth, std::string reason, std::string message) {
    return Condition{std::string(type), truth, std::move(reason), std::move(message)};
  }

  Condition condition(std::string_view type) const {
    if (type == "Available") return available(type);
    if (type == "QuorumHealthy") return quorum_healthy(type);
    if (type == "FaultTolerant") return fault_tolerant(type);
    if (type == "ClusterIDConsistent") return cluster_id(type);
    if (type == "Reconciling") return reconciling(type);
    if (type == "Degraded") return degraded(type);
    if (type == "Stalled") return stalled(type);
    if (type == "SpecAccepted") return spec_accepted(type);
    return ready(type);
  }

  std::string counted() const {
    std::string text = std::to_string(census_.answering) + " of " + std::to_string(census_.voters) +
                       " voters answer and know a leader, " + std::to_string(census_.needed()) + " needed";
    if (census_.unknown != 0) text += "; " + std::to_string(census_.unknown) + " running without an answer";
    return text;
  }

  Condition available(std::string_view type) const {
    // A proposal that was committed proves more than a read: the leader's disk and a quorum take writes now.
    if (o_.write_probe.answered) {
      return say(type, Truth::kTrue, "WriteCommitted", "a probe write was committed in this round");
    }
    if (!c_.intent.recorded || r_.replicas == 0) return say(type, Truth::kFalse, "NoMembers", "no member runs");
    if (!o_.write_probe.asked) {
      if (census_.unknown == 0) return say(type, Truth::kFalse, "NoMembers", "no member runs yet");
      return say(type, Truth::kUnknown, "NotProbed", "no member has an address yet");
    }
    const std::string failed = "a probe write failed: " + o_.write_probe.error;
    const bool somebody =
        std::any_of(o_.endpoints.begin(), o_.endpoints.end(), [](const Endpoint& e) { return e.answered; });
    if (somebody) return say(type, Truth::kFalse, "WriteProbeFailed", failed);
    if (census_.answering + census_.unknown < census_.needed())
      return say(type, Truth::kFalse, "QuorumLost", counted());
    return say(type, Truth::kUnknown, "Unreachable", "no member can be reached: " + o_.write_probe.error);
  }

  Condition quorum_healthy(std::string_view type) const {
    if (!c_.intent.recorded) return say(type, Truth::kFalse, "Bootstrapping", "no member was started yet");
    if (census_.answering >= census_.needed()) return say(type, Truth::kTrue, "QuorumAnswers", counted());
    if (census_.answering + census_.unknown < census_.needed()) {
      return say(type, Truth::kFalse, formed() ? "QuorumLost" : "Bootstrapping", counted());
    }
    return say(type, Truth::kUnknown, "Unreachable", counted());
  }

  Condition fault_tolerant(std::string_view type) const {
    const int spare = census_.answering - census_.needed();
    if (!c_.intent.recorded) return say(type, Truth::kFalse, "Bootstrapping", "no member was started yet");
    if (spare >= 1) {
      return say(type, Truth::kTrue, "SpareMembers", "can lose " + std::to_string(spare) + " more member(s)");
    }
    if (census_.voters < 3) return say(type, Truth::kFalse, "SingleMember", "a cluster of one survives no loss");
    if (spare + census_.unknown < 1) return say(type, Truth::kFalse, "NoSpareMember", counted());
    return say(type, Truth::kUnknown, "Unreachable", counted());
  }

  Condition cluster_id(std::string_view type) const {
    if (cluster_ids_differ(o_))
      return say(type, Truth::kFalse, "ClusterIDMismatch", "members report different cluster IDs");
    if (!formed()) return say(type, Truth::kUnknown, "Bootstrapping", "not all members have reported a cluster ID yet");
    for (const Endpoint& e : o_.endpoints) {
      if (e.answered)
        return say(type, Truth::kTrue, "OneClusterID", "all members that answer report the latched cluster ID");
    }
    return say(type, Truth::kUnknown, "Unreachable", "no member answers");
  }

  Condition reconciling(std::string_view type) const {
    if (c_.terminating) return say(type, Truth::kTrue, "Deleting", d_.why);
    if (d_.action) return say(type, Truth::kTrue, d_.action->reason, d_.action->name + ": " + d_.action->text);
    if (!formed()) return say(type, Truth::kTrue, "Bootstrapping", "waiting for members: " + unhealthy());
    if (!unhealthy().empty() && first_stalled() == nullptr) {
      return say(type, Truth::kTrue, "WaitingForMembers", unhealthy());
    }
    return say(type, Truth::kFalse, "Settled", d_.why);
  }

  std::string unhealthy() const {
    std::string text;
    for (const MemberReport& m : r_.members) {
      if (!m.healthy) text += (text.empty() ? "" : "; ") + m.name + ": " + m.message;
    }
    return text;
  }

  Condition degraded(std::string_view type) const {
    if (const Block* b = first_stalled()) return say(type, Truth::kTrue, b->reason, block_text(*b));
    if (!formed()) return say(type, Truth::kFalse, "Bootstrapping", "not formed yet");
    if (unexpected_membership()) {
      return say(type, Truth::kTrue, "MembershipUnexpected", kUnexpected);
    }
    for (const MemberReport& m : r_.members) {
      if (!m.healthy) return say(type, Truth::kTrue, "MemberNotHealthy", unhealthy());
    }
    return say(type, Truth::kFalse, "AllMembersHealthy", "every member is healthy");
  }

  // By ID, never by place or name (rule 10).
  bool unexpected_membership() const {
    if (!o_.member_list.answered) return false;
    const std::vector<ListedMember>& listed = o_.member_list.members;
    if (listed.size() != c_.intent.members.size()) return true;
    return !std::all_of(c_.intent.members.begin(), c_.intent.members.end(), [&](const IntentMember& m) {
      return std::any_of(listed.begin(), listed.end(), [&](const ListedMember& l) { return l.id == m.member_id; });
    });
  }

  static std::string block_text(const Block& b) { return (b.member.empty() ? "" : b.member + ": ") + b.text; }

  Condition stalled(std::string_view type) const {
    if (const Block* b = first_stalled()) return say(type, Truth::kTrue, b->reason, block_text(*b));
    if (!gaps_.empty()) return say(type, Truth::kTrue, gaps_[0].reason, gap_text());
    return say(type, Truth::kFalse, "NotStalled", "nothing waits for a person");
  }

  std::string gap_text() const {
    std::string text;
    for (const SpecGap& gap : gaps_) text += (text.empty() ? "" : "; ") + gap.text;
    return text;
  }

  Condition spec_accepted(std::string_view type) const {
    if (!gaps_.empty()) return say(type, Truth::kFalse, gaps_[0].reason, gap_text());
    return say(type, Truth::kTrue, "Accepted", "the members are made from this spec");
  }

  Condition ready(std::string_view type) const {
    if (c_.terminating) return say(type, Truth::kFalse, "Deleting", d_.why);
    if (const Block* b = first_stalled()) return say(type, Truth::kFalse, b->reason, block_text(*b));
    if (!formed()) {
      const bool named = c_.intent.recorded && !unhealthy().empty();
      return say(type, Truth::kFalse, "Bootstrapping", named ? unhealthy() : d_.why);
    }
    const Condition read = available("Available");
    if (read.status != Truth::kTrue) return say(type, read.status, read.reason, read.message);
    if (!unhealthy().empty()) return say(type, Truth::kFalse, "MemberNotHealthy", unhealthy());
    if (unexpected_membership()) return say(type, Truth::kFalse, "MembershipUnexpected", kUnexpected);
    if (!o_.client_service) return say(type, Truth::kFalse, "ClientServiceMissing", "clients cannot find it yet");
    const std::string healthy =
        std::to_string(r_.ready_replicas) + " of " + std::to_string(r_.voters) + " members healthy";
    // The first thing people look at says so when the cluster is not what they asked for.
    if (!gaps_.empty()) return say(type, Truth::kTrue, gaps_[0].reason, healthy + "; " + gap_text());
    return say(type, Truth::kTrue, "AllMembersHealthy", healthy);
  }

  const Observed& o_;
  const Cluster& c_;
  const Decision& d_;
  const std::vector<Block>& blocks_;
  const std::vector<SpecGap> gaps_;
  Report r_;
  Census census_;
};

}  // namespace

const Member* find_member(const Observed& o, const std::string& name) { return find_by_name(o.members, name); }
const Volume* find_volume(const Observed& o, const std::string& name) { return find_by_name(o.volumes, name); }
const Pod* find_pod(const Observed& o, const std::string& name) { return find_by_name(o.pods, name); }
const Endpoint* find_endpoint(const Observed& o, const std::string& name) { return find_by_name(o.endpoints, name); }

bool any_member_heard(const Intent& intent) {
  return std::any_of(intent.members.begin(), intent.members.end(),
                     [](const IntentMember& m) { return static_cast<bool>(m.member_id); });
}

bool image_corrected(const Observed& o) {
  const Intent& intent = o.cluster.intent;
  if (!intent.recorded || intent.cluster_id || any_member_heard(intent)) return false;
  for (const Endpoint& e : o.endpoints) {
    if (e.answered) return false;  // heard just now, written down next
  }
  return template_id(o.cluster.spec) != template_id(intent.target);
}

std::vector<SpecGap> spec_gaps(const Observed& o) {
  std::vector<SpecGap> gaps;
  const Intent& intent = o.cluster.intent;
  if (!intent.recorded) return gaps;
  const Target& spec = o.cluster.spec;
  const Target& target = intent.target;
  if (spec.replicas != target.replicas) {
    gaps.push_back({"ScalingNotSupportedYet", "spec.replicas is " + std::to_string(spec.replicas) +
                                                  ", but the cluster stays at " + std::to_string(target.replicas) +
                                                  " members"});
  }
  if (spec.storage_size_bytes != target.storage_size_bytes || spec.storage_class != target.storage_class) {
    gaps.push_back(
        {"StorageChangeNotSupportedYet", "a changed spec.storage is not acted on; volumes stay as they are"});
  }
  if (template_id(spec) != template_id(target) && !image_corrected(o)) {
    gaps.push_back({"RollingUpdateNotSupportedYet",
                    "a changed image or resources are not acted on; members keep " + target.image});
  }
  return gaps;
}

bool cluster_ids_differ(const Observed& o) {
  ClusterId known = o.cluster.intent.cluster_id;
  for (const Endpoint& e : o.endpoints) {
    if (!e.answered || !e.cluster_id) continue;
    if (known && e.cluster_id != known) return true;
    known = e.cluster_id;
  }
  return false;
}

int live_voters(const Observed& o) {
  if (!o.member_list.answered) return 0;
  return static_cast<int>(std::count_if(o.member_list.members.begin(), o.member_list.members.end(),
                                        [](const ListedMember& m) { return !m.learner; }));
}

Report make_report(const Observed& o, const Decision& decision, const std::vector<Block>& blocks) {
  return Reporter(o, decision, blocks).make();
}

}  // namespace fairlead::plan
