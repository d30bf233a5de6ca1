#!/usr/bin/env bash
# snapshot_test.sh: snapshots and data directories, from our server to real etcd and back; the cluster's version.
# Needs FAIRLEAD_BIN (folder with fairlead and fairleadctl) and ETCD_BIN (folder with etcd, etcdctl and etcdutl).
# One line a case; the last line is "N passed, N failed".
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/e2e/lib/common.sh"
. "$root/e2e/interop/servers.sh"

server=$FAIRLEAD_BIN/fairlead
restore=("$FAIRLEAD_BIN/fairleadctl" snapshot restore)
etcdctl=$ETCD_BIN/etcdctl
etcdutl=$ETCD_BIN/etcdutl
work=$(mktemp -d "${TMPDIR:-/tmp}/fairlead-snapshot.XXXXXX")
trap 'stop_all; [ -n "${FAIRLEAD_KEEP:-}" ] || rm -rf "$work"' EXIT
client_port=$(free_port) peer_port=$(free_port)
url=http://127.0.0.1:$client_port peer=http://127.0.0.1:$peer_port
ctl="$etcdctl --endpoints=$url"

# check NAME COMMAND...: one case. Any command of it that fails, fails it; servers that it starts end with it.
check() {
  local name=$1 code=0
  shift
  set +e
  (
    set -e
    pids=()
    trap stop_all EXIT
    "$@"
  ) >"$work/case.log" 2>&1
  code=$?
  set -e
  case_result $code "snapshot: $name"
  [ $code = 0 ] || tail -n 15 "$work/case.log" | cut -c 1-300 | sed 's/^/   | /'
}
up() { wait_for 60 "$1 to serve" "$etcdctl" --endpoints "$url" endpoint health; }
# start_one LABEL BINARY [FLAG...]: one member on $work/LABEL.data; sets last_pid.
start_one() {
  start_server "$1" "$2" one "$client_port" "$peer_port" "one=$peer" "${@:3}"
  up "$1" || { tail -n 20 "$work/$1.log"; return 1; }
}
stop_one() { stop_server "$last_pid" TERM || true; }

# A history with everything in it: overwritten and deleted keys, transactions, leases, large and binary values, a
# compaction in the middle, users and roles.
fill() {
  local i lease
  for i in 1 2 3 4 5 6; do $ctl put "k$i" "v$i" >/dev/null; done
  $ctl put k1 again >/dev/null
  for ((i = 0; i < 8; i++)); do
    { echo; for ((j = 0; j < 100; j++)); do echo "put bulk/$i/$j value-$i-$j"; done; echo; echo; } | $ctl txn >/dev/null
  done
  $ctl del k2 >/dev/null
  $ctl del --prefix bulk/3/ >/dev/null
  lease=$($ctl lease grant 5000 | awk '{print $2}')
  echo "$lease" >"$work/lease"
  $ctl lease grant 700 >/dev/null
  $ctl put --lease="$lease" leased one >/dev/null
  $ctl put --lease="$lease" leased/two two >/dev/null
  $ctl compact 10 >/dev/null
  head -c 1400000 /dev/zero | tr '\0' z | $ctl put large >/dev/null
  head -c 5000 /dev/zero | tr '\0' y | $ctl put page >/dev/null
  head -c 300 /dev/urandom | base64 | $ctl put binary >/dev/null
  $ctl put k2 back >/dev/null
  $ctl del k6 >/dev/null
  $ctl user add root:secret >/dev/null
  $ctl user add you:your >/dev/null
  $ctl role add readers >/dev/null
  $ctl role grant-permission readers read --prefix=true k >/dev/null
  $ctl user grant-role you readers >/dev/null
}

# All that a client can see, without what belongs to the cluster.
look() {
  $ctl get --prefix "" -w json | sed 's/^{"header":{[^}]*},//'
  $ctl get --prefix "" --rev=12 -w json | sed 's/^{"header":{[^}]*},//'
  $ctl get --prefix "" --rev=3 2>&1 | grep -o "required revision has been compacted" || true
  $ctl get x -w json | grep -o '"revision":[0-9]*'
  $ctl lease timetolive "$(cat "$work/lease")" --keys | sed 's/remaining([0-9]*s)/remaining/' |
    tr ' ()[]' '\n' | sort  # etcd lists keys in any order
  $ctl lease list | sort
  $ctl user list
  $ctl user get you
  $ctl role get readers
  $ctl role list
  $ctl auth status
}

# The same database hashed by its keys alone. etcdutl writes to the file it looks at: a copy.
hash_of() {
  cp "$1" "$work/hash.db"
  "$etcdutl" hashkv "$work/hash.db"
}

status_prints() {
  local format
  for format in simple json table fields; do "$etcdutl" snapshot status "$1" -w $format; done
  "$etcdutl" snapshot status "$1" -w json | grep -q '"version":"3.7.0"'
}
etcd_serves_the_same() {
  "$etcdutl" snapshot restore "$work/ours.db" --data-dir "$work/from-ours.data" --name one \
    --initial-cluster "one=$peer" --initial-advertise-peer-urls "$peer"
  start_one from-ours "$ETCD_BIN/etcd"
  look >"$work/look.etcd"
  $ctl endpoint hashkv >"$work/hash.etcd"
  $ctl snapshot save "$work/theirs.db"
  stop_one
  diff "$work/look.ours" "$work/look.etcd"
  [ "$(cut -d, -f2 "$work/hash.etcd")" = " $(hash_of "$work/ours.db" | cut -d, -f1)" ]
}

to_etcd() {
  start_one ours "$server"
  check "a history is written" fill
  look >"$work/look.ours"
  check "etcdctl snapshot save" $ctl snapshot save "$work/ours.db"
  check "twice the same" $ctl snapshot save "$work/again.db"
  check "... byte for byte" cmp "$work/ours.db" "$work/again.db"
  stop_one
  check "etcdutl snapshot status, all formats" status_prints "$work/ours.db"
  check "etcdutl hashkv" hash_of "$work/ours.db"
  check "etcdutl restores it, etcd serves the same, HashKV equal" etcd_serves_the_same
}

# ---- back: etcd's snapshot becomes three members of ours

start_three() {
  local i cluster=$1
  for i in 1 2 3; do
    start_server "three$i" "$server" "m$i" "${clients[i]}" "${peers[i]}" "$cluster"
  done
  wait_for 60 "three members" "$etcdctl" --endpoints "http://127.0.0.1:${clients[1]},http://127.0.0.1:${clients[2]},http://127.0.0.1:${clients[3]}" endpoint health
}
three_members_serve_the_same() {
  local i cluster=""
  for i in 1 2 3; do clients[i]=$(free_port) peers[i]=$(free_port); done
  for i in 1 2 3; do cluster+=${cluster:+,}m$i=http://127.0.0.1:${peers[i]}; done
  for i in 1 2 3; do
    "${restore[@]}" "$work/theirs.db" --data-dir "$work/three$i.data" --name "m$i" --initial-cluster "$cluster" \
      --initial-cluster-token interop --initial-advertise-peer-urls "http://127.0.0.1:${peers[i]}"
  done
  start_three "$cluster"
  for i in 1 2 3; do
    ctl="$etcdctl --endpoints=http://127.0.0.1:${clients[i]}"
    look >"$work/look.three$i"
    diff "$work/look.ours" "$work/look.three$i"
  done
  [ "$($ctl member list | wc -l)" = 3 ]
  $ctl put written afterwards
  $ctl del written
  $ctl snapshot save "$work/three.db"
  ctl="$etcdctl --endpoints=$url"
  stop_all
  pids=()
  hash_of "$work/three.db"
  "$etcdutl" snapshot status "$work/three.db"
}

refused() { # TEXT COMMAND...
  local text=$1
  shift
  if "$@" >"$work/refused.log" 2>&1; then return 1; fi
  cat "$work/refused.log"
  grep -qF -- "$text" "$work/refused.log"
}
restore_args() { echo "--name one --initial-cluster one=$peer --initial-cluster-token interop --initial-advertise-peer-urls $peer"; }
bumped() {
  local before after
  # shellcheck disable=SC2046
  "${restore[@]}" "$work/theirs.db" --data-dir "$work/bumped.data" $(restore_args) --bump-revision 1000 --mark-compacted
  before=$("$etcdutl" snapshot status "$work/theirs.db" | cut -d, -f2)
  start_one bumped "$server"
  after=$($ctl get k1 -w json | grep -o '"revision":[0-9]*' | cut -d: -f2)
  refused "required revision has been compacted" $ctl get k1 --rev=$((after - 1))
  $ctl get k1 | grep again
  stop_one
  echo "before $before, after $after"
  [ "$after" = $((before + 1000)) ]
}
raw_copy() {
  cp "$work/from-ours.data/member/snap/db" "$work/raw.db"
  # shellcheck disable=SC2046
  refused "snapshot missing hash but --skip-hash-check=false" "${restore[@]}" "$work/raw.db" --data-dir "$work/raw.data" \
    $(restore_args)
  # shellcheck disable=SC2046
  "${restore[@]}" "$work/raw.db" --data-dir "$work/raw.data" $(restore_args) --skip-hash-check
  start_one raw "$server"
  look >"$work/look.raw"
  stop_one
  diff "$work/look.ours" "$work/look.raw"
}
from_etcd() {
  check "three members from etcd's snapshot serve the same" three_members_serve_the_same
  check "--bump-revision, --mark-compacted" bumped
  check "a copy of member/snap/db, --skip-hash-check" raw_copy
  cp "$work/theirs.db" "$work/rotten.db"
  printf 'x' | dd of="$work/rotten.db" bs=1 seek=9000 conv=notrunc 2>/dev/null
  # shellcheck disable=SC2046
  check "a rotten file is refused" refused "expected sha256" "${restore[@]}" "$work/rotten.db" --data-dir "$work/no.data" \
    $(restore_args)
  # shellcheck disable=SC2046
  check "a directory in use is refused" refused "not empty" "${restore[@]}" "$work/theirs.db" --data-dir "$work/raw.data" \
    $(restore_args)
  check "a name that is not in the cluster is refused" refused "couldn't find local name" "${restore[@]}" \
    "$work/theirs.db" --data-dir "$work/no.data" --name two --initial-cluster "one=$peer"
}

# ---- etcd's data directory

etcd_directory_is_taken_over() {
  local sums
  start_one taken "$ETCD_BIN/etcd"
  fill
  look >"$work/look.taken"
  $ctl member list >"$work/members.taken"
  stop_one
  sums=$(cd "$work/taken.data/member" && find . -type f -exec sha256sum {} + | sort)
  start_one taken "$server"
  look >"$work/look.took"
  diff "$work/look.taken" "$work/look.took"
  $ctl member list | diff "$work/members.taken" -
  [ "$sums" = "$(cd "$work/taken.data/member" && find . -type f -exec sha256sum {} + | sort)" ]
  $ctl put after import
  kill -KILL "$last_pid"
  wait "$last_pid" 2>/dev/null || true
  start_one taken "$server"
  $ctl get after | grep import
  stop_one
}
# The snapshot of a cluster with other peer URLs, restored with nothing but a directory; etcd started on it, or not.
restored_directory_is_taken_over() {
  local label
  start_one before "$ETCD_BIN/etcd"
  $ctl put kept yes
  $ctl snapshot save "$work/before.db"
  stop_one
  for label in restored-fresh restored-used; do
    "$etcdutl" snapshot restore "$work/before.db" --data-dir "$work/$label.data"
  done
  start_one restored-used "$ETCD_BIN/etcd"
  $ctl put more yes
  stop_one
  for label in restored-fresh restored-used; do
    start_one $label "$server"  # under another name than the restore's
    $ctl get kept | grep yes
    $ctl put again yes
    [ "$($ctl member list | wc -l)" = 1 ]
    $ctl member list | grep "^8e9e05c52164694d, started"
    stop_one
    [ ! -e "$work/$label.data/import.tmp" ]
  done
}
etcd_killed_is_refused() {
  start_one killed "$ETCD_BIN/etcd"
  $ctl put a b
  stop_one
  start_one killed "$ETCD_BIN/etcd" --backend-batch-interval=10m --backend-batch-limit=100000
  $ctl put c d
  kill -KILL "$last_pid"
  wait "$last_pid" 2>/dev/null || true
  refused " of the log is not in the database yet" timeout 10 "$server" --name one \
    --data-dir "$work/killed.data" --listen-client-urls "$url" --advertise-client-urls "$url"
}
etcd_running_is_refused() {
  start_one running "$ETCD_BIN/etcd"
  refused "another process uses" timeout 10 "$server" --name one --data-dir "$work/running.data"
  stop_one
}

# ---- the cluster's version

version_commands() {
  local v
  for v in 3.6 3.5 3.7 x 3.6.0 ""; do $ctl downgrade validate "$v" 2>&1 | grep -v '^{' || true; done
  $ctl downgrade cancel
  $ctl downgrade enable 3.6
  $ctl downgrade enable 3.6 2>&1 | grep -v '^{' || true
  wait_for 60 "the cluster's version to fall" version_is 3.6.0
  curl -s "$url/version"
  curl -s "$peer/downgrade/enabled"
  $ctl downgrade validate 3.5 2>&1 | grep -v '^{' || true
  $ctl endpoint status -w json | grep -o '"storageVersion".*' | sed 's/"dbSizeQuota":[0-9]*,//'
  curl -s "$url/metrics" | grep ^etcd_cluster_version
  $ctl downgrade cancel
  wait_for 60 "the cluster's version to rise" version_is 3.7.0
  curl -s "$url/version"
  curl -s "$peer/downgrade/enabled"
  $ctl endpoint status -w json | grep -o '"storageVersion".*' | sed 's/"dbSizeQuota":[0-9]*,//'
  curl -s "$url/metrics" | grep ^etcd_cluster_version
}
version_is() { curl -s "$url/version" | grep -q "\"etcdcluster\":\"$1\",\"storage\":\"$1\""; }
versions_as_etcd() {
  local label
  for label in etcd fairlead; do
    if [ $label = etcd ]; then start_one version-etcd "$ETCD_BIN/etcd"; else start_one version-fairlead "$server"; fi
    version_commands >"$work/version.$label" 2>&1
    stop_one
  done
  cat "$work/version.fairlead"
  diff "$work/version.etcd" "$work/version.fairlead"
}

to_etcd
from_etcd
check "etcd's data directory is taken over and left as it was" etcd_directory_is_taken_over
check "... also where etcdutl restored it from another cluster's snapshot" restored_directory_is_taken_over
check "... not while its log is ahead of its database" etcd_killed_is_refused
check "... not while etcd uses it" etcd_running_is_refused
check "downgrade and versions as etcd's" versions_as_etcd
print_score
