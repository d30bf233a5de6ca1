#include "server/sim/model.h"

#include "base/check.h"

namespace fairlead::sim {
namespace {

bool compare_holds(const std::map<std::string, Kv>& kvs, const Compare& compare) {
  auto it = kvs.find(compare.key);
  switch (compare.target) {
    case Compare::Target::kModRevision:
      return (it == kvs.end() ? 0 : it->second.mod_revision) == compare.number;
    case Compare::Target::kVersion:
      return (it == kvs.end() ? 0 : it->second.version) == compare.number;
    case Compare::Target::kValue:
      return it != kvs.end() && it->second.value == compare.value;  // a key that is not there equals no value
  }
  return false;
}

}  // namespace

bool in_range(const std::string& key, const std::string& begin, const std::string& range_end) {
  if (range_end.empty()) return key == begin;
  if (range_end == std::string(1, '\0')) return key >= begin;
  return key >= begin && key < range_end;
}

std::string describe(const Kv& kv) {
  return kv.key + "=" + kv.value.substr(0, 24) + " create " + std::to_string(kv.create_revision) + " mod " +
         std::to_string(kv.mod_revision) + " version " + std::to_string(kv.version) + " lease " +
         std::to_string(kv.lease);
}

std::string describe(const Op& op) {
  static constexpr const char* kNames[] = {"put",     "delete", "range",  "txn",       "read-txn",
                                           "compact", "grant",  "revoke", "keep-alive"};
  static constexpr const char* kOutcomes[] = {"unknown", "ok", "failed"};
  std::string out = "#" + std::to_string(op.id) + " client " + std::to_string(op.client) + " " +
                    kNames[static_cast<int>(op.kind)] + (op.serializable ? " serializable" : "");
  for (const Compare& c : op.compares) out += " if " + c.key + "?" + std::to_string(c.number) + c.value;
  for (const SubOp& s : op.success) {
    static constexpr const char* kKinds[] = {" put ", " delete ", " get "};
    out += kKinds[static_cast<int>(s.kind)] + s.key + (s.range_end.empty() ? "" : ".." + s.range_end);
    if (s.revision != 0) out += "@" + std::to_string(s.revision);
  }
  if (op.lease != 0) out += " lease " + std::to_string(op.lease);
  if (op.number != 0) out += " number " + std::to_string(op.number);
  out += " at " + std::to_string(static_cast<double>(op.invoked) / 1e9) + ".." +
         (op.returned < 0 ? "" : std::to_string(static_cast<double>(op.returned) / 1e9)) + " " +
         kOutcomes[static_cast<int>(op.outcome)] + " revision " + std::to_string(op.revision);
  if (!op.succeeded) out += " else-branch";
  if (!op.error.empty()) out += " (" + op.error + ")";
  return out;
}

SubResult Model::range_in(const std::map<std::string, Kv>& kvs, const SubOp& op) const {
  SubResult result;
  for (auto it = kvs.lower_bound(op.key); it != kvs.end() && in_range(it->first, op.key, op.range_end); ++it) {
    ++result.count;
    if (op.limit > 0 && static_cast<int64_t>(result.kvs.size()) >= op.limit)
      result.more = true;
    else
      result.kvs.push_back(it->second);
  }
  return result;
}

std::map<std::string, Kv> Model::at(int64_t revision) const {
  std::map<std::string, Kv> out;
  for (const auto& [key, versions] : past_) {
    const std::optional<Kv>* last = nullptr;
    for (const auto& [rev, kv] : versions) {
      if (rev <= revision) last = &kv;
    }
    if (last != nullptr && last->has_value()) out[key] = **last;
  }
  return out;
}

Model::Outcome Model::preview(const Op& op) const {
  Outcome out;
  std::map<std::string, Kv> kvs = kvs_;
  int64_t revision = revision_ + 1;
  for (const Compare& compare : op.compares) out.succeeded &= compare_holds(kvs, compare);
  for (const SubOp& sub : out.succeeded ? op.success : op.failure) {
    SubResult result;
    switch (sub.kind) {
      case SubOp::Kind::kRange:
        result = range_in(sub.revision > 0 ? at(sub.revision) : kvs, sub);
        break;
      case SubOp::Kind::kPut: {
        SeenEvent event;
        auto it = kvs.find(sub.key);
        event.has_prev = it != kvs.end();
        if (event.has_prev) event.prev = it->second;
        event.kv = {sub.key,
                    sub.value,
                    event.has_prev ? event.prev.create_revision : revision,
                    revision,
                    event.has_prev ? event.prev.version + 1 : 1,
                    sub.lease};
        if (sub.prev_kv && event.has_prev) result.kvs.push_back(event.prev);
        kvs[sub.key] = event.kv;
        out.events.push_back(std::move(event));
        break;
      }
      case SubOp::Kind::kDelete: {
        for (auto it = kvs.lower_bound(sub.key); it != kvs.end() && in_range(it->first, sub.key, sub.range_end);) {
          SeenEvent event;
          event.put = false;
          event.kv.key = it->first;
          event.kv.mod_revision = revision;
          event.has_prev = true;
          event.prev = it->second;
          if (sub.prev_kv) result.kvs.push_back(it->second);
          ++result.count;
          out.events.push_back(std::move(event));
          it = kvs.erase(it);
        }
        break;
      }
    }
    out.results.push_back(std::move(result));
  }
  return out;
}

void Model::commit(const std::vector<SeenEvent>& events) {
  ++revision_;
  for (const SeenEvent& event : events) {
    CHECK(event.kv.mod_revision == revision_, "the judge's own revision");
    if (event.put)
      kvs_[event.kv.key] = event.kv;
    else
      kvs_.erase(event.kv.key);
    past_[event.kv.key].emplace_back(revision_, event.put ? std::optional<Kv>(event.kv) : std::nullopt);
  }
}

std::vector<std::string> Model::lease_keys(int64_t lease) const {
  std::vector<std::string> keys;
  for (const auto& [key, kv] : kvs_) {
    if (kv.lease == lease) keys.push_back(key);
  }
  return keys;
}

}  // namespace fairlead::sim
