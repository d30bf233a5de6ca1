#!/usr/bin/env bash
# node.sh: the node: containerd, kubelet, kube-proxy. Process 1 of its own PID, network and mount
# namespace, so that pods, mounts, network rules and addresses of the node vanish with it.
# Started by up.sh with the environment that up.sh prepares; prints nothing.
set -euo pipefail
. "$root/e2e/lib/common.sh"
. "$root/e2e/kube/net.sh"
. "$root/e2e/kube/supervise.sh"

# Places that container runtimes and kubelet have compiled in: covered, for us alone, by ours.
cover_places() {
  local place
  for place in "${covered_places[@]}"; do
    case $place in
      /tmp/hostpath_pv) mount --bind "$state_dir/volumes" "$place" ;;
      /var/lib/kubelet) mount --bind "$state_dir/kubelet" "$place" ;;
      *) mount -t tmpfs -o mode=755 tmpfs "$place" ;;
    esac
  done
}

# Kubelet sets these for the whole machine; it shall believe that they are set already.
fake_sysctls() {
  local setting file
  for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=$run/sysctl-$(tr / - <<<"${setting%%=*}")
    echo "${setting##*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%%=*}"
  done
}

set_up_network() {
  wait_for 10 "the network link" ip link show eth0
  ip link set lo up
  ip addr replace "$node_ip/24" dev eth0
  ip link set eth0 up
  ip route replace default via "$host_ip"
  echo 1 >/proc/sys/net/ipv4/ip_forward
}

cover_places
fake_sysctls
set_up_network
cd "$run"
start containerd containerd -c "$state_dir/containerd.toml"
wait_for 30 "containerd" ctr -a "$containerd_socket" version
start kubelet "$kube_bin/kubelet" --config="$state_dir/kubelet.yaml" --kubeconfig="$state_dir/$node.kubeconfig" \
  --node-ip="$node_ip" --hostname-override="$node"
start proxy "$kube_bin/kube-proxy" --kubeconfig="$state_dir/proxy.kubeconfig" --proxy-mode=iptables \
  --cluster-cidr=10.244.0.0/16 --hostname-override="$node" --conntrack-max-per-core=0 \
  --bind-address="$node_ip"
watch_over
