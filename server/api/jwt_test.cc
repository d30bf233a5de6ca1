#include "server/api/jwt.h"

#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <random>

#include "base/text.h"
#include "server/api/identity.h"

namespace fairlead::api {
namespace {

struct KeyPair {
  std::string private_pem, public_pem;
};

std::string text_of(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<size_t>(size));
  BIO_free(bio);
  return out;
}

KeyPair pems_of(EVP_PKEY* key) {
  BIO* priv = BIO_new(BIO_s_mem());
  BIO* pub = BIO_new(BIO_s_mem());
  EXPECT_EQ(PEM_write_bio_PrivateKey(priv, key, nullptr, nullptr, 0, nullptr, nullptr), 1);
  EXPECT_EQ(PEM_write_bio_PUBKEY(pub, key), 1);
  EVP_PKEY_free(key);
  return {text_of(priv), text_of(pub)};
}

KeyPair new_rsa() { return pems_of(EVP_RSA_gen(2048)); }
KeyPair new_ec(const char* curve) { return pems_of(EVP_EC_gen(curve)); }
KeyPair new_ed() { return pems_of(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")); }

std::shared_ptr<const Jwt> make(std::string_view method, std::string_view pub, std::string_view priv) {
  auto jwt = Jwt::create(method, pub, priv);
  EXPECT_TRUE(jwt.is_ok()) << method << " " << jwt.status().to_string();
  return jwt.is_ok() ? *jwt : nullptr;
}

TEST(Jwt, EveryAlgorithmSignsAndVerifies) {
  KeyPair rsa = new_rsa(), p256 = new_ec("P-256"), p384 = new_ec("P-384"), p521 = new_ec("P-521"), ed = new_ed();
  KeyPair secret{"a shared secret of many bytes", ""};
  const std::pair<const char*, const KeyPair*> methods[] = {
      {"RS256", &rsa},    {"RS384", &rsa},    {"RS512", &rsa},    {"PS256", &rsa},  {"PS384", &rsa},
      {"PS512", &rsa},    {"ES256", &p256},   {"ES384", &p384},   {"ES512", &p521}, {"EdDSA", &ed},
      {"HS256", &secret}, {"HS384", &secret}, {"HS512", &secret},
  };
  for (auto [method, keys] : methods) {
    SCOPED_TRACE(method);
    auto jwt = make(method, keys->public_pem, keys->private_pem);
    Result<std::string> token = jwt->sign({"ann", 7, 1000});
    ASSERT_TRUE(token.is_ok());
    auto claims = jwt->verify(*token, 999);
    ASSERT_TRUE(claims.has_value());
    EXPECT_EQ(claims->username, "ann");
    EXPECT_EQ(claims->revision, 7u);
    EXPECT_EQ(claims->expires, 1000);
    EXPECT_FALSE(jwt->verify(*token, 1000)) << "expired";
    // One changed byte anywhere.
    for (size_t i = 0; i < token->size(); i += 3) {
      std::string other = *token;
      other[i] = other[i] == 'A' ? 'B' : 'A';
      EXPECT_FALSE(other != *token && jwt->verify(other, 0)) << i;
    }
    if (keys->public_pem.empty()) continue;
    auto verifier = make(method, keys->public_pem, "");
    EXPECT_TRUE(verifier->verify(*token, 0));
    EXPECT_EQ(verifier->sign({"ann", 7, 1000}).status().message(),
              "auth: token signing attempted with verify-only key");
  }
}

TEST(Jwt, AnotherAlgorithmOrKeyIsRefused) {
  KeyPair rsa = new_rsa(), other = new_rsa();
  auto rs256 = make("RS256", rsa.public_pem, rsa.private_pem);
  auto rs512 = make("RS512", rsa.public_pem, rsa.private_pem);
  // The old trick: the public key as an HMAC secret.
  auto confused = make("HS256", "", rsa.public_pem);
  std::string none =
      base64url(R"({"alg":"none","typ":"JWT"})") + "." + base64url(R"({"username":"root","revision":1})") + ".";
  EXPECT_FALSE(rs256->verify(*rs512->sign({"root", 1, 9}), 0));
  EXPECT_FALSE(rs256->verify(*confused->sign({"root", 1, 9}), 0));
  EXPECT_FALSE(rs256->verify(none, 0));
  EXPECT_FALSE(make("RS256", other.public_pem, "")->verify(*rs256->sign({"root", 1, 9}), 0));
  EXPECT_TRUE(make("RS256", rsa.public_pem, "")->verify(*rs256->sign({"root", 1, 9}), 0));
}

// Signed by the right key all the same: these have to be refused for what they say.
TEST(Jwt, ClaimsThatAreMissingOrWrong) {
  auto jwt = make("HS256", "", "secret");
  auto sign = [&](const std::string& head, const std::string& body) {
    // By hand: Jwt::sign() makes only good ones.
    std::string good = *jwt->sign({"ann", 1, 9});
    std::string part = base64url(head) + "." + base64url(body);
    unsigned char mac[EVP_MAX_MD_SIZE];
    size_t size = 0;
    EVP_Q_mac(nullptr, "HMAC", nullptr, "SHA256", nullptr, "secret", 6,
              reinterpret_cast<const unsigned char*>(part.data()), part.size(), mac, sizeof mac, &size);
    return part + "." + base64url({reinterpret_cast<char*>(mac), size});
  };
  const std::string head = R"({"alg":"HS256","typ":"JWT"})";
  EXPECT_TRUE(jwt->verify(sign(head, R"({"username":"ann","revision":3})"), 5)) << "without exp it does not expire";
  EXPECT_EQ(jwt->verify(sign(head, R"({"username":"ann","revision":3.0,"exp":6.5})"), 5)->revision, 3u);
  for (const char* bad :
       {R"({"revision":3})", R"({"username":"ann"})", R"({"username":7,"revision":3})",
        R"({"username":"ann","revision":"3"})", R"({"username":"ann","revision":-1})",
        R"({"username":"ann","revision":1e300})", R"({"username":"ann","revision":3,"exp":5})",
        R"({"username":"ann","revision":3,"exp":"soon"})", R"({"username":"ann","revision":3,"nbf":6})", R"([1])", "7",
        "", "{", R"({"username":"ann","revision":3}x)"})
    EXPECT_FALSE(jwt->verify(sign(head, bad), 5)) << bad;
  for (const char* bad : {"{}", "[]", "", R"({"alg":7})", R"({"alg":"hs256"})"})
    EXPECT_FALSE(jwt->verify(sign(bad, R"({"username":"ann","revision":3})"), 5)) << bad;
}

TEST(Jwt, NoiseIsRefused) {
  auto jwt = make("HS256", "", "secret");
  std::string good = *jwt->sign({"ann", 7, 1000});
  EXPECT_FALSE(jwt->verify("", 0));
  EXPECT_FALSE(jwt->verify("...", 0));
  EXPECT_FALSE(jwt->verify(good + ".x", 0));
  EXPECT_FALSE(jwt->verify(good + std::string(kTokenBytesMax, 'A'), 0));
  std::mt19937 random(11);
  for (int i = 0; i < 20000; ++i) {
    std::string noise = good.substr(0, random() % good.size());
    for (size_t n = random() % 8; n > 0 && !noise.empty(); --n)
      noise[random() % noise.size()] = static_cast<char>(random());
    EXPECT_FALSE(jwt->verify(noise, 0));
  }
  // Deep nesting in what is parsed before the signature is known.
  std::string deep = base64url(std::string(5000, '['));
  EXPECT_FALSE(jwt->verify(deep + "." + deep + ".AAAA", 0));
}

TEST(Jwt, TokensAreBounded) {
  auto jwt = make("HS256", "", "secret");
  std::string token, longer;
  for (size_t name = 1; longer.size() <= kTokenBytesMax; ++name) {
    token = std::exchange(longer, *jwt->sign({std::string(name, 'n'), 7, 1000}));
  }
  EXPECT_GE(token.size(), kTokenBytesMax - 2);  // a byte more of the name is one or two of the token
  EXPECT_TRUE(jwt->verify(token, 0));
  EXPECT_LE(longer.size(), kTokenBytesMax + 2);
  EXPECT_FALSE(jwt->verify(longer, 0));
}

TEST(Jwt, KeysAreCheckedAtTheStart) {
  KeyPair rsa = new_rsa(), other = new_rsa(), p256 = new_ec("P-256"), ed = new_ed();
  auto error = [](std::string_view method, std::string_view pub, std::string_view priv) {
    return std::string(Jwt::create(method, pub, priv).status().message());
  };
  EXPECT_EQ(error("", "", ""), "auth: invalid auth signature method");
  EXPECT_EQ(error("none", "", ""), "auth: invalid auth signature method");
  EXPECT_EQ(error("HS256", "x", ""), "auth: missing key data");
  EXPECT_EQ(error("RS256", "", ""), "auth: missing key data");
  EXPECT_EQ(error("RS256", other.public_pem, rsa.private_pem), "auth: public and private keys don't match");
  EXPECT_NE(error("RS256", "", "not a key"), "");
  EXPECT_NE(error("RS256", p256.public_pem, ""), "");
  EXPECT_NE(error("ES384", "", p256.private_pem), "");
  EXPECT_NE(error("EdDSA", "", rsa.private_pem), "");
  EXPECT_EQ(error("EdDSA", "", ed.private_pem), "");
}

TEST(Jwt, AuthTokenOption) {
  auto options = parse_auth_token("simple");
  ASSERT_TRUE(options.is_ok());
  EXPECT_FALSE(options->has_value());
  options = parse_auth_token("jwt,pub-key=/p,priv-key=/q,sign-method=RS256,ttl=1h30m");
  ASSERT_TRUE(options.is_ok() && options->has_value());
  EXPECT_EQ((*options)->public_key_file, "/p");
  EXPECT_EQ((*options)->private_key_file, "/q");
  EXPECT_EQ((*options)->method, "RS256");
  EXPECT_EQ((*options)->ttl_seconds, 5400);
  EXPECT_EQ((*parse_auth_token("jwt,sign-method=RS256"))->ttl_seconds, 300);
  for (const char* bad : {"jwt,ttl", "jwt,ttl=1=2", "jwt,ttl=5x", "jwt,ttl=1m,ttl=2m"})
    EXPECT_EQ(parse_auth_token(bad).status().message(), "auth: invalid auth options") << bad;
  for (const char* bad : {"", "jwt2", "oauth,x=y"})
    EXPECT_TRUE(parse_auth_token(bad).status().message().starts_with("auth: invalid auth options: unknown token type"));
}

}  // namespace
}  // namespace fairlead::api
