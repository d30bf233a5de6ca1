// The judge must find what is wrong: each test takes a history that is right and breaks one thing in it.
#include "server/sim/checker.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "server/sim/model.h"

namespace fairlead::sim {
namespace {

using io::kSecond;

// A right history, made by running operations one after the other through the model.
struct Story {
  Story() {
    for (bool inside : {true, false}) {
      WatchLog log;
      log.id = history.watches.size() + 1;
      log.inside = inside;
      log.key = log.range_end = std::string(1, '\0');
      log.prev_kv = true;
      log.start = log.next = 2;
      history.watches.push_back(std::make_shared<WatchLog>(log));
    }
  }

  Op& add(Op op, bool acknowledged = true) {
    op.id = history.ops.size() + 1;
    for (SubOp& sub : op.success) {
      if (sub.kind == SubOp::Kind::kPut) sub.value = "v" + std::to_string(op.id) + ".x";
    }
    now += kSecond;
    op.invoked = now;
    Model::Outcome outcome = model.preview(op);
    if (!outcome.events.empty()) take_effect(outcome.events);
    if (acknowledged) {
      op.outcome = Op::Outcome::kOk;
      op.returned = now + kSecond / 2;
      op.revision = model.revision();
      op.succeeded = outcome.succeeded;
      op.results = outcome.results;
    }
    history.ops.push_back(std::make_shared<Op>(op));
    return *history.ops.back();
  }

  void take_effect(const std::vector<SeenEvent>& events) {
    model.commit(events);
    history.revisions[model.revision()] = {now + kSecond / 4, 1, events};
    for (auto& watch : history.watches) {
      for (const SeenEvent& e : events) watch->seen.push_back({e, now + kSecond / 4, 0});
      watch->next = model.revision() + 1;
    }
  }

  Op& put(const std::string& key, bool acknowledged = true, int64_t lease = 0) {
    Op op;
    op.kind = OpKind::kPut;
    op.success.push_back({SubOp::Kind::kPut, key, "", "", lease, 0, 0, true});
    return add(op, acknowledged);
  }
  Op& remove(const std::string& key, bool acknowledged = true) {
    Op op;
    op.kind = OpKind::kDelete;
    op.success.push_back({SubOp::Kind::kDelete, key, "", "", 0, 0, 0, false});
    return add(op, acknowledged);
  }
  Op& get(const std::string& key, int64_t revision = 0) {
    Op op;
    op.kind = OpKind::kRange;
    op.success.push_back({SubOp::Kind::kRange, key, "", "", 0, 0, revision, false});
    return add(op);
  }
  Op& lease_call(OpKind kind, int64_t lease, int64_t ttl) {
    Op op;
    op.kind = kind;
    op.lease = lease;
    Op& added = add(op);
    added.ttl = ttl;
    if (kind == OpKind::kLeaseKeepAlive) added.revision = 0;
    return added;
  }
  void expire(int64_t lease) {
    std::vector<SeenEvent> events;
    for (const std::string& key : model.lease_keys(lease)) {
      SeenEvent e;
      e.put = false;
      e.kv.key = key;
      e.kv.mod_revision = model.revision() + 1;
      e.has_prev = true;
      e.prev = model.kvs().at(key);
      events.push_back(e);
    }
    take_effect(events);
  }
  void final_state() {
    History::Final final{"m1", model.revision(), {}};
    for (const auto& [key, kv] : model.kvs()) final.kvs.push_back(kv);
    history.finals.push_back(final);
  }
  std::string judge() { return check_history(history); }

  History history;
  Model model;
  Nanos now = 0;
};

Story usual() {
  Story s;
  s.put("a");  // 2
  s.put("b");  // 3
  s.get("a");
  s.put("a");            // 4
  s.remove("b");         // 5
  s.put("c", false);     // 6, nobody was told
  s.remove("a", false);  // 7, nobody was told
  s.get("a", 4);
  s.remove("nothing");
  s.put("d");  // 8
  s.final_state();
  return s;
}

TEST(Judge, FindsNothingWhereNothingIs) { EXPECT_EQ(usual().judge(), ""); }

struct Broken {
  const char* name;
  const char* finds;
  std::function<void(Story&)> breaks;
};

class JudgeFinds : public testing::TestWithParam<Broken> {};

TEST_P(JudgeFinds, WhatIsBroken) {
  Story s = usual();
  GetParam().breaks(s);
  EXPECT_NE(s.judge().find(GetParam().finds), std::string::npos) << "found: " << s.judge();
}

INSTANTIATE_TEST_SUITE_P(
    Histories, JudgeFinds,
    testing::Values(
        Broken{"LostTail", "lost write", [](Story& s) { s.history.revisions.erase(8); }},
        Broken{"Gap", "seen by no watcher", [](Story& s) { s.history.revisions.erase(5); }},
        Broken{"OtherWriter", "lost write", [](Story& s) { s.history.revisions[4].events[0].kv.value = "v1.x"; }},
        Broken{"PhantomValue", "nobody wrote", [](Story& s) { s.history.revisions[4].events[0].kv.value = "v77.x"; }},
        Broken{"FailedTookEffect", "failed operation",
               [](Story& s) { s.history.ops[5]->outcome = Op::Outcome::kFailed; }},
        Broken{"WrongRevision", "one revision", [](Story& s) { s.history.ops[1]->revision = 2; }},
        Broken{"StaleRead", "stale read", [](Story& s) { s.history.ops[2]->revision = 2; }},
        Broken{"WrongRead", "wrong answer", [](Story& s) { s.history.ops[2]->results[0].kvs[0].value = "v4.x"; }},
        Broken{"MissedKey", "wrong answer", [](Story& s) { s.history.ops[2]->results[0] = {}; }},
        Broken{"WrongPast", "wrong answer", [](Story& s) { s.history.ops[7]->results[0].kvs[0].version = 9; }},
        Broken{"PhantomDelete", "nobody asked", [](Story& s) { s.history.ops[6]->success[0].key = "z"; }},
        Broken{"WrongPrev", "wrong answer", [](Story& s) { s.history.ops[3]->results[0].kvs.clear(); }},
        Broken{"TimeTravel", "real-time",
               [](Story& s) {
                 std::swap(s.history.ops[0]->invoked, s.history.ops[9]->invoked),
                     std::swap(s.history.ops[0]->returned, s.history.ops[9]->returned);
               }},
        Broken{"SeenBeforeAsked", "before its write began", [](Story& s) { s.history.revisions[6].first_seen = 0; }},
        Broken{"FinalDiffers", "other contents", [](Story& s) { s.history.finals[0].kvs.pop_back(); }},
        Broken{"WatchMissed", "missed", [](Story& s) { s.history.watches[1]->seen.pop_back(); }},
        Broken{"WatchTwice", "should have seen",
               [](Story& s) {
                 s.history.watches[1]->seen.insert(s.history.watches[1]->seen.begin(), s.history.watches[1]->seen[0]);
               }},
        Broken{"WatchOrder", "should have seen",
               [](Story& s) { std::swap(s.history.watches[1]->seen[1], s.history.watches[1]->seen[2]); }},
        Broken{"WatchPrev", "previous value", [](Story& s) { s.history.watches[1]->seen[2].event.prev.value = "v9"; }},
        Broken{"WatchNoPrev", "previous value", [](Story& s) { s.history.watches[1]->seen[2].event.has_prev = false; }},
        Broken{"WatchPhantom", "never was",
               [](Story& s) {
                 auto& seen = s.history.watches[1]->seen;
                 seen.push_back(seen.back());
                 seen.back().event.kv.mod_revision = 9;
               }}),
    [](const auto& test) { return test.param.name; });

TEST(Judge, AnUnknownWriteMayTakeEffectOnceOnly) {
  Story s;
  Op& op = s.put("a", false);
  SeenEvent again;
  again.kv = {"a", op.success[0].value, 2, 3, 2, 0};
  again.has_prev = true;
  again.prev = s.model.kvs().at("a");
  s.take_effect({again});
  EXPECT_NE(s.judge().find("applied twice"), std::string::npos) << s.judge();
}

TEST(Judge, AnUnknownWriteMayNeverTakeEffect) {
  Story s;
  s.put("a");
  Op op;
  op.id = 99;
  op.kind = OpKind::kPut;
  op.success.push_back({SubOp::Kind::kPut, "a", "", "v99.x", 0, 0, 0, false});
  s.history.ops.push_back(std::make_shared<Op>(op));
  EXPECT_EQ(s.judge(), "");
}

TEST(Judge, LeasesEndNeitherEarlyNorAreTheyRenewedAfterwards) {
  for (int64_t ttl : {2, 20}) {
    Story s;
    s.lease_call(OpKind::kLeaseGrant, 7, ttl);
    s.put("a", true, 7);
    s.now += 5 * kSecond;
    s.expire(7);
    EXPECT_EQ(s.judge().find("ended early") != std::string::npos, ttl == 20) << s.judge();
    if (ttl == 20) continue;
    EXPECT_EQ(s.judge(), "");
    s.lease_call(OpKind::kLeaseKeepAlive, 7, ttl);
    EXPECT_NE(s.judge().find("renewed a lease that was gone"), std::string::npos) << s.judge();
  }
}

TEST(Judge, CompactionExcusesAGapOfAWatcherOnly) {
  Story s = usual();
  auto& watch = *s.history.watches[1];
  watch.seen.erase(watch.seen.begin(), watch.seen.begin() + 3);  // revisions 2 to 4
  EXPECT_NE(s.judge(), "");
  watch.gaps.push_back({2, 5});
  EXPECT_EQ(s.judge(), "");
}

}  // namespace
}  // namespace fairlead::sim
