// The keyspace against a naive one: every revision is a whole copied map. Random commands, reads at random revisions
// with random options, compactions in slices, checkpoints, evictions, crashes that fall back to the last checkpoint and
// apply the rest again. A third keyspace sees the same commands and never any housekeeping: results and hashes must
// agree.
#include <algorithm>
#include <deque>
#include <random>

#include "server/mvcc/test_util.h"

namespace fairlead::mvcc {
namespace {

using namespace test;

struct Kv {
  std::string value;
  int64_t create = 0, mod = 0, version = 0, lease = 0;
  bool operator==(const Kv&) const = default;
};
using State = std::map<std::string, Kv>;

std::string show(const std::string& key, const Kv& kv) {
  return key + "=" + kv.value + "(" + std::to_string(kv.create) + "," + std::to_string(kv.mod) + "," +
         std::to_string(kv.version) + "," + std::to_string(kv.lease) + ")";
}
std::string show(const KeyValue& kv) {
  return show(std::string(kv.key), {std::string(kv.value), kv.create_revision, kv.mod_revision, kv.version, kv.lease});
}
std::string show(const KeyValues& kvs) {
  std::string out;
  for (const auto& kv : kvs.items) out += show(kv) + " ";
  return out;
}

struct Naive {
  std::map<int64_t, State> at{{1, {}}};
  int64_t revision = 1, compacted = -1;
  std::map<int64_t, int64_t> leases;

  const State& now() const { return at.rbegin()->second; }
  bool in(std::string_view key, std::string_view end, const std::string& k) const {
    if (end.empty()) return k == key;
    return k >= key && (end == kFromKey || k < end);
  }
  Status bad_revision(int64_t r) const {
    if (r > revision) return err_future_revision();
    if (r > 0 && r < compacted) return err_compacted();
    return {};
  }
  std::string range(const RangeRequest& r, const State& current) const {
    const State& state = r.revision > 0 ? at.at(r.revision) : current;
    std::vector<std::pair<std::string, Kv>> list;
    for (auto& [k, kv] : state) {
      if (in(r.key, r.range_end, k)) list.emplace_back(k, kv);
    }
    size_t count = list.size();
    std::string out = "count " + std::to_string(count) + " ";
    if (r.count_only) return out;
    std::erase_if(list, [&](auto& e) {
      return (r.max_mod_revision && e.second.mod > r.max_mod_revision) ||
             (r.min_mod_revision && e.second.mod < r.min_mod_revision) ||
             (r.max_create_revision && e.second.create > r.max_create_revision) ||
             (r.min_create_revision && e.second.create < r.min_create_revision);
    });
    auto less = [&](auto& a, auto& b) {
      switch (r.sort_target) {
        case SortTarget::kVersion:
          return a.second.version < b.second.version;
        case SortTarget::kCreate:
          return a.second.create < b.second.create;
        case SortTarget::kMod:
          return a.second.mod < b.second.mod;
        case SortTarget::kValue:
          return a.second.value < b.second.value;
        default:
          return a.first < b.first;
      }
    };
    if (r.sort_order == SortOrder::kDescend) {
      std::stable_sort(list.begin(), list.end(), [&](auto& a, auto& b) { return less(b, a); });
    } else {
      std::stable_sort(list.begin(), list.end(), less);
    }
    bool more = r.limit > 0 && list.size() > static_cast<size_t>(r.limit);
    if (more) list.resize(static_cast<size_t>(r.limit));
    out += more ? "more " : "";
    for (auto& [k, kv] : list) {
      Kv shown = kv;
      if (r.keys_only) shown.value.clear(), shown.lease = 0;
      out += show(k, shown) + " ";
    }
    return out;
  }
  bool holds(const Compare& c, const State& s) const {
    bool any = false, all = true;
    auto test = [&](const Kv& kv) {
      int order = 0;
      auto cmp = [](auto a, auto b) { return a < b ? -1 : a > b ? 1 : 0; };
      switch (c.target) {
        case CompareTarget::kVersion:
          order = cmp(kv.version, c.number);
          break;
        case CompareTarget::kCreate:
          order = cmp(kv.create, c.number);
          break;
        case CompareTarget::kMod:
          order = cmp(kv.mod, c.number);
          break;
        case CompareTarget::kLease:
          order = cmp(kv.lease, c.number);
          break;
        case CompareTarget::kValue:
          order = cmp(std::string_view(kv.value), c.value);
          break;
      }
      switch (c.result) {
        case CompareResult::kEqual:
          return order == 0;
        case CompareResult::kNotEqual:
          return order != 0;
        case CompareResult::kGreater:
          return order > 0;
        default:
          return order < 0;
      }
    };
    for (auto& [k, kv] : s) {
      if (in(c.key, c.range_end, k)) any = true, all = all && test(kv);
    }
    if (any) return all;
    return c.target != CompareTarget::kValue && test(Kv{});
  }

  struct Run {
    State state;
    int64_t main;
    int changes = 0;
    std::string events;
  };
  std::string run(Run& run, const TxnRequest& t, const State& before) {
    bool ok = std::all_of(t.compares.begin(), t.compares.end(), [&](auto& c) { return holds(c, before); });
    std::string out = ok ? "then{" : "else{";
    for (const RequestOp& op : ok ? t.success : t.failure) out += one(run, op, before) + ";";
    return out + "}";
  }
  std::string put_one(Run& run, const PutRequest& p) {
    Kv& kv = run.state[std::string(p.key)];
    std::string out = "put ";
    if (p.prev_kv && kv.version > 0) out += show(std::string(p.key), kv);
    if (!p.ignore_value) kv.value = p.value;
    if (!p.ignore_lease) kv.lease = p.lease;
    if (kv.version == 0) kv.create = run.main;
    kv.mod = run.main;
    ++kv.version;
    ++run.changes;
    run.events += "P" + std::string(p.key) + " ";
    return out;
  }
  std::string delete_one(Run& run, const DeleteRangeRequest& d) {
    std::string prev;
    int n = 0;
    for (auto it = run.state.begin(); it != run.state.end();) {
      if (!in(d.key, d.range_end, it->first)) {
        ++it;
        continue;
      }
      if (d.prev_kv) prev += show(it->first, it->second) + " ";
      run.events += "D" + it->first + " ";
      it = run.state.erase(it);
      ++n;
    }
    run.changes += n;
    return "deleted " + std::to_string(n) + " " + prev;
  }
  std::string one(Run& r, const RequestOp& op, const State& before) {
    if (auto* p = std::get_if<PutRequest>(&op.op)) return put_one(r, *p);
    if (auto* d = std::get_if<DeleteRangeRequest>(&op.op)) return delete_one(r, *d);
    if (auto* g = std::get_if<RangeRequest>(&op.op)) return range(*g, r.state);
    if (auto* t = std::get_if<TxnRequest>(&op.op)) return run(r, *t, before);
    return "";
  }
  Status check_txn(const TxnRequest& t, const State& s) const {
    bool ok = std::all_of(t.compares.begin(), t.compares.end(), [&](auto& c) { return holds(c, s); });
    for (const RequestOp& op : ok ? t.success : t.failure) {
      if (auto* p = std::get_if<PutRequest>(&op.op)) RETURN_IF_ERROR(check_put(*p, s));
      if (auto* g = std::get_if<RangeRequest>(&op.op)) RETURN_IF_ERROR(bad_revision(g->revision));
      if (auto* n = std::get_if<TxnRequest>(&op.op)) RETURN_IF_ERROR(check_txn(*n, s));
    }
    return {};
  }
  Status check_put(const PutRequest& p, const State& s) const {
    if ((p.ignore_value || p.ignore_lease) && !s.contains(std::string(p.key))) return err_key_not_found();
    if (p.lease && !leases.contains(p.lease)) return err_lease_not_found();
    return {};
  }
  std::string apply(const Command& command) {
    Run r{now(), revision + 1, 0, ""};
    std::string out;
    Status status;
    if (auto* p = std::get_if<PutRequest>(&command)) {
      status = check_put(*p, now());
      if (status.is_ok()) out = put_one(r, *p);
    } else if (auto* d = std::get_if<DeleteRangeRequest>(&command)) {
      out = delete_one(r, *d);
    } else if (auto* t = std::get_if<TxnRequest>(&command)) {
      status = check_txn(*t, now());
      if (status.is_ok()) out = run(r, *t, now());
    } else if (auto* c = std::get_if<CompactRequest>(&command)) {
      if (c->revision <= compacted) {
        status = err_compacted();
      } else if (c->revision > revision) {
        status = err_future_revision();
      } else {
        compacted = c->revision;
        at.erase(at.begin(), at.lower_bound(compacted));
      }
    } else if (auto* g = std::get_if<LeaseGrantRequest>(&command)) {
      if (leases.contains(g->id)) {
        status = err_lease_exists();
      } else {
        leases[g->id] = g->ttl;
      }
    } else if (auto* v = std::get_if<LeaseRevokeRequest>(&command)) {
      if (!leases.erase(v->id)) {
        status = err_lease_not_found();
      } else {
        for (auto it = r.state.begin(); it != r.state.end();) {
          if (it->second.lease != v->id) {
            ++it;
            continue;
          }
          r.events += "D" + it->first + " ";
          it = r.state.erase(it);
          ++r.changes;
        }
      }
    }
    if (r.changes > 0) at[++revision] = std::move(r.state);
    return status.to_string() + " @" + std::to_string(revision) + " " + out + " events " + r.events;
  }
};

std::string describe(const RangeResult& r, bool count_only) {
  std::string out = "count " + std::to_string(r.count) + " ";
  if (count_only) return out;
  return out + (r.more ? "more " : "") + show(r.kvs);
}
std::string describe(const OpResult& op, const RequestOp& request);
std::string describe(const PutResult& r) { return "put " + (r.prev.items.empty() ? "" : show(r.prev.items[0])); }
std::string describe(const DeleteRangeResult& r) {
  return "deleted " + std::to_string(r.deleted) + " " + show(r.prev_kvs);
}
std::string describe(const TxnResult& r, const TxnRequest& t) {
  std::string out = r.succeeded ? "then{" : "else{";
  const auto& ops = r.succeeded ? t.success : t.failure;
  EXPECT_EQ(ops.size(), r.results.size());
  for (size_t i = 0; i < ops.size(); ++i) out += describe(r.results[i], ops[i]) + ";";
  return out + "}";
}
std::string describe(const OpResult& op, const RequestOp& request) {
  if (auto* p = std::get_if<PutResult>(&op.result)) return describe(*p);
  if (auto* d = std::get_if<DeleteRangeResult>(&op.result)) return describe(*d);
  if (auto* t = std::get_if<TxnResult>(&op.result)) return describe(*t, std::get<TxnRequest>(request.op));
  return describe(std::get<RangeResult>(op.result), std::get<RangeRequest>(request.op).count_only);
}
std::string describe(const ApplyResult& r, const Command& command) {
  std::string out;
  if (auto* p = std::get_if<PutResult>(&r.reply)) out = describe(*p);
  if (auto* d = std::get_if<DeleteRangeResult>(&r.reply)) out = describe(*d);
  if (auto* t = std::get_if<TxnResult>(&r.reply)) out = describe(*t, std::get<TxnRequest>(command));
  std::string events;
  for (const Event& e : r.events) events += (e.record.tombstone() ? "D" : "P") + std::string(e.record.key) + " ";
  return r.status.to_string() + " @" + std::to_string(r.revision) + " " + out + " events " + events;
}

class Generator {
 public:
  explicit Generator(uint64_t seed) : rng(seed) {}
  std::mt19937_64 rng;

  std::string_view keep(std::string s) { return strings_.emplace_back(std::move(s)); }
  void forget() { strings_.clear(); }
  std::string_view key() {
    static const char* kPrefixes[] = {"a", "a/b/", "a/b/c/long-shared-prefix-", "z"};
    return keep(kPrefixes[rng() % 4] + std::to_string(rng() % 12));
  }
  std::string_view end() {
    switch (rng() % 4) {
      case 0:
        return "";
      case 1:
        return kFromKey;
      default:
        return key();
    }
  }
  PutRequest put() {
    PutRequest p;
    p.key = key();
    p.value = keep(std::string(rng() % 40, static_cast<char>('a' + rng() % 3)));
    if (rng() % 40 == 0) p.value = keep(std::string(100'000, 'L'));
    if (rng() % 3 == 0) p.lease = static_cast<int64_t>(1 + rng() % 4);
    p.prev_kv = rng() % 3 == 0;
    if (rng() % 8 == 0) p.ignore_value = true, p.value = "";
    if (rng() % 8 == 0) p.ignore_lease = true, p.lease = 0;
    return p;
  }
  DeleteRangeRequest del() {
    DeleteRangeRequest d;
    d.key = key();
    d.range_end = rng() % 3 ? "" : key();
    d.prev_kv = rng() % 2;
    return d;
  }
  RangeRequest range(const Naive& model) {
    RangeRequest r;
    r.key = key();
    r.range_end = end();
    if (rng() % 2) r.limit = static_cast<int64_t>(rng() % 8);
    if (rng() % 2) r.revision = std::max<int64_t>(0, model.revision + 1 - static_cast<int64_t>(rng() % 40));
    if (rng() % 3 == 0) r.sort_order = static_cast<SortOrder>(rng() % 3);
    if (rng() % 3 == 0) r.sort_target = static_cast<SortTarget>(rng() % 5);
    r.keys_only = rng() % 5 == 0;
    r.count_only = rng() % 8 == 0;
    auto some = [&] { return rng() % 8 ? 0 : std::max<int64_t>(1, model.revision - static_cast<int64_t>(rng() % 60)); };
    r.min_mod_revision = some();
    r.max_mod_revision = some();
    r.min_create_revision = some();
    r.max_create_revision = some();
    return r;
  }
  Compare compare(const Naive& model) {
    Compare c;
    c.result = static_cast<CompareResult>(rng() % 4);
    c.target = static_cast<CompareTarget>(rng() % 5);
    c.key = key();
    if (rng() % 3 == 0) c.range_end = end();
    c.value = keep(std::string(rng() % 20, static_cast<char>('a' + rng() % 3)));
    c.number = static_cast<int64_t>(rng() % 4);
    if (c.target == CompareTarget::kMod || c.target == CompareTarget::kCreate)
      c.number = std::max<int64_t>(0, model.revision - static_cast<int64_t>(rng() % 30));
    return c;
  }
  TxnRequest txn(const Naive& model, int depth) {
    TxnRequest t;
    for (size_t n = rng() % 3; n > 0; --n) t.compares.push_back(compare(model));
    for (auto* branch : {&t.success, &t.failure}) {
      for (size_t n = rng() % 5; n > 0; --n) {
        switch (rng() % (depth < 2 ? 7 : 6)) {
          case 0:
          case 1:
            branch->push_back({put()});
            break;
          case 2:
            branch->push_back({del()});
            break;
          case 6:
            branch->push_back({txn(model, depth + 1)});
            break;
          default:
            branch->push_back({range(model)});
        }
      }
    }
    return t;
  }

 private:
  std::deque<std::string> strings_;
};

class ModelTest : public testing::TestWithParam<int> {};

TEST_P(ModelTest, AgreesWithANaiveStoreThroughHousekeepingAndCrashes) {
  Generator gen(static_cast<uint64_t>(GetParam()));
  auto& rng = gen.rng;
  Store store({.cache_bytes_max = GetParam() % 2 ? 0 : size_t{1} << 20});
  Store quiet;  // no housekeeping at all
  Naive model;
  std::deque<std::string> since_checkpoint;
  uint64_t checkpoint_applied = 0;
  uint64_t crashes = 0, txns = 0, reads = 0, steps = 0;
  for (int step = 0; step < 3500 && !HasFatalFailure(); ++step) {
    gen.forget();
    Command command = CompactRequest{};
    switch (rng() % 20) {
      case 0:
        command = LeaseGrantRequest{static_cast<int64_t>(1 + rng() % 4), 60};
        break;
      case 1:
        command = LeaseRevokeRequest{static_cast<int64_t>(1 + rng() % 4)};
        break;
      case 2:
        if (rng() % 4) continue;
        command = CompactRequest{model.revision - static_cast<int64_t>(rng() % 30), false};
        break;
      case 3:
      case 4:
        command = gen.del();
        break;
      case 5:
      case 6:
      case 7:
      case 8: {
        TxnRequest t = gen.txn(model, 0);
        if (!check(t, {}).is_ok()) continue;
        command = std::move(t);
        ++txns;
        break;
      }
      default:
        command = gen.put();
    }
    since_checkpoint.push_back(encode_command(command));
    // Half of the entries are applied in steps of a key or two; between these the state before is what is read.
    State before = model.now();
    int64_t revision_before = model.revision;
    store.step_keys = rng() % 4;
    store.between_steps = [&] {
      ++steps;
      RangeRequest r = gen.range(model);
      if (r.revision > 0 && !model.bad_revision(r.revision).is_ok()) r.revision = 0;
      if (r.revision >= revision_before) r.revision = 0;
      RangeResult got = store.range(r);
      ASSERT_EQ(got.revision, revision_before);
      ASSERT_EQ(describe(got, r.count_only), model.range(r, before));
      Compare c = gen.compare(model);
      TxnResult result;
      ColdRecords values;
      for (std::vector<Position> missing;; missing.clear()) {
        ASSERT_TRUE(store.keyspace.read_txn(txn({c}, {}), values, result, missing).is_ok());
        if (missing.empty()) break;
        store.fetch(missing, values);
      }
      ASSERT_EQ(result.succeeded, model.holds(c, before));
      ASSERT_EQ(store.keyspace.count(kFromKey, kFromKey), before.size());
      EXPECT_FALSE(store.keyspace.compact_slice(1) || store.keyspace.trim_cache(1));
      Position end = store.keyspace.scan_memory(
          {0, 0}, 1 << 20, [&](const KeyRecord& record) { EXPECT_LE(record.position.main, revision_before); });
      EXPECT_EQ(end, (Position{revision_before + 1, 0}));
    };
    std::string want = model.apply(command);
    ASSERT_EQ(describe(store.apply(command), command), want) << "step " << step;
    ASSERT_EQ(describe(quiet.apply(command), command), want) << "step " << step;

    RangeRequest r = gen.range(model);
    Status status;
    RangeResult got = store.range(r, &status);
    ASSERT_EQ(status, model.bad_revision(r.revision));
    if (status.is_ok()) {
      ++reads;
      ASSERT_EQ(describe(got, r.count_only), model.range(r, model.now())) << "step " << step;
      ASSERT_EQ(got.revision, model.revision);
    }
    if (rng() % 3 == 0) store.keyspace.compact_slice(rng() % 10);
    if (rng() % 3 == 0) store.keyspace.trim_cache(rng() % 3);
    if (rng() % 50 == 0) {
      store.checkpoint();
      since_checkpoint.clear();
      checkpoint_applied = store.applied;
    }
    if (rng() % 150 == 0) {
      ++crashes;
      store.keyspace = store.reload();
      store.applied = checkpoint_applied;
      store.step_keys = 0;
      for (const std::string& entry : since_checkpoint) store.apply(*decode_command(entry));
    }
    if (rng() % 25 == 0) {
      ASSERT_EQ(store.keyspace.state_hash(), quiet.keyspace.state_hash()) << "step " << step;
      KeyspaceStats s = store.keyspace.stats();
      ASSERT_EQ(s.keys, model.now().size());
      ASSERT_EQ(store.keyspace.count(kFromKey, kFromKey), model.now().size());
      for (auto& [id, ttl] : model.leases) {
        std::vector<std::string> keys;
        for (auto& [k, kv] : model.now()) {
          if (kv.lease == id) keys.push_back(k);
        }
        ASSERT_EQ(store.keyspace.lease_keys(id), keys);
      }
    }
  }
  // Everything compacted: nothing but the newest revisions is left, in memory and on disk.
  store.apply(put("last", "1"));
  store.apply(CompactRequest{store.keyspace.revision()});
  while (store.keyspace.compact_slice(7)) {
  }
  store.checkpoint();
  EXPECT_EQ(store.keyspace.stats().revisions, store.keyspace.stats().keys);
  EXPECT_EQ(store.disk.size(), store.keyspace.stats().keys);
  uint64_t bytes = 0;
  for (auto& kv : store.range(get(kFromKey, kFromKey)).kvs.items) bytes += kv.key.size() + kv.value.size() + 32;
  EXPECT_EQ(store.keyspace.stats().bytes_logical, bytes);
  EXPECT_GT(crashes, 3u);
  EXPECT_GT(txns, 100u);
  EXPECT_GT(steps, 20u);
  EXPECT_GT(reads, 1000u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ModelTest, testing::Range(1, 13));

}  // namespace
}  // namespace fairlead::mvcc
