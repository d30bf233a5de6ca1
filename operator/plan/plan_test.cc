// Runs testdata/*.txt. `plan_test --rewrite` writes the expected parts anew: read the diff before
// you keep it.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "operator/plan/judge.h"
#include "operator/plan/notation.h"
#include "operator/plan/plan.h"

namespace fairlead::plan {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDirectory = "operator/plan/testdata";

bool rewriting() {
  const auto args = testing::internal::GetArgvs();
  return std::find(args.begin(), args.end(), "--rewrite") != args.end();
}

// A file is: lines of the notation, "plan", "----", expected text up to an empty line; again and
// again.
std::string run_file(const fs::path& path, int* cases) {
  std::ifstream in(path);
  Observed o = empty_observed();
  std::string out, line;
  bool skipping = false;
  for (int number = 1; std::getline(in, line); ++number) {
    if (skipping) {
      skipping = !line.empty();
      if (skipping) continue;
    }
    out += line + "\n";
    if (line.empty() || line[0] == '#' || line == "plan") continue;
    if (line != "----") {
      const Status status = apply_line(line, &o);
      EXPECT_TRUE(status.is_ok()) << path << ":" << number << ": " << status.message();
      continue;
    }
    const Decision decision = plan(o);
    EXPECT_EQ(to_text(decision, o.now_ms), to_text(plan(o), o.now_ms)) << "not deterministic";
    for (const std::string& fault : judge(o, decision)) ADD_FAILURE() << path << ":" << number << ": " << fault;
    out += to_text(decision, o.now_ms);
    skipping = true;
    ++*cases;
  }
  return out;
}

TEST(PlanText, Testdata) {
  int files = 0, cases = 0;
  for (const auto& entry : fs::directory_iterator(kDirectory)) {
    if (entry.path().extension() != ".txt") continue;
    ++files;
    std::ifstream in(entry.path());
    const std::string expected((std::istreambuf_iterator<char>(in)), {});
    const std::string actual = run_file(entry.path(), &cases);
    if (rewriting()) {
      std::ofstream(entry.path()) << actual;
    } else {
      EXPECT_EQ(actual, expected) << entry.path() << ": differs; look, then plan_test --rewrite";
    }
  }
  EXPECT_GE(files, 5);
  EXPECT_GE(cases, 30);
}

// The judge must be able to find fault, or its silence means nothing.
TEST(Judge, FindsPlantedFaults) {
  Observed o = formed_observed(3);
  ASSERT_TRUE(apply_line("pod demo-b gone", &o).is_ok());
  Decision good = plan(o);
  ASSERT_TRUE(good.action.has_value());
  ASSERT_TRUE(judge(o, good).empty());

  Decision bad = good;
  bad.action->state = StartState::kNew;
  EXPECT_FALSE(judge(o, bad).empty()) << "new in a formed cluster";
  bad = good;
  bad.action->volume_uid = "other";
  EXPECT_FALSE(judge(o, bad).empty()) << "another volume";
  bad = good;
  bad.action->kind = ActionKind::kDeletePod;
  bad.action->name = "demo-a";
  bad.action->uid = "Pa";
  bad.action->resource_version = "1";
  EXPECT_FALSE(judge(o, bad).empty()) << "deletes a healthy pod";
  bad = good;
  bad.action->kind = ActionKind::kDeleteVolume;
  EXPECT_FALSE(judge(o, bad).empty()) << "deletes a volume";
  bad = good;
  bad.action->kind = ActionKind::kApplyBudget;
  bad.action->min_available = 1;
  EXPECT_FALSE(judge(o, bad).empty()) << "a budget below the quorum";
  bad = good;
  bad.action->kind = ActionKind::kGrantNew;
  bad.action->intent = o.cluster.intent;
  bad.action->intent.members[0].volume_uid = "V2";
  EXPECT_FALSE(judge(o, bad).empty()) << "a second grant";
  bad = good;
  o.write_probe.answered = false;
  bad.report.conditions[0].status = Truth::kTrue;
  EXPECT_FALSE(judge(o, bad).empty()) << "Ready without a probe";
}

}  // namespace
}  // namespace fairlead::plan
