// fairlead-sim: runs seeds and says what it found. See README.md.
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/planted.h"
#include "server/sim/pool.h"
#include "server/sim/simulation.h"

namespace fairlead::sim {
namespace {

constexpr uint64_t kPlantedSeedsMax = 400;    // within which each planted bug must be found
constexpr uint64_t kCountersJudgedFrom = 50;  // seeds: from here on a counter at zero is a failure of the test

constexpr const char* kUsage =
    "usage: fairlead-sim --seeds N [--first-seed S] [--seconds BUDGET] [--jobs J]\n"
    "       fairlead-sim --seed S [--trace]        replays one seed\n"
    "       fairlead-sim --seed-list FILE          seeds that once found something\n"
    "       fairlead-sim planted [NAME]            finds the planted bugs (build with -DFAIRLEAD_PLANTED=ON)\n"
    "       ... --plant NAME                       runs with a planted bug (the same build)\n";

struct Options {
  PoolOptions pool;
  bool have_seeds = false;
  bool have_first = false;
  bool have_seed = false;
  bool trace = false;
  bool planted = false;
  std::string plant;
  std::string seed_list;
};

[[noreturn]] void usage_error(const std::string& what) {
  std::fprintf(stderr, "fairlead-sim: %s\n%s", what.c_str(), kUsage);
  std::exit(2);
}

uint64_t number(const std::string& flag, const std::string& text) {
  char* end = nullptr;
  uint64_t value = std::strtoull(text.c_str(), &end, 10);
  if (text.empty() || *end != 0 || text[0] == '-') usage_error(flag + " needs a number, not '" + text + "'");
  return value;
}

Options parse(int argc, char** argv) {
  Options options;
  options.pool.jobs = 1;
  for (int i = 1; i < argc; ++i) {
    std::string flag = argv[i], value;
    size_t equals = flag.find('=');
    bool inline_value = flag.starts_with("--") && equals != std::string::npos;
    if (inline_value) {
      value = flag.substr(equals + 1);
      flag.resize(equals);
    }
    auto take = [&] {
      if (inline_value) return value;
      if (i + 1 >= argc) usage_error(flag + " needs a value");
      return std::string(argv[++i]);
    };
    if (flag == "--seeds")
      options.pool.seeds = number(flag, take()), options.have_seeds = true;
    else if (flag == "--first-seed")
      options.pool.first_seed = number(flag, take()), options.have_first = true;
    else if (flag == "--seed")
      options.pool.first_seed = number(flag, take()), options.have_seed = true;
    else if (flag == "--seconds")
      options.pool.seconds = static_cast<double>(number(flag, take()));
    else if (flag == "--jobs")
      options.pool.jobs = static_cast<int>(std::max<uint64_t>(1, number(flag, take())));
    else if (flag == "--seed-list")
      options.seed_list = take();
    else if (flag == "--plant")
      options.plant = take();
    else if (flag == "--trace")
      options.trace = true;
    else if (flag == "planted")
      options.planted = true;
    else if (flag == "--help" || flag == "-h")
      std::printf("%s", kUsage), std::exit(0);
    else if (options.planted && options.plant.empty() && !flag.starts_with("-"))
      options.plant = flag;
    else
      usage_error("unknown argument '" + flag + "'");
  }
  return options;
}

void plant(const std::string& name) {
#ifdef FAIRLEAD_PLANTED
  for (const PlantedName& p : kPlantedNames) {
    if (p.name == name) {
      planted_bug = p.bug;
      return;
    }
  }
  std::string names;
  for (const PlantedName& p : kPlantedNames) names += " " + std::string(p.name);
  usage_error("no planted bug '" + name + "'; there are:" + names);
#else
  usage_error("this build has no planted bugs to choose '" + name +
              "' from: configure with -DFAIRLEAD_PLANTED=ON (preset planted)");
#endif
}

std::string replay_command(uint64_t seed, const std::string& planted) {
  return "fairlead-sim --seed " + std::to_string(seed) + (planted.empty() ? "" : " --plant " + planted) + " --trace";
}

void print_counters(Counters& counters) {
  std::string line;
  for_each_counter(counters, [&](const char* name, uint64_t& value) {
    line += (line.empty() ? "" : ", ") + std::string(name) + " " + std::to_string(value);
  });
  std::printf("%s\n", line.c_str());
}

int replay(const Options& options) {
  set_check_handler([](const char* file, int line, const char* condition, const char* message) {
    std::fprintf(stderr, "check failed at %s:%d: %s: %s\n", file, line, condition, message);
  });
  SeedResult result = run_seed(options.pool.first_seed, options.trace);
  std::printf("seed %llu: %.1f simulated seconds, %llu events, hash %016llx\n",
              static_cast<unsigned long long>(options.pool.first_seed), result.simulated_seconds,
              static_cast<unsigned long long>(result.events), static_cast<unsigned long long>(result.hash));
  print_counters(result.counters);
  if (!result.wrong.empty()) std::printf("FAILED %s\n", result.wrong.c_str());
  std::printf("%d passed, %d failed\n", result.wrong.empty() ? 1 : 0, result.wrong.empty() ? 0 : 1);
  return result.wrong.empty() ? 0 : 1;
}

int run_seeds(Options& options) {
  if (!options.have_first) {
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    options.pool.first_seed = static_cast<uint64_t>(t.tv_sec) * 1000 + static_cast<uint64_t>(t.tv_nsec / 1000000);
  }
  if (!options.have_seeds) {
    if (options.pool.seconds == 0) usage_error("say how many seeds (--seeds) or how long (--seconds)");
    options.pool.seeds = UINT64_MAX / 2;
  }
  std::printf("seeds from %llu\n", static_cast<unsigned long long>(options.pool.first_seed));
  uint64_t ended = 0;
  PoolResult result = run_pool(options.pool, [&](uint64_t seed, const std::string& wrong) {
    if (!wrong.empty()) {
      std::printf("seed %llu FAILED %s\n  replay: %s\n", static_cast<unsigned long long>(seed), wrong.c_str(),
                  replay_command(seed, options.plant).c_str());
    }
    if (++ended % 100 == 0) std::printf("%llu seeds\n", static_cast<unsigned long long>(ended));
    std::fflush(stdout);
  });
  print_counters(result.counters);
  std::printf("%llu seeds ran twice\n", static_cast<unsigned long long>(result.compared));
  bool blind = false;
  if (result.passed + result.failed >= kCountersJudgedFrom) {
    for_each_counter(result.counters, [&](const char* name, uint64_t& value) {
      if (value > 0) return;
      std::printf("BLIND: no '%s' in the whole run\n", name);
      blind = true;
    });
  }
  if (blind) ++result.failed;
  std::printf("%llu passed, %llu failed\n", static_cast<unsigned long long>(result.passed),
              static_cast<unsigned long long>(result.failed));
  return result.failed == 0 ? 0 : 1;
}

int run_list(const Options& options) {
  std::ifstream file(options.seed_list);
  if (!file) usage_error("cannot read " + options.seed_list);
  uint64_t passed = 0, failed = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    PoolOptions pool;
    pool.first_seed = number("seed", line.substr(0, line.find(' ')));
    pool.twice_every = 0;
    PoolResult result = run_pool(pool, [&](uint64_t seed, const std::string& wrong) {
      if (!wrong.empty()) {
        std::printf("seed %llu FAILED %s\n  replay: %s\n", static_cast<unsigned long long>(seed), wrong.c_str(),
                    replay_command(seed, "").c_str());
      }
    });
    passed += result.passed;
    failed += result.failed;
  }
  std::printf("%llu passed, %llu failed\n", static_cast<unsigned long long>(passed),
              static_cast<unsigned long long>(failed));
  return failed == 0 ? 0 : 1;
}

int run_planted(Options& options) {
#ifndef FAIRLEAD_PLANTED
  usage_error("this build has no planted bugs: configure with -DFAIRLEAD_PLANTED=ON (preset planted)");
#endif
  int found = 0, missed = 0;
  for (const PlantedName& p : kPlantedNames) {
    if (!options.plant.empty() && options.plant != p.name) continue;
    std::string name(p.name);
    PoolOptions pool = options.pool;
    if (!options.have_first) pool.first_seed = 1;
    pool.seeds = options.have_seeds ? options.pool.seeds : kPlantedSeedsMax;
    pool.twice_every = 0;
    pool.stop_at_first_failure = true;
    pool.in_child = [name] { plant(name); };
    PoolResult result = run_pool(pool, [](uint64_t, const std::string&) {});
    if (result.failed > 0) {
      ++found;
      std::printf("%s: found after %llu seeds: %s\n  replay: %s\n", name.c_str(),
                  static_cast<unsigned long long>(result.passed + result.failed), result.first_failure_text.c_str(),
                  replay_command(result.first_failure, name).c_str());
    } else {
      ++missed;
      std::printf("%s: NOT FOUND in %llu seeds\n", name.c_str(), static_cast<unsigned long long>(result.passed));
    }
    std::fflush(stdout);
  }
  if (found + missed == 0) usage_error("no planted bug '" + options.plant + "'");
  std::printf("%d passed, %d failed\n", found, missed);
  return missed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace fairlead::sim

int main(int argc, char** argv) {
  using namespace fairlead::sim;
  Options options = parse(argc, argv);
  if (options.planted) return run_planted(options);
  if (!options.plant.empty()) plant(options.plant);
  if (!options.seed_list.empty()) return run_list(options);
  if (options.have_seed) return replay(options);
  return run_seeds(options);
}
