#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "base/ids.h"
#include "base/status.h"

namespace fairlead {
namespace {

TEST(Crc32c, KnownVectorsAndBothImplementationsAgree) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  std::string s;
  for (int i = 0; i < 300; ++i) {
    s.push_back(static_cast<char>(i * 7));
    EXPECT_EQ(crc32c(s), crc32c_internal::extend_portable(0, s));
    EXPECT_EQ(crc32c_extend(crc32c(s.substr(0, s.size() / 2)), s.substr(s.size() / 2)), crc32c(s));
  }
}

TEST(Codec, VarintRoundTripAtEveryWidth) {
  for (int bits = 0; bits <= 64; ++bits) {
    uint64_t v = bits == 64 ? ~0ull : (1ull << bits) - 1;
    std::string s;
    put_varint(s, v);
    EXPECT_EQ(s.size(), varint_size(v));
    Reader r(s);
    EXPECT_EQ(r.varint(), v);
    EXPECT_TRUE(r.ok() && r.at_end());
  }
  EXPECT_EQ(unzigzag(zigzag(-5)), -5);
  EXPECT_EQ(unzigzag(zigzag(INT64_MIN)), INT64_MIN);
}

TEST(Codec, ReaderRefusesWhatIsNotThere) {
  for (std::string_view bad : {std::string_view("\x80"),
                               std::string_view("\x05"
                                                "ab"),
                               std::string_view("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")}) {
    Reader r(bad);
    r.lengthed();
    EXPECT_FALSE(r.ok());
    EXPECT_EQ(r.fixed<uint64_t>(), 0u);
  }
}

TEST(Bytes, SlicesShareAndOutliveTheirParent) {
  Bytes part;
  {
    Bytes whole = Bytes::take(std::string(1000, 'a') + "hello");
    part = whole.slice(1000, 5);
    EXPECT_EQ(whole.slice_of(whole.view().substr(1001, 2)).view(), "el");
  }
  EXPECT_EQ(part.view(), "hello");
  EXPECT_GE(part.block_size(), 1005u);
  BytesBuilder builder(8);
  std::memcpy(builder.data(), "abcdefgh", 8);
  EXPECT_EQ(std::move(builder).finish(3).view(), "abc");
  BytesBuilder unused(100);  // freed by its destructor
}

TEST(Status, CarriesCodeAndMessage) {
  EXPECT_TRUE(Status().is_ok());
  Status s = not_found("no such thing");
  Status copy = s;
  EXPECT_EQ(copy.to_string(), "NOT_FOUND: no such thing");
  Result<int> r = s;
  EXPECT_EQ(r.code(), Code::kNotFound);
  auto f = [](Result<int> in) -> Result<std::string> {
    ASSIGN_OR_RETURN(int v, in);
    return std::to_string(v);
  };
  EXPECT_EQ(*f(7), "7");
  EXPECT_EQ(f(s).status(), s);
}

TEST(CheckDeathTest, EndsTheProcess) { EXPECT_DEATH(CHECK(1 == 2, "arithmetic"), ""); }

TEST(Ids, AreDistinctAndOrdered) {
  static_assert(!std::is_convertible_v<Term, Index>);
  EXPECT_LT(Term{1}, Term{2});
  EXPECT_EQ(Index{5} + 2, Index{7});
  EXPECT_EQ(Index{5} - Index{2}, 3u);
}

}  // namespace
}  // namespace fairlead
