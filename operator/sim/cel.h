// The part of CEL (Common Expression Language) that our CustomResourceDefinitions use in x-kubernetes-validations.
//
// Done: literals (numbers, strings, booleans, null, lists), self and oldSelf, field and index access, has(),
// ! - * / % + - comparisons, in, && || ?:, size, the macros all, exists, exists_one, filter, map on lists (and keys of
// maps), the string functions startsWith, endsWith, contains, matches (ECMAScript regular expressions instead of
// RE2's), int(), string(), quantity() with isGreaterThan, isLessThan, compareTo, duration-free. Like CEL, && and ||
// forgive an error on one side when the other decides. Not done: everything else; an expression that uses it fails to
// parse, and with it the definition. Cost limits and type checking at definition time are left to the real API server,
// where the contract test installs the same files.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "operator/kube/object.h"

namespace fairlead::apisim {

using kube::Json;

class CelExpression {
 public:
  struct Node;
  static Result<std::shared_ptr<const CelExpression>> parse(std::string_view text);
  // `old_self` null: not bound. An error is what a rule that cannot be evaluated is: a failed rule.
  Result<Json> evaluate(const Json& self, const Json* old_self) const;
  bool uses_old_self() const { return uses_old_self_; }

 private:
  std::shared_ptr<const Node> root_;
  bool uses_old_self_ = false;
};

// Kubernetes quantities ("1Gi", "500m", "2"): the value as a number.
Result<double> parse_quantity(std::string_view text);

}  // namespace fairlead::apisim
