// Any bytes as a token of the JWT provider. What is checked: nothing but a token that this process has signed is taken;
// an input that is a good token's claims, signed here, is read without a fault, whatever they are.
//
// The first byte chooses: 0 the whole token; else header and claims are the input's, the signature is ours.
#include <cstdint>
#include <memory>
#include <string>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/check.h"
#include "base/text.h"
#include "server/api/jwt.h"

using namespace fairlead;
using namespace fairlead::api;

namespace {

constexpr std::string_view kSecret = "a secret of this test and of nobody else";

std::string hs256(std::string_view text) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  HMAC(EVP_sha256(), kSecret.data(), static_cast<int>(kSecret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), out, &length);
  return std::string(reinterpret_cast<const char*>(out), length);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::shared_ptr<const Jwt> jwt = [] {
    Result<std::shared_ptr<const Jwt>> made = Jwt::create("HS256", "", kSecret);
    CHECK(made.is_ok());
    return *made;
  }();
  constexpr int64_t kNow = 1'795'000'000;
  if (size == 0) return 0;
  std::string in(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 0) {
    CHECK(!jwt->verify(in, kNow), "a token that nobody signed is taken");
    return 0;
  }
  std::string header = R"({"alg":"HS256","typ":"JWT"})";
  std::string claims = in;
  if (data[0] & 2) {
    size_t cut = std::min(in.find('\n'), in.size());
    header = in.substr(0, cut);
    claims = in.substr(std::min(cut + 1, in.size()));
  }
  std::string text = base64url(header) + "." + base64url(claims);
  std::optional<JwtClaims> got = jwt->verify(text + "." + base64url(hs256(text)), kNow);
  if (!got) return 0;
  CHECK(got->expires == 0 || got->expires > kNow, "a token that is over is taken");
  CHECK(!jwt->verify(text + ".", kNow) && !jwt->verify(text + "." + base64url("x"), kNow));
  return 0;
}
