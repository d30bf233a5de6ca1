#include "server/net/tls_context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cstring>

#include "server/net/tls_engine.h"
#include "server/net/tls_gate.h"

namespace fairlead::net {
namespace {

template <typename T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* p) const { Free(p); }
};
using X509Ptr = std::unique_ptr<X509, Deleter<X509, X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY, EVP_PKEY_free>>;
using CrlPtr = std::unique_ptr<X509_CRL, Deleter<X509_CRL, X509_CRL_free>>;
using CtxPtr = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX, SSL_CTX_free>>;
struct BioFree {
  void operator()(BIO* b) const { BIO_free(b); }
};
using BioPtr = std::unique_ptr<BIO, BioFree>;

constexpr unsigned char kAlpnH2[] = {2, 'h', '2'};
constexpr std::string_view kAlpnHttp2 = "h2", kAlpnHttp1 = "http/1.1";
constexpr unsigned char kSessionContext[] = "fairlead";

BioPtr memory(std::string_view text) { return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

int no_password(char*, int, int, void*) { return 0; }

Result<std::string> read_file(io::Disk& disk, const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<io::File> file, disk.open(path, io::OpenMode::kRead));
  ASSIGN_OR_RETURN(uint64_t size, file->size());
  if (size > kTlsFileBytesMax) return invalid_argument(path + " is too large for a file of certificates");
  std::string out(size, '\0');
  ASSIGN_OR_RETURN(size_t got, file->read_at(0, out));
  out.resize(got);
  return out;
}

std::vector<X509Ptr> certificates_in(std::string_view pem) {
  std::vector<X509Ptr> out;
  BioPtr bio = memory(pem);
  while (X509* one = PEM_read_bio_X509(bio.get(), nullptr, no_password, nullptr)) out.emplace_back(one);
  ERR_clear_error();  // the end of the file is an error too
  return out;
}

Status use_certificate(SSL_CTX* ctx, const std::string& cert_path, std::string_view cert_pem,
                       const std::string& key_path, std::string_view key_pem) {
  std::vector<X509Ptr> chain = certificates_in(cert_pem);
  if (chain.empty()) return invalid_argument("tls: failed to find any PEM data in certificate input " + cert_path);
  BioPtr bio = memory(key_pem);
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  if (!key) return invalid_argument("tls: failed to find a private key in " + key_path + tls_error_text(""));
  if (SSL_CTX_use_certificate(ctx, chain[0].get()) != 1)
    return invalid_argument("tls: cannot use the certificate " + cert_path + ": " + tls_error_text("unknown error"));
  for (size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(ctx, chain[i].get()) != 1)
      return invalid_argument("tls: cannot use the chain in " + cert_path + ": " + tls_error_text("unknown error"));
  }
  if (SSL_CTX_use_PrivateKey(ctx, key.get()) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
    ERR_clear_error();
    return invalid_argument("tls: private key does not match public key: " + cert_path + ", " + key_path);
  }
  return {};
}

// h2 before HTTP/1.1 for who offers both, as etcd: a gRPC client may, and pages are served over either.
int choose_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in, unsigned size,
                void*) {
  for (std::string_view wanted : {kAlpnHttp2, kAlpnHttp1}) {
    for (unsigned at = 0; at < size; at += 1 + in[at]) {
      if (std::string_view(reinterpret_cast<const char*>(in + at + 1), in[at]) != wanted) continue;
      *out = in + at + 1;
      *out_size = in[at];
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

// Called for each certificate of a chain that is good so far, from the root to the leaf.
int judge_certificate(int good, X509_STORE_CTX* store) {
  if (!good) return 0;
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  TlsEngine* engine = TlsEngine::of(ssl);
  int depth = X509_STORE_CTX_get_error_depth(store);
  std::string why = engine->material().refusal(X509_STORE_CTX_get_current_cert(store), depth == 0);
  if (why.empty()) return 1;
  engine->set_refusal(std::move(why));
  X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
  return 0;
}

Status load_authorities(SSL_CTX* ctx, const TlsConfig& config, std::string_view pem, bool server) {
  X509_STORE* store = SSL_CTX_get_cert_store(ctx);
  // Go takes every certificate of the file as a root, an intermediate too.
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);
  if (config.trusted_ca_file.empty()) {
    SSL_CTX_set_default_verify_paths(ctx);
    return {};
  }
  std::vector<X509Ptr> list = certificates_in(pem);
  if (list.empty()) return invalid_argument("tls: no certificate in " + config.trusted_ca_file);
  for (X509Ptr& one : list) {
    if (X509_STORE_add_cert(store, one.get()) != 1)
      return invalid_argument("tls: cannot use " + config.trusted_ca_file + ": " + tls_error_text("unknown error"));
    if (server) SSL_CTX_add_client_CA(ctx, one.get());
  }
  return {};
}

Status set_protocol(SSL_CTX* ctx, const TlsConfig& config) {
  ASSIGN_OR_RETURN(int version_min, tls_version(config.version_min));
  ASSIGN_OR_RETURN(int version_max, tls_version(config.version_max));
  ASSIGN_OR_RETURN(TlsCiphers ciphers, tls_ciphers(config.cipher_suites));
  if (ciphers.tls12.empty()) version_min = TLS1_3_VERSION;
  SSL_CTX_set_min_proto_version(ctx, version_min == 0 ? TLS1_2_VERSION : version_min);
  SSL_CTX_set_max_proto_version(ctx, version_max);
  if (!ciphers.tls12.empty() && SSL_CTX_set_cipher_list(ctx, ciphers.tls12.c_str()) != 1)
    return invalid_argument("--cipher-suites: none of the suites can be used: " + tls_error_text("unknown error"));
  if (SSL_CTX_set_ciphersuites(ctx, ciphers.tls13.c_str()) != 1)
    return internal_error("TLS 1.3 cipher suites: " + tls_error_text("unknown error"));
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                               SSL_OP_PRIORITIZE_CHACHA);
  // An idle connection holds no record buffers.
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return {};
}

int64_t not_after(SSL_CTX* ctx) {
  tm when{};
  X509* leaf = SSL_CTX_get0_certificate(ctx);
  if (!leaf || ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &when) != 1) return 0;
  return static_cast<int64_t>(timegm(&when));
}

std::string serial_of(const ASN1_INTEGER* number) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(number)),
          static_cast<size_t>(ASN1_STRING_length(number))};
}

std::string hex(std::string_view bytes) {
  std::string out;
  for (unsigned char c : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    out.push_back(kDigits[c >> 4]);
    out.push_back(kDigits[c & 15]);
  }
  return out;
}

Result<std::set<std::string>> revoked_in(std::string_view file, const std::string& path) {
  auto* start = reinterpret_cast<const unsigned char*>(file.data());
  CrlPtr crl(d2i_X509_CRL(nullptr, &start, static_cast<long>(file.size())));
  if (!crl) {
    BioPtr bio = memory(file);
    crl.reset(PEM_read_bio_X509_CRL(bio.get(), nullptr, no_password, nullptr));
  }
  ERR_clear_error();
  if (!crl) return invalid_argument("tls: " + path + " holds no certificate revocation list");
  std::set<std::string> out;
  STACK_OF(X509_REVOKED)* list = X509_CRL_get_REVOKED(crl.get());
  for (int i = 0; i < sk_X509_REVOKED_num(list); ++i)
    out.insert(serial_of(X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(list, i))));
  return out;
}

}  // namespace

std::string tls_error_text(std::string_view fallback) {
  unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return std::string(fallback);
  const char* reason = ERR_reason_error_string(code);
  return reason ? reason : std::string(fallback);
}

std::string common_name_of(x509_st* certificate) {
  X509_NAME* subject = X509_get_subject_name(certificate);
  int at = -1;
  for (int next = at; (next = X509_NAME_get_index_by_NID(subject, NID_commonName, next)) >= 0;) at = next;
  if (at < 0) return {};
  unsigned char* text = nullptr;
  int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
  if (size < 0) return {};
  std::string out(reinterpret_cast<char*>(text), static_cast<size_t>(size));
  OPENSSL_free(text);
  return out;
}

bool certificate_matches(x509_st* certificate, const std::string& host) {
  std::string address = host;
  if (address.size() > 2 && address.front() == '[' && address.back() == ']')
    address = address.substr(1, address.size() - 2);
  if (ASN1_OCTET_STRING* ip = a2i_IPADDRESS(address.c_str())) {
    ASN1_OCTET_STRING_free(ip);
    return X509_check_ip_asc(certificate, address.c_str(), 0) == 1;
  }
  ERR_clear_error();
  unsigned flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
  return X509_check_host(certificate, host.data(), host.size(), flags, nullptr) == 1;
}

TlsMaterial::~TlsMaterial() {
  SSL_CTX_free(server_);
  SSL_CTX_free(client_);
}

std::string TlsMaterial::refusal(x509_st* certificate, bool leaf) const {
  if (!crl_error_.empty()) return crl_error_;
  if (!revoked_.empty()) {
    std::string serial = serial_of(X509_get0_serialNumber(certificate));
    if (revoked_.contains(serial)) return "transport: certificate serial " + hex(serial) + " revoked";
  }
  if (!leaf || (config_.allowed_names.empty() && config_.allowed_hostnames.empty())) return {};
  std::string name = common_name_of(certificate);
  for (const std::string& allowed : config_.allowed_names)
    if (allowed == name) return {};
  for (const std::string& allowed : config_.allowed_hostnames)
    if (certificate_matches(certificate, allowed)) return {};
  return "client certificate authentication failed";
}

struct TlsContext::Files {
  std::string cert, key, client_cert, client_key, ca, crl;
  Status error;  // of the first file that could not be read, the revocation list aside
  Status crl_error;
  bool operator==(const Files& o) const = default;
};

TlsContext::TlsContext(const io::World& world, TlsConfig config) : world_(world), config_(std::move(config)) {}

TlsContext::~TlsContext() = default;

TlsContext::Files TlsContext::read_files() const {
  Files out;
  auto read = [&](const std::string& path, std::string& into) {
    if (path.empty()) return Status();
    Result<std::string> got = read_file(*world_.disk, path);
    if (!got.is_ok()) return got.status();
    into = *std::move(got);
    return Status();
  };
  for (auto [path, into] :
       {std::pair{&config_.cert_file, &out.cert}, std::pair{&config_.key_file, &out.key},
        std::pair{&config_.client_cert_file, &out.client_cert}, std::pair{&config_.client_key_file, &out.client_key},
        std::pair{&config_.trusted_ca_file, &out.ca}}) {
    Status status = read(*path, *into);
    if (!status.is_ok() && out.error.is_ok()) out.error = status;
  }
  out.crl_error = read(config_.crl_file, out.crl);
  return out;
}

Result<std::shared_ptr<const TlsMaterial>> TlsContext::build(const Files& files) const {
  RETURN_IF_ERROR(files.error);
  std::shared_ptr<TlsMaterial> m(new TlsMaterial);
  m->config_ = config_;
  if (!config_.empty()) {
    CtxPtr server(SSL_CTX_new(TLS_server_method()));
    RETURN_IF_ERROR(set_protocol(server.get(), config_));
    RETURN_IF_ERROR(use_certificate(server.get(), config_.cert_file, files.cert, config_.key_file, files.key));
    if (config_.wants_client_certificate()) {
      RETURN_IF_ERROR(load_authorities(server.get(), config_, files.ca, true));
      SSL_CTX_set_verify(server.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, judge_certificate);
    }
    SSL_CTX_set_alpn_select_cb(server.get(), choose_alpn, nullptr);
    SSL_CTX_set_session_cache_mode(server.get(), SSL_SESS_CACHE_OFF);  // tickets alone
    SSL_CTX_set_session_id_context(server.get(), kSessionContext, sizeof kSessionContext - 1);
    SSL_CTX_set_num_tickets(server.get(), 1);
    SSL_CTX_set_timeout(server.get(), kTlsSessionSeconds);
    m->not_after_seconds_ = not_after(server.get());
    m->server_ = server.release();
  }
  CtxPtr client(SSL_CTX_new(TLS_client_method()));
  RETURN_IF_ERROR(set_protocol(client.get(), config_));
  bool own = !config_.client_cert_file.empty();
  if (own)
    RETURN_IF_ERROR(use_certificate(client.get(), config_.client_cert_file, files.client_cert, config_.client_key_file,
                                    files.client_key));
  else if (!config_.empty())
    RETURN_IF_ERROR(use_certificate(client.get(), config_.cert_file, files.cert, config_.key_file, files.key));
  RETURN_IF_ERROR(load_authorities(client.get(), config_, files.ca, false));
  if (!config_.self_signed) SSL_CTX_set_verify(client.get(), SSL_VERIFY_PEER, judge_certificate);
  SSL_CTX_set_alpn_protos(client.get(), kAlpnH2, sizeof kAlpnH2);
  m->client_ = client.release();
  if (!config_.crl_file.empty()) {
    if (!files.crl_error.is_ok()) {
      m->crl_error_ = files.crl_error.message();
    } else if (auto revoked = revoked_in(files.crl, config_.crl_file); revoked.is_ok()) {
      m->revoked_ = *std::move(revoked);
    } else {
      m->crl_error_ = revoked.status().message();
    }
  }
  return std::shared_ptr<const TlsMaterial>(std::move(m));
}

Status TlsContext::take(const Files& files, io::Nanos now) {
  Result<std::shared_ptr<const TlsMaterial>> built = build(files);
  if (!built.is_ok()) return built.status();
  material_ = *std::move(built);
  files_ = std::make_unique<Files>(files);
  built_at_ = now;
  not_after_seconds_ = material_->not_after_seconds();
  return {};
}

Result<std::shared_ptr<TlsContext>> TlsContext::create(const io::World& world, TlsConfig config) {
  RETURN_IF_ERROR(check_tls_config(config));
  std::shared_ptr<TlsContext> context(new TlsContext(world, std::move(config)));
  io::Nanos now = world.loop->now();
  context->checked_at_ = now;
  RETURN_IF_ERROR(context->take(context->read_files(), now));
  if (!context->material_->crl_error_.empty()) return invalid_argument(context->material_->crl_error_);
  return context;
}

static_assert(kTlsStepsAtOnceMax == 1, "steps at the same time would need a lock here");

std::shared_ptr<const TlsMaterial> TlsContext::current(io::Nanos now) {
  if (now - checked_at_ < kTlsRecheckInterval) return material_;
  checked_at_ = now;
  Files files = read_files();
  bool changed = !(files == *files_);
  if (!changed && now - built_at_ < kTlsTicketKeyLife) return material_;
  Status status = take(files, now);
  if (!status.is_ok()) {
    ++reload_failures_;
    if (last_error_ != status.message())
      world_.log->warn("changed TLS files cannot be used; the ones before them stay in use",
                       {{"cert-file", config_.cert_file}, {"error", status.message()}});
    last_error_ = status.message();
    Files mixed = *files_;
    mixed.crl = files.crl;
    mixed.crl_error = files.crl_error;
    if (!(mixed == *files_) && take(mixed, now).is_ok()) ++reloads_;
    return material_;
  }
  last_error_.clear();
  if (!changed) return material_;
  ++reloads_;
  world_.log->info(
      "read TLS files anew",
      {{"cert-file", config_.cert_file}, {"trusted-ca-file", config_.trusted_ca_file}, {"crl-file", config_.crl_file}});
  return material_;
}

}  // namespace fairlead::net
