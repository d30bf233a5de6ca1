# ./dev demo: the whole of Fairlead on a real Kubernetes, told step by step; it stays up afterwards.

# shellcheck source=e2e.sh
. "$root/e2e/lib/e2e.sh"
# shellcheck source=image.sh
. "$root/e2e/lib/image.sh"
# shellcheck source=scenario.sh
. "$root/e2e/lib/scenario.sh"

# tell TEXT STEP...: what is done now, then the step; a step that fails ends the demo with what is known.
tell() {
  say "$1"
  shift
  "$@" || fail "the demo stops here: '$1' did not go as it should" "logs: $logs; ./dev demo down${context:+ --context $context} ends it"
}

own_kubernetes() {
  need_linux
  need_root "a Kubernetes of our own" # said before anything is built
  make_images
  kube_up
  import_images
  kubectl=("$(module_dir kubernetes)/kubectl" --kubeconfig "$admin_kubeconfig")
  namespace=default reach=pods
}

# A Kubernetes of the user's: nothing is assumed of its network, everything goes through its API server.
use_context() {
  command -v kubectl >/dev/null || fail "there is no program 'kubectl'" \
    "put the one that you use with context '$context' into PATH"
  kubectl=(kubectl --context "$context")
  namespace=fairlead-demo reach=forward
  state_dir=${FAIRLEAD_STATE:-$cache_dir/demo-$context}
  # shellcheck source=../kube/net.sh
  . "$root/e2e/kube/net.sh"
}
need_answer() {
  k get --raw /readyz >/dev/null || fail "the Kubernetes of context '$context' does not answer" \
    "the reason is above; kubectl config get-contexts lists the contexts"
}
context_kubernetes() {
  need_answer
  mkdir -p "$run" "$logs"
  touch "$state_dir/.fairlead-state"
  if [ -n "${FAIRLEAD_IMAGE:-}" ] && [ -n "${FAIRLEAD_OPERATOR_IMAGE:-}" ]; then
    setup_run
    go_programs etcd
    note "images: $FAIRLEAD_IMAGE, $FAIRLEAD_OPERATOR_IMAGE"
  else
    make_images
    bring_images
  fi
  k get namespace $namespace >/dev/null 2>&1 || k create namespace $namespace >/dev/null
}
nodes_have_images() {
  k get nodes -o json | jq -e '[.items[].status.images[]?.names[]?] |
    contains(["localhost/fairlead:dev", "localhost/fairlead-operator:dev"])' >/dev/null
}
# Local clusters take image archives; for others the user has to say where the images are.
bring_images() {
  local archive
  for archive in "$root"/build/images/{fairlead,fairlead-operator}.tar; do
    case $context in
      kind-*) kind load image-archive "$archive" --name "${context#kind-}" ;;
      k3d-*) k3d image import "$archive" -c "${context#k3d-}" ;;
      minikube*) minikube -p "$context" image load "$archive" ;;
      *)
        # A kubelet reports what it has a while after it got it.
        nodes_have_images || wait_for 30 "the nodes to report the images" nodes_have_images ||
          fail "the nodes of '$context' do not have the images" "on each node: ctr -n k8s.io images import FILE, for both files in build/images; or push the images to a registry that the nodes use and set FAIRLEAD_IMAGE and FAIRLEAD_OPERATOR_IMAGE"
        return
        ;;
    esac || fail "the image $archive could not be loaded into '$context'"
  done
}

demo_down() {
  if [ -n "$context" ]; then
    use_context
    say "Deleting the demo from context $context"
    need_answer
    local file
    for file in "$run"/*.pid; do [ ! -e "$file" ] || end "$(basename "$file" .pid)" TERM; done
    rm -rf "$state_dir"
    if ! k get crd fairleadclusters.fairlead.io >/dev/null 2>&1; then
      k delete namespace $namespace --ignore-not-found --timeout=60s >/dev/null || fail "namespace $namespace could not be deleted"
      note "nothing of the demo is there"
      return
    fi
    kn delete flc $cluster --ignore-not-found --timeout=120s || true
    # Other clusters of the user's need operator and kinds; deleting the kinds would delete them too.
    if [ -n "$(k get flc -A -o name)" ]; then
      note "there are other FairleadClusters, so the operator and the kinds stay"
    else
      manifest "$root/manifests/operator.yaml" | k delete --ignore-not-found --timeout=60s -f - >/dev/null
      k delete --ignore-not-found --timeout=60s -f "$root/manifests/crds" >/dev/null
    fi
    k delete namespace $namespace --ignore-not-found --timeout=60s >/dev/null
    note "nothing of the demo is left in it"
    return
  fi
  kube_down
}

step_show() {
  echo
  kn get flc $cluster | sed 's/^/   /'
  echo
  kn get pods -o wide | cut -c 1-110 | sed 's/^/   /'
}

next_steps() {
  local prefix="kubectl --context $context -n $namespace"
  [ -n "$context" ] || prefix=kubectl
  say "It stays up. Three things to try:"
  echo
  if [ -z "$context" ]; then
    echo "   eval \"\$($root/dev e2e kube env)\"        # kubectl and etcdctl of the demo, in this shell"
    echo
  fi
  echo "   1. $prefix get flc,flm,pods,pvc"
  echo "   2. etcdctl --endpoints=$(service_endpoints) put color blue"
  echo "   3. $prefix delete pod $(leader_pod) && $prefix get flc demo -w"
  echo
  echo "   Prometheus: http://127.0.0.1:$prometheus_port/graph?g0.expr=etcd_mvcc_put_total&g0.tab=0"
  echo "   The end:    ./dev demo down${context:+ --context $context}"
  echo
}

interrupted() {
  say "Interrupted. What is up stays up: ./dev demo down${context:+ --context $context} ends it"
}
run_demo() {
  local begin=$SECONDS
  on_interrupt=interrupted
  trap 'interrupted; exit 130' INT TERM
  if [ -n "$context" ]; then context_kubernetes; else own_kubernetes; fi
  etcd_bin=$(etcd_bin_dir)
  writer=$root/build/e2e-writer
  go_own writer "$writer"
  tell "kubectl apply: the kinds FairleadCluster and FairleadMember, the operator" step_operator
  tell "kubectl apply: a FairleadCluster of three members ($root/manifests/samples/cluster.yaml)" step_cluster
  tell "Data, by the original etcdctl $etcd_version" step_use
  tell "A real Prometheus scrapes the members" start_prometheus
  tell "The leader's pod is deleted while a load writes" leader_dies deleted
  tell "Three figures from Prometheus" step_figures
  tell "kubectl get flc" step_show
  next_steps
  note "the demo took $((SECONDS - begin)) s"
}

verb_demo() {
  local action=run
  context=
  while [ $# -gt 0 ]; do
    case $1 in
      down) action=down ;;
      --context)
        [ -n "${2:-}" ] || fail "--context needs a name" "kubectl config get-contexts lists them"
        context=$2 && shift
        ;;
      --context=*) context=${1#*=} ;;
      *) fail "'./dev demo $1' is unknown" "./dev demo [down] [--context NAME]" ;;
    esac
    shift
  done
  [ -z "$context" ] || use_context
  case $action in
    run) run_demo ;;
    down) demo_down ;;
  esac
}
