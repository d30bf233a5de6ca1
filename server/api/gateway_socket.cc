#include "server/api/gateway_socket.h"

#include <algorithm>

namespace fairlead::api {
namespace {

constexpr std::string_view kBearer = "Bearer";
constexpr std::string_view kTokenCookie = "token";

std::string_view trim(std::string_view text, std::string_view what) {
  text.remove_prefix(std::min(text.find_first_not_of(what), text.size()));
  return text.substr(0, text.find_last_not_of(what) + 1);
}

// "Bearer, TOKEN" (some clients leave out the space) as an Authorization header has it; empty for anything else.
std::string authorization_of(std::string_view protocol) {
  std::string mark = std::string(kBearer) + ",";
  size_t at = protocol.find(mark);
  if (at == std::string_view::npos) return {};
  return std::string(kBearer) + " " + std::string(trim(protocol.substr(at + mark.size()), " "));
}

// As Go's net/http reads it: a value may stand in quotes; one with other characters is no cookie.
std::optional<std::string> token_cookie(const net::HttpRequest& request) {
  for (const auto& [name, header] : request.headers) {
    if (name != "cookie") continue;
    std::string_view rest = header;
    while (!rest.empty()) {
      std::string_view part = trim(rest.substr(0, rest.find(';')), " \t");
      rest.remove_prefix(std::min(rest.find(';'), rest.size() - 1) + 1);
      size_t equals = part.find('=');
      if (equals == std::string_view::npos || trim(part.substr(0, equals), " \t") != kTokenCookie) continue;
      std::string_view value = part.substr(equals + 1);
      if (value.size() > 1 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
      auto allowed = [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != ';' && c != '\\'; };
      if (std::all_of(value.begin(), value.end(), allowed)) return std::string(value);
    }
  }
  return std::nullopt;
}

// What the gateway gets to see of the request that asked for a WebSocket.
net::HttpRequest inner_request(const net::HttpRequest& outer) {
  net::HttpRequest inner = outer;
  inner.method = "POST";
  inner.body.clear();
  inner.headers.clear();
  if (std::string_view protocol = outer.header("sec-websocket-protocol"); !protocol.empty())
    inner.headers.emplace_back("authorization", authorization_of(protocol));
  if (std::optional<std::string> token = token_cookie(outer))
    inner.headers = {{"authorization", std::string(kBearer) + " " + *token}};
  for (std::string_view name : {"origin", "referer"})
    if (std::string_view value = outer.header(name); !value.empty())
      inner.headers.emplace_back(std::string(name), std::string(value));
  return inner;
}

}  // namespace

LineReply::LineReply(std::unique_ptr<net::WebSocket> socket) : socket_(std::move(socket)) {
  socket_->set_handler(
      [this](std::string_view message) {
        if (on_message_) on_message_(message);
      },
      [this] {
        if (auto gone = std::exchange(gone_, nullptr)) gone();
      },
      [this] {
        if (stop_) stop_();
      });
}

void LineReply::send(net::HttpResponse response) {
  line(response.body);
  socket_->close();
}

void LineReply::line(const Bytes& text) {
  size_t size = text.size() - (text.view().ends_with('\n') ? 1 : 0);
  if (size > 0) socket_->send(text.slice(0, size));
}

void serve_gateway_socket(const io::World& world, net::Router& router, const GatewayOptions& options,
                          const net::HttpRequest& request, net::HttpReplyPtr reply) {
  if (std::optional<net::HttpResponse> refused = net::refuse_websocket(request)) return reply->send(*refused);
  net::HttpHeaders headers;
  if (request.header("sec-websocket-protocol").starts_with(kBearer))
    headers.emplace_back("Sec-WebSocket-Protocol", kBearer);
  std::unique_ptr<net::WebSocket> socket = reply->upgrade(request, headers);
  if (!socket) return reply->send(net::HttpResponse::text(500, "Internal Server Error\n"));
  serve_gateway(world, router, options, inner_request(request), std::make_unique<LineReply>(std::move(socket)));
}

}  // namespace fairlead::api
