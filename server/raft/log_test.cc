// The log's view against a plain list, and the small values.
#include "server/raft/log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "server/raft/progress.h"

namespace fairlead::raft {
namespace {

Entry entry(uint64_t term, uint64_t index, size_t bytes = 0) {
  return {Term(term), Index(index), EntryType::kNormal, Bytes::take(std::string(bytes, 'x'))};
}

TEST(Entries, SlicesShareTheirBlock) {
  Entries run({entry(1, 1, 10), entry(1, 2, 20), entry(2, 3, 30)});
  EXPECT_EQ(run.size_bytes(), 60 + 3 * Entry::kEntryOverheadBytes);
  Entries tail = run.slice(1, 2);
  EXPECT_EQ(tail.size(), 2u);
  EXPECT_EQ(tail.front().index, Index(2));
  EXPECT_EQ(&tail.back(), &run.back());
  EXPECT_TRUE(tail.same_block(run.slice(1, 2)));
  EXPECT_FALSE(tail.same_block(run));
  EXPECT_FALSE(Entries({entry(1, 2, 20), entry(2, 3, 30)}).same_block(tail)) << "equal is not the same";
  EXPECT_TRUE(run.slice(3, 0).empty());
}

TEST(Configuration, ComesBackAsItWasAndRefusesDamage) {
  Configuration config{{MemberId(1), MemberId(5), MemberId(UINT64_MAX)}, {MemberId(3)}};
  EXPECT_EQ(config.quorum(), 2u);
  EXPECT_TRUE(config.is_voter(MemberId(5)) && config.is_learner(MemberId(3)) && !config.contains(MemberId(2)));
  std::string bytes;
  config.encode(bytes);
  auto back = Configuration::decode(bytes);
  ASSERT_TRUE(back.is_ok());
  EXPECT_EQ(*back, config);
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(Configuration::decode(bytes.substr(0, n)).is_ok());
  EXPECT_FALSE(Configuration::decode(bytes + "x").is_ok());
  auto refused = [](const Configuration& c) {
    std::string out;
    c.encode(out);
    return !Configuration::decode(out).is_ok();
  };
  EXPECT_TRUE(refused({{MemberId(2), MemberId(1)}, {}})) << "not sorted";
  EXPECT_TRUE(refused({{MemberId(1), MemberId(1)}, {}})) << "twice";
  EXPECT_TRUE(refused({{MemberId(1)}, {MemberId(1)}})) << "voter and learner";

  ConfigEntry with_context{config, Bytes::literal("addresses")};
  auto entry = ConfigEntry::decode(with_context.encode());
  ASSERT_TRUE(entry.is_ok());
  EXPECT_EQ(entry->config, config);
  EXPECT_EQ(entry->context.view(), "addresses");
  EXPECT_FALSE(ConfigEntry::decode(Bytes::literal("\x7f")).is_ok());
}

TEST(Inflights, AreFullByNumberOrByBytes) {
  Inflights inflights;
  inflights.add(Index(3), 10);
  inflights.add(Index(5), 20);
  EXPECT_TRUE(inflights.full(2, 100));
  EXPECT_TRUE(inflights.full(9, 30));
  EXPECT_FALSE(inflights.full(3, 31));
  inflights.free_to(Index(4));
  EXPECT_EQ(inflights.count(), 1u);
  EXPECT_EQ(inflights.bytes(), 20u);
  inflights.free_to(Index(5));
  EXPECT_TRUE(inflights.empty());
  EXPECT_EQ(inflights.bytes(), 0u);
}

// A log as one would write it on paper: the term of each entry.
struct Paper {
  uint64_t start = 0;
  uint64_t start_term = 0;
  std::vector<uint64_t> terms;

  uint64_t last() const { return start + terms.size(); }
  uint64_t term(uint64_t i) const { return i == start ? start_term : terms[i - start - 1]; }
};

class LogModel : public testing::Test {
 protected:
  uint64_t below(uint64_t n) { return random_() % n; }

  void append() {
    std::vector<Entry> entries;
    uint64_t term = paper_.term(paper_.last());
    for (uint64_t n = 1 + below(5); n > 0; --n) {
      term += below(3) == 0;
      paper_.terms.push_back(term);
      entries.push_back(entry(term, paper_.last(), below(50)));
      sizes_[paper_.last()] = entries.back().size_bytes();
    }
    log_.append(Entries(std::move(entries)));
  }
  void truncate() {
    uint64_t from = paper_.start + 1 + below(paper_.terms.size());
    paper_.terms.resize(from - paper_.start - 1);
    log_.truncate(Index(from));
  }
  void compact() {
    uint64_t to = paper_.start + below(paper_.terms.size() + 1);
    uint64_t term = paper_.term(to);
    paper_.terms.erase(paper_.terms.begin(), paper_.terms.begin() + static_cast<ptrdiff_t>(to - paper_.start));
    paper_.start = to;
    paper_.start_term = term;
    log_.compact(Index(to));
  }
  void reset() {
    uint64_t term = paper_.term(paper_.last()) + 1;
    paper_ = {paper_.last() + 10, term, {}};
    log_.reset(Index(paper_.start), Term(term));
  }

  void compare() {
    ASSERT_EQ(log_.start_index().value, paper_.start);
    ASSERT_EQ(log_.last_index().value, paper_.last());
    ASSERT_EQ(log_.last_term().value, paper_.term(paper_.last()));
    EXPECT_FALSE(log_.term_at(Index(paper_.last() + 1)));
    if (paper_.start > 0) {
      EXPECT_FALSE(log_.term_at(Index(paper_.start - 1)));
    }
    for (uint64_t i = paper_.start; i <= paper_.last(); ++i)
      ASSERT_EQ(log_.term_at(Index(i)), Term(paper_.term(i))) << i;
    compare_search();
    compare_ranges();
  }
  void compare_search() {
    uint64_t index = paper_.start + below(paper_.terms.size() + 3);
    uint64_t term = below(paper_.term(paper_.last()) + 2);
    uint64_t want = std::min(index, paper_.last());
    while (want > paper_.start && paper_.term(want) > term) --want;
    if (want == paper_.start && paper_.start > 0 && paper_.start_term > term) --want;
    ASSERT_EQ(log_.last_with_term_at_most(Index(index), Term(term)).value, want) << index << " " << term;
  }
  void compare_ranges() {
    uint64_t first = log_.memory_first().value;
    if (first > paper_.last()) return;
    uint64_t from = first + below(paper_.last() - first + 1);
    uint64_t to = from + below(paper_.last() - from + 1);
    size_t bytes_max = 1 + below(400);
    size_t bytes = 0, all = 0;
    uint64_t n = 0;
    bool full = false;
    for (uint64_t i = from; i <= to; ++i) {
      all += sizes_[i];
      full = full || (n > 0 && bytes + sizes_[i] > bytes_max);
      if (full) continue;
      bytes += sizes_[i];
      ++n;
    }
    Entries slice = log_.slice(Index(from), Index(to), bytes_max);
    ASSERT_EQ(slice.size(), n);
    ASSERT_EQ(slice.front().index.value, from);
    ASSERT_EQ(slice.back().index.value, from + n - 1);
    std::vector<Entries> runs;
    ASSERT_EQ(log_.runs(Index(from), Index(to), bytes_max, runs), bytes);
    ASSERT_EQ(log_.bytes_between(Index(from), Index(to)), all);
  }

  std::mt19937_64 random_;
  Paper paper_;
  LogView log_{Index(), Term()};
  std::map<uint64_t, size_t> sizes_;
};

TEST_F(LogModel, AgreesWithPaper) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    random_.seed(seed);
    paper_ = Paper();
    log_.reset(Index(), Term());
    for (int step = 0; step < 200 && !HasFatalFailure(); ++step) {
      SCOPED_TRACE("seed " + std::to_string(seed) + " step " + std::to_string(step));
      switch (below(12)) {
        case 0:
          if (!paper_.terms.empty()) truncate();
          break;
        case 1:
          compact();
          break;
        case 2:
          log_.trim_memory(Index(paper_.start + below(paper_.terms.size() + 1)), below(1000));
          break;
        case 3:
          if (below(10) == 0) reset();
          break;
        default:
          append();
      }
      compare();
    }
  }
}

TEST_F(LogModel, MemoryIsTrimmedByRunsAndOnlyAsFarAsAllowed) {
  for (uint64_t i = 1; i <= 10; ++i) log_.append(Entries({entry(1, i, 68)}));  // 100 bytes each
  EXPECT_EQ(log_.memory_bytes(), 1000u);
  log_.trim_memory(Index(4), 0);
  EXPECT_EQ(log_.memory_first(), Index(5));
  log_.trim_memory(Index(10), 350);
  EXPECT_EQ(log_.memory_bytes(), 300u);
  EXPECT_EQ(log_.memory_first(), Index(8));
  EXPECT_EQ(log_.term_at(Index(1)), Term(1)) << "terms stay";
}

}  // namespace
}  // namespace fairlead::raft
