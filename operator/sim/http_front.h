// Serves a kube::Api (the simulated server, or a client of it with faults) over real HTTP/1.1 on a loopback port, with
// the URLs, bodies and Status objects of the Kubernetes API, so that the real client can be tested against it.
// Watches are chunked streams of JSON lines with bookmarks.
//
// Threads: cpp-httplib's pool of kFrontThreads; an open watch holds one of them. stop() ends all of them.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "operator/kube/api.h"
#include "operator/sim/server.h"

namespace fairlead::apisim {

inline constexpr int kFrontThreads = 32;

struct HttpFrontOptions {
  std::string required_token;                              // not empty: other bearer tokens get 401
  std::string certificate_file, key_file, client_ca_file;  // not empty: TLS
};

class HttpFront {
 public:
  // `server` tells which resources exist; `api` executes. Both outlive the front.
  static Result<std::unique_ptr<HttpFront>> start(const Server& server, kube::Api& api, HttpFrontOptions options = {});
  ~HttpFront();  // stops
  HttpFront(const HttpFront&) = delete;
  HttpFront& operator=(const HttpFront&) = delete;

  int port() const;
  std::string url() const;  // "http://127.0.0.1:PORT"
  void stop();
  // Changes the token that is accepted, as a rotation does.
  void set_required_token(const std::string& token);
  // Ends all watch streams now, as a restarted server would.
  void break_watches();
  uint64_t requests() const;

 private:
  struct Impl;
  explicit HttpFront(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::apisim
