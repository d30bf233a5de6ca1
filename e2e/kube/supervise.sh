# Sourced by control.sh and node.sh, each of which is process 1 of a PID namespace of its own: when
# that process is killed, the kernel kills all others in it. That is how down.sh misses nothing.

# start NAME COMMAND...: runs it with its log in the log folder.
start() {
  local name=$1
  shift
  "$@" >"$logs/$name.log" 2>&1 </dev/null &
  names[$!]=$name
}

# watch_over: waits for ever; a component that ends is named, and then everything ends, so that the
# demo never goes on with half a cluster. Reaps what is orphaned, as process 1 must.
watch_over() {
  local pid code
  while true; do
    pid='' code=0
    wait -n -p pid || code=$?
    if [ -n "${pid:-}" ] && [ -n "${names[$pid]:-}" ]; then
      echo "${names[$pid]} ended with code $code; its log is $logs/${names[$pid]}.log" >>"$logs/supervisor.log"
      exit 1
    fi
    [ -n "${pid:-}" ] || sleep 1
  done
}
declare -A names
