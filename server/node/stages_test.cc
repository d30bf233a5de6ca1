#include "server/node/stages.h"

#include <gtest/gtest.h>

namespace fairlead::node {
namespace {

Answering proposal(io::Nanos since, uint64_t request, uint64_t index, io::Nanos began) {
  return {since, request, Index(index), 0, 0, began};
}

TEST(Stages, OfAProposalFollowEachOther) {
  StageMarks marks;
  marks.proposed(7, 120);
  marks.written(raft::WriteSeq(1), Index(40), 125);
  marks.durable(raft::WriteSeq(1), 165);
  marks.committed(Index(40), 180);
  Stages s = marks.of(proposal(100, 7, 40, 200), 230);
  EXPECT_EQ(s.queue, 20);
  EXPECT_EQ(s.raft, 60);
  EXPECT_EQ(s.log_sync, 40);
  EXPECT_EQ(s.apply_wait, 20);
  EXPECT_EQ(s.apply, 30);
  EXPECT_EQ(s.queue + s.raft + s.apply_wait + s.apply, 230 - 100);
}

TEST(Stages, TheBatchThatHasTheEntryCounts) {
  StageMarks marks;
  marks.proposed(10, 100);
  marks.proposed(20, 200);
  marks.committed(Index(5), 300);
  marks.committed(Index(9), 400);
  EXPECT_EQ(marks.of(proposal(90, 3, 5, 500), 500).queue, 10);
  EXPECT_EQ(marks.of(proposal(90, 11, 6, 500), 500).queue, 110);
  EXPECT_EQ(marks.of(proposal(90, 11, 6, 500), 500).raft, 200);
}

TEST(Stages, ALogThatWasCutBackIsWrittenAnew) {
  StageMarks marks;
  marks.written(raft::WriteSeq(1), Index(10), 100);
  marks.written(raft::WriteSeq(2), Index(20), 110);
  marks.durable(raft::WriteSeq(1), 150);
  marks.written(raft::WriteSeq(3), Index(12), 200);
  marks.durable(raft::WriteSeq(3), 230);
  EXPECT_EQ(marks.of(proposal(90, 1, 12, 300), 300).log_sync, 30);
  EXPECT_EQ(marks.of(proposal(90, 1, 10, 300), 300).log_sync, 50);
}

TEST(Stages, OfARead) {
  StageMarks marks;
  Answering read{100, 0, Index(), 110, 150, 170};
  Stages s = marks.of(read, 200);
  EXPECT_EQ(s.queue, 10);
  EXPECT_EQ(s.raft, 40);
  EXPECT_EQ(s.apply_wait, 20);
  EXPECT_EQ(s.apply, 30);
}

TEST(Stages, OldBatchesAreForgottenNotGuessed) {
  StageMarks marks;
  for (uint64_t i = 1; i <= 2 * kStageMarksMax; ++i) {
    marks.proposed(i, static_cast<io::Nanos>(1000 + i));
    marks.written(raft::WriteSeq(i), Index(i), static_cast<io::Nanos>(1000 + i));
    marks.durable(raft::WriteSeq(i), static_cast<io::Nanos>(1010 + i));
    marks.committed(Index(i), static_cast<io::Nanos>(1020 + i));
  }
  Stages old = marks.of(proposal(1000, 1, 1, 20'000), 20'000);
  EXPECT_EQ(old.queue, 0);
  EXPECT_EQ(old.log_sync, 0);
  uint64_t last = 2 * kStageMarksMax;
  Stages s = marks.of(proposal(1000, last, last, 20'000), 20'000);
  EXPECT_EQ(s.queue, static_cast<io::Nanos>(last));
  EXPECT_EQ(s.log_sync, 10);
}

}  // namespace
}  // namespace fairlead::node
