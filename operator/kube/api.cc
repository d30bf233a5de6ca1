#include "operator/kube/api.h"

#include <utility>

namespace fairlead::kube {

bool outcome_unknown(const Status& status) {
  return status.code() == Code::kDeadlineExceeded || status.code() == Code::kInternal;
}

bool is_transient(const Status& status) {
  switch (status.code()) {
    case Code::kUnavailable:
    case Code::kResourceExhausted:
    case Code::kDeadlineExceeded:
    case Code::kInternal:
      return true;
    default:
      return false;
  }
}

std::string_view verb_name(Verb verb) {
  switch (verb) {
    case Verb::kGet:
      return "get";
    case Verb::kList:
      return "list";
    case Verb::kCreate:
      return "create";
    case Verb::kReplace:
      return "replace";
    case Verb::kApply:
      return "apply";
    case Verb::kMergePatch:
      return "merge-patch";
    case Verb::kDelete:
      return "delete";
  }
  return "?";
}

namespace {

Request write_request(Verb verb, const Gvr& gvr, ObjectKey key, Json body, WriteOptions options) {
  Request r;
  r.verb = verb;
  r.gvr = gvr;
  r.key = std::move(key);
  r.body = std::move(body);
  r.subresource = std::move(options.subresource);
  r.field_manager = std::move(options.field_manager);
  r.force = options.force;
  return r;
}

}  // namespace

Result<Json> Api::get(const Gvr& gvr, const ObjectKey& key, std::string resource_version) {
  Request r;
  r.verb = Verb::kGet;
  r.gvr = gvr;
  r.key = key;
  r.resource_version = std::move(resource_version);
  return call(r);
}

Result<ObjectList> Api::list(const Gvr& gvr, const ListOptions& options) {
  Request r;
  r.verb = Verb::kList;
  r.gvr = gvr;
  r.key.ns = options.ns;
  r.label_selector = options.label_selector;
  r.resource_version = options.resource_version;
  r.limit = options.limit;
  ASSIGN_OR_RETURN(Json answer, call(r));
  const Json& items = at(answer, {"items"});
  if (!items.is_array()) return internal_error("list " + gvr.to_string() + ": the answer has no items");
  ObjectList list;
  list.resource_version = string_at(answer, {"metadata", "resourceVersion"});
  for (Json& item : answer["items"]) list.items.push_back(std::move(item));
  return list;
}

Result<Json> Api::create(const Gvr& gvr, Json object, WriteOptions options) {
  ObjectKey key = key_of(object);
  return call(write_request(Verb::kCreate, gvr, std::move(key), std::move(object), std::move(options)));
}

Result<Json> Api::replace(const Gvr& gvr, Json object, WriteOptions options) {
  ObjectKey key = key_of(object);
  return call(write_request(Verb::kReplace, gvr, std::move(key), std::move(object), std::move(options)));
}

Result<Json> Api::apply(const Gvr& gvr, Json config, WriteOptions options) {
  ObjectKey key = key_of(config);
  return call(write_request(Verb::kApply, gvr, std::move(key), std::move(config), std::move(options)));
}

Result<Json> Api::merge_patch(const Gvr& gvr, const ObjectKey& key, Json patch, WriteOptions options) {
  return call(write_request(Verb::kMergePatch, gvr, key, std::move(patch), std::move(options)));
}

Status Api::remove(const Gvr& gvr, const ObjectKey& key, const DeleteOptions& options) {
  Request r;
  r.verb = Verb::kDelete;
  r.gvr = gvr;
  r.key = key;
  r.uid = options.uid;
  r.expected_resource_version = options.resource_version;
  r.grace_period_seconds = options.grace_period_seconds;
  r.propagation = options.propagation;
  return call(r).status();
}

}  // namespace fairlead::kube
