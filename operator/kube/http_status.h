// The API server's answers as Status. Used by the client only; the simulated server's front has the reverse direction
// written out by itself, so that a mistake here cannot hide there.
#pragma once

#include <string>

#include "base/status.h"
#include "operator/kube/object.h"

namespace fairlead::kube {

// `http_code` >= 400; `body` is a metav1.Status object, or null JSON when the answer had none. `raw` is then quoted.
Status status_from_answer(int http_code, const Json& body, const std::string& raw);

}  // namespace fairlead::kube
