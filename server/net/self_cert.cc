#include "server/net/self_cert.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>

#include "server/net/tls_context.h"

namespace fairlead::net {
namespace {

constexpr int kSerialBits = 127;
constexpr int64_t kYearSeconds = 365 * 24 * 3600;

struct Free {
  void operator()(X509* p) const { X509_free(p); }
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(BIO* p) const { BIO_free(p); }
  void operator()(BIGNUM* p) const { BN_free(p); }
};
template <typename T>
using Ptr = std::unique_ptr<T, Free>;

bool add_extension(X509* cert, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, cert, cert, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  bool good = extension && X509_add_ext(cert, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return good;
}

bool set_serial(X509* cert) {
  Ptr<BIGNUM> number(BN_new());
  return BN_rand(number.get(), kSerialBits, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(cert)) != nullptr;
}

std::string alternative_names(const std::vector<std::string>& hosts) {
  std::string out;
  for (const std::string& host : hosts) {
    if (host.empty() || host.find(',') != std::string::npos) continue;
    ASN1_OCTET_STRING* ip = a2i_IPADDRESS(host.c_str());
    out += (out.empty() ? "" : ",") + std::string(ip ? "IP:" : "DNS:") + host;
    ASN1_OCTET_STRING_free(ip);
  }
  ERR_clear_error();
  return out;
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

}  // namespace

Result<SelfCert> make_self_cert(const std::vector<std::string>& hosts, int64_t years) {
  auto failed = [] { return internal_error("cannot make a certificate: " + tls_error_text("unknown error")); };
  Ptr<EVP_PKEY> key(EVP_EC_gen("P-256"));
  Ptr<X509> cert(X509_new());
  if (!key || !cert || X509_set_version(cert.get(), 2) != 1 || !set_serial(cert.get())) return failed();
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(cert.get()), static_cast<long>(years * kYearSeconds));
  X509_NAME* name = X509_get_subject_name(cert.get());
  X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("etcd"), -1, -1, 0);
  X509_set_issuer_name(cert.get(), name);
  std::string names = alternative_names(hosts);
  bool good = X509_set_pubkey(cert.get(), key.get()) == 1 &&
              add_extension(cert.get(), NID_basic_constraints, "critical,CA:TRUE") &&
              add_extension(cert.get(), NID_key_usage, "critical,digitalSignature,keyEncipherment,cRLSign") &&
              add_extension(cert.get(), NID_ext_key_usage, "serverAuth") &&
              (names.empty() || add_extension(cert.get(), NID_subject_alt_name, names)) &&
              X509_sign(cert.get(), key.get(), EVP_sha256()) > 0;
  Ptr<BIO> cert_out(BIO_new(BIO_s_mem())), key_out(BIO_new(BIO_s_mem()));
  if (!good || PEM_write_bio_X509(cert_out.get(), cert.get()) != 1 ||
      PEM_write_bio_PrivateKey(key_out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return failed();
  return SelfCert{text_of(cert_out.get()), text_of(key_out.get())};
}

}  // namespace fairlead::net
