#include "base/status.h"

#include <cstring>

namespace fairlead {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kOk:
      return "OK";
    case Code::kCancelled:
      return "CANCELLED";
    case Code::kUnknown:
      return "UNKNOWN";
    case Code::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case Code::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case Code::kNotFound:
      return "NOT_FOUND";
    case Code::kAlreadyExists:
      return "ALREADY_EXISTS";
    case Code::kPermissionDenied:
      return "PERMISSION_DENIED";
    case Code::kResourceExhausted:
      return "RESOURCE_EXHAUSTED";
    case Code::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case Code::kAborted:
      return "ABORTED";
    case Code::kOutOfRange:
      return "OUT_OF_RANGE";
    case Code::kUnimplemented:
      return "UNIMPLEMENTED";
    case Code::kInternal:
      return "INTERNAL";
    case Code::kUnavailable:
      return "UNAVAILABLE";
    case Code::kDataLoss:
      return "DATA_LOSS";
    case Code::kUnauthenticated:
      return "UNAUTHENTICATED";
  }
  return "?";
}

Status::Status(Code code, std::string message) {
  if (code != Code::kOk) rep_ = std::make_unique<Rep>(Rep{code, std::move(message)});
}

std::string Status::to_string() const {
  if (is_ok()) return "OK";
  return std::string(code_name(code())) + ": " + std::string(message());
}

Status invalid_argument(std::string m) { return {Code::kInvalidArgument, std::move(m)}; }
Status not_found(std::string m) { return {Code::kNotFound, std::move(m)}; }
Status failed_precondition(std::string m) { return {Code::kFailedPrecondition, std::move(m)}; }
Status unavailable(std::string m) { return {Code::kUnavailable, std::move(m)}; }
Status internal_error(std::string m) { return {Code::kInternal, std::move(m)}; }
Status data_loss(std::string m) { return {Code::kDataLoss, std::move(m)}; }
Status io_error(std::string what, int error_number) {
  return {Code::kUnknown, std::move(what) + ": " + std::strerror(error_number)};
}

}  // namespace fairlead
