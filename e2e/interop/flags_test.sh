#!/usr/bin/env bash
# flags_test.sh: flags do what they do with etcd: each case starts a member with them, the reference and ours, and looks.
# docs/flags.md names the cases. Needs FAIRLEAD_BIN and ETCD_BIN as etcdctl_test.sh does.
# One line a case; the last line is "N passed, N failed".
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/e2e/lib/common.sh"
. "$root/e2e/interop/servers.sh"

work=$(mktemp -d "${TMPDIR:-/tmp}/fairlead-flags.XXXXXX")
trap 'stop_all; [ -n "${FAIRLEAD_KEEP:-}" ] || rm -rf "$work"' EXIT
binary_of() { if [ "$1" = etcd ]; then echo "$ETCD_BIN/etcd"; else echo "$FAIRLEAD_BIN/fairlead"; fi; }
ctl() { "$ETCD_BIN/etcdctl" --endpoints="127.0.0.1:$client_port" --command-timeout=5s "$@"; }
raw() { python3 "$root/e2e/interop/h2raw.py" "$1" "$client_port" "${@:2}"; }
metric() { curl -sf "http://127.0.0.1:$client_port/metrics" | grep -E "^$1"; }

# check NAME COMMAND...
check() {
  local name=$1 log=$work/check.log code=0
  shift
  "$@" >"$log" 2>&1 || code=$?
  case_result $code "$name"
  [ $code = 0 ] || sed 's/^/   | /' "$log" | tail -n 20
}
# with KIND COMMAND FLAG...: the command with a member of that kind, new data, in its own ports; its log is $log.
with() {
  local kind=$1 command=$2 code=0
  shift 2
  rm -rf "$work/m.data"
  client_port=$(free_port) peer_port=$(free_port) log=$work/m.log
  : >"$log"
  start_server m "$(binary_of "$kind")" m "$client_port" "$peer_port" "m=http://127.0.0.1:$peer_port" "$@"
  pid=$last_pid
  if wait_for 20 "$kind to serve" ctl endpoint health; then $command "$kind" || code=1; else code=1; fi
  stop_server "$pid" TERM || true
  [ $code = 0 ] || {
    echo "$kind:"
    tail -n 5 "$log" | cut -c 1-300
  }
  return $code
}
# both COMMAND FLAG...
both() { with etcd "$@" && with fairlead "$@"; }
ours() { with fairlead "$@"; }
says() { # TEXT COMMAND...: it fails, saying so
  local text=$1 out
  shift
  out=$("$@" 2>&1) && return 1
  grep -qF -- "$text" <<<"$out"
}
value_of_size() { head -c "$1" /dev/zero | tr '\0' x; }

txn_ops() {
  printf '\nput a 1\nput b 1\n\n\n' | ctl txn && says "too many operations in txn request" three_puts
}
three_puts() { printf '\nput a 1\nput b 1\nput c 1\n\n\n' | ctl txn; }
request_bytes() { ctl put k "$(value_of_size 1500)" && says "request is too large" ctl put k "$(value_of_size 2100)"; }
streams() { raw settings | grep -x "3 7"; }
fast_pings_refused() { raw ping 30 20 | grep -x too_many_pings; }
fast_pings_allowed() { raw ping 30 20 | grep -x fine; }
server_pings() { # a client that answers none is left after about two seconds (Go pings on its own behalf, too)
  local first end
  read -r first end <<<"$(raw silent)"
  echo "first ping after $first s, end after $end s"
  awk -v f="$first" -v e="$end" 'BEGIN { exit !(f >= 0 && e > 1 && e < 6) }'
}
metrics_pages() {
  curl -sf "http://127.0.0.1:$metrics_port/metrics" | grep '^etcd_server_has_leader 1' &&
    curl -sf "http://127.0.0.1:$metrics_port/health" | grep '"health":"true"'
}
log_file() { # only warnings and worse, as lines for people, in both places
  ctl put k v && stop_server "$pid" TERM
  [ -s "$work/file.log" ] && ! grep -q '"level"' "$work/file.log" && ! grep -qP '\tinfo\t' "$work/file.log" &&
    grep -qP '\twarn\t' "$work/file.log" && grep -qP '\twarn\t' "$log"
}
rotated() {
  local i
  for i in $(seq 40); do ctl put "k$i" v >/dev/null; done
  wait_for 10 "a backup" sh -c "ls '$work'/rotated-2*.log"
}
slow_apply() { ctl put k v && wait_for 5 "the warning" grep -q "apply request took too long" "$log"; }
compacted_soon() {
  local i
  for i in 1 2 3 4 5; do ctl put k "$i"; done
  wait_for 15 "a compaction" says "required revision has been compacted" ctl get k --rev=2 && [ "$(ctl get k --print-value-only)" = 5 ]
}
progress_soon() {
  local out=$work/watch.out
  timeout 6 "$ETCD_BIN/etcdctl" --endpoints="127.0.0.1:$client_port" watch --progress-notify k >"$out" &
  local watcher=$! code=0
  wait_for 6 "a progress notification" grep -q "progress notify" "$out" || code=1
  kill $watcher 2>/dev/null || true
  wait $watcher 2>/dev/null || true
  return $code
}
log_mode() { metric 'fairlead_log_mode\{mode="pwrite' && ctl put k v; }
put_megabytes() {
  local i value
  value=$(value_of_size 100000)
  for i in $(seq "$1"0); do ctl put "m$i" "$value" >/dev/null; done
}
checkpoint_soon() { put_megabytes 3 && wait_for 10 "a checkpoint" checkpoints_made; }
checkpoints_made() { [ "$(metric fairlead_checkpoints_total | cut -d' ' -f2)" -gt 0 ]; }
small_segments() { # each log segment but the first, which is small at once, has the size asked for
  put_megabytes 4
  [ "$(find "$work/m.data/log" -type f -size +2M | wc -l)" = 0 ]
}
small_cache() { put_megabytes 3 && [ "$(metric fairlead_keyspace_cache_bytes | cut -d' ' -f2)" -le 2097152 ]; }
serves() { ctl endpoint health; }

# A limit on locked memory decides whether it can be obeyed: then it is, or the start says why not.
locked_memory() {
  local kind=$1 code=0
  with "$kind" is_locked --memory-mlock || code=1
  [ $code = 0 ] || grep -qi mlock "$work/m.log"
}
is_locked() { awk '/^VmLck:/ { exit !($2 > 1000) }' "/proc/$pid/status"; }
locked_memory_of_both() { locked_memory etcd && locked_memory fairlead; }

config_file() {
  local kind=$1
  client_port=$(free_port) peer_port=$(free_port)
  cat >"$work/config.yaml" <<YAML
name: from-file
data-dir: $work/config-$kind.data
listen-client-urls: http://127.0.0.1:$client_port
advertise-client-urls: http://127.0.0.1:$client_port
listen-peer-urls: http://127.0.0.1:$peer_port
initial-advertise-peer-urls: http://127.0.0.1:$peer_port
initial-cluster: from-file=http://127.0.0.1:$peer_port
max-txn-ops: 2
grpc-keepalive-min-time: 5000000000
YAML
  ETCD_CONFIG_FILE=$work/config.yaml env -u ETCD_BIN "$(binary_of "$kind")" --name ignored >"$work/m.log" 2>&1 &
  pids+=($!)
  pid=$!
  local code=0
  wait_for 20 "$kind to serve" serves && ctl member list | grep -q ', from-file,' && txn_ops || code=1
  stop_server "$pid" TERM || true
  return $code
}
config_files() { config_file etcd && config_file fairlead; }

# refused KIND TEXT CODE FLAG...
refused() {
  local kind=$1 text=$2 want=$3 code=0
  shift 3
  env -u ETCD_BIN timeout 20 "$(binary_of "$kind")" --data-dir "$work/refused.data" "$@" >"$work/refused.log" 2>&1 </dev/null || code=$?
  rm -rf "$work/refused.data"
  [ $code = "$want" ] && grep -qF -- "$text" "$work/refused.log" && return
  echo "$kind: exit code $code, expected $want and: $text"
  tail -n 3 "$work/refused.log" | cut -c 1-300
  return 1
}
both_refuse() { refused etcd "$@" && refused fairlead "$@"; }
refusals() {
  both_refuse "flag provided but not defined: -no-such-flag" 2 --no-such-flag &&
    both_refuse "flag needs an argument: -name" 2 --name &&
    both_refuse 'invalid value "x" for flag -snapshot-count' 2 --snapshot-count=x &&
    both_refuse "should be at least as 5 times as --heartbeat-interval" 1 --election-timeout=200 &&
    both_refuse "is too long, and should be set less than 50000ms" 1 --election-timeout=60000 &&
    both_refuse "must be >0 (set to 0ms)" 1 --heartbeat-interval=0 &&
    both_refuse "--advertise-client-urls is required when --listen-client-urls is set explicitly" 1 --listen-client-urls=http://127.0.0.1:1 &&
    both_refuse "unknown logger option" 1 --logger=glog &&
    both_refuse "unrecognized feature gate: Nothing" 2 --feature-gates=Nothing=true &&
    both_refuse "error parsing CompactionRetention" 1 --auto-compaction-retention=soon &&
    both_refuse 'unknown auto-compaction-mode' 1 --auto-compaction-mode=daily &&
    both_refuse "is not a valid flag" 1 serve
}
existing_needs_peers() { # a member that joins asks its peers first
  both_refuse "" 1 --name=a --initial-cluster-state=existing --initial-cluster=a=http://127.0.0.1:2380,b=http://127.0.0.1:1 \
    --initial-advertise-peer-urls=http://127.0.0.1:2380
}

version_lines() {
  local lines
  lines=$("$FAIRLEAD_BIN/fairlead" --version)
  [ "$(head -n 1 <<<"$lines")" = "$("$ETCD_BIN/etcd" --version | head -n 1)" ] &&
    [ "$(sed -n '2,4s/:.*//p' <<<"$lines")" = "$("$ETCD_BIN/etcd" --version | sed -n '2,4s/:.*//p')" ] &&
    [ "$(sed -n 5p <<<"$lines" | cut -d: -f1)" = "Fairlead Version" ] && [ "$(wc -l <<<"$lines")" = 5 ]
}
# Every flag of etcd's help is in the table, and works or has no effect in both helps at the same place of a line.
help_names() {
  local flag code=0
  for flag in $("$ETCD_BIN/etcd" --help 2>/dev/null | sed -n 's/^  --\([a-z0-9-]*\).*/\1/p'); do
    grep -qF "| \`--$flag\` |" "$root/docs/flags.md" || {
      echo "docs/flags.md does not know --$flag"
      code=1
    }
  done
  "$FAIRLEAD_BIN/fairlead" --help | grep -E "^  --data-dir " || code=1
  ! "$FAIRLEAD_BIN/fairlead" -h | grep -E "^  --unsafe-no-fsync" || code=1
  return $code
}

say "Flags, beside etcd $etcd_version"
check "max-txn-ops" both txn_ops --max-txn-ops=2
check "max-request-bytes" both request_bytes --max-request-bytes=2000
check "max-concurrent-streams" both streams --max-concurrent-streams=7
check "grpc-keepalive-min-time" both fast_pings_allowed --grpc-keepalive-min-time=10ms
check "grpc-keepalive-min-time, its default" both fast_pings_refused
check "grpc-keepalive-interval, grpc-keepalive-timeout" both server_pings --grpc-keepalive-interval=1s --grpc-keepalive-timeout=1s
metrics_port=$(free_port)
check "listen-metrics-urls" both metrics_pages --listen-metrics-urls="http://127.0.0.1:$metrics_port"
rm -f "$work/file.log"
check "log-outputs, log-level, log-format" ours log_file --log-outputs="stderr,$work/file.log" --log-level=warn \
  --log-format=console --snapshot-count=5 --warning-apply-duration=0s
check "warning-apply-duration" both slow_apply --warning-apply-duration=1ns
check "auto-compaction" both compacted_soon --auto-compaction-mode=periodic --auto-compaction-retention=1s
check "watch-progress-notify-interval" both progress_soon --watch-progress-notify-interval=300ms
check "memory-mlock" locked_memory_of_both
check "config-file" config_files
check "refusals" refusals
check "initial-cluster-state" existing_needs_peers
check "fairlead-log-io" ours log_mode --fairlead-log-io=pwrite
check "fairlead-checkpoint-tail" ours checkpoint_soon --fairlead-checkpoint-tail=1MiB
check "fairlead-log-segment" ours small_segments --fairlead-log-segment=1MiB
check "fairlead-value-cache" ours small_cache --fairlead-value-cache=1MiB --fairlead-checkpoint-tail=1MiB
check "version" version_lines
check "help" help_names
print_score
