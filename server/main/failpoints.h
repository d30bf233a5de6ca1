// What is behind base/failpoint.h in a test build: the terms of each failpoint, and the HTTP server that sets them, as
// gofail has it.
//
//   GET /             name=terms of every failpoint, sorted      GET /NAME          its terms; 404 when it has none
//   PUT /NAME         the body is its terms; 204                 GET /NAME/count    how often something was due
//   PUT /failpoints   "a=terms;b=terms"                          DELETE /NAME       no terms; 204
//
// Environment: GOFAIL_HTTP (HOST:PORT to listen on), GOFAIL_FAILPOINTS (terms from the start, as for PUT /failpoints).
//
// Threads: a thread of its own serves HTTP, so that a sleeping loop can be woken from outside. No process dies between
// the change that a request makes and its answer.
#pragma once

#ifdef FAIRLEAD_FAILPOINTS

#include <string>

#include "base/status.h"

namespace fairlead::server {

// Once, before anything else runs. Either may be empty.
Status start_failpoints(const std::string& http_address, const std::string& failpoints);

}  // namespace fairlead::server

#endif
