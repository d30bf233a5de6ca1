// The request on its way through the server. Internal to server.cc and server_write.cc.
#pragma once

#include <string>

#include "operator/sim/server.h"

namespace fairlead::apisim {

struct Server::Write {
  const Request& request;
  const ResourceInfo& info;
  const std::string& actor;

  const Json& schema() const {
    static const Json kNone;
    return info.schema ? info.schema->root() : kNone;
  }
  // The kind as the server's messages name it: "pods", "fairleadclusters.fairlead.io".
  std::string resource() const {
    return info.gvr.group.empty() ? info.gvr.resource : info.gvr.resource + "." + info.gvr.group;
  }
  std::string field_manager() const { return request.field_manager.empty() ? "unknown" : request.field_manager; }
};

}  // namespace fairlead::apisim
