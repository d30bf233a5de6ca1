// `grpc-proxy start`: from its flags to a running proxy.GrpcProxy.
#pragma once

#include "server/main/sub_command.h"

namespace fairlead::server {

int run_grpc_proxy(const ProxyOptions& options);  // until a signal; the process's exit code

}  // namespace fairlead::server
