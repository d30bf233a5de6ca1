// Where a server listens, as endpoints and URLs of members say it.
#pragma once

#include <string>
#include <vector>

namespace fairlead::ctl {

// "https://h:1/x", "h:1", "[::1]:1", "unix:///path", "unix:path", taken apart.
struct Address {
  std::string host, port;    // of an IPv6 address without its brackets
  std::string unix_path;     // of a socket; then there is no host
  bool secure = false;       // TLS is spoken
  std::string text() const;  // "h:1", "[::1]:1" or the path
};
// `secure_without_scheme`: what an endpoint without scheme means. A port that is missing is its protocol's.
Address parse_address(const std::string& text, bool secure_without_scheme);

// Peer URLs, trimmed and sorted. Ends the program where one is none, with the words of etcd's library.
std::vector<std::string> peer_urls(const std::vector<std::string>& urls);

}  // namespace fairlead::ctl
