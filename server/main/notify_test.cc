#include "server/main/notify.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace fairlead::server {
namespace {

// What systemd does: a datagram socket that is waiting under a name.
class Supervisor {
 public:
  explicit Supervisor(const std::string& name) : fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (name[0] == '@' ? 0 : 1));
    bound_ = bind(fd_, reinterpret_cast<sockaddr*>(&address), bytes) == 0;
  }
  ~Supervisor() { close(fd_); }
  bool bound() const { return bound_; }
  std::string heard() {
    char text[64];
    ssize_t n = recv(fd_, text, sizeof text, 0);
    return n < 0 ? "nothing" : std::string(text, static_cast<size_t>(n));
  }

 private:
  int fd_;
  bool bound_ = false;
};

TEST(Notify, reaches_a_socket_in_the_file_system) {
  char folder[] = "/tmp/notify-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  std::string name = std::string(folder) + "/socket";
  {
    Supervisor supervisor(name);
    ASSERT_TRUE(supervisor.bound());
    EXPECT_TRUE(notify_supervisor(name, "READY=1").is_ok());
    EXPECT_EQ(supervisor.heard(), "READY=1");
  }
  unlink(name.c_str());
  EXPECT_FALSE(notify_supervisor(name, "READY=1").is_ok());  // nobody is there any more
  rmdir(folder);
}

TEST(Notify, reaches_an_abstract_socket) {
  std::string name = "@fairlead-notify-test-" + std::to_string(getpid());
  Supervisor supervisor(name);
  ASSERT_TRUE(supervisor.bound());
  EXPECT_TRUE(notify_supervisor(name, "STOPPING=1").is_ok());
  EXPECT_EQ(supervisor.heard(), "STOPPING=1");
}

TEST(Notify, without_a_supervisor_nothing_happens) { EXPECT_TRUE(notify_supervisor("", "READY=1").is_ok()); }

TEST(Notify, a_name_that_is_none_is_refused) {
  EXPECT_FALSE(notify_supervisor("relative/socket", "READY=1").is_ok());
  EXPECT_FALSE(notify_supervisor("@", "READY=1").is_ok());
  EXPECT_FALSE(notify_supervisor("/" + std::string(200, 'x'), "READY=1").is_ok());
}

}  // namespace
}  // namespace fairlead::server
