#!/usr/bin/env bash
# lease_test.sh: what is left of a lease after a change of leader, by the original etcdctl, beside etcd: with and without
# the feature gate LeaseCheckpoint. Needs FAIRLEAD_BIN and ETCD_BIN as etcdctl_test.sh does.
# etcd writes checkpoints every five minutes, and nothing changes that: with FAIRLEAD_LONG set, six minutes are spent on
# seeing them.
# One line a case; the last line is "N passed, N failed".
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/e2e/lib/common.sh"
. "$root/e2e/interop/servers.sh"

work=$(mktemp -d "${TMPDIR:-/tmp}/fairlead-lease.XXXXXX")
trap 'stop_all; [ -n "${FAIRLEAD_KEEP:-}" ] || rm -rf "$work"' EXIT
gate=--feature-gates=LeaseCheckpoint=true
binary_of() { if [ "$1" = etcd ]; then echo "$ETCD_BIN/etcd"; else echo "$FAIRLEAD_BIN/fairlead"; fi; }

# Several clusters may stand at the same time: each has a label, and its ports and processes in files.
ports_of() { cat "$work/$1.ports"; }
endpoints() { ports_of "$1" | cut -d' ' -f1-3 | sed 's/\([0-9]*\) \([0-9]*\) \([0-9]*\)/127.0.0.1:\1,127.0.0.1:\2,127.0.0.1:\3/'; }
ctl() { "$ETCD_BIN/etcdctl" --endpoints="$(endpoints "$1")" --command-timeout=10s "${@:2}"; }
launch() { # LABEL KIND FLAG...
  local label=$1 kind=$2 i p cluster=
  shift 2
  read -r -a p <<<"$(ports_of "$label")"
  for i in 0 1 2; do cluster+=${cluster:+,}m$i=http://127.0.0.1:${p[$((i + 3))]}; done
  : >"$work/$label.pids"
  for i in 0 1 2; do
    start_server "$label-m$i" "$(binary_of "$kind")" "m$i" "${p[$i]}" "${p[$((i + 3))]}" "$cluster" "$@"
    echo "$last_pid" >>"$work/$label.pids"
  done
  wait_for 60 "$label to serve" ctl "$label" endpoint health
}
three() { # LABEL KIND FLAG...: new ones
  rm -rf "$work/$1"-m?.data
  free_ports 6 >"$work/$1.ports"
  launch "$@"
}
end_of() { # LABEL [SIGNAL]
  local pid
  while read -r pid; do stop_server "$pid" "${2:-KILL}" || true; done <"$work/$1.pids"
}

status() { ctl "$1" endpoint status -w json; }
# The leader's endpoint, and the ID of another member. (jq would round the IDs.)
leader_and_other() {
  status "$1" | python3 -c 'import json, sys
all = [(s["Endpoint"], s["Status"]["header"]["member_id"], s["Status"]["leader"]) for s in json.load(sys.stdin)]
print(next(e for e, m, l in all if m == l), "%x" % next(m for _, m, l in all if m != l))'
}
move_once() { # LABEL: leadership goes to another one; answered when that leads
  local leader other
  read -r leader other <<<"$(leader_and_other "$1")" && [ -n "$other" ] || return 1
  "$ETCD_BIN/etcdctl" --endpoints="$leader" move-leader "$other"
}
move() { wait_for 60 "a change of leader" move_once "$1"; }
grant() { ctl "$1" lease grant "$2" | awk '{print $2}'; }
left() { ctl "$1" lease timetolive "$2" -w json | jq .ttl; }
between() { # WHAT LOW HIGH
  echo "left: $1, expected $2 to $3"
  [ "$1" -ge "$2" ] && [ "$1" -le "$3" ]
}

# A busy machine may take seconds between two commands: upper bounds follow from the clock, lower ones leave room.
full_time() { # LABEL KIND FLAG...: nothing is known of the time that went by
  local label=$1 id
  three "$@" || return 1
  id=$(grant "$label" 100)
  sleep 8
  move "$label" || return 1
  between "$(left "$label" "$id")" 93 101 || return 1
  end_of "$label"
}
without_checkpoints() { full_time etcd-off etcd && full_time ours-off fairlead; }
before_the_first() { full_time etcd-on etcd $gate && full_time ours-on fairlead $gate; }
has_rest() { [ "$(left ours "$1")" -le 92 ]; }

checkpoints() {
  local id begin gone
  three ours fairlead $gate --fairlead-lease-checkpoint-interval=2s || return 1
  begin=$SECONDS
  id=$(grant ours 100)
  wait_for 60 "eight seconds of the lease" has_rest "$id" || return 1
  sleep 3
  gone=$((SECONDS - begin))
  move ours || return 1
  between "$(left ours "$id")" $((100 - gone - 20)) 95 || return 1
  # A renewal holds for the next leader, too.
  ctl ours lease keep-alive --once "$id" | grep -q 'TTL(100)' || return 1
  move ours || return 1
  between "$(left ours "$id")" 80 101 || return 1
  # Over a start of all.
  wait_for 60 "eight seconds of the lease" has_rest "$id" || return 1
  sleep 3
  end_of ours TERM
  launch ours fairlead $gate --fairlead-lease-checkpoint-interval=2s || return 1
  between "$(left ours "$id")" 1 95 || return 1
  end_of ours
}

no_gate_no_effect() {
  local id
  three ours fairlead --fairlead-lease-checkpoint-interval=1s || return 1
  id=$(grant ours 100)
  sleep 6
  move ours || return 1
  between "$(left ours "$id")" 95 101 || return 1
  end_of ours
}

long_beside() {
  local label begin gone id_etcd id_ours
  three etcd etcd $gate && three ours fairlead $gate || return 1
  begin=$SECONDS
  id_etcd=$(grant etcd 1000) id_ours=$(grant ours 1000)
  sleep 310
  gone=$((SECONDS - begin))
  move etcd && move ours || return 1
  for label in etcd ours; do
    if [ $label = etcd ]; then set -- "$id_etcd"; else set -- "$id_ours"; fi
    between "$(left $label "$1")" $((1000 - gone - 20)) 705 || return 1
    ctl $label lease keep-alive --once "$1" | grep -q 'TTL(1000)' || return 1
    move $label || return 1
    between "$(left $label "$1")" 970 1001 || return 1
    end_of $label
  done
}

check() {
  local code=0
  "$2" >"$work/check.log" 2>&1 || code=$?
  case_result $code "$1"
  if [ $code != 0 ]; then tail -n 15 "$work/check.log" | sed 's/^/   | /'; fi
}

say "What is left of leases when the leader changes, beside etcd $etcd_version"
check "without checkpoints: the full time again" without_checkpoints
check "the gate alone, before the first checkpoint: the full time again" before_the_first
check "checkpoints" checkpoints
check "an interval without the gate does nothing" no_gate_no_effect
[ -z "${FAIRLEAD_LONG:-}" ] || check "checkpoints after five minutes, as etcd's" long_beside
print_score
