#include "server/main/failpoint_terms.h"

#include <charconv>
#include <utility>

#include "server/main/values.h"

namespace fairlead::server {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool take(std::string_view& in, std::string_view word) {
  if (!in.starts_with(word)) return false;
  in.remove_prefix(word.size());
  return true;
}

// A text in Go's double or back quotes. The escapes that people write; any other one is refused.
bool take_quoted(std::string_view& in, std::string& out) {
  if (take(in, "`")) {
    size_t end = in.find('`');
    if (end == std::string_view::npos) return false;
    out = std::string(in.substr(0, end));
    in.remove_prefix(end + 1);
    return true;
  }
  if (!take(in, "\"")) return false;
  while (!in.empty() && in[0] != '"') {
    char c = in[0];
    in.remove_prefix(1);
    if (c == '\\') {
      static constexpr std::string_view kFrom = "\"\\nrt", kTo = "\"\\\n\r\t";
      size_t at = in.empty() ? std::string_view::npos : kFrom.find(in[0]);
      if (at == std::string_view::npos) return false;
      c = kTo[at];
      in.remove_prefix(1);
    }
    out.push_back(c);
  }
  return take(in, "\"");
}

// What stands in brackets behind an action; false if it is malformed.
bool take_value(std::string_view& in, FailpointValue& out) {
  if (!take(in, "(")) return true;
  if (take(in, ")")) return true;
  std::string text;
  if (!in.empty() && (in[0] == '"' || in[0] == '`')) {
    if (!take_quoted(in, text)) return false;
    out = std::move(text);
  } else if (take(in, "true")) {
    out = true;
  } else if (take(in, "false")) {
    out = false;
  } else {
    int64_t number = 0;
    auto [end, error] = std::from_chars(in.data(), in.data() + in.size(), number);
    if (error != std::errc()) return false;
    in.remove_prefix(static_cast<size_t>(end - in.data()));
    out = number;
  }
  return take(in, ")");
}

Status bad_terms() { return invalid_argument("failpoint: could not parse terms"); }

}  // namespace

std::string printed(const FailpointValue& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) return std::to_string(*number);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  return "{}";
}

std::string type_name(const FailpointValue& value) {
  static constexpr const char* kNames[] = {"struct {}", "int", "bool", "string"};
  return kNames[value.index()];
}

std::optional<int64_t> sleep_ms(const FailpointValue& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) return *number;
  int64_t ms = 0;
  if (const auto* text = std::get_if<std::string>(&value); text && parse_duration_ms(*text, ms)) return ms;
  return std::nullopt;
}

Result<std::unique_ptr<FailpointTerms>> FailpointTerms::parse(std::string_view text) {
  static constexpr std::pair<std::string_view, FailpointAction> kActions[] = {{"off", FailpointAction::kOff},
                                                                              {"return", FailpointAction::kReturn},
                                                                              {"sleep", FailpointAction::kSleep},
                                                                              {"panic", FailpointAction::kPanic},
                                                                              {"print", FailpointAction::kPrint}};
  auto terms = std::make_unique<FailpointTerms>();
  terms->text_ = std::string(text);
  std::string_view in = text;
  do {
    Term term;
    while (!in.empty() && is_digit(in[0])) {
      Modifier m;
      auto [end, error] = std::from_chars(in.data(), in.data() + in.size(), m.chance, std::chars_format::fixed);
      bool whole = std::string_view(in.data(), static_cast<size_t>(end - in.data())).find('.') == in.npos;
      in.remove_prefix(static_cast<size_t>(end - in.data()));
      if (error != std::errc() || m.chance > 1e15) return bad_terms();
      m.left = static_cast<int64_t>(m.chance);
      m.percent = take(in, "%");
      if (!m.percent && (!whole || !take(in, "*"))) return bad_terms();
      term.modifiers.push_back(m);
    }
    bool known = false;
    for (const auto& [word, action] : kActions) {
      if (!take(in, word)) continue;
      term.due.action = action;
      known = true;
      break;
    }
    if (!known || !take_value(in, term.due.value)) return bad_terms();
    terms->chain_.push_back(std::move(term));
  } while (take(in, "->"));
  if (!in.empty()) return bad_terms();
  return terms;
}

std::optional<FailpointTerms::Due> FailpointTerms::next() {
  std::lock_guard<std::mutex> lock(mutex_);
  for (Term& term : chain_) {
    bool due = true;
    for (Modifier& m : term.modifiers) {
      if (m.percent)
        due = std::uniform_real_distribution<double>(0, 100)(random_) <= m.chance;
      else
        due = m.left > 0 && m.left-- > 0;
      if (!due) break;
    }
    if (!due) continue;
    ++count_;
    return term.due;
  }
  return std::nullopt;
}

}  // namespace fairlead::server
