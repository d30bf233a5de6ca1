#include "ctl/go_format.h"

#include <gtest/gtest.h>

#include "proto/rpc.pb.h"

namespace fairlead::ctl {
namespace {

TEST(GoFormat, Quotes) {
  EXPECT_EQ(go_quote("a\"b\\\n\x01\xff\xc3\xa9"), "\"a\\\"b\\\\\\n\\x01\\xff\xc3\xa9\"");
  std::string_view in = "\"a\\x41\\u00e9\\t\\\"\") = \"1\"";
  std::string out;
  ASSERT_TRUE(go_unquote(in, out));
  EXPECT_EQ(out, "aA\xc3\xa9\t\"");
  EXPECT_EQ(in, ") = \"1\"");
  for (std::string_view bad : {"", "a", "\"a", "\"\\x4\"", "\"\\q\"", "\"\\09\""}) EXPECT_FALSE(go_unquote(bad, out));
}

TEST(GoFormat, ParsesNumbers) {
  int64_t n = 0;
  uint64_t u = 0;
  EXPECT_EQ(go_parse_int("-0x1F", 0, n), "");
  EXPECT_EQ(n, -31);
  EXPECT_EQ(go_parse_int("+017", 0, n), "");
  EXPECT_EQ(n, 15);
  EXPECT_EQ(go_parse_int("017", 10, n), "");
  EXPECT_EQ(n, 17);
  EXPECT_EQ(go_parse_int("-8000000000000000", 16, n), "");
  EXPECT_EQ(n, INT64_MIN);
  EXPECT_EQ(go_parse_uint("ffffffffffffffff", 16, u), "");
  EXPECT_EQ(u, UINT64_MAX);
  for (const char* bad : {"", "-", "--5", "+-5", "0x", "0x-5", "5 ", "5x"})
    EXPECT_EQ(go_parse_int(bad, 0, n), "strconv.ParseInt: parsing " + go_quote(bad) + ": invalid syntax");
  EXPECT_EQ(go_parse_uint("-5", 10, u), "strconv.ParseUint: parsing \"-5\": invalid syntax");
  EXPECT_EQ(go_parse_int("9223372036854775808", 10, n),
            "strconv.ParseInt: parsing \"9223372036854775808\": value out of range");
}

TEST(GoFormat, Durations) {
  EXPECT_EQ(go_duration(0), "0s");
  EXPECT_EQ(go_duration(999), "999ns");
  EXPECT_EQ(go_duration(1500), "1.5\xc2\xb5s");
  EXPECT_EQ(go_duration(2'621'419), "2.621419ms");
  EXPECT_EQ(go_duration(90'500'000'000), "1m30.5s");
  EXPECT_EQ(go_duration(3'600'000'000'000), "1h0m0s");
}

TEST(GoFormat, Sizes) {
  EXPECT_EQ(go_bytes(7), "7 B");
  EXPECT_EQ(go_bytes(20480), "20 kB");
  EXPECT_EQ(go_bytes(2147483648), "2.1 GB");
}

TEST(GoFormat, JsonOfMessages) {
  etcdserverpb::RangeResponse r;
  r.mutable_header()->set_revision(5);
  r.add_kvs()->set_key("a");
  r.set_count(1);
  EXPECT_EQ(go_json(r), R"({"header":{"revision":5},"kvs":[{"key":"YQ=="}],"count":1})");
  EXPECT_EQ(go_json_string("<a>&\x02\xff"), "\"\\u003ca\\u003e\\u0026\\u0002\\ufffd\"");
}

TEST(GoFormat, Tables) {
  EXPECT_EQ(table({"id", "hash_revision"}, {{"1", "x"}}),
            "\u250c\u2500\u2500\u2500\u2500\u252c\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500"
            "\u2500\u2500\u2500\u2500\u2510\n"
            "\u2502 ID \u2502 HASH REVISION \u2502\n"
            "\u251c\u2500\u2500\u2500\u2500\u253c\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500"
            "\u2500\u2500\u2500\u2500\u2524\n"
            "\u2502  1 \u2502             x \u2502\n"
            "\u2514\u2500\u2500\u2500\u2500\u2534\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500"
            "\u2500\u2500\u2500\u2500\u2518\n");
}

}  // namespace
}  // namespace fairlead::ctl
