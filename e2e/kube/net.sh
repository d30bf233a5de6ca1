# Names and addresses of the one-node Kubernetes. Sourced by up.sh, node.sh, control.sh and down.sh.

node=n1
bridge=br-fairlead
veth="veth-fairlead"
host_ip=10.78.0.1 # our end of the bridge; the API server listens here and nowhere else
node_ip=10.78.0.2
pod_cidr=10.244.1.0/24
service_cidr=10.96.0.0/16
api_service_ip=10.96.0.1
dns_ip=10.96.0.10
api_url=https://$host_ip:6443

# Where everything of a running cluster is. The node's socket has to be reachable by a short path.
pki=$state_dir/pki
run=$state_dir/run
logs=$state_dir/log
containerd_socket=$state_dir/containerd.sock
admin_kubeconfig=$state_dir/admin.kubeconfig

# Places that container runtimes and kubelet have compiled in; node.sh covers them for itself alone.
covered_places=(/run/containerd /var/lib/cni /var/lib/kubelet /var/log/pods /var/log/containers /tmp/hostpath_pv)

# Processes that outlive a script are recorded by ID and start time, so that no other process, which
# happens to have got the same ID later, is ever ended in their place.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
# in_background NAME COMMAND...: one of a name; what a run that failed left behind is ended first.
in_background() {
  local name=$1
  shift
  end "$name"
  setsid "$@" >"$logs/$name.log" 2>&1 </dev/null &
  echo "$! $(start_time $!)" >"$run/$name.pid"
}
# is_running NAME: true if the recorded process still is the one that was started.
is_running() {
  local pid started
  read -r pid started 2>/dev/null <"$run/$1.pid" || return 1
  [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ]
}
# end NAME [SIGNAL]: the process and its children (in_background made a process group of them).
end() {
  local pid
  if is_running "$1"; then
    read -r pid _ <"$run/$1.pid"
    kill -s "${2:-KILL}" -- "-$pid" 2>/dev/null || true
    wait_for 20 "the end of $1" not is_running "$1" || true
  fi
  rm -f "$run/$1.pid"
}
not() { ! "$@"; }
