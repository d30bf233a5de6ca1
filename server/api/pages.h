// What the HTTP pages of several ports have in common.
#pragma once

#include "server/net/http.h"

namespace fairlead::api {

net::HttpResponse page_not_found();
// As Go's http.Error() writes it, which ends the line.
net::HttpResponse plain_error(int status, std::string_view text);

}  // namespace fairlead::api
