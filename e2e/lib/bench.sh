# ./dev bench: Fairlead and the reference etcd side by side; bench/ has the benchmark itself.

# shellcheck source=build.sh
. "$root/e2e/lib/build.sh"
# shellcheck source=go.sh
. "$root/e2e/lib/go.sh"

verb_bench() {
  [ -x "$root/bench/run" ] || fail "there is no bench/run in this checkout"
  need_go
  build_programs
  go_programs etcd
  say "Benchmark"
  FAIRLEAD_BIN=$bin_dir ETCD_BIN=$(etcd_bin_dir) exec "$root/bench/run" "$@"
}
