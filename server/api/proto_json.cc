#include "server/api/proto_json.h"

#include <google/protobuf/descriptor.h>

#include <charconv>
#include <vector>

#include "base/text.h"

namespace fairlead::api {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// ---- Syntax (encoding/json's scanner) -------------------------------------------------------------------------------

// A character as Go quotes it in the scanner's errors.
std::string quoted_char(char c) {
  if (c == '\'') return R"('\'')";
  if (c == '"') return R"('"')";
  if (c == '\\') return R"('\\')";
  auto u = static_cast<unsigned char>(c);
  std::string out = "'";
  static const char* kShort[] = {"\\a", "\\b", "\\t", "\\n", "\\v", "\\f", "\\r"};
  if (u >= 7 && u <= 13) {
    out += kShort[u - 7];
  } else if (u < 0x20 || u == 0x7f || (u >= 0x80 && u < 0xa1) || u == 0xad) {
    char text[8];
    snprintf(text, sizeof text, u < 0x80 ? "\\x%02x" : "\\u%04x", u);
    out += text;
  } else {
    append_rune(out, u);
  }
  return out + "'";
}

Status bad_char(char c, std::string_view where) {
  return invalid_argument("invalid character " + quoted_char(c) + " " + std::string(where));
}
Status cut_short() { return invalid_argument("unexpected EOF"); }

}  // namespace

// ---- The scanner: one state for each place in the grammar (RFC 8259) where the text may be cut ----------------------

Result<bool> JsonScanner::feed(std::string_view text, size_t& used) {
  for (used = 0; used < text.size() && state_ != State::kDone;) {
    if (state_ == State::kString) {  // most of the bytes are here
      used = skip_plain(text, used);
      if (used == text.size()) break;
    }
    ASSIGN_OR_RETURN(bool taken, step(text[used]));
    used += taken;
  }
  return state_ == State::kDone;
}

bool JsonScanner::may_end() const {
  if (!open_.empty()) return false;
  return state_ == State::kDone || state_ == State::kZero || state_ == State::kDigits || state_ == State::kFraction ||
         state_ == State::kExponentDigits;
}

size_t JsonScanner::skip_plain(std::string_view text, size_t at) {
  while (at < text.size() && text[at] != '"' && text[at] != '\\' && static_cast<unsigned char>(text[at]) >= 0x20) ++at;
  return at;
}

Result<bool> JsonScanner::step(char c) {
  switch (state_) {
    case State::kString:
    case State::kEscape:
    case State::kHex:
      return step_string(c);
    case State::kLiteral:
      if (c != word_[word_at_])
        return bad_char(c, "in literal " + std::string(word_) + " (expecting '" + word_[word_at_] + "')");
      if (++word_at_ == word_.size()) end_value();
      return true;
    case State::kMinus:
    case State::kZero:
    case State::kDigits:
    case State::kDot:
    case State::kFraction:
    case State::kExponent:
    case State::kExponentSign:
    case State::kExponentDigits:
      return step_number(c);
    default:
      if (is_space(c)) return true;
      return step_structure(c);
  }
}

Result<bool> JsonScanner::step_structure(char c) {
  switch (state_) {
    case State::kArrayBegun:
      if (c == ']') return close();
      return begin_value(c);
    case State::kObjectBegun:
      if (c == '}') return close();
      [[fallthrough]];
    case State::kKey:
      if (c != '"') return bad_char(c, "looking for beginning of object key string");
      in_key_ = true;
      state_ = State::kString;
      return true;
    case State::kColon:
      if (c != ':') return bad_char(c, "after object key");
      state_ = State::kValue;
      return true;
    case State::kAfterValue: {
      bool object = open_.back() == '{';
      if (c == (object ? '}' : ']')) return close();
      if (c != ',') return bad_char(c, object ? "after object key:value pair" : "after array element");
      state_ = object ? State::kKey : State::kValue;
      return true;
    }
    default:
      return begin_value(c);
  }
}

Result<bool> JsonScanner::begin_value(char c) {
  if (c == '{' || c == '[') {
    if (open_.size() >= kJsonDepthMax) return bad_char(c, "exceeded max depth");
    open_.push_back(c);
    state_ = c == '{' ? State::kObjectBegun : State::kArrayBegun;
  } else if (c == '"') {
    in_key_ = false;
    state_ = State::kString;
  } else if (c == '-') {
    state_ = State::kMinus;
  } else if (is_digit(c)) {
    state_ = c == '0' ? State::kZero : State::kDigits;
  } else if (c == 't' || c == 'f' || c == 'n') {
    word_ = c == 't' ? "true" : c == 'f' ? "false" : "null";
    word_at_ = 1;
    state_ = State::kLiteral;
  } else {
    return bad_char(c, "looking for beginning of value");
  }
  return true;
}

bool JsonScanner::close() {
  open_.pop_back();
  end_value();
  return true;
}

void JsonScanner::end_value() { state_ = open_.empty() ? State::kDone : State::kAfterValue; }

Result<bool> JsonScanner::step_string(char c) {
  if (state_ == State::kHex) {
    if (hex_digit(c) < 0) return bad_char(c, "in \\u hexadecimal character escape");
    if (--hex_left_ == 0) state_ = State::kString;
  } else if (state_ == State::kEscape) {
    if (c == 'u') {
      hex_left_ = 4;
      state_ = State::kHex;
    } else if (std::string_view("bfnrt\\/\"").find(c) != std::string_view::npos) {
      state_ = State::kString;
    } else {
      return bad_char(c, "in string escape code");
    }
  } else if (c == '"') {
    if (in_key_)
      state_ = State::kColon;
    else
      end_value();
  } else if (c == '\\') {
    state_ = State::kEscape;
  } else if (static_cast<unsigned char>(c) < 0x20) {
    return bad_char(c, "in string literal");
  }
  return true;
}

// False: the number ended before `c`.
Result<bool> JsonScanner::step_number(char c) {
  bool digit = is_digit(c);
  switch (state_) {
    case State::kMinus:
      if (!digit) return bad_char(c, "in numeric literal");
      state_ = c == '0' ? State::kZero : State::kDigits;
      return true;
    case State::kDot:
      if (!digit) return bad_char(c, "after decimal point in numeric literal");
      state_ = State::kFraction;
      return true;
    case State::kExponent:
      if (c == '+' || c == '-') {
        state_ = State::kExponentSign;
        return true;
      }
      [[fallthrough]];
    case State::kExponentSign:
      if (!digit) return bad_char(c, "in exponent of numeric literal");
      state_ = State::kExponentDigits;
      return true;
    default:
      break;
  }
  if (digit && state_ != State::kZero) return true;
  if (c == '.' && (state_ == State::kZero || state_ == State::kDigits)) {
    state_ = State::kDot;
    return true;
  }
  if ((c == 'e' || c == 'E') && state_ != State::kExponentDigits) {
    state_ = State::kExponent;
    return true;
  }
  end_value();
  return false;
}

Result<std::optional<std::string_view>> JsonValues::next() {
  if (taken_ > 0 && taken_ * 2 >= text_.size()) {  // half of it is over: what is left moves to the front
    text_ = text_.substr(taken_);                  // and what a large request took is given back
    scanned_ -= taken_;
    taken_ = 0;
  }
  if (!begun_) {
    while (scanned_ < text_.size() && is_space(text_[scanned_])) ++scanned_;
    taken_ = scanned_;
    if (scanned_ == text_.size()) return std::optional<std::string_view>();
    scanner_ = JsonScanner();
    begun_ = true;
  }
  size_t used = 0;
  ASSIGN_OR_RETURN(bool complete, scanner_.feed(std::string_view(text_).substr(scanned_), used));
  scanned_ += used;
  if (!complete && ended_ && scanner_.may_end()) complete = true;
  if (!complete && ended_) return cut_short();
  if (!complete) return std::optional<std::string_view>();
  std::string_view value = std::string_view(text_).substr(taken_, scanned_ - taken_);
  taken_ = scanned_;
  begun_ = false;
  return std::optional<std::string_view>(value);
}

namespace {

// ---- From JSON (protojson) ------------------------------------------------------------------------------------------

// As protojson chooses: the URL alphabet where one of its symbols is there, and no padding where the length says so.
std::optional<std::string> decode_bytes(std::string_view in) {
  return decode_base64(in, {.url = in.find_first_of("-_") != std::string_view::npos,
                            .padding = in.size() % 4 == 0 ? Base64::Padding::kRequired : Base64::Padding::kNone});
}

// A number without fraction, as decimal digits with a sign; also where it is written as 1e3 or 5.0.
std::optional<std::string> integral(std::string_view number) {
  std::string sign;
  if (number.starts_with('-')) {
    sign = "-";
    number.remove_prefix(1);
  }
  size_t e = number.find_first_of("eE");
  int64_t exponent = 0;
  if (e != std::string_view::npos) {
    std::string_view text = number.substr(e + 1);
    if (text.starts_with('+')) text.remove_prefix(1);
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), exponent);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    number = number.substr(0, e);
  }
  size_t dot = number.find('.');
  std::string digits(number.substr(0, dot));
  std::string fraction = dot == std::string_view::npos ? "" : std::string(number.substr(dot + 1));
  while (fraction.ends_with('0')) fraction.pop_back();
  constexpr int64_t kDigitsMax = 40;  // more than any 64-bit number has
  if (exponent > kDigitsMax || exponent < -kDigitsMax) return std::nullopt;
  for (; exponent > 0; --exponent) {
    digits += fraction.empty() ? '0' : fraction[0];
    if (!fraction.empty()) fraction.erase(0, 1);
  }
  for (; exponent < 0; ++exponent) {
    fraction.insert(0, 1, digits.empty() ? '0' : digits.back());
    if (!digits.empty()) digits.pop_back();
    while (fraction.ends_with('0')) fraction.pop_back();
  }
  if (!fraction.empty()) return std::nullopt;
  size_t first = digits.find_first_not_of('0');
  digits = first == std::string::npos ? "0" : digits.substr(first);
  return digits == "0" ? digits : sign + digits;
}

class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}

  Status message(Message& out, int depth) {
    if (depth > kJsonMessageDepthMax) return invalid_argument("proto: exceeded max recursion depth");
    skip_space();
    if (in_[at_] != '{') return unexpected();
    ++at_;
    std::vector<int> seen;
    std::vector<const google::protobuf::OneofDescriptor*> seen_oneofs;
    while (true) {
      skip_space();
      if (in_[at_] == '}') return ++at_, Status();
      if (in_[at_] == ',') {
        ++at_;
        continue;
      }
      size_t name_at = at_;
      std::string name;
      RETURN_IF_ERROR(string(name));
      std::string_view raw_name = in_.substr(name_at, at_ - name_at);
      skip_space();
      ++at_;  // ':'
      const FieldDescriptor* field = find(*out.GetDescriptor(), name);
      if (!field) {
        RETURN_IF_ERROR(skip_value());
        continue;
      }
      for (int number : seen)
        if (number == field->number()) return error(name_at, "duplicate field " + std::string(raw_name));
      seen.push_back(field->number());
      skip_space();
      if (in_.substr(at_).starts_with("null")) {
        at_ += 4;
        continue;
      }
      if (const auto* oneof = field->real_containing_oneof()) {
        for (const auto* other : seen_oneofs)
          if (other == oneof)
            return error(name_at, "error parsing " + std::string(raw_name) + ", oneof " +
                                      std::string(oneof->full_name()) + " is already set");
        seen_oneofs.push_back(oneof);
      }
      RETURN_IF_ERROR(field->is_repeated() ? list(out, field, depth) : single(out, field, depth));
    }
  }

 private:
  static const FieldDescriptor* find(const Descriptor& type, const std::string& name) {
    for (int i = 0; i < type.field_count(); ++i)
      if (type.field(i)->json_name() == name) return type.field(i);
    return type.FindFieldByName(name);
  }

  Status list(Message& out, const FieldDescriptor* field, int depth) {
    skip_space();
    if (in_[at_] != '[') return unexpected();
    ++at_;
    while (true) {
      skip_space();
      if (in_[at_] == ']') return ++at_, Status();
      if (in_[at_] == ',') {
        ++at_;
        continue;
      }
      RETURN_IF_ERROR(single(out, field, depth));
    }
  }

  Status single(Message& out, const FieldDescriptor* field, int depth) {
    const Reflection& r = *out.GetReflection();
    bool repeated = field->is_repeated();
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
      return message(repeated ? *r.AddMessage(&out, field) : *r.MutableMessage(&out, field), depth + 1);
    skip_space();
    size_t begin = at_;
    std::string text;
    bool is_string = in_[at_] == '"';
    if (is_string)
      RETURN_IF_ERROR(string(text));
    else
      RETURN_IF_ERROR(skip_value());
    std::string_view raw = in_.substr(begin, at_ - begin);
    if (scalar(out, field, is_string, is_string ? std::string_view(text) : raw)) return {};
    return error(begin, "invalid value for " + std::string(field->type_name()) + " field " +
                            std::string(field->json_name()) + ": " + std::string(first_token(raw)));
  }

  // What protojson shows of a value that does not fit: one token.
  static std::string_view first_token(std::string_view raw) {
    return raw.starts_with('{') || raw.starts_with('[') ? raw.substr(0, 1) : raw;
  }

  template <typename T>
  static bool number(bool is_string, std::string_view text, T& out) {
    bool numeric = !text.empty() && (text[0] == '-' || is_digit(text[0]));
    if (is_string && numeric) {  // the string must hold one JSON number and nothing else
      std::string_view rest = text;
      Result<std::optional<std::string_view>> value = take_json(rest);
      numeric = value.is_ok() && *value && (*value)->size() == text.size();
    }
    if (!numeric) return false;
    std::optional<std::string> digits = integral(text);
    if (!digits) return false;
    auto [end, error] = std::from_chars(digits->data(), digits->data() + digits->size(), out);
    return error == std::errc() && end == digits->data() + digits->size();
  }

  bool scalar(Message& out, const FieldDescriptor* field, bool is_string, std::string_view text) {
    const Reflection& r = *out.GetReflection();
    bool add = field->is_repeated();
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        if (is_string || (text != "true" && text != "false")) return false;
        add ? r.AddBool(&out, field, text == "true") : r.SetBool(&out, field, text == "true");
        return true;
      case FieldDescriptor::CPPTYPE_INT32: {
        int32_t v = 0;
        if (!number(is_string, text, v)) return false;
        add ? r.AddInt32(&out, field, v) : r.SetInt32(&out, field, v);
        return true;
      }
      case FieldDescriptor::CPPTYPE_INT64: {
        int64_t v = 0;
        if (!number(is_string, text, v)) return false;
        add ? r.AddInt64(&out, field, v) : r.SetInt64(&out, field, v);
        return true;
      }
      case FieldDescriptor::CPPTYPE_UINT32: {
        uint32_t v = 0;
        if (!number(is_string, text, v)) return false;
        add ? r.AddUInt32(&out, field, v) : r.SetUInt32(&out, field, v);
        return true;
      }
      case FieldDescriptor::CPPTYPE_UINT64: {
        uint64_t v = 0;
        if (!number(is_string, text, v)) return false;
        add ? r.AddUInt64(&out, field, v) : r.SetUInt64(&out, field, v);
        return true;
      }
      case FieldDescriptor::CPPTYPE_STRING: {
        if (!is_string) return false;
        std::string v(text);
        if (field->type() == FieldDescriptor::TYPE_BYTES) {
          std::optional<std::string> bytes = decode_bytes(text);
          if (!bytes) return false;
          v = std::move(*bytes);
        }
        add ? r.AddString(&out, field, std::move(v)) : r.SetString(&out, field, std::move(v));
        return true;
      }
      case FieldDescriptor::CPPTYPE_ENUM: {
        int32_t v = 0;
        if (is_string) {
          const EnumValueDescriptor* value = field->enum_type()->FindValueByName(std::string(text));
          if (!value) return true;  // unknown names are ignored, as unknown fields are
          v = value->number();
        } else if (!number(false, text, v)) {
          return false;
        }
        add ? r.AddEnumValue(&out, field, v) : r.SetEnumValue(&out, field, v);
        return true;
      }
      default:
        return false;  // the protocol has no floating-point fields
    }
  }

  Status string(std::string& out) {
    size_t begin = at_;
    for (++at_; in_[at_] != '"'; ++at_) {
      if (in_[at_] != '\\') {
        out += in_[at_];
        continue;
      }
      char c = in_[++at_];
      static const std::string_view kFrom = "bfnrt", kTo = "\b\f\n\r\t";
      if (c == 'u') {
        RETURN_IF_ERROR(escape(out));
      } else if (size_t i = kFrom.find(c); i != std::string_view::npos) {
        out += kTo[i];
      } else {
        out += c;
      }
    }
    ++at_;
    if (!is_utf8(out)) return syntax_error(begin, "invalid UTF-8 in string");
    return {};
  }
  uint32_t hex4() {
    uint32_t v = 0;
    for (int i = 0; i < 4; ++i) v = v << 4 | static_cast<uint32_t>(hex_digit(in_[++at_]));
    return v;
  }
  Status escape(std::string& out) {
    size_t begin = at_ - 1;
    uint32_t c = hex4();
    if (c >= 0xd800 && c < 0xe000) {
      uint32_t low = 0;
      if (c < 0xdc00 && in_.substr(at_ + 1).starts_with("\\u")) {
        at_ += 2;
        low = hex4();
      }
      if (low < 0xdc00 || low >= 0xe000)
        return syntax_error(begin, "invalid escape code \"" + std::string(in_.substr(begin, 6)) + "\" in string");
      c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    append_rune(out, c);
    return {};
  }

  Status skip_value() {
    std::string_view rest = in_.substr(at_);
    size_t before = rest.size();
    Result<std::optional<std::string_view>> value = take_json(rest);
    RETURN_IF_ERROR(value.status());
    at_ += before - rest.size();
    return {};
  }
  void skip_space() {
    while (is_space(in_[at_])) ++at_;
  }

  std::string position(size_t at) const {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at; ++i) {
      if (in_[i] == '\n') {
        ++line;
        column = 1;
      } else if ((static_cast<unsigned char>(in_[i]) >> 6) != 2) {
        ++column;
      }
    }
    return "(line " + std::to_string(line) + ":" + std::to_string(column) + "): ";
  }
  Status error(size_t at, const std::string& text) const { return invalid_argument("proto: " + position(at) + text); }
  Status syntax_error(size_t at, const std::string& text) const {
    return invalid_argument("proto: syntax error " + position(at) + text);
  }
  // Not what must stand here: the whole token is shown.
  Status unexpected() {
    size_t begin = at_;
    RETURN_IF_ERROR(skip_value());
    std::string_view raw = first_token(in_.substr(begin, at_ - begin));
    return syntax_error(begin, "unexpected token " + std::string(raw));
  }

  std::string_view in_;
  size_t at_ = 0;
};

// ---- To JSON --------------------------------------------------------------------------------------------------------

void append_message(std::string& out, const Message& message);

// index < 0: the field is not repeated.
void append_value(std::string& out, const Message& m, const FieldDescriptor* f, int index) {
  const Reflection& r = *m.GetReflection();
  bool one = index < 0;
  switch (f->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      out += (one ? r.GetBool(m, f) : r.GetRepeatedBool(m, f, index)) ? "true" : "false";
      return;
    case FieldDescriptor::CPPTYPE_INT32:
      out += std::to_string(one ? r.GetInt32(m, f) : r.GetRepeatedInt32(m, f, index));
      return;
    case FieldDescriptor::CPPTYPE_UINT32:
      out += std::to_string(one ? r.GetUInt32(m, f) : r.GetRepeatedUInt32(m, f, index));
      return;
    case FieldDescriptor::CPPTYPE_INT64:
      out += '"' + std::to_string(one ? r.GetInt64(m, f) : r.GetRepeatedInt64(m, f, index)) + '"';
      return;
    case FieldDescriptor::CPPTYPE_UINT64:
      out += '"' + std::to_string(one ? r.GetUInt64(m, f) : r.GetRepeatedUInt64(m, f, index)) + '"';
      return;
    case FieldDescriptor::CPPTYPE_ENUM: {
      int number = one ? r.GetEnumValue(m, f) : r.GetRepeatedEnumValue(m, f, index);
      const EnumValueDescriptor* value = f->enum_type()->FindValueByNumber(number);
      if (value)
        append_json_string(out, value->name());
      else
        out += std::to_string(number);
      return;
    }
    case FieldDescriptor::CPPTYPE_STRING: {
      std::string scratch;
      const std::string& text =
          one ? r.GetStringReference(m, f, &scratch) : r.GetRepeatedStringReference(m, f, index, &scratch);
      if (f->type() != FieldDescriptor::TYPE_BYTES) return append_json_string(out, text);
      out += '"';
      append_base64(out, text);
      out += '"';
      return;
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return append_message(out, one ? r.GetMessage(m, f) : r.GetRepeatedMessage(m, f, index));
    default:
      out += "null";  // the protocol has no floating-point fields
  }
}

void append_message(std::string& out, const Message& message) {
  const Descriptor& type = *message.GetDescriptor();
  const Reflection& r = *message.GetReflection();
  out += '{';
  bool first = true;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* f = type.field(i);
    int count = f->is_repeated() ? r.FieldSize(message, f) : r.HasField(message, f) ? -1 : 0;
    if (count == 0) continue;
    if (!std::exchange(first, false)) out += ',';
    append_json_string(out, f->name());
    out += ':';
    if (count < 0) {
      append_value(out, message, f, -1);
      continue;
    }
    out += '[';
    for (int k = 0; k < count; ++k) {
      if (k > 0) out += ',';
      append_value(out, message, f, k);
    }
    out += ']';
  }
  out += '}';
}

}  // namespace

Result<std::optional<std::string_view>> take_json(std::string_view& in) {
  size_t begin = 0;
  while (begin < in.size() && is_space(in[begin])) ++begin;
  if (begin == in.size()) {
    in = {};
    return std::optional<std::string_view>();
  }
  std::string_view value = in.substr(begin);
  JsonScanner scanner;
  size_t length = 0;
  ASSIGN_OR_RETURN(bool complete, scanner.feed(value, length));
  if (!complete && !scanner.may_end()) return cut_short();
  in = value.substr(length);
  return std::optional<std::string_view>(value.substr(0, length));
}

Status from_json(std::string_view value, Message& out) { return Reader(value).message(out, 1); }

std::string to_json(const Message& message) {
  std::string out;
  append_message(out, message);
  return out;
}

}  // namespace fairlead::api
