#include "server/main/failpoint_terms.h"

#include <gtest/gtest.h>

namespace fairlead::server {
namespace {

// What the next times bring: "return 1", "sleep {}", "-" where nothing is due.
std::vector<std::string> times(const std::string& text, int n) {
  static constexpr const char* kNames[] = {"off", "return", "sleep", "panic", "print"};
  auto terms = FailpointTerms::parse(text);
  if (!terms.is_ok()) return {std::string(terms.status().message())};
  std::vector<std::string> out;
  for (int i = 0; i < n; ++i) {
    auto due = (*terms)->next();
    out.push_back(due ? std::string(kNames[static_cast<int>(due->action)]) + " " + printed(due->value) : "-");
  }
  return out;
}

using Times = std::vector<std::string>;

TEST(FailpointTerms, Chains) {
  EXPECT_EQ(times("off", 2), (Times{"off {}", "off {}"}));
  EXPECT_EQ(times("2*return(\"abc\")", 3), (Times{"return abc", "return abc", "-"}));
  EXPECT_EQ(times("1*return(\"a\")->return(\"b\")", 3), (Times{"return a", "return b", "return b"}));
  EXPECT_EQ(times("1*off->1*sleep(10)->panic", 3), (Times{"off {}", "sleep 10", "panic {}"}));
  EXPECT_EQ(times("0*panic", 1), (Times{"-"}));
}

TEST(FailpointTerms, ValuesHaveTypes) {
  for (auto [text, type, value] : {std::tuple{"return", "struct {}", "{}"},
                                   {"return()", "struct {}", "{}"},
                                   {"return(17)", "int", "17"},
                                   {"return(-3)", "int", "-3"},
                                   {"return(true)", "bool", "true"},
                                   {"return(\"a\\\"b\")", "string", "a\"b"},
                                   {"return(`a\"b`)", "string", "a\"b"}}) {
    auto terms = FailpointTerms::parse(text);
    ASSERT_TRUE(terms.is_ok()) << text;
    auto due = (*terms)->next();
    ASSERT_TRUE(due) << text;
    EXPECT_EQ(type_name(due->value), type) << text;
    EXPECT_EQ(printed(due->value), value) << text;
  }
}

TEST(FailpointTerms, CountsWhatWasDue) {
  auto terms = FailpointTerms::parse("10*sleep(10)->1*return(\"abc\")");
  ASSERT_TRUE(terms.is_ok());
  EXPECT_EQ((*terms)->count(), 0u);
  for (int i = 0; i < 3; ++i) (*terms)->next();
  EXPECT_EQ((*terms)->count(), 3u);
  for (int i = 0; i < 12; ++i) (*terms)->next();
  EXPECT_EQ((*terms)->count(), 11u);
  EXPECT_EQ((*terms)->text(), "10*sleep(10)->1*return(\"abc\")");
}

TEST(FailpointTerms, ChancesAreTaken) {
  EXPECT_EQ(times("0.0%panic", 3), (Times{"-", "-", "-"}));
  EXPECT_EQ(times("100%return(1)", 3), (Times{"return 1", "return 1", "return 1"}));
  EXPECT_EQ(times("100%2*return(1)", 3), (Times{"return 1", "return 1", "-"}));
  auto terms = FailpointTerms::parse("50%return");
  ASSERT_TRUE(terms.is_ok());
  int due = 0;
  for (int i = 0; i < 10'000; ++i) due += (*terms)->next().has_value();
  EXPECT_GT(due, 4000);
  EXPECT_LT(due, 6000);
}

TEST(FailpointTerms, NonsenseIsRefused) {
  for (const char* text :
       {"", "off)", "break", "sleep(", "sleep(10", "sleep(10)x", "3", "3*", "50", "1.5*off", "off->", "->off",
        "return(\"a)", "return(\"\\q\")", "return(x)", "panic panic", "9999999999999999999*off"})
    EXPECT_EQ(times(text, 1), (Times{"failpoint: could not parse terms"})) << text;
}

TEST(FailpointTerms, Sleeps) {
  EXPECT_EQ(sleep_ms(int64_t{100}), 100);
  EXPECT_EQ(sleep_ms(std::string("1.5s")), 1500);
  EXPECT_EQ(sleep_ms(std::string("soon")), std::nullopt);
  EXPECT_EQ(sleep_ms(FailpointValue()), std::nullopt);
}

}  // namespace
}  // namespace fairlead::server
