#include "server/sim/checker.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <unordered_map>

#include "server/sim/model.h"

namespace fairlead::sim {
namespace {

std::string seconds(Nanos t) { return std::to_string(static_cast<double>(t) / 1e9) + "s"; }

std::string describe(const SeenEvent& e) {
  std::string out = (e.put ? "put " : "delete ") + describe(e.kv);
  if (e.has_prev) out += " [before: " + describe(e.prev) + "]";
  return out;
}

std::string describe(const std::vector<SeenEvent>& events) {
  std::string out;
  for (const SeenEvent& e : events) out += "\n    " + describe(e);
  return out.empty() ? " nothing" : out;
}

bool same_event(const SeenEvent& a, const SeenEvent& b) { return a.put == b.put && a.kv == b.kv; }

bool same_events(const std::vector<SeenEvent>& a, const std::vector<SeenEvent>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_event);
}

std::string describe(const SubResult& r) {
  std::string out = "count " + std::to_string(r.count) + (r.more ? " more" : "");
  for (const Kv& kv : r.kvs) out += "\n    " + describe(kv);
  return out;
}

// Values are "v<op id>" with padding behind a dot: each names the operation that wrote it.
uint64_t writer_of(const std::string& value) {
  return value.size() > 1 && value[0] == 'v' ? std::strtoull(value.c_str() + 1, nullptr, 10) : 0;
}

class Judge {
 public:
  explicit Judge(const History& history) : history_(history) {}

  std::string run() {
    index_ops();
    for (auto step : {&Judge::check_gaps, &Judge::check_real_time, &Judge::replay, &Judge::check_acknowledged,
                      &Judge::check_renewals, &Judge::check_watches}) {
      (this->*step)();
      if (!wrong_.empty()) return wrong_;
    }
    return "";
  }

 private:
  void wrong(std::string what) {
    if (wrong_.empty()) wrong_ = std::move(what);
  }

  void index_ops() {
    for (const auto& op : history_.ops) {
      by_id_[op->id] = op.get();
      if (!op->ok()) continue;
      if (has_effect(*op))
        acked_at_[op->revision].push_back(op.get());
      else if (op->revision > 0)
        answers_at_[op->revision].push_back(op.get());
    }
  }

  // An acknowledged operation that took a revision of its own.
  static bool has_effect(const Op& op) {
    if (!op.writes_keys()) return false;
    if (op.kind == OpKind::kLeaseRevoke) return op.number > 0;  // keys deleted
    const std::vector<SubOp>& branch = op.succeeded ? op.success : op.failure;
    for (size_t i = 0; i < branch.size(); ++i) {
      if (branch[i].kind == SubOp::Kind::kPut) return true;
      if (branch[i].kind == SubOp::Kind::kDelete && i < op.results.size() && op.results[i].count > 0) return true;
    }
    return false;
  }

  void check_gaps() {
    int64_t expected = 2;
    for (const auto& [rev, content] : history_.revisions) {
      if (rev != expected) {
        return wrong("revision " + std::to_string(expected) + " was seen by no watcher; the next one seen is " +
                     std::to_string(rev));
      }
      if (content.events.empty()) return wrong("revision " + std::to_string(rev) + " has no events");
      ++expected;
    }
    for (const auto& [rev, ops] : acked_at_) {
      if (rev >= expected || rev < 2) {
        return wrong("lost write: acknowledged at a revision that no watcher saw: " + describe(*ops[0]));
      }
      if (ops.size() > 1) {
        return wrong("two writes acknowledged at one revision:\n  " + describe(*ops[0]) + "\n  " + describe(*ops[1]));
      }
    }
    for (const auto& [rev, ops] : answers_at_) {
      if (rev >= expected) return wrong("an answer from a revision that no watcher saw: " + describe(*ops[0]));
    }
  }

  // Everything that ended before an operation began must stand before it.
  void check_real_time() {
    std::vector<const Op*> by_return, by_invoke;
    for (const auto& op : history_.ops) {
      if (!op->ok() || op->serializable || op->revision == 0) continue;
      by_return.push_back(op.get());
      by_invoke.push_back(op.get());
    }
    std::sort(by_return.begin(), by_return.end(), [](auto* a, auto* b) { return a->returned < b->returned; });
    std::sort(by_invoke.begin(), by_invoke.end(), [](auto* a, auto* b) { return a->invoked < b->invoked; });
    size_t done = 0;
    const Op* newest = nullptr;  // of those that ended
    for (const Op* op : by_invoke) {
      while (done < by_return.size() && by_return[done]->returned < op->invoked) {
        if (newest == nullptr || by_return[done]->revision > newest->revision) newest = by_return[done];
        ++done;
      }
      if (newest == nullptr) continue;
      bool fine = has_effect(*op) ? op->revision > newest->revision : op->revision >= newest->revision;
      if (!fine) {
        return wrong(std::string(has_effect(*op) ? "write out of real-time order" : "stale read") + ":\n  first  " +
                     describe(*newest) + "\n  then   " + describe(*op));
      }
    }
    for (const auto& [rev, content] : history_.revisions) note_floor(rev, content);
  }

  // The same for writes whose outcome was unknown and which watchers saw; and no effect comes before its cause.
  void note_floor(int64_t rev, const Revision& content) {
    for (const SeenEvent& event : content.events) {
      if (!event.put) continue;
      auto it = by_id_.find(writer_of(event.kv.value));
      if (it == by_id_.end()) return wrong("a value that nobody wrote: " + describe(event));
      if (it->second->invoked > content.first_seen) {
        return wrong("revision " + std::to_string(rev) + " was seen before its write began: " + describe(*it->second));
      }
    }
  }

  void replay() {
    answer_reads();
    for (const auto& [rev, content] : history_.revisions) {
      if (!wrong_.empty()) return;
      explain(rev, content);
      if (!wrong_.empty()) return;
      model_.commit(content.events);
      answer_reads();
    }
    for (const auto& final : history_.finals) {
      if (final.revision > model_.revision()) wrong(final.member + " ends at an unknown revision");
    }
  }

  // Answers at the model's present revision that changed nothing.
  void answer_reads() {
    for (const auto& final : history_.finals) {
      if (final.revision != model_.revision()) continue;
      std::vector<Kv> expected;
      for (const auto& [key, kv] : model_.kvs()) expected.push_back(kv);
      if (expected != final.kvs) {
        return wrong("at the end " + final.member + " shows other contents than the history of revision " +
                     std::to_string(final.revision));
      }
    }
    auto it = answers_at_.find(model_.revision());
    if (it == answers_at_.end()) return;
    for (const Op* op : it->second) {
      if (op->kind == OpKind::kLeaseRevoke || op->kind == OpKind::kCompact) continue;
      Model::Outcome expected = model_.preview(*op);
      if (!expected.events.empty()) {
        return wrong("answered as if it had no effect, but it must have one: " + describe(*op));
      }
      compare_answer(*op, expected);
      if (!wrong_.empty()) return;
    }
  }

  void compare_answer(const Op& op, const Model::Outcome& expected) {
    if (op.succeeded != expected.succeeded) return wrong("the wrong branch was taken: " + describe(op));
    for (size_t i = 0; i < expected.results.size(); ++i) {
      if (i < op.results.size() && op.results[i] == expected.results[i]) continue;
      return wrong("wrong answer: " + describe(op) + "\n  part " + std::to_string(i) + " got " +
                   (i < op.results.size() ? describe(op.results[i]) : "nothing") + "\n  want " +
                   describe(expected.results[i]));
    }
  }

  void explain(int64_t rev, const Revision& content) {
    const Op* op = nullptr;
    if (auto it = acked_at_.find(rev); it != acked_at_.end()) op = it->second[0];
    for (const SeenEvent& event : content.events) {
      if (!event.put) continue;
      const Op* writer = by_id_.at(writer_of(event.kv.value));
      if (op != nullptr && op != writer) {
        return wrong("lost write: revision " + std::to_string(rev) + " was acknowledged to\n  " + describe(*op) +
                     "\n  but holds what was written by\n  " + describe(*writer));
      }
      op = writer;
    }
    if (op == nullptr) return explain_deletion(rev, content);
    if (op->outcome == Op::Outcome::kFailed) return wrong("a failed operation took effect: " + describe(*op));
    if (op->ok() && op->revision != rev) {
      return wrong("applied twice, or acknowledged at another revision than " + std::to_string(rev) + ": " +
                   describe(*op));
    }
    if (!used_.insert(op).second) return wrong("applied twice, again at " + std::to_string(rev) + ": " + describe(*op));
    if (op->kind == OpKind::kLeaseRevoke) return explain_revoke(rev, content, op->lease, op);
    Model::Outcome expected = model_.preview(*op);
    if (!same_events(expected.events, content.events)) {
      return wrong("revision " + std::to_string(rev) + " is not what its operation does: " + describe(*op) +
                   "\n  seen" + describe(content.events) + "\n  expected" + describe(expected.events));
    }
    if (op->ok()) compare_answer(*op, expected);
  }

  bool deletes_lease(const Revision& content, int64_t lease) const {
    std::vector<std::string> keys;
    for (const SeenEvent& event : content.events) keys.push_back(event.kv.key);
    std::sort(keys.begin(), keys.end());
    return keys == model_.lease_keys(lease);
  }

  void explain_revoke(int64_t rev, const Revision& content, int64_t lease, const Op* op) {
    if (!deletes_lease(content, lease)) {
      wrong("revision " + std::to_string(rev) + " does not delete exactly the keys of its lease: " + describe(*op) +
            describe(content.events));
    }
    gone_leases_[lease] = content.first_seen;
  }

  // Only deletions, and nobody was told of it: a lease that ran out, or a delete or revoke of unknown outcome. A lease
  // comes first where nothing speaks against it: it explains no other revision, the operation may.
  void explain_deletion(int64_t rev, const Revision& content) {
    auto first = model_.kvs().find(content.events[0].kv.key);
    int64_t over = first == model_.kvs().end() ? 0 : first->second.lease;
    if (over != 0 && deletes_lease(content, over) && early_end(over, content.first_seen) == nullptr &&
        !seen_alive_after(over, content.first_seen)) {
      gone_leases_[over] = content.first_seen;
      return;
    }
    for (const auto& op : history_.ops) {
      if (op->outcome != Op::Outcome::kUnknown || !op->writes_keys() || used_.count(op.get())) continue;
      if (op->invoked > content.first_seen) continue;
      bool explains = op->kind == OpKind::kLeaseRevoke ? deletes_lease(content, op->lease)
                                                       : same_events(model_.preview(*op).events, content.events);
      if (!explains) continue;
      used_.insert(op.get());
      if (op->kind == OpKind::kLeaseRevoke) gone_leases_[op->lease] = content.first_seen;
      return;
    }
    auto key = model_.kvs().find(content.events[0].kv.key);
    if (key == model_.kvs().end()) return wrong("a key is deleted that is not there, at " + std::to_string(rev));
    int64_t lease = key->second.lease;
    if (lease == 0 || !deletes_lease(content, lease)) {
      return wrong("nobody asked for the deletion at revision " + std::to_string(rev) + describe(content.events));
    }
    gone_leases_[lease] = content.first_seen;
    check_not_early(lease, rev, content.first_seen);
  }

  static bool gives_time(const Op& op, int64_t lease) {
    return op.lease == lease && op.ok() && op.ttl > 0 &&
           (op.kind == OpKind::kLeaseGrant || op.kind == OpKind::kLeaseKeepAlive);
  }
  Nanos lease_time(int64_t ttl) const {
    return static_cast<Nanos>(static_cast<double>(ttl * io::kSecond) * (1 - history_.clock_error_max));
  }
  // The grant or renewal before `seen` whose time was not over then.
  const Op* early_end(int64_t lease, Nanos seen) const {
    for (const auto& op : history_.ops) {
      if (gives_time(*op, lease) && op->invoked <= seen && seen < op->invoked + lease_time(op->ttl)) return op.get();
    }
    return nullptr;
  }
  bool seen_alive_after(int64_t lease, Nanos time) const {
    for (const auto& op : history_.ops) {
      if (gives_time(*op, lease) && op->invoked > time) return true;
    }
    return false;
  }

  void check_not_early(int64_t lease, int64_t rev, Nanos seen) {
    if (const Op* op = early_end(lease, seen)) {
      wrong("lease " + std::to_string(lease) + " ended early, at revision " + std::to_string(rev) + ", " +
            seconds(seen) + ": " + describe(*op) + " ttl " + std::to_string(op->ttl));
    }
  }

  void check_acknowledged() {
    for (const auto& [rev, ops] : acked_at_) {
      if (!used_.count(ops[0]))
        return wrong("lost write: acknowledged, but its revision is another's: " + describe(*ops[0]));
    }
  }

  void check_renewals() {
    for (const auto& op : history_.ops) {
      if (op->kind != OpKind::kLeaseKeepAlive || !op->ok() || op->ttl <= 0) continue;
      auto it = gone_leases_.find(op->lease);
      if (it != gone_leases_.end() && op->invoked > it->second) {
        return wrong("renewed a lease that was gone at " + seconds(it->second) + ": " + describe(*op));
      }
    }
  }

  // --- watches -------------------------------------------------------------------------------------------------------

  void check_watches() {
    for (const auto& watch : history_.watches) {
      check_watch(*watch);
      if (!wrong_.empty()) return;
    }
  }

  static bool in_gap(const WatchLog& watch, int64_t rev) {
    for (const auto& gap : watch.gaps) {
      if (rev >= gap.from && rev < gap.to) return true;
    }
    return false;
  }

  static std::string name(const WatchLog& w) {
    std::string range = w.key == std::string(1, '\0') ? "everything" : w.key;
    if (!w.range_end.empty() && w.range_end[0] != 0) range += ".." + w.range_end;
    return std::string(w.inside ? "inner " : "") + "watcher " + std::to_string(w.id) + " of " + range + " from " +
           std::to_string(w.start);
  }

  void check_watch(const WatchLog& watch) {
    if (!watch.broken.empty()) return wrong(name(watch) + ": " + watch.broken);
    if (watch.next == 0) return;  // never got as far as being created
    std::map<std::string, Kv> state;
    size_t at = 0;
    for (const auto& [rev, content] : history_.revisions) {
      for (const SeenEvent& event : content.events) {
        SeenEvent expected = event;
        auto before = state.find(event.kv.key);
        expected.has_prev = before != state.end();
        if (expected.has_prev) expected.prev = before->second;
        if (event.put)
          state[event.kv.key] = event.kv;
        else
          state.erase(event.kv.key);
        bool wanted = rev >= watch.start && in_range(event.kv.key, watch.key, watch.range_end) &&
                      !(event.put ? watch.no_put : watch.no_delete) && !in_gap(watch, rev) &&
                      (!watch.cut_off || rev < watch.next);
        if (!wanted) continue;
        if (at == watch.seen.size()) {
          return wrong(name(watch) + " missed (or never got to) revision " + std::to_string(rev) + ": " +
                       describe(event));
        }
        compare_seen(watch, watch.seen[at++], expected);
        if (!wrong_.empty()) return;
      }
    }
    if (at < watch.seen.size()) wrong(name(watch) + " saw what never was: " + describe(watch.seen[at].event));
  }

  void compare_seen(const WatchLog& watch, const WatchLog::Seen& seen, const SeenEvent& expected) {
    if (!same_event(seen.event, expected)) {
      return wrong(name(watch) + " at " + seconds(seen.at) + " saw " + describe(seen.event) +
                   "\n  where it should have seen " + describe(expected));
    }
    if (!watch.prev_kv) {
      if (seen.event.has_prev)
        wrong(name(watch) + " got a previous value that it did not ask for: " + describe(seen.event));
      return;
    }
    bool compacted = expected.kv.mod_revision <= seen.compact_asked;
    if (seen.event.has_prev ? expected.has_prev && seen.event.prev == expected.prev : !expected.has_prev || compacted)
      return;
    wrong(name(watch) + " got the wrong previous value: " + describe(seen.event) + "\n  want " + describe(expected));
  }

  const History& history_;
  std::string wrong_;
  Model model_;
  std::unordered_map<uint64_t, const Op*> by_id_;
  std::map<int64_t, std::vector<const Op*>> acked_at_;    // with an effect
  std::map<int64_t, std::vector<const Op*>> answers_at_;  // without one
  std::set<const Op*> used_;                              // asked for membership only
  std::map<int64_t, Nanos> gone_leases_;
};

}  // namespace

std::string check_history(const History& history) { return Judge(history).run(); }

}  // namespace fairlead::sim
