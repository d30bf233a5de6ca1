// The short notation of testdata/*.txt, for tests: lines that set up Observed, and Decision as
// text.
//
//   cluster demo replicas=3 image=v1 [uid=C] [gen=1] [size=1] [class=x] [resources=x] [fix]
//   [nofinalizer] [terminating] [reclaim=Retain] intent none | intent demo-a[:member uid:volume
//   uid:member id] ... [image=v1] [replicas=3] [id=cluster id] member demo-a uid=Ma [owner=C]
//   [terminating] [nofinalizer] volume demo-a uid=Va [of=Ma] [in=C] [phase=Bound|Pending|Lost]
//   [terminating] pod demo-a uid=Pa [of=Ma] [Pending|Running|Succeeded|Failed] [ready] [image=v1]
//   [problem=x] [age=60] [terminating] service peer|client [owner=C] [drift] [terminating] budget
//   min=2 [owner=C] [drift] [terminating] endpoint demo-a id=1 cluster=7 leader=1 [learner]
//   [version=3.7.1] [db=20480] endpoint demo-a silent=30 [error=refused] list demo-a=1 ... | list
//   failed | list none        a name with a trailing "?" is a learner
//   member|volume|pod|service|endpoint NAME gone, budget gone
//   formed 3 | formed 1      a healthy cluster of that many members: demo-a, demo-b, demo-c
//   reset
//
// Ages are seconds before now. What is not said has the value of a healthy object.
#pragma once

#include <string>

#include "base/status.h"
#include "operator/plan/decision.h"
#include "operator/plan/observed.h"

namespace fairlead::plan {

Observed empty_observed();
Observed formed_observed(int members);
Status apply_line(const std::string& line, Observed* o);
std::string to_text(const Decision& decision, TimeMs now_ms);

}  // namespace fairlead::plan
