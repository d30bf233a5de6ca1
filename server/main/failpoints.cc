#include "server/main/failpoints.h"

#ifdef FAIRLEAD_FAILPOINTS

#include <unistd.h>

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "base/failpoint.h"
#include "server/main/failpoint_terms.h"

namespace fairlead::server {
namespace {

namespace http = boost::beast::http;
using boost::asio::ip::tcp;
using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;
using Terms = std::shared_ptr<FailpointTerms>;

constexpr size_t kCount = std::size(kFailpoints);
constexpr int kExitPanic = 2;  // of a Go program
constexpr size_t kBodyBytesMax = 64 << 10;

std::mutex terms_mutex;  // of all_terms; never held while a failpoint does something
std::array<Terms, kCount> all_terms;
std::mutex panic_mutex;  // held by whoever answers a request, and by whoever dies

[[noreturn]] void panic(const FailpointValue& value) {
  panic_mutex.lock();
  fprintf(stderr, "panic: failpoint panic: %s\n", printed(value).c_str());
  _exit(kExitPanic);
}

std::optional<std::string> carry_out(size_t index, FailpointKind kind) {
  Terms terms;
  {
    std::lock_guard<std::mutex> lock(terms_mutex);
    terms = all_terms[index];
  }
  if (!terms) return std::nullopt;
  std::optional<FailpointTerms::Due> due = terms->next();
  if (!due) return std::nullopt;
  std::string name(kFailpoints[index]);
  switch (due->action) {
    case FailpointAction::kOff:
      break;
    case FailpointAction::kPanic:
      panic(due->value);
    case FailpointAction::kPrint:
      printf("failpoint print: %s\n", name.c_str());
      fflush(stdout);
      break;
    case FailpointAction::kSleep: {
      std::optional<int64_t> ms = sleep_ms(due->value);
      if (!ms) printf("failpoint: ignoring sleep(%s) on %s\n", printed(due->value).c_str(), name.c_str());
      if (ms) std::this_thread::sleep_for(std::chrono::milliseconds(*ms));
      break;
    }
    case FailpointAction::kReturn: {
      bool text = kind == FailpointKind::kText;
      if (text && std::holds_alternative<std::string>(due->value)) return std::get<std::string>(due->value);
      if (!text && std::holds_alternative<std::monostate>(due->value)) return std::string();
      printf("failpoint: \"%s\" got value %s of type \"%s\" but expected type \"%s\"\n", name.c_str(),
             printed(due->value).c_str(), type_name(due->value).c_str(), text ? "string" : "struct{}");
      break;
    }
  }
  return std::nullopt;
}

Result<size_t> index_of(std::string_view name) {
  for (size_t i = 0; i < kCount; ++i)
    if (kFailpoints[i] == name) return i;
  return not_found("failpoint: failpoint does not exist");
}

Result<Terms> terms_of(std::string_view name) {
  ASSIGN_OR_RETURN(size_t index, index_of(name));
  std::lock_guard<std::mutex> lock(terms_mutex);
  if (!all_terms[index]) return failed_precondition("failpoint: failpoint is disabled");
  return all_terms[index];
}

Status enable(std::string_view name, std::string_view text) {
  ASSIGN_OR_RETURN(size_t index, index_of(name));
  ASSIGN_OR_RETURN(Terms terms, FailpointTerms::parse(text));
  std::lock_guard<std::mutex> lock(terms_mutex);
  all_terms[index] = std::move(terms);
  return {};
}

Status disable(std::string_view name) {
  RETURN_IF_ERROR(terms_of(name).status());
  std::lock_guard<std::mutex> lock(terms_mutex);
  all_terms[*index_of(name)] = nullptr;
  return {};
}

// "a=terms;b=terms"
Result<std::map<std::string, std::string>> parse_list(std::string_view text) {
  std::map<std::string, std::string> out;
  while (!text.empty()) {
    std::string_view item = text.substr(0, text.find(';'));
    text.remove_prefix(std::min(item.size() + 1, text.size()));
    if (item.empty()) continue;
    size_t equals = item.find('=');
    if (equals == std::string_view::npos || item.find('=', equals + 1) != std::string_view::npos)
      return invalid_argument("bad failpoint \"" + std::string(item) + "\"");
    out[std::string(item.substr(0, equals))] = std::string(item.substr(equals + 1));
  }
  return out;
}

Response reply(http::status status, std::string body) {
  Response response{status, 11};
  response.set(http::field::content_type, "text/plain; charset=utf-8");
  response.body() = std::move(body);
  return response;
}

Response get(const std::string& key) {
  if (key.empty()) {
    std::string lines;
    for (std::string_view name : kFailpoints) {
      Result<Terms> terms = terms_of(name);
      lines += std::string(name) + "=" + (terms.is_ok() ? (*terms)->text() : "") + "\n";
    }
    return reply(http::status::ok, lines);
  }
  bool count = key.ends_with("/count");
  Result<Terms> terms = terms_of(count ? std::string_view(key).substr(0, key.size() - 6) : key);
  if (terms.is_ok())
    return reply(http::status::ok, count ? std::to_string((*terms)->count()) : (*terms)->text() + "\n");
  bool unknown = terms.code() == Code::kNotFound;
  return reply(count && !unknown ? http::status::internal_server_error : http::status::not_found,
               "failed to GET: " + std::string(terms.status().message()) + (count ? "\n" : "\n\n"));
}

Response put(const std::string& key, const std::string& body) {
  std::map<std::string, std::string> wanted{{key, body}};
  if (key == "failpoints") {
    auto list = parse_list(body);
    if (!list.is_ok())
      return reply(http::status::bad_request,
                   "fail to parse failpoint: " + std::string(list.status().message()) + "\n");
    wanted = *std::move(list);
  }
  for (const auto& [name, terms] : wanted)
    if (Status s = enable(name, terms); !s.is_ok())
      return reply(http::status::bad_request, "fail to set failpoint: " + std::string(s.message()) + "\n");
  return reply(http::status::no_content, "");
}

Response answer(const Request& request) {
  std::string key(request.target());
  if (key.empty() || key[0] != '/') return reply(http::status::bad_request, "malformed request URI\n");
  key.erase(0, 1);
  if (request.method() == http::verb::get) return get(key);
  if (request.method() == http::verb::put) return put(key, request.body());
  if (request.method() == http::verb::delete_) {
    Status s = disable(key);
    if (s.is_ok()) return reply(http::status::no_content, "");
    return reply(http::status::bad_request, "failed to delete failpoint " + std::string(s.message()) + "\n");
  }
  Response response = reply(http::status::method_not_allowed, "Method not allowed\n");
  response.set(http::field::allow, "PUT");
  return response;
}

// One request a connection: whoever uses this has no more to ask.
void serve_one(tcp::socket socket) {
  boost::system::error_code error;
  boost::beast::flat_buffer buffer;
  http::request_parser<http::string_body> parser;
  parser.body_limit(kBodyBytesMax);
  http::read(socket, buffer, parser, error);
  if (error) return;
  std::lock_guard<std::mutex> lock(panic_mutex);
  Response response = answer(parser.get());
  response.keep_alive(false);
  response.prepare_payload();
  http::write(socket, response, error);
  socket.shutdown(tcp::socket::shutdown_both, error);
}

void serve(tcp::acceptor& acceptor, boost::asio::io_context& context) {
  while (true) {
    boost::system::error_code error;
    tcp::socket socket(context);
    acceptor.accept(socket, error);
    if (!error) std::thread(serve_one, std::move(socket)).detach();
  }
}

Status listen(const std::string& address) {
  size_t colon = address.rfind(':');
  if (colon == std::string::npos) return invalid_argument("GOFAIL_HTTP: " + address + " has no port");
  auto* context = new boost::asio::io_context;  // as long as the process
  boost::system::error_code error;
  auto found = tcp::resolver(*context).resolve(address.substr(0, colon), address.substr(colon + 1), error);
  if (error || found.empty()) return invalid_argument("GOFAIL_HTTP: " + address + ": " + error.message());
  auto* acceptor = new tcp::acceptor(*context);
  tcp::endpoint at = found.begin()->endpoint();
  acceptor->open(at.protocol(), error);
  if (!error) acceptor->set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor->bind(at, error);
  if (!error) acceptor->listen(boost::asio::socket_base::max_listen_connections, error);
  if (error) return unavailable("GOFAIL_HTTP: cannot listen on " + address + ": " + error.message());
  std::thread([acceptor, context] { serve(*acceptor, *context); }).detach();
  return {};
}

}  // namespace

Status start_failpoints(const std::string& http_address, const std::string& failpoints) {
  auto list = parse_list(failpoints);
  if (!list.is_ok()) return invalid_argument("fail to parse failpoint: " + std::string(list.status().message()));
  for (const auto& [name, terms] : *list)
    if (Status s = enable(name, terms); !s.is_ok())
      printf("failed to enable \"%s=%s\" (%s)\n", name.c_str(), terms.c_str(), std::string(s.message()).c_str());
  failpoint_hook = carry_out;
  return http_address.empty() ? Status() : listen(http_address);
}

}  // namespace fairlead::server

#endif
