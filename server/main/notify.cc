#include "server/main/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace fairlead::server {

Status notify_supervisor(const std::string& socket_path, std::string_view state) {
  if (socket_path.empty()) return {};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  bool known = socket_path[0] == '/' || socket_path[0] == '@';
  if (!known || socket_path.size() < 2 || socket_path.size() >= sizeof address.sun_path)
    return invalid_argument("NOTIFY_SOCKET is no socket's name: " + socket_path);
  memcpy(address.sun_path, socket_path.data(), socket_path.size());
  // An abstract name ends with its last byte, a path with a zero.
  size_t name_bytes = socket_path.size();
  if (socket_path[0] == '@')
    address.sun_path[0] = '\0';
  else
    ++name_bytes;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return io_error("NOTIFY_SOCKET: no socket", errno);
  auto address_bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_bytes);
  ssize_t sent = sendto(fd, state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                        reinterpret_cast<const sockaddr*>(&address), address_bytes);
  int error = errno;
  close(fd);
  if (sent < 0) return io_error("NOTIFY_SOCKET: cannot send to " + socket_path, error);
  return {};
}

}  // namespace fairlead::server
