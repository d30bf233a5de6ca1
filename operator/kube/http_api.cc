// The only file of this folder that includes httplib.h (it is heavy to compile).

#include "operator/kube/http_api.h"

#include <httplib.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "operator/kube/backoff.h"
#include "operator/kube/http_status.h"
#include "operator/kube/yaml.h"

namespace fairlead::kube {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kListItemsMax = 200'000;
constexpr milliseconds kRetryAfterMax{5'000};
constexpr BackoffOptions kRetryBackoff{milliseconds(50), milliseconds(2'000)};

milliseconds until(Clock::time_point deadline) {
  return std::max(std::chrono::duration_cast<milliseconds>(deadline - Clock::now()), milliseconds(0));
}

// ---- TLS material ----

template <auto kFree>
struct Freed {
  template <typename T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};
void free_certificates(STACK_OF(X509) * stack) { sk_X509_pop_free(stack, X509_free); }
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Certificates = std::unique_ptr<STACK_OF(X509), Freed<free_certificates>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Memory = std::unique_ptr<BIO, Freed<BIO_free_all>>;

Memory memory_of(const std::string& text) {
  return Memory(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Result<Certificates> parse_certificates(const std::string& pem, const std::string& what) {
  Certificates stack(sk_X509_new_null());
  Memory memory = memory_of(pem);
  while (X509* certificate = PEM_read_bio_X509(memory.get(), nullptr, nullptr, nullptr)) {
    sk_X509_push(stack.get(), certificate);
  }
  ERR_clear_error();  // reading past the last one is an error for OpenSSL
  if (sk_X509_num(stack.get()) == 0) return invalid_argument(what + ": no PEM certificate in it");
  return stack;
}

struct TlsMaterial {
  Certificates roots;  // null: the system's
  Certificates chain;  // ours, leaf first; null: none
  Key key;
};

Result<TlsMaterial> parse_tls(const ConnectionConfig& config) {
  TlsMaterial tls;
  if (!config.ca_pem.empty()) {
    ASSIGN_OR_RETURN(tls.roots, parse_certificates(config.ca_pem, "certificate authority"));
  }
  if (config.client_certificate_pem.empty() != config.client_key_pem.empty()) {
    return invalid_argument("client certificate and client key: one without the other");
  }
  if (config.client_certificate_pem.empty()) return tls;
  ASSIGN_OR_RETURN(tls.chain, parse_certificates(config.client_certificate_pem, "client certificate"));
  Memory memory = memory_of(config.client_key_pem);
  tls.key.reset(PEM_read_bio_PrivateKey(memory.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (!tls.key) return invalid_argument("client key: cannot be read");
  if (X509_check_private_key(sk_X509_value(tls.chain.get(), 0), tls.key.get()) != 1) {
    ERR_clear_error();
    return invalid_argument("client key: does not belong to the client certificate");
  }
  return tls;
}

// Trust exactly the given roots: httplib adds the system's to the store whatever it is told.
int verify_with_roots(X509_STORE_CTX* context, void* roots) {
  X509_STORE_CTX_set0_trusted_stack(context, static_cast<STACK_OF(X509)*>(roots));
  return X509_verify_cert(context);
}

// ---- address ----

struct Address {
  bool tls = false;
  std::string host;
  int port = 0;
  std::string prefix;  // of every path, without a slash at the end
};

Result<Address> parse_address(const std::string& url) {
  const Status bad = invalid_argument("server address: want http(s)://host[:port], not '" + url + "'");
  Address address;
  std::string rest;
  if (url.starts_with("https://")) {
    address.tls = true;
    rest = url.substr(8);
  } else if (url.starts_with("http://")) {
    rest = url.substr(7);
  } else {
    return bad;
  }
  if (size_t slash = rest.find('/'); slash != std::string::npos) {
    address.prefix = rest.substr(slash);
    while (address.prefix.ends_with('/')) address.prefix.pop_back();
    rest.resize(slash);
  }
  std::string port_text;
  if (rest.starts_with('[')) {
    const size_t end = rest.find(']');
    if (end == std::string::npos) return bad;
    address.host = rest.substr(1, end - 1);
    if (rest.size() > end + 1 && rest[end + 1] != ':') return bad;
    if (rest.size() > end + 1) port_text = rest.substr(end + 2);
  } else {
    const size_t colon = rest.rfind(':');
    address.host = rest.substr(0, colon);
    if (colon != std::string::npos) port_text = rest.substr(colon + 1);
  }
  address.port = address.tls ? 443 : 80;
  if (!port_text.empty()) {
    if (port_text.size() > 5 || port_text.find_first_not_of("0123456789") != std::string::npos) return bad;
    address.port = std::stoi(port_text);
  }
  if (address.host.empty() || address.port < 1 || address.port > 65535) return bad;
  return address;
}

std::string percent_encoded(std::string_view text) {
  static const char* const kHex = "0123456789ABCDEF";
  std::string out;
  for (unsigned char c : text) {
    if (std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~') {
      out += static_cast<char>(c);
    } else {
      out += '%';
      out += kHex[c >> 4];
      out += kHex[c & 15];
    }
  }
  return out;
}

class Query {
 public:
  void add(std::string_view name, std::string_view value) {
    text_ += text_.empty() ? '?' : '&';
    text_ += name;
    text_ += '=';
    text_ += percent_encoded(value);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string path_of(const Gvr& gvr, const std::string& ns, const std::string& name, const std::string& subresource) {
  std::string path = gvr.group.empty() ? "/api/" : "/apis/" + gvr.group + "/";
  path += gvr.version;
  if (gvr.namespaced && !ns.empty()) path += "/namespaces/" + percent_encoded(ns);
  path += "/" + gvr.resource;
  if (!name.empty()) path += "/" + percent_encoded(name);
  if (!subresource.empty()) path += "/" + subresource;
  return path;
}

// ---- one exchange ----

// The socket of the connection in use, as a duplicate that is ours: shutting it down ends a blocked read or connect of
// httplib at once, and cannot hit a stranger that got the same number.
class SocketSlot {
 public:
  ~SocketSlot() { replace(-1); }
  void replace(int fd) {
    std::lock_guard lock(mutex_);
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
    if (stopped_ && fd_ >= 0) ::shutdown(fd_, SHUT_RD);
  }
  void stop() {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    if (fd_ >= 0) ::shutdown(fd_, SHUT_RD);  // only reading: TLS still says goodbye
  }

 private:
  std::mutex mutex_;
  int fd_ = -1;           // guarded by mutex_
  bool stopped_ = false;  // guarded by mutex_
};

struct Connection {
  std::unique_ptr<SocketSlot> socket;  // before http: http's socket options point to it
  std::unique_ptr<httplib::ClientImpl> http;
};

struct Answer {
  int http_code = 0;
  std::string body;
  milliseconds retry_after{0};
};

bool surely_not_sent(httplib::Error error) {
  switch (error) {
    case httplib::Error::Connection:
    case httplib::Error::ConnectionTimeout:
    case httplib::Error::BindIPAddress:
    case httplib::Error::SSLConnection:
    case httplib::Error::SSLLoadingCerts:
    case httplib::Error::SSLServerVerification:
      return true;
    default:
      return false;
  }
}

class HttpApi : public Api {
 public:
  HttpApi(ConnectionConfig config, Address address, TlsMaterial tls)
      : config_(std::move(config)),
        address_(std::move(address)),
        tls_(std::move(tls)),
        random_(std::random_device{}()) {}

  Result<Json> call(const Request& request) override;
  Status watch(const Gvr& gvr, const WatchOptions& options, const WatchHandler& handler, std::stop_token stop) override;

 private:
  Connection new_connection();
  Connection take_connection();
  void give_back(Connection connection);
  Result<std::string> token();
  Result<httplib::Request> prepare(const std::string& method, const std::string& path);
  Result<Answer> exchange_once(const Request& request, const std::string& continue_token, Clock::time_point deadline);
  Result<Json> exchange(const Request& request, const std::string& continue_token, Clock::time_point deadline);
  Result<Json> list_pages(const Request& request, Clock::time_point deadline);
  std::string target(const Request& request, const std::string& continue_token) const;

  const ConnectionConfig config_;
  const Address address_;
  const TlsMaterial tls_;
  std::mutex mutex_;
  // guarded by mutex_:
  std::vector<Connection> idle_;
  std::string token_;
  std::pair<int64_t, int64_t> token_stamp_{-1, -1};  // (inode, mtime) of the file token_ was read from
  std::mt19937_64 random_;
};

Connection HttpApi::new_connection() {
  Connection connection;
  connection.socket = std::make_unique<SocketSlot>();
  if (address_.tls) {
    X509* leaf = tls_.chain ? sk_X509_value(tls_.chain.get(), 0) : nullptr;
    auto client = std::make_unique<httplib::SSLClient>(address_.host, address_.port, leaf, tls_.key.get());
    SSL_CTX* context = client->ssl_context();
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    for (int i = 1; tls_.chain && i < sk_X509_num(tls_.chain.get()); i++) {
      X509* intermediate = sk_X509_value(tls_.chain.get(), i);
      X509_up_ref(intermediate);
      SSL_CTX_add_extra_chain_cert(context, intermediate);
    }
    if (tls_.roots) SSL_CTX_set_cert_verify_callback(context, verify_with_roots, tls_.roots.get());
    client->enable_server_certificate_verification(!config_.insecure_skip_tls_verify);
    connection.http = std::move(client);
  } else {
    connection.http = std::make_unique<httplib::ClientImpl>(address_.host, address_.port);
  }
  httplib::ClientImpl& http = *connection.http;
  http.set_keep_alive(true);
  http.set_url_encode(false);  // done here, exactly once
  http.set_decompress(false);
  SocketSlot* slot = connection.socket.get();
  http.set_socket_options([slot](int fd) {
    const int on = 1, idle_s = 15, interval_s = 15, probes = 3;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    slot->replace(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  });
  return connection;
}

Connection HttpApi::take_connection() {
  {
    std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      Connection connection = std::move(idle_.back());
      idle_.pop_back();
      return connection;
    }
  }
  return new_connection();
}

void HttpApi::give_back(Connection connection) {
  std::lock_guard lock(mutex_);
  if (idle_.size() < kIdleConnectionsMax) idle_.push_back(std::move(connection));
}

Result<std::string> HttpApi::token() {
  if (config_.token_file.empty()) return config_.token;
  struct stat info {};
  if (::stat(config_.token_file.c_str(), &info) != 0) return io_error("cannot read " + config_.token_file, errno);
  const std::pair<int64_t, int64_t> stamp{
      static_cast<int64_t>(info.st_ino),
      static_cast<int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec};
  std::lock_guard lock(mutex_);
  if (stamp == token_stamp_) return token_;
  ASSIGN_OR_RETURN(std::string text, read_file(config_.token_file));
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  token_ = std::move(text);
  token_stamp_ = stamp;
  return token_;
}

Result<httplib::Request> HttpApi::prepare(const std::string& method, const std::string& path) {
  httplib::Request request;
  request.method = method;
  request.path = address_.prefix + path;
  request.set_header("Accept", "application/json");
  request.set_header("User-Agent", config_.user_agent);
  ASSIGN_OR_RETURN(const std::string bearer, token());
  if (!bearer.empty()) request.set_header("Authorization", "Bearer " + bearer);
  return request;
}

std::string HttpApi::target(const Request& r, const std::string& continue_token) const {
  Query query;
  std::string name = r.key.name;
  if (r.verb == Verb::kList || r.verb == Verb::kCreate) {
    name = r.subresource.empty() ? "" : r.key.name;  // pods/NAME/binding is a create with a name
  }
  if (r.verb == Verb::kList) {
    if (!r.label_selector.empty()) query.add("labelSelector", r.label_selector);
    if (r.limit > 0) query.add("limit", std::to_string(r.limit));
    if (!continue_token.empty()) query.add("continue", continue_token);
  }
  if (!is_write(r.verb) && !r.resource_version.empty() && continue_token.empty()) {
    query.add("resourceVersion", r.resource_version);
  }
  if (is_write(r.verb) && r.verb != Verb::kDelete) {
    if (!r.field_manager.empty()) query.add("fieldManager", r.field_manager);
    if (r.verb == Verb::kApply && r.force) query.add("force", "true");
  }
  return path_of(r.gvr, r.key.ns, name, r.subresource) + query.text();
}

Json delete_body(const Request& r) {
  Json body = {{"apiVersion", "v1"}, {"kind", "DeleteOptions"}};
  if (r.uid) body["preconditions"]["uid"] = *r.uid;
  if (r.expected_resource_version) body["preconditions"]["resourceVersion"] = *r.expected_resource_version;
  if (r.grace_period_seconds) body["gracePeriodSeconds"] = *r.grace_period_seconds;
  if (r.propagation == Propagation::kOrphan) body["propagationPolicy"] = "Orphan";
  if (r.propagation == Propagation::kBackground) body["propagationPolicy"] = "Background";
  if (r.propagation == Propagation::kForeground) body["propagationPolicy"] = "Foreground";
  return body;
}

Result<Answer> HttpApi::exchange_once(const Request& r, const std::string& continue_token, Clock::time_point deadline) {
  static const char* const kMethods[] = {"GET", "GET", "POST", "PUT", "PATCH", "PATCH", "DELETE"};
  ASSIGN_OR_RETURN(httplib::Request request, prepare(kMethods[static_cast<int>(r.verb)], target(r, continue_token)));
  if (is_write(r.verb)) {
    // JSON is YAML: that is how an apply is sent. Invalid UTF-8 becomes U+FFFD rather than an exception.
    const Json& body = r.body;
    request.body =
        (r.verb == Verb::kDelete ? delete_body(r) : body).dump(-1, ' ', false, Json::error_handler_t::replace);
    request.set_header("Content-Type", r.verb == Verb::kApply        ? "application/apply-patch+yaml"
                                       : r.verb == Verb::kMergePatch ? "application/merge-patch+json"
                                                                     : "application/json");
  }
  Answer answer;
  bool too_large = false, too_late = false;
  request.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
    too_large = answer.body.size() + size > kResponseBytesMax;
    too_late = Clock::now() >= deadline;
    if (too_large || too_late) return false;
    answer.body.append(data, size);
    return true;
  };

  Connection connection = take_connection();
  const milliseconds left = std::max(until(deadline), milliseconds(1));
  connection.http->set_connection_timeout(std::min<milliseconds>(kConnectTimeout, left));
  connection.http->set_read_timeout(left);
  connection.http->set_write_timeout(left);
  httplib::Response response;
  httplib::Error error = httplib::Error::Success;
  if (!connection.http->send(request, response, error)) {
    const std::string what = std::string(verb_name(r.verb)) + " " + r.gvr.to_string() + " " + r.key.to_string() + ": " +
                             httplib::to_string(error) + " (" + config_.server + ")";
    if (too_large) return internal_error(what + ": the answer is larger than 64 MiB");
    if (too_late) return Status(Code::kDeadlineExceeded, what + ": the answer did not end in time");
    if (surely_not_sent(error)) return unavailable(what);
    return Status(Code::kDeadlineExceeded, what + ": sent, but no answer; it may have been executed");
  }
  answer.http_code = response.status;
  if (response.has_header("Retry-After")) {
    answer.retry_after = std::min(
        milliseconds(1000 * std::max(0, std::atoi(response.get_header_value("Retry-After").c_str()))), kRetryAfterMax);
  }
  give_back(std::move(connection));
  return answer;
}

Result<Json> HttpApi::exchange(const Request& r, const std::string& continue_token, Clock::time_point deadline) {
  uint64_t seed = 0;
  {
    std::lock_guard lock(mutex_);
    seed = random_();
  }
  Backoff backoff(kRetryBackoff, seed);
  for (int attempt = 1;; attempt++) {
    Result<Answer> answer = exchange_once(r, continue_token, deadline);
    Status status = answer.status();
    milliseconds wait = backoff.next();
    if (answer.is_ok()) {
      Json body = Json::parse(answer->body, nullptr, false);
      const bool readable = !body.is_discarded();
      if (answer->http_code < 300 && readable) return body;
      status = answer->http_code < 300 ? internal_error("the answer is not JSON")
                                       : status_from_answer(answer->http_code, readable ? body : Json(), answer->body);
      wait = std::max(wait, answer->retry_after);
    }
    const bool harmless = !is_write(r.verb) || !outcome_unknown(status);
    if (!is_transient(status) || !harmless || attempt >= kAttemptsMax) return status;
    if (until(deadline) <= wait) return status;
    std::this_thread::sleep_for(wait);
  }
}

// Items of typed lists come without apiVersion and kind; the list's own say what they are.
void complete_items(Json& page) {
  std::string kind = string_at(page, {"kind"});
  if (kind.ends_with("List")) kind.resize(kind.size() - 4);
  const std::string api_version = string_at(page, {"apiVersion"});
  if (!page.contains("items") || !page["items"].is_array()) page["items"] = Json::array();
  for (Json& item : page["items"]) {
    if (!item.is_object()) continue;
    if (!item.contains("apiVersion")) item["apiVersion"] = api_version;
    if (!item.contains("kind")) item["kind"] = kind;
  }
}

Result<Json> HttpApi::list_pages(const Request& r, Clock::time_point deadline) {
  Request page_request = r;
  Json all;
  std::string token;
  while (true) {
    Result<Json> page = exchange(page_request, token, deadline);
    if (page.code() == Code::kOutOfRange && !token.empty()) {
      page_request.limit = 0;  // history went while we were paging: all at once, afresh
      token.clear();
      all = Json();
      continue;
    }
    RETURN_IF_ERROR(page.status());
    complete_items(*page);
    token = string_at(*page, {"metadata", "continue"});
    if (all.is_null()) {
      all = std::move(*page);
    } else {
      for (Json& item : (*page)["items"]) all["items"].push_back(std::move(item));
      all["metadata"]["resourceVersion"] = resource_version_of(*page);
    }
    if (all["items"].size() > kListItemsMax) {
      return Status(Code::kResourceExhausted, "list " + r.gvr.to_string() + ": more than 200000 objects");
    }
    if (token.empty()) return all;
  }
}

Result<Json> HttpApi::call(const Request& request) {
  const Clock::time_point deadline = Clock::now() + request.timeout;
  if (request.verb == Verb::kList) return list_pages(request, deadline);
  if (request.verb != Verb::kCreate && request.key.name.empty()) {
    return invalid_argument(std::string(verb_name(request.verb)) + ": no name");  // would address the collection
  }
  return exchange(request, "", deadline);
}

// ---- watch ----

// Splits the stream into lines and hands events on.
class WatchReader {
 public:
  explicit WatchReader(const WatchHandler& handler) : handler_(handler) {}

  // False ends the stream; result() says why.
  bool feed(const char* data, size_t size) {
    buffer_.append(data, size);
    size_t start = 0;
    while (true) {
      const size_t end = buffer_.find('\n', std::max(start, searched_));
      if (end == std::string::npos) break;
      const std::string_view line(buffer_.data() + start, end - start);
      start = end + 1;
      if (!line.empty() && !on_line(line)) return false;
    }
    buffer_.erase(0, start);
    searched_ = buffer_.size();
    if (buffer_.size() > kWatchLineBytesMax) {
      result_ = internal_error("watch: an event larger than 8 MiB");
      return false;
    }
    return true;
  }
  const Status& result() const { return result_; }
  bool ended_by_us() const { return ended_; }
  const std::string& unread() const { return buffer_; }

 private:
  bool on_line(std::string_view line) {
    Json event = Json::parse(line, nullptr, false);
    const std::string type = string_at(event, {"type"});
    if (type == "ERROR") {
      const Json& object = at(event, {"object"});
      result_ = status_from_answer(static_cast<int>(int_at(object, {"code"}, 500)), object, std::string(line));
      return false;
    }
    WatchEvent out;
    if (type == "ADDED")
      out.type = WatchEventType::kAdded;
    else if (type == "MODIFIED")
      out.type = WatchEventType::kModified;
    else if (type == "DELETED")
      out.type = WatchEventType::kDeleted;
    else if (type == "BOOKMARK")
      out.type = WatchEventType::kBookmark;
    else {
      result_ = internal_error("watch: cannot read an event");
      return false;
    }
    out.object = std::move(event["object"]);
    ended_ = !handler_(std::move(out));
    return !ended_;
  }

  const WatchHandler& handler_;
  std::string buffer_;
  size_t searched_ = 0;  // no line end before this
  bool ended_ = false;
  Status result_;
};

Status HttpApi::watch(const Gvr& gvr, const WatchOptions& options, const WatchHandler& handler, std::stop_token stop) {
  const Status stopped(Code::kCancelled, "watch " + gvr.to_string() + ": stopped");
  if (stop.stop_requested()) return stopped;
  // the server counts whole seconds, and 0 means its own default
  const int64_t seconds = std::max<int64_t>(1, (options.timeout.count() + 999) / 1000);
  Query query;
  query.add("watch", "true");
  query.add("allowWatchBookmarks", "true");
  query.add("timeoutSeconds", std::to_string(seconds));
  if (!options.resource_version.empty()) query.add("resourceVersion", options.resource_version);
  if (!options.label_selector.empty()) query.add("labelSelector", options.label_selector);
  ASSIGN_OR_RETURN(httplib::Request request, prepare("GET", path_of(gvr, options.ns, "", "") + query.text()));

  int http_code = 0;
  std::string error_body;
  WatchReader reader(handler);
  request.response_handler = [&](const httplib::Response& response) {
    http_code = response.status;
    return !stop.stop_requested();
  };
  request.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
    if (stop.stop_requested()) return false;
    if (http_code == 200) return reader.feed(data, size);
    error_body.append(data, std::min<size_t>(size, 65536));
    return error_body.size() <= 65536;
  };

  Connection connection = new_connection();
  connection.http->set_connection_timeout(kConnectTimeout);
  connection.http->set_read_timeout(
      std::min<std::chrono::seconds>(kWatchSilenceMax, std::chrono::seconds(seconds + 10)));
  connection.http->set_write_timeout(kCallTimeout);
  httplib::Response response;
  httplib::Error error = httplib::Error::Success;
  bool sent = false;
  {
    std::stop_callback on_stop(stop, [&] { connection.socket->stop(); });
    sent = connection.http->send(request, response, error);
  }
  if (stop.stop_requested()) return stopped;
  if (reader.ended_by_us()) return {};
  if (!reader.result().is_ok()) return reader.result();
  if (http_code != 0 && http_code != 200) {
    Json body = Json::parse(error_body, nullptr, false);
    return status_from_answer(http_code, body.is_discarded() ? Json() : body, error_body);
  }
  if (sent && reader.unread().empty()) return {};  // the server ended it, as asked
  return unavailable("watch " + gvr.to_string() + ": the stream broke: " + httplib::to_string(error));
}

// httplib writes without MSG_NOSIGNAL: a server that went away would end the process.
void ignore_sigpipe() {
  struct sigaction current {};
  if (sigaction(SIGPIPE, nullptr, &current) == 0 && current.sa_handler == SIG_DFL) std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace

Result<std::unique_ptr<Api>> connect(const ConnectionConfig& config) {
  ignore_sigpipe();
  ASSIGN_OR_RETURN(Address address, parse_address(config.server));
  TlsMaterial tls;
  if (address.tls) {
    ASSIGN_OR_RETURN(tls, parse_tls(config));
  }
  return std::unique_ptr<Api>(std::make_unique<HttpApi>(config, std::move(address), std::move(tls)));
}

}  // namespace fairlead::kube
