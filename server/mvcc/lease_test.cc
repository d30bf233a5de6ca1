#include "server/mvcc/lease.h"

#include <gtest/gtest.h>

namespace fairlead::mvcc {
namespace {

using State = LeaseClock::Renewal::State;
using Ids = std::vector<int64_t>;

TEST(LeaseTtl, IsRaisedToOneAndAHalfElectionTimeouts) {
  EXPECT_EQ(min_ttl(1000), 2);
  EXPECT_EQ(min_ttl(2000), 3);
  EXPECT_EQ(min_ttl(100), 1);
  EXPECT_EQ(granted_ttl(0, 2), 2);
  EXPECT_EQ(granted_ttl(-5, 2), 2);
  EXPECT_EQ(granted_ttl(60, 2), 60);
}

TEST(LeaseClock, OnlyALeaderLetsThemExpire) {
  LeaseClock c;
  c.granted(1, 5, 0);
  EXPECT_TRUE(c.due(100'000).empty());
  EXPECT_EQ(c.renew(1, 0).state, State::kNotLeader);
  EXPECT_EQ(c.remaining_ttl(1, 100'000), 5);
  EXPECT_EQ(c.next_due_ms(), -1);
  c.promote(100'000);  // the full TTL anew
  EXPECT_EQ(c.next_due_ms(), 105'000);
  EXPECT_TRUE(c.due(104'999).empty());
  EXPECT_EQ(c.due(105'000), Ids{1});
}

TEST(LeaseClock, RenewalMovesTheEndAndUnknownOnesAreNotFound) {
  LeaseClock c;
  c.promote(0);
  c.granted(1, 5, 0);
  EXPECT_EQ(c.renew(2, 0).state, State::kNotFound);
  auto r = c.renew(1, 4000);
  EXPECT_EQ(r.state, State::kRenewed);
  EXPECT_EQ(r.ttl, 5);
  EXPECT_TRUE(c.due(8999).empty());
  EXPECT_EQ(c.remaining_ttl(1, 4000), 5);
  EXPECT_EQ(c.remaining_ttl(1, 7500), 1);
  EXPECT_EQ(c.remaining_ttl(2, 0), -1);
  EXPECT_EQ(c.due(9000), Ids{1});
}

TEST(LeaseClock, ARevokingLeaseIsNeitherRenewedNorNamedTwiceUntilItsOutcome) {
  LeaseClock c;
  c.promote(0);
  c.granted(1, 5, 0);
  EXPECT_EQ(c.due(5000), Ids{1});
  EXPECT_TRUE(c.due(5001).empty());
  EXPECT_EQ(c.renew(1, 5001).state, State::kRevoking);
  EXPECT_EQ(c.remaining_ttl(1, 5001), 0);
  EXPECT_EQ(c.due(5000 + kRevokeRetryMs), Ids{1});  // no outcome heard: again
  c.revoke_failed(1, 9000);
  EXPECT_EQ(c.renew(1, 9000).state, State::kRenewed);
  c.demote();
  c.promote(20'000);
  EXPECT_EQ(c.due(25'000), Ids{1});
  c.revoked(1);
  EXPECT_EQ(c.renew(1, 25'000).state, State::kNotFound);
  EXPECT_EQ(c.size(), 0u);
}

TEST(LeaseClock, DueIsBoundedAndSoonestFirst) {
  LeaseClock c;
  c.promote(0);
  for (int64_t id = 1; id <= 2500; ++id) c.granted(id, 10 + (2500 - id) % 3, 0);
  size_t total = 0;
  int64_t last = 0;
  for (size_t n; (n = c.due(60'000 + last).size()) > 0; last += 1) {
    EXPECT_LE(n, kRevokesDueMax);
    total += n;
  }
  EXPECT_EQ(total, 2500u);
}

TEST(LeaseClock, ListsBySoonestEnd) {
  LeaseClock c;
  c.promote(0);
  c.granted(3, 5, 0);
  c.granted(1, 9, 0);
  c.granted(2, 5, 0);
  EXPECT_EQ(c.by_expiry(), (Ids{2, 3, 1}));
}

TEST(LeaseClock, ACheckpointedRestIsWhatTheNextLeaderStartsFromUntilARenewal) {
  LeaseClock c;
  c.granted(1, 600, 0);
  c.checkpointed(1, 100, 0);
  c.promote(1'000'000);
  EXPECT_EQ(c.remaining_ttl(1, 1'000'000), 100);
  // A renewal takes the rest back first, where all will know.
  EXPECT_EQ(c.renew(1, 1'060'000).state, State::kCheckpointed);
  EXPECT_EQ(c.remaining_ttl(1, 1'060'000), 40);
  c.checkpointed(1, 0, 1'060'000);
  EXPECT_EQ(c.renew(1, 1'060'000).ttl, 600);
  c.demote();
  c.promote(2'000'000);
  EXPECT_EQ(c.remaining_ttl(1, 2'000'000), 600);
}

using Rests = std::vector<std::pair<int64_t, int64_t>>;

TEST(LeaseClock, WhatRunsLongerThanTheIntervalIsCheckpointedAgainAndAgain) {
  LeaseClock c;
  c.set_checkpoint_interval(50'000);
  c.granted(1, 120, 0);  // not in force: nothing is planned
  EXPECT_TRUE(c.to_checkpoint(1'000'000, 10).empty());
  c.promote(0);
  c.granted(2, 50, 0);  // too short
  c.granted(3, 120, 0);
  EXPECT_TRUE(c.to_checkpoint(49'999, 10).empty());
  EXPECT_EQ(c.to_checkpoint(50'001, 1), (Rests{{1, 70}}));  // rounded up
  EXPECT_EQ(c.to_checkpoint(50'001, 10), (Rests{{3, 70}}));
  EXPECT_TRUE(c.to_checkpoint(50'001, 10).empty());
  c.checkpointed(1, 70, 51'000);
  c.checkpointed(3, 70, 51'000);
  c.checkpoint_failed(3);
  EXPECT_TRUE(c.to_checkpoint(100'999, 10).empty());
  EXPECT_EQ(c.to_checkpoint(101'000, 10), (Rests{{1, 19}, {3, 19}}));
  c.checkpointed(1, 19, 101'000);  // no more than the interval is left: that was the last one
  EXPECT_TRUE(c.to_checkpoint(119'000, 10).empty());
  EXPECT_EQ(c.due(120'000), (Ids{2, 1, 3}));
}

// A checkpoint that is on its way may be applied behind a renewal: then the next leader would end the lease too early.
TEST(LeaseClock, ARenewalWaitsForACheckpointThatIsOnItsWay) {
  LeaseClock c;
  c.set_checkpoint_interval(50'000);
  c.promote(0);
  c.granted(1, 120, 0);
  ASSERT_EQ(c.to_checkpoint(50'000, 10).size(), 1u);
  EXPECT_EQ(c.renew(1, 50'001).state, State::kCheckpointed);
  c.checkpoint_failed(1);
  EXPECT_EQ(c.renew(1, 50'002).state, State::kRenewed);
  EXPECT_TRUE(c.to_checkpoint(100'001, 10).empty()) << "a renewal starts the interval anew";
  EXPECT_EQ(c.to_checkpoint(100'002, 10), (Rests{{1, 70}}));
  c.demote();
  c.promote(100'002, 1'000);
  EXPECT_EQ(c.renew(1, 100'003).state, State::kRenewed) << "what an earlier leader had on its way is decided by now";
}

TEST(LeaseClock, ANewLeaderAddsTheTimeWithoutOne) {
  LeaseClock c;
  c.granted(1, 10, 0);
  c.promote(5'000, 1'000);
  EXPECT_TRUE(c.due(15'999).empty());
  EXPECT_EQ(c.due(16'000), Ids{1});
}

}  // namespace
}  // namespace fairlead::mvcc
