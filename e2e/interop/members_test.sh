#!/usr/bin/env bash
# members_test.sh: members that come and go, by the original etcdctl: each command against etcd and against our server,
# equal in output and exit code; then what is ours: growing to five and back to one under load, and refusals.
# Needs FAIRLEAD_BIN (folder with fairlead), ETCD_BIN (folder with etcd, etcdctl and etcdutl) and GOCLIENT (a program).
# One line a case; the last line is "N passed, N failed".
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/e2e/lib/common.sh"
. "$root/e2e/interop/servers.sh"

server=$FAIRLEAD_BIN/fairlead
etcdctl=$ETCD_BIN/etcdctl
work=$(mktemp -d "${TMPDIR:-/tmp}/fairlead-members.XXXXXX")
trap 'stop_all; [ -n "${FAIRLEAD_KEEP:-}" ] || rm -rf "$work"' EXIT

declare -a client_port peer_port member
take_ports() {
  local all
  read -r -a all < <(free_ports 10)
  client_port=("${all[@]:0:5}") peer_port=("${all[@]:5:5}")
}
peer_url() { echo "http://127.0.0.1:${peer_port[$1]}"; }
# cluster_of N...: the text of --initial-cluster.
cluster_of() {
  local i text=
  for i in "$@"; do text+=${text:+,}m$i=$(peer_url "$i"); done
  echo "$text"
}
# launch LABEL BINARY N STATE MEMBERS...
launch() {
  local label=$1 binary=$2 n=$3 state=$4
  shift 4
  start_server "$label-m$n" "$binary" "m$n" "${client_port[$n]}" "${peer_port[$n]}" "$(cluster_of "$@")" \
    --initial-cluster-state "$state"
  member[n]=$last_pid
}
on() { "$etcdctl" --endpoints="http://127.0.0.1:${client_port[$1]}" "${@:2}"; }
id_of() { on "${2:-0}" member list | awk -F', ' -v name="m$1" '$3 == name {print $1}'; }
# A connection counts as healthy after five seconds, in etcd as here: tried until it is.
eventually() { wait_for 60 "$*" "$@"; }
# Each may be tried again when its answer did not come.
add_once() { # BY N FLAG...
  on "$1" member list | grep -q "$(peer_url "$2"), " || on "$1" member add "m$2" --peer-urls="$(peer_url "$2")" "${@:3}"
}
promote_once() { on "$1" member list | grep -q "^$2, .*, false$" || on "$1" member promote "$2"; }
remove_once() {
  local list
  list=$(on "$1" member list) || return 1
  ! grep -q "^ *$2, " <<<"$list" || on "$1" member remove "$2"
}
ended() { ! kill -0 "$1" 2>/dev/null; }

# run NAME COMMAND...: keeps what it prints, IDs and ports masked, lines of lists in an order of their own.
run() {
  local name=$1 code=0
  shift
  "$@" >"$out/raw" 2>&1 </dev/null || code=$?
  {
    sed -E -e '/^\{"level":/d' -e 's/127\.0\.0\.1:[0-9]+/HOST/g' -e 's/ *\b[0-9a-f]{12,16}\b/ ID/g' \
      -e 's/"(cluster_id|member_id|raft_term|ID)":[0-9]+/"\1":N/g' -e 's/(m[0-9]=http:..HOST,?)+/CLUSTER/' "$out/raw" | sort
    echo "exit $code"
  } >"$out/$name"
}

named() { [ -n "$(id_of "$1")" ]; }
by_name() { "$@" | jq -c '.members |= sort_by(.name)'; }

# A learner hands a whole snapshot out: etcdutl reads it, and the keys in it are the members'.
learner_snapshot() {
  on 0 put in-the-snapshot 1 && eventually on_learner in-the-snapshot || return 1
  on 2 snapshot save "$work/learner-$1.db" >/dev/null 2>&1 || return 1
  "$ETCD_BIN/etcdutl" hashkv "$work/learner-$1.db"
}
on_learner() { [ -n "$(on 2 get "$1" --consistency=s)" ]; }

# Who asks for a leader is told when there is none; a transaction of nothing asks nobody.
without_leader() {
  local client
  "$GOCLIENT" -require-leader "http://127.0.0.1:${client_port[0]}" >"$work/leaderless" 2>&1 &
  client=$!
  pids+=("$client")
  wait_for 60 "a watch" grep -q watching "$work/leaderless" || return 1
  stop_server "${member[1]}" KILL || true
  wait_for 60 "the end of the watch" ended "$client" || return 1
  cat "$work/leaderless"
  printf '\n\n\n' | on 0 txn
}

# The same steps on both.
steps() {
  local label=$1 binary=$2 i
  take_ports
  launch "$label" "$binary" 0 new 0
  wait_for 60 "$label to serve" on 0 endpoint health || return 1
  run add_bad_url on 0 member add m1 --peer-urls=http://no-port
  run add_no_url on 0 member add m1
  run add_known_url on 0 member add m1 --peer-urls="$(peer_url 0)"
  run remove_unknown on 0 member remove abc
  run update_unknown on 0 member update abc --peer-urls=http://127.0.0.1:1
  run promote_unknown on 0 member promote abc
  run remove_last on 0 member remove "$(id_of 0)"
  run add on 0 member add m1 --peer-urls="$(peer_url 1)"
  curl -sS "$(peer_url 0)/members" -o "$out/members.json" && run members_page python3 -c '
import json, sys
for m in sorted(json.load(open(sys.argv[1])), key=lambda m: "name" not in m): print(sorted(m), type(m["id"]).__name__)' "$out/members.json"
  launch "$label" "$binary" 1 existing 0 1
  wait_for 60 "the second member" on 1 endpoint health || return 1
  run list on 1 member list
  # By name: the order is that of the ids, which the second gets from the clock.
  run list_json by_name on 1 member list -w json
  eventually add_once 0 2 --learner >/dev/null 2>&1 || return 1
  run add_second_learner on 0 member add m3 --learner --peer-urls="$(peer_url 3)"
  run list_unstarted on 0 member list
  launch "$label" "$binary" 2 existing 0 1 2
  wait_for 60 "the learner" on 2 get x --consistency=s || return 1
  wait_for 60 "the learner's name" named 2 || return 1
  run list_learner on 0 member list -w table
  run learner_get on 2 get x
  run learner_get_local on 2 get x --consistency=s
  run learner_put on 2 put x 1
  run learner_list on 2 member list
  run learner_lease on 2 lease grant 10
  run learner_watch on 2 watch x
  run learner_snapshot learner_snapshot "$label"
  run learner_move on 0 move-leader "$(id_of 2)"
  eventually promote_once 1 "$(id_of 2)" >/dev/null 2>&1 || return 1
  run promote_again on 0 member promote "$(id_of 2)"
  run list_promoted on 0 member list
  run put_promoted on 2 put x 1
  run move_unknown on 0 move-leader abc
  run update on 1 member update "$(id_of 2)" --peer-urls="$(peer_url 2),http://127.0.0.1:9"
  run update_taken on 1 member update "$(id_of 2)" --peer-urls="$(peer_url 1)"
  run list_updated on 0 member list
  local gone
  gone=$(id_of 2)
  eventually remove_once 0 "$gone" >/dev/null 2>&1 || return 1
  run remove_again on 0 member remove "$gone"
  run list_removed on 0 member list
  wait_for 60 "the removed member to end" ended "${member[2]}" || return 1
  i=0
  wait "${member[2]}" || i=$?
  run removed_exit echo "exit code $i"
  run without_leader without_leader
  for i in 0 1; do stop_server "${member[$i]}" TERM || true; done
}

compare() {
  local label
  for label in etcd fairlead; do
    out=$work/out-$label
    mkdir -p "$out"
    if [ $label = etcd ]; then set -- "$ETCD_BIN/etcd"; else set -- "$server"; fi
    if ! steps $label "$1"; then
      case_failed "members: the steps end early on $label"
      tail -n 3 "$work/$label"-m*.log | cut -c 1-300 | sed 's/^/   | /'
      return
    fi
    rm -f "$out/raw" "$out/members.json"
  done
  compare_outputs members
}

# A client that writes all the time, to all members that there are; every acknowledged value must be found at the end.
write_on() {
  local i=0
  while [ ! -e "$work/enough" ]; do
    i=$((i + 1))
    if "$etcdctl" --endpoints="$(cat "$work/endpoints")" --command-timeout=5s put "load/$i" "$i" >/dev/null 2>&1; then
      echo "$i" >>"$work/acknowledged"
    fi
  done
}
grow_and_shrink() {
  local n i gone
  take_ports
  echo "http://127.0.0.1:${client_port[0]}" >"$work/endpoints"
  launch load "$server" 0 new 0
  wait_for 60 "the first member" on 0 endpoint health || return 1
  write_on &
  local writer=$!
  for n in 1 2 3 4; do
    eventually add_once 0 "$n" || return 1
    # shellcheck disable=SC2046
    launch load "$server" "$n" existing $(seq 0 "$n")
    wait_for 60 "member $n" on "$n" endpoint health || return 1
    echo "$(cat "$work/endpoints"),http://127.0.0.1:${client_port[$n]}" >"$work/endpoints"
  done
  [ "$(on 4 member list | grep -c ', started, ')" = 5 ] || return 1
  for n in 4 3 2 1; do
    i=$(seq -s, 0 $((n - 1)))
    for i in $(seq 0 $((n - 1))); do echo "http://127.0.0.1:${client_port[$i]}"; done | paste -sd, >"$work/endpoints"
    gone=$(id_of "$n")
    eventually remove_once 0 "$gone" || return 1
    wait_for 60 "member $n to end" ended "${member[$n]}" || return 1
  done
  sleep 1
  touch "$work/enough"
  wait "$writer" || true
  [ "$(on 0 member list | wc -l)" = 1 ] || return 1
  on 0 get load/ --prefix --print-value-only >"$work/found" || return 1
  i=$(sort -u "$work/acknowledged" | comm -23 - <(sort -u "$work/found") | wc -l)
  note "$(wc -l <"$work/acknowledged") writes acknowledged, $i lost"
  [ "$i" = 0 ] && [ "$(wc -l <"$work/acknowledged")" -ge 20 ]
}
removed_data_is_refused() {
  local code=0
  # shellcheck disable=SC2046
  launch load "$server" 1 existing 0 1
  timeout 15 tail --pid="${member[1]}" -f /dev/null || return 1
  wait "${member[1]}" || code=$?
  [ $code = 1 ] && grep -q 'removed' "$work/load-m1.log"
}
strangers_are_refused() { # nobody added it: it says why and writes nothing
  local code=0
  launch stranger "$server" 2 existing 0 2
  timeout 15 tail --pid="${member[2]}" -f /dev/null || return 1
  wait "${member[2]}" || code=$?
  [ $code = 1 ] && grep -q 'member count is unequal' "$work/stranger-m2.log" && [ ! -e "$work/stranger-m2.data/manifest" ]
}
no_quorum_no_change() {
  eventually add_once 0 3 || return 1
  launch quorum "$server" 3 existing 0 3
  wait_for 60 "the second member" on 3 endpoint health || return 1
  stop_server "${member[3]}" KILL || true
  local text
  for text in "add m4 --peer-urls=$(peer_url 4)" "remove $(id_of 3 0 2>/dev/null || echo abc)"; do
    # shellcheck disable=SC2086
    if on 0 --command-timeout=2s member $text >>"$work/refused" 2>&1; then return 1; fi
  done
  launch quorum "$server" 3 existing 0 3
  wait_for 60 "the second member again" on 3 endpoint health || return 1
  [ "$(on 0 member list | wc -l)" = 2 ]
}

check() {
  local code=0
  "$2" >"$work/check.log" 2>&1 || code=$?
  case_result $code "$1"
  if [ $code = 0 ]; then grep 'acknowledged' "$work/check.log" || true; else tail -n 15 "$work/check.log" | sed 's/^/   | /'; fi
}

say "Members come and go, each command beside etcd"
compare
check "members: one grows to five and shrinks to one under load, no acknowledged write is lost" grow_and_shrink
check "members: a removed member's data is refused" removed_data_is_refused
check "members: who was not added is refused" strangers_are_refused
check "members: without a quorum nothing is changed" no_quorum_no_change
print_score
