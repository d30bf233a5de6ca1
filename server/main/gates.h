// The feature gates of etcd 3.7 (--feature-gates): "Name=true,Other=false"; later settings win; AllAlpha and AllBeta
// set what is not set by name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::server {

struct Gate {
  const char* name;
  bool on_by_default;
  const char* stage;   // ALPHA, BETA
  const char* effect;  // what it does here; where it can do nothing: why
  bool has_effect;
};

const std::vector<Gate>& all_gates();
// False for a gate that does not exist: ask only for names of the table.
bool gate_enabled(std::string_view settings, std::string_view name);
// The form, the names, and what a gate needs of another. Adds a warning for each gate that is set without effect.
Status check_gates(std::string_view settings, std::vector<std::string>& warnings);

}  // namespace fairlead::server
