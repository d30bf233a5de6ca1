#include "server/net/router.h"

#include "base/check.h"

namespace fairlead::net {

Router::Route& Router::add(std::string path, MethodKind kind) {
  size_t slash = path.rfind('/');
  CHECK(path.size() > 2 && path[0] == '/' && slash > 0 && slash != std::string::npos, "a gRPC path is /service/method");
  auto route = std::make_unique<Route>();
  route->service = path.substr(1, slash - 1);
  route->method = path.substr(slash + 1);
  route->path = std::move(path);
  route->kind = kind;
  CHECK(by_path_.emplace(route->path, route.get()).second, "a path is served once");
  routes_.push_back(std::move(route));
  return *routes_.back();
}

void Router::add_unary(std::string path, UnaryMethod method) {
  add(std::move(path), MethodKind::kUnary).unary = std::move(method);
}

void Router::add_stream(std::string path, MethodKind kind, StreamMethod method) {
  CHECK(kind != MethodKind::kUnary);
  add(std::move(path), kind).stream = std::move(method);
}

void Router::add_raw(std::string prefix, RawProtocol protocol) {
  CHECK(!prefix.empty() && prefix.size() <= kRawPrefixMax);
  raw_.emplace_back(std::move(prefix), std::move(protocol));
}

Router::Route* Router::find(std::string_view path) {
  auto found = by_path_.find(path);
  return found == by_path_.end() ? nullptr : found->second;
}

std::string Router::unknown_text(std::string_view path) const {
  size_t slash = path.rfind('/');
  if (!path.starts_with('/') || slash == 0) return "malformed method name: \"" + std::string(path) + "\"";
  path.remove_prefix(1);
  --slash;
  std::string service(path.substr(0, slash)), method(path.substr(slash + 1));
  for (const auto& route : routes_) {
    if (route->service == service) return "unknown method " + method + " for service " + service;
  }
  return "unknown service " + service;
}

}  // namespace fairlead::net
