// Who owns which field: metadata.managedFields, and server-side apply on top of it (Kubernetes' "structured merge").
//
// A field is a path of elements as FieldsV1 writes them: f:NAME, k:{KEYS} for an item of a map list, v:VALUE for an
// item of a set. Objects are granular, lists atomic unless the schema (custom resources) or the table in the .cc
// (built-in kinds: containers, env, ports, volumes, conditions, owner references, finalizers, ...) says otherwise.
//
// Pure functions of objects; the server decides when they run. Timestamps of entries are handed in.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "operator/kube/object.h"

namespace fairlead::apisim {

using kube::Json;

using FieldPath = std::vector<std::string>;
using FieldSet = std::set<FieldPath>;

struct Manager {
  std::string name;
  bool applies = false;  // operation Apply, else Update
  std::string subresource;
  FieldSet fields;
  std::string time;
};

// The fields of `object` that a writer of `subresource` ("" or "status") can own. `schema`: of the custom resource, or
// null JSON for built-in kinds. `status_apart`: the kind has a status subresource.
FieldSet fields_of(const Json& object, const Json& schema, const std::string& subresource, bool status_apart);

std::vector<Manager> managers_of(const Json& object);
void set_managers(Json& object, const std::string& api_version, const std::vector<Manager>& managers);

// A plain write (create, replace, patch) by `writer` turned `before` (null JSON: created) into `after`.
void track_update(std::vector<Manager>& managers, const std::string& writer, const std::string& subresource,
                  const Json& before, const Json& after, const Json& schema, bool status_apart,
                  const std::string& time);

// Merges `config` into `live` as `writer`'s whole opinion: fields it no longer names and nobody else owns go away.
// kAborted: other managers own fields with other values (listed), and `force` is not set.
struct ApplyInput {
  Json live;  // null JSON: create
  Json config;
  std::string writer;
  std::string subresource;
  bool force = false;
  bool status_apart = false;
  std::string time;
};
Result<Json> apply_config(const ApplyInput& input, const Json& schema, std::vector<Manager>& managers);

}  // namespace fairlead::apisim
