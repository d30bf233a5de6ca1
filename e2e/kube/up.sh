#!/usr/bin/env bash
# up.sh: a real one-node Kubernetes on this machine, in seconds, without a registry. Can be repeated: a
# cluster that is up stays as it is. Everything it makes is in the state folder; down.sh ends it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/e2e/lib/common.sh"
. "$root/e2e/lib/go.sh"
. "$root/e2e/kube/net.sh"
. "$root/e2e/kube/pki.sh"
. "$root/e2e/kube/configs.sh"

kube_bin=$(module_dir kubernetes)
etcd_bin=$(module_dir etcd)
coredns_bin=$(module_dir coredns)
cni_plugins=/usr/lib/cni
kubectl() { "$kube_bin/kubectl" --kubeconfig "$admin_kubeconfig" "$@"; }
api_ready() { kubectl get --raw /readyz; }
node_ready() { kubectl get node "$node" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}' | grep -q True; }
dns_ready() { kubectl -n kube-system rollout status deployment/coredns --timeout=1s; }

check_machine() {
  need_linux
  need_root "a Kubernetes of our own"
  local p
  for p in containerd runc ip iptables openssl nsenter unshare python3; do need_program "$p"; done
  [ -x $cni_plugins/bridge ] || fail "the CNI plugins are missing" "./dev setup installs containernetworking-plugins"
  unshare --mount --net --pid --fork true 2>/dev/null || fail "this machine lets nobody make namespaces" \
    "run it on a machine or virtual machine, or in a privileged container"
  local group
  group=$(find /sys/fs/cgroup -maxdepth 3 -name kubepods -type d 2>/dev/null | head -n 1)
  if [ -n "$group" ] && find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null | grep -q .; then
    fail "a kubelet runs pods on this machine already (see $group)" "./dev demo --context NAME uses an existing cluster"
  fi
  [ -z "$(ip route show "$pod_cidr")$(ip route show "$service_cidr")" ] || fail \
    "this machine has routes to $pod_cidr or $service_cidr already" "another cluster may be running here"
}

make_folders() {
  mkdir -p "$state_dir"
  touch "$state_dir/.fairlead-state" # down.sh removes only a folder that has this
  mkdir -p "$run" "$logs" "$state_dir"/{volumes,kubelet,etcd,cni,volume-plugins}
  chmod 700 "$state_dir/etcd"
  chmod 755 "$state_dir" "$state_dir/volumes"
  local place
  for place in "${covered_places[@]}"; do
    [ -d "$place" ] || echo "$place" >>"$run/made_places"
    mkdir -p "$place"
  done
}

make_network() {
  ip link add "$bridge" type bridge
  ip addr add "$host_ip/24" dev "$bridge"
  ip link set "$bridge" up
}

# The node's end of the cable goes into the namespace of process 1 of the node.
plug_in_node() {
  local unshare_pid child
  read -r unshare_pid _ <"$run/node.pid"
  wait_for 10 "the node's first process" pgrep -P "$unshare_pid"
  child=$(pgrep -P "$unshare_pid" | head -n 1)
  wait_for 10 "the node's network namespace" not test /proc/self/ns/net -ef "/proc/$child/ns/net"
  ip link add "$veth" type veth peer name eth0 netns "$child"
  ip link set "$veth" master "$bridge" up
  ip route add "$pod_cidr" via "$node_ip"
  ip route add "$service_cidr" via "$node_ip" # kube-proxy on the node serves us too
}

start_control() {
  export root kube_bin etcd_bin FAIRLEAD_STATE=$state_dir
  etcd_port=$(free_port) etcd_peer_port=$(free_port)
  export etcd_port etcd_peer_port
  in_background control unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
    bash "$root/e2e/kube/control.sh"
}
start_node() {
  in_background node unshare --mount --propagation private --net --pid --fork --kill-child --mount-proc \
    bash "$root/e2e/kube/node.sh"
  plug_in_node
}

import_image() { ctr -a "$containerd_socket" -n k8s.io images import "$1" >/dev/null; }

pause_image() {
  local archive=$cache_dir/pause-1.tar folder
  if [ ! -f "$archive" ]; then
    folder=$(mktemp -d)
    gcc -O2 -static -o "$folder/pause" "$root/e2e/image/pause.c"
    python3 "$root/e2e/image/mkimage.py" --name localhost/pause:1 --root "$folder" --out "$archive" \
      --user 65532 --entrypoint '["/pause"]'
    rm -rf "$folder"
  fi
  import_image "$archive"
}
coredns_image() {
  local archive=$coredns_bin/coredns.tar folder
  if [ ! -f "$archive" ]; then
    folder=$(mktemp -d)
    cp "$coredns_bin/coredns" "$folder/"
    python3 "$root/e2e/image/mkimage.py" --name localhost/coredns:dev --root "$folder" --out "$archive" \
      --user 65532 --entrypoint '["/coredns"]'
    rm -rf "$folder"
  fi
  import_image "$archive"
}

explain_and_fail() {
  note "supervisor: $(cat "$logs/supervisor.log" 2>/dev/null || echo 'says nothing')"
  fail "$1" "logs are in $logs"
}

if is_running control && is_running node && node_ready >/dev/null 2>&1; then
  note "Kubernetes is up already"
  exit 0
fi
"$root/e2e/kube/down.sh" >/dev/null
check_machine
begin=$SECONDS
make_folders
make_pki
for name in admin controller-manager scheduler proxy "$node"; do kubeconfig "$name"; done
containerd_config
kubelet_config
make_network
start_control
start_node
wait_for 60 "the API server" api_ready || explain_and_fail "the API server did not start"
note "API server ready after $((SECONDS - begin)) s"
wait_for 60 "containerd" ctr -a "$containerd_socket" version || explain_and_fail "containerd did not start"
pause_image
coredns_image
kubectl apply -f "$root/e2e/kube/addons.yaml" >/dev/null
wait_for 60 "the node" node_ready || explain_and_fail "the node did not get Ready"
note "node ready after $((SECONDS - begin)) s"
wait_for 60 "cluster DNS" dns_ready || explain_and_fail "cluster DNS did not get ready"
note "cluster DNS ready after $((SECONDS - begin)) s"
