# ./dev e2e alerts: etcd's alert rules and dashboard on our members; see e2e/alerts/.

run_alerts() {
  setup_run
  need_root "a disk that is slow on purpose (a control group)"
  build_programs fairlead
  go_programs mixin
  go_own alerts/load "$root/build/e2e-alerts-load"
  local mixin log=$log_dir/alerts.log
  mixin=$(cd "$go_modules/mixin" && go mod download -json go.etcd.io/etcd/v3 | jq -r .Dir)/contrib/mixin
  [ -d "$mixin/alerts" ] || fail "etcd's alert rules are not in its module" "looked in $mixin"
  say "etcd's alert rules on live clusters; about 5 minutes"
  mkdir -p "$root/build/alerts" # its disk is the one that is slowed down: no folder in memory
  FAIRLEAD=$bin_dir/fairlead LOAD=$root/build/e2e-alerts-load JSONNET=$(module_dir mixin)/jsonnet MIXIN=$mixin \
    ALERTS_DIR=$root/build/alerts python3 -B "$root/e2e/alerts/run.py" 2>&1 | tee "$log" |
    sed -u '/^[0-9]* passed, [0-9]* failed$/d' || true
  add_score "$log"
  print_score
}
