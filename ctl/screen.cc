#include "ctl/screen.h"

#include <algorithm>
#include <cstdio>

#include "ctl/exit.h"
#include "ctl/go_format.h"

namespace fairlead::ctl {
namespace {

size_t width_of(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) >> 6) != 2; }));
}

Findings chosen(const Findings& findings, Level least) {
  Findings out;
  for (Level level : {Level::kFail, Level::kWarn, Level::kOk})
    for (const Finding& f : findings)
      if (f.level == level && level >= least) out.push_back(f);
  return out;
}

}  // namespace

Format screen_format(Context& c) {
  std::string name = c.text("write-out");
  if (name == "simple" || name == "table") return Format::kSimple;
  if (name == "json") return Format::kJson;
  fail(kExitBadFeature, name + " not supported as output format");
}

void add_survey_flags(Command& command) {
  command
      .flag(Kind::kList, "metrics-urls", "",
            "where the members' pages of metrics are, if not at their client URLs (--listen-metrics-urls)")
      .flag(Kind::kDuration, "disk-limit", "100ms", "99 of 100 log writes should take less")
      .flag(Kind::kDuration, "network-limit", "150ms", "a round trip should take less")
      .flag(Kind::kDuration, "clock-limit", "500ms", "clocks should be closer together")
      .flag(Kind::kDuration, "expiry-limit", "720h", "certificates should last longer")
      .flag(Kind::kInt, "lag-limit", "5000", "entries that a member may be behind the leader");
}

SurveyOptions survey_options(Context& c) {
  SurveyOptions o;
  o.metrics_urls = c.list("metrics-urls");
  return o;
}

Limits limits_of(Context& c) {
  auto seconds = [&](const char* flag) { return static_cast<double>(c.nanos(flag)) / 1e9; };
  Limits l;
  l.disk_seconds = seconds("disk-limit");
  l.network_seconds = seconds("network-limit");
  l.clock_seconds = seconds("clock-limit");
  l.expiry_seconds = c.nanos("expiry-limit") / 1'000'000'000;
  l.lag_entries = static_cast<uint64_t>(std::max<int64_t>(c.number("lag-limit"), 0));
  return l;
}

std::string columns(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::string& h : header) widths.push_back(width_of(h));
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  std::string out;
  auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (size_t i = 0; i < cells.size(); ++i) {
      text += cells[i];
      if (i + 1 < cells.size()) text += std::string(widths[i] - width_of(cells[i]) + 2, ' ');
    }
    out += text + "\n";
  };
  line(header);
  for (const auto& row : rows) line(row);
  return out;
}

void print_findings(const Findings& findings, Level least) {
  for (const Finding& f : chosen(findings, least)) {
    std::string member = f.member.empty() ? "" : f.member + ": ";
    printf("  %-4s  %s: %s%s\n", level_name(f.level), f.check.c_str(), member.c_str(), f.text.c_str());
    if (!f.advice.empty()) printf("        -> %s\n", f.advice.c_str());
  }
}

nlohmann::ordered_json findings_json(const Findings& findings, Level least) {
  auto out = nlohmann::ordered_json::array();
  for (const Finding& f : chosen(findings, least)) {
    nlohmann::ordered_json one = {{"check", f.check}, {"level", level_name(f.level)}};
    if (!f.member.empty()) one["member"] = f.member;
    one["text"] = f.text;
    if (!f.advice.empty()) one["advice"] = f.advice;
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace fairlead::ctl
