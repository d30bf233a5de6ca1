# Starting and ending servers for the interop tests. Sourced; needs `work` (a folder) and common.sh.

pids=()
# start_server LABEL BINARY NAME CLIENT_PORT PEER_PORT CLUSTER [FLAG...]: sets last_pid.
start_server() {
  local label=$1 binary=$2 name=$3 client=http://127.0.0.1:$4 peer=http://127.0.0.1:$5 cluster=$6
  shift 6
  # Variables of the caller's environment that a server would take as flags are not for this one.
  env -u ETCD_BIN "$binary" --name "$name" --data-dir "$work/$label.data" \
    --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" \
    --initial-cluster "$cluster" --initial-cluster-token interop "$@" \
    >>"$work/$label.log" 2>&1 </dev/null &
  last_pid=$!
  pids+=("$last_pid")
}
# stop_server PID [SIGNAL]: the exit code of the process.
stop_server() {
  local code=0
  kill -s "${2:-TERM}" "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || code=$?
  return $code
}
stop_all() {
  local pid
  for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
}
