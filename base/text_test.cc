#include "base/text.h"

#include <gtest/gtest.h>

namespace fairlead {
namespace {

TEST(Hex, AsEtcdPrintsIds) {
  EXPECT_EQ(hex(0), "0");
  EXPECT_EQ(hex(0x0102), "102");
  EXPECT_EQ(hex(0x8e9e05c52164694d), "8e9e05c52164694d");
}

using Padding = Base64::Padding;

TEST(Utf8, EveryCodePointThereAndBack) {
  for (uint32_t rune = 0; rune <= 0x10ffff; ++rune) {
    std::string text;
    append_rune(text, rune);
    uint32_t back = 0;
    size_t n = decode_rune(text, back);
    if (rune >= 0xd800 && rune < 0xe000) {
      ASSERT_EQ(n, 0u) << rune;
      continue;
    }
    ASSERT_EQ(n, text.size()) << rune;
    ASSERT_EQ(back, rune);
  }
}

TEST(Utf8, RefusesWhatIsNotWellFormed) {
  for (std::string_view bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x9f\xbf", "\xed\xa0\x80",
                               "\xe2\x82", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    EXPECT_FALSE(is_utf8(bad));
    EXPECT_FALSE(is_utf8("a" + std::string(bad)));
  }
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8(std::string_view("a\0\xc3\xa4\xe2\x82\xac\xf0\x9f\x9a\xa2", 11)));
}

TEST(Base64, VectorsOfTheRfc) {
  const std::pair<const char*, const char*> kVectors[] = {{"", ""},
                                                          {"f", "Zg=="},
                                                          {"fo", "Zm8="},
                                                          {"foo", "Zm9v"},
                                                          {"foob", "Zm9vYg=="},
                                                          {"fooba", "Zm9vYmE="},
                                                          {"foobar", "Zm9vYmFy"}};
  for (auto [bytes, text] : kVectors) {
    EXPECT_EQ(base64(bytes), text);
    EXPECT_EQ(decode_base64(text), bytes);
  }
}

TEST(Base64, EveryLengthThereAndBack) {
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(decode_base64(base64(bytes)), bytes);
    EXPECT_EQ(decode_base64(base64url(bytes), {.url = true, .padding = Padding::kNone, .canonical = true}), bytes);
    bytes.push_back(static_cast<char>(i * 37 + 251));
  }
  EXPECT_EQ(base64url("\xfb\xff\xfe"), "-__-");
}

TEST(Base64, RulesSayWhatIsRefused) {
  for (const char* bad :
       {"Zg", "Zg=", "Zg===", "Z===", "Z", "Zm9v=", "Zm9v====", "Zm-v", "Zg==Zg==", "=", "Zm 9v", "Z=g="})
    EXPECT_FALSE(decode_base64(bad)) << bad;
  EXPECT_EQ(decode_base64("Zm\r\n9v\n"), "foo");
  EXPECT_FALSE(decode_base64("Zm\n9v", {.ignored = ""}));
  EXPECT_EQ(decode_base64("Zm 9v", {.ignored = " "}), "foo");
  EXPECT_EQ(decode_base64("Zg", {.padding = Padding::kOptional}), "f");
  EXPECT_EQ(decode_base64("Zg==", {.padding = Padding::kOptional}), "f");
  EXPECT_FALSE(decode_base64("Zg=", {.padding = Padding::kOptional}));
  EXPECT_FALSE(decode_base64("Zg==", {.padding = Padding::kNone}));
  EXPECT_EQ(decode_base64("Zh=="), "f") << "bits too many are dropped";
  EXPECT_FALSE(decode_base64("Zh==", {.canonical = true}));
  EXPECT_FALSE(decode_base64("+/", {.url = true, .padding = Padding::kNone}));
}

TEST(Json, QuotesWhatItMust) {
  EXPECT_EQ(json_string("plain"), "\"plain\"");
  EXPECT_EQ(json_string(std::string_view("a\"\\\b\f\n\r\t\x01\0\x7f", 11)),
            "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u0000\x7f\"");
  EXPECT_EQ(json_string("\xc3\xa4\xff\xe2\x82"), "\"\xc3\xa4\\ufffd\\ufffd\\ufffd\"");
  EXPECT_EQ(json_string("<a>&\xe2\x80\xa8"), "\"<a>&\xe2\x80\xa8\"");
  EXPECT_EQ(json_string("<a>&\xe2\x80\xa8", JsonEscapes::kHtml), "\"\\u003ca\\u003e\\u0026\\u2028\"");
}

TEST(Prefix, EndsBehindItsLastKey) {
  EXPECT_EQ(prefix_end("a"), "b");
  EXPECT_EQ(prefix_end("a/"), "a0");
  EXPECT_EQ(prefix_end("a\x7f"), "a\x80");
  EXPECT_EQ(prefix_end("a\xff\xff"), "b");
  EXPECT_EQ(prefix_end(""), std::string(1, '\0'));
  EXPECT_EQ(prefix_end("\xff"), std::string(1, '\0'));
}

TEST(Split, GivesOnePartMoreThanThereAreSeparators) {
  using Parts = std::vector<std::string>;
  EXPECT_EQ(split("a,b,c", ','), (Parts{"a", "b", "c"}));
  EXPECT_EQ(split(",a,,", ','), (Parts{"", "a", "", ""}));
  EXPECT_EQ(split("", ','), Parts{""});
}

TEST(Text, DurationsAreGos) {
  for (auto [text, nanos] : {std::pair<std::string_view, int64_t>{"0", 0},
                             {"-0", 0},
                             {"0s", 0},
                             {"7ns", 7},
                             {"+5us", 5000},
                             {"5\u00b5s", 5000},
                             {"5\u03bcs", 5000},
                             {"1.5h", 5'400'000'000'000},
                             {"1h30m", 5'400'000'000'000},
                             {"-500ms", -500'000'000},
                             {".5s", 500'000'000},
                             {"5.s", 5'000'000'000},
                             {"0.1234567890123456789s", 123'456'789},
                             {"2562047h47m16.854775807s", INT64_MAX}})
    EXPECT_EQ(parse_duration(text), std::optional<int64_t>(nanos)) << text;
  for (std::string_view bad : {"", "-", "5", "s", ".s", "1 s", "1d", "--1s", "1s-1s", "1e3s", "nanh", "infs", "1h m",
                               "2562047h47m16.854775808s", "9223372036854775808ns", "99999999999999999999h"})
    EXPECT_EQ(parse_duration(bad), std::nullopt) << bad;
}

}  // namespace
}  // namespace fairlead
