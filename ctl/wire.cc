#include "ctl/wire.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace fairlead::ctl {
namespace {

Status unavailable(const std::string& text) { return {Code::kUnavailable, text}; }

std::string ssl_error() {
  unsigned long code = ERR_get_error();
  ERR_clear_error();
  const char* reason = code ? ERR_reason_error_string(code) : nullptr;
  return reason ? reason : "the connection broke";
}

int64_t unix_seconds(const ASN1_TIME* time) {
  tm parts{};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? timegm(&parts) : 0;
}

std::string name_text(const X509_NAME* name) {
  std::unique_ptr<BIO, decltype(&BIO_free)> out(BIO_new(BIO_s_mem()), BIO_free);
  X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_RFC2253);
  char* data = nullptr;
  long size = BIO_get_mem_data(out.get(), &data);
  return {data, static_cast<size_t>(size)};
}

std::string address_text(const unsigned char* bytes, int size) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(size == 4 ? AF_INET : AF_INET6, bytes, text, sizeof text);
  return text;
}

Certificate describe(X509* x) {
  Certificate c;
  c.subject = name_text(X509_get_subject_name(x));
  c.issuer = name_text(X509_get_issuer_name(x));
  c.not_before = unix_seconds(X509_get0_notBefore(x));
  c.not_after = unix_seconds(X509_get0_notAfter(x));
  c.authority = X509_check_ca(x) == 1;
  auto* names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(x, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type == GEN_DNS)
      c.names.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                           static_cast<size_t>(ASN1_STRING_length(name->d.dNSName)));
    if (name->type == GEN_IPADD)
      c.names.push_back(address_text(ASN1_STRING_get0_data(name->d.iPAddress), ASN1_STRING_length(name->d.iPAddress)));
  }
  GENERAL_NAMES_free(names);
  return c;
}

bool is_number(const std::string& host) {
  unsigned char buffer[16];
  return inet_pton(AF_INET, host.c_str(), buffer) == 1 || inet_pton(AF_INET6, host.c_str(), buffer) == 1;
}

// What is wrong with what the server showed, for the name that was asked for.
std::string judge(SSL* ssl, const std::string& name) {
  if (long result = SSL_get_verify_result(ssl); result != X509_V_OK) return X509_verify_cert_error_string(result);
  X509* leaf = SSL_get0_peer_certificate(ssl);
  if (!leaf) return "it shows no certificate";
  int fits = is_number(name) ? X509_check_ip_asc(leaf, name.c_str(), 0)
                             : X509_check_host(leaf, name.c_str(), name.size(), 0, nullptr);
  return fits == 1 ? "" : "it is not for " + name;
}

}  // namespace

std::vector<Certificate> read_certificates(const std::string& file) {
  std::vector<Certificate> out;
  std::unique_ptr<BIO, decltype(&BIO_free)> in(BIO_new_file(file.c_str(), "r"), BIO_free);
  while (in) {
    std::unique_ptr<X509, decltype(&X509_free)> x(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr), X509_free);
    if (!x) break;
    out.push_back(describe(x.get()));
  }
  ERR_clear_error();  // reading past the last one is an error for OpenSSL
  return out;
}

Wire::~Wire() {
  ssl_.reset();
  if (fd_ >= 0) close(fd_);
}

Status Wire::wait(short events) {
  while (true) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until_ - Clock::now()).count();
    pollfd p{fd_, events, 0};
    int n = left > 0 ? poll(&p, 1, static_cast<int>(left) + 1) : 0;
    if (n > 0) return {};
    if (n == 0) return {Code::kDeadlineExceeded, "no answer in time"};
    if (errno != EINTR) return unavailable(strerror(errno));
  }
}

Status Wire::connect(const Address& address) {
  sockaddr_un path{};
  addrinfo unix_socket{}, *found = &unix_socket;
  std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> list(nullptr, freeaddrinfo);
  if (!address.unix_path.empty()) {
    if (address.unix_path.size() >= sizeof path.sun_path) return invalid_argument("the path is too long for a socket");
    path.sun_family = AF_UNIX;
    strncpy(path.sun_path, address.unix_path.c_str(), sizeof path.sun_path - 1);
    unix_socket.ai_family = AF_UNIX;
    unix_socket.ai_addr = reinterpret_cast<sockaddr*>(&path);
    unix_socket.ai_addrlen = sizeof path;
  } else {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    if (int e = getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found); e != 0)
      return unavailable("no address of " + address.host + ": " + gai_strerror(e));
    list.reset(found);
  }
  Status last = unavailable("no address of " + address.host);
  for (addrinfo* at = found; at; at = at->ai_next) {
    if (fd_ >= 0) close(fd_);
    fd_ = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd_ < 0) return unavailable(strerror(errno));
    auto begin = Clock::now();
    int error = ::connect(fd_, at->ai_addr, at->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
      if (last = wait(POLLOUT); !last.is_ok()) continue;
      socklen_t size = sizeof error;
      getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    }
    connect_time_ = Clock::now() - begin;
    if (error == 0) return {};
    last = unavailable(strerror(error));
  }
  return last;
}

Status Wire::tls_failed(int result, const char* what) {
  int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_WANT_READ) return wait(POLLIN);
  if (error == SSL_ERROR_WANT_WRITE) return wait(POLLOUT);
  return unavailable(std::string(what) + ": " + ssl_error());
}

Status Wire::shake_hands(const Address& address, const TlsOptions& tls) {
  context_.reset(SSL_CTX_new(TLS_client_method()));
  if (tls.cacert.empty())
    SSL_CTX_set_default_verify_paths(context_.get());
  else if (SSL_CTX_load_verify_file(context_.get(), tls.cacert.c_str()) != 1)
    return invalid_argument(tls.cacert + ": " + ssl_error());
  if (!tls.cert.empty() && SSL_CTX_use_certificate_chain_file(context_.get(), tls.cert.c_str()) != 1)
    return invalid_argument(tls.cert + ": " + ssl_error());
  if (!tls.key.empty() && SSL_CTX_use_PrivateKey_file(context_.get(), tls.key.c_str(), SSL_FILETYPE_PEM) != 1)
    return invalid_argument(tls.key + ": " + ssl_error());
  ssl_.reset(SSL_new(context_.get()));
  SSL_set_verify(ssl_.get(), SSL_VERIFY_NONE, nullptr);
  SSL_set_fd(ssl_.get(), fd_);
  std::string name = !tls.server_name.empty() ? tls.server_name : address.host.empty() ? "localhost" : address.host;
  if (!is_number(name)) SSL_set_tlsext_host_name(ssl_.get(), name.c_str());
  Status status;
  for (int n = 0; status.is_ok() && (n = SSL_connect(ssl_.get())) != 1;) status = tls_failed(n, "TLS handshake");
  // Also of a handshake that failed because the server wants a certificate of ours: it has shown its own by then.
  STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl_.get());
  for (int i = 0; i < sk_X509_num(chain); ++i) certificates_.push_back(describe(sk_X509_value(chain, i)));
  if (!certificates_.empty() && !tls.skip_verify) verify_ = judge(ssl_.get(), name);
  return certificates_.empty() ? status : Status();
}

Result<std::unique_ptr<Wire>> Wire::open(const Address& address, const TlsOptions& tls, Clock::time_point until) {
  std::unique_ptr<Wire> wire(new Wire);
  wire->until_ = until;
  RETURN_IF_ERROR(wire->connect(address));
  if (address.secure) RETURN_IF_ERROR(wire->shake_hands(address, tls));
  return wire;
}

Status Wire::write(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ssl_ ? SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()))
                     : send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
    } else if (ssl_) {
      RETURN_IF_ERROR(tls_failed(static_cast<int>(n), "TLS"));
    } else if (errno == EAGAIN) {
      RETURN_IF_ERROR(wait(POLLOUT));
    } else {
      return unavailable(strerror(errno));
    }
  }
  return {};
}

Result<std::string> Wire::read() {
  std::string piece(16 << 10, '\0');
  while (true) {
    ssize_t n = ssl_ ? SSL_read(ssl_.get(), piece.data(), static_cast<int>(piece.size()))
                     : recv(fd_, piece.data(), piece.size(), 0);
    if (n > 0) return piece.resize(static_cast<size_t>(n)), piece;
    if (ssl_) {
      int error = SSL_get_error(ssl_.get(), static_cast<int>(n));
      // Many servers end without TLS's farewell.
      if (error == SSL_ERROR_ZERO_RETURN || error == SSL_ERROR_SYSCALL) return std::string();
      RETURN_IF_ERROR(tls_failed(static_cast<int>(n), "TLS"));
    } else if (n == 0) {
      return std::string();
    } else if (errno == EAGAIN) {
      RETURN_IF_ERROR(wait(POLLIN));
    } else {
      return unavailable(strerror(errno));
    }
  }
}

Result<Page> http_get(const Address& address, const TlsOptions& tls, const std::string& path,
                      Wire::Clock::time_point until) {
  ASSIGN_OR_RETURN(std::unique_ptr<Wire> wire, Wire::open(address, tls, until));
  if (!wire->verify().empty()) return Status(Code::kUnavailable, "its certificate: " + wire->verify());
  std::string host = address.unix_path.empty() ? address.text() : "localhost";
  auto sent = Wire::Clock::now();
  RETURN_IF_ERROR(wire->write("GET " + path + " HTTP/1.0\r\nHost: " + host + "\r\nAccept: */*\r\n\r\n"));
  std::string text;
  Page page;
  while (text.size() < kPageBytesMax) {
    ASSIGN_OR_RETURN(std::string piece, wire->read());
    if (text.empty()) page.took = Wire::Clock::now() - sent;
    if (piece.empty()) break;
    text += piece;
  }
  size_t head = text.find("\r\n\r\n");
  if (head == std::string::npos || !text.starts_with("HTTP/1.")) return Status(Code::kUnavailable, "no HTTP answer");
  page.status = atoi(text.c_str() + 9);
  for (size_t line = text.find("\r\n") + 2; line < head + 2;) {
    size_t end = text.find("\r\n", line);
    if (strncasecmp(text.c_str() + line, "date:", 5) == 0) page.date = text.substr(line + 6, end - line - 6);
    line = end + 2;
  }
  page.body = text.substr(head + 4);
  return page;
}

}  // namespace fairlead::ctl
