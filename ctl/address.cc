#include "ctl/address.h"

#include <algorithm>

#include "ctl/exit.h"

namespace fairlead::ctl {

std::string Address::text() const {
  if (!unix_path.empty()) return unix_path;
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + port;
}

Address parse_address(const std::string& text, bool secure_without_scheme) {
  Address a;
  size_t scheme = text.find("://");
  std::string name = scheme == std::string::npos ? "" : text.substr(0, scheme);
  std::string rest = scheme == std::string::npos ? text : text.substr(scheme + 3);
  for (const char* socket : {"unix", "unixs"})  // a path may stand behind the colon too
    if (name.empty() && text.starts_with(std::string(socket) + ":")) {
      name = socket;
      rest = text.substr(name.size() + 1);
    }
  a.secure = name == "https" || name == "unixs" || (name.empty() && secure_without_scheme);
  if (name == "unix" || name == "unixs") {
    a.unix_path = rest;
    return a;
  }
  rest = rest.substr(0, rest.find('/'));
  if (rest.starts_with('[')) {
    size_t end = rest.find(']');
    a.host = rest.substr(1, end == std::string::npos ? end : end - 1);
    rest = end == std::string::npos ? "" : rest.substr(end + 1);
  } else {
    a.host = rest.substr(0, rest.find(':'));
    rest = rest.substr(a.host.size());
  }
  a.port = rest.starts_with(':') ? rest.substr(1) : a.secure ? "443" : "80";
  return a;
}

std::vector<std::string> peer_urls(const std::vector<std::string>& in) {
  std::vector<std::string> out;
  for (std::string url : in) {
    url.erase(0, std::min(url.find_first_not_of(" \t"), url.size()));
    url.erase(url.find_last_not_of(" \t") + 1);
    const size_t scheme = url.find("://");
    const std::string name = url.substr(0, std::min(url.find(':'), url.size()));
    const bool http = name == "http" || name == "https";
    if (!http && name != "unix" && name != "unixs")
      fail(kExitError, "URL scheme must be http, https, unix, or unixs: " + url);
    if (http) {
      std::string host = scheme == std::string::npos ? "" : url.substr(scheme + 3);
      const size_t path = host.find('/');
      const std::string address = host.substr(0, path);
      const size_t colon = address.rfind(':');
      if (colon == std::string::npos || (address.find(':') != colon && address[0] != '['))
        fail(kExitError, "URL address does not have the form \"host:port\": " + url);
      if (path != std::string::npos) fail(kExitError, "URL must not contain a path: " + url);
    }
    out.push_back(url);
  }
  if (out.empty()) fail(kExitError, "no valid URLs given");
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace fairlead::ctl
