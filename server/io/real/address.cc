#include "server/io/real/address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

namespace fairlead::io {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";

Result<std::vector<SocketAddress>> look_up(const HostPort& host_port, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV | AI_PASSIVE;
  addrinfo* list = nullptr;
  const char* host = host_port.host.empty() ? nullptr : host_port.host.c_str();
  int error = getaddrinfo(host, host_port.port.c_str(), &hints, &list);
  if (error == EAI_NONAME && (flags & AI_NUMERICHOST)) return not_found("not a number: " + host_port.host);
  if (error != 0) return unavailable("resolve " + host_port.host + ": " + gai_strerror(error));
  std::vector<SocketAddress> out;
  for (addrinfo* a = list; a != nullptr; a = a->ai_next) {
    SocketAddress address;
    std::memcpy(&address.storage, a->ai_addr, a->ai_addrlen);
    address.length = a->ai_addrlen;
    out.push_back(address);
  }
  freeaddrinfo(list);
  if (out.empty()) return unavailable("resolve " + host_port.host + ": no address");
  return out;
}

}  // namespace

bool is_unix_address(const std::string& address) { return address.starts_with(kUnixPrefix); }

Result<SocketAddress> unix_address(const std::string& address) {
  std::string path = address.substr(kUnixPrefix.size());
  SocketAddress out;
  auto* un = reinterpret_cast<sockaddr_un*>(&out.storage);
  if (path.empty() || path.size() >= sizeof un->sun_path) {
    return invalid_argument("the path of a Unix socket must have 1 to " + std::to_string(sizeof un->sun_path - 1) +
                            " bytes: " + address);
  }
  un->sun_family = AF_UNIX;
  std::memcpy(un->sun_path, path.c_str(), path.size() + 1);
  out.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return out;
}

Result<HostPort> split_host_port(const std::string& address) {
  HostPort out;
  size_t colon;
  if (address.starts_with("[")) {
    size_t close = address.find(']');
    if (close == std::string::npos || close + 1 >= address.size() || address[close + 1] != ':') {
      return invalid_argument("address " + address + ": want [host]:port");
    }
    out.host = address.substr(1, close - 1);
    colon = close + 1;
  } else {
    colon = address.rfind(':');
    if (colon == std::string::npos) return invalid_argument("address " + address + ": missing port");
    out.host = address.substr(0, colon);
    if (out.host.find(':') != std::string::npos) {
      return invalid_argument("address " + address + ": an IPv6 address needs brackets");
    }
  }
  out.port = address.substr(colon + 1);
  if (out.port.empty() || out.port.size() > 5 || out.port.find_first_not_of("0123456789") != std::string::npos ||
      std::stoi(out.port) > 65535) {
    return invalid_argument("address " + address + ": the port must be a number from 0 to 65535");
  }
  return out;
}

Result<std::vector<SocketAddress>> resolve_numeric(const HostPort& host_port) {
  return look_up(host_port, AI_NUMERICHOST);
}
Result<std::vector<SocketAddress>> resolve(const HostPort& host_port) { return look_up(host_port, 0); }

std::string to_string(const SocketAddress& address) {
  if (address.family() == AF_UNIX) {
    auto* un = reinterpret_cast<const sockaddr_un*>(&address.storage);
    bool named = address.length > offsetof(sockaddr_un, sun_path);
    return std::string(kUnixPrefix) + (named ? un->sun_path : "");
  }
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (getnameinfo(address.get(), address.length, host, sizeof host, port, sizeof port,
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "unknown";
  }
  if (address.family() == AF_INET6) return "[" + std::string(host) + "]:" + port;
  return std::string(host) + ":" + port;
}

Result<std::vector<std::string>> names_of_address(const std::string& numeric) {
  ASSIGN_OR_RETURN(std::vector<SocketAddress> addresses, resolve_numeric({numeric, "0"}));
  std::vector<std::string> out;
  for (const SocketAddress& address : addresses) {
    char host[NI_MAXHOST];
    int error = getnameinfo(address.get(), address.length, host, sizeof host, nullptr, 0, NI_NAMEREQD);
    if (error == EAI_NONAME) continue;
    if (error != 0) return unavailable("reverse lookup of " + numeric + ": " + gai_strerror(error));
    out.emplace_back(host);
    if (out.back().ends_with('.')) out.back().pop_back();
  }
  return out;
}

std::string local_address_of(int fd) {
  SocketAddress address;
  address.length = sizeof address.storage;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) return "unknown";
  return to_string(address);
}

std::string peer_address_of(int fd) {
  SocketAddress address;
  address.length = sizeof address.storage;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) return "unknown";
  return to_string(address);
}

}  // namespace fairlead::io
