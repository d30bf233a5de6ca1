# ./dev e2e: tests with real processes on a real Kubernetes.

# shellcheck source=build.sh
. "$root/e2e/lib/build.sh"
# shellcheck source=go.sh
. "$root/e2e/lib/go.sh"
# shellcheck source=../kube/net.sh
. "$root/e2e/kube/net.sh"

kube_up() {
  setup_run
  need_root "a Kubernetes of our own"
  say "Kubernetes $kubernetes_version, built from Go modules"
  go_programs etcd kubernetes coredns
  say "Kubernetes $kubernetes_version, one node"
  "$root/e2e/kube/up.sh"
}
kube_down() {
  say "Taking everything down"
  "$root/e2e/kube/down.sh"
}

import_images() {
  local archive
  for archive in "$root"/build/images/{fairlead,fairlead-operator}.tar; do
    ctr -a "$containerd_socket" -n k8s.io images import "$archive" >/dev/null ||
      fail "the image $archive could not be imported"
  done
}

# For use as: eval "$(./dev e2e kube env)"
kube_env() {
  need_go # it names the folders that programs are kept in
  [ -e "$admin_kubeconfig" ] || fail "no Kubernetes of ours is up" "./dev demo or ./dev e2e kube up starts one"
  echo "export KUBECONFIG='$admin_kubeconfig' PATH='$(module_dir kubernetes):$(module_dir etcd)':\"\$PATH\""
}

verb_e2e() {
  case "${1:-} ${2:-}" in
    "kube up") kube_up ;;
    "kube down") kube_down ;;
    "kube env") kube_env ;;
    "alerts "*)
      # shellcheck source=alerts.sh
      . "$root/e2e/lib/alerts.sh"
      run_alerts
      ;;
    "smoke "*)
      # shellcheck source=smoke.sh
      . "$root/e2e/lib/smoke.sh"
      run_smoke
      ;;
    *) fail "'./dev e2e $*' is unknown" "./dev e2e smoke | alerts | kube up | kube down | kube env" ;;
  esac
}
