#include "operator/kube/http_status.h"

namespace fairlead::kube {

namespace {

Code code_of(int http_code, const std::string& reason) {
  switch (http_code) {
    case 400:
    case 415:
    case 422:
    case 413:
      return Code::kInvalidArgument;
    case 401:
      return Code::kUnauthenticated;
    case 403:
      return Code::kPermissionDenied;
    case 404:
      return Code::kNotFound;
    case 405:
      return Code::kUnimplemented;
    case 406:
      return Code::kInvalidArgument;
    case 409:
      return reason == "AlreadyExists" ? Code::kAlreadyExists : Code::kAborted;
    case 410:
      return Code::kOutOfRange;
    case 429:
      return Code::kResourceExhausted;
    case 503:
      return Code::kUnavailable;
    case 504:
      return Code::kDeadlineExceeded;
    default:
      return http_code >= 500 ? Code::kInternal : Code::kInvalidArgument;
  }
}

}  // namespace

Status status_from_answer(int http_code, const Json& body, const std::string& raw) {
  const std::string reason = string_at(body, {"reason"});
  std::string message = string_at(body, {"message"});
  if (message.empty()) message = raw.substr(0, 200);
  if (message.empty()) message = "no message";
  message += " (HTTP " + std::to_string(http_code) + (reason.empty() ? "" : " " + reason) + ")";
  return Status(code_of(http_code, reason), std::move(message));
}

}  // namespace fairlead::kube
