// One plain or TLS connection to a server, for what gRPC does not show: the certificates that it presents, its pages,
// how long a connection takes. Blocking, with a deadline for the whole.
//
// A server's certificate is not judged while shaking hands, so that one that is no good can be shown and named:
// `verify` says what is wrong with it, "" for nothing. http_get() refuses to send anything to a server that did not
// verify. Threads: any; a connection belongs to one.
#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "ctl/address.h"
#include "ctl/client.h"

namespace fairlead::ctl {

struct Certificate {
  std::string subject, issuer;
  std::vector<std::string> names;         // DNS names and addresses of subjectAltName
  int64_t not_before = 0, not_after = 0;  // Unix seconds
  bool authority = false;
};
// All of a PEM file. Empty where there is none.
std::vector<Certificate> read_certificates(const std::string& file);

class Wire {
 public:
  using Clock = std::chrono::steady_clock;
  ~Wire();
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  static Result<std::unique_ptr<Wire>> open(const Address& address, const TlsOptions& tls, Clock::time_point until);

  std::chrono::nanoseconds connect_time() const { return connect_time_; }  // of the connection alone, without TLS
  const std::vector<Certificate>& certificates() const { return certificates_; }  // leaf first
  const std::string& verify() const { return verify_; }

  Status write(std::string_view bytes);
  // What is there next; empty at the end.
  Result<std::string> read();

 private:
  Wire() = default;
  Status connect(const Address& address);
  Status shake_hands(const Address& address, const TlsOptions& tls);
  Status wait(short events);
  Status tls_failed(int result, const char* what);

  int fd_ = -1;
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_{nullptr, SSL_CTX_free};
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_{nullptr, SSL_free};
  Clock::time_point until_;
  std::chrono::nanoseconds connect_time_{0};
  std::vector<Certificate> certificates_;
  std::string verify_;
};

struct Page {
  int status = 0;
  std::string date;  // header
  std::string body;
  std::chrono::nanoseconds took{0};  // from the request's last byte to the first of the answer
};
// GET by HTTP/1.0, at most kPageBytesMax of body.
constexpr size_t kPageBytesMax = 16 << 20;
Result<Page> http_get(const Address& address, const TlsOptions& tls, const std::string& path,
                      Wire::Clock::time_point until);

}  // namespace fairlead::ctl
