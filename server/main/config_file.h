// The config file of etcd 3.7: YAML or JSON (which is YAML), keys named as flags, with sections of its own for TLS,
// sockets and discovery. Durations are whole nanoseconds. It takes the place of every flag and variable.
//
// As with etcd, a value of the wrong kind ends the start and an unknown key does not; it gets a warning here.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "server/main/options.h"

namespace fairlead::server {

constexpr size_t kConfigFileBytesMax = 1 << 20;

Result<Options> options_from_file(const std::string& path);
Result<Options> options_from_text(std::string_view text);  // of a config file

}  // namespace fairlead::server
