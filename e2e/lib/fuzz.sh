# ./dev fuzz: the fuzz targets, each for a while; fuzz/README.md.

# shellcheck source=build.sh
. "$root/e2e/lib/build.sh"

verb_fuzz() {
  local seconds=60 tree=$root/build/fuzz name code log names=()
  while [ $# -gt 0 ]; do
    case $1 in
      --seconds) seconds=$2 && shift 2 ;;
      -*) fail "'./dev fuzz $1' is unknown" "./dev fuzz [NAME ...] [--seconds S]" ;;
      *) names+=("$1") && shift ;;
    esac
  done
  setup_build
  setup_packages "${packages_fuzz[@]}"
  configure fuzz
  if [ ${#names[@]} = 0 ]; then
    mapfile -t names < <(ninja -C "$tree" -t targets all | sed -n 's/^targets\/\(.*\)_fuzz: .*/\1/p' | sort -u)
  fi
  # An undefined behaviour is a finding, not only a line in the log.
  export UBSAN_OPTIONS="print_stacktrace=1 halt_on_error=1"
  ASAN_SYMBOLIZER_PATH=$(llvm-config-16 --bindir)/llvm-symbolizer
  export ASAN_SYMBOLIZER_PATH
  # -entropic=0: with a whole server under test, weighing its inputs costs several times what running them does.
  say "Building ${#names[@]} fuzz targets"
  compile "$tree" "${names[@]/%/_fuzz}"
  for name in "${names[@]}"; do
    say "$name, $seconds s"
    mkdir -p "$tree/corpus/$name" "$tree/found/$name"
    log=$log_dir/fuzz-$name.log code=0
    quietly "$name" "$log" "$tree/targets/${name}_fuzz" -max_total_time="$seconds" -entropic=0 -timeout=60 -rss_limit_mb=1024 \
      -artifact_prefix="$tree/found/$name/" -print_final_stats=1 "$tree/corpus/$name" "$root/fuzz/corpus/$name" || code=$?
    case_result $code "fuzz $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs"
    [ $code = 0 ] || note "the input is in $tree/found/$name; add it to fuzz/corpus/$name with the fix"
  done
  print_score
}
