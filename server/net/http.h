// HTTP/1.1 requests and replies on the shared port: health, version, metrics, the JSON gateway, later the v2 API. A
// reply may come at any later time from the loop: a long poll holds no thread, only this object and its connection.
//
// Threads: the loop of the server.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "server/io/io.h"

namespace fairlead::net {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

class WebSocket;

struct HttpRequest {
  std::string method;   // "GET", "HEAD", "POST", "PUT", "DELETE", ...
  std::string path;     // percent-decoded, without the query
  std::string query;    // raw, behind the '?'
  std::string target;   // as sent
  HttpHeaders headers;  // names in lower case
  std::string body;
  std::string peer_address;
  bool secure = false;           // came over TLS
  std::string peer_common_name;  // as ServerCall::peer_common_name

  std::string_view header(std::string_view lower_case_name) const;  // first value, empty if absent
  // Values of one query parameter, percent-decoded, in order.
  std::vector<std::string> query_values(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  HttpHeaders headers;
  Bytes body;

  static HttpResponse text(int status, std::string_view body);
  static HttpResponse json(int status, std::string_view body);
};

// The one answer to a request. Dropping it unanswered answers 500.
class HttpReply {
 public:
  virtual ~HttpReply() = default;
  virtual void send(HttpResponse response) = 0;  // once; nothing happens if the client is gone
  // A body of unknown length (chunked): send_head, any number of send_chunk, end.
  virtual void send_head(HttpResponse head) = 0;  // its body, if any, is the first chunk
  virtual void send_chunk(Bytes chunk) = 0;
  virtual void end() = 0;
  virtual size_t queued_bytes() const = 0;
  virtual bool alive() const = 0;                            // the client is still there and the answer is not complete
  virtual void on_gone(std::function<void()> callback) = 0;  // the client left before the answer was complete
  // Instead of an answer: the connection becomes a WebSocket (websocket.h), with `headers` in the answer that says so.
  // The reply is over with it. Null where that cannot be (HTTP/2, the client is gone): the reply is as it was.
  virtual std::unique_ptr<WebSocket> upgrade(const HttpRequest& request, const HttpHeaders& headers) = 0;
};
using HttpReplyPtr = std::unique_ptr<HttpReply>;

using HttpHandler = std::function<void(HttpRequest request, HttpReplyPtr reply)>;

}  // namespace fairlead::net
