// Reads everything one decision needs, live from the API server and from the members (rule 13). No
// cache in between.
//
// Order matters: the cluster first (its resourceVersion guards every record written later), pods
// after the volumes, the members themselves last.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "operator/crd/types.h"
#include "operator/kube/api.h"
#include "operator/member/member.h"
#include "operator/plan/observed.h"

namespace fairlead::ops {

struct View {
  kube::Json cluster;  // as the API server sent it
  crd::Cluster parsed;
  std::map<std::string, kube::Json> members;  // FairleadMembers by name
  plan::Observed observed;
};

// kNotFound: the cluster is gone. kInvalidArgument: it cannot be understood (the text says which
// field).
Result<View> observe(kube::Api& api, member::Prober& prober, const kube::ObjectKey& key, int64_t now_ms,
                     std::vector<std::string> random_suffixes);

}  // namespace fairlead::ops
