#include "server/node/requests.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace fairlead::node {
namespace {

constexpr MemberId kA{7}, kB{9};
constexpr uint64_t kLife = uint64_t{1} << 40;  // ids of the next start

bool take(AppliedRequests& r, MemberId who, uint64_t id) {
  bool fresh = r.fresh(who, id);
  if (fresh) r.note(who, id);
  return fresh;
}

AppliedRequests round_trip(const AppliedRequests& r) {
  std::string bytes;
  r.encode(bytes);
  Reader in(bytes);
  Result<AppliedRequests> back = AppliedRequests::decode(in);
  EXPECT_TRUE(back.is_ok() && in.at_end());
  return back.is_ok() ? *back : AppliedRequests();
}

TEST(Requests, EachOnceInAnyOrder) {
  AppliedRequests r;
  for (uint64_t id : {kLife + 1, kLife + 2, kLife + 5, kLife + 3, kLife + 9}) EXPECT_TRUE(take(r, kA, id)) << id;
  for (uint64_t id : {kLife + 1, kLife + 2, kLife + 5, kLife + 3, kLife + 9}) EXPECT_FALSE(take(r, kA, id)) << id;
  EXPECT_TRUE(take(r, kB, kLife + 2)) << "another proposer's";
  EXPECT_TRUE(take(r, kA, kLife + 7));
  EXPECT_TRUE(take(r, kA, kLife + 6));
  EXPECT_TRUE(take(r, kA, kLife + 8));
  EXPECT_TRUE(take(r, kA, kLife + 4));
  for (uint64_t id = 1; id < 10; ++id) EXPECT_FALSE(take(r, kA, kLife + id)) << id;
}

TEST(Requests, AnEarlierStartIsOver) {
  AppliedRequests r;
  EXPECT_TRUE(take(r, kA, kLife + 1));
  EXPECT_TRUE(take(r, kA, 2 * kLife + 1));
  EXPECT_FALSE(take(r, kA, kLife + 2));
}

TEST(Requests, TheWindowIsAsWideAsItSays) {
  AppliedRequests r;
  EXPECT_TRUE(take(r, kA, kLife + kRequestWindow));
  EXPECT_TRUE(take(r, kA, kLife + 1));  // the last that is in it
  EXPECT_FALSE(take(r, kA, kLife));
  EXPECT_TRUE(take(r, kA, kLife + kRequestWindow + 2));
  EXPECT_FALSE(take(r, kA, kLife + 2)) << "fell out";
  EXPECT_TRUE(take(r, kA, kLife + 3));
}

TEST(Requests, OfTooManyGapsTheOldestCloses) {
  AppliedRequests r;
  for (uint64_t i = 0; i < kRequestGapsMax; ++i) EXPECT_TRUE(take(r, kA, kLife + 2 * i));
  EXPECT_TRUE(r.fresh(kA, kLife + 1));
  EXPECT_TRUE(take(r, kA, kLife + 2 * kRequestGapsMax));
  // The one before the first id went; one more, and that of id 1 goes.
  EXPECT_TRUE(r.fresh(kA, kLife + 1));
  EXPECT_TRUE(take(r, kA, kLife + 2 * kRequestGapsMax + 2));
  EXPECT_FALSE(r.fresh(kA, kLife + 1));
  EXPECT_TRUE(r.fresh(kA, kLife + 3));
  EXPECT_EQ(round_trip(r), r);
}

TEST(Requests, WhoIsForgottenStartsAnew) {
  AppliedRequests r;
  EXPECT_TRUE(take(r, kA, kLife + 1));
  EXPECT_TRUE(r.knows(kA));
  r.forget(kA);
  EXPECT_FALSE(r.knows(kA));
  EXPECT_EQ(r, AppliedRequests());
}

// Against a plain set, with copies kept and written down in between.
TEST(Requests, AgreesWithASet) {
  std::mt19937_64 random(3);
  AppliedRequests r;
  std::set<uint64_t> applied;
  uint64_t next = kLife + 1;
  for (int i = 0; i < 20'000; ++i) {
    uint64_t id = next;
    if (random() % 3 == 0)
      id = next - std::min<uint64_t>(next - kLife - 1, random() % 500);
    else
      next += 1 + (random() % 10 == 0 ? random() % 5 : 0);
    EXPECT_EQ(take(r, kA, id), applied.insert(id).second) << id;
    if (i % 1000 == 0) {
      AppliedRequests back = round_trip(r);
      EXPECT_EQ(back, r);
      r = back;
    }
  }
}

TEST(Requests, DamageIsRefused) {
  AppliedRequests r;
  for (uint64_t id : {kLife + 1, kLife + 5, kLife + 9}) take(r, kA, id);
  std::string bytes;
  r.encode(bytes);
  for (size_t size = 0; size < bytes.size(); ++size) {
    std::string cut = bytes.substr(0, size);
    Reader in(cut);
    EXPECT_FALSE(AppliedRequests::decode(in).is_ok()) << size;
  }
  bytes.back() = 100;  // the last gap beyond the highest
  Reader in(bytes);
  EXPECT_FALSE(AppliedRequests::decode(in).is_ok());
}

}  // namespace
}  // namespace fairlead::node
