// The versions that our programs tell.
#pragma once

#include <string_view>

namespace fairlead {

inline constexpr std::string_view kFairleadVersion = "0.1.0";
// The level of etcd's API that is served and spoken; what clients and dashboards see.
inline constexpr std::string_view kEtcdVersion = "3.7.1";

}  // namespace fairlead
