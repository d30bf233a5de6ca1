#include "server/net/tls_engine.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace fairlead::net {
namespace {

constexpr size_t kRecordBytes = 16 * 1024;

bool is_address(const std::string& host) {
  ASN1_OCTET_STRING* ip = a2i_IPADDRESS(host.c_str());
  ASN1_OCTET_STRING_free(ip);
  ERR_clear_error();
  return ip != nullptr;
}

std::string printed(const unsigned char* ip, int size) {
  std::string out;
  char part[8];
  for (int i = 0; size == 4 && i < 4; ++i) out += (i ? "." : "") + std::to_string(ip[i]);
  for (int i = 0; size == 16 && i < 16; i += 2) {
    snprintf(part, sizeof part, "%s%x", i ? ":" : "", ip[i] << 8 | ip[i + 1]);
    out += part;
  }
  return out;
}

void add_names(X509* certificate, TlsPeer& peer) {
  auto* names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_DNS && name->type != GEN_IPADD) continue;
    const ASN1_STRING* value = name->type == GEN_DNS ? name->d.dNSName : name->d.iPAddress;
    const unsigned char* data = ASN1_STRING_get0_data(value);
    int size = ASN1_STRING_length(value);
    if (name->type == GEN_DNS)
      peer.dns_names.emplace_back(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
    else
      peer.ip_addresses.push_back(printed(data, size));
  }
  GENERAL_NAMES_free(names);
  ERR_clear_error();
}

}  // namespace

// The BIO: OpenSSL's view of our buffers.
struct TlsBio {
  static int write(BIO* bio, const char* data, int size) {
    auto* engine = static_cast<TlsEngine*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (!engine->out_ || size <= 0) return -1;
    engine->out_->append(data, static_cast<size_t>(size));
    return size;
  }
  static int read(BIO* bio, char* data, int size) {
    auto* engine = static_cast<TlsEngine*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (size <= 0) return 0;
    auto room = static_cast<size_t>(size);
    size_t kept = engine->rest_.size() - engine->rest_offset_;
    if (kept > 0) {
      size_t n = std::min(room, kept);
      std::memcpy(data, engine->rest_.data() + engine->rest_offset_, n);
      engine->rest_offset_ += n;
      return static_cast<int>(n);
    }
    if (engine->in_.empty()) {
      BIO_set_retry_read(bio);
      return -1;
    }
    size_t n = std::min(room, engine->in_.size());
    std::memcpy(data, engine->in_.data(), n);
    engine->in_.remove_prefix(n);
    return static_cast<int>(n);
  }
  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }
  static int create(BIO* bio) {
    BIO_set_init(bio, 1);
    return 1;
  }
  static BIO_METHOD* method() {
    static BIO_METHOD* made = [] {
      BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "fairlead");
      CHECK(m != nullptr);
      BIO_meth_set_write(m, write);
      BIO_meth_set_read(m, read);
      BIO_meth_set_ctrl(m, control);
      BIO_meth_set_create(m, create);
      return m;
    }();
    return made;
  }
  static int index() {
    static int at = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return at;
  }
};

TlsEngine* TlsEngine::of(ssl_st* ssl) { return static_cast<TlsEngine*>(SSL_get_ex_data(ssl, TlsBio::index())); }

TlsEngine::TlsEngine(std::shared_ptr<const TlsMaterial> material, bool server, const std::string& host)
    : material_(std::move(material)), server_(server) {
  SSL_CTX* ctx = server ? material_->server() : material_->client();
  CHECK(ctx != nullptr, "a server needs a certificate");
  ssl_ = SSL_new(ctx);
  BIO* bio = BIO_new(TlsBio::method());
  CHECK(ssl_ && bio, "out of memory");
  BIO_set_data(bio, this);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_ex_data(ssl_, TlsBio::index(), this);
  if (server) {
    SSL_set_accept_state(ssl_);
    return;
  }
  SSL_set_connect_state(ssl_);
  if (host.empty()) return;
  X509_VERIFY_PARAM* rules = SSL_get0_param(ssl_);
  if (is_address(host)) {
    X509_VERIFY_PARAM_set1_ip_asc(rules, host.c_str());
  } else {
    X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    X509_VERIFY_PARAM_set1_host(rules, host.data(), host.size());
    SSL_set_tlsext_host_name(ssl_, host.c_str());
  }
}

TlsEngine::~TlsEngine() { SSL_free(ssl_); }

void TlsEngine::begin(std::string_view in, std::string& out) {
  ERR_clear_error();
  in_ = in;
  out_ = &out;
}

void TlsEngine::end() {
  if (rest_offset_ == rest_.size()) {
    rest_.clear();
    if (rest_.capacity() > kRecordBytes) rest_.shrink_to_fit();
    rest_offset_ = 0;
  }
  if (!in_.empty()) rest_.append(in_);
  in_ = {};
  out_ = nullptr;
}

Status TlsEngine::failure(int result) {
  int code = SSL_get_error(ssl_, result);
  if (!refusal_.empty()) {
    ERR_clear_error();
    return Status(Code::kUnauthenticated, refusal_);
  }
  long verify = SSL_get_verify_result(ssl_);
  unsigned long top = ERR_peek_error();
  if (ERR_GET_REASON(top) == SSL_R_CERTIFICATE_VERIFY_FAILED && verify != X509_V_OK) {
    ERR_clear_error();
    return Status(Code::kUnauthenticated,
                  std::string("tls: failed to verify certificate: ") + X509_verify_cert_error_string(verify));
  }
  if (ERR_GET_REASON(top) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    ERR_clear_error();
    return Status(Code::kUnauthenticated, "tls: client didn't provide a certificate");
  }
  return unavailable("tls: " + tls_error_text(code == SSL_ERROR_SYSCALL ? "broken connection" : "protocol error"));
}

TlsEngine::Step TlsEngine::handshake(std::string_view in, std::string& out) {
  begin(in, out);
  int result = SSL_do_handshake(ssl_);
  Step step = Step::kDone;
  if (result != 1) {
    int code = SSL_get_error(ssl_, result);
    step = code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE ? Step::kMore : Step::kFailed;
    if (step == Step::kFailed) error_ = failure(result);
  } else if (X509* leaf = SSL_get0_peer_certificate(ssl_); leaf && SSL_session_reused(ssl_)) {
    // A resumed session brings its certificate along unjudged; the files are the same as then, the time is not.
    if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0) {
      error_ = Status(Code::kUnauthenticated, "tls: failed to verify certificate: certificate has expired");
      step = Step::kFailed;
    }
  }
  end();
  return step;
}

TlsPeer TlsEngine::peer() const {
  TlsPeer out;
  out.version = SSL_get_version(ssl_);
  out.resumed = SSL_session_reused(ssl_) == 1;
  if (const char* name = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name); name && server_) out.server_name = name;
  X509* leaf = SSL_get0_peer_certificate(ssl_);
  if (!leaf) return out;
  out.verified = SSL_get_verify_mode(ssl_) != SSL_VERIFY_NONE && SSL_get_verify_result(ssl_) == X509_V_OK;
  if (out.verified) out.common_name = common_name_of(leaf);
  add_names(leaf, out);
  return out;
}

bool TlsEngine::names_address(const std::string& address) const {
  X509* leaf = SSL_get0_peer_certificate(ssl_);
  return !leaf || certificate_matches(leaf, address);
}

TlsEngine::Read TlsEngine::read(std::string_view in, std::span<char> into, std::string& out) {
  begin(in, out);
  Read got;
  while (got.bytes < into.size()) {
    size_t n = 0;
    int result = SSL_read_ex(ssl_, into.data() + got.bytes, into.size() - got.bytes, &n);
    if (result == 1) {
      got.bytes += n;
      continue;
    }
    int code = SSL_get_error(ssl_, result);
    if (code == SSL_ERROR_ZERO_RETURN) {
      got.end = true;
    } else if (code != SSL_ERROR_WANT_READ) {
      got.error = failure(result);
    }
    break;
  }
  end();
  return got;
}

bool TlsEngine::holds_input() const { return !rest_.empty() || SSL_pending(ssl_) > 0; }

bool TlsEngine::write_record(std::string_view bytes) {
  size_t n = 0;
  return SSL_write_ex(ssl_, bytes.data(), bytes.size(), &n) == 1 && n == bytes.size();
}

size_t TlsEngine::write(std::span<const std::string_view> parts, size_t bytes_max, std::string& out) {
  static thread_local std::unique_ptr<char[]> record(new char[kRecordBytes]);
  begin({}, out);
  size_t taken = 0, gathered = 0, start = out.size();
  bool good = true;
  for (size_t i = 0; i < parts.size() && good && out.size() - start < bytes_max; ++i) {
    std::string_view part = parts[i];
    while (!part.empty() && good && out.size() - start < bytes_max) {
      size_t n = std::min(part.size(), kRecordBytes - gathered);
      bool last = i + 1 == parts.size();
      if (gathered == 0 && (n == kRecordBytes || (last && n == part.size()))) {
        good = write_record(part.substr(0, n));  // uncopied
        if (good) taken += n;
      } else {
        std::memcpy(record.get() + gathered, part.data(), n);
        gathered += n;
        if (gathered == kRecordBytes) {
          good = write_record({record.get(), gathered});
          if (good) taken += gathered;
          gathered = 0;
        }
      }
      part.remove_prefix(n);
    }
  }
  if (good && gathered > 0 && write_record({record.get(), gathered})) taken += gathered;
  end();
  return taken;
}

void TlsEngine::close(std::string& out) {
  begin({}, out);
  if (SSL_is_init_finished(ssl_)) SSL_shutdown(ssl_);
  ERR_clear_error();
  end();
}

}  // namespace fairlead::net
