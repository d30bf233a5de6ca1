// OpenAPI v3 structural schemas as CustomResourceDefinitions use them: checking, defaulting, pruning, and the list
// types that server-side apply needs.
//
// Done: type, nullable, required, properties, additionalProperties, items, enum, minimum/maximum (and exclusive),
// minLength/maxLength, minItems/maxItems, minProperties/maxProperties, pattern, default, x-kubernetes-int-or-string,
// x-kubernetes-preserve-unknown-fields, x-kubernetes-list-type and -list-map-keys (uniqueness too), format int32,
// int64, date-time, x-kubernetes-validations (cel.h). An unknown keyword fails parse(): a rule that is silently not
// checked would make the tests pass for the wrong reason.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "operator/kube/object.h"

namespace fairlead::apisim {

using kube::Json;

class Schema {
 public:
  static Result<std::shared_ptr<const Schema>> parse(const Json& open_api_v3);

  // Removes fields the schema does not know, then fills in defaults. apiVersion, kind and metadata of the root stay.
  void prune(Json& object) const;
  void set_defaults(Json& object) const;
  // Every violation, in kube-apiserver's order and manner ("spec.replicas: Invalid value: 9: ..."). `old_object` null:
  // a create. CEL rules that use oldSelf (transition rules) are checked only with an old object.
  std::vector<std::string> validate(const Json& object, const Json* old_object) const;

  // "atomic", "set" or "map" (with the keys) of the list at a schema node; for managed_fields.h.
  const Json& root() const { return root_; }

 private:
  struct Rules;  // the compiled CEL expressions
  Schema(Json root, std::shared_ptr<const Rules> rules) : root_(std::move(root)), rules_(std::move(rules)) {}
  Json root_;
  std::shared_ptr<const Rules> rules_;
};

}  // namespace fairlead::apisim
