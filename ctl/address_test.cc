#include "ctl/address.h"

#include <gtest/gtest.h>

namespace fairlead::ctl {
namespace {

TEST(Address, IsTakenApart) {
  struct Case {
    const char* text;
    bool secure_without_scheme;
    const char *host, *port, *path;
    bool secure;
    const char* shown;
  };
  for (const Case& c : {
           Case{"127.0.0.1:2379", false, "127.0.0.1", "2379", "", false, "127.0.0.1:2379"},
           {"127.0.0.1:2379", true, "127.0.0.1", "2379", "", true, "127.0.0.1:2379"},
           {"http://h:1/path", true, "h", "1", "", false, "h:1"},
           {"https://h:1", false, "h", "1", "", true, "h:1"},
           {"https://h", false, "h", "443", "", true, "h:443"},
           {"h", false, "h", "80", "", false, "h:80"},
           {"[::1]:2379", false, "::1", "2379", "", false, "[::1]:2379"},
           {"http://[fe80::1]", false, "fe80::1", "80", "", false, "[fe80::1]:80"},
           {"unix:///tmp/s", true, "", "", "/tmp/s", false, "/tmp/s"},
           {"unix://m0", false, "", "", "m0", false, "m0"},
           {"unix:localhost:m0", true, "", "", "localhost:m0", false, "localhost:m0"},
           {"unixs:/tmp/s", false, "", "", "/tmp/s", true, "/tmp/s"},
       }) {
    Address a = parse_address(c.text, c.secure_without_scheme);
    EXPECT_EQ(a.host, c.host) << c.text;
    EXPECT_EQ(a.port, c.port) << c.text;
    EXPECT_EQ(a.unix_path, c.path) << c.text;
    EXPECT_EQ(a.secure, c.secure) << c.text;
    EXPECT_EQ(a.text(), c.shown) << c.text;
  }
}

}  // namespace
}  // namespace fairlead::ctl
