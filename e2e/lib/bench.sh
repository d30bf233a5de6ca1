# ./dev bench: Fairlead and the reference etcd side by side; bench/ has the benchmark itself.

# shellcheck source=build.sh
. "$root/e2e/lib/build.sh"
# shellcheck source=go.sh
. "$root/e2e/lib/go.sh"

verb_bench() {
  [ -x "$root/bench/run" ] || fail "there is no bench/run in this checkout"
  case " $* " in *" -h "* | *" --help "*) exec "$root/bench/run" --help ;; esac
  need_go
  build_programs
  go_programs etcd
  if [ "${1:-}" = start ]; then
    shift
    say "From a start to the first write; many starts and stops"
    FAIRLEAD_BIN=$bin_dir ETCD_BIN=$(etcd_bin_dir) exec python3 -B "$root/bench/start.py" "$@"
  fi
  say "Benchmark"
  FAIRLEAD_BIN=$bin_dir ETCD_BIN=$(etcd_bin_dir) exec "$root/bench/run" "$@"
}
