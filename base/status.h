// Status and Result<T>: how every folder says that the world did something to us. No exception crosses a folder.
//
// The codes are gRPC's canonical ones (same numbers), so that the API edge can pass them on unchanged. A Status is one
// pointer, null when OK. Messages are for people: what is wrong, and what to do where that is known. Messages that a
// client sees are etcd's, to the letter ("etcdserver: ..."): Go clients match on them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/check.h"

namespace fairlead {

enum class Code : uint8_t {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

std::string_view code_name(Code code);  // "OK", "INVALID_ARGUMENT", ...

class [[nodiscard]] Status {
 public:
  Status() = default;  // OK
  Status(Code code, std::string message);
  Status(const Status& o) : rep_(o.rep_ ? std::make_unique<Rep>(*o.rep_) : nullptr) {}
  Status& operator=(const Status& o) {
    rep_ = o.rep_ ? std::make_unique<Rep>(*o.rep_) : nullptr;
    return *this;
  }
  Status(Status&&) noexcept = default;
  Status& operator=(Status&&) noexcept = default;

  static Status ok() { return {}; }
  bool is_ok() const { return rep_ == nullptr; }
  Code code() const { return rep_ ? rep_->code : Code::kOk; }
  std::string_view message() const { return rep_ ? std::string_view(rep_->message) : std::string_view(); }
  std::string to_string() const;  // "OK" or "NOT_FOUND: message"

  bool operator==(const Status& o) const { return code() == o.code() && message() == o.message(); }

 private:
  struct Rep {
    Code code;
    std::string message;
  };
  std::unique_ptr<Rep> rep_;
};

// Shorthands for the codes used inside the process.
Status invalid_argument(std::string message);
Status not_found(std::string message);
Status failed_precondition(std::string message);
Status unavailable(std::string message);
Status internal_error(std::string message);
Status data_loss(std::string message);                // damage: names file and offset
Status io_error(std::string what, int error_number);  // kUnknown, "what: strerror"

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : rep_(std::in_place_index<0>, std::move(value)) {}        // NOLINT: implicit on purpose
  Result(Status status) : rep_(std::in_place_index<1>, std::move(status)) {  // NOLINT
    CHECK(!std::get<1>(rep_).is_ok(), "a Result without a value needs an error");
  }

  bool is_ok() const { return rep_.index() == 0; }
  Status status() const { return is_ok() ? Status() : std::get<1>(rep_); }
  Code code() const { return is_ok() ? Code::kOk : std::get<1>(rep_).code(); }

  T& value() & {
    CHECK(is_ok());
    return std::get<0>(rep_);
  }
  const T& value() const& {
    CHECK(is_ok());
    return std::get<0>(rep_);
  }
  T&& value() && {
    CHECK(is_ok());
    return std::move(std::get<0>(rep_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Status> rep_;
};

}  // namespace fairlead

// Return early with the error of a Status or Result expression.
#define RETURN_IF_ERROR(expression)                                                                    \
  do {                                                                                                 \
    if (::fairlead::Status status_macro_ = (expression); !status_macro_.is_ok()) return status_macro_; \
  } while (0)
#define FAIRLEAD_CONCAT_2(a, b) a##b
#define FAIRLEAD_CONCAT(a, b) FAIRLEAD_CONCAT_2(a, b)
#define ASSIGN_OR_RETURN(declaration, expression) \
  ASSIGN_OR_RETURN_IMPL(FAIRLEAD_CONCAT(result_macro_, __LINE__), declaration, expression)
#define ASSIGN_OR_RETURN_IMPL(temp, declaration, expression) \
  auto temp = (expression);                                  \
  if (!temp.is_ok()) return temp.status();                   \
  declaration = std::move(temp).value()
