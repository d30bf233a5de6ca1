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
# compare_outputs WHAT: $work/out-etcd/NAME and $work/out-fairlead/NAME, each name a case.
compare_outputs() {
  local name
  for name in $(cd "$work" && ls out-etcd out-fairlead | sed '/:$/d; /^$/d' | sort -u); do
    if diff -u --label etcd --label fairlead "$work/out-etcd/$name" "$work/out-fairlead/$name" >"$work/diff" 2>&1; then
      case_passed "$1: $name"
    else
      case_failed "$1: $name"
      cut -c 1-400 "$work/diff" | head -n 30 | sed 's/^/   | /'
    fi
  done
}
stop_all() {
  local pid
  for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
}
