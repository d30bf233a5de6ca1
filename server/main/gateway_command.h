// `gateway start`: from its flags to a running proxy.TcpProxy.
#pragma once

#include "server/main/sub_command.h"

namespace fairlead::server {

int run_gateway(const ProxyOptions& options);  // until a signal; the process's exit code

}  // namespace fairlead::server
