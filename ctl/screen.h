// What `status`, `doctor` and `top` share: their flags, columns, and how findings are shown.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "ctl/findings.h"
#include "ctl/print.h"
#include "ctl/survey.h"

namespace fairlead::ctl {

// --write-out, of which these verbs have simple, table (the same) and json; ends the program on others.
Format screen_format(Context& context);

void add_survey_flags(Command& command);  // --metrics-urls and the limits of findings
SurveyOptions survey_options(Context& context);
Limits limits_of(Context& context);

// Left-aligned columns, two blanks between them; each line with its end.
std::string columns(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);

// Those of at least this level, the worst first, each with its advice.
void print_findings(const Findings& findings, Level least);
nlohmann::ordered_json findings_json(const Findings& findings, Level least);

}  // namespace fairlead::ctl
