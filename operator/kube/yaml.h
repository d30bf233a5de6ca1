// YAML to JSON with the types Kubernetes gives plain scalars: null, booleans (true and false only, as YAML 1.2), whole
// and floating numbers, strings; quoted scalars are strings. No exceptions leave here.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "operator/kube/object.h"

namespace fairlead::kube {

// Every document of the text; empty documents are left out.
Result<std::vector<Json>> parse_yaml(const std::string& text);
Result<std::vector<Json>> parse_yaml_file(const std::string& path);
Result<std::string> read_file(const std::string& path);

}  // namespace fairlead::kube
