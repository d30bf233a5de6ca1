#include "operator/kube/yaml.h"

#include <yaml-cpp/yaml.h>

#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>

namespace fairlead::kube {

namespace {

constexpr int kYamlDepthMax = 100;

Json scalar(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!" || node.Tag() == "tag:yaml.org,2002:str") return text;  // quoted
  if (text.empty() || text == "null" || text == "~" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const char* begin = text.data();
  const char* end = begin + text.size();
  int64_t whole = 0;
  if (auto [p, e] = std::from_chars(begin, end, whole); e == std::errc() && p == end) return whole;
  const bool number_like = text.find_first_not_of("0123456789+-.eE") == std::string::npos;
  double real = 0;
  if (auto [p, e] = std::from_chars(begin, end, real); number_like && e == std::errc() && p == end) return real;
  return text;
}

Result<Json> convert(const YAML::Node& node, int depth) {
  if (depth > kYamlDepthMax) return invalid_argument("YAML: nested too deeply");
  switch (node.Type()) {
    case YAML::NodeType::Scalar:
      return scalar(node);
    case YAML::NodeType::Sequence: {
      Json list = Json::array();
      for (const auto& item : node) {
        ASSIGN_OR_RETURN(Json value, convert(item, depth + 1));
        list.push_back(std::move(value));
      }
      return list;
    }
    case YAML::NodeType::Map: {
      Json map = Json::object();
      for (const auto& item : node) {
        if (!item.first.IsScalar()) return invalid_argument("YAML: a key that is not a scalar");
        ASSIGN_OR_RETURN(Json value, convert(item.second, depth + 1));
        map[item.first.Scalar()] = std::move(value);
      }
      return map;
    }
    default:
      return Json(nullptr);
  }
}

}  // namespace

Result<std::vector<Json>> parse_yaml(const std::string& text) {
  std::vector<Json> documents;
  try {
    for (const YAML::Node& node : YAML::LoadAll(text)) {
      ASSIGN_OR_RETURN(Json document, convert(node, 0));
      if (!document.is_null()) documents.push_back(std::move(document));
    }
  } catch (const YAML::Exception& e) {
    return invalid_argument(std::string("YAML: ") + e.what());
  }
  return documents;
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return io_error("cannot read " + path, errno);
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad()) return io_error("cannot read " + path, errno);
  return text.str();
}

Result<std::vector<Json>> parse_yaml_file(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, read_file(path));
  Result<std::vector<Json>> documents = parse_yaml(text);
  if (!documents.is_ok()) return Status(documents.code(), path + ": " + std::string(documents.status().message()));
  return documents;
}

}  // namespace fairlead::kube
