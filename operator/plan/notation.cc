#include "operator/plan/notation.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "operator/plan/plan.h"

namespace fairlead::plan {
namespace {

constexpr TimeMs kNow = 1'000'000'000;

// The words of a line: "key=value" or a bare word. take() removes what it finds, so that what is
// left over is an error.
struct Words {
  std::vector<std::string> words;

  std::string take_first() {
    if (words.empty()) return "";
    std::string first = words.front();
    words.erase(words.begin());
    return first;
  }
  bool take(const std::string& word) {
    const auto it = std::find(words.begin(), words.end(), word);
    if (it == words.end()) return false;
    words.erase(it);
    return true;
  }
  std::string value(const std::string& key, std::string otherwise) {
    for (auto it = words.begin(); it != words.end(); ++it) {
      if (it->rfind(key + "=", 0) != 0) continue;
      otherwise = it->substr(key.size() + 1);
      words.erase(it);
      break;
    }
    return otherwise;
  }
  int64_t number(const std::string& key, int64_t otherwise) {
    return std::atoll(value(key, std::to_string(otherwise)).c_str());
  }
};

// "demo-a" -> "a": what uids are made from by default.
std::string letter(const std::string& name) {
  const size_t dash = name.rfind('-');
  return dash == std::string::npos ? name : name.substr(dash + 1);
}

template <typename T>
T& slot(std::vector<T>& all, const std::string& name) {
  for (T& one : all) {
    if (one.name == name) return one = T{}, one;
  }
  return all.emplace_back();
}
template <typename T>
void drop(std::vector<T>& all, const std::string& name) {
  all.erase(std::remove_if(all.begin(), all.end(), [&](const T& one) { return one.name == name; }), all.end());
}

void cluster_line(Words& w, Observed* o) {
  Cluster& c = o->cluster;
  const Intent intent = c.intent;
  c = Cluster{};
  c.intent = intent;
  c.name_space = "ns";
  c.name = w.take_first();
  c.uid = w.value("uid", "C");
  c.resource_version = "1";
  c.generation = w.number("gen", 1);
  c.terminating = w.take("terminating");
  c.has_finalizer = !w.take("nofinalizer");
  c.reclaim = w.value("reclaim", "Delete") == "Retain" ? Reclaim::kRetain : Reclaim::kDelete;
  c.spec.replicas = static_cast<int>(w.number("replicas", 3));
  c.spec.image = w.value("image", "v1");
  c.spec.storage_size_bytes = w.number("size", 1);
  c.spec.storage_class = w.value("class", "");
  c.spec.resources = w.value("resources", "");
  c.spec.fix_permissions = w.take("fix");
}

void intent_line(Words& w, Observed* o) {
  Intent& intent = o->cluster.intent;
  intent = Intent{};
  if (w.take("none")) return;
  intent.recorded = true;
  intent.token = o->cluster.name + "-" + o->cluster.uid;
  intent.target = o->cluster.spec;
  intent.target.image = w.value("image", o->cluster.spec.image);
  intent.target.replicas = static_cast<int>(w.number("replicas", o->cluster.spec.replicas));
  intent.cluster_id = ClusterId(static_cast<uint64_t>(w.number("id", 0)));
  while (!w.words.empty()) {
    std::istringstream parts(w.take_first());
    IntentMember m;
    std::string id;
    std::getline(parts, m.name, ':');
    std::getline(parts, m.member_uid, ':');
    std::getline(parts, m.volume_uid, ':');
    std::getline(parts, id, ':');
    m.member_id = MemberId(static_cast<uint64_t>(std::atoll(id.c_str())));
    intent.members.push_back(std::move(m));
  }
}

void member_line(Words& w, Observed* o) {
  const std::string name = w.take_first();
  if (w.take("gone")) return drop(o->members, name);
  Member& m = slot(o->members, name);
  m.name = name;
  m.uid = w.value("uid", "M" + letter(name));
  m.resource_version = "1";
  m.owner_uid = w.value("owner", o->cluster.uid);
  m.terminating = w.take("terminating");
  m.has_finalizer = !w.take("nofinalizer");
}

void volume_line(Words& w, Observed* o) {
  const std::string member = w.take_first();
  if (w.take("gone")) return drop(o->volumes, volume_name(member));
  Volume& v = slot(o->volumes, volume_name(member));
  v.name = volume_name(member);
  v.uid = w.value("uid", "V" + letter(member));
  v.resource_version = "1";
  v.member_uid = w.value("of", "M" + letter(member));
  v.cluster_uid = w.value("in", o->cluster.uid);
  v.terminating = w.take("terminating");
  const std::string phase = w.value("phase", "Bound");
  v.phase = phase == "Lost" ? VolumePhase::kLost : phase == "Pending" ? VolumePhase::kPending : VolumePhase::kBound;
}

void pod_line(Words& w, Observed* o) {
  const std::string name = w.take_first();
  if (w.take("gone")) return drop(o->pods, name);
  Pod& p = slot(o->pods, name);
  p.name = name;
  p.uid = w.value("uid", "P" + letter(name));
  p.resource_version = "1";
  p.owner_uid = w.value("of", "M" + letter(name));
  p.terminating = w.take("terminating");
  p.phase = w.take("Pending")     ? PodPhase::kPending
            : w.take("Failed")    ? PodPhase::kFailed
            : w.take("Succeeded") ? PodPhase::kSucceeded
                                  : PodPhase::kRunning;
  w.take("Running");
  p.ready = w.take("ready");
  Target target = o->cluster.intent.recorded ? o->cluster.intent.target : o->cluster.spec;
  target.image = w.value("image", target.image);
  p.template_id = template_id(target);
  p.problem = w.value("problem", "");
  p.created_ms = o->now_ms - w.number("age", 60) * 1000;
}

Status service_line(Words& w, Observed* o) {
  const std::string which = w.take_first();
  if (which != "peer" && which != "client") return invalid_argument("service peer or client");
  std::optional<Service>& service = which == "peer" ? o->peer_service : o->client_service;
  service.reset();
  if (w.take("gone")) return {};
  service.emplace();
  service->uid = which == "peer" ? "Speer" : "Sclient";
  service->resource_version = "1";
  service->owner_uid = w.value("owner", o->cluster.uid);
  service->terminating = w.take("terminating");
  service->as_wanted = !w.take("drift");
  return {};
}

void budget_line(Words& w, Observed* o) {
  o->budget.reset();
  if (w.take("gone")) return;
  o->budget.emplace();
  o->budget->uid = "B";
  o->budget->resource_version = "1";
  o->budget->owner_uid = w.value("owner", o->cluster.uid);
  o->budget->terminating = w.take("terminating");
  o->budget->as_wanted = !w.take("drift");
  o->budget->min_available = static_cast<int>(w.number("min", 2));
}

void endpoint_line(Words& w, Observed* o) {
  const std::string name = w.take_first();
  if (w.take("gone")) return drop(o->endpoints, name);
  Endpoint& e = slot(o->endpoints, name);
  e.name = name;
  const int64_t silent = w.number("silent", -1);
  if (silent >= 0) {
    e.unknown_since_ms = o->now_ms - silent * 1000;
    e.error = w.value("error", "refused");
    return;
  }
  e.answered = true;
  e.member_id = MemberId(static_cast<uint64_t>(w.number("id", 0)));
  e.cluster_id = ClusterId(static_cast<uint64_t>(w.number("cluster", 7)));
  e.leader_id = MemberId(static_cast<uint64_t>(w.number("leader", 0)));
  e.term = Term(2);
  e.learner = w.take("learner");
  e.version = w.value("version", "3.7.1");
  e.db_size_bytes = w.number("db", 20480);
}

// Who lists members takes writes, unless a line "writes failed" behind it says otherwise.
void list_line(Words& w, Observed* o) {
  o->member_list = MemberList{};
  o->write_probe = WriteProbe{};
  if (w.take("none")) return;
  o->member_list.asked = o->write_probe.asked = true;
  if (w.take("failed")) {
    o->member_list.error = o->write_probe.error = "deadline";
    return;
  }
  o->write_probe.answered = true;
  o->member_list.answered = true;
  while (!w.words.empty()) {
    const std::string word = w.take_first();
    const size_t equals = word.find('=');
    ListedMember m;
    m.name = word.substr(0, equals);
    m.id = MemberId(static_cast<uint64_t>(std::atoll(word.substr(equals + 1).c_str())));
    m.learner = word.back() == '?';
    o->member_list.members.push_back(std::move(m));
  }
}

std::string rules_text(const std::vector<int>& rules) {
  std::string text = "rules";
  for (const int rule : rules) text += " " + std::to_string(rule);
  return text;
}

std::string intent_text(const Intent& intent) {
  std::string text = "intent";
  for (const IntentMember& m : intent.members) {
    text += " " + m.name;
    if (m.granted()) text += ":" + m.member_uid + ":" + m.volume_uid;
    if (m.member_id) text += ":" + std::to_string(m.member_id.value);
  }
  text += " image=" + intent.target.image + " replicas=" + std::to_string(intent.target.replicas) +
          " token=" + intent.token;
  if (intent.cluster_id) text += " id=" + std::to_string(intent.cluster_id.value);
  return text;
}

std::string action_text(const Action& a) {
  std::string text = std::string(action_name(a.kind)) + " " + a.name;
  if (!a.uid.empty()) text += " uid=" + a.uid;
  if (a.kind == ActionKind::kCreatePod) {
    text += std::string(" state=") + (a.state == StartState::kNew ? "new" : "existing") + " volume=" + a.volume_uid;
  }
  if (a.kind == ActionKind::kApplyBudget) text += " min=" + std::to_string(a.min_available);
  text += "\n  " + a.reason + ": " + a.text + "\n  " + rules_text(a.rules) + "\n";
  if (a.intent.recorded) text += "  " + intent_text(a.intent) + "\n";
  return text;
}

}  // namespace

Observed empty_observed() {
  Observed o;
  o.now_ms = kNow;
  o.random_suffixes = {"a", "b", "c", "d", "e", "f", "g", "h"};
  return o;
}

Observed formed_observed(int members) {
  Observed o = empty_observed();
  const std::string names[] = {"demo-a", "demo-b", "demo-c", "demo-d", "demo-e"};
  const auto run = [&o](const std::string& line) { CHECK(apply_line(line, &o).is_ok(), "a line of our own"); };
  run("cluster demo replicas=" + std::to_string(members));
  std::string intent = "intent id=7", list = "list";
  for (int i = 0; i < members; ++i) {
    const std::string x = letter(names[i]), id = std::to_string(i + 1);
    intent += " " + names[i] + ":M" + x + ":V" + x + ":" + id;
    list += " " + names[i] + "=" + id;
  }
  run(intent);
  run(list);
  for (int i = 0; i < members; ++i) {
    run("member " + names[i]);
    run("volume " + names[i]);
    run("pod " + names[i] + " Running ready");
    run("endpoint " + names[i] + " leader=1 id=" + std::to_string(i + 1));
  }
  run("service peer");
  run("service client");
  run("budget min=" + std::to_string(quorum(members)));
  return o;
}

Status apply_line(const std::string& line, Observed* o) {
  Words w;
  std::istringstream stream(line);
  for (std::string word; stream >> word;) w.words.push_back(word);
  const std::string verb = w.take_first();
  if (verb == "reset") {
    *o = empty_observed();
  } else if (verb == "formed") {
    *o = formed_observed(std::atoi(w.take_first().c_str()));
  } else if (verb == "cluster") {
    cluster_line(w, o);
  } else if (verb == "intent") {
    intent_line(w, o);
  } else if (verb == "member") {
    member_line(w, o);
  } else if (verb == "volume") {
    volume_line(w, o);
  } else if (verb == "pod") {
    pod_line(w, o);
  } else if (verb == "service") {
    RETURN_IF_ERROR(service_line(w, o));
  } else if (verb == "budget") {
    budget_line(w, o);
  } else if (verb == "endpoint") {
    endpoint_line(w, o);
  } else if (verb == "list") {
    list_line(w, o);
  } else if (verb == "writes") {  // "writes failed": members are listed, and no write comes through
    o->write_probe.answered = !w.take("failed");
    o->write_probe.error = o->write_probe.answered ? "" : "deadline";
  } else {
    return invalid_argument("unknown word \"" + verb + "\" in: " + line);
  }
  if (!w.words.empty()) return invalid_argument("unknown word \"" + w.words[0] + "\" in: " + line);
  return {};
}

std::string to_text(const Decision& d, TimeMs now_ms) {
  std::string text;
  if (d.action) {
    text += action_text(*d.action);
  } else {
    text += "nothing: " + d.why + "\n";
    if (!d.rules.empty()) text += "  " + rules_text(d.rules) + "\n";
    if (d.wake_at_ms != 0) text += "  wake in " + std::to_string((d.wake_at_ms - now_ms) / 1000) + " s\n";
  }
  const Report& r = d.report;
  text += "status replicas=" + std::to_string(r.replicas) + " ready=" + std::to_string(r.ready_replicas) +
          " voters=" + std::to_string(r.voters) + " leader=" + (r.leader.empty() ? "-" : r.leader) +
          " version=" + (r.version.empty() ? "-" : r.version) + "\n";
  for (const Condition& c : r.conditions) {
    text += "  " + c.type + "=" + std::string(truth_name(c.status)) + " " + c.reason;
    if (c.type == "Ready" || c.type == "SpecAccepted") text += ": " + c.message;
    text += "\n";
  }
  for (const MemberReport& m : r.members) text += "  " + m.name + ": " + m.reason + "\n";
  return text;
}

}  // namespace fairlead::plan
