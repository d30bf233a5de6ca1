#include "operator/kube/object.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <ctime>

namespace fairlead::kube {

std::string Gvr::api_version() const { return group.empty() ? version : group + "/" + version; }

std::string Gvr::to_string() const {
  return group.empty() ? resource + "." + version : resource + "." + version + "." + group;
}

std::string ObjectKey::to_string() const { return ns.empty() ? name : ns + "/" + name; }

ObjectKey ObjectKey::parse(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return {"", std::string(text)};
  return {std::string(text.substr(0, slash)), std::string(text.substr(slash + 1))};
}

const Json& at(const Json& object, std::initializer_list<std::string_view> path) {
  static const Json kNull;
  const Json* node = &object;
  for (std::string_view step : path) {
    if (!node->is_object()) return kNull;
    auto it = node->find(step);
    if (it == node->end()) return kNull;
    node = &*it;
  }
  return *node;
}

std::string string_at(const Json& object, std::initializer_list<std::string_view> path) {
  const Json& node = at(object, path);
  return node.is_string() ? node.get<std::string>() : std::string();
}

int64_t int_at(const Json& object, std::initializer_list<std::string_view> path, int64_t otherwise) {
  const Json& node = at(object, path);
  return node.is_number_integer() ? node.get<int64_t>() : otherwise;
}

bool bool_at(const Json& object, std::initializer_list<std::string_view> path, bool otherwise) {
  const Json& node = at(object, path);
  return node.is_boolean() ? node.get<bool>() : otherwise;
}

ObjectKey key_of(const Json& object) { return {namespace_of(object), name_of(object)}; }
std::string name_of(const Json& object) { return string_at(object, {"metadata", "name"}); }
std::string namespace_of(const Json& object) { return string_at(object, {"metadata", "namespace"}); }
std::string uid_of(const Json& object) { return string_at(object, {"metadata", "uid"}); }
std::string resource_version_of(const Json& object) { return string_at(object, {"metadata", "resourceVersion"}); }
int64_t generation_of(const Json& object) { return int_at(object, {"metadata", "generation"}); }

std::map<std::string, std::string> labels_of(const Json& object) {
  std::map<std::string, std::string> labels;
  const Json& node = at(object, {"metadata", "labels"});
  if (!node.is_object()) return labels;
  for (const auto& [key, value] : node.items()) {
    if (value.is_string()) labels[key] = value.get<std::string>();
  }
  return labels;
}

bool is_terminating(const Json& object) { return at(object, {"metadata", "deletionTimestamp"}).is_string(); }

bool has_finalizer(const Json& object, std::string_view finalizer) {
  const Json& list = at(object, {"metadata", "finalizers"});
  if (!list.is_array()) return false;
  return std::any_of(list.begin(), list.end(),
                     [&](const Json& f) { return f.is_string() && f.get_ref<const std::string&>() == finalizer; });
}

const Json& controller_of(const Json& object) {
  static const Json kNull;
  const Json& owners = at(object, {"metadata", "ownerReferences"});
  if (!owners.is_array()) return kNull;
  for (const Json& owner : owners) {
    if (bool_at(owner, {"controller"})) return owner;
  }
  return kNull;
}

Json controller_reference(const Json& owner) {
  return {{"apiVersion", string_at(owner, {"apiVersion"})},
          {"kind", string_at(owner, {"kind"})},
          {"name", name_of(owner)},
          {"uid", uid_of(owner)},
          {"controller", true},
          {"blockOwnerDeletion", true}};
}

// ---- label selectors ----

namespace {

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

// Splits at commas that are not inside parentheses.
std::vector<std::string_view> split_requirements(std::string_view text) {
  std::vector<std::string_view> parts;
  size_t start = 0;
  int depth = 0;
  for (size_t i = 0; i <= text.size(); i++) {
    if (i == text.size() || (text[i] == ',' && depth == 0)) {
      parts.push_back(trim(text.substr(start, i - start)));
      start = i + 1;
    } else if (text[i] == '(') {
      depth++;
    } else if (text[i] == ')') {
      depth--;
    }
  }
  return parts;
}

bool is_label_key(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '/';
  });
}

bool parse_value_set(std::string_view text, std::vector<std::string>* values) {
  text = trim(text);
  if (text.size() < 2 || text.front() != '(' || text.back() != ')') return false;
  text = text.substr(1, text.size() - 2);
  for (std::string_view value : split_requirements(text)) values->emplace_back(value);
  return true;
}

}  // namespace

Result<LabelSelector> LabelSelector::parse(std::string_view text) {
  LabelSelector selector;
  if (trim(text).empty()) return selector;
  for (std::string_view part : split_requirements(text)) {
    Requirement r;
    if (size_t set = part.find('('); set != std::string_view::npos) {
      std::string_view head = trim(part.substr(0, set));
      const bool negative = head.size() > 6 && head.substr(head.size() - 6) == " notin";
      const bool positive = head.size() > 3 && head.substr(head.size() - 3) == " in";
      if (!negative && !positive) return invalid_argument("label selector: cannot read '" + std::string(part) + "'");
      r.op = negative ? Op::kNotIn : Op::kIn;
      r.key = std::string(trim(head.substr(0, head.size() - (negative ? 6 : 3))));
      if (!parse_value_set(part.substr(set), &r.values)) {
        return invalid_argument("label selector: cannot read '" + std::string(part) + "'");
      }
    } else if (size_t ne = part.find("!="); ne != std::string_view::npos) {
      r = {std::string(trim(part.substr(0, ne))), Op::kNotIn, {std::string(trim(part.substr(ne + 2)))}};
    } else if (size_t eq = part.find('='); eq != std::string_view::npos) {
      size_t value = eq + 1;
      if (value < part.size() && part[value] == '=') value++;
      r = {std::string(trim(part.substr(0, eq))), Op::kIn, {std::string(trim(part.substr(value)))}};
    } else if (!part.empty() && part.front() == '!') {
      r = {std::string(trim(part.substr(1))), Op::kNotExists, {}};
    } else {
      r = {std::string(part), Op::kExists, {}};
    }
    if (!is_label_key(r.key)) return invalid_argument("label selector: cannot read '" + std::string(part) + "'");
    selector.requirements_.push_back(std::move(r));
  }
  return selector;
}

bool LabelSelector::matches(const std::map<std::string, std::string>& labels) const {
  for (const Requirement& r : requirements_) {
    auto it = labels.find(r.key);
    const bool present = it != labels.end();
    const bool listed = present && std::find(r.values.begin(), r.values.end(), it->second) != r.values.end();
    switch (r.op) {
      case Op::kIn:
        if (!listed) return false;
        break;
      case Op::kNotIn:
        if (listed) return false;
        break;  // an absent label is "not in", as in Kubernetes
      case Op::kExists:
        if (!present) return false;
        break;
      case Op::kNotExists:
        if (present) return false;
        break;
    }
  }
  return true;
}

// ---- time ----

namespace {

std::string format_seconds(int64_t wall_ms) {
  const time_t seconds = static_cast<time_t>(wall_ms / 1000);
  std::tm tm{};
  gmtime_r(&seconds, &tm);
  char text[32];
  const size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
  return std::string(text, n);
}

}  // namespace

std::string format_time(int64_t wall_ms) { return format_seconds(wall_ms) + "Z"; }

std::string format_micro_time(int64_t wall_ms) {
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%03d000Z", static_cast<int>(wall_ms % 1000));
  return format_seconds(wall_ms) + fraction;
}

Result<int64_t> parse_time(std::string_view text) {
  const std::string copy(text);
  std::tm tm{};
  const char* rest = strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &tm);
  if (rest == nullptr) return invalid_argument("not an RFC 3339 time: '" + copy + "'");
  int64_t ms = static_cast<int64_t>(timegm(&tm)) * 1000;
  if (*rest == '.') {
    int64_t unit = 100;
    for (rest++; std::isdigit(static_cast<unsigned char>(*rest)); rest++, unit /= 10) ms += (*rest - '0') * unit;
  }
  int hours = 0, minutes = 0;
  char sign = 0;
  if (std::sscanf(rest, "%c%2d:%2d", &sign, &hours, &minutes) == 3 && (sign == '+' || sign == '-')) {
    const int64_t offset = (hours * 60 + minutes) * int64_t{60'000};
    return sign == '+' ? ms - offset : ms + offset;
  }
  if (std::string_view(rest) != "Z") return invalid_argument("not an RFC 3339 time: '" + copy + "'");
  return ms;
}

}  // namespace fairlead::kube
