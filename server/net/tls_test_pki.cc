#include "server/net/tls_test_pki.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "base/check.h"

namespace fairlead::net::test {
namespace {

std::string text_of(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<size_t>(size));
  BIO_free(bio);
  return out;
}

X509* parse_cert(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509* out = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  CHECK(out != nullptr);
  return out;
}

EVP_PKEY* parse_key(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  EVP_PKEY* out = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  CHECK(out != nullptr);
  return out;
}

void add(X509* cert, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, cert, cert, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  CHECK(extension != nullptr);
  X509_add_ext(cert, extension, -1);
  X509_EXTENSION_free(extension);
}

}  // namespace

Cert make_cert(const CertOptions& options, const Cert* issuer) {
  EVP_PKEY* key = options.rsa_bits > 0 ? EVP_RSA_gen(static_cast<unsigned>(options.rsa_bits)) : EVP_EC_gen("P-256");
  X509* cert = X509_new();
  CHECK(key && cert);
  X509_set_version(cert, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(cert), options.serial);
  X509_gmtime_adj(X509_getm_notBefore(cert), options.from_seconds);
  X509_gmtime_adj(X509_getm_notAfter(cert), options.to_seconds);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(options.common_name.c_str()), -1, -1, 0);
  X509_set_pubkey(cert, key);
  if (options.authority) {
    add(cert, NID_basic_constraints, "critical,CA:TRUE");
    add(cert, NID_key_usage, "critical,keyCertSign,cRLSign");
  } else {
    add(cert, NID_ext_key_usage, "serverAuth,clientAuth");
  }
  std::string names;
  for (const std::string& name : options.names) names += (names.empty() ? "" : ",") + name;
  if (!names.empty() && !options.authority) add(cert, NID_subject_alt_name, names);
  EVP_PKEY* signer = issuer ? parse_key(issuer->key_pem) : key;
  if (issuer) {
    X509* by = parse_cert(issuer->cert_pem);
    X509_set_issuer_name(cert, X509_get_subject_name(by));
    X509_free(by);
  } else {
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
  }
  CHECK(X509_sign(cert, signer, EVP_sha256()) > 0);
  Cert out;
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, cert);
  out.cert_pem = text_of(bio);
  bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  out.key_pem = text_of(bio);
  if (issuer) EVP_PKEY_free(signer);
  EVP_PKEY_free(key);
  X509_free(cert);
  return out;
}

std::string make_crl(const Cert& issuer, const std::vector<long>& serials, bool der) {
  X509_CRL* crl = X509_CRL_new();
  X509* by = parse_cert(issuer.cert_pem);
  EVP_PKEY* key = parse_key(issuer.key_pem);
  X509_CRL_set_version(crl, 1);
  X509_CRL_set_issuer_name(crl, X509_get_subject_name(by));
  ASN1_TIME* now = X509_gmtime_adj(nullptr, 0);
  ASN1_TIME* later = X509_gmtime_adj(nullptr, 3600);
  X509_CRL_set1_lastUpdate(crl, now);
  X509_CRL_set1_nextUpdate(crl, later);
  for (long serial : serials) {
    X509_REVOKED* one = X509_REVOKED_new();
    ASN1_INTEGER* number = ASN1_INTEGER_new();
    ASN1_INTEGER_set(number, serial);
    X509_REVOKED_set_serialNumber(one, number);
    X509_REVOKED_set_revocationDate(one, now);
    ASN1_INTEGER_free(number);
    X509_CRL_add0_revoked(crl, one);
  }
  CHECK(X509_CRL_sign(crl, key, EVP_sha256()) > 0);
  BIO* bio = BIO_new(BIO_s_mem());
  if (der)
    i2d_X509_CRL_bio(bio, crl);
  else
    PEM_write_bio_X509_CRL(bio, crl);
  ASN1_TIME_free(now);
  ASN1_TIME_free(later);
  X509_free(by);
  EVP_PKEY_free(key);
  X509_CRL_free(crl);
  return text_of(bio);
}

}  // namespace fairlead::net::test
