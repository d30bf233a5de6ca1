// Tokens and clients' versions that are kept in memory: each limit just below it and just above it. One member on a
// simulated machine.
#include "server/api/identity.h"

#include <gtest/gtest.h>

#include "server/api/api.h"
#include "server/mvcc/errors.h"
#include "server/node/cluster_for_test.h"

namespace fairlead::api {
namespace {

constexpr char kKeyFile[] = "/vol/secret";
constexpr char kAuthToken[] = "jwt,sign-method=HS256,priv-key=/vol/secret";
const JwtOptions kOptions = {"HS256", "", kKeyFile, 300};

class IdentityTest : public ::testing::Test {
 protected:
  IdentityTest() : cluster_(1) {
    cluster_.on_end = [this](size_t) { identities_.reset(); };
    cluster_.form();
    write_key("a shared secret");
    cluster_.in_turn(0, [this](node::Node& n) {
      identities_ = std::make_unique<Identities>(cluster_.io(0), n);
      ASSERT_EQ(identities_->use_jwt(kOptions), Status());
    });
  }
  ~IdentityTest() override { cluster_.kill(0); }

  void write_key(const std::string& text) {
    io::Disk& disk = *cluster_.io(0).disk;
    if (disk.exists(kKeyFile)) (void)disk.remove(kKeyFile);
    auto file = disk.open(kKeyFile, io::OpenMode::kCreate);
    ASSERT_TRUE(file.is_ok() && (*file)->write_at(0, text).is_ok());
  }
  // As another member would make it.
  static std::string token_of(const std::string& user) {
    auto jwt = Jwt::create("HS256", "", "a shared secret");
    return *(*jwt)->sign({user, 1, 2'000'000'000});
  }
  bool known(const std::string& token) { return identities_->resolve(token, "").is_ok(); }

  node::TestCluster cluster_;
  std::unique_ptr<Identities> identities_;
};

// All calls of a client that connects anew come with a token that this member has never seen.
TEST_F(IdentityTest, ManyCallsWithOneNewTokenWaitForOneVerification) {
  constexpr size_t kCalls = 4 * kVerifyingMax;
  size_t learned = 0;
  std::string token = token_of("ann");
  cluster_.in_turn(0, [&](node::Node&) {
    for (size_t i = 0; i < kCalls; ++i)
      identities_->learn(token, [&](const Status& s) {
        EXPECT_EQ(s, Status());
        Result<node::Caller> who = identities_->resolve(token, "");
        ASSERT_TRUE(who.is_ok());
        EXPECT_EQ(who->user, "ann");
        ++learned;
      });
    EXPECT_EQ(learned, 0u);
  });
  EXPECT_TRUE(cluster_.wait([&] { return learned == kCalls; }));
}

TEST_F(IdentityTest, VerificationsUnderWayAreBounded) {
  size_t learned = 0;
  cluster_.in_turn(0, [&](node::Node&) {
    for (size_t i = 0; i < kVerifyingMax; ++i)
      identities_->learn("noise " + std::to_string(i), [&](const Status& s) { learned += s.is_ok(); });
    Status refused;
    identities_->learn("one more", [&](const Status& s) { refused = s; });
    EXPECT_EQ(refused, node::err_too_many_requests());
    EXPECT_EQ(learned, 0u);
    identities_->learn("noise 7", [&](const Status& s) { learned += s.is_ok(); });  // no verification of its own
  });
  EXPECT_TRUE(cluster_.wait([&] { return learned == kVerifyingMax + 1; }));
  cluster_.in_turn(
      0, [&](node::Node&) { identities_->learn("one more", [&](const Status& s) { learned += s.is_ok(); }); });
  EXPECT_TRUE(cluster_.wait([&] { return learned == kVerifyingMax + 2; }));
  EXPECT_FALSE(known("noise 7"));
}

TEST_F(IdentityTest, TheOldestOfTooManyTokensIsForgotten) {
  std::vector<std::string> tokens;
  auto issue = [&](size_t count) {
    size_t wanted = tokens.size() + count;
    cluster_.in_turn(0, [&](node::Node&) {
      for (size_t i = tokens.size(); i < wanted; ++i)
        identities_->issue("user " + std::to_string(i), 1, [&](Result<std::string> token) {
          ASSERT_TRUE(token.is_ok());
          tokens.push_back(*token);
        });
    });
    ASSERT_TRUE(cluster_.wait([&] { return tokens.size() == wanted; }));
  };
  constexpr size_t kAtOnce = 1000;  // workers take only so many
  while (tokens.size() < kJwtsMax) issue(std::min(kAtOnce, kJwtsMax - tokens.size()));
  EXPECT_TRUE(known(tokens[0]));
  issue(1);
  EXPECT_FALSE(known(tokens[0]));
  EXPECT_TRUE(known(tokens[1]));
  EXPECT_TRUE(known(tokens[kJwtsMax]));
  // It is worth what it was, and verified again when it is shown.
  bool learned = false;
  cluster_.in_turn(0,
                   [&](node::Node&) { identities_->learn(tokens[0], [&](const Status& s) { learned = s.is_ok(); }); });
  ASSERT_TRUE(cluster_.wait([&] { return learned; }));
  EXPECT_TRUE(known(tokens[0]));
  EXPECT_FALSE(known(tokens[1]));
}

TEST_F(IdentityTest, KeyFilesAreBounded) {
  write_key(std::string(kKeyFileBytesMax, 'k'));
  EXPECT_EQ(check_auth_token(*cluster_.io(0).disk, kAuthToken), Status());
  write_key(std::string(kKeyFileBytesMax + 1, 'k'));
  EXPECT_EQ(check_auth_token(*cluster_.io(0).disk, kAuthToken),
            invalid_argument(std::string(kKeyFile) + " is too large for a key"));
}

}  // namespace
}  // namespace fairlead::api
