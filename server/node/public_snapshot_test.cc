// What a public snapshot holds while compaction is under way, and who gets which state. That real etcd takes it is
// e2e/interop/snapshot_test.sh's.
#include "server/node/public_snapshot.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "server/node/cluster_for_test.h"

namespace fairlead::node {
namespace {

struct File {
  bolt::EtcdState state;
  std::map<std::string, std::string> keys;
};

File file_of(const io::World& world, Node& node, PinnedState pinned) {
  PublicSnapshot snapshot(*world.disk, node.store().dir(), std::move(pinned));
  for (bool ready = false; !ready;) {
    Result<bool> done = snapshot.prepare();
    EXPECT_TRUE(done.is_ok()) << done.status().to_string();
    ready = !done.is_ok() || *done;
  }
  std::string bytes;
  for (;;) {
    Result<Bytes> piece = snapshot.next();
    EXPECT_TRUE(piece.is_ok()) << piece.status().to_string();
    if (!piece.is_ok() || piece->empty()) break;
    bytes += piece->view();
  }
  EXPECT_EQ(bytes.size(), snapshot.size_bytes());
  EXPECT_EQ(snapshot.hash(), storage::sha256(bytes));
  File out;
  auto reader = bolt::Reader::open(bolt::memory_source(bytes));
  EXPECT_TRUE(reader.is_ok()) << reader.status().to_string();
  if (!reader.is_ok()) return out;
  Result<bolt::EtcdState> state = bolt::read_state(**reader);
  EXPECT_TRUE(state.is_ok()) << state.status().to_string();
  if (state.is_ok()) out.state = *state;
  EXPECT_TRUE((*reader)
                  ->for_each(bolt::kKeyBucket,
                             [&](std::string_view key, std::string_view value) -> Status {
                               out.keys.emplace(key, value);
                               return {};
                             })
                  .is_ok());
  return out;
}

class PublicSnapshotTest : public ::testing::Test {
 protected:
  void SetUp() override { cluster.form(); }

  void put_all(const std::string& value) {  // many keys, a hundred a revision
    for (int i = 0; i < kKeys; i += 100) {
      bool done = false;
      std::vector<std::string> names;
      for (int j = 0; j < 100; ++j) names.push_back("key" + std::to_string(100000 + i + j));
      mvcc::TxnRequest txn;
      for (const std::string& name : names) {
        mvcc::PutRequest put;
        put.key = name;
        put.value = value;
        txn.success.push_back({put});
      }
      cluster.in_turn(0, [&](Node& n) {
        n.propose(mvcc::Command(txn), [&](const Status& s, const mvcc::ApplyResult*) {
          EXPECT_TRUE(s.is_ok());
          done = true;
        });
      });
      ASSERT_TRUE(cluster.wait([&] { return done; }));
    }
  }
  PinnedState pin() {
    std::optional<PinnedState> out;
    cluster.in_turn(0, [&](Node& n) {
      n.pin_applied([&](Result<PinnedState> pinned) {
        ASSERT_TRUE(pinned.is_ok());
        out = *pinned;
      });
    });
    EXPECT_TRUE(cluster.wait([&] { return out.has_value(); }));
    return *out;
  }

  static constexpr int kKeys = 12'000;
  TestCluster cluster{1};
};

// Compaction takes many turns; a snapshot in between holds what it will have left, no more and no less.
TEST_F(PublicSnapshotTest, HoldsNoRevisionThatCompactionHasMadeUnreadable) {
  put_all("one");
  put_all("two");
  int64_t revision = cluster.node(0).keyspace().revision();
  std::optional<PinnedState> early;
  cluster.in_turn(0, [&](Node& n) {
    n.propose(mvcc::CompactRequest{revision, false}, [&](const Status& s, const mvcc::ApplyResult*) {
      ASSERT_TRUE(s.is_ok());
      n.pin_applied([&](Result<PinnedState> pinned) {
        ASSERT_TRUE(pinned.is_ok());
        early = *pinned;
      });
    });
  });
  ASSERT_TRUE(cluster.wait([&] { return early.has_value(); }));
  EXPECT_FALSE(early->compacted) << "compaction was through at once: the test proves nothing";
  ASSERT_TRUE(cluster.wait([&] { return !cluster.node(0).keyspace().compaction_pending(); }));
  ASSERT_TRUE(cluster.put(0, "more", "1").is_ok());
  PinnedState late = pin();
  EXPECT_TRUE(late.compacted);

  File first = file_of(cluster.io(0), cluster.node(0), *early);
  File second = file_of(cluster.io(0), cluster.node(0), late);
  EXPECT_EQ(first.keys.size(), static_cast<size_t>(kKeys));
  EXPECT_EQ(first.state.compact_revision, revision);
  ASSERT_EQ(second.keys.size(), first.keys.size() + 1);
  second.keys.erase(std::prev(second.keys.end()));
  EXPECT_EQ(first.keys, second.keys);
}

// The state is that of the call: what was acknowledged before is in it.
TEST_F(PublicSnapshotTest, HoldsAllThatWasAcknowledged) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(cluster.put(0, "k" + std::to_string(i), "v").is_ok());
    File file = file_of(cluster.io(0), cluster.node(0), pin());
    EXPECT_EQ(file.keys.size(), static_cast<size_t>(i + 1));
    EXPECT_EQ(file.state.cluster_version, "3.7.0");
    EXPECT_EQ(file.state.storage_version, "3.7.0");
    ASSERT_EQ(file.state.members.size(), 1u);
    EXPECT_EQ(file.state.members[0].id, cluster.node(0).member_id().value);
    EXPECT_EQ(file.state.voters, std::vector<uint64_t>{file.state.members[0].id});
  }
}

TEST_F(PublicSnapshotTest, AsksForNoMoreThanItsLimit) {
  size_t refused = 0, served = 0;
  ASSERT_TRUE(cluster.put(0, "k", "v").is_ok());  // in no checkpoint yet
  cluster.in_turn(0, [&](Node& n) {
    for (size_t i = 0; i < kPinWaitsMax + 3; ++i)
      n.pin_applied([&](Result<PinnedState> pinned) { ++(pinned.is_ok() ? served : refused); });
  });
  ASSERT_TRUE(cluster.wait([&] { return refused + served == kPinWaitsMax + 3; }));
  EXPECT_EQ(refused, 3u);
}

}  // namespace
}  // namespace fairlead::node
