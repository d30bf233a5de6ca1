// What the HTTP pages of several ports have in common.
#pragma once

#include "server/net/http.h"

namespace fairlead::api {

net::HttpResponse page_not_found();

}  // namespace fairlead::api
