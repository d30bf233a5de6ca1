#include "server/storage/log.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "server/storage/log_format.h"
#include "server/storage/testing/fake_world.h"

namespace fairlead::storage {
namespace {

using testing::Cut;
using testing::FakeDisk;
using testing::FakeProcess;
using testing::Keep;

constexpr uint64_t kLogId = 0xabcdef0123456789;
const std::string kDir = "log";

LogOptions tiny() {
  LogOptions o;
  o.first_segment_bytes = 16 << 10;
  o.segment_bytes = 24 << 10;
  o.batch_bytes_max = 6000;
  o.cache_bytes_max = 2000;
  return o;
}

raft::Entry entry(uint64_t index, uint64_t term, size_t size = 40) {
  std::string data = "entry " + std::to_string(index) + "/" + std::to_string(term) + " ";
  data.resize(std::max(data.size(), size), 'x');
  return {Term{term}, Index{index}, raft::EntryType::kNormal, Bytes::copy(data)};
}

// One process with its log.
struct Life {
  explicit Life(FakeDisk* disk, LogOptions options = tiny(), bool may_create = true) : process(disk) {
    auto r = Log::recover(process.world, kDir, kLogId, may_create, options);
    status = r.status();
    if (!r.is_ok()) return;
    recovered = std::move(*r);
    log = std::move(recovered.log);
    log->set_callbacks([this](WriteSeq upto) { durable = upto.value; }, [this](Status s) { fatal = s; });
  }
  void put(std::vector<raft::Entry> entries, std::optional<raft::HardState> hs = {}) {
    log->append(hs, entries, WriteSeq{++seq});
  }
  std::vector<raft::Entry> read(uint64_t from, uint64_t to, size_t bytes = 1 << 30) {
    std::vector<raft::Entry> out;
    bool called = false;
    log->read(Index{from}, Index{to}, bytes, [&](Result<Log::Entries> r) {
      called = true;
      read_status = r.status();
      if (r.is_ok()) out = std::move(*r);
    });
    EXPECT_FALSE(called) << "never inside the call";
    process.pump();
    EXPECT_TRUE(called);
    return out;
  }
  FakeProcess process;
  Status status, fatal, read_status;
  RecoveredLog recovered;
  std::unique_ptr<Log> log;
  uint64_t seq = 0, durable = 0;
};

TEST(LogFormat, HeaderRoundTripAndPlace) {
  BatchHeader h;
  h.flags = kLogFirst | kLogLast;
  h.log_id = 1;
  h.segment = 2;
  h.offset = 8192;
  h.sequence = 77;
  h.durable = 76;
  h.body_length = 5000;
  h.entries = 3;
  h.first_index = Index{9};
  h.term = Term{4};
  h.vote = MemberId{5};
  h.start = Index{2};
  h.term_before_start = Term{1};
  h.successor = 3;
  h.last_index = Index{11};
  std::string raw(kLogHeaderBytes, '\0');
  encode_batch_header(raw.data(), h);
  auto back = decode_batch_header(raw, 1, 2, 8192);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->successor, 3u);
  EXPECT_EQ(back->last_index, Index{11});
  EXPECT_EQ(back->end(), 8192u + 8192u);
  EXPECT_FALSE(decode_batch_header(raw, 1, 2, 4096));
  EXPECT_FALSE(decode_batch_header(raw, 1, 3, 8192));
  EXPECT_FALSE(decode_batch_header(raw, 9, 2, 8192));
  for (size_t i = 0; i < raw.size(); ++i) {
    std::string bad = raw;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    EXPECT_FALSE(decode_batch_header(bad, 1, 2, 8192)) << i;
  }
}

TEST(Log, KeepsEntriesAndHardStateAcrossStarts) {
  FakeDisk disk;
  {
    Life run(&disk);
    ASSERT_TRUE(run.status.is_ok()) << run.status.to_string();
    EXPECT_EQ(run.log->last_index(), Index{0});
    run.put({entry(1, 1), entry(2, 1)}, raft::HardState{Term{1}, MemberId{7}});
    EXPECT_EQ(run.durable, 0u) << "only at completion";
    run.process.pump();
    EXPECT_EQ(run.durable, 1u);
    EXPECT_EQ(run.log->durable_index(), Index{2});
    EXPECT_EQ(run.log->term_at(Index{2}), Term{1});
    EXPECT_EQ(run.log->term_at(Index{0}), Term{0});
    EXPECT_FALSE(run.log->term_at(Index{3}));
    disk.power_cut(Keep::kNone);
  }
  Life run(&disk, tiny(), false);
  ASSERT_TRUE(run.status.is_ok()) << run.status.to_string();
  EXPECT_EQ(run.recovered.hard_state, (raft::HardState{Term{1}, MemberId{7}}));
  ASSERT_EQ(run.recovered.entries.size(), 2u);
  EXPECT_EQ(run.recovered.entries[1], entry(2, 1));
  EXPECT_EQ(run.log->durable_position(), 1u);
}

TEST(Log, GathersSubmissionsWhileAWriteIsInFlight) {
  FakeDisk disk;
  Life run(&disk);
  for (uint64_t i = 1; i <= 10; ++i) run.put({entry(i, 1)});
  run.process.pump();
  EXPECT_EQ(run.durable, 10u);
  EXPECT_EQ(run.log->stats().syncs, 2u) << "the first alone, then the nine others as one batch";
}

TEST(Log, ReplacesASuffixAndLowersTheDurableIndexAtOnce) {
  FakeDisk disk;
  {
    Life run(&disk);
    run.put({entry(1, 1), entry(2, 1), entry(3, 1)});
    run.process.pump();
    EXPECT_EQ(run.log->durable_index(), Index{3});
    run.put({entry(4, 1)});               // in flight
    run.put({entry(2, 2), entry(3, 2)});  // replaces what is durable and what is in flight
    EXPECT_EQ(run.log->durable_index(), Index{1});
    EXPECT_EQ(run.log->last_index(), Index{3});
    EXPECT_EQ(run.log->term_at(Index{3}), Term{2});
    run.process.pump();
    EXPECT_EQ(run.log->durable_index(), Index{3});
    EXPECT_EQ(run.durable, 3u);
  }
  disk.power_cut(Keep::kNone);
  Life run(&disk);
  ASSERT_EQ(run.recovered.entries.size(), 3u);
  EXPECT_EQ(run.recovered.entries[1], entry(2, 2));
  EXPECT_EQ(run.read(1, 4)[2], entry(3, 2));
}

TEST(Log, RollsSegmentsAndReadsOldEntriesBack) {
  FakeDisk disk;
  {
    Life run(&disk);
    for (uint64_t i = 1; i <= 60; ++i) {
      run.put({entry(i, 1 + i / 10, 900)});
      run.process.pump();
    }
    run.put({entry(61, 7, 100000)});  // larger than a batch and than a segment
    run.process.pump();
    EXPECT_EQ(run.durable, 61u);
    EXPECT_GT(run.log->stats().segments, 5u);
    auto all = run.read(1, 62);
    ASSERT_EQ(all.size(), 61u);
    for (auto& e : all)
      EXPECT_EQ(e, e.index.value == 61 ? entry(61, 7, 100000) : entry(e.index.value, e.term.value, 900));
    EXPECT_EQ(run.read(5, 62, 2000).size(), 2u);
    EXPECT_EQ(run.read(61, 62, 1).size(), 1u) << "at least one, whatever its size";
  }
  disk.power_cut(Keep::kNone);
  Life run(&disk);
  ASSERT_TRUE(run.status.is_ok()) << run.status.to_string();
  EXPECT_EQ(run.recovered.entries.size(), 61u);
  EXPECT_EQ(run.read(1, 62).size(), 61u);
}

TEST(Log, ReleasesOldestFirstAfterTheStartIsDurable) {
  FakeDisk disk;
  {
    Life run(&disk);
    for (uint64_t i = 1; i <= 60; ++i) {
      run.put({entry(i, 1 + i / 30, 900)});
      run.process.pump();
    }
    uint64_t before = run.log->stats().segments;
    run.log->release(Index{41});
    EXPECT_EQ(run.log->stats().segments_recycled, 0u) << "not before the start is durable";
    run.process.pump();
    EXPECT_LT(run.log->stats().segments, before);
    EXPECT_EQ(run.log->first_index(), Index{41});
    EXPECT_EQ(run.log->term_at(Index{40}), Term{2});
    EXPECT_EQ(run.read(41, 61).size(), 20u);
    run.log->read(Index{5}, Index{6}, 1000, [&](Result<Log::Entries> r) { EXPECT_EQ(r.code(), Code::kOutOfRange); });
    run.process.pump();
    EXPECT_LE(disk.files("spare").size(), tiny().spares_max);
  }
  disk.power_cut(Keep::kNone);
  Life run(&disk);
  ASSERT_TRUE(run.status.is_ok()) << run.status.to_string();
  EXPECT_EQ(run.recovered.start, Index{41});
  EXPECT_EQ(run.recovered.term_before_start, Term{2});
  EXPECT_EQ(run.recovered.entries.size(), 20u);
  run.log->release(Index{61});  // everything
  run.put({entry(61, 3)});
  run.process.pump();
  EXPECT_EQ(run.log->last_index(), Index{61});
}

TEST(Log, NumberOfSegmentsStaysBoundedOverReleasesAndStarts) {
  FakeDisk disk;
  uint64_t index = 0;
  for (int start = 0; start < 30; ++start) {
    Life run(&disk);
    ASSERT_TRUE(run.status.is_ok()) << run.status.to_string();
    for (int i = 0; i < 20; ++i) {
      run.put({entry(++index, 1, 1500)});
      run.process.pump();
    }
    run.log->release(Index{index + 1});
    run.process.pump();
    disk.process_ends();
    EXPECT_LE(disk.files().size(), 6u) << "start " << start;
  }
}

TEST(Log, RestartForgetsEverythingBefore) {
  FakeDisk disk;
  {
    Life run(&disk);
    for (uint64_t i = 1; i <= 40; ++i) run.put({entry(i, 1, 900)});
    run.process.pump();
    run.put({entry(41, 1)});
    run.log->restart_at(Index{1000}, Term{9}, raft::HardState{Term{9}, MemberId{0}}, WriteSeq{++run.seq});
    run.put({entry(1001, 9)});
    run.process.pump();
    EXPECT_EQ(run.durable, run.seq);
    EXPECT_EQ(run.log->stats().segments, 2u) << "the current one and the prepared one";
  }
  disk.power_cut(Keep::kNone);
  Life run(&disk);
  ASSERT_TRUE(run.status.is_ok()) << run.status.to_string();
  EXPECT_EQ(run.recovered.start, Index{1001});
  EXPECT_EQ(run.recovered.term_before_start, Term{9});
  ASSERT_EQ(run.recovered.entries.size(), 1u);
  EXPECT_EQ(run.recovered.entries[0], entry(1001, 9));
}

TEST(Log, MarkIsWrittenOnceWhenIdleAndAtStop) {
  FakeDisk disk;
  LogOptions options = tiny();
  options.first_segment_bytes = 64 << 10;
  Life run(&disk, options);
  run.put({entry(1, 1)});
  run.process.pump();
  run.process.advance(99 * io::kMillisecond);
  EXPECT_EQ(run.log->stats().marks, 0u);
  run.process.advance(2 * io::kMillisecond);
  EXPECT_EQ(run.log->stats().marks, 1u);
  run.process.advance(10 * io::kSecond);
  EXPECT_EQ(run.log->stats().marks, 1u);
  EXPECT_EQ(run.process.timers(), 0u);
  run.put({entry(2, 1)});
  bool stopped = false;
  run.log->stop([&] { stopped = true; });
  run.process.pump();
  EXPECT_TRUE(stopped);
  EXPECT_EQ(run.log->stats().marks, 2u);
  EXPECT_EQ(run.durable, 2u);
}

TEST(Log, FailedWriteIsFinal) {
  FakeDisk disk;
  Life run(&disk);
  disk.fail_log_writes = true;
  run.put({entry(1, 1)});
  run.process.pump();
  EXPECT_FALSE(run.fatal.is_ok());
  disk.fail_log_writes = false;
  run.put({entry(2, 1)});
  run.process.pump();
  EXPECT_EQ(run.durable, 0u);
}

TEST(Log, NoSpaceForTheNextSegmentIsFinalOnlyWhenItIsNeeded) {
  FakeDisk disk;
  Life run(&disk);
  disk.fail_writes = 1;
  run.put({entry(1, 1)});
  run.process.pump();
  EXPECT_TRUE(run.fatal.is_ok());
  EXPECT_EQ(run.durable, 1u);
  run.process.advance(2 * io::kSecond);  // tries again
  for (uint64_t i = 2; i < 20; ++i) run.put({entry(i, 1, 2000)});
  run.process.pump();
  EXPECT_EQ(run.durable, 19u);
  disk.fail_writes = 1000;
  for (uint64_t i = 20; i < 60; ++i) run.put({entry(i, 1, 2000)});
  run.process.pump();
  EXPECT_FALSE(run.fatal.is_ok());
}

// --- torn tails and damage
// ------------------------------------------------------------------------------------------------

std::string segment(FakeDisk& disk, size_t i) { return disk.files("log/log-").at(i); }

TEST(LogRecovery, TornTailIsCutWhateverSectorsSurvived) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    FakeDisk disk;
    disk.seed = seed * 7919;
    {
      Life run(&disk);
      run.put({entry(1, 1, 5000), entry(2, 1)});
      run.process.pump();
      run.put({entry(3, 1, 5500), entry(4, 1)});  // in flight at the cut
      disk.power_cut(Keep::kSome);
    }
    Life run(&disk);
    ASSERT_TRUE(run.status.is_ok()) << run.status.to_string();
    size_t n = run.recovered.entries.size();
    EXPECT_TRUE(n == 2 || n == 4) << n;
    EXPECT_EQ(run.log->stats().torn_tails_cut, run.process.lines.size());
    // What goes on from here is found again, and the torn batch never comes back.
    run.put({entry(n + 1, 2)});
    run.process.pump();
    disk.power_cut(Keep::kNone);
    Life again(&disk);
    ASSERT_TRUE(again.status.is_ok()) << again.status.to_string();
    EXPECT_EQ(again.recovered.entries.size(), n + 1);
    EXPECT_EQ(again.recovered.entries.back(), entry(n + 1, 2));
  }
}

TEST(LogRecovery, DamageBeforeWhatWasDurableIsRefusedByFileAndOffset) {
  FakeDisk disk;
  {
    Life run(&disk);
    for (uint64_t i = 1; i <= 20; ++i) {
      run.put({entry(i, 1, 900)});
      run.process.pump();
    }
    run.process.advance(io::kSecond);  // the mark
  }
  size_t cases = 0;
  for (const std::string& path : disk.files("log/log-")) {
    size_t size = disk.content(path).size();
    for (size_t block = 0; block < size; block += 4096) {
      auto h = decode_batch_header(std::string_view(disk.content(path)).substr(block, kLogHeaderBytes), kLogId,
                                   std::stoull(path.substr(path.size() - 16), nullptr, 16), block);
      if (!h || (h->flags & kLogMark)) continue;
      for (size_t at : {size_t{3}, size_t{50}, size_t{126}, size_t{kLogHeaderBytes + 20}}) {
        if (at >= kLogHeaderBytes + h->body_length) continue;
        auto damaged = disk.copy();
        damaged->damage(path, block + at, 0x40);
        Life run(damaged.get());
        ++cases;
        ASSERT_EQ(run.status.code(), Code::kDataLoss) << path << " " << block << " " << at;
        if (block > 0) {
          EXPECT_NE(run.status.message().find(path + ": the batch at offset " + std::to_string(block)),
                    std::string::npos)
              << run.status.message();
        }
      }
      auto unreadable = disk.copy();
      unreadable->make_unreadable(path, block, 4096);
      Life run(unreadable.get());
      EXPECT_EQ(run.status.code(), Code::kDataLoss) << path;
      EXPECT_NE(run.status.message().find(path), std::string::npos);
    }
  }
  EXPECT_GT(cases, 60u);
}

TEST(LogRecovery, MissingSegmentIsRefused) {
  FakeDisk disk;
  {
    Life run(&disk);
    for (uint64_t i = 1; i <= 20; ++i) {
      run.put({entry(i, 1, 900)});
      run.process.pump();
    }
    run.process.advance(io::kSecond);
  }
  auto files = disk.files("log/log-");
  ASSERT_GT(files.size(), 4u);
  for (size_t i = 0; i + 1 < files.size(); ++i) {  // the last one is prepared, not used
    auto copy = disk.copy();
    copy->forget(files[i]);
    Life run(copy.get());
    EXPECT_EQ(run.status.code(), Code::kDataLoss) << files[i];
  }
  disk.forget(files.back());
  Life run(&disk);
  EXPECT_TRUE(run.status.is_ok()) << run.status.to_string();
}

TEST(LogRecovery, ALostLogAndAForeignOneAreRefused) {
  FakeDisk disk;
  {
    Life run(&disk, tiny(), false);
    EXPECT_EQ(run.status.code(), Code::kDataLoss);
  }
  {
    Life run(&disk);
    run.put({entry(1, 1)});
    run.process.pump();
  }
  FakeProcess process(&disk);
  auto r = Log::recover(process.world, kDir, kLogId + 1, true, tiny());
  EXPECT_EQ(r.code(), Code::kFailedPrecondition);
}

TEST(LogRecovery, ANewerFormatIsRefusedNotCut) {
  FakeDisk disk;
  {
    Life run(&disk);
    run.put({entry(1, 1)});
    run.process.pump();
  }
  std::string path = segment(disk, 0);
  std::string& content = disk.content(path);
  content[12] = 2;
  uint32_t crc = crc32c(std::string_view(content).substr(12, kLogHeaderBytes - 12));
  content.replace(8, 4, reinterpret_cast<const char*>(&crc), 4);
  Life run(&disk);
  EXPECT_EQ(run.status.code(), Code::kFailedPrecondition) << run.status.to_string();
}

// A later batch survives without an earlier one, and a segment begun by a start that tore at once is passed over.
TEST(LogRecovery, StartsThatDieBeforeTheirFirstWriteLeaveNothing) {
  FakeDisk disk;
  {
    Life run(&disk);
    run.put({entry(1, 1)});
    run.process.pump();
    disk.power_cut(Keep::kNone);
  }
  for (uint64_t i = 0; i < 20; ++i) {
    disk.seed = 99 + i * 31;
    Life run(&disk);
    ASSERT_TRUE(run.status.is_ok()) << run.status.to_string();
    ASSERT_GE(run.recovered.entries.size(), 1u);
    EXPECT_LE(disk.files().size(), 4u);
    if (run.recovered.entries.size() > 1) break;
    run.put({entry(2, 2, 5000)});
    disk.power_cut(Keep::kSome);
  }
}

// A kill leaves writes that are seen and not durable. What a start took over must survive a power cut right after.
TEST(LogRecovery, WhatAStartReadIsDurable) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    FakeDisk disk;
    disk.seed = seed * 104729;
    {
      Life run(&disk);
      run.put({entry(1, 1)});
      run.process.pump();
      run.put({entry(2, 1, 3000)});
      disk.process_ends();
    }
    size_t seen;
    {
      Life run(&disk);
      ASSERT_TRUE(run.status.is_ok());
      seen = run.recovered.entries.size();
      disk.power_cut(Keep::kNone);
    }
    Life run(&disk);
    ASSERT_TRUE(run.status.is_ok());
    EXPECT_EQ(run.recovered.entries.size(), seen);
  }
}

// --- every crash point
// ------------------------------------------------------------------------------------------------

// A life of a log with all that happens to one; the model knows what was acknowledged.
struct Model {
  std::map<uint64_t, raft::Entry> submitted;          // newest submission for each index
  std::map<uint64_t, std::vector<raft::Entry>> ever;  // all that were ever submitted
  std::map<uint64_t, raft::Entry> acked;
  raft::HardState acked_state, submitted_state;
  uint64_t start = 1, start_acked = 1;
};

void drive(Life& run, Model& m) {
  auto note = [&](Life& r) {  // everything up to the durable index is acknowledged
    for (auto& [i, e] : m.submitted)
      if (i <= r.log->durable_index().value) m.acked[i] = e;
    if (r.durable == r.seq) m.acked_state = m.submitted_state;
  };
  auto put = [&](uint64_t first, uint64_t count, uint64_t term, size_t size) {
    std::vector<raft::Entry> entries;
    for (uint64_t i = first; i < first + count; ++i) entries.push_back(entry(i, term, size));
    m.submitted.erase(m.submitted.lower_bound(first), m.submitted.end());
    m.acked.erase(m.acked.lower_bound(first), m.acked.end());
    for (auto& e : entries) {
      m.submitted[e.index.value] = e;
      m.ever[e.index.value].push_back(e);
    }
    std::optional<raft::HardState> hs;
    if (term != m.submitted_state.term.value) {
      m.submitted_state = {Term{term}, MemberId{term * 3}};
      hs = m.submitted_state;
    }
    run.put(std::move(entries), hs);
  };
  auto settle = [&] {
    run.process.pump();
    note(run);
  };
  uint64_t next = run.log->last_index().value + 1;
  uint64_t term = std::max<uint64_t>(1, m.submitted_state.term.value);
  for (int i = 0; i < 6; ++i, next += 2) {
    put(next, 2, term, 1400);
    if (i % 2 == 0) settle();
  }
  settle();
  put(next - 3, 2, term + 1, 700);  // replaces a suffix, shorter than it was
  put(next - 1, 1, term + 1, 9000);
  settle();
  m.start = next - 4;
  put(next++, 1, term + 1, 60);  // in flight while the start moves
  run.log->release(Index{m.start});
  settle();
  m.start_acked = m.start;
  put(next, 1, term + 1, 50);
  settle();
  run.process.advance(io::kSecond);
}

void check(const Life& run, const Model& m) {
  ASSERT_TRUE(run.status.is_ok()) << run.status.to_string();
  const RecoveredLog& r = run.recovered;
  EXPECT_GE(r.start.value, m.start_acked);
  EXPECT_LE(r.start.value, m.start);
  std::map<uint64_t, raft::Entry> found;
  for (auto& e : r.entries) found[e.index.value] = e;
  for (auto& [i, e] : m.acked) {
    if (i < r.start.value) continue;
    ASSERT_TRUE(found.count(i)) << "acknowledged entry " << i << " is lost";
    EXPECT_TRUE(found[i] == e) << "acknowledged entry " << i << " changed";
  }
  for (auto& [i, e] : found) {
    auto& all = m.ever.at(i);
    EXPECT_TRUE(std::find(all.begin(), all.end(), e) != all.end()) << "phantom " << i;
  }
  EXPECT_GE(r.hard_state.term, m.acked_state.term);
  EXPECT_LE(r.hard_state.term, m.submitted_state.term);
  if (r.hard_state.term == m.acked_state.term) {
    EXPECT_EQ(r.hard_state.vote, m.acked_state.vote);
  }
}

enum class End { kPowerAll, kPowerNone, kPowerSome, kKill, kKillThenPower, kKillThenPowerInStart };

// Runs until mutation n of the second life, cuts, recovers, goes on, cuts at the end, recovers. False: never reached.
bool cut_at(uint64_t n, End end, uint64_t seed) {
  FakeDisk disk;
  disk.seed = seed;
  Model m;
  {
    Life run(&disk);
    drive(run, m);
    disk.power_cut(Keep::kNone);
  }
  bool cut = false;
  disk.cut_at = disk.mutations + n;
  {
    std::unique_ptr<Life> run;
    try {
      run = std::make_unique<Life>(&disk);
      check(*run, m);
      drive(*run, m);
    } catch (const Cut&) {
      cut = true;
    }
    if (run && run->log && cut) {  // what was acknowledged before the cut
      for (auto& [i, e] : m.submitted)
        if (i <= run->log->durable_index().value) m.acked[i] = e;
      if (run->durable == run->seq && run->seq > 0) m.acked_state = m.submitted_state;
    }
    disk.cut_at = 0;
    if (end >= End::kKill) disk.process_ends();
    if (end == End::kPowerAll) disk.power_cut(Keep::kAll);
    if (end == End::kPowerNone) disk.power_cut(Keep::kNone);
    if (end == End::kPowerSome) disk.power_cut(Keep::kSome);
  }
  if (end == End::kKillThenPowerInStart) {
    disk.cut_at = disk.mutations + 1 + (seed + n) % 12;
    try {
      Life second(&disk);
    } catch (const Cut&) {
    }
    disk.cut_at = 0;
    disk.power_cut(Keep::kSome);
  }
  {
    Life run(&disk);
    check(run, m);
    if (::testing::Test::HasFatalFailure()) return cut;
    if (end == End::kKillThenPower) {
      for (auto& e : run.recovered.entries) m.acked[e.index.value] = e;
      disk.power_cut(Keep::kNone);
      Life third(&disk);
      check(third, m);
      return cut;
    }
    m.submitted.clear();
    for (auto& e : run.recovered.entries) m.submitted[e.index.value] = e;
    m.acked = m.submitted;
    m.submitted_state = m.acked_state = run.recovered.hard_state;
    drive(run, m);
    disk.power_cut(Keep::kNone);
  }
  Life last(&disk);
  check(last, m);
  return cut;
}

TEST(LogCrash, EveryPointEveryPolicy) {
  size_t runs = 0;
  for (End end : {End::kPowerAll, End::kPowerNone, End::kPowerSome, End::kKill, End::kKillThenPower,
                  End::kKillThenPowerInStart}) {
    const bool random = end >= End::kPowerSome;
    for (uint64_t seed = 1; seed <= (random && !testing::kSanitized ? 6u : 1u); ++seed)
      for (uint64_t n = 1;; ++n) {
        SCOPED_TRACE("end " + std::to_string(static_cast<int>(end)) + " seed " + std::to_string(seed) + " cut " +
                     std::to_string(n));
        ++runs;
        bool cut = cut_at(n, end, seed * 0x9E3779B97F4A7C15ull);
        if (HasFailure()) return;
        if (!cut) break;
      }
  }
  EXPECT_GT(runs, 200u);
}

// Long random lives: everything at once, cut anywhere, again and again on one disk.
TEST(LogCrash, RandomLives) {
  size_t cuts = 0, torn = 0, rolled = 0;
  constexpr size_t kSeeds = testing::kSanitized ? 20 : 150;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    FakeDisk disk;
    disk.seed = seed * 0x9E3779B97F4A7C15ull;
    FakeProcess chance(&disk, seed);
    auto pick = [&](uint64_t n) { return (chance.next() >> 11) % n; };
    Model m;
    for (int life = 0; life < 8; ++life) {
      disk.cut_at = disk.mutations + 1 + pick(60);
      std::unique_ptr<Life> run;
      auto note = [&] {
        for (auto& [i, e] : m.submitted)
          if (i <= run->log->durable_index().value) m.acked[i] = e;
        if (run->durable == run->seq && run->seq > 0) m.acked_state = m.submitted_state;
      };
      try {
        run = std::make_unique<Life>(&disk);
        check(*run, m);
        if (HasFailure()) return;
        torn += run->log->stats().torn_tails_cut;
        // What this start read is durable: the model goes on from there.
        m.start = m.start_acked = run->recovered.start.value;
        m.submitted.clear();
        for (auto& e : run->recovered.entries) m.submitted[e.index.value] = e;
        m.acked = m.submitted;
        m.submitted_state = m.acked_state = run->recovered.hard_state;
        for (;;) {
          const uint64_t last = run->log->last_index().value;
          const uint64_t action = pick(10);
          if (action < 6) {
            uint64_t first = last + 1;
            if (action == 0 && last >= m.start) first = m.start + pick(last + 1 - m.start);
            uint64_t term = m.submitted_state.term.value + (first <= last || pick(6) == 0 || last == 0);
            std::optional<raft::HardState> hs;
            if (term != m.submitted_state.term.value) hs = m.submitted_state = {Term{term}, MemberId{pick(4)}};
            m.submitted.erase(m.submitted.lower_bound(first), m.submitted.end());
            m.acked.erase(m.acked.lower_bound(first), m.acked.end());
            std::vector<raft::Entry> entries;
            for (uint64_t i = first, n = 1 + pick(4); i < first + n; ++i) {
              entries.push_back(entry(i, term, pick(3) == 0 ? pick(9000) : pick(200)));
              m.submitted[i] = entries.back();
              m.ever[i].push_back(entries.back());
            }
            run->put(std::move(entries), hs);
          } else if (action == 6) {
            const uint64_t durable = run->log->durable_index().value;
            if (durable + 1 > m.start) {
              m.start += pick(durable + 2 - m.start);
              run->log->release(Index{m.start});
            }
          } else if (action == 7) {
            run->process.advance(static_cast<io::Nanos>(pick(200)) * io::kMillisecond);
          } else {
            run->process.pump();
            m.start_acked = m.start;
            rolled = std::max<size_t>(rolled, run->log->stats().segments);
          }
          note();
        }
      } catch (const Cut&) {
        ++cuts;
      }
      disk.cut_at = 0;
      if (run && run->log) note();
      switch (pick(4)) {
        case 0:
          disk.process_ends();
          break;
        case 1:
          disk.power_cut(Keep::kAll);
          break;
        case 2:
          disk.power_cut(Keep::kNone);
          break;
        default:
          disk.power_cut(Keep::kSome);
      }
    }
  }
  EXPECT_EQ(cuts, kSeeds * 8u);
  EXPECT_GT(torn, kSeeds / 3);
  EXPECT_GT(rolled, 4u);
}

}  // namespace
}  // namespace fairlead::storage
