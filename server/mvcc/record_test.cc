#include "server/mvcc/record.h"

#include <gtest/gtest.h>

namespace fairlead::mvcc {
namespace {

KeyRecord sample() {
  KeyRecord r;
  r.position = {1234567, 3};
  r.create = 17;
  r.version = 4;
  r.lease = -9;
  r.key = "/registry/pods/a";
  r.value = "some value";
  return r;
}

TEST(Record, KeyRecordComesBackWithEveryField) {
  KeyRecord r = sample();
  std::string out = "before";
  append_key_record(out, r);
  EXPECT_EQ(out.size() - 6, key_record_size(r));
  append_key_record(out, {.position = {1, 0}, .flags = kFlagTombstone, .key = "gone", .value = ""});
  std::string_view in = std::string_view(out).substr(6);
  auto back = decode_key_record(in);
  ASSERT_TRUE(back.is_ok()) << back.status().to_string();
  EXPECT_EQ(back->position, r.position);
  EXPECT_EQ(back->create, 17);
  EXPECT_EQ(back->version, 4);
  EXPECT_EQ(back->lease, -9);
  EXPECT_EQ(back->key, r.key);
  EXPECT_EQ(back->value, r.value);
  auto second = decode_key_record(in);
  ASSERT_TRUE(second.is_ok());
  EXPECT_TRUE(second->tombstone());
  EXPECT_TRUE(in.empty());
}

TEST(Record, SideRecordComesBackWithEveryField) {
  std::string out;
  append_side_record(out, {.position = {88, 2}, .kind = SideKind::kAlarm, .id = "id", .payload = "payload"});
  std::string_view in = out;
  auto back = decode_side_record(in);
  ASSERT_TRUE(back.is_ok());
  EXPECT_EQ(back->position, (SidePosition{88, 2}));
  EXPECT_EQ(back->kind, SideKind::kAlarm);
  EXPECT_EQ(back->id, "id");
  EXPECT_EQ(back->payload, "payload");
  EXPECT_TRUE(in.empty());
}

TEST(Record, TheCommittedBytesStayReadable) {
  // A format that has been written to a disk may not drift: these bytes were made by the first version.
  KeyRecord r;
  r.position = {2, 0};
  r.create = 2;
  r.version = 1;
  r.key = "k";
  r.value = "v";
  std::string out;
  append_key_record(out, r);
  EXPECT_EQ(out.substr(4), std::string("\x0c\x01\x00\x02\x00\x02\x01\x00\x00\x01k\x01v", 13));
}

TEST(Record, EveryFlippedBitAndEveryCutIsRefusedAndInputUntouched) {
  std::string good, side;
  append_key_record(good, sample());
  append_side_record(side, {.position = {1, 1}, .id = "i", .payload = "p"});
  for (size_t i = 0; i < good.size() * 8; ++i) {
    std::string bad = good;
    bad[i / 8] = static_cast<char>(bad[i / 8] ^ (1 << (i % 8)));
    std::string_view in = bad;
    EXPECT_EQ(decode_key_record(in).code(), Code::kDataLoss) << i;
    EXPECT_EQ(in.size(), bad.size());
  }
  for (size_t n = 0; n < good.size(); ++n) {
    std::string_view in = std::string_view(good).substr(0, n);
    EXPECT_EQ(decode_key_record(in).code(), Code::kDataLoss);
  }
  std::string_view in = side;
  EXPECT_EQ(decode_key_record(in).code(), Code::kDataLoss);
  in = good;
  EXPECT_EQ(decode_side_record(in).code(), Code::kDataLoss);
}

}  // namespace
}  // namespace fairlead::mvcc
