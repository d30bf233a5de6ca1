#include "operator/sim/cel.h"

#include <cctype>
#include <charconv>
#include <cmath>
#include <map>
#include <regex>
#include <set>
#include <utility>
#include <vector>

namespace fairlead::apisim {

struct CelExpression::Node {
  enum class Kind { kLiteral, kName, kField, kIndex, kCall, kMethod, kUnary, kBinary, kConditional, kList, kHas };
  Kind kind = Kind::kLiteral;
  Json literal;
  std::string text;  // name, field, function or operator
  std::vector<std::shared_ptr<const Node>> args;
};

namespace {

using Node = CelExpression::Node;
using NodePtr = std::shared_ptr<const Node>;
using Kind = Node::Kind;

constexpr int kCelDepthMax = 100;
const char* const kQuantityTag = "\x01quantity";  // {tag: number}: no JSON field can be called so

const std::set<std::string> kFunctions = {"size", "int", "string", "quantity"};
const std::set<std::string> kMethods = {"size",       "startsWith",    "endsWith",   "contains",  "matches",
                                        "compareTo",  "isGreaterThan", "isLessThan", "all",       "exists",
                                        "exists_one", "filter",        "map",        "lowerAscii"};
const std::set<std::string> kMacros = {"all", "exists", "exists_one", "filter", "map"};

// ---- parsing ----

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<NodePtr> parse() {
    NodePtr node = conditional();
    skip_space();
    if (error_.empty() && at_ != text_.size()) fail("unexpected '" + std::string(text_.substr(at_, 10)) + "'");
    if (!error_.empty()) return invalid_argument("CEL: " + error_ + " in: " + std::string(text_));
    return node;
  }
  bool uses_old_self() const { return uses_old_self_; }

 private:
  static NodePtr make(Kind kind, std::string text, std::vector<NodePtr> args, Json literal = nullptr) {
    auto node = std::make_shared<Node>();
    node->kind = kind;
    node->text = std::move(text);
    node->args = std::move(args);
    node->literal = std::move(literal);
    return node;
  }
  NodePtr fail(std::string why) {
    if (error_.empty()) error_ = std::move(why);
    at_ = text_.size();
    return make(Kind::kLiteral, "", {});
  }
  void skip_space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) at_++;
  }
  bool take(std::string_view token) {
    skip_space();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  bool take_word(std::string_view word) {
    skip_space();
    const size_t end = at_ + word.size();
    if (text_.substr(at_, word.size()) != word) return false;
    if (end < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[end])) || text_[end] == '_')) return false;
    at_ = end;
    return true;
  }
  char peek() {
    skip_space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  NodePtr conditional() {
    if (++depth_ > kCelDepthMax) return fail("nested too deeply");
    NodePtr node = binary(0);
    if (take("?")) {
      NodePtr yes = conditional();
      if (!take(":")) return fail("':' expected");
      NodePtr no = conditional();
      node = make(Kind::kConditional, "?", {node, yes, no});
    }
    depth_--;
    return node;
  }

  NodePtr binary(size_t level) {
    static const std::vector<std::vector<std::string>> kLevels = {
        {"||"}, {"&&"}, {"==", "!=", "<=", ">=", "<", ">", "in"}, {"+", "-"}, {"*", "/", "%"}};
    if (level == kLevels.size()) return unary();
    NodePtr left = binary(level + 1);
    while (error_.empty()) {
      std::string found;
      for (const std::string& op : kLevels[level]) {
        if (op == "in" ? take_word(op) : take(op)) {
          found = op;
          break;
        }
      }
      if (found.empty()) return left;
      left = make(Kind::kBinary, found, {left, binary(level + 1)});
    }
    return left;
  }

  NodePtr unary() {
    if (++depth_ > kCelDepthMax) return fail("nested too deeply");
    NodePtr node;
    if (peek() == '!' && text_.substr(at_, 2) != "!=") {
      take("!");
      node = make(Kind::kUnary, "!", {unary()});
    } else if (take("-")) {
      node = make(Kind::kUnary, "-", {unary()});
    } else {
      node = member(primary());
    }
    depth_--;
    return node;
  }

  NodePtr member(NodePtr node) {
    while (error_.empty()) {
      if (take("[")) {
        NodePtr index = conditional();
        if (!take("]")) return fail("']' expected");
        node = make(Kind::kIndex, "", {node, index});
      } else if (peek() == '.') {
        take(".");
        const std::string name = identifier();
        if (name.empty()) return fail("a field name expected after '.'");
        if (!take("(")) {
          node = make(Kind::kField, name, {node});
          continue;
        }
        if (!kMethods.contains(name)) return fail("function '" + name + "' is not simulated");
        std::vector<NodePtr> args = arguments();
        args.insert(args.begin(), node);
        if (kMacros.contains(name) && (args.size() != 3 || args[1]->kind != Kind::kName)) {
          return fail(name + "(variable, expression) expected");
        }
        node = make(Kind::kMethod, name, std::move(args));
      } else {
        return node;
      }
    }
    return node;
  }

  std::vector<NodePtr> arguments() {
    std::vector<NodePtr> args;
    if (take(")")) return args;
    do {
      args.push_back(conditional());
    } while (error_.empty() && take(","));
    if (!take(")")) fail("')' expected");
    return args;
  }

  std::string identifier() {
    skip_space();
    const size_t start = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_')) at_++;
    return std::string(text_.substr(start, at_ - start));
  }

  NodePtr primary() {
    const char c = peek();
    if (c == '(') {
      take("(");
      NodePtr node = conditional();
      return take(")") ? node : fail("')' expected");
    }
    if (c == '[') return list();
    if (c == '\'' || c == '"') return string_literal(false);
    if (c == 'r' && at_ + 1 < text_.size() && (text_[at_ + 1] == '\'' || text_[at_ + 1] == '"')) {
      at_++;
      return string_literal(true);
    }
    if (std::isdigit(static_cast<unsigned char>(c))) return number();
    const std::string name = identifier();
    if (name.empty()) return fail("an expression expected");
    if (name == "true" || name == "false") return make(Kind::kLiteral, "", {}, name == "true");
    if (name == "null") return make(Kind::kLiteral, "", {}, nullptr);
    if (!take("(")) {
      uses_old_self_ |= name == "oldSelf";
      return make(Kind::kName, name, {});
    }
    std::vector<NodePtr> args = arguments();
    if (name == "has") {
      if (args.size() != 1 || args[0]->kind != Kind::kField) return fail("has() wants a field");
      return make(Kind::kHas, args[0]->text, args[0]->args);
    }
    if (!kFunctions.contains(name)) return fail("function '" + name + "' is not simulated");
    if (args.size() != 1) return fail(name + "() wants one argument");
    return make(Kind::kCall, name, std::move(args));
  }

  NodePtr list() {
    take("[");
    std::vector<NodePtr> items;
    if (take("]")) return make(Kind::kList, "", {});
    do {
      items.push_back(conditional());
    } while (error_.empty() && take(","));
    if (!take("]")) return fail("']' expected");
    return make(Kind::kList, "", std::move(items));
  }

  NodePtr string_literal(bool raw) {
    const char quote = text_[at_++];
    std::string value;
    while (at_ < text_.size() && text_[at_] != quote) {
      char c = text_[at_++];
      if (c == '\\' && !raw && at_ < text_.size()) {
        c = text_[at_++];
        if (c == 'n')
          c = '\n';
        else if (c == 't')
          c = '\t';
        else if (c != '\\' && c != '\'' && c != '"')
          return fail(std::string("escape \\") + c + " is not simulated");
      }
      value += c;
    }
    if (at_ == text_.size()) return fail("a string does not end");
    at_++;
    return make(Kind::kLiteral, "", {}, value);
  }

  NodePtr number() {
    const size_t start = at_;
    while (at_ < text_.size() && (std::isdigit(static_cast<unsigned char>(text_[at_])))) at_++;
    const bool real =
        at_ + 1 < text_.size() && text_[at_] == '.' && std::isdigit(static_cast<unsigned char>(text_[at_ + 1]));
    if (real) {
      at_++;
      while (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_]))) at_++;
    }
    const std::string digits(text_.substr(start, at_ - start));
    if (digits.size() > 18) return fail("number too long");
    if (real) return make(Kind::kLiteral, "", {}, std::stod(digits));
    return make(Kind::kLiteral, "", {}, static_cast<int64_t>(std::stoll(digits)));
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  std::string error_;
  bool uses_old_self_ = false;
};

// ---- evaluation ----

Status no_overload(const std::string& op) { return invalid_argument("no such overload: " + op); }

class Evaluator {
 public:
  std::map<std::string, Json> names;

  Result<Json> eval(const Node& n) {
    switch (n.kind) {
      case Kind::kLiteral:
        return n.literal;
      case Kind::kName: {
        auto it = names.find(n.text);
        if (it == names.end()) return invalid_argument("undeclared reference to '" + n.text + "'");
        return it->second;
      }
      case Kind::kField: {
        ASSIGN_OR_RETURN(const Json object, eval(*n.args[0]));
        if (!object.is_object() || !object.contains(n.text)) return invalid_argument("no such key: " + n.text);
        return object[n.text];
      }
      case Kind::kHas: {
        ASSIGN_OR_RETURN(const Json object, eval(*n.args[0]));
        return Json(object.is_object() && object.contains(n.text));
      }
      case Kind::kIndex:
        return index(n);
      case Kind::kList: {
        Json list = Json::array();
        for (const NodePtr& item : n.args) {
          ASSIGN_OR_RETURN(Json value, eval(*item));
          list.push_back(std::move(value));
        }
        return list;
      }
      case Kind::kConditional: {
        ASSIGN_OR_RETURN(const Json condition, eval(*n.args[0]));
        if (!condition.is_boolean()) return no_overload("?:");
        return eval(*n.args[condition.get<bool>() ? 1 : 2]);
      }
      case Kind::kUnary: {
        ASSIGN_OR_RETURN(const Json value, eval(*n.args[0]));
        if (n.text == "!" && value.is_boolean()) return Json(!value.get<bool>());
        if (n.text == "-" && value.is_number_integer()) return Json(-value.get<int64_t>());
        if (n.text == "-" && value.is_number()) return Json(-value.get<double>());
        return no_overload(n.text);
      }
      case Kind::kBinary:
        return binary(n);
      case Kind::kCall:
        return function(n);
      case Kind::kMethod:
        return kMacros.contains(n.text) ? macro(n) : method(n);
    }
    return internal_error("CEL: unknown node");
  }

 private:
  Result<Json> index(const Node& n) {
    ASSIGN_OR_RETURN(const Json object, eval(*n.args[0]));
    ASSIGN_OR_RETURN(const Json at, eval(*n.args[1]));
    if (object.is_array() && at.is_number_integer()) {
      const int64_t i = at.get<int64_t>();
      if (i < 0 || i >= static_cast<int64_t>(object.size())) return invalid_argument("index out of bounds");
      return object[static_cast<size_t>(i)];
    }
    if (object.is_object() && at.is_string()) {
      auto it = object.find(at.get_ref<const std::string&>());
      if (it == object.end()) return invalid_argument("no such key: " + at.get<std::string>());
      return *it;
    }
    return no_overload("_[_]");
  }

  Result<Json> logical(const Node& n) {
    const bool deciding = n.text == "||";
    Result<Json> left = eval(*n.args[0]);
    if (left.is_ok() && left->is_boolean() && left->get<bool>() == deciding) return Json(deciding);
    Result<Json> right = eval(*n.args[1]);
    if (right.is_ok() && right->is_boolean() && right->get<bool>() == deciding) return Json(deciding);
    RETURN_IF_ERROR(left.status());
    RETURN_IF_ERROR(right.status());
    if (!left->is_boolean() || !right->is_boolean()) return no_overload(n.text);
    return Json(!deciding);
  }

  Result<Json> binary(const Node& n) {
    if (n.text == "||" || n.text == "&&") return logical(n);
    ASSIGN_OR_RETURN(const Json a, eval(*n.args[0]));
    ASSIGN_OR_RETURN(const Json b, eval(*n.args[1]));
    if (n.text == "==") return Json(a == b);
    if (n.text == "!=") return Json(a != b);
    if (n.text == "in") {
      if (b.is_array()) return Json(std::find(b.begin(), b.end(), a) != b.end());
      if (b.is_object() && a.is_string()) return Json(b.contains(a.get<std::string>()));
      return no_overload("in");
    }
    if (n.text == "+" || n.text == "-" || n.text == "*" || n.text == "/" || n.text == "%")
      return arithmetic(n.text, a, b);
    const bool comparable = (a.is_number() && b.is_number()) || (a.is_string() && b.is_string());
    if (!comparable) return no_overload(n.text);
    if (n.text == "<") return Json(a < b);
    if (n.text == "<=") return Json(a <= b);
    if (n.text == ">") return Json(a > b);
    return Json(a >= b);
  }

  static Result<Json> arithmetic(const std::string& op, const Json& a, const Json& b) {
    if (op == "+" && a.is_string() && b.is_string()) return Json(a.get<std::string>() + b.get<std::string>());
    if (op == "+" && a.is_array() && b.is_array()) {
      Json sum = a;
      for (const Json& item : b) sum.push_back(item);
      return sum;
    }
    if (a.is_number_integer() && b.is_number_integer()) {
      const int64_t x = a.get<int64_t>(), y = b.get<int64_t>();
      if (op == "+") return Json(x + y);
      if (op == "-") return Json(x - y);
      if (op == "*") return Json(x * y);
      if (y == 0) return invalid_argument("division by zero");
      return Json(op == "/" ? x / y : x % y);
    }
    if (a.is_number() && b.is_number() && op != "%") {
      const double x = a.get<double>(), y = b.get<double>();
      if (op == "+") return Json(x + y);
      if (op == "-") return Json(x - y);
      if (op == "*") return Json(x * y);
      return Json(x / y);
    }
    return no_overload(op);
  }

  static Result<Json> size_of(const Json& value) {
    if (value.is_array() || value.is_object()) return Json(static_cast<int64_t>(value.size()));
    if (!value.is_string()) return no_overload("size");
    int64_t characters = 0;
    for (unsigned char c : value.get_ref<const std::string&>()) characters += (c & 0xC0) != 0x80;
    return Json(characters);
  }

  Result<Json> function(const Node& n) {
    ASSIGN_OR_RETURN(const Json value, eval(*n.args[0]));
    if (n.text == "size") return size_of(value);
    if (n.text == "string") {
      if (value.is_string()) return value;
      if (value.is_boolean() || value.is_number()) return Json(value.dump());
    }
    if (n.text == "int") {
      if (value.is_number()) return Json(static_cast<int64_t>(value.get<double>()));
      if (value.is_string()) {
        const std::string& text = value.get_ref<const std::string&>();
        int64_t whole = 0;
        auto [p, e] = std::from_chars(text.data(), text.data() + text.size(), whole);
        if (e != std::errc() || p != text.data() + text.size()) return invalid_argument("int(): not a number");
        return Json(whole);
      }
    }
    if (n.text == "quantity") {
      if (value.is_number()) return Json{{kQuantityTag, value.get<double>()}};
      if (value.is_string()) {
        ASSIGN_OR_RETURN(const double number, parse_quantity(value.get_ref<const std::string&>()));
        return Json{{kQuantityTag, number}};
      }
    }
    return no_overload(n.text);
  }

  Result<Json> method(const Node& n) {
    std::vector<Json> v;
    for (const NodePtr& arg : n.args) {
      ASSIGN_OR_RETURN(Json value, eval(*arg));
      v.push_back(std::move(value));
    }
    if (n.text == "size" && v.size() == 1) return size_of(v[0]);
    if (n.text == "lowerAscii" && v.size() == 1 && v[0].is_string()) {
      std::string text = v[0].get<std::string>();
      for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      return Json(text);
    }
    if (v.size() != 2) return no_overload(n.text);
    if (v[0].is_string() && v[1].is_string()) {
      const std::string& s = v[0].get_ref<const std::string&>();
      const std::string& t = v[1].get_ref<const std::string&>();
      if (n.text == "startsWith") return Json(s.starts_with(t));
      if (n.text == "endsWith") return Json(s.ends_with(t));
      if (n.text == "contains") return Json(s.find(t) != std::string::npos);
      if (n.text == "matches") {
        try {
          return Json(std::regex_search(s, std::regex(t)));
        } catch (const std::regex_error&) {
          return invalid_argument("matches(): cannot read the expression " + t);
        }
      }
    }
    if (v[0].is_object() && v[1].is_object() && v[0].contains(kQuantityTag) && v[1].contains(kQuantityTag)) {
      const double a = v[0][kQuantityTag].get<double>(), b = v[1][kQuantityTag].get<double>();
      if (n.text == "isGreaterThan") return Json(a > b);
      if (n.text == "isLessThan") return Json(a < b);
      if (n.text == "compareTo") return Json(static_cast<int64_t>(a < b ? -1 : a > b ? 1 : 0));
    }
    return no_overload(n.text);
  }

  Result<Json> macro(const Node& n) {
    ASSIGN_OR_RETURN(const Json range, eval(*n.args[0]));
    if (!range.is_array() && !range.is_object()) return no_overload(n.text);
    const std::string& variable = n.args[1]->text;
    const auto shadowed = names.find(variable);
    const bool had = shadowed != names.end();
    const Json before = had ? shadowed->second : Json();
    Json kept = Json::array();
    int64_t matched = 0;
    Status error;
    for (auto it = range.begin(); it != range.end(); ++it) {
      const Json item = range.is_object() ? Json(it.key()) : *it;
      names[variable] = item;
      Result<Json> verdict = eval(*n.args[2]);
      if (!verdict.is_ok()) {
        if (error.is_ok()) error = verdict.status();
        continue;
      }
      if (n.text == "map") {
        kept.push_back(*verdict);
        continue;
      }
      if (!verdict->is_boolean()) {
        error = no_overload(n.text);
        continue;
      }
      matched += verdict->get<bool>();
      if (verdict->get<bool>() && n.text == "filter") kept.push_back(item);
      const bool decided = (n.text == "all" && !verdict->get<bool>()) || (n.text == "exists" && verdict->get<bool>());
      if (decided) {
        error = Status();
        break;
      }
    }
    const int64_t total = static_cast<int64_t>(range.size());
    if (had)
      names[variable] = before;
    else
      names.erase(variable);
    RETURN_IF_ERROR(error);
    if (n.text == "all") return Json(matched == total);
    if (n.text == "exists") return Json(matched > 0);
    if (n.text == "exists_one") return Json(matched == 1);
    return kept;
  }
};

}  // namespace

Result<std::shared_ptr<const CelExpression>> CelExpression::parse(std::string_view text) {
  Parser parser(text);
  ASSIGN_OR_RETURN(NodePtr root, parser.parse());
  auto expression = std::make_shared<CelExpression>();
  expression->root_ = std::move(root);
  expression->uses_old_self_ = parser.uses_old_self();
  return std::shared_ptr<const CelExpression>(std::move(expression));
}

Result<Json> CelExpression::evaluate(const Json& self, const Json* old_self) const {
  Evaluator evaluator;
  evaluator.names["self"] = self;
  if (old_self != nullptr) evaluator.names["oldSelf"] = *old_self;
  return evaluator.eval(*root_);
}

Result<double> parse_quantity(std::string_view text) {
  static const std::map<std::string_view, double> kUnits = {{"", 1},
                                                            {"n", 1e-9},
                                                            {"u", 1e-6},
                                                            {"m", 1e-3},
                                                            {"k", 1e3},
                                                            {"M", 1e6},
                                                            {"G", 1e9},
                                                            {"T", 1e12},
                                                            {"P", 1e15},
                                                            {"E", 1e18},
                                                            {"Ki", 1024},
                                                            {"Mi", 1048576},
                                                            {"Gi", 1073741824},
                                                            {"Ti", 1099511627776.0},
                                                            {"Pi", 1125899906842624.0},
                                                            {"Ei", 1152921504606846976.0}};
  double number = 0;
  auto [p, e] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (e != std::errc()) return invalid_argument("not a quantity: '" + std::string(text) + "'");
  const auto unit = kUnits.find(text.substr(static_cast<size_t>(p - text.data())));
  if (unit == kUnits.end()) return invalid_argument("not a quantity: '" + std::string(text) + "'");
  return number * unit->second;
}

}  // namespace fairlead::apisim
