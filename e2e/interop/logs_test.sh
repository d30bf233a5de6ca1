#!/usr/bin/env bash
# logs_test.sh: what a member says in its log, and when: ids as etcd writes them, a lost quorum, who changed what, why it
# ended; and that nothing is on the disk when a start fails for its flags or addresses.
# Needs FAIRLEAD_BIN and ETCD_BIN as etcdctl_test.sh does. One line a case; the last line is "N passed, N failed".
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/e2e/lib/common.sh"
. "$root/e2e/interop/servers.sh"

server=$FAIRLEAD_BIN/fairlead
work=$(mktemp -d "${TMPDIR:-/tmp}/fairlead-logs.XXXXXX")
trap 'stop_all; [ -n "${FAIRLEAD_KEEP:-}" ] || rm -rf "$work"' EXIT
ctl() { "$ETCD_BIN/etcdctl" --endpoints="http://127.0.0.1:${clients[1]}" --command-timeout=20s "$@"; }
check() { # NAME COMMAND...
  local name=$1 code=0
  shift
  set +e
  (set -e; "$@") >"$work/check.log" 2>&1
  code=$?
  set -e
  case_result $code "log: $name"
  [ $code = 0 ] || tail -n 15 "$work/check.log" | cut -c 1-400 | sed 's/^/   | /'
}
# look LOG [FIELD=REGEX...]: a line has all of them; prints the last one.
look() {
  python3 - "$@" <<'PY'
import json, re, sys
wanted = [w.split("=", 1) for w in sys.argv[2:]]
found = None
for line in open(sys.argv[1]):
    try:
        one = json.loads(line)
    except ValueError:
        continue
    if all(k in one and re.search(v, str(one[k])) for k, v in wanted):
        found = line
if found is None:
    sys.exit(f"{sys.argv[1]}: no line has {wanted}")
print(found, end="")
PY
}

# ---- three members

cluster="" members=()
for i in 1 2 3; do
  clients[i]=$(free_port) peers[i]=$(free_port)
  cluster+=${cluster:+,}m$i=http://127.0.0.1:${peers[i]}
done
start_member() {
  start_server "m$1" "$server" "m$1" "${clients[$1]}" "${peers[$1]}" "$cluster"
  members[$1]=$last_pid
}
no_decimal_ids() { # of peers, leaders and members
  local i
  ctl alarm list
  for i in 1 2 3; do
    grep -E '"(remote-peer-id|leader-id|member-id|local-member-id|peer|to)":[0-9]' "$work/m$i.log" && return 1
    look "$work/m$i.log" msg="established a connection to a peer" remote-peer-id='^[0-9a-f]{8,16}$'
    look "$work/m$i.log" msg="the cluster has a leader" leader-id='^[0-9a-f]{8,16}$'
    look "$work/m$i.log" msg="starting fairlead" fairlead-version=. etcd-version='^3\.'
  done
}
actions() {
  local log=$work/m1.log id
  ctl user add root:secret-1
  ctl user add ann:secret-2
  printf 'secret-3\n' | ctl user passwd ann --interactive=false
  ctl role add readers
  ctl role grant-permission readers read k
  ctl role revoke-permission readers k
  ctl user grant-role ann readers
  ctl user revoke-role ann readers
  ctl user grant-role root root
  ctl auth enable
  ctl --user root:secret-1 user delete ann
  ctl --user root:secret-1 role delete readers
  ctl --user root:secret-1 put k v
  ctl --user root:secret-1 compact 2
  ctl --user root:secret-1 defrag
  added() { # members count as healthy after five seconds
    id=$(ctl --user root:secret-1 member add late --learner --peer-urls=http://127.0.0.1:1 | awk 'NR == 1 {print $2}') && [ -n "$id" ]
  }
  wait_for 60 "the members to be healthy" added
  ctl --user root:secret-1 member remove "$id"
  ctl --user root:secret-1 auth disable
  look "$log" msg="^added a user" user-name=ann by-user='^$' remote-address=127.0.0.1
  look "$log" msg="^changed a password of a user" user-name=ann
  look "$log" msg="^created a role" role-name=readers
  look "$log" msg="^granted/updated a permission" role-name=readers permission-name=READ key=k
  look "$log" msg="^revoked a permission on range" role-name=readers key=k
  look "$log" msg="^granted a role to a user" user-name=ann added-role-name=readers
  look "$log" msg="^revoked a role from a user" user-name=ann revoked-role-name=readers
  look "$log" msg="^enabled authentication"
  look "$log" msg="^deleted a user" user-name=ann by-user='^root$' remote-address=127.0.0.1
  look "$log" msg="^deleted a role" role-name=readers by-user='^root$'
  look "$log" msg="^compacted for a client" compact-revision='^2$' by-user='^root$'
  look "$log" msg="^starting defragment" by-user='^root$'
  look "$log" msg="^a client changed the members" change=add member-id="^$id" by-user='^root$'
  look "$log" msg="^a client changed the members" change=remove member-id="^$id" by-user='^root$'
  look "$log" msg="^disabled authentication" by-user='^root$'
  ! cat "$work"/m?.log | grep -n "secret-"
}
without_quorum() {
  local log=$work/m1.log lines
  stop_server "${members[2]}" KILL || true
  stop_server "${members[3]}" KILL || true
  told() { look "$log" level=warn msg="^there is no leader: too few members" voters=3 needed=2 connected=1 \
    unreachable='m2 \([0-9a-f]+\) http://127[^;]*refused' &&
    look "$log" msg="^there is no leader" unreachable='m3 \([0-9a-f]+\) http://127[^;]*refused'; }
  wait_for 60 "a word about the quorum" told || { grep "there is no leader" "$log"; return 1; }
  wait_for 60 "another one" sh -c "[ \$(grep -c 'there is no leader: too few' '$log') -ge 2 ]"
  told
  lines=$(python3 - "$log" <<'PY'
import datetime, json, sys
times = [datetime.datetime.fromisoformat(l["ts"].replace("Z", "+00:00")) for l in map(json.loads, open(sys.argv[1]))
         if l["msg"].startswith("there is no leader")]
print(min((b - a).total_seconds() for a, b in zip(times, times[1:])))
PY
  )
  echo "shortest pause: $lines s"
  awk -v p="$lines" 'BEGIN { exit !(p >= 4.5) }'
}
# ---- a newcomer that was first started as a cluster of its own
wrong_state() {
  local port peer log=$work/late.log line begin
  port=$(free_port) peer=$(free_port)
  wait_for 60 "the members to be healthy" ctl member add late --learner --peer-urls="http://127.0.0.1:$peer"
  trap 'kill -KILL "$last_pid" 2>/dev/null || true' EXIT
  # the very flags of a member, but for the state: it makes a cluster of its own
  start_server late "$server" late "$port" "$peer" "$cluster,late=http://127.0.0.1:$peer" --initial-cluster-state=new
  wait_for 60 "the cluster of its own" look "$log" msg="started with a new data directory"
  stop_server "$last_pid" TERM || true
  : >"$log"
  start_server late "$server" late "$port" "$peer" "$cluster,late=http://127.0.0.1:$peer" --initial-cluster-state=existing
  begin=$SECONDS
  wait_for 60 "the hint" look "$log" msg="a peer refused this member" hint="remove the directory.*existing"
  sleep 6
  line=$(grep -c "a peer refused this member" "$log")
  echo "$line warnings in $((SECONDS - begin)) s"
  [ "$line" -le $((9 * (1 + (SECONDS - begin) / 10))) ] # at most one for each peer in ten seconds, and each of its reasons
}

# ---- why it ended

# fails_clean TEXT LEVEL_OR_PLAIN FLAG...: it ends at once, says TEXT, and has made no directory.
fails_clean() {
  local text=$1 how=$2 code=0
  shift 2
  rm -rf "$work/none.data"
  timeout 30 "$server" --data-dir "$work/none.data" "$@" >"$work/none.log" 2>&1 </dev/null || code=$?
  cat "$work/none.log"
  echo "code $code"
  [ $code = 1 ]
  [ ! -e "$work/none.data" ]
  if [ "$how" = plain ]; then grep -F -- "$text" "$work/none.log"; else look "$work/none.log" level=fatal error="$text"; fi
}
none_urls() { echo "--listen-peer-urls=http://127.0.0.1:$1 --listen-client-urls=http://127.0.0.1:$2 --advertise-client-urls=http://127.0.0.1:$2"; }
no_directory() {
  local a b busy
  a=$(free_port) b=$(free_port) busy=${clients[1]}
  # shellcheck disable=SC2046
  {
    fails_clean "listen-client-urls: cannot listen on 127.0.0.1:$busy: .*in use" fatal $(none_urls "$a" "$busy")
    fails_clean "listen-peer-urls: cannot listen on 127.0.0.1:$busy: .*in use" fatal $(none_urls "$busy" "$b")
    fails_clean "listen-metrics-urls: cannot listen on" fatal $(none_urls "$a" "$b") --listen-metrics-urls="http://127.0.0.1:$busy"
    fails_clean "error parsing CompactionRetention" fatal $(none_urls "$a" "$b") --auto-compaction-retention=5x
    fails_clean "unknown auto-compaction-mode" fatal $(none_urls "$a" "$b") --auto-compaction-mode=monthly
    fails_clean 'unknown token type "oauth", expected simple or jwt' fatal $(none_urls "$a" "$b") --auth-token=oauth
    fails_clean "auth-token: " fatal $(none_urls "$a" "$b") --auth-token=jwt
    fails_clean "auth-token: " fatal $(none_urls "$a" "$b") --auth-token=jwt,sign-method=RS256,priv-key=/no/such
  }
}
reason_in_the_file() { # and not on stderr alone
  local a b
  a=$(free_port) b=$(free_port)
  rm -f "$work/reason.log"
  # shellcheck disable=SC2046
  ! timeout 30 "$server" --data-dir "$work/none.data" $(none_urls "$a" "$b") --auth-token=oauth \
    --log-outputs="$work/reason.log" >"$work/none.log" 2>&1 || return 1
  look "$work/reason.log" level=fatal error=oauth
}
config_file_alone() {
  local a b
  a=$(free_port) b=$(free_port)
  printf 'name: filed\nauto-compaction-mode: monthly\nlisten-peer-urls: http://127.0.0.1:%s\nlisten-client-urls: http://127.0.0.1:%s\nadvertise-client-urls: http://127.0.0.1:%s\n' \
    "$a" "$b" "$b" >"$work/c.yaml"
  (cd "$work" && ! ETCD_NAME=y timeout 30 "$server" --config-file c.yaml --max-txn-ops=5 --data-dir "$work/x" >"$work/none.log" 2>&1) || return 1
  look "$work/none.log" level=warn msg="c.yaml counts alone; ignored: --data-dir, --max-txn-ops, ETCD_NAME"
}
open_directory() {
  local a b
  a=$(free_port) b=$(free_port)
  mkdir -p "$work/open.data"
  chmod 777 "$work/open.data"
  # shellcheck disable=SC2046
  env -u ETCD_BIN "$server" --data-dir "$work/open.data" $(none_urls "$a" "$b") --quota-backend-bytes=-5 \
    >"$work/open.log" 2>&1 </dev/null &
  last_pid=$!
  pids+=("$last_pid")
  wait_for 60 "it to serve" "$ETCD_BIN/etcdctl" --endpoints="127.0.0.1:$b" put k v
  stop_server "$last_pid" TERM
  look "$work/open.log" level=warn msg="check file permission" error="permission is 777. The recommended permission is 700"
  look "$work/open.log" msg="disabled backend quota"
}

for i in 1 2 3; do start_member "$i"; done
wait_for 60 "three members" ctl endpoint health
check "ids are hexadecimal, versions are told" no_decimal_ids
check "security and maintenance, with who asked and no password" actions
check "a start that fails for its flags or addresses makes no directory" no_directory
check "why it ended is in --log-outputs" reason_in_the_file
check "what a config file takes the place of is named" config_file_alone
check "a directory open to all, a quota that is off" open_directory
check "a newcomer with the data of another cluster is told so, once in a while" wrong_state
check "without quorum: how long, who, why, how many it takes" without_quorum
print_score
