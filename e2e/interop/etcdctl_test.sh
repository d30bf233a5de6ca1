#!/usr/bin/env bash
# etcdctl_test.sh: the original etcdctl and a Go client against our server.
# Needs FAIRLEAD_BIN (folder with fairlead), ETCD_BIN (folder with etcd and etcdctl) and GOCLIENT (a program).
# One line a case; the last line is "N passed, N failed".
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/e2e/lib/common.sh"
. "$root/e2e/interop/servers.sh"
. "$root/e2e/interop/commands.sh"
. "$root/e2e/interop/auth_commands.sh"

server=$FAIRLEAD_BIN/fairlead
etcdctl=$ETCD_BIN/etcdctl
work=$(mktemp -d "${TMPDIR:-/tmp}/fairlead-interop.XXXXXX")
trap 'stop_all; [ -n "${FAIRLEAD_KEEP:-}" ] || rm -rf "$work"' EXIT

# with_server LABEL BINARY: one member, the same name, addresses and token each time, so that IDs are equal too.
client_port=$(free_port) peer_port=$(free_port)
url=http://127.0.0.1:$client_port
with_server() {
  local label=$1 binary=$2
  shift 2
  start_server "$label" "$binary" one "$client_port" "$peer_port" "one=http://127.0.0.1:$peer_port"
  if ! wait_for 60 "$label to serve" "$etcdctl" --endpoints "$url" endpoint health; then
    sed 's/^/   | /' "$work/$label.log" | tail -n 20
    return 1
  fi
  "$@"
}

run_all() {
  run_commands
  run_auth_commands
}

compare_commands() {
  local label out
  export ETCD_BCRYPT_COST=4 # many log-ins
  ctl="$etcdctl --endpoints=$url"
  for label in etcd fairlead; do
    out=$work/out-$label
    mkdir -p "$out"
    if [ $label = etcd ]; then set -- "$ETCD_BIN/etcd"; else set -- "$server"; fi
    with_server $label "$1" run_all || {
      case_failed "etcdctl: $label does not serve"
      return
    }
    stopped_in_order "$last_pid" || case_failed "$label does not stop in order on SIGTERM"
  done
  unset ETCD_BCRYPT_COST
  compare_outputs etcdctl
}

# Ends by itself on SIGTERM: with 0, or as etcd does by the signal itself (143).
stopped_in_order() {
  local code=0
  stop_server "$1" TERM || code=$?
  [ $code = 0 ] || [ $code = 143 ]
}

# The data of the comparison is still there after a restart of our server.
restart_keeps_data() {
  with_server fairlead "$server" true || return 1
  [ "$($ctl get t --print-value-only)" = 2 ] && [ "$($ctl get ключ --print-value-only)" = 値 ]
}

# A client of 2021, as distributions still ship it. It names the server in ways of its own.
old_put_get_del() {
  [ "$($old put old-client 1)" = OK ] && [ "$($old get old-client --print-value-only)" = 1 ] &&
    $old member list && [ "$($old del old-client)" = 1 ]
}
old_endpoint_status() { $old endpoint status; }
old_etcdctl() {
  local program
  program=$(command -v etcdctl) || fail "Debian's etcdctl is missing" "./dev setup installs etcd-client"
  old="env ETCDCTL_API=3 $program --endpoints=$url"
  check "Debian's etcdctl 3.4: put, get, del, member list" old_put_get_del
  check "Debian's etcdctl 3.4: endpoint status" old_endpoint_status
}

# go_client LABEL ENDPOINTS
go_client() {
  "$GOCLIENT" "$2" >"$work/goclient-$1" 2>&1 || true
  sed "/^[0-9]* passed/d; s/^ok   /   ok    Go client, $1:/; s/^FAIL /   FAIL  Go client, $1:/" "$work/goclient-$1"
  add_score "$work/goclient-$1"
}

# Three members.
three_members() {
  local i
  peer_ports=() client_ports=() members=() cluster=
  for i in 0 1 2; do
    client_ports[i]=$(free_port)
    peer_ports[i]=$(free_port)
    cluster+=${cluster:+,}m$i=http://127.0.0.1:${peer_ports[i]}
  done
  endpoints=$(printf ',http://127.0.0.1:%s' "${client_ports[@]}")
  endpoints=${endpoints:1}
  ctl3="$etcdctl --endpoints=$endpoints"
  for i in 0 1 2; do start_member $i; done
  wait_for 60 "three members" $ctl3 endpoint health
}
start_member() {
  start_server "m$1" "$server" "m$1" "${client_ports[$1]}" "${peer_ports[$1]}" "$cluster"
  members[$1]=$last_pid
}
endpoint_of() { echo "http://127.0.0.1:${client_ports[$1]}"; }
on() { "$etcdctl" --endpoints="$(endpoint_of "$1")" "${@:2}"; }
# leader: the number of the member that all members call leader.
leader() {
  $ctl3 endpoint status -w json | python3 -c '
import json, sys
answers = json.load(sys.stdin)
leaders = {a["Status"]["leader"] for a in answers}
ids = [a["Status"]["header"]["member_id"] for a in answers]
assert len(answers) == 3 and len(leaders) == 1, leaders
print(ids.index(leaders.pop()))'
}

three_member_list() {
  [ "$(on 0 member list | grep -c ', started, m[012], ')" = 3 ] &&
    [ "$(on 0 member list)" = "$(on 1 member list)" ] && [ "$(on 0 member list)" = "$(on 2 member list)" ]
}
three_read_from_all() {
  local i
  on 1 put everywhere yes >/dev/null || return 1
  for i in 0 1 2; do [ "$(on $i get everywhere --print-value-only)" = yes ] || return 1; done
}
three_health() { on 2 endpoint health --cluster; }
# A leader dies (SIGKILL) with writes before, during and after; the others go on; it catches up.
three_leader_killed() {
  local i dead value
  dead=$(leader) || return 1
  $ctl3 put before 1 >/dev/null || return 1
  stop_server "${members[$dead]}" KILL || true
  for i in 0 1 2; do [ "$i" = "$dead" ] || break; done
  wait_for 60 "a new leader" on "$i" put after 2 || return 1
  [ "$(on "$i" get before --print-value-only)" = 1 ] || return 1
  start_member "$dead"
  wait_for 60 "the member to be back" on "$dead" endpoint health || return 1
  value=$(on "$dead" get after --print-value-only)
  [ "$value" = 2 ] || { note "the member that came back has after=$value"; return 1; }
}
three_leader_stopped() { # in order: the leader hands over first
  local old i
  old=$(leader) || return 1
  stopped_in_order "${members[$old]}" || return 1
  for i in 0 1 2; do [ "$i" = "$old" ] || break; done
  wait_for 60 "a new leader" on "$i" put orderly 1 || return 1
  start_member "$old"
  wait_for 60 "the member to be back" on "$old" endpoint health
}
three_no_quorum() { # one of three: no write, a serializable read still answers
  local keep=0 i begin
  for i in 1 2; do stop_server "${members[$i]}" KILL || true; done
  if on $keep put alone 1 --command-timeout=2s >/dev/null 2>&1; then return 1; fi
  [ "$(on $keep get everywhere --print-value-only --consistency=s)" = yes ] || return 1
  for i in 1 2; do start_member $i; done
  wait_for 60 "three members again" $ctl3 endpoint health
}
three_amnesiac_refused() { # a member that lost its data must not vote: it refuses to start
  local code=0
  stop_server "${members[2]}" KILL || true
  mv "$work/m2.data" "$work/m2.lost"
  start_member 2
  timeout 20 tail --pid="${members[2]}" -f /dev/null || { note "it still runs after 20 s"; return 1; }
  wait "${members[2]}" || code=$?
  rm -rf "$work/m2.data"
  mv "$work/m2.lost" "$work/m2.data"
  start_member 2
  wait_for 60 "the member with its data back" on 2 endpoint health || return 1
  [ $code != 0 ]
}
other_clusters_data_refused() {
  local code=0
  stop_server "${members[1]}" TERM || true
  # the same folder under another member's name and addresses
  timeout 20 "$server" --name m9 --data-dir "$work/m1.data" --listen-client-urls "$(endpoint_of 1)" \
    --advertise-client-urls "$(endpoint_of 1)" --listen-peer-urls "http://127.0.0.1:${peer_ports[1]}" \
    --initial-advertise-peer-urls "http://127.0.0.1:${peer_ports[1]}" --initial-cluster-token other \
    --initial-cluster "m9=http://127.0.0.1:${peer_ports[1]}" >"$work/refused.log" 2>&1 || code=$?
  start_member 1
  wait_for 60 "the rightful member" on 1 endpoint health || return 1
  [ $code != 0 ] && [ $code != 124 ] || { note "exit code $code"; return 1; }
}

as_member() { # DATA NAME PORTS_OF; in the background only: started on one member's directory under a name
  exec "$server" --name "$2" --data-dir "$work/$1.data" --listen-client-urls "$(endpoint_of "$3")" \
    --advertise-client-urls "$(endpoint_of "$3")" --listen-peer-urls "http://127.0.0.1:${peer_ports[$3]}" \
    --initial-advertise-peer-urls "http://127.0.0.1:${peer_ports[$3]}" "${@:4}"
}
another_name_is_published() { # as with etcd; but not the name of another member: then the directories were mixed up
  local code=0
  stop_server "${members[1]}" TERM || true
  timeout 20 "$server" --name m2 --data-dir "$work/m1.data" --listen-client-urls "$(endpoint_of 1)" \
    --advertise-client-urls "$(endpoint_of 1)" >"$work/refused.log" 2>&1 || code=$?
  cat "$work/refused.log"
  [ $code = 1 ] && grep -q "point --data-dir at this member's own directory" "$work/refused.log" || return 1
  as_member m1 renamed 1 >"$work/renamed.log" 2>&1 </dev/null &
  members[1]=$!
  pids+=("$!")
  wait_for 60 "the member of another name" on 1 endpoint health || return 1
  on 2 member list | grep ", renamed, "
  grep '"old-name":"m1","name":"renamed"' "$work/renamed.log" || return 1
  stop_server "${members[1]}" TERM || true
  start_member 1
  wait_for 60 "the member with its first name" on 1 endpoint health || return 1
  on 2 member list | grep ", m1, "
}

# check NAME FUNCTION
check() {
  local code=0
  "$2" >"$work/check.log" 2>&1 || code=$?
  case_result $code "$1"
  [ $code = 0 ] || sed 's/^/   | /' "$work/check.log" | tail -n 15
}

say "One member, each command beside etcd $etcd_version"
compare_commands
check "data is there after a restart" restart_keeps_data
old_etcdctl
go_client "one member" "127.0.0.1:$client_port"
say "Three members"
if three_members; then
  check "three members: member list" three_member_list
  check "three members: read everywhere what was written anywhere" three_read_from_all
  check "three members: endpoint health --cluster" three_health
  go_client "three members" "${endpoints//http:\/\//}"
  check "three members: the leader is killed and comes back" three_leader_killed
  check "three members: the leader stops in order" three_leader_stopped
  check "three members: no quorum, no write" three_no_quorum
  check "three members: a member without its data is refused" three_amnesiac_refused
  check "three members: data of another member is refused" other_clusters_data_refused
  check "three members: a member takes another name, but not that of another member" another_name_is_published
else
  case_failed "three members do not serve"
  tail -n 5 "$work"/m?.log | sed 's/^/   | /'
fi
print_score
