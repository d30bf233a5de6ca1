#include "server/mvcc/keyspace.h"

#include <algorithm>

#include "server/mvcc/test_util.h"

namespace fairlead::mvcc {
namespace {

using namespace test;

const DeleteRangeResult& deleted(const ApplyResult& r) { return std::get<DeleteRangeResult>(r.reply); }
const TxnResult& txn_of(const ApplyResult& r) { return std::get<TxnResult>(r.reply); }

TEST(Revision, AnEmptyStoreIsAtOneAndTheFirstWriteIsTwo) {
  Store s;
  EXPECT_EQ(s.keyspace.revision(), 1);
  EXPECT_EQ(s.keyspace.compact_revision(), -1);
  EXPECT_EQ(s.apply(put("a", "1")).revision, 2);
  EXPECT_EQ(meta(s.range(get("a")).kvs.items[0]), "a(2,2,1,0)");
}

TEST(Revision, APutAgainKeepsCreateAndCountsVersions) {
  Store s;
  s.apply(put("a", "1"));
  s.apply(put("b", "x"));
  s.apply(put("a", "2"));
  EXPECT_EQ(meta(s.range(get("a")).kvs.items[0]), "a(2,4,2,0)");
  s.apply(del("a"));
  s.apply(put("a", "3"));
  EXPECT_EQ(meta(s.range(get("a")).kvs.items[0]), "a(6,6,1,0)");
  EXPECT_EQ(text(s.range(get("a", "", 4)).kvs), "a=2");
  EXPECT_EQ(text(s.range(get("a", "", 5)).kvs), "");
  EXPECT_EQ(meta(s.range(get("a", "", 3)).kvs.items[0]), "a(2,2,1,0)");
}

TEST(Delete, OfNothingTakesNoRevision) {
  Store s;
  s.apply(put("a", "1"));
  ApplyResult r = s.apply(del("b", "z"));
  EXPECT_EQ(deleted(r).deleted, 0);
  EXPECT_EQ(r.revision, 2);
  EXPECT_EQ(deleted(r).revision, 2);
  EXPECT_TRUE(r.events.empty());
}

TEST(Delete, OfARangeIsOneRevisionWithSubRevisionsInKeyOrder) {
  Store s;
  for (const char* key : {"c", "a", "b", "d"}) s.apply(put(key, key));
  DeleteRangeRequest request = del("a", "d");
  request.prev_kv = true;
  ApplyResult r = s.apply(request);
  EXPECT_EQ(deleted(r).deleted, 3);
  EXPECT_EQ(text(deleted(r).prev_kvs), "a=a b=b c=c");
  EXPECT_EQ(r.revision, 6);
  ASSERT_EQ(r.events.size(), 3u);
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(r.events[static_cast<size_t>(i)].record.position, (Position{6, i}));
    EXPECT_TRUE(r.events[static_cast<size_t>(i)].record.tombstone());
  }
  EXPECT_EQ(text(s.range(get("a", kFromKey)).kvs), "d=d");
}

TEST(Range, CountIgnoresLimitAndMoreSaysWhatWasCut) {
  Store s;
  for (int i = 0; i < 10; ++i) s.apply(put("k" + std::to_string(i), "v"));
  RangeRequest r = get("k", "l");
  r.limit = 3;
  RangeResult out = s.range(r);
  EXPECT_EQ(out.count, 10);
  EXPECT_TRUE(out.more);
  EXPECT_EQ(text(out.kvs), "k0=v k1=v k2=v");
  r.limit = 10;
  EXPECT_FALSE(s.range(r).more);
  r.limit = 0;
  r.count_only = true;
  out = s.range(r);
  EXPECT_EQ(out.count, 10);
  EXPECT_TRUE(out.kvs.items.empty());
  r.count_only = false;
  r.limit = 2;
  r.max_mod_revision = 4;  // three keys pass, count does not care
  out = s.range(r);
  EXPECT_EQ(out.count, 10);
  EXPECT_TRUE(out.more);
  EXPECT_EQ(text(out.kvs), "k0=v k1=v");
  r.limit = 3;
  EXPECT_FALSE(s.range(r).more);
}

TEST(Range, EndsMeanOneKeyPrefixOrEverythingFromHere) {
  Store s;
  for (const char* key : {"a", "b", "ba", "bb", "c"}) s.apply(put(key, "v"));
  EXPECT_EQ(s.range(get("b")).count, 1);
  EXPECT_EQ(s.range(get("b", "c")).count, 3);
  EXPECT_EQ(s.range(get("b", kFromKey)).count, 4);
  EXPECT_EQ(s.range(get(kFromKey, kFromKey)).count, 5);
  EXPECT_EQ(s.range(get("c", "b")).count, 0);
  EXPECT_EQ(s.range(get("b", "b")).count, 0);
  EXPECT_EQ(s.keyspace.count("b", "c"), 3u);
  EXPECT_EQ(s.keyspace.count("b", ""), 1u);
  EXPECT_EQ(s.keyspace.count("x", ""), 0u);
}

TEST(Range, SortsByEveryTargetAndTargetWithoutOrderMeansAscending) {
  Store s;
  s.apply(put("b", "1"));
  s.apply(put("a", "3"));
  s.apply(put("c", "2"));
  s.apply(put("b", "1"));  // b: create 2, mod 5, version 2
  auto keys = [&](SortTarget target, SortOrder order) {
    RangeRequest r = get("a", "z");
    r.sort_target = target;
    r.sort_order = order;
    std::string out;
    for (auto& kv : s.range(r).kvs.items) out += kv.key;
    return out;
  };
  EXPECT_EQ(keys(SortTarget::kKey, SortOrder::kNone), "abc");
  EXPECT_EQ(keys(SortTarget::kKey, SortOrder::kDescend), "cba");
  EXPECT_EQ(keys(SortTarget::kVersion, SortOrder::kDescend), "bac");
  EXPECT_EQ(keys(SortTarget::kCreate, SortOrder::kNone), "bac");
  EXPECT_EQ(keys(SortTarget::kMod, SortOrder::kAscend), "acb");
  EXPECT_EQ(keys(SortTarget::kMod, SortOrder::kDescend), "bca");
  EXPECT_EQ(keys(SortTarget::kValue, SortOrder::kNone), "bca");
}

TEST(Range, FiltersByModAndCreateRevision) {
  Store s;
  for (const char* key : {"a", "b", "c", "a"}) s.apply(put(key, "v"));  // a: create 2 mod 5, b: 3, c: 4
  auto keys = [&](int64_t min_mod, int64_t max_mod, int64_t min_create, int64_t max_create) {
    RangeRequest r = get("a", "z");
    r.min_mod_revision = min_mod;
    r.max_mod_revision = max_mod;
    r.min_create_revision = min_create;
    r.max_create_revision = max_create;
    std::string out;
    for (auto& kv : s.range(r).kvs.items) out += kv.key;
    return out;
  };
  EXPECT_EQ(keys(4, 0, 0, 0), "ac");
  EXPECT_EQ(keys(0, 3, 0, 0), "b");
  EXPECT_EQ(keys(0, 0, 3, 0), "bc");
  EXPECT_EQ(keys(0, 0, 0, 3), "ab");
  EXPECT_EQ(keys(4, 0, 0, 3), "a");
}

TEST(Range, KeysOnlyLeavesValueAndLeaseOutEvenWhenSortedByValue) {
  Store s;
  s.apply(LeaseGrantRequest{7, 10});
  s.apply(put("a", "2", 7));
  s.apply(put("b", "1", 7));
  RangeRequest r = get("a", "z");
  r.keys_only = true;
  EXPECT_EQ(meta(s.range(r).kvs.items[0]), "a(2,2,1,0)");
  r.sort_target = SortTarget::kValue;
  RangeResult out = s.range(r);
  EXPECT_EQ(text(out.kvs), "b= a=");
  EXPECT_EQ(out.kvs.items[0].lease, 0);
}

TEST(Range, FutureAndCompactedRevisionsAreRefusedAndTheCompactedOneItselfIsReadable) {
  Store s;
  for (int i = 0; i < 5; ++i) s.apply(put("a", std::to_string(i)));  // revisions 2..6
  Status status;
  s.range(get("a", "", 7), &status);
  EXPECT_EQ(status, err_future_revision());
  EXPECT_TRUE(s.apply(CompactRequest{4}).status.is_ok());
  s.range(get("a", "", 3), &status);
  EXPECT_EQ(status, err_compacted());
  EXPECT_EQ(text(s.range(get("a", "", 4)).kvs), "a=2");
  while (s.keyspace.compact_slice(100)) {
  }
  EXPECT_EQ(text(s.range(get("a", "", 4)).kvs), "a=2");
  EXPECT_EQ(text(s.range(get("a", "", 5)).kvs), "a=3");
  EXPECT_EQ(s.keyspace.revision(), 6);
}

TEST(Compact, RefusesWhatIsCompactedAndWhatIsNotThereYet) {
  Store s;
  s.apply(put("a", "1"));
  EXPECT_TRUE(s.apply(CompactRequest{0}).status.is_ok());
  EXPECT_EQ(s.apply(CompactRequest{0}).status, err_compacted());
  EXPECT_EQ(s.apply(CompactRequest{3}).status, err_future_revision());
  EXPECT_TRUE(s.apply(CompactRequest{2}).status.is_ok());
  EXPECT_EQ(s.apply(CompactRequest{2}).status, err_compacted());
  EXPECT_EQ(s.apply(CompactRequest{1}).status, err_compacted());
  EXPECT_EQ(s.keyspace.revision(), 2);
}

TEST(Compact, ATombstoneAtTheRevisionStaysAndAnOlderOneTakesItsKeyAlong) {
  Store s;
  s.apply(put("old", "1"));   // 2
  s.apply(del("old"));        // 3
  s.apply(put("last", "1"));  // 4
  s.apply(del("last"));       // 5
  s.apply(CompactRequest{5});
  while (s.keyspace.compact_slice(1)) {
  }
  EXPECT_EQ(s.keyspace.stats().keys_indexed, 1u);
  EXPECT_EQ(s.keyspace.revisions_of("last", {5, 0}, 9).size(), 1u);
  EXPECT_TRUE(s.keyspace.revisions_of("old", {0, 0}, 9).empty());
  s.apply(put("x", "1"));
  s.apply(CompactRequest{6});
  while (s.keyspace.compact_slice(1)) {
  }
  EXPECT_EQ(s.keyspace.stats().keys_indexed, 1u);
  EXPECT_EQ(s.keyspace.stats().revisions, 1u);
}

TEST(Compact, SlicesStopAtTheLowestPinAndGoOnWhenItIsReleased) {
  Store s;
  for (int i = 0; i < 6; ++i) s.apply(put("a", std::to_string(i)));  // 2..7
  auto pin = s.keyspace.pin(4);
  s.apply(CompactRequest{7});
  while (s.keyspace.compact_slice(1)) {
  }
  EXPECT_EQ(s.keyspace.stats().revisions, 4u);  // 4, 5, 6, 7
  EXPECT_EQ(s.keyspace.lowest_pin(), 4);
  s.keyspace.unpin(pin);
  EXPECT_TRUE(s.keyspace.compaction_pending());
  while (s.keyspace.compact_slice(1)) {
  }
  EXPECT_EQ(s.keyspace.stats().revisions, 1u);
}

TEST(Put, IgnoreValueAndIgnoreLeaseKeepWhatIsThere) {
  Store s;
  s.apply(LeaseGrantRequest{7, 10});
  s.apply(put("a", "value", 7));
  PutRequest r = put("a", "");
  r.ignore_value = true;
  r.prev_kv = true;
  ApplyResult out = s.apply(r);  // lease 0: detaches
  EXPECT_EQ(text(std::get<PutResult>(out.reply).prev), "a=value");
  EXPECT_EQ(meta(s.range(get("a")).kvs.items[0]), "a(2,3,2,0)");
  EXPECT_EQ(text(s.range(get("a")).kvs), "a=value");
  s.apply(put("a", "value", 7));
  r = put("a", "new");
  r.ignore_lease = true;
  s.apply(r);
  EXPECT_EQ(meta(s.range(get("a")).kvs.items[0]), "a(2,5,4,7)");
  r = put("b", "");
  r.ignore_value = true;
  EXPECT_EQ(s.apply(r).status, err_key_not_found());
  r = put("b", "v");
  r.ignore_lease = true;
  EXPECT_EQ(s.apply(r).status, err_key_not_found());
  EXPECT_EQ(s.keyspace.revision(), 5);
  EXPECT_EQ(s.apply(put("b", "v", 99)).status, err_lease_not_found());
}

TEST(Txn, IsOneRevisionAndLaterOperationsSeeEarlierOnes) {
  Store s;
  s.apply(put("a", "1"));
  ApplyResult r = s.apply(txn({}, {{get("a", "z")}, {put("b", "2")}, {get("a", "z")}, {del("a")}, {get("a", "z")}}));
  EXPECT_EQ(r.revision, 3);
  const auto& results = txn_of(r).results;
  EXPECT_EQ(text(std::get<RangeResult>(results[0].result).kvs), "a=1");
  EXPECT_EQ(std::get<RangeResult>(results[0].result).revision, 2);
  EXPECT_EQ(text(std::get<RangeResult>(results[2].result).kvs), "a=1 b=2");
  EXPECT_EQ(std::get<RangeResult>(results[2].result).revision, 3);
  EXPECT_EQ(text(std::get<RangeResult>(results[4].result).kvs), "b=2");
  ASSERT_EQ(r.events.size(), 2u);
  EXPECT_EQ(r.events[1].record.position, (Position{3, 1}));
  EXPECT_TRUE(r.events[1].has_prev);
  EXPECT_EQ(s.keyspace.event_prev(r.events[1])->value, "1");
}

TEST(Txn, ThatChangesNothingTakesNoRevision) {
  Store s;
  s.apply(put("a", "1"));
  ApplyResult r = s.apply(txn({}, {{del("x")}, {get("a")}}));
  EXPECT_TRUE(r.status.is_ok());
  EXPECT_EQ(r.revision, 2);
  EXPECT_EQ(txn_of(r).revision, 2);
}

TEST(Txn, EveryCompareTargetAndOperator) {
  Store s;
  s.apply(LeaseGrantRequest{7, 10});
  s.apply(put("a", "m"));
  s.apply(put("a", "m", 7));  // create 2, mod 3, version 2, lease 7
  auto holds = [&](Compare c) { return txn_of(s.apply(txn({c}, {}))).succeeded; };
  struct Case {
    CompareTarget target;
    int64_t value;
  };
  for (Case c : {Case{CompareTarget::kCreate, 2}, Case{CompareTarget::kMod, 3}, Case{CompareTarget::kVersion, 2},
                 Case{CompareTarget::kLease, 7}}) {
    EXPECT_TRUE(holds(compare(c.target, CompareResult::kEqual, "a", c.value)));
    EXPECT_FALSE(holds(compare(c.target, CompareResult::kEqual, "a", c.value + 1)));
    EXPECT_FALSE(holds(compare(c.target, CompareResult::kNotEqual, "a", c.value)));
    EXPECT_TRUE(holds(compare(c.target, CompareResult::kGreater, "a", c.value - 1)));
    EXPECT_FALSE(holds(compare(c.target, CompareResult::kGreater, "a", c.value)));
    EXPECT_TRUE(holds(compare(c.target, CompareResult::kLess, "a", c.value + 1)));
    EXPECT_FALSE(holds(compare(c.target, CompareResult::kLess, "a", c.value)));
  }
  EXPECT_TRUE(holds(compare_value(CompareResult::kEqual, "a", "m")));
  EXPECT_TRUE(holds(compare_value(CompareResult::kGreater, "a", "l")));
  EXPECT_TRUE(holds(compare_value(CompareResult::kLess, "a", "ma")));
  EXPECT_TRUE(holds(compare_value(CompareResult::kNotEqual, "a", "")));
}

TEST(Txn, CompareOnAMissingKeyIsOnAZeroOneButNeverOnAValue) {
  Store s;
  auto holds = [&](Compare c) { return txn_of(s.apply(txn({c}, {}))).succeeded; };
  EXPECT_TRUE(holds(compare(CompareTarget::kVersion, CompareResult::kEqual, "x", 0)));
  EXPECT_TRUE(holds(compare(CompareTarget::kCreate, CompareResult::kLess, "x", 1)));
  EXPECT_FALSE(holds(compare_value(CompareResult::kEqual, "x", "")));
  EXPECT_FALSE(holds(compare_value(CompareResult::kNotEqual, "x", "y")));
  Compare range = compare(CompareTarget::kVersion, CompareResult::kEqual, "x", 0);
  range.range_end = "z";
  EXPECT_TRUE(holds(range));
}

TEST(Txn, CompareOverARangeMustHoldForEveryKey) {
  Store s;
  s.apply(put("a", "1"));
  s.apply(put("b", "1"));
  Compare c = compare(CompareTarget::kVersion, CompareResult::kEqual, "a", 1);
  c.range_end = "z";
  EXPECT_TRUE(txn_of(s.apply(txn({c}, {}))).succeeded);
  s.apply(put("b", "2"));
  EXPECT_FALSE(txn_of(s.apply(txn({c}, {}))).succeeded);
}

TEST(Txn, ComparesOfAllLevelsComeBeforeAnyOperation) {
  Store s;
  s.apply(put("a", "1"));
  TxnRequest nested = txn({compare_value(CompareResult::kEqual, "a", "1")}, {{put("then", "x")}}, {{put("else", "x")}});
  TxnRequest outer = txn({}, {{put("a", "2")}, {nested}});
  ApplyResult r = s.apply(outer);
  EXPECT_TRUE(std::get<TxnResult>(txn_of(r).results[1].result).succeeded);
  EXPECT_EQ(s.range(get("then")).count, 1);
  EXPECT_EQ(s.range(get("else")).count, 0);
}

TEST(Txn, ABadRevisionInAnyRangeFailsItWhole) {
  Store s;
  s.apply(put("a", "1"));
  EXPECT_EQ(s.apply(txn({}, {{put("b", "1")}, {get("a", "", 3)}})).status, err_future_revision());
  s.apply(put("c", "1"));
  s.apply(CompactRequest{3});
  TxnRequest nested = txn({}, {{get("a", "", 2)}});
  EXPECT_EQ(s.apply(txn({}, {{put("b", "1")}, {nested}})).status, err_compacted());
  EXPECT_EQ(s.apply(txn({}, {{put("b", "1")}, {put("d", "1", 55)}})).status, err_lease_not_found());
  EXPECT_EQ(s.range(get("b")).count, 0);
  EXPECT_EQ(s.keyspace.revision(), 3);
  // the branch not taken is not looked at
  EXPECT_TRUE(s.apply(txn({}, {{put("b", "1")}}, {{get("a", "", 99)}})).status.is_ok());
}

TEST(Txn, PutAndDeleteOfOneKeyInSiblingTxnsAreTwoRecordsOfOneRevision) {
  Store s;
  TxnRequest first = txn({}, {{put("k", "v")}}), second = txn({}, {{del("k")}});
  TxnRequest both = txn({}, {{first}, {second}});
  ASSERT_TRUE(check(both, {}).is_ok());
  ApplyResult r = s.apply(both);
  ASSERT_EQ(r.events.size(), 2u);
  EXPECT_EQ(s.range(get("k")).count, 0);
  EXPECT_EQ(s.range(get("k", "", 2)).count, 0);
  s.apply(CompactRequest{2});
  while (s.keyspace.compact_slice(9)) {
  }
  EXPECT_EQ(s.keyspace.revisions_of("k", {2, 0}, 9).size(), 2u);  // a watcher may start at 2
}

TEST(Lease, GrantAttachRevoke) {
  Store s;
  EXPECT_TRUE(s.apply(LeaseGrantRequest{7, 10}).status.is_ok());
  EXPECT_EQ(s.apply(LeaseGrantRequest{7, 10}).status, err_lease_exists());
  EXPECT_EQ(s.apply(LeaseGrantRequest{8, 9'000'000'001}).status, err_lease_ttl_too_large());
  EXPECT_EQ(s.apply(LeaseRevokeRequest{9}).status, err_lease_not_found());
  s.apply(LeaseGrantRequest{8, 10});
  for (const char* key : {"c", "a", "b", "moved", "gone"}) s.apply(put(key, "v", 7));
  s.apply(put("moved", "v", 8));
  s.apply(del("gone"));
  EXPECT_EQ(s.keyspace.lease_keys(7), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(s.keyspace.lease(7)->keys, 3u);
  int64_t before = s.keyspace.revision();
  ApplyResult r = s.apply(LeaseRevokeRequest{7});
  EXPECT_EQ(r.revision, before + 1);
  ASSERT_EQ(r.events.size(), 3u);
  EXPECT_EQ(r.events[0].record.key, "a");
  EXPECT_EQ(r.events[2].record.key, "c");
  EXPECT_EQ(r.events[2].record.position, (Position{before + 1, 2}));
  EXPECT_FALSE(s.keyspace.lease(7));
  EXPECT_EQ(s.apply(LeaseRevokeRequest{8}).revision, before + 2);
  s.apply(LeaseGrantRequest{10, 5});
  EXPECT_EQ(s.apply(LeaseRevokeRequest{10}).revision, before + 2);  // no keys, no revision
}

TEST(Checkpoint, RecordsAreWrittenOnceAndTheDeadAreNamedOnce) {
  Store s;  // Store::checkpoint checks both
  for (int i = 0; i < 20; ++i) s.apply(put("k" + std::to_string(i % 4), "v"));
  s.checkpoint();
  EXPECT_EQ(s.disk.size(), 20u);
  for (int i = 0; i < 20; ++i) s.apply(put("k" + std::to_string(i % 4), "v"));
  s.apply(CompactRequest{41});
  while (s.keyspace.compact_slice(2)) {
  }
  s.checkpoint();
  EXPECT_EQ(s.disk.size(), 4u);
  s.apply(LeaseGrantRequest{1, 5});
  s.apply(LeaseGrantRequest{2, 5});
  s.checkpoint();
  EXPECT_EQ(s.side_disk.size(), 3u);  // two leases and the chained checksum
  s.apply(LeaseRevokeRequest{1});
  s.apply(LeaseGrantRequest{3, 5});
  s.apply(LeaseRevokeRequest{3});  // never seen by a checkpoint
  s.checkpoint();
  EXPECT_EQ(s.side_disk.size(), 2u);
}

TEST(Checkpoint, WhatDiesWhileItIsWrittenIsNamedByTheNextOne) {
  Store s;
  s.apply(put("a", "1"));
  s.apply(put("a", "2"));
  FrozenTail tail = s.keyspace.freeze();
  EXPECT_EQ(tail.records.size(), 2u);
  s.apply(CompactRequest{3});
  while (s.keyspace.compact_slice(10)) {
  }
  s.keyspace.flushed();
  FrozenTail next = s.keyspace.freeze();
  EXPECT_TRUE(next.records.empty());
  ASSERT_EQ(next.dead_keys.size(), 1u);
  EXPECT_EQ(next.dead_keys[0], (Position{2, 0}));
  EXPECT_EQ(next.compact_revision, 3);
}

TEST(Checkpoint, AReloadGivesTheSameStateAndFinishesTheCompaction) {
  Store s;
  s.apply(LeaseGrantRequest{7, 60});
  for (int i = 0; i < 500; ++i) {
    s.apply(put("key" + std::to_string(i % 90), "value" + std::to_string(i), i % 3 ? 0 : 7));
    if (i % 7 == 0) s.apply(del("key" + std::to_string(i % 50)));
  }
  s.apply(CompactRequest{s.keyspace.revision() - 100});
  s.keyspace.compact_slice(20);  // only begun
  s.checkpoint();
  Keyspace again = s.reload();
  EXPECT_EQ(again.state_hash(), s.keyspace.state_hash());
  while (s.keyspace.compact_slice(1000)) {
  }
  EXPECT_FALSE(again.compaction_pending());
  EXPECT_EQ(again.stats().revisions, s.keyspace.stats().revisions);
  EXPECT_EQ(again.stats().bytes_logical, s.keyspace.stats().bytes_logical);
  EXPECT_EQ(again.lease_keys(7), s.keyspace.lease_keys(7));
  EXPECT_EQ(again.lease(7)->ttl, 60);
  // The rest of the dead is found again: both name the same ones.
  auto dead = [](Keyspace& keyspace) {
    auto list = keyspace.freeze().dead_keys;
    std::sort(list.begin(), list.end());
    return list;
  };
  EXPECT_EQ(dead(again), dead(s.keyspace));
}

TEST(Cold, ValuesAreFetchedForReadsAndForApply) {
  Store s({.cache_bytes_max = 0});
  s.apply(put("a", "one"));
  s.apply(put("b", "two"));
  s.apply(put("a", "three"));
  s.drop_cache();
  s.apply(put("z", "1"));
  s.drop_cache();
  EXPECT_EQ(text(s.range(get("a", "c")).kvs), "a=three b=two");
  EXPECT_EQ(text(s.range(get("a", "c", 3)).kvs), "a=one b=two");
  EXPECT_GT(s.fetched, 0u);
  s.fetched = 0;
  RangeRequest keys = get("a", "c");
  keys.keys_only = true;
  EXPECT_EQ(s.range(keys).count, 2);
  EXPECT_EQ(s.fetched, 0u);  // the index knows
  EXPECT_TRUE(txn_of(s.apply(txn({compare_value(CompareResult::kEqual, "a", "three")}, {}))).succeeded);
  EXPECT_EQ(s.fetched, 1u);
  PutRequest r = put("a", "");
  r.ignore_value = true;
  s.apply(r);
  EXPECT_EQ(text(s.range(get("a")).kvs), "a=three");
  DeleteRangeRequest d = del("a", "c");
  d.prev_kv = true;
  EXPECT_EQ(text(deleted(s.apply(d)).prev_kvs), "a=three b=two");
}

TEST(Cold, ALimitedRangeBehindADeleteInATxnFindsItsValues) {
  Store s({.cache_bytes_max = 0});
  for (char c = 'a'; c < 'k'; ++c) s.apply(put(std::string(1, c), std::string(1, c)));
  s.drop_cache();
  RangeRequest limited = get("a", "z");
  limited.limit = 2;
  ApplyResult r = s.apply(txn({}, {{del("a", "d")}, {limited}}));
  EXPECT_EQ(text(std::get<RangeResult>(txn_of(r).results[1].result).kvs), "d=d e=e");
}

TEST(Cold, AFetchedValueCanBeCachedUnlessItIsOld) {
  Store s({.cache_bytes_max = 1 << 20});
  s.apply(put("a", "one"));
  s.checkpoint();
  Store cold({.cache_bytes_max = 1 << 20});
  cold.disk = s.disk;
  cold.side_disk = s.side_disk;
  cold.revision_on_disk = 2;
  cold.keyspace = cold.reload();
  ColdRecords values;
  cold.fetch({{2, 0}}, values);
  cold.keyspace.cache({2, 0}, *values.find({2, 0}));
  cold.fetched = 0;
  EXPECT_EQ(text(cold.range(get("a")).kvs), "a=one");
  EXPECT_EQ(cold.fetched, 0u);
  cold.applied = 100;
  cold.apply(put("a", "two"));
  cold.keyspace.cache({2, 0}, *values.find({2, 0}));
  EXPECT_EQ(text(cold.range(get("a")).kvs), "a=two");
}

TEST(Cold, AVersionBeyondTheSlotIsReadFromTheRecord) {
  Store s;
  KeyRecord r;
  r.position = {5, 0};
  r.create = 2;
  r.version = int64_t{1} << 33;
  r.key = "k";
  r.value = "v";
  append_key_record(s.disk[{5, 0}], r);
  s.revision_on_disk = 5;
  s.keyspace = s.reload();
  EXPECT_EQ(s.range(get("k")).kvs.items[0].version, int64_t{1} << 33);
  s.apply(put("k", "w"));
  EXPECT_EQ(s.range(get("k")).kvs.items[0].version, (int64_t{1} << 33) + 1);
  EXPECT_TRUE(txn_of(s.apply(txn({compare(CompareTarget::kVersion, CompareResult::kEqual, "k", r.version + 1)}, {})))
                  .succeeded);
}

TEST(Cache, StaysWithinItsBudgetAndKeepsWhatIsUsed) {
  Store s({.cache_bytes_max = 4 << 20});
  std::string value(1000, 'x');
  for (int i = 0; i < 12'000; ++i) {  // 12 MB
    s.apply(put("key" + std::to_string(i), value));
    if (i % 1000 == 999) {
      s.checkpoint();
      for (int j = 0; j < 500; ++j) s.range(get("key" + std::to_string(j)));
      while (s.keyspace.trim_cache(1)) {
      }
    }
  }
  EXPECT_LE(s.keyspace.stats().bytes_cached, size_t{5} << 20);
  s.fetched = 0;
  for (int j = 0; j < 500; ++j) s.range(get("key" + std::to_string(j)));
  EXPECT_EQ(s.fetched, 0u);
  for (int j = 1000; j < 1500; ++j) s.range(get("key" + std::to_string(j)));
  EXPECT_GT(s.fetched, 400u);
}

TEST(Cache, GarbageGoesBeforeLiveValuesDo) {
  Store s({.cache_bytes_max = 8 << 20});
  std::string value(1000, 'x');
  for (int i = 0; i < 2000; ++i) s.apply(put("quiet" + std::to_string(i), value));  // 2 MB, never touched again
  for (int i = 0; i < 30'000; ++i) {
    s.apply(put("busy", value));
    if (i % 1000 == 0) {
      s.checkpoint();
      while (s.keyspace.trim_cache(1)) {
      }
    }
  }
  s.fetched = 0;
  for (int i = 0; i < 2000; ++i) s.range(get("quiet" + std::to_string(i)));
  EXPECT_EQ(s.fetched, 0u);
}

TEST(Cache, ResultsOutliveEvictionAndCompaction) {
  Store s({.cache_bytes_max = 0});
  s.apply(put("a", "one"));
  s.apply(put("b", std::string(300'000, 'y')));
  RangeResult kept = s.range(get("a", "z"));
  RangeRequest keys = get("a", "z");
  keys.keys_only = true;
  RangeResult kept_keys = s.range(keys);
  s.apply(del("a", "z"));
  s.apply(CompactRequest{s.keyspace.revision()});
  s.drop_cache();
  s.apply(put("z", "z"));
  s.apply(CompactRequest{s.keyspace.revision()});
  while (s.keyspace.compact_slice(10)) {
  }
  EXPECT_EQ(kept.kvs.items[0].value, "one");
  EXPECT_EQ(kept.kvs.items[1].value, std::string(300'000, 'y'));
  EXPECT_EQ(text(kept_keys.kvs), "a= b=");
}

TEST(Cursor, PagesAreOneRevisionHoweverTheStoreChanges) {
  Store s;
  for (int i = 0; i < 1000; ++i) s.apply(put("k" + std::to_string(1000 + i), std::to_string(i)));
  RangeRequest request = get("k", "l");
  request.limit = 700;
  auto cursor = RangeCursor::open(s.keyspace, request);
  ASSERT_TRUE(cursor.is_ok());
  std::vector<std::string> got;
  int steps = 0;
  while (!cursor->done()) {
    RangePage page = cursor->step({.keys = 64, .bytes = 1 << 20}, {});
    ASSERT_TRUE(page.missing.empty());
    EXPECT_LE(page.kvs.items.size(), 64u);
    for (auto& kv : page.kvs.items) got.push_back(std::string(kv.key) + std::string(kv.value));
    s.apply(put("k" + std::to_string(1000 + (steps * 37) % 1000), "new"));
    s.apply(del("k" + std::to_string(1000 + (steps * 53) % 1000)));
    s.apply(put("k1" + std::to_string(steps), "added"));
    s.apply(CompactRequest{s.keyspace.revision()});
    while (s.keyspace.compact_slice(100)) {
    }
    ++steps;
  }
  ASSERT_EQ(got.size(), 700u);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], "k" + std::to_string(1000 + i) + std::to_string(i));
  EXPECT_EQ(cursor->count(), 1000);
  EXPECT_TRUE(cursor->more());
  EXPECT_EQ(cursor->revision(), 1001);
  EXPECT_GT(steps, 10);
}

TEST(Cursor, ColdPagesAreRepeatedWithTheirValues) {
  Store s({.cache_bytes_max = 0});
  for (int i = 0; i < 100; ++i) s.apply(put("k" + std::to_string(100 + i), std::to_string(i)));
  s.drop_cache();
  auto cursor = RangeCursor::open(s.keyspace, get("k", "l"));
  ColdRecords values;
  size_t got = 0;
  while (!cursor->done()) {
    RangePage page = cursor->step({.keys = 10, .bytes = 1 << 20}, values);
    if (!page.missing.empty()) {
      EXPECT_LE(page.missing.size(), 10u);
      s.fetch(page.missing, values);
      continue;
    }
    for (auto& kv : page.kvs.items) EXPECT_EQ(kv.value, std::to_string(got++));
  }
  EXPECT_EQ(got, 100u);
  EXPECT_EQ(cursor->count(), 100);
}

TEST(Check, RefusesWhatEtcdRefuses) {
  EXPECT_EQ(check(get("")), err_empty_key());
  RangeRequest sort = get("a");
  sort.sort_order = static_cast<SortOrder>(3);
  EXPECT_EQ(check(sort), err_invalid_sort_option());
  EXPECT_EQ(check(put("", "v")), err_empty_key());
  PutRequest p = put("a", "v", 3);
  p.ignore_value = true;
  EXPECT_EQ(check(p), err_value_provided());
  p.value = "";
  p.ignore_lease = true;
  EXPECT_EQ(check(p), err_lease_provided());
  EXPECT_EQ(check(del("")), err_empty_key());
  Limits limits{3};
  EXPECT_EQ(check(txn({}, {{put("a", "")}, {put("b", "")}, {put("c", "")}, {put("d", "")}}), limits),
            err_too_many_ops());
  EXPECT_EQ(check(txn({compare(CompareTarget::kMod, CompareResult::kEqual, "", 0)}, {}), limits), err_empty_key());
  EXPECT_EQ(check(txn({}, {RequestOp{}}), limits), err_key_not_found());
  // a nested txn has only what the levels above it left over
  TxnRequest inner = txn({}, {{put("a", "")}, {put("b", "")}});
  EXPECT_TRUE(check(txn({}, {{inner}}), limits).is_ok());
  EXPECT_EQ(check(txn({}, {{inner}, {put("c", "")}}), limits), err_too_many_ops());
}

TEST(Check, DuplicateKeysOnAllLevels) {
  auto dup = [](const TxnRequest& t) { return check(t, {}) == err_duplicate_key(); };
  EXPECT_TRUE(dup(txn({}, {{put("a", "1")}, {put("a", "2")}})));
  EXPECT_FALSE(dup(txn({}, {{put("a", "1")}}, {{put("a", "2")}})));
  EXPECT_TRUE(dup(txn({}, {{del("a", "c")}, {put("b", "2")}})));
  EXPECT_TRUE(dup(txn({}, {{put("b", "2")}, {del("a", "c")}})));
  EXPECT_FALSE(dup(txn({}, {{put("c", "2")}, {del("a", "c")}})));
  EXPECT_FALSE(dup(txn({}, {{del("a", "c")}, {del("b")}})));
  EXPECT_TRUE(dup(txn({}, {{del("a")}, {put("a", "2")}})));
  TxnRequest nested = txn({}, {{put("a", "1")}}, {{put("a", "2")}});
  EXPECT_FALSE(dup(txn({}, {{nested}})));
  EXPECT_TRUE(dup(txn({}, {{nested}, {nested}})));
  EXPECT_TRUE(dup(txn({}, {{nested}, {put("a", "3")}})));
  TxnRequest nested_delete = txn({}, {{del("a")}});
  EXPECT_TRUE(dup(txn({}, {{nested_delete}, {nested}})));
  EXPECT_FALSE(dup(txn({}, {{nested}, {nested_delete}})));  // etcd's order of checking lets this through
}

TEST(Check, WhatCountsAsARead) {
  EXPECT_TRUE(is_read_only(txn({}, {})));
  EXPECT_TRUE(is_read_only(txn({}, {{get("a")}})));
  EXPECT_FALSE(is_read_only(txn({}, {{del("a")}})));
  EXPECT_FALSE(is_read_only(txn({}, {{txn({}, {{get("a")}})}})));
  EXPECT_TRUE(is_serializable(txn({}, {})));
  EXPECT_FALSE(is_serializable(txn({}, {{get("a")}})));
  EXPECT_TRUE(has_put(txn({}, {}, {{txn({}, {{put("a", "")}})}})));
  EXPECT_FALSE(has_put(txn({}, {{del("a")}})));
}

TEST(Command, EveryKindSurvivesItsEncodingAndDamageIsRefused) {
  RangeRequest r = get("a", "b", 7);
  r.limit = -3;
  r.sort_order = SortOrder::kDescend;
  r.sort_target = SortTarget::kMod;
  r.keys_only = true;
  r.min_mod_revision = 5;
  PutRequest p = put("k", "v", -12);
  p.prev_kv = true;
  std::vector<Command> commands{
      p,
      del("a", "b"),
      txn({compare_value(CompareResult::kLess, "x", "y")}, {{r}, {p}}, {{txn({}, {{del("q")}})}, {}}),
      CompactRequest{9, true},
      LeaseGrantRequest{5, 60},
      LeaseRevokeRequest{-5},
      LeaseCheckpointRequest{{{1, 2}, {3, 4}}}};
  for (const Command& command : commands) {
    std::string bytes = encode_command(command);
    auto back = decode_command(bytes);
    ASSERT_TRUE(back.is_ok());
    EXPECT_EQ(encode_command(*back), bytes);
    for (size_t n = 0; n < bytes.size(); ++n)
      EXPECT_FALSE(decode_command(std::string_view(bytes).substr(0, n)).is_ok());
    EXPECT_FALSE(decode_command(bytes + "x").is_ok());
  }
  EXPECT_FALSE(decode_command("").is_ok());
  EXPECT_FALSE(decode_command("\x63").is_ok());
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += std::string("\x03\x00\x01", 3);  // a txn in a txn in a txn...
  EXPECT_FALSE(decode_command(deep).is_ok());
  auto back = decode_command(encode_command(commands[0]));
  ASSERT_TRUE(std::holds_alternative<PutRequest>(*back));
}

}  // namespace
}  // namespace fairlead::mvcc
