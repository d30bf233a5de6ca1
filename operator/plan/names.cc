#include <cstdio>

#include "base/crc32c.h"
#include "operator/plan/plan.h"

namespace fairlead::plan {

int quorum(int voters) { return voters / 2 + 1; }

std::string volume_name(const std::string& member) { return "data-" + member; }
std::string peer_service_name(const std::string& cluster) { return cluster + "-peer"; }
std::string client_service_name(const std::string& cluster) { return cluster + "-client"; }
std::string budget_name(const std::string& cluster) { return cluster; }

std::string template_id(const Target& target) {
  // The zero byte keeps "a" + "b" apart from "ab" + "".
  const std::string text = target.image + '\0' + target.resources + '\0' + (target.fix_permissions ? '1' : '0');
  char hex[9];
  std::snprintf(hex, sizeof hex, "%08x", crc32c(text));
  return hex;
}

std::string_view action_name(ActionKind kind) {
  switch (kind) {
    case ActionKind::kRecordIntent:
      return "RecordIntent";
    case ActionKind::kRecordTarget:
      return "RecordTarget";
    case ActionKind::kGrantNew:
      return "GrantNew";
    case ActionKind::kRecordStarted:
      return "RecordStarted";
    case ActionKind::kRecordClusterId:
      return "RecordClusterId";
    case ActionKind::kAddFinalizer:
      return "AddFinalizer";
    case ActionKind::kApplyPeerService:
      return "ApplyPeerService";
    case ActionKind::kApplyClientService:
      return "ApplyClientService";
    case ActionKind::kApplyBudget:
      return "ApplyBudget";
    case ActionKind::kCreateMember:
      return "CreateMember";
    case ActionKind::kCreateVolume:
      return "CreateVolume";
    case ActionKind::kCreatePod:
      return "CreatePod";
    case ActionKind::kDeletePod:
      return "DeletePod";
    case ActionKind::kDeleteMember:
      return "DeleteMember";
    case ActionKind::kDeleteVolume:
      return "DeleteVolume";
    case ActionKind::kReleaseMember:
      return "ReleaseMember";
    case ActionKind::kDeleteBudget:
      return "DeleteBudget";
    case ActionKind::kDeleteClientService:
      return "DeleteClientService";
    case ActionKind::kDeletePeerService:
      return "DeletePeerService";
    case ActionKind::kReleaseCluster:
      return "ReleaseCluster";
  }
  return "?";
}

std::string_view truth_name(Truth truth) {
  switch (truth) {
    case Truth::kFalse:
      return "False";
    case Truth::kTrue:
      return "True";
    case Truth::kUnknown:
      return "Unknown";
  }
  return "?";
}

}  // namespace fairlead::plan
