// Addresses as Net takes them: "host:port", "[v6]:port", ":port" (any) or "unix:PATH".
#pragma once

#include <sys/socket.h>

#include <string>
#include <vector>

#include "base/status.h"

namespace fairlead::io {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  int family() const { return storage.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

struct HostPort {
  std::string host;  // without brackets; empty = any
  std::string port;
};

bool is_unix_address(const std::string& address);
Result<SocketAddress> unix_address(const std::string& address);
Result<HostPort> split_host_port(const std::string& address);
// Without name servers: numbers only; kNotFound if the host is a name.
Result<std::vector<SocketAddress>> resolve_numeric(const HostPort& host_port);
// May block for as long as name servers do: off the loop.
Result<std::vector<SocketAddress>> resolve(const HostPort& host_port);
// Reverse lookup: blocks as resolve() does. No name at all is an empty list.
Result<std::vector<std::string>> names_of_address(const std::string& numeric);
// "10.0.0.1:2379", "[::1]:2379", "unix:PATH"
std::string to_string(const SocketAddress& address);
std::string local_address_of(int fd);
std::string peer_address_of(int fd);

}  // namespace fairlead::io
