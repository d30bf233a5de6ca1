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
  if wait_for 60 "$kind to serve" ctl endpoint health; then $command "$kind" || code=1; else code=1; fi
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

# --- three members: m0, m1, m2
declare -a c_port p_port m_pid
cluster_text() {
  local i text=
  for i in "$@"; do text+=${text:+,}m$i=http://127.0.0.1:${p_port[$i]}; done
  echo "$text"
}
launch_one() { # KIND N FLAG...
  start_server "m$2" "$(binary_of "$1")" "m$2" "${c_port[$2]}" "${p_port[$2]}" "$(cluster_text 0 1 2)" "${@:3}"
  m_pid[$2]=$last_pid
}
on() { "$ETCD_BIN/etcdctl" --endpoints="127.0.0.1:${c_port[$1]}" --command-timeout=5s "${@:2}"; }
three() { # KIND FLAG...
  local i kind=$1 all
  shift
  read -r -a all < <(free_ports 8)
  c_port=("${all[@]:0:4}") p_port=("${all[@]:4:4}")
  rm -rf "$work"/m[0-9].data "$work"/m[0-9].log
  for i in 0 1 2; do launch_one "$kind" $i "$@"; done
  for i in 0 1 2; do wait_for 60 "$kind $i to serve" on $i endpoint health || return 1; done
}
end_three() {
  local i
  for i in 0 1 2; do stop_server "${m_pid[$i]}" KILL || true; done
}

member_basics() { # its name, its addresses, its data
  ctl member list | grep -F ", started, m, http://127.0.0.1:$peer_port, http://127.0.0.1:$client_port," &&
    curl -sf "http://127.0.0.1:$peer_port/version" | grep etcdserver && [ -n "$(ls "$work/m.data")" ]
}
shortest_lease() { ctl lease grant 1 | grep -F 'TTL(6s)'; } # one and a half election timeouts
# heartbeats KIND: what an idle leader sends in a while depends on the interval.
heartbeats() {
  local kind=$1 slow fast
  three "$kind" --heartbeat-interval=1000 --election-timeout=10000 && slow=$(idle_bytes) || return 1
  end_three
  three "$kind" --heartbeat-interval=50 --election-timeout=10000 && fast=$(idle_bytes) || return 1
  end_three
  echo "$kind: $slow bytes in 4 s at 1000 ms, $fast at 50 ms"
  [ "$fast" -gt $((3 * slow)) ]
}
idle_bytes() {
  local before
  sleep 1
  before=$(peer_bytes)
  sleep 4
  echo $(($(peer_bytes) - before))
}
peer_bytes() {
  local i
  for i in 0 1 2; do curl -sf "http://127.0.0.1:${c_port[$i]}/metrics"; done |
    awk '/^etcd_network_peer_sent_bytes_total/ { n += $2 } END { printf "%d\n", n }'
}
two_learners() {
  ctl member add l1 --learner --peer-urls=http://127.0.0.1:1 && ctl member add l2 --learner --peer-urls=http://127.0.0.1:2 &&
    says "too many learner members in cluster" ctl member add l3 --learner --peer-urls=http://127.0.0.1:3
}
auth_on() {
  ctl user add root:r && ctl user grant-role root root && ctl auth enable
}
cheap_hashes() {
  rm -f "$work/cost.db"
  auth_on && "$ETCD_BIN/etcdctl" --endpoints="127.0.0.1:$client_port" --user root:r snapshot save "$work/cost.db" &&
    grep -aqE '[$]2[aby][$]04[$]' "$work/cost.db"
}
gateway_get() { curl -s -H "Authorization: $1" -X POST -d '{"key":"aw=="}' "http://127.0.0.1:$client_port/v3/kv/range"; }
token_over() { gateway_get "$1" | grep "invalid auth token"; }
tokens_end() {
  local token
  auth_on || return 1
  token=$(curl -s -X POST -d '{"name":"root","password":"r"}' "http://127.0.0.1:$client_port/v3/auth/authenticate" | jq -r .token)
  gateway_get "$token" | grep '"header"' && sleep 4 && wait_for 60 "the end of the token" token_over "$token"
}
# lose_one KIND FLAG...: with one of three members gone, the other one is removed, which leaves no majority.
lose_one() {
  local victim
  three "$@" || return 1
  victim=$(on 0 member list | awk -F', ' '$3 == "m1" { print $1 }')
  stop_server "${m_pid[2]}" KILL || true
  wait_for 60 "a leader" on 0 put k v || return 1
  on 0 member remove "$victim" >"$work/removal" 2>&1 || true
  end_three
  cat "$work/removal"
}
strict() {
  lose_one "$1" | grep -E "unhealthy cluster|not enough started members" &&
    lose_one "$1" --strict-reconfig-check=false | grep -E "removed from cluster|timed out|deadline exceeded" # not refused
}
hash_checks() { # FLAG...: members compare their data
  three fairlead "$@" || return 1
  on 0 put k v && on 0 put k w && on 0 compact 3 || return 1
  wait_for 60 "a comparison" checks_made
  end_three
}
checks_made() {
  local i
  for i in 0 1 2; do curl -sf "http://127.0.0.1:${c_port[$i]}/metrics"; done |
    awk '/^fairlead_hash_checks_total/ { n += $2 } END { exit !(n > 0) }'
}

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
rotated() { # more than a megabyte of warnings
  curl -s -o /dev/null -X POST -d '{"key":"aw==","value":"dg=="}' "http://127.0.0.1:$client_port/v3/kv/put?[1-8000]"
  wait_for 60 "a backup" sh -c "ls '$work'/rotated-2*.log" && [ "$(find "$work" -name 'rotated*.log' -size +1100k | wc -l)" = 0 ]
}
slow_apply() { ctl put k v && wait_for 60 "the warning" grep -q "apply request took too long" "$log"; }
compacted_soon() {
  local i
  for i in 1 2 3 4 5; do ctl put k "$i"; done
  wait_for 60 "a compaction" says "required revision has been compacted" ctl get k --rev=2 && [ "$(ctl get k --print-value-only)" = 5 ]
}
progress_soon() {
  local out=$work/watch.out
  timeout 6 "$ETCD_BIN/etcdctl" --endpoints="127.0.0.1:$client_port" watch --progress-notify k >"$out" &
  local watcher=$! code=0
  wait_for 60 "a progress notification" grep -q "progress notify" "$out" || code=1
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
checkpoint_soon() { put_megabytes 3 && wait_for 60 "a checkpoint" checkpoints_made; }
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
  wait_for 60 "$kind to serve" serves && ctl member list | grep -q ', from-file,' && txn_ops || code=1
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
    refused fairlead "--unsafe-no-fsync is refused: what is acknowledged must be durable" 2 --unsafe-no-fsync &&
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

# again FLAG...: the member that stands, once more in its ports and with its data.
again() {
  stop_server "$pid" TERM || true
  start_server m "$(binary_of "$kind")" m "$client_port" "$peer_port" "m=http://127.0.0.1:$peer_port" "$@"
  pid=$last_pid
  wait_for 60 "$kind to serve again" serves
}
# not_again TEXT FLAG...: it ends with an error that says so.
not_again() {
  local text=$1 code=0
  shift
  stop_server "$pid" TERM || true
  : >"$log"
  start_server m "$(binary_of "$kind")" m "$client_port" "$peer_port" "m=http://127.0.0.1:$peer_port" "$@"
  pid=$last_pid
  timeout 60 tail --pid="$pid" -f /dev/null || return 1
  wait "$pid" || code=$?
  [ $code = 1 ] && grep -qF -- "$text" "$log"
}
wal_dir() {
  rm -rf "$work/wal"
  with "$1" wal_apart --wal-dir="$work/wal"
}
wal_apart() {
  ctl put k v || return 1
  if [ "$1" = etcd ]; then
    ls "$work"/wal/*.wal && [ ! -e "$work/m.data/member/wal" ] || return 1
  else
    ls "$work"/wal/log-* && [ ! -e "$work/m.data/log" ] || return 1
  fi
  again --wal-dir="$work/wal" && [ "$(ctl get k --print-value-only)" = v ]
}
# Data without its log is not served, nor is a log that another member uses.
wal_lost() {
  rm -rf "$work/wal"
  with fairlead wal_needed --wal-dir="$work/wal"
}
wal_needed() {
  ctl put k v && not_again "--wal-dir" && not_again "is --wal-dir what it was?" --wal-dir="$work/nowhere" &&
    not_again "must not be the data directory" --wal-dir="$work/m.data" || return 1
  again --wal-dir="$work/wal" || return 1
  refused fairlead "LOCK" 1 --wal-dir="$work/wal" --listen-peer-urls="http://127.0.0.1:$(free_port)"
}
# What etcd left behind, its log elsewhere, is taken over.
wal_imported() {
  rm -rf "$work/wal"
  kind=fairlead
  with etcd wal_left --wal-dir="$work/wal"
}
wal_left() {
  local kind=fairlead
  ctl put k v && again --wal-dir="$work/wal" && [ "$(ctl get k --print-value-only)" = v ] && ls "$work"/wal/log-*
}

# A port that is taken, by somebody who would share it.
reuse_port() {
  local kind=$1 holder code=0
  rm -rf "$work/m.data" "$work/holder" # what it said the last time
  client_port=$(free_port) peer_port=$(free_port) log=$work/m.log
  : >"$log"
  python3 -c 'import socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(("127.0.0.1", int(sys.argv[1])))
print("taken", flush=True)
time.sleep(300)' "$client_port" >"$work/holder" &
  holder=$!
  pids+=("$holder")
  wait_for 60 "the holder" grep -q taken "$work/holder" || return 1
  pid=$holder
  start_server m "$(binary_of "$kind")" m "$client_port" "$peer_port" "m=http://127.0.0.1:$peer_port"
  pid=$last_pid
  timeout 60 tail --pid="$pid" -f /dev/null || return 1
  wait "$pid" || code=$?
  [ $code = 1 ] && grep -qi "address already in use" "$log" || return 1
  start_server m "$(binary_of "$kind")" m "$client_port" "$peer_port" "m=http://127.0.0.1:$peer_port" --socket-reuse-port
  pid=$last_pid code=0
  wait_for 60 "$kind to serve" serves || code=1
  stop_server "$pid" TERM || true
  stop_server "$holder" KILL || true
  return $code
}

snapshots_sent() {
  local i
  for i in 0 1; do curl -sf "http://127.0.0.1:${c_port[$i]}/metrics"; done |
    awk '/^etcd_network_snapshot_send_success/ { n += $2 } END { print n + 0 }'
}
level() { # who was away has caught up
  [ "$(on 2 get last --consistency=s --print-value-only)" = "$1" ]
}
# catches_up KIND ENTRIES snapshot|log: how a member that was away gets what it missed.
catches_up() {
  local kind=$1 entries=$2 want=$3 i value code=0
  local flags=(--snapshot-catchup-entries="$entries")
  if [ "$kind" = etcd ]; then
    flags+=(--snapshot-count=20)
  else
    flags+=(--fairlead-checkpoint-tail=1MiB --fairlead-log-segment=1MiB)
  fi
  three "$kind" "${flags[@]}" || return 1
  value=$(value_of_size 100000)
  stop_server "${m_pid[2]}" KILL || true
  wait_for 60 "a leader" on 0 put k v || code=1
  for i in $(seq 80); do on 0 put "k$i" "$value" >/dev/null || on 0 put "k$i" "$value" >/dev/null || code=1; done
  wait_for 60 "the last put" on 0 put last "$i" || code=1
  launch_one "$kind" 2 "${flags[@]}"
  wait_for 60 "the third member" level "$i" || code=1
  echo "$kind, $entries entries: $(snapshots_sent) snapshots"
  if [ "$want" = log ]; then
    [ "$(snapshots_sent)" = 0 ] || code=1
  else
    wait_for 60 "the count of snapshots" [ "$(snapshots_sent)" -gt 0 ] || code=1
  fi
  end_three
  return $code
}
catch_up() {
  catches_up etcd 5 snapshot && catches_up fairlead 5 snapshot && catches_up etcd 1000 log && catches_up fairlead 1000 log
}

# The majority is lost for good: its only survivor becomes a cluster of one, with its data.
force_new() {
  local kind=$1 code=0
  three "$kind" && on 1 put k v && on 0 get k | grep -qx v || return 1
  stop_server "${m_pid[1]}" KILL || true
  stop_server "${m_pid[2]}" KILL || true
  ! on 0 put maybe lost || return 1 # ours keeps what may have been acknowledged, etcd does not
  stop_server "${m_pid[0]}" TERM || true
  launch_one "$kind" 0 --force-new-cluster
  wait_for 60 "the survivor" on 0 endpoint health || return 1
  [ "$(on 0 member list | wc -l)" = 1 ] && on 0 get k --print-value-only | grep -x v && on 0 put after 1 || return 1
  stop_server "${m_pid[0]}" TERM || true
  launch_one "$kind" 0
  wait_for 60 "the survivor, as usual" on 0 endpoint health || return 1
  [ "$(on 0 member list | wc -l)" = 1 ] && [ "$(on 0 get after --print-value-only)" = 1 ] || return 1
  launch_one "$kind" 1 # it is out, and comes to nothing
  if [ "$kind" = fairlead ]; then
    timeout 60 tail --pid="${m_pid[1]}" -f /dev/null || return 1
    wait "${m_pid[1]}" || code=$?
    [ $code = 1 ] && grep -q 'removed from the cluster' "$work/m1.log" || return 1
  else
    sleep 3
    ! on 1 endpoint health || return 1
    stop_server "${m_pid[1]}" KILL || true
  fi
  [ "$(on 0 member list | wc -l)" = 1 ] && on 0 member add m3 --peer-urls="http://127.0.0.1:${p_port[3]}" || return 1
  start_server m3 "$(binary_of "$kind")" m3 "${c_port[3]}" "${p_port[3]}" "$(cluster_text 0),m3=http://127.0.0.1:${p_port[3]}" \
    --initial-cluster-state existing
  m_pid[1]=$last_pid m_pid[2]=$last_pid
  wait_for 60 "a new second member" on 3 endpoint health && [ "$(on 3 get k --print-value-only)" = v ] || return 1
  end_three
}
force_new_of_both() { force_new etcd && force_new fairlead; }
force_new_idle() { # of a directory without a cluster it says nothing
  with "$1" serves --force-new-cluster
}

v2_names() {
  refused fairlead "--enable-v2 is refused: the v2 HTTP API is not here yet" 2 --enable-v2 &&
    refused fairlead "--enable-v2 is refused: the v2 HTTP API is not here yet" 2 --enable-v2=true &&
    refused fairlead "--proxy is refused: the v2 proxy is gone" 2 --proxy=on &&
    refused fairlead "--proxy is refused: the v2 proxy is gone" 2 --proxy readonly &&
    refused fairlead "--discovery is refused: the discovery service of the v2 API" 2 --discovery=http://127.0.0.1:1/token &&
    refused fairlead "--discovery-proxy is refused" 2 --discovery-proxy=http://127.0.0.1:1 &&
    both_refuse "v2 proxy is deprecated" 1 --discovery-fallback=proxy &&
    ours serves --enable-v2=false --proxy=off --discovery= --discovery-proxy= --discovery-fallback=exit
}

say "Flags, beside etcd $etcd_version"
check "name, data-dir, listen and advertise URLs" both member_basics
check "election-timeout" both shortest_lease --election-timeout=4000
check "heartbeat-interval" eval "heartbeats etcd && heartbeats fairlead"
check "max-learners" both two_learners --max-learners=2
check "bcrypt-cost" both cheap_hashes --bcrypt-cost=4
check "auth-token-ttl" both tokens_end --auth-token-ttl=1
check "strict-reconfig-check" eval "strict etcd && strict fairlead"
check "corrupt-check-time" hash_checks --corrupt-check-time=500ms
check "compact-hash-check-time" hash_checks --feature-gates=CompactHashCheck=true --compact-hash-check-time=500ms
check "enable-log-rotation, log-rotation-config-json" ours rotated --log-outputs="$work/rotated.log" --enable-log-rotation \
  --log-rotation-config-json='{"maxsize":1,"maxbackups":2}' --warning-apply-duration=1ns
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
check "fairlead-memory-limit" ours small_cache --fairlead-memory-limit=4MiB --fairlead-checkpoint-tail=1MiB
check "wal-dir" eval "wal_dir etcd && wal_dir fairlead"
check "wal-dir: data without its log" wal_lost
check "wal-dir: etcd's data" wal_imported
check "socket-reuse-port" eval "reuse_port etcd && reuse_port fairlead"
check "snapshot-catchup-entries" catch_up
check "force-new-cluster" force_new_of_both
check "force-new-cluster: a first start" eval "force_new_idle etcd && force_new_idle fairlead"
check "names of the v2 API" v2_names
check "version" version_lines
check "help" help_names
print_score
