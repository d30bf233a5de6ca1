#include "operator/sim/schema.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <regex>
#include <set>

#include "operator/sim/cel.h"

namespace fairlead::apisim {

struct Schema::Rules {
  std::map<std::string, std::shared_ptr<const CelExpression>> by_text;
};

namespace {

const std::set<std::string> kKeywords = {"type",
                                         "nullable",
                                         "required",
                                         "properties",
                                         "additionalProperties",
                                         "items",
                                         "enum",
                                         "minimum",
                                         "maximum",
                                         "exclusiveMinimum",
                                         "exclusiveMaximum",
                                         "minLength",
                                         "maxLength",
                                         "minItems",
                                         "maxItems",
                                         "minProperties",
                                         "maxProperties",
                                         "pattern",
                                         "default",
                                         "format",
                                         "description",
                                         "title",
                                         "example",
                                         "x-kubernetes-int-or-string",
                                         "x-kubernetes-preserve-unknown-fields",
                                         "x-kubernetes-list-type",
                                         "x-kubernetes-list-map-keys",
                                         "x-kubernetes-map-type",
                                         "x-kubernetes-validations"};
const std::set<std::string> kFormats = {"int32", "int64", "date-time", "double", "float"};
const std::set<std::string> kRuleKeys = {"rule", "message", "messageExpression", "reason", "fieldPath"};

bool flag(const Json& schema, const char* name) { return kube::bool_at(schema, {name}); }

Status check_rules(const Json& schema, const std::string& path,
                   std::map<std::string, std::shared_ptr<const CelExpression>>* rules) {
  if (!schema.contains("x-kubernetes-validations")) return {};
  for (const Json& rule : schema["x-kubernetes-validations"]) {
    for (const auto& [key, value] : rule.items()) {
      if (!kRuleKeys.contains(key)) return invalid_argument(path + ": rule keyword '" + key + "' is not simulated");
    }
    for (const char* part : {"rule", "messageExpression"}) {
      const std::string text = kube::string_at(rule, {part});
      if (text.empty()) continue;
      ASSIGN_OR_RETURN((*rules)[text], CelExpression::parse(text));
    }
  }
  return {};
}

Status check_schema(const Json& schema, const std::string& path,
                    std::map<std::string, std::shared_ptr<const CelExpression>>* rules) {
  if (!schema.is_object()) return invalid_argument(path + ": a schema must be an object");
  for (const auto& [key, value] : schema.items()) {
    if (!kKeywords.contains(key)) return invalid_argument(path + ": keyword '" + key + "' is not simulated");
  }
  const std::string type = kube::string_at(schema, {"type"});
  const bool typed = !type.empty() || flag(schema, "x-kubernetes-int-or-string") ||
                     flag(schema, "x-kubernetes-preserve-unknown-fields");
  if (!typed) return invalid_argument(path + ": no type (structural schemas need one)");
  const std::string format = kube::string_at(schema, {"format"});
  if (!format.empty() && !kFormats.contains(format)) {
    return invalid_argument(path + ": format '" + format + "' is not simulated");
  }
  if (schema.contains("pattern")) {
    try {
      std::regex compiled(kube::string_at(schema, {"pattern"}));
    } catch (const std::regex_error&) {
      return invalid_argument(path + ": pattern is not an ECMAScript regular expression");
    }
  }
  RETURN_IF_ERROR(check_rules(schema, path, rules));
  if (schema.contains("properties")) {
    for (const auto& [name, child] : schema["properties"].items()) {
      RETURN_IF_ERROR(check_schema(child, path + "." + name, rules));
    }
  }
  if (schema.contains("additionalProperties") && schema["additionalProperties"].is_object()) {
    RETURN_IF_ERROR(check_schema(schema["additionalProperties"], path + "[*]", rules));
  }
  if (schema.contains("items")) RETURN_IF_ERROR(check_schema(schema["items"], path + "[]", rules));
  if (type == "array" && !schema.contains("items")) return invalid_argument(path + ": an array needs items");
  return {};
}

// The schema of a field, or null when the schema does not know it.
const Json* child_schema(const Json& schema, const std::string& field) {
  if (schema.contains("properties")) {
    auto it = schema["properties"].find(field);
    if (it != schema["properties"].end()) return &*it;
  }
  if (schema.contains("additionalProperties") && schema["additionalProperties"].is_object()) {
    return &schema["additionalProperties"];
  }
  return nullptr;
}

void prune_node(const Json& schema, Json& value) {
  if (value.is_array() && schema.contains("items")) {
    for (Json& item : value) prune_node(schema["items"], item);
    return;
  }
  if (!value.is_object()) return;
  const bool keeps = flag(schema, "x-kubernetes-preserve-unknown-fields");
  for (auto it = value.begin(); it != value.end();) {
    const Json* child = child_schema(schema, it.key());
    if (child != nullptr) {
      prune_node(*child, *it);
      ++it;
    } else if (keeps) {
      ++it;
    } else {
      it = value.erase(it);
    }
  }
}

void default_node(const Json& schema, Json& value) {
  if (value.is_array() && schema.contains("items")) {
    for (Json& item : value) default_node(schema["items"], item);
    return;
  }
  if (!value.is_object()) return;
  if (schema.contains("properties")) {
    for (const auto& [name, child] : schema["properties"].items()) {
      if (!child.contains("default")) continue;
      auto it = value.find(name);
      // a null that the schema does not allow counts as absent
      const bool absent = it == value.end() || (it->is_null() && !flag(child, "nullable"));
      if (absent) value[name] = child["default"];
    }
  }
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (const Json* child = child_schema(schema, it.key())) default_node(*child, *it);
  }
}

bool has_type(const Json& schema, const Json& value) {
  if (flag(schema, "x-kubernetes-int-or-string")) return value.is_number_integer() || value.is_string();
  const std::string type = kube::string_at(schema, {"type"});
  if (type.empty()) return true;
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "integer") {
    return value.is_number_integer() ||
           (value.is_number_float() &&
            value.get<double>() == static_cast<double>(static_cast<int64_t>(value.get<double>())));
  }
  return value.is_number();
}

size_t characters_in(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](unsigned char c) { return (c & 0xC0) != 0x80; }));
}

class Validator {
 public:
  explicit Validator(const std::map<std::string, std::shared_ptr<const CelExpression>>& rules) : rules_(rules) {}
  std::vector<std::string> errors;

  void check(const Json& schema, const Json& value, const Json* old_value, const std::string& path) {
    if (value.is_null() && flag(schema, "nullable")) return;
    if (!has_type(schema, value)) {
      const std::string type = kube::string_at(schema, {"type"});
      errors.push_back(path + ": Invalid value: " + brief(value) + ": must be of type " +
                       (type.empty() ? "integer or string" : type));
      return;
    }
    if (schema.contains("enum")) check_enum(schema["enum"], value, path);
    if (value.is_number()) check_number(schema, value, path);
    if (value.is_string()) check_string(schema, value.get_ref<const std::string&>(), path);
    if (value.is_array()) check_array(schema, value, old_value, path);
    if (value.is_object()) check_object(schema, value, old_value, path);
    check_rules_of(schema, value, old_value, path);
  }

 private:
  static std::string brief(const Json& value) { return value.dump().substr(0, 100); }
  void invalid(const std::string& path, const Json& value, const std::string& why) {
    errors.push_back(path + ": Invalid value: " + brief(value) + ": " + why);
  }

  void check_enum(const Json& values, const Json& value, const std::string& path) {
    if (std::find(values.begin(), values.end(), value) != values.end()) return;
    std::string supported;
    for (const Json& v : values) supported += (supported.empty() ? "" : ", ") + v.dump();
    errors.push_back(path + ": Unsupported value: " + brief(value) + ": supported values: " + supported);
  }

  void check_number(const Json& schema, const Json& value, const std::string& path) {
    const double number = value.get<double>();
    if (schema.contains("minimum")) {
      const double bound = schema["minimum"].get<double>();
      const bool open = flag(schema, "exclusiveMinimum");
      if (number < bound || (open && number == bound)) {
        invalid(path, value,
                path + " in body should be greater than " + (open ? "" : "or equal to ") + schema["minimum"].dump());
      }
    }
    if (schema.contains("maximum")) {
      const double bound = schema["maximum"].get<double>();
      const bool open = flag(schema, "exclusiveMaximum");
      if (number > bound || (open && number == bound)) {
        invalid(path, value,
                path + " in body should be less than " + (open ? "" : "or equal to ") + schema["maximum"].dump());
      }
    }
    if (kube::string_at(schema, {"format"}) == "int32" && (number < INT32_MIN || number > INT32_MAX)) {
      invalid(path, value, "must be a 32 bit integer");
    }
  }

  void check_string(const Json& schema, const std::string& text, const std::string& path) {
    const size_t length = characters_in(text);
    if (schema.contains("minLength") && length < schema["minLength"].get<size_t>()) {
      invalid(path, text, path + " in body should be at least " + schema["minLength"].dump() + " chars long");
    }
    if (schema.contains("maxLength") && length > schema["maxLength"].get<size_t>()) {
      errors.push_back(path + ": Too long: may not be more than " + schema["maxLength"].dump() + " bytes");
    }
    if (schema.contains("pattern")) {
      const std::string pattern = schema["pattern"].get<std::string>();
      if (!std::regex_search(text, std::regex(pattern)))
        invalid(path, text, path + " in body should match '" + pattern + "'");
    }
    if (kube::string_at(schema, {"format"}) == "date-time" && !kube::parse_time(text).is_ok()) {
      invalid(path, text, path + " in body must be of type date-time");
    }
  }

  void check_array(const Json& schema, const Json& value, const Json* old_value, const std::string& path) {
    if (schema.contains("minItems") && value.size() < schema["minItems"].get<size_t>()) {
      invalid(path, value, path + " in body should have at least " + schema["minItems"].dump() + " items");
    }
    if (schema.contains("maxItems") && value.size() > schema["maxItems"].get<size_t>()) {
      errors.push_back(path + ": Too many: must have at most " + schema["maxItems"].dump() + " items");
    }
    const std::string list_type = kube::string_at(schema, {"x-kubernetes-list-type"});
    std::set<std::string> seen;
    for (size_t i = 0; i < value.size(); i++) {
      const std::string item_path = path + "[" + std::to_string(i) + "]";
      const std::string identity = list_type == "map" ? map_key(schema, value[i]) : value[i].dump();
      const bool unique = list_type == "map" || list_type == "set";
      if (unique && !seen.insert(identity).second) errors.push_back(item_path + ": Duplicate value: " + identity);
      // only the items of a map list are matched with their old ones
      const Json* old_item =
          list_type == "map" && old_value != nullptr ? find_item(schema, *old_value, identity) : nullptr;
      check(schema["items"], value[i], old_item, item_path);
    }
  }

  static std::string map_key(const Json& schema, const Json& item) {
    Json key = Json::object();
    for (const Json& name : schema["x-kubernetes-list-map-keys"])
      key[name.get<std::string>()] = kube::at(item, {name.get<std::string>()});
    return key.dump();
  }
  static const Json* find_item(const Json& schema, const Json& list, const std::string& identity) {
    if (!list.is_array()) return nullptr;
    for (const Json& item : list) {
      if (map_key(schema, item) == identity) return &item;
    }
    return nullptr;
  }

  void check_object(const Json& schema, const Json& value, const Json* old_value, const std::string& path) {
    const std::string prefix = path.empty() ? "" : path + ".";
    if (schema.contains("required")) {
      for (const Json& name : schema["required"]) {
        if (!value.contains(name.get<std::string>()))
          errors.push_back(prefix + name.get<std::string>() + ": Required value");
      }
    }
    if (schema.contains("minProperties") && value.size() < schema["minProperties"].get<size_t>()) {
      invalid(path, value, path + " in body should have at least " + schema["minProperties"].dump() + " properties");
    }
    if (schema.contains("maxProperties") && value.size() > schema["maxProperties"].get<size_t>()) {
      errors.push_back(path + ": Too many: must have at most " + schema["maxProperties"].dump() + " items");
    }
    for (auto it = value.begin(); it != value.end(); ++it) {
      if (path.empty() && (it.key() == "metadata" || it.key() == "apiVersion" || it.key() == "kind")) continue;
      const Json* child = child_schema(schema, it.key());
      if (child == nullptr) continue;
      const Json* old_child = nullptr;
      if (old_value != nullptr && old_value->is_object() && old_value->contains(it.key()))
        old_child = &(*old_value)[it.key()];
      check(*child, *it, old_child, prefix + it.key());
    }
  }

  void check_rules_of(const Json& schema, const Json& value, const Json* old_value, const std::string& path) {
    if (!schema.contains("x-kubernetes-validations")) return;
    for (const Json& rule : schema["x-kubernetes-validations"]) {
      const std::string text = kube::string_at(rule, {"rule"});
      const CelExpression& expression = *rules_.at(text);
      if (expression.uses_old_self() && old_value == nullptr) continue;
      Result<Json> verdict = expression.evaluate(value, old_value);
      if (verdict.is_ok() && verdict->is_boolean() && verdict->get<bool>()) continue;
      std::string message = kube::string_at(rule, {"message"});
      if (const std::string how = kube::string_at(rule, {"messageExpression"}); !how.empty()) {
        Result<Json> built = rules_.at(how)->evaluate(value, old_value);
        if (built.is_ok() && built->is_string()) message = built->get<std::string>();
      }
      if (message.empty()) message = "failed rule: " + text;
      if (!verdict.is_ok()) message = "rule evaluation error: " + std::string(verdict.status().message()) + ": " + text;
      const std::string where = path + kube::string_at(rule, {"fieldPath"});
      errors.push_back((where.empty() ? "<nil>" : where) + ": Invalid value: " + message);
    }
  }

  const std::map<std::string, std::shared_ptr<const CelExpression>>& rules_;
};

}  // namespace

Result<std::shared_ptr<const Schema>> Schema::parse(const Json& open_api_v3) {
  auto rules = std::make_shared<Rules>();
  RETURN_IF_ERROR(check_schema(open_api_v3, "schema", &rules->by_text));
  return std::shared_ptr<const Schema>(new Schema(open_api_v3, std::move(rules)));
}

void Schema::prune(Json& object) const {
  const Json kept[] = {object.value("apiVersion", Json()), object.value("kind", Json()),
                       object.value("metadata", Json())};
  prune_node(root_, object);
  object["apiVersion"] = kept[0];
  object["kind"] = kept[1];
  object["metadata"] = kept[2];
}

void Schema::set_defaults(Json& object) const { default_node(root_, object); }

std::vector<std::string> Schema::validate(const Json& object, const Json* old_object) const {
  Validator validator(rules_->by_text);
  validator.check(root_, object, old_object, "");
  return validator.errors;
}

}  // namespace fairlead::apisim
