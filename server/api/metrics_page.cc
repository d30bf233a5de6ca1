#include "server/api/metrics_page.h"

#include <charconv>
#include <cmath>

namespace fairlead::api {
namespace {

// Go's spelling of the values that are no numbers.
void append_number(std::string& out, double value) {
  if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
    return;
  }
  if (std::isnan(value)) {
    out += "NaN";
    return;
  }
  char buffer[32];
  auto whole = static_cast<int64_t>(value);
  bool is_whole = std::abs(value) < 1e15 && static_cast<double>(whole) == value;
  auto end = is_whole ? std::to_chars(buffer, buffer + sizeof buffer, whole)
                      : std::to_chars(buffer, buffer + sizeof buffer, value);
  out.append(buffer, end.ptr);
}

void append_escaped(std::string& out, std::string_view text) {
  for (char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else {
      if (c == '"' || c == '\\') out.push_back('\\');
      out.push_back(c);
    }
  }
}

}  // namespace

void Page::family(std::string_view name, const char* help, std::string_view type) {
  if (family_ == name) return;
  family_ = name;
  text_ += "# HELP ";
  text_ += name;
  text_ += ' ';
  text_ += help;
  text_ += "\n# TYPE ";
  text_ += name;
  text_ += ' ';
  text_ += type;
  text_ += '\n';
}

std::string Page::label_text(const Labels& labels) {
  std::string out;
  for (const auto& [key, value] : labels) {
    if (!out.empty()) out += ',';
    out += key;
    out += "=\"";
    append_escaped(out, value);
    out += '"';
  }
  return out;
}

void Page::sample(std::string_view name, std::string_view labels, double value) {
  text_ += name;
  if (!labels.empty()) {
    text_ += '{';
    text_ += labels;
    text_ += '}';
  }
  text_ += ' ';
  append_number(text_, value);
  text_ += '\n';
}

void Page::append(std::string_view bucket, std::string_view before, double bound, uint64_t count) {
  text_ += bucket;
  text_ += '{';
  text_ += before;
  append_number(text_, bound);
  text_ += "\"} ";
  append_number(text_, static_cast<double>(count));
  text_ += '\n';
}

}  // namespace fairlead::api
