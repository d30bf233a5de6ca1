#include "server/mvcc/watch.h"

#include <algorithm>
#include <random>

#include "base/codec.h"
#include "server/mvcc/proto_encode.h"
#include "server/mvcc/test_util.h"

namespace fairlead::mvcc {
namespace {

using namespace test;

std::string event_bytes(const KeyRecord& record, const KeyRecord* prev = nullptr) {
  return encode_watch_event(record, prev).to_string();
}

// A hub on a Store; storage answers reads when told to.
struct Watched {
  explicit Watched(KeyspaceOptions options = {}, WatchLimits limits = {})
      : owned(std::make_unique<Store>(options)), hub(&owned->keyspace, limits) {
    stream = hub.open_stream();
  }
  Store& store() { return *owned; }
  ApplyResult apply(const Command& command) {
    ApplyResult r = store().apply(command);
    hub.applied(r);
    return r;
  }
  void answer(const HistoryRead& read) {
    if (!read.scan) {
      ColdRecords values;
      for (Position p : read.positions) {
        if (!store().disk.contains(p)) return hub.feed_failed(read.id);
        EXPECT_TRUE(values.add(p, Bytes::copy(store().disk[p])).is_ok());
      }
      return hub.feed_records(read.id, values);
    }
    std::vector<ColdRecords::Entry> records;
    Position next = read.to;
    size_t bytes = 0;
    for (auto it = store().disk.lower_bound(read.from); it != store().disk.end() && it->first < read.to; ++it) {
      if (bytes > 0 && bytes + it->second.size() > read.bytes_max) {
        next = it->first;
        break;
      }
      bytes += it->second.size();
      ColdRecords one;
      EXPECT_TRUE(one.add(it->first, Bytes::copy(it->second)).is_ok());
      records.push_back(one.begin()->second);
    }
    hub.feed_scan(read.id, records, next);
  }
  void catch_up() {
    for (int i = 0; i < 10'000; ++i) {
      auto reads = hub.catch_up(100);
      for (const auto& read : reads) answer(read);
      if (reads.empty() && !hub.catching_up()) return;
    }
    FAIL() << "catching up does not end";
  }
  // All messages since the last call, in words.
  std::string said() {
    std::string out;
    for (WatchBatch& batch : hub.take()) {
      for (const WatchMessage& m : batch.messages) {
        if (!out.empty()) out += "; ";
        out += std::to_string(m.watch_id) + "@" + std::to_string(m.revision);
        if (m.created) out += " created";
        if (m.canceled) out += " canceled";
        if (m.compact_revision) out += " compacted " + std::to_string(m.compact_revision);
        if (!m.cancel_reason.empty()) out += " (" + std::string(m.cancel_reason) + ")";
        for (size_t i = m.events_begin; i < m.events_end; ++i) out += " " + words(batch.events[i].view());
      }
    }
    return out;
  }
  // key=value or key! for a delete, [previous]
  static std::string words(std::string_view field) {
    EXPECT_EQ(field[0], 0x5a);
    Reader r(field.substr(1));
    std::string_view event = r.lengthed();
    EXPECT_TRUE(r.at_end());
    bool del = event[0] == 8;
    if (del) event.remove_prefix(2);
    auto kv = [&] {
      Reader outer(event.substr(1));
      std::string_view body = outer.lengthed();
      event = outer.rest();
      std::string key, value;
      for (Reader f(body); !f.at_end();) {
        uint64_t tag = f.varint();
        if ((tag & 7) == 2) {
          (tag >> 3 == 1 ? key : value) = std::string(f.lengthed());
        } else {
          f.varint();
        }
      }
      return std::pair{key, value};
    };
    auto [key, value] = kv();
    std::string out = del ? key + "!" : key + "=" + value;
    if (!event.empty()) out += "[" + kv().second + "]";
    return out;
  }
  void watch(std::string_view key, std::string_view end = {}, int64_t start = 0, bool prev = false, int64_t id = 0) {
    WatchCreateRequest r;
    r.key = key;
    r.range_end = end;
    r.start_revision = start;
    r.prev_kv = prev;
    r.watch_id = id;
    hub.create(stream, r);
  }

  std::unique_ptr<Store> owned;
  WatchHub hub;
  StreamId stream;
};

TEST(Encode, KeyValueAndEventAreCanonicalProtobuf) {
  KeyRecord r;
  r.position = {300, 0};
  r.create = 2;
  r.version = 7;
  r.lease = -1;
  r.key = "k";
  r.value = "vv";
  std::string kv;
  append_key_value(kv, to_key_value(r));
  EXPECT_EQ(kv, std::string(
                    "\x0a\x01k\x10\x02\x18\xac\x02\x20\x07\x2a\x02vv\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 25));
  std::string zero;
  append_key_value(zero, {});
  EXPECT_EQ(zero, "");
  KeyRecord gone;
  gone.position = {301, 0};
  gone.flags = kFlagTombstone;
  gone.key = "k";
  std::string event;
  KeyValue kv_gone = to_key_value(gone), prev = to_key_value(r);
  append_event(event, EventType::kDelete, kv_gone, &prev);
  EXPECT_EQ(event, std::string("\x08\x01\x12\x06\x0a\x01k\x18\xad\x02\x1a\x19", 12) + kv);
  EXPECT_EQ(event_bytes(gone, &r), std::string("\x5a", 1) + static_cast<char>(event.size()) + event);
  std::string field;
  append_key_value_field(field, 2, prev);
  EXPECT_EQ(field, std::string("\x12\x19", 2) + kv);
  EXPECT_EQ(field.size(), key_value_field_size(prev));
}

TEST(Watch, FromNowOnSeesWhatIsAppliedAfterItsCreatedReply) {
  Watched w;
  w.apply(put("a", "old"));
  w.watch("a");
  w.apply(put("a", "1"));
  w.apply(put("b", "2"));
  w.apply(del("a"));
  EXPECT_EQ(w.said(), "0@2 created; 0@3 a=1; 0@5 a!");
}

TEST(Watch, RangesFiltersAndIds) {
  Watched w;
  WatchCreateRequest r;
  r.key = "a";
  r.range_end = "c";
  r.no_put = true;
  r.watch_id = 7;
  w.hub.create(w.stream, r);
  r.no_put = false;
  r.no_delete = true;
  r.watch_id = 0;
  r.range_end = kFromKey;
  w.hub.create(w.stream, r);
  EXPECT_EQ(w.said(), "7@1 created; 0@1 created");
  w.apply(put("b", "1"));
  w.apply(put("c", "2"));
  w.apply(del("a", "d"));
  EXPECT_EQ(w.said(), "0@2 b=1; 0@3 c=2; 7@4 b!");
  EXPECT_EQ(w.hub.stats().events_total, 3u);
}

TEST(Watch, EventsOfOneTxnAreOneMessage) {
  Watched w;
  w.watch("a", "z");
  w.said();
  w.apply(txn({}, {{put("a", "1")}, {put("b", "2")}}));
  EXPECT_EQ(w.said(), "0@2 a=1 b=2");
}

TEST(Watch, BadRequestsGetEtcdsReasonsAndIdMinusOne) {
  Watched w;
  w.watch("b", "a");
  w.watch("a", "", -1);
  w.watch("a", "", 0, false, 5);
  w.watch("a", "", 0, false, 5);
  EXPECT_EQ(w.said(),
            "-1@1 created canceled (mvcc: watcher range is empty); "
            "-1@1 created canceled (etcdserver: mvcc: required revision has been compacted); "
            "5@1 created; "
            "-1@1 created canceled (mvcc: duplicate watch ID provided on the WatchStream)");
  w.hub.cancel(w.stream, 99);
  EXPECT_EQ(w.said(), "");
  w.hub.cancel(w.stream, 5);
  EXPECT_EQ(w.said(), "5@1 canceled");
  EXPECT_EQ(w.hub.stats().watchers, 0u);
}

TEST(Watch, AnEmptyKeyMeansTheSmallestOne) {
  Watched w;
  w.watch("", kFromKey);
  w.said();
  w.apply(put("a", "1"));
  EXPECT_EQ(w.said(), "0@2 a=1");
}

TEST(Watch, NumbersOfWatchersAreBounded) {
  Watched w({}, {.watchers_per_stream_max = 2, .watchers_max = 3});
  for (int i = 0; i < 3; ++i) w.watch("a");
  EXPECT_EQ(w.said(), "0@1 created; 1@1 created; -1@1 created canceled (etcdserver: too many watchers)");
  w.stream = w.hub.open_stream();
  w.watch("a");
  w.watch("a");
  EXPECT_EQ(w.said(), "0@1 created; -1@1 created canceled (etcdserver: too many watchers)");
  w.hub.close_stream(w.stream);
  EXPECT_EQ(w.hub.stats().watchers, 2u);
}

TEST(Watch, ThePastIsReplayedThenItJoins) {
  Watched w;
  for (int i = 2; i <= 6; ++i) w.apply(put(i % 2 ? "b" : "a", std::to_string(i)));
  w.watch("a", "", 3);
  w.watch("a", "c", 4);
  EXPECT_EQ(w.hub.stats().cursors, 2u);
  w.catch_up();
  EXPECT_EQ(w.said(), "0@6 created; 1@6 created; 0@6 a=4 a=6; 1@6 a=4 b=5 a=6");
  EXPECT_EQ(w.hub.stats().cursors, 0u);
  w.apply(put("a", "7"));
  EXPECT_EQ(w.said(), "0@7 a=7; 1@7 a=7");
}

TEST(Watch, TheFutureIsAwaitedSilently) {
  Watched w;
  w.watch("a", "", 4);
  w.hub.request_progress(w.stream);
  w.apply(put("a", "2"));
  w.apply(put("a", "3"));
  EXPECT_EQ(w.said(), "0@1 created");
  w.apply(put("a", "4"));
  EXPECT_EQ(w.said(), "0@4 a=4; -1@4");
}

TEST(Watch, PrevKvIsLeftOutForCreationsAndForEventsAtTheCompactRevision) {
  Watched w;
  w.watch("a", "", 0, true);
  w.said();
  w.apply(put("a", "1"));  // 2
  w.apply(put("a", "2"));  // 3
  w.apply(del("a"));       // 4
  w.apply(put("a", "5"));  // 5
  EXPECT_EQ(w.said(), "0@2 a=1; 0@3 a=2[1]; 0@4 a![2]; 0@5 a=5");
  w.apply(CompactRequest{3});
  w.watch("a", "b", 3, true);
  w.watch("a", "", 3, true);
  w.catch_up();
  EXPECT_EQ(w.said(), "1@5 created; 2@5 created; 2@5 a=2 a![2] a=5; 1@5 a=2 a![2] a=5");
}

TEST(Watch, CompactionPastACursorCancelsItWithTheCompactRevision) {
  Watched w;
  for (int i = 2; i <= 6; ++i) w.apply(put("a", std::to_string(i)));
  w.hub.set_ready(w.stream, false);
  w.watch("a", "", 2);
  w.watch("a", "", 5);
  w.apply(CompactRequest{5});
  EXPECT_EQ(w.said(), "0@6 created; 1@6 created; 0@0 canceled compacted 5");
  w.watch("a", "", 4);
  EXPECT_EQ(w.said(), "2@6 created; 2@0 canceled compacted 5");
  w.hub.set_ready(w.stream, true);
  w.catch_up();
  EXPECT_EQ(w.said(), "1@6 a=5 a=6");
}

TEST(Watch, AFullStreamIsNotBufferedAndLosesNothing) {
  Watched w;
  w.watch("a", "b");
  w.apply(put("a", "2"));
  w.hub.set_ready(w.stream, false);
  w.apply(put("a", "3"));
  for (int i = 0; i < 500; ++i) w.apply(put("a", "x"));
  EXPECT_EQ(w.hub.stats().cursors, 1u);
  EXPECT_FALSE(w.hub.catching_up());
  EXPECT_EQ(w.said(), "0@1 created; 0@2 a=2");
  w.hub.set_ready(w.stream, true);
  EXPECT_TRUE(w.hub.catching_up());
  w.catch_up();
  std::string all = w.said();
  EXPECT_EQ(std::count(all.begin(), all.end(), '='), 501);
  EXPECT_EQ(all.find("0@503 a=3 a=x"), 0u);
  w.apply(put("a", "last"));
  EXPECT_EQ(w.said(), "0@504 a=last");
}

TEST(Watch, WhoIsBehindIsNamed) {
  Watched w;
  w.watch("b", "c");
  w.watch("a");
  EXPECT_TRUE(w.hub.lags(100).empty());
  w.hub.set_ready(w.stream, false);
  w.apply(put("a", "1"));
  w.apply(put("b", "2"));
  std::vector<WatchLag> lags = w.hub.lags(100);
  ASSERT_EQ(lags.size(), 1u);
  EXPECT_EQ(lags[0].stream, w.stream);
  EXPECT_FALSE(lags[0].ready);
  EXPECT_EQ(lags[0].watchers, 2u);
  EXPECT_EQ(lags[0].cursors, 2u);
  EXPECT_EQ(lags[0].key, "a") << "the farthest behind";
  EXPECT_EQ(lags[0].range_end, "");
  EXPECT_EQ(lags[0].next_revision, 2);
  EXPECT_TRUE(w.hub.lags(0).empty());
  w.hub.set_ready(w.stream, true);
  w.catch_up();
  EXPECT_TRUE(w.hub.lags(100).empty());
}

TEST(Watch, BytesQueuedForAStreamAreBounded) {
  Watched w({}, {.stream_bytes_max = 1000});
  w.watch("a", "b");
  for (int i = 0; i < 100; ++i) w.apply(put("a", std::string(100, 'x')));
  EXPECT_LE(w.hub.stats().pending_events, 10u);
  size_t total = 0;
  for (int i = 0; i < 200 && total < 100; ++i) {
    w.hub.catch_up(10);
    for (auto& batch : w.hub.take()) {
      EXPECT_LE(batch.bytes, 3000u);
      total += batch.events.size();
    }
  }
  EXPECT_EQ(total, 100u);
}

TEST(Watch, HistoryAndPreviousValuesComeFromStorageWhenMemoryIsShort) {
  Watched w({.cache_bytes_max = 0});
  for (int i = 2; i <= 9; ++i) w.apply(put(i % 2 ? "b" : "a", std::to_string(i)));
  w.store().drop_cache();
  w.apply(put("a", "10"));
  w.store().drop_cache();
  w.watch("a", "", 2, true);
  w.watch("a", "c", 3, true);
  w.watch("b", "c", 2);
  w.catch_up();
  EXPECT_EQ(w.hub.stats().cursors, 0u);
  std::string all = w.said();
  EXPECT_NE(all.find("0@10 a=2 a=4[2] a=6[4] a=8[6] a=10[8]"), std::string::npos) << all;
  EXPECT_NE(all.find("2@10 b=3 b=5 b=7 b=9"), std::string::npos) << all;
  std::string ones;  // of watcher 1, in whatever messages
  for (size_t at = 0; (at = all.find("1@10 ", at)) != std::string::npos; ++at) {
    size_t end = all.find(';', at);
    ones += all.substr(at + 5, end == std::string::npos ? end : end - at - 5) + " ";
  }
  EXPECT_EQ(ones, "created b=3 a=4[2] b=5[3] a=6[4] b=7[5] a=8[6] b=9[7] a=10[8] ");
  // live, but the previous value is not in memory: it takes the way over history, once
  w.apply(put("b", "11"));
  w.apply(put("a", "12"));
  EXPECT_EQ(w.said(), "2@11 b=11");
  w.catch_up();
  all = w.said();
  EXPECT_NE(all.find("0@12 a=12[10]"), std::string::npos) << all;
  EXPECT_NE(all.find("b=11[9]"), std::string::npos) << all;
}

TEST(Watch, AnEntryWithVeryManyEventsIsReadFromHistoryAndIsStillOneMessage) {
  Watched w({}, {.scan_bytes = 20'000});
  int n = static_cast<int>(kEventsMax) + 5000;
  for (int i = 0; i < n; ++i) w.apply(put("k" + std::to_string(i), "v"));
  w.watch("k", "l");
  w.watch("k7");
  w.said();
  ApplyResult r = w.apply(del("k", "l"));
  EXPECT_TRUE(r.events_omitted);
  EXPECT_TRUE(r.events.empty());
  EXPECT_EQ(w.hub.stats().cursors, 2u);
  std::vector<size_t> sizes;
  int steps = 0;
  for (; w.hub.catching_up(); ++steps) {
    w.hub.catch_up(1000);
    for (auto& batch : w.hub.take()) {
      for (auto& m : batch.messages) sizes.push_back(m.events_end - m.events_begin);
    }
  }
  EXPECT_GT(steps, 10);
  std::sort(sizes.begin(), sizes.end());
  EXPECT_EQ(sizes, (std::vector<size_t>{1, static_cast<size_t>(n)}));
}

TEST(Progress, IsAnsweredOnceForAllWhenAllHaveCaughtUp) {
  Watched w;
  w.hub.request_progress(w.stream);  // no watcher: no answer
  EXPECT_FALSE(w.hub.has_output());
  w.apply(put("a", "1"));
  w.watch("a");
  w.watch("a", "", 2);
  w.hub.request_progress(w.stream);
  w.hub.request_progress(w.stream);
  EXPECT_EQ(w.said(), "0@2 created; 1@2 created");
  w.catch_up();
  EXPECT_EQ(w.said(), "1@2 a=1; -1@2");
  EXPECT_EQ(w.said(), "");
}

TEST(Progress, TicksGoToThoseWhoAskedAndWereSentNothing) {
  Watched w;
  WatchCreateRequest r;
  r.key = "a";
  r.progress_notify = true;
  w.hub.create(w.stream, r);
  r.key = "b";
  w.hub.create(w.stream, r);
  r.progress_notify = false;
  w.hub.create(w.stream, r);
  w.said();
  w.apply(put("a", "1"));
  w.hub.progress_tick();
  EXPECT_EQ(w.said(), "0@2 a=1; 1@2");
  w.hub.progress_tick(w.stream);
  EXPECT_EQ(w.said(), "0@2; 1@2");
}

// Random writes, compactions, checkpoints, evictions, slow streams, watchers that come and go. Each watcher must get
// exactly the events of the reference history that it asked for: none lost, doubled, disordered or torn apart.
struct Reference {
  struct Change {
    Position position;
    std::string key;
    std::string with, without;  // encoded
  };
  std::vector<Change> changes;
  std::map<std::string, std::string> newest;  // key -> encoded record, live ones
};

bool is_delete(std::string_view field) {
  Reader r(field.substr(1));
  return r.lengthed()[0] == 8;
}

struct Follower {
  StreamId stream = 0;
  int64_t id = -1;
  std::string key, end;
  bool prev_kv = false, no_put = false, no_delete = false;
  int64_t start = 0;
  std::vector<std::string> got;
  bool canceled = false;
  int64_t compacted = 0;

  bool holds(const std::string& k) const { return end.empty() ? k == key : k >= key && (end == kFromKey || k < end); }
};

// A member that lagged behind gets a snapshot: another state, ahead of its own by what `missed` applies.
void install(Watched& w, const std::function<void(Store&)>& missed) {
  w.store().checkpoint();
  auto ahead = std::make_unique<Store>(KeyspaceOptions{});
  ahead->disk = w.store().disk;
  ahead->side_disk = w.store().side_disk;
  ahead->revision_on_disk = w.store().revision_on_disk;
  ahead->compact_on_disk = w.store().compact_on_disk;
  ahead->applied = w.store().applied;
  ahead->keyspace = w.store().reload();
  missed(*ahead);
  ahead->checkpoint();
  ahead->keyspace = ahead->reload();  // as after an install: nothing is in memory
  w.hub.continue_on(&ahead->keyspace);
  w.owned = std::move(ahead);
}

TEST(Watch, GoesOnBehindWhatItHasSeenWhenASnapshotIsInstalled) {
  Watched w;
  StreamId slow = w.hub.open_stream();
  WatchCreateRequest all;
  all.key = "a";
  all.range_end = kFromKey;
  WatchCreateRequest future = all;
  all.prev_kv = true;
  future.start_revision = 5;
  WatchCreateRequest one;
  one.key = "b";
  w.hub.create(w.stream, all);
  w.hub.create(w.stream, one);
  w.hub.create(w.stream, future);
  w.hub.create(slow, all);
  w.said();
  w.apply(put("a", "1"));
  EXPECT_EQ(w.said(), "0@2 a=1; 0@2 a=1");
  w.hub.set_ready(slow, false);
  w.apply(put("b", "1"));
  EXPECT_EQ(w.said(), "1@3 b=1; 0@3 b=1");
  install(w, [](Store& ahead) {
    ahead.apply(put("a", "2"));
    ahead.apply(put("b", "2"));
  });
  w.catch_up();
  EXPECT_EQ(w.said(), "1@5 b=2; 2@5 b=2; 0@5 a=2[1] b=2[1]");
  w.apply(put("b", "3"));
  w.catch_up();
  EXPECT_EQ(w.said(), "1@6 b=3; 2@6 b=3; 0@6 b=3[2]");
  w.hub.set_ready(slow, true);
  w.catch_up();
  EXPECT_EQ(w.said(), "0@6 b=1; 0@6 a=2[1] b=2[1]; 0@6 b=3[2]") << "the slow one goes on where it was";
}

TEST(Watch, IsCancelledWhenASnapshotsCompactionTookWhatItHasNotSeen) {
  Watched w;
  WatchCreateRequest a;
  a.key = "a";
  w.hub.create(w.stream, a);
  w.apply(put("a", "1"));
  w.said();
  install(w, [](Store& ahead) {
    ahead.apply(put("a", "2"));
    ahead.apply(put("a", "3"));
    ahead.apply(CompactRequest{4});
  });
  w.catch_up();
  EXPECT_EQ(w.said(), "0@0 canceled compacted 4");
}

TEST(Watch, NothingIsLostBySnapshotOfTheSameRevision) {
  Watched w;
  WatchCreateRequest a;
  a.key = "a";
  w.hub.create(w.stream, a);
  w.apply(put("a", "1"));
  w.said();
  install(w, [](Store&) {});
  EXPECT_FALSE(w.hub.catching_up());
  w.apply(put("a", "2"));
  EXPECT_EQ(w.said(), "0@3 a=2");
}

class WatchRandom : public testing::TestWithParam<int> {};

TEST_P(WatchRandom, EveryWatcherSeesItsHistoryOnceAndInOrder) {
  std::mt19937_64 rng(static_cast<uint64_t>(GetParam()));
  Watched w({.cache_bytes_max = GetParam() % 3 ? 0 : size_t{2} << 20}, {.stream_bytes_max = 2000,
                                                                        .scan_bytes = 800,
                                                                        .reads_in_flight_max = 3,
                                                                        .records_per_read_max = 4,
                                                                        .riders_per_step_max = 5});
  Reference ref;
  std::vector<StreamId> streams{w.stream};
  for (int i = 0; i < 4; ++i) streams.push_back(w.hub.open_stream());
  std::map<StreamId, bool> ready;
  std::map<std::pair<StreamId, int64_t>, Follower> followers;
  std::vector<Follower> finished;
  std::vector<HistoryRead> reads;
  uint64_t compacted_cancels = 0, replies = 0, installs = 0;
  std::map<StreamId, std::vector<Follower>> asked;  // waiting for their created reply

  auto key = [&] { return std::string(1, static_cast<char>('a' + rng() % 6)) + std::to_string(rng() % 4); };
  auto apply_to = [&](Store& store, const Command& command) {
    ApplyResult result = store.apply(command);
    // what a previous value is, independently of the hub: the state before this entry
    auto before = ref.newest;
    for (const Event& event : result.events) {
      Reference::Change change;
      change.position = event.record.position;
      change.key = std::string(event.record.key);
      change.without = event_bytes(event.record);
      auto it = before.find(change.key);
      bool creation = !event.record.tombstone() && event.record.create == event.record.position.main;
      change.with = change.without;
      if (it != before.end() && !creation) {
        KeyRecord prev = trusted_key_record(it->second);
        change.with = event_bytes(event.record, &prev);
      }
      ref.changes.push_back(change);
      if (event.record.tombstone()) {
        ref.newest.erase(change.key);
      } else {
        std::string bytes;
        append_key_record(bytes, event.record);
        ref.newest[change.key] = bytes;
      }
    }
    return result;
  };
  auto apply = [&](const Command& command) { w.hub.applied(apply_to(w.store(), command)); };
  auto receive = [&] {
    for (WatchBatch& batch : w.hub.take()) {
      for (const WatchMessage& m : batch.messages) {
        ++replies;
        if (m.created) {
          Follower f = asked[batch.stream].front();
          asked[batch.stream].erase(asked[batch.stream].begin());
          f.id = m.watch_id;
          if (f.start == 0) f.start = m.revision + 1;
          ASSERT_TRUE(followers.emplace(std::pair{batch.stream, m.watch_id}, f).second);
          continue;
        }
        if (m.watch_id == -1) {  // progress: all of the stream's watchers have everything up to here
          for (auto& [at, f] : followers) {
            if (at.first != batch.stream) continue;
            size_t want = 0;
            for (auto& c : ref.changes) {
              want += c.position.main >= f.start && c.position.main <= m.revision && f.holds(c.key) &&
                      !(is_delete(c.without) ? f.no_delete : f.no_put);
            }
            ASSERT_EQ(f.got.size(), want) << "progress came before an event";
          }
          continue;
        }
        auto it = followers.find({batch.stream, m.watch_id});
        ASSERT_TRUE(it != followers.end()) << "a message for a watcher that is gone or was not created";
        for (size_t i = m.events_begin; i < m.events_end; ++i) it->second.got.push_back(batch.events[i].to_string());
        if (m.canceled) {
          it->second.canceled = true;
          it->second.compacted = m.compact_revision;
          compacted_cancels += m.compact_revision != 0;
          finished.push_back(it->second);
          followers.erase(it);
        }
      }
    }
  };
  auto expected = [&](const Follower& f) {
    std::vector<const Reference::Change*> list;
    for (auto& c : ref.changes) {
      bool tombstone = is_delete(c.without);
      if (c.position.main >= f.start && f.holds(c.key) && !(tombstone ? f.no_delete : f.no_put)) list.push_back(&c);
    }
    return list;
  };
  auto verify = [&](const Follower& f, bool whole) {
    auto list = expected(f);
    ASSERT_LE(f.got.size(), list.size());
    if (whole) {
      ASSERT_EQ(f.got.size(), list.size())
          << "watcher " << f.id << " of [" << f.key << "," << f.end << ") from " << f.start;
    }
    for (size_t i = 0; i < f.got.size(); ++i) {
      // prev_kv may be left out where it was compacted away at the time
      bool same = f.got[i] == (f.prev_kv ? list[i]->with : list[i]->without);
      bool left_out =
          f.prev_kv && f.got[i] == list[i]->without && list[i]->position.main <= w.store().keyspace.compact_revision();
      ASSERT_TRUE(same || left_out) << "event " << i << " at " << list[i]->position.main << " of watcher " << f.id;
    }
    if (!f.got.empty() && f.got.size() < list.size()) {
      EXPECT_NE(list[f.got.size() - 1]->position.main, list[f.got.size()]->position.main)
          << "a revision was torn apart";
    }
  };

  for (int step = 0; step < 6000 && !HasFatalFailure(); ++step) {
    StreamId s = streams[rng() % streams.size()];
    switch (rng() % 24) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
      case 5:
      case 6: {
        std::string k = key(), v(rng() % 60, 'v');
        apply(put(k, v));
        break;
      }
      case 7: {
        std::string k = key();
        apply(del(k));
        break;
      }
      case 8: {
        std::string a = key(), b = key();
        apply(del(a, b));
        break;
      }
      case 9:
      case 10: {
        std::vector<std::string> keys;
        for (int i = 0; i < 6; ++i) keys.push_back(key());
        std::sort(keys.begin(), keys.end());
        keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
        TxnRequest t;
        for (auto& k : keys) t.success.push_back({put(k, "txn")});
        TxnRequest inner;
        inner.success.push_back({del(keys[0])});
        if (rng() % 4 == 0) t.success.push_back({inner});  // a second record of the key in one revision
        if (rng() % 4 != 0) std::swap(t.success.front(), t.success.back());
        apply(t);
        break;
      }
      case 11:
      case 12: {
        if (followers.size() > 40) break;
        WatchCreateRequest r;
        Follower f;
        f.stream = s;
        f.key = key();
        if (rng() % 3) f.end = rng() % 4 ? key() : kFromKey;
        if (!f.end.empty() && f.end != kFromKey && f.end <= f.key) f.end = "z";
        f.prev_kv = rng() % 2;
        f.no_put = rng() % 8 == 0;
        f.no_delete = rng() % 8 == 0;
        int64_t now = w.store().keyspace.revision(),
                low = std::max<int64_t>(1, w.store().keyspace.compact_revision() - 1);
        if (rng() % 3) f.start = low + static_cast<int64_t>(rng() % static_cast<uint64_t>(now + 4 - low));
        r.key = f.key;
        r.range_end = f.end;
        r.start_revision = f.start;
        r.prev_kv = f.prev_kv;
        r.no_put = f.no_put;
        r.no_delete = f.no_delete;
        asked[s].push_back(f);
        w.hub.create(s, r);
        break;
      }
      case 13: {
        if (followers.empty() || rng() % 3) break;
        receive();
        auto it = std::next(followers.begin(), static_cast<long>(rng() % followers.size()));
        w.hub.cancel(it->first.first, it->first.second);
        break;
      }
      case 14:
        w.hub.set_ready(s, ready[s] = !ready[s]);
        break;
      case 15: {
        if (rng() % 5) break;
        int64_t low = std::max<int64_t>(1, w.store().keyspace.compact_revision()), now = w.store().keyspace.revision();
        if (now - low > 60)
          apply(CompactRequest{low + static_cast<int64_t>(rng() % static_cast<uint64_t>(now - low - 40))});
        break;
      }
      case 16:
        w.store().keyspace.compact_slice(5);
        break;
      case 17:
        w.store().keyspace.trim_cache(1 + rng() % 3);
        break;
      case 18:
        if (rng() % 3 == 0) w.store().checkpoint();
        break;
      case 19:
        w.hub.request_progress(s);
        if (rng() % 8 == 0) {
          reads.clear();
          install(w, [&](Store& ahead) {
            for (uint64_t n = rng() % 30; n > 0; --n) {
              std::string k = key(), v(rng() % 60, 's');
              if (rng() % 4)
                apply_to(ahead, put(k, v));
              else
                apply_to(ahead, del(k));
            }
          });
          ++installs;
        }
        break;
      case 20:
      case 21: {
        auto more = w.hub.catch_up(1 + rng() % 40);
        reads.insert(reads.end(), more.begin(), more.end());
        break;
      }
      case 22:
        if (!reads.empty()) {  // answers come in any order, some not at all
          size_t i = rng() % reads.size();
          HistoryRead read = reads[i];
          reads.erase(reads.begin() + static_cast<long>(i));
          if (rng() % 8 == 0) {
            w.hub.feed_failed(read.id);
          } else {
            w.answer(read);
          }
        }
        break;
      default:
        receive();
    }
    if (step % 500 == 0) {
      receive();
      for (auto& [at, f] : followers) verify(f, false);
    }
  }
  for (StreamId s : streams) w.hub.set_ready(s, true);
  for (const auto& read : reads) w.answer(read);
  for (int i = 0; i < 20'000; ++i) {
    auto more = w.hub.catch_up(50);
    for (const auto& read : more) w.answer(read);
    receive();
    if (more.empty() && !w.hub.catching_up() && !w.hub.has_output()) break;
  }
  EXPECT_EQ(w.hub.stats().cursors, 0u);
  for (auto& [at, f] : followers) verify(f, true);
  for (auto& f : finished) verify(f, false);
  EXPECT_GT(compacted_cancels, 0u);
  EXPECT_GT(finished.size(), 20u);
  EXPECT_GT(replies, 500u);
  EXPECT_GT(installs, 5u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, WatchRandom, testing::Range(1, 17));

TEST(WatchHub, DamagedHistoryEndsItsWatchersAndNoOthers) {
  KeyspaceOptions options;
  options.cache_bytes_max = 0;
  Watched w(options);
  PutRequest put;
  put.value = "v";
  for (std::string_view key : {"a", "b", "c"}) {
    put.key = key;
    w.apply(put);
  }
  w.store().checkpoint();
  while (w.store().keyspace.trim_cache(100)) {
  }
  WatchCreateRequest from_start, live;
  from_start.key = "b";
  from_start.start_revision = 2;
  live.key = "c";
  w.hub.create(w.stream, from_start);
  w.hub.create(w.stream, live);
  std::vector<HistoryRead> reads = w.hub.catch_up(100);
  ASSERT_EQ(reads.size(), 1u);
  w.hub.feed_damaged(reads[0].id);
  std::vector<WatchMessage> cancelled;
  for (const WatchBatch& batch : w.hub.take())
    for (const WatchMessage& m : batch.messages)
      if (m.canceled) cancelled.push_back(m);
  ASSERT_EQ(cancelled.size(), 1u);
  EXPECT_EQ(cancelled[0].watch_id, 0);
  EXPECT_NE(cancelled[0].cancel_reason.find("damaged"), std::string_view::npos);
  EXPECT_EQ(w.hub.stats().watchers, 1u);
  EXPECT_FALSE(w.hub.catching_up());
  put.key = "c";
  w.apply(put);
  EXPECT_EQ(w.hub.take().at(0).events.size(), 1u) << "the other one goes on";
}

}  // namespace
}  // namespace fairlead::mvcc
