# ./dev test --sanitize asan|tsan: tests under the compiler's sanitizers, in trees of their own (build/asan, build/tsan).
#
#   asan   AddressSanitizer with leaks, and UndefinedBehaviorSanitizer: the unit tests, then seeds of the simulator
#   tsan   ThreadSanitizer: what has threads. Real servers under etcdctl, a Go client and a load of puts and watches
#
# A finding is a report in build/log/sanitize-NAME/, whatever the exit code of the program was.

# shellcheck source=build.sh
. "$root/e2e/lib/build.sh"

# asan: every unit test of the tree but these. The operator's whole matrix is one thread of plain code, an hour there.
sanitize_asan_without='operator_crash_matrix_test'
# tsan: what has threads, or hands work to a worker.
sanitize_tsan_tests=(io_real_test storage_real_disk_test net_test node_test api_test import_test discovery_test
  kube_test kube_http_test operator_main_test)
sanitize_seeds=40

# sanitize_reports NAME: how many findings there are; shows the beginning of each.
sanitize_reports() {
  local report count=0
  for report in "$log_dir/sanitize-$1"/report.*; do
    [ -s "$report" ] || continue
    count=$((count + 1))
    note "finding in $report"
    head -n 25 "$report" | sed 's/^/   | /'
  done
  return "$count"
}

# sanitized NAME WHAT COMMAND...: a case that passes if the command does and no report appears.
sanitized() {
  local name=$1 what=$2 code=0
  shift 2
  rm -f "$log_dir/sanitize-$name"/report.*
  quietly "$what" "$log_dir/sanitize-$name/$what.log" "$@" || code=$?
  sanitize_reports "$name" || code=1
  case_result $code "$name: $what"
}

sanitize_tests() {
  local name=$1 test
  shift
  for test in "$@"; do
    # A fuzz target is fed with its corpus.
    local corpus=()
    [ "${test%_fuzz}" = "$test" ] || corpus=("$root/fuzz/corpus/${test%_fuzz}")
    sanitized "$name" "$test" env -C "$root" timeout 1200 "$root/build/$name/tests/$test" "${corpus[@]}"
  done
}

# Three real members: a load of puts and watches, and a leader that is killed under it.
sanitize_load() {
  local i bench=$bin_dir/fairlead-bench endpoints
  work=$(mktemp -d "${TMPDIR:-/tmp}/fairlead-sanitize.XXXXXX")
  # shellcheck source=../interop/servers.sh
  . "$root/e2e/interop/servers.sh"
  local server=$root/build/$1/bin/fairlead cluster='' client_ports=() peer_ports=() code=0
  for i in 0 1 2; do
    client_ports[i]=$(free_port) peer_ports[i]=$(free_port)
    cluster+=${cluster:+,}m$i=http://127.0.0.1:${peer_ports[i]}
  done
  # Races are looked for, not elections: a slow program on a busy machine must not lose its leader.
  local flags=(--fairlead-checkpoint-tail 1MiB --heartbeat-interval 500 --election-timeout 5000)
  for i in 0 1 2; do
    start_server "m$i" "$server" "m$i" "${client_ports[i]}" "${peer_ports[i]}" "$cluster" "${flags[@]}"
  done
  endpoints=$(printf ',127.0.0.1:%s' "${client_ports[@]}")
  endpoints=${endpoints:1}
  for i in 0 1 2; do  # each of them serves
    wait_for 60 "three members" timeout 20 "$bench" put --endpoints "127.0.0.1:${client_ports[i]}" --seconds 1 --warmup 0 || code=1
  done
  "$bench" put --endpoints "$endpoints" --in-flight 64 --seconds 8 --warmup 0 --value-bytes 2000 || code=1
  "$bench" watch --endpoints "$endpoints" --watchers 60 --streams 6 --seconds 5 --warmup 1 || code=1
  stop_server "${pids[0]}" KILL || true
  start_server m0 "$server" m0 "${client_ports[0]}" "${peer_ports[0]}" "$cluster" "${flags[@]}"
  for i in 0 1 2; do  # each of them serves
    wait_for 60 "three members again" timeout 20 "$bench" put --endpoints "127.0.0.1:${client_ports[i]}" --seconds 1 --warmup 0 || code=1
  done
  "$bench" fill --endpoints "$endpoints" --in-flight 64 --keys 1000 || code=1
  "$bench" read --endpoints "$endpoints" --in-flight 64 --seconds 5 --warmup 0 --keys 1000 || code=1
  for i in 1 2 3; do stop_server "${pids[i]}" TERM || code=1; done
  [ $code = 0 ] || tail -n 15 "$work"/*.log
  rm -rf "$work"
  return $code
}

test_sanitize() {
  local name=${1:-}
  case $name in
    asan)
      export ASAN_OPTIONS="log_path=$log_dir/sanitize-asan/report detect_stack_use_after_return=1"
      export UBSAN_OPTIONS="print_stacktrace=1 halt_on_error=1"  # its reports are in the test's own log
      ;;
    tsan) export TSAN_OPTIONS="log_path=$log_dir/sanitize-tsan/report second_deadlock_stack=1" ;;
    *) fail "'--sanitize $name' is unknown" "./dev test --sanitize asan|tsan" ;;
  esac
  setup_build
  say "Building with sanitizers: $name"
  configure "$name"
  mkdir -p "$log_dir/sanitize-$name"
  if [ "$name" = asan ]; then
    local tests
    mapfile -t tests < <(ninja -C "$root/build/asan" -t targets all | sed -n 's/^tests\/\([a-z0-9_]*_\(test\|fuzz\)\): .*/\1/p' |
      sort -u | grep -vxE "$sanitize_asan_without")
    compile "$root/build/asan" "${tests[@]}" fairlead-sim
    say "Unit tests under asan"
    sanitize_tests asan "${tests[@]}"
    say "Seeds of the simulator under asan"
    sanitized asan "$sanitize_seeds seeds" "$root/build/asan/bin/fairlead-sim" --seeds "$sanitize_seeds" --jobs "$jobs"
  else
    compile "$root/build/tsan" "${sanitize_tsan_tests[@]}" fairlead
    build_programs fairlead-bench
    say "Unit tests under tsan"
    sanitize_tests tsan "${sanitize_tsan_tests[@]}"
    say "Three members under tsan"
    sanitized tsan "three members under load" sanitize_load tsan
  fi
}
