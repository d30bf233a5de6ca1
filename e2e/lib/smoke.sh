# ./dev e2e smoke: the scenario on a Kubernetes of its own, checked step by step, and taken down afterwards.

# shellcheck source=image.sh
. "$root/e2e/lib/image.sh"
# shellcheck source=scenario.sh
. "$root/e2e/lib/scenario.sh"

# smoke_step NAME FUNCTION...: the rest makes no sense after a failure.
smoke_step() {
  local name=$1 code=0
  shift
  "$@" || code=1
  case_result $code "$name"
  return $code
}

smoke_steps() {
  smoke_step "the operator runs" step_operator &&
    smoke_step "a cluster of three is ready" step_cluster &&
    smoke_step "put, get, watch" step_use &&
    smoke_step "Prometheus scrapes the members" start_prometheus &&
    smoke_step "the leader's pod is deleted under load, nothing is lost" leader_dies deleted &&
    smoke_step "figures in Prometheus" step_figures &&
    smoke_step "the leader is killed under load, nothing is lost" leader_dies killed &&
    smoke_step "the cluster is deleted, nothing of it stays" step_delete
}
step_delete() {
  kn delete flc $cluster --timeout=90s >/dev/null || return 1
  wait_for 60 "members, pods and volumes to go" nothing_left || {
    kn get flm,pods,pvc,services,pdb
    return 1
  }
}
nothing_left() { [ -z "$(kn get flc,flm,pods,pvc,pdb -o name)$(kn get services -o name | grep $cluster-)" ]; }

run_smoke() {
  need_root "a Kubernetes of our own"
  [ ! -e "$state_dir/.fairlead-state" ] || fail "a demo is up on this machine" "./dev demo down ends it"
  state_dir=${FAIRLEAD_SMOKE_STATE:-/var/lib/fairlead-smoke}
  # shellcheck source=../kube/net.sh
  . "$root/e2e/kube/net.sh"
  export FAIRLEAD_STATE=$state_dir
  trap clean_up EXIT
  make_images
  kube_up
  etcd_bin=$(etcd_bin_dir)
  writer=$root/build/e2e-writer
  go_own writer "$writer"
  import_images
  kubectl=("$(module_dir kubernetes)/kubectl" --kubeconfig "$admin_kubeconfig")
  namespace=default reach=pods
  say "Smoke: a cluster, and its leader dies under load"
  smoke_steps || true
  clean_up
  trap - EXIT
  print_score
}
clean_up() {
  save_logs
  "$root/e2e/kube/down.sh"
}
save_logs() {
  [ -d "$logs" ] || return 0
  rm -rf "$log_dir/smoke"
  mkdir -p "$log_dir"
  cp -r "$logs" "$log_dir/smoke"
}
