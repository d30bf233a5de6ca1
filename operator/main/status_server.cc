#include <httplib.h>

#include <thread>

#include "operator/main/metrics.h"

namespace fairlead::ops {

struct StatusServer::Impl {
  httplib::Server server;
  std::thread thread;
  int port = 0;
};

namespace {

// 200 "ok", or 503 and why.
httplib::Server::Handler answer(std::function<std::string()> trouble) {
  return [trouble = std::move(trouble)](const httplib::Request&, httplib::Response& response) {
    const std::string why = trouble();
    response.status = why.empty() ? 200 : 503;
    response.set_content(why.empty() ? "ok\n" : why + "\n", "text/plain");
  };
}

}  // namespace

Result<std::unique_ptr<StatusServer>> StatusServer::start(const std::string& address, Pages pages) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return invalid_argument("\"" + address + "\": want host:port");
  const std::string host = colon == 0 ? "0.0.0.0" : address.substr(0, colon);
  const std::string port_text = address.substr(colon + 1);
  if (port_text.empty() || port_text.size() > 5 || port_text.find_first_not_of("0123456789") != std::string::npos ||
      std::stoi(port_text) > 65535) {
    return invalid_argument("\"" + address + "\": the port must be a number up to 65535");
  }
  auto impl = std::make_unique<Impl>();
  impl->server.new_task_queue = [] { return new httplib::ThreadPool(kHttpThreads); };
  // Not SO_REUSEPORT, httplib's default: a second process on the port must fail, not share it in
  // silence.
  impl->server.set_socket_options([](socket_t socket) {
    const int on = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  });
  impl->server.set_keep_alive_max_count(1);
  impl->server.set_read_timeout(5);
  impl->server.Get("/metrics",
                   [metrics = std::move(pages.metrics)](const httplib::Request&, httplib::Response& response) {
                     response.set_content(metrics(), "text/plain; version=0.0.4; charset=utf-8");
                   });
  impl->server.Get("/healthz", answer(std::move(pages.unhealthy)));
  impl->server.Get("/readyz", answer(std::move(pages.unready)));
  const int wanted = std::stoi(port_text);
  impl->port = wanted == 0                               ? impl->server.bind_to_any_port(host)
               : impl->server.bind_to_port(host, wanted) ? wanted
                                                         : -1;
  if (impl->port <= 0) return unavailable("cannot listen on " + address);
  impl->thread = std::thread([server = &impl->server] { server->listen_after_bind(); });
  return std::unique_ptr<StatusServer>(new StatusServer(std::move(impl)));
}

StatusServer::StatusServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

StatusServer::~StatusServer() {
  // stop() before the listener runs would be lost.
  while (!impl_->server.is_running()) std::this_thread::yield();
  impl_->server.stop();
  impl_->thread.join();
}

int StatusServer::port() const { return impl_->port; }

}  // namespace fairlead::ops
