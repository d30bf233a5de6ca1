#include "ctl/address.h"

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

}  // namespace fairlead::ctl
