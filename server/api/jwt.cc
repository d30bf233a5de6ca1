#include "server/api/jwt.h"

#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <nlohmann/json.hpp>

#include "base/text.h"

namespace fairlead::api {
namespace {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using PKey = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Bio = std::unique_ptr<BIO, Deleter<BIO_free>>;
using MdCtx = std::unique_ptr<EVP_MD_CTX, Deleter<EVP_MD_CTX_free>>;
using EcSig = std::unique_ptr<ECDSA_SIG, Deleter<ECDSA_SIG_free>>;

enum class Family : uint8_t { kHmac, kRsa, kPss, kEc, kEd };

struct Method {
  std::string_view name;
  Family family;
  const EVP_MD* (*digest)();
  int curve_bits;
};
constexpr Method kMethods[] = {
    {"HS256", Family::kHmac, EVP_sha256, 0}, {"HS384", Family::kHmac, EVP_sha384, 0},
    {"HS512", Family::kHmac, EVP_sha512, 0}, {"RS256", Family::kRsa, EVP_sha256, 0},
    {"RS384", Family::kRsa, EVP_sha384, 0},  {"RS512", Family::kRsa, EVP_sha512, 0},
    {"PS256", Family::kPss, EVP_sha256, 0},  {"PS384", Family::kPss, EVP_sha384, 0},
    {"PS512", Family::kPss, EVP_sha512, 0},  {"ES256", Family::kEc, EVP_sha256, 256},
    {"ES384", Family::kEc, EVP_sha384, 384}, {"ES512", Family::kEc, EVP_sha512, 521},
    {"EdDSA", Family::kEd, nullptr, 0},
};

// RFC 7515, 2: no padding, nothing between; one text for one value.
constexpr Base64 kBase64Url = {.url = true, .padding = Base64::Padding::kNone, .ignored = "", .canonical = true};

Bio memory(std::string_view bytes) { return Bio(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size()))); }

PKey read_private(std::string_view pem) {
  return PKey(PEM_read_bio_PrivateKey(memory(pem).get(), nullptr, nullptr, nullptr));
}

// A public key alone, or the one of a certificate.
PKey read_public(std::string_view pem) {
  PKey key(PEM_read_bio_PUBKEY(memory(pem).get(), nullptr, nullptr, nullptr));
  if (key) return key;
  X509* certificate = PEM_read_bio_X509(memory(pem).get(), nullptr, nullptr, nullptr);
  if (!certificate) return nullptr;
  key.reset(X509_get_pubkey(certificate));
  X509_free(certificate);
  return key;
}

int key_type(Family family) {
  switch (family) {
    case Family::kEc:
      return EVP_PKEY_EC;
    case Family::kEd:
      return EVP_PKEY_ED25519;
    default:
      return EVP_PKEY_RSA;
  }
}

bool fits(const Method& method, const EVP_PKEY* key) {
  if (EVP_PKEY_base_id(key) != key_type(method.family)) return false;
  return method.family != Family::kEc || EVP_PKEY_bits(key) == method.curve_bits;
}

// OpenSSL writes an ECDSA signature as ASN.1, a JWT holds the two numbers side by side.
std::string numbers_of(std::string_view der, int bytes) {
  const auto* p = reinterpret_cast<const unsigned char*>(der.data());
  EcSig sig(d2i_ECDSA_SIG(nullptr, &p, static_cast<long>(der.size())));
  std::string out(static_cast<size_t>(2 * bytes), '\0');
  auto* raw = reinterpret_cast<unsigned char*>(out.data());
  if (!sig || BN_bn2binpad(ECDSA_SIG_get0_r(sig.get()), raw, bytes) < 0 ||
      BN_bn2binpad(ECDSA_SIG_get0_s(sig.get()), raw + bytes, bytes) < 0)
    return {};
  return out;
}

std::string der_of(std::string_view numbers, int bytes) {
  if (numbers.size() != static_cast<size_t>(2 * bytes)) return {};
  const auto* raw = reinterpret_cast<const unsigned char*>(numbers.data());
  EcSig sig(ECDSA_SIG_new());
  BIGNUM* r = BN_bin2bn(raw, bytes, nullptr);
  BIGNUM* s = BN_bin2bn(raw + bytes, bytes, nullptr);
  ECDSA_SIG_set0(sig.get(), r, s);
  unsigned char* der = nullptr;
  int size = i2d_ECDSA_SIG(sig.get(), &der);
  std::string out = size > 0 ? std::string(reinterpret_cast<char*>(der), static_cast<size_t>(size)) : std::string();
  OPENSSL_free(der);
  return out;
}

// A number of any kind, as the seconds or revision it means; nothing when it is none or out of range.
std::optional<int64_t> whole_number(const nlohmann::json& value) {
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  double d = value.get<double>();
  if (!(d >= 0 && d < 9e15)) return std::nullopt;
  return static_cast<int64_t>(d);
}

}  // namespace

struct Jwt::Key {
  Method method;
  std::string secret;  // HMAC
  PKey pkey;
  bool can_sign = false;
  int number_bytes() const { return (method.curve_bits + 7) / 8; }
};

Jwt::Jwt() : key_(std::make_unique<Key>()) {}
Jwt::~Jwt() = default;

Result<std::shared_ptr<const Jwt>> Jwt::create(std::string_view method, std::string_view public_key,
                                               std::string_view private_key) {
  std::shared_ptr<Jwt> jwt(new Jwt());
  Key& key = *jwt->key_;
  const Method* known = nullptr;
  for (const Method& m : kMethods)
    if (m.name == method) known = &m;
  if (!known) return invalid_argument("auth: invalid auth signature method");
  key.method = *known;
  if (known->family == Family::kHmac) {
    if (private_key.empty()) return invalid_argument("auth: missing key data");
    key.secret = private_key;
    key.can_sign = true;
    return std::shared_ptr<const Jwt>(std::move(jwt));
  }
  if (private_key.empty() && public_key.empty()) return invalid_argument("auth: missing key data");
  PKey priv, pub;
  if (!private_key.empty()) {
    priv = read_private(private_key);
    if (!priv || !fits(*known, priv.get()))
      return invalid_argument("auth: the private key cannot be read, or is not one for " + std::string(method));
  }
  if (!public_key.empty()) {
    pub = read_public(public_key);
    if (!pub || !fits(*known, pub.get()))
      return invalid_argument("auth: the public key cannot be read, or is not one for " + std::string(method));
  }
  if (priv && pub && EVP_PKEY_eq(priv.get(), pub.get()) != 1)
    return invalid_argument("auth: public and private keys don't match");
  key.can_sign = priv != nullptr;
  key.pkey = priv ? std::move(priv) : std::move(pub);
  return std::shared_ptr<const Jwt>(std::move(jwt));
}

Result<std::string> Jwt::make_signature(std::string_view part) const {
  const auto* data = reinterpret_cast<const unsigned char*>(part.data());
  if (!key_->can_sign) return Status(Code::kUnknown, "auth: token signing attempted with verify-only key");
  if (key_->method.family == Family::kHmac) {
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    HMAC(key_->method.digest(), key_->secret.data(), static_cast<int>(key_->secret.size()), data, part.size(), out,
         &size);
    return std::string(reinterpret_cast<char*>(out), size);
  }
  MdCtx context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* key_context = nullptr;
  const EVP_MD* digest = key_->method.digest ? key_->method.digest() : nullptr;
  bool good = EVP_DigestSignInit(context.get(), &key_context, digest, nullptr, key_->pkey.get()) == 1;
  if (good && key_->method.family == Family::kPss)
    good = EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(key_context, RSA_PSS_SALTLEN_DIGEST) == 1;
  size_t size = 0;
  good = good && EVP_DigestSign(context.get(), nullptr, &size, data, part.size()) == 1;
  std::string out(size, '\0');
  good = good &&
         EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &size, data, part.size()) == 1;
  if (!good) return internal_error("signing a token failed");
  out.resize(size);
  if (key_->method.family == Family::kEc) out = numbers_of(out, key_->number_bytes());
  return out;
}

bool Jwt::check_signature(std::string_view part, std::string_view signature) const {
  if (key_->method.family == Family::kHmac) {
    Result<std::string> wanted = make_signature(part);
    return wanted.is_ok() && wanted->size() == signature.size() &&
           CRYPTO_memcmp(wanted->data(), signature.data(), signature.size()) == 0;
  }
  std::string der;
  if (key_->method.family == Family::kEc) {
    der = der_of(signature, key_->number_bytes());
    if (der.empty()) return false;
    signature = der;
  }
  MdCtx context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* key_context = nullptr;
  const EVP_MD* digest = key_->method.digest ? key_->method.digest() : nullptr;
  bool good = EVP_DigestVerifyInit(context.get(), &key_context, digest, nullptr, key_->pkey.get()) == 1;
  if (good && key_->method.family == Family::kPss)
    good = EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(key_context, RSA_PSS_SALTLEN_AUTO) == 1;
  return good &&
         EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(signature.data()), signature.size(),
                          reinterpret_cast<const unsigned char*>(part.data()), part.size()) == 1;
}

Result<std::string> Jwt::sign(const JwtClaims& claims) const {
  nlohmann::json head = {{"alg", key_->method.name}, {"typ", "JWT"}};
  nlohmann::json body = {{"exp", claims.expires}, {"revision", claims.revision}, {"username", claims.username}};
  using nlohmann::json;
  std::string part =
      base64url(head.dump()) + "." + base64url(body.dump(-1, ' ', false, json::error_handler_t::replace));
  ASSIGN_OR_RETURN(std::string signature, make_signature(part));
  return part + "." + base64url(signature);
}

std::optional<JwtClaims> Jwt::verify(std::string_view token, int64_t now) const {
  if (token.size() > kTokenBytesMax) return std::nullopt;
  size_t first = token.find('.');
  size_t second = first == std::string_view::npos ? first : token.find('.', first + 1);
  if (second == std::string_view::npos || token.find('.', second + 1) != std::string_view::npos) return std::nullopt;
  std::optional<std::string> head_text = decode_base64(token.substr(0, first), kBase64Url),
                             body_text = decode_base64(token.substr(first + 1, second - first - 1), kBase64Url),
                             signature = decode_base64(token.substr(second + 1), kBase64Url);
  if (!head_text || !body_text || !signature) return std::nullopt;
  nlohmann::json head = nlohmann::json::parse(*head_text, nullptr, false);
  if (!head.is_object()) return std::nullopt;
  auto algorithm = head.find("alg");
  if (algorithm == head.end() || !algorithm->is_string() ||
      algorithm->get_ref<const std::string&>() != key_->method.name)
    return std::nullopt;
  if (!check_signature(token.substr(0, second), *signature)) return std::nullopt;

  nlohmann::json body = nlohmann::json::parse(*body_text, nullptr, false);
  if (!body.is_object()) return std::nullopt;
  JwtClaims claims;
  auto username = body.find("username");
  auto revision = body.find("revision");
  if (username == body.end() || !username->is_string() || revision == body.end()) return std::nullopt;
  claims.username = username->get<std::string>();
  std::optional<int64_t> number = whole_number(*revision);
  if (!number || *number < 0) return std::nullopt;
  claims.revision = static_cast<uint64_t>(*number);
  if (auto expires = body.find("exp"); expires != body.end()) {
    number = whole_number(*expires);
    if (!number || *number <= now) return std::nullopt;
    claims.expires = *number;
  }
  if (auto begins = body.find("nbf"); begins != body.end()) {
    number = whole_number(*begins);
    if (!number || *number > now) return std::nullopt;
  }
  return claims;
}

}  // namespace fairlead::api
