# ./dev test: unit and interaction tests, fresh simulator seeds, interop; one score at the end.

# shellcheck source=sim.sh
. "$root/e2e/lib/sim.sh"
# shellcheck source=go.sh
. "$root/e2e/lib/go.sh"
# shellcheck source=conformance.sh
. "$root/e2e/lib/conformance.sh"
# shellcheck source=clients.sh
. "$root/e2e/lib/clients.sh"

test_unit() {
  say "Unit and interaction tests"
  local report=$log_dir/ctest.xml
  rm -f "$report"
  mkdir -p "$log_dir"
  quietly "ctest" "$log_dir/ctest.log" ctest --test-dir "$root/build" -j "$jobs" \
    --output-on-failure --no-tests=error --output-junit "$report" || true
  python3 "$root/e2e/lib/ctest_score.py" "$report" >"$log_dir/ctest.score" || true
  sed '$d' "$log_dir/ctest.score"
  add_score "$log_dir/ctest.score"
}

# Seeds that once found something, then fresh ones for about so many seconds.
test_sim() {
  local seconds=150 log=$log_dir/sim.log code=0
  case ${1:-} in
    --seconds) seconds=${2:?--seconds needs a number} ;;
    --seconds=*) seconds=${1#*=} ;;
    '') ;;
    *) fail "test sim knows --seconds N, not '$1'" ;;
  esac
  say "Simulator: known seeds, then fresh ones for about $seconds s"
  quietly "known seeds" "$log_dir/sim-known.log" \
    "$bin_dir/fairlead-sim" --seed-list "$root/server/sim/seeds.txt" || code=$?
  case_result $code "simulator, seeds that once found something"
  code=0
  quietly "fresh seeds" "$log" "$bin_dir/fairlead-sim" --seconds "$seconds" --jobs "$jobs" || code=$?
  case_result $code "simulator, $(head -n 1 "$log"): $(tail -n 1 "$log")"
}

# Every e2e/interop/*_test.sh and *_test.py: each starts its own servers and ends with its score.
test_interop() {
  say "Interop: other people's clients, and etcd $etcd_version beside us"
  setup_packages dnsmasq-base openssl jq python3-hpack python3-grpcio python3-protobuf protobuf-compiler zsh fish faketime
  go_programs etcd
  go_own interop/goclient "$root/build/interop-goclient"
  local script log
  for script in "$root"/e2e/interop/*_test.sh "$root"/e2e/interop/*_test.py; do
    [ -x "$script" ] || continue
    [ -z "${1:-}" ] || [[ $script == *"$1"* ]] || continue
    log=$log_dir/interop-$(basename "$script").log
    ETCD_BIN=$(etcd_bin_dir) FAIRLEAD_BIN=$bin_dir GOCLIENT=$root/build/interop-goclient \
      "$script" 2>&1 | tee "$log" | sed '/^[0-9]* passed, [0-9]* failed$/d' || true
    add_score "$log"
  done
}

# The operator's crash matrix with every fault at every place, not a sample.
test_matrix() {
  local code=0
  say "The operator's whole crash matrix"
  FAIRLEAD_FULL_MATRIX=1 quietly "crash matrix" "$log_dir/matrix.log" "$root/build/tests/operator_crash_matrix_test" || code=$?
  case_result $code "crash matrix, $(grep -cE '^\[ +OK \] .*/' "$log_dir/matrix.log") scenarios"
}

# Each placed failpoint, on a build of its own.
test_failpoints() {
  say "Failpoints: members that die and sleep where they are told"
  setup_packages python3-hpack
  configure failpoints
  compile "$root/build/failpoints" bin/fairlead
  local log=$log_dir/failpoints.log
  FAIRLEAD_FAILPOINTS_BIN=$root/build/failpoints/bin/fairlead FAIRLEAD_BIN=$bin_dir \
    "$root/e2e/failpoints/failpoints_test.py" "$@" 2>&1 | tee "$log" | sed '/^[0-9]* passed, [0-9]* failed$/d' || true
  add_score "$log"
}

# What the documents say, and the parts of the demo's script that a demo here does not reach.
test_docs() {
  say "Documents"
  setup_packages etcd-client iproute2
  local log=$log_dir/docs.log
  (cd "$root/e2e/docs" && python3 -B blocks_test.py) >"$log_dir/docs-test.log" 2>&1 && case_passed "the check of documents finds what it should" ||
    case_failed "the check of documents (see $log_dir/docs-test.log)"
  python3 -B "$root/e2e/docs/blocks.py" "$root/README.md" "$root/docs/security.md" "$root/docs/operations.md" "$root/docs/fairleadctl.md" 2>&1 | tee "$log" | sed '/^[0-9]* passed, [0-9]* failed$/d' || true
  add_score "$log"
  "$root/e2e/docs/load_test.sh" 2>&1 | tee "$log" | sed '/^[0-9]* passed, [0-9]* failed$/d' || true
  add_score "$log"
}

verb_test() {
  case ${1:-} in
    '' | --seconds*)
      build_all
      test_unit
      test_sim "$@"
      test_interop
      test_clients go python # all six in the night
      test_conformance --short
      test_conformance --short --ctl ours
      test_docs
      ;;
    docs)
      build_programs
      test_docs
      ;;
    unit)
      build_all
      test_unit
      ;;
    sim)
      shift
      build_programs fairlead-sim
      test_sim "$@"
      ;;
    interop)
      build_programs
      test_interop "${2:-}"
      ;;
    clients)
      shift
      build_programs fairlead
      test_clients "$@"
      ;;
    failpoints)
      shift
      build_programs fairlead
      test_failpoints "$@"
      ;;
    ctl)
      build_programs fairlead fairleadctl
      test_interop ctl_test
      test_interop utl_test
      ;;
    conformance)
      shift
      build_programs fairlead
      test_conformance "$@"
      ;;
    matrix)
      setup_build
      configure release
      compile "$root/build" operator_crash_matrix_test
      test_matrix
      ;;
    --sanitize | --sanitize=*)
      # shellcheck source=sanitize.sh
      . "$root/e2e/lib/sanitize.sh"
      case $1 in --sanitize) test_sanitize "${2:-}" ;; *) test_sanitize "${1#*=}" ;; esac
      ;;
    *)
      fail "'./dev test $1' is unknown" \
        "./dev test [unit | sim [--seconds N] | interop [NAME] | clients [LANGUAGE] [--reference] | ctl | failpoints [NAME ...] | docs | matrix | conformance [--short] ... | --sanitize asan|tsan]"
      ;;
  esac
  print_score
}
