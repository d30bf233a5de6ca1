# ./dev tidy: the layer rule, the purity of raft, mvcc and plan, file sizes; formatting as a warning.

# shellcheck source=build.sh
. "$root/e2e/lib/build.sh"
# shellcheck source=fmt.sh
. "$root/e2e/lib/fmt.sh"

# check_purity NAME FOLDER...: the libraries of these folders ask only for harmless symbols.
check_purity() {
  local name=$1 folder libraries=() targets=()
  shift
  for folder in "$@"; do
    if [ ! -f "$root/$folder/CMakeLists.txt" ]; then
      note "skipped: purity of $name ($folder is not here yet)"
      return
    fi
    targets+=("fairlead_$(basename "$folder")")
    libraries+=("$root/build/$folder/libfairlead_$(basename "$folder").a")
  done
  compile "$root/build" "${targets[@]}" >/dev/null
  if python3 "$root/e2e/tidy/purity.py" "$root/build" "${libraries[@]}" >"$log_dir/purity.log" 2>&1; then
    case_passed "purity of $name ($(tail -n 1 "$log_dir/purity.log"))"
  else
    sed 's/^/   | /' "$log_dir/purity.log"
    case_failed "purity of $name"
  fi
}

check_layers() {
  local code=0
  (cd "$root/e2e/tidy" && python3 -B layers_test.py) >"$log_dir/layers-test.log" 2>&1 || code=$?
  case_result $code "the layer check finds what it should"
  if python3 "$root/e2e/tidy/layers.py" >"$log_dir/layers.log" 2>&1; then
    case_passed "layer rule, file sizes ($(tail -n 1 "$log_dir/layers.log"))"
  else
    sed 's/^/   | /' "$log_dir/layers.log"
    case_failed "layer rule, file sizes"
  fi
}

check_flags() {
  local code=0
  (cd "$root/e2e/tidy" && python3 -B flags_test.py) >"$log_dir/flags-test.log" 2>&1 || code=$?
  case_result $code "the check of flags finds what it should"
  if python3 -B "$root/e2e/tidy/flags.py" >"$log_dir/flags.log" 2>&1; then
    case_passed "every flag has a test ($(tail -n 1 "$log_dir/flags.log"))"
  else
    sed 's/^/   | /' "$log_dir/flags.log"
    case_failed "every flag has a test"
  fi
}

check_rules() {
  local code=0
  (cd "$root/e2e/tidy" && python3 -B rules_test.py) >"$log_dir/rules-test.log" 2>&1 || code=$?
  case_result $code "the check of rules finds what it should"
  if python3 -B "$root/e2e/tidy/rules.py" >"$log_dir/rules.log" 2>&1; then
    case_passed "every rule of the API has a test ($(tail -n 1 "$log_dir/rules.log"))"
  else
    sed 's/^/   | /' "$log_dir/rules.log"
    case_failed "every rule of the API has a test"
  fi
}

check_scripts() {
  if (cd "$root" && git ls-files -co --exclude-standard -- dev .ci/run '*.sh' | xargs shellcheck -s bash -S warning -e SC2154,SC2034,SC2119,SC2120) \
    >"$log_dir/shellcheck.log" 2>&1; then
    case_passed "shellcheck"
  else
    sed 's/^/   | /' "$log_dir/shellcheck.log" | head -n 60
    case_failed "shellcheck"
  fi
}

# A warning for now: sources are still being written side by side.
warn_format() {
  local file count=0
  while read -r file; do
    clang-format-14 --dry-run --Werror "$root/$file" >/dev/null 2>&1 || count=$((count + 1))
  done < <(cpp_sources)
  [ $count = 0 ] || note "warning: $count of $(cpp_sources | wc -l) sources are not as ./dev fmt would write them"
}

verb_tidy() {
  setup_build
  setup_packages "${packages_check[@]}"
  say "Tidy"
  configure release
  check_layers
  check_flags
  check_rules
  check_purity "raft, mvcc" server/raft server/mvcc base
  check_purity plan operator/plan base
  check_scripts
  warn_format
  print_score
}
