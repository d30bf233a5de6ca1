// The only file of this folder that includes httplib.h (it is heavy to compile).

#include "operator/sim/http_front.h"

#include <httplib.h>

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

namespace fairlead::apisim {

using kube::at;
using kube::string_at;
using std::chrono::milliseconds;

namespace {

constexpr size_t kOpenListsMax = 64;     // paged lists that can be continued
constexpr milliseconds kStreamPoll{50};  // how soon an open watch notices stop()
constexpr int64_t kWatchDefaultS = 1800;
constexpr size_t kBodyBytesMax = 3u << 20;  // kube-apiserver's limit

struct HttpError {
  int code;
  const char* reason;
};

// The other direction of operator/kube/http_status.cc, written by itself.
HttpError http_error_of(const Status& status) {
  switch (status.code()) {
    case Code::kNotFound:
      return {404, "NotFound"};
    case Code::kAlreadyExists:
      return {409, "AlreadyExists"};
    case Code::kAborted:
      return {409, "Conflict"};
    case Code::kOutOfRange:
      return {410, "Expired"};
    case Code::kInvalidArgument: {
      const bool about_fields = status.message().find(" is invalid: ") != std::string_view::npos;
      return about_fields ? HttpError{422, "Invalid"} : HttpError{400, "BadRequest"};
    }
    case Code::kPermissionDenied:
      return {403, "Forbidden"};
    case Code::kUnauthenticated:
      return {401, "Unauthorized"};
    case Code::kUnimplemented:
      return {405, "MethodNotAllowed"};
    case Code::kResourceExhausted:
      return {429, "TooManyRequests"};
    case Code::kUnavailable:
      return {503, "ServiceUnavailable"};
    case Code::kDeadlineExceeded:
      return {504, "Timeout"};
    default:
      return {500, "InternalError"};
  }
}

Json status_object(const Status& status) {
  const HttpError error = http_error_of(status);
  return {{"apiVersion", "v1"},
          {"kind", "Status"},
          {"metadata", Json::object()},
          {"status", "Failure"},
          {"message", std::string(status.message())},
          {"reason", error.reason},
          {"code", error.code}};
}

void answer_error(httplib::Response& response, const Status& status) {
  response.status = http_error_of(status).code;
  if (response.status == 429) response.set_header("Retry-After", "1");
  response.set_content(status_object(status).dump(), "application/json");
}

std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> parts;
  size_t start = 0;
  while (start < path.size()) {
    const size_t end = std::min(path.find('/', start), path.size());
    if (end > start) parts.push_back(path.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

// /api/v1/... or /apis/GROUP/VERSION/..., then [namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE]].
Result<Request> parse_target(const Server& server, const std::string& path) {
  const std::vector<std::string> parts = split_path(path);
  const Status unknown = not_found("the server could not find the requested resource " + path);
  if (parts.size() < 2 || (parts[0] != "api" && parts[0] != "apis")) return unknown;
  size_t i = 1;
  const std::string group = parts[0] == "apis" ? parts[i++] : "";
  if (i >= parts.size()) return unknown;
  const std::string version = parts[i++];
  Request request;
  // "namespaces/NAME" alone is the namespace itself
  if (i + 2 < parts.size() && parts[i] == "namespaces") {
    request.key.ns = parts[i + 1];
    i += 2;
  }
  if (i >= parts.size()) return unknown;
  const auto info = server.find_resource(group, version, parts[i++]);
  if (!info) return unknown;
  request.gvr = info->gvr;
  if (i < parts.size()) request.key.name = parts[i++];
  if (i < parts.size()) request.subresource = parts[i++];
  if (i != parts.size()) return unknown;
  return request;
}

int64_t number_param(const httplib::Request& http, const char* name, int64_t otherwise) {
  if (!http.has_param(name)) return otherwise;
  return std::atoll(http.get_param_value(name).c_str());
}

Status read_delete_options(const Json& body, Request& request) {
  if (body.is_null()) return {};
  if (const std::string uid = string_at(body, {"preconditions", "uid"}); !uid.empty()) request.uid = uid;
  if (const std::string v = string_at(body, {"preconditions", "resourceVersion"}); !v.empty())
    request.expected_resource_version = v;
  if (at(body, {"gracePeriodSeconds"}).is_number_integer())
    request.grace_period_seconds = kube::int_at(body, {"gracePeriodSeconds"});
  const std::string policy = string_at(body, {"propagationPolicy"});
  if (policy == "Orphan")
    request.propagation = kube::Propagation::kOrphan;
  else if (policy == "Background")
    request.propagation = kube::Propagation::kBackground;
  else if (policy == "Foreground")
    request.propagation = kube::Propagation::kForeground;
  else if (!policy.empty())
    return invalid_argument("DeleteOptions: propagationPolicy: " + policy);
  return {};
}

Status read_write(const httplib::Request& http, Request& request) {
  Json body;
  if (!http.body.empty()) {
    body = Json::parse(http.body, nullptr, false);
    if (body.is_discarded()) return invalid_argument("the body is not JSON");
  }
  request.field_manager = http.get_param_value("fieldManager");
  const std::string type = http.get_header_value("Content-Type");
  if (http.method == "POST") {
    request.verb = kube::Verb::kCreate;
  } else if (http.method == "PUT") {
    request.verb = kube::Verb::kReplace;
  } else if (http.method == "PATCH" && type == "application/apply-patch+yaml") {
    request.verb = kube::Verb::kApply;
    request.force = http.get_param_value("force") == "true";
  } else if (http.method == "PATCH" && type == "application/merge-patch+json") {
    request.verb = kube::Verb::kMergePatch;
  } else if (http.method == "DELETE") {
    request.verb = kube::Verb::kDelete;
    if (request.key.name.empty()) return Status(Code::kUnimplemented, "deletecollection is not simulated");
    return read_delete_options(body, request);
  } else {
    return Status(Code::kUnimplemented, "method or content type is not simulated: " + http.method + " " + type);
  }
  request.body = std::move(body);
  return {};
}

// One watch stream: a thread of the server pulls events from the api, the chunked writer hands them out.
Json line_of(const kube::WatchEvent& event) {
  static const char* const kTypes[] = {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"};
  return {{"type", kTypes[static_cast<int>(event.type)]}, {"object", event.object}};
}

}  // namespace

struct HttpFront::Impl {
  const Server& server;
  kube::Api& api;
  std::unique_ptr<httplib::Server> http;
  bool tls = false;
  int port = 0;
  std::thread thread;
  std::atomic<bool> stopping{false};
  std::atomic<uint64_t> generation{0};  // of watch streams; break_watches() moves it on
  std::atomic<uint64_t> requests{0};
  std::mutex mutex;
  // guarded by mutex:
  std::string token;
  std::map<std::string, Json> open_lists;  // what is left of paged lists, by continue token
  std::deque<std::string> open_list_ages;
  uint64_t next_list = 1;

  Impl(const Server& s, kube::Api& a) : server(s), api(a) {}

  void handle(const httplib::Request& request, httplib::Response& response);
  void handle_watch(const httplib::Request& request, const Request& target, httplib::Response& response);
  Result<Json> list(Request request, int64_t limit, const std::string& continue_token);
  Json cut_page(Json list, int64_t limit);
};

void HttpFront::Impl::handle(const httplib::Request& http_request, httplib::Response& response) {
  requests++;
  {
    std::lock_guard lock(mutex);
    if (!token.empty() && http_request.get_header_value("Authorization") != "Bearer " + token) {
      return answer_error(response, Status(Code::kUnauthenticated, "Unauthorized"));
    }
  }
  Result<Request> target = parse_target(server, http_request.path);
  if (!target.is_ok()) return answer_error(response, target.status());
  Request request = *target;
  Result<Json> answer = Json();
  if (http_request.method == "GET") {
    const std::string watch = http_request.get_param_value("watch");
    if (watch == "true" || watch == "1") return handle_watch(http_request, request, response);
    request.resource_version = http_request.get_param_value("resourceVersion");
    request.label_selector = http_request.get_param_value("labelSelector");
    request.verb = request.key.name.empty() ? kube::Verb::kList : kube::Verb::kGet;
    answer = request.verb == kube::Verb::kGet
                 ? api.call(request)
                 : list(request, number_param(http_request, "limit", 0), http_request.get_param_value("continue"));
  } else {
    Status readable = read_write(http_request, request);
    if (!readable.is_ok()) return answer_error(response, readable);
    answer = api.call(request);
  }
  if (!answer.is_ok()) return answer_error(response, answer.status());
  response.status = request.verb == kube::Verb::kCreate ? 201 : 200;
  response.set_content(answer->dump(), "application/json");
}

// Lists are cut into pages here: the rest of a list waits under its token, as of the first page's version.
Result<Json> HttpFront::Impl::list(Request request, int64_t limit, const std::string& continue_token) {
  if (continue_token.empty()) {
    ASSIGN_OR_RETURN(Json whole, api.call(request));
    return cut_page(std::move(whole), limit);
  }
  Json rest;
  {
    std::lock_guard lock(mutex);
    auto it = open_lists.find(continue_token);
    if (it == open_lists.end())
      return Status(Code::kOutOfRange,
                    "The provided continue parameter is too old to display a consistent list result");
    rest = std::move(it->second);
    open_lists.erase(it);
  }
  return cut_page(std::move(rest), limit);
}

Json HttpFront::Impl::cut_page(Json list, int64_t limit) {
  // typed lists carry no apiVersion and kind in their items
  if (list["apiVersion"] == "v1") {
    for (Json& item : list["items"]) {
      item.erase("apiVersion");
      item.erase("kind");
    }
  }
  auto& items = list["items"].get_ref<Json::array_t&>();
  if (limit <= 0 || static_cast<int64_t>(items.size()) <= limit) return list;
  Json rest = {{"apiVersion", list["apiVersion"]},
               {"kind", list["kind"]},
               {"metadata", list["metadata"]},
               {"items", Json::array()}};
  for (size_t i = static_cast<size_t>(limit); i < items.size(); i++) rest["items"].push_back(std::move(items[i]));
  items.resize(static_cast<size_t>(limit));
  std::lock_guard lock(mutex);
  const std::string token_text = "list-" + std::to_string(next_list++);
  list["metadata"]["continue"] = token_text;
  list["metadata"]["remainingItemCount"] = rest["items"].size();
  open_lists[token_text] = std::move(rest);
  open_list_ages.push_back(token_text);
  if (open_list_ages.size() > kOpenListsMax) {
    open_lists.erase(open_list_ages.front());
    open_list_ages.pop_front();
  }
  return list;
}

void HttpFront::Impl::handle_watch(const httplib::Request& http_request, const Request& target,
                                   httplib::Response& response) {
  struct Stream {
    kube::WatchOptions options;
    std::chrono::steady_clock::time_point deadline;
    uint64_t generation = 0;
  };
  auto stream = std::make_shared<Stream>();
  stream->options.ns = target.key.ns;
  stream->options.label_selector = http_request.get_param_value("labelSelector");
  stream->options.resource_version = http_request.get_param_value("resourceVersion");
  stream->generation = generation.load();
  stream->deadline = std::chrono::steady_clock::now() +
                     std::chrono::seconds(number_param(http_request, "timeoutSeconds", kWatchDefaultS));
  // each turn of the provider watches for a moment and writes what came
  response.set_chunked_content_provider(
      "application/json", [this, stream, gvr = target.gvr](size_t, httplib::DataSink& sink) {
        const auto left = std::chrono::duration_cast<milliseconds>(stream->deadline - std::chrono::steady_clock::now());
        if (stopping || left.count() <= 0) {
          sink.done();
          return true;
        }
        if (stream->generation != generation.load()) return false;  // cut off, without a proper end
        bool writable = true;
        stream->options.timeout = std::min(left, kStreamPoll);
        Status status = api.watch(
            gvr, stream->options,
            [&](kube::WatchEvent event) {
              stream->options.resource_version = kube::resource_version_of(event.object);
              const std::string line = line_of(event).dump() + "\n";
              writable = sink.write(line.data(), line.size());
              return writable && !stopping;
            },
            std::stop_token());
        if (!writable) return false;
        if (status.is_ok()) return true;
        if (status.code() == Code::kUnavailable) return false;  // a broken stream, as asked for
        const std::string line = Json{{"type", "ERROR"}, {"object", status_object(status)}}.dump() + "\n";
        sink.write(line.data(), line.size());
        sink.done();
        return true;
      });
}

// ---- life ----

HttpFront::HttpFront(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpFront::~HttpFront() { stop(); }

Result<std::unique_ptr<HttpFront>> HttpFront::start(const Server& server, kube::Api& api, HttpFrontOptions options) {
  auto impl = std::make_unique<Impl>(server, api);
  impl->token = options.required_token;
  impl->tls = !options.certificate_file.empty();
  if (impl->tls) {
    impl->http =
        std::make_unique<httplib::SSLServer>(options.certificate_file.c_str(), options.key_file.c_str(),
                                             options.client_ca_file.empty() ? nullptr : options.client_ca_file.c_str());
  } else {
    impl->http = std::make_unique<httplib::Server>();
  }
  httplib::Server& http = *impl->http;
  if (!http.is_valid()) return invalid_argument("HTTP front: the certificate or key cannot be used");
  http.new_task_queue = [] { return new httplib::ThreadPool(kFrontThreads); };
  http.set_keep_alive_timeout(1);
  http.set_keep_alive_max_count(1'000'000);
  http.set_tcp_nodelay(true);
  http.set_payload_max_length(kBodyBytesMax);
  const auto handler = [raw = impl.get()](const httplib::Request& q, httplib::Response& a) { raw->handle(q, a); };
  http.Get(".*", handler).Post(".*", handler).Put(".*", handler).Patch(".*", handler).Delete(".*", handler);
  impl->port = http.bind_to_any_port("127.0.0.1");
  if (impl->port <= 0) return unavailable("HTTP front: no free port");
  impl->thread = std::thread([&http] { http.listen_after_bind(); });
  while (!http.is_running()) std::this_thread::yield();  // stop() before listen would be lost
  return std::unique_ptr<HttpFront>(new HttpFront(std::move(impl)));
}

void HttpFront::stop() {
  if (!impl_->thread.joinable()) return;
  impl_->stopping = true;
  impl_->http->stop();
  impl_->thread.join();
}

int HttpFront::port() const { return impl_->port; }
std::string HttpFront::url() const {
  return (impl_->tls ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(impl_->port);
}
void HttpFront::set_required_token(const std::string& token) {
  std::lock_guard lock(impl_->mutex);
  impl_->token = token;
}
void HttpFront::break_watches() { impl_->generation++; }
uint64_t HttpFront::requests() const { return impl_->requests; }

}  // namespace fairlead::apisim
