// Tells systemd how far the service is (sd_notify(3): one datagram to the socket that NOTIFY_SOCKET names; a leading
// '@' is the abstract name space). Without the variable nothing happens. The datagram is sent without waiting.
//
// Used by the server and by the sub-commands: "READY=1" when clients are served, as etcd does, and "STOPPING=1" when an
// orderly stop begins.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace fairlead::server {

// socket: the value of NOTIFY_SOCKET; empty is success. An error says which address could not be reached and why.
Status notify_supervisor(const std::string& socket, std::string_view state);

}  // namespace fairlead::server
