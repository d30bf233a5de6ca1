#include "server/node/tokens.h"

#include <gtest/gtest.h>

namespace fairlead::node {
namespace {

constexpr io::Nanos kTtl = 300 * io::kSecond;

std::string user_of(SimpleTokens& tokens, std::string_view token, io::Nanos now) {
  const std::string* user = tokens.use(token, now);
  return user ? *user : "";
}

TEST(SimpleTokens, ATokenLivesFromItsLastUse) {
  SimpleTokens tokens(kTtl);
  tokens.assign("a.1", "ann", 0);
  tokens.assign("b.2", "bob", 0);
  EXPECT_EQ(user_of(tokens, "a.1", kTtl - 1), "ann");
  EXPECT_EQ(user_of(tokens, "b.2", kTtl), "");
  tokens.expire(kTtl);
  EXPECT_EQ(tokens.size(), 1u);
  EXPECT_EQ(user_of(tokens, "a.1", 2 * kTtl - 2), "ann");
  EXPECT_EQ(user_of(tokens, "a.1", 3 * kTtl - 2), "");
  EXPECT_EQ(user_of(tokens, "a.2", 0), "");
}

TEST(SimpleTokens, TheLeastRecentlyUsedMakesRoom) {
  SimpleTokens tokens(kTtl, 3);
  for (const char* t : {"a", "b", "c"}) tokens.assign(t, t, 0);
  EXPECT_EQ(user_of(tokens, "a", 1), "a");
  tokens.assign("d", "d", 2);
  EXPECT_EQ(tokens.size(), 3u);
  EXPECT_EQ(user_of(tokens, "b", 3), "");
  EXPECT_EQ(user_of(tokens, "a", 3), "a");
}

TEST(SimpleTokens, AUsersTokensEndTogether) {
  SimpleTokens tokens(kTtl);
  tokens.assign("a", "ann", 0);
  tokens.assign("b", "ann", 0);
  tokens.assign("c", "bob", 0);
  tokens.assign("c", "ann", 0);  // an entry applied again changes nothing
  tokens.drop_user("ann");
  EXPECT_EQ(user_of(tokens, "a", 1), "");
  EXPECT_EQ(user_of(tokens, "c", 1), "bob");
  tokens.clear();
  EXPECT_EQ(user_of(tokens, "c", 1), "");
}

}  // namespace
}  // namespace fairlead::node
