#!/usr/bin/env bash
# space_test.sh: alarms, quota, cleaning and hashes of our server beside etcd's, through the original etcdctl.
# Needs FAIRLEAD_BIN (folder with fairlead) and ETCD_BIN (folder with etcd and etcdctl).
# One line a case; the last line is "N passed, N failed".
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/e2e/lib/common.sh"
. "$root/e2e/interop/servers.sh"

etcdctl=$ETCD_BIN/etcdctl
work=$(mktemp -d "${TMPDIR:-/tmp}/fairlead-space.XXXXXX")
trap 'stop_all; [ -n "${FAIRLEAD_KEEP:-}" ] || rm -rf "$work"' EXIT

binary_of() { if [ "$1" = etcd ]; then echo "$ETCD_BIN/etcd"; else echo "$FAIRLEAD_BIN/fairlead"; fi; }

# serve LABEL [FLAG...]: one member of its own folder; sets ctl, url, peer_url.
serve() {
  local label=$1 client_port peer_port
  client_port=$(free_port) peer_port=$(free_port)
  url=http://127.0.0.1:$client_port peer_url=http://127.0.0.1:$peer_port
  start_server "$label" "$(binary_of "${label%%-*}")" one "$client_port" "$peer_port" "one=$peer_url" "${@:2}"
  ctl="$etcdctl --endpoints=$url"
  wait_for 60 "$label to serve" $ctl get nothing
}

check() {
  local code=0
  "$2" >"$work/check.log" 2>&1 || code=$?
  case_result $code "$1"
  [ $code = 0 ] || sed 's/^/   | /' "$work/check.log" | tail -n 20
}

# ---- the quota, command by command beside etcd

quota_bytes=$((13 * 4096))
page=$(printf '%04096d' 0)
fill() {
  local i
  for ((i = 0; i < 40; ++i)); do
    printf %s "$page" | $ctl put filler >/dev/null 2>"$work/fill.err" || return 0
  done
  return 1
}
# step NAME COMMAND...: output, errors and exit code, without what differs from run to run.
step() {
  local name=$1 code=0
  shift
  "$@" >"$out/$name" 2>&1 || code=$?
  echo "exit code $code" >>"$out/$name"
  sed -i -E '/"level":"warn"/d; s/memberID:[0-9]+/memberID:N/; s/"(cluster_id|member_id|memberID|revision|raft_term)":[0-9]+/"\1":N/g; s/127.0.0.1:[0-9]+/HOST/g; s/ +alarm/ alarm/; s/took [^ ]*/took T/' "$out/$name"
}
txn() { printf "$1" | $ctl txn; }
alarm_commands() {
  $ctl put small 1 >/dev/null
  fill || return 1
  step last_put_error grep -o 'Error: .*' "$work/fill.err"
  step alarm_list $ctl alarm list
  step alarm_list_json $ctl alarm list -w json
  step health_etcdctl $ctl endpoint health
  step health curl -sS -w ' %{http_code}' "$url/health"
  step health_excluded curl -sS -w ' %{http_code}' "$url/health?exclude=NOSPACE"
  step readyz curl -sS -w ' %{http_code}' "$url/readyz"
  step status_errors sh -c "$ctl endpoint status -w json | grep -o '\"errors\":[^]]*]'"
  step status_quota sh -c "$ctl endpoint status -w json | grep -o '\"dbSizeQuota\":[0-9]*'"
  step put $ctl put small 2
  step txn_put txn 'mod("t") = "0"\n\nput t 1\n\nget t\n\n'
  step txn_put_not_taken txn 'mod("t") = "0"\n\nget t\n\nput t 1\n\n'
  step txn_delete txn 'mod("t") = "0"\n\ndel t\n\nget t\n\n'
  step lease $ctl lease grant 100
  step get $ctl get small
  step delete $ctl del small
  step compact $ctl compact 5 --physical
  step defrag $ctl defrag
  step still_on $ctl alarm list
  $ctl compact "$($ctl get filler -w json | grep -o '"revision":[0-9]*' | cut -d: -f2)" --physical >/dev/null
  $ctl defrag >/dev/null
  step put_before_disarm $ctl put small 3
  step disarm $ctl alarm disarm
  step disarm_again $ctl alarm disarm
  step list_when_off $ctl alarm list
  step put_again $ctl put small 4
  step health_again curl -sS -w ' %{http_code}' "$url/health"
  step metrics sh -c "curl -sS $url/metrics | grep -E '^etcd_server_quota_backend_bytes'"
}
compare_alarms() {
  local label name
  for label in etcd fairlead; do
    out=$work/alarms-$label
    mkdir -p "$out"
    serve "$label-quota" --quota-backend-bytes "$quota_bytes"
    alarm_commands || { case_failed "alarm commands: $label never fills its quota"; return; }
    stop_server "$last_pid" TERM || true
  done
  for name in "$work"/alarms-etcd/*; do
    name=$(basename "$name")
    if diff -u --label etcd --label fairlead "$work/alarms-etcd/$name" "$work/alarms-fairlead/$name" >"$work/diff"; then
      case_passed "alarm commands: $name"
    else
      case_failed "alarm commands: $name"
      head -n 20 "$work/diff" | sed 's/^/   | /'
    fi
  done
}

alarm_survives_restart() {
  serve fairlead-restart --quota-backend-bytes "$quota_bytes" && fill || return 1
  stop_server "$last_pid" KILL || true
  serve fairlead-restart --quota-backend-bytes "$quota_bytes" || return 1
  $ctl alarm list | grep -q 'alarm:NOSPACE' && ! $ctl put a b
}
disarms_itself() {
  serve fairlead-auto --quota-backend-bytes "$quota_bytes" --fairlead-auto-disarm-delay=10s && fill || return 1
  sleep 12
  $ctl alarm list | grep -q 'alarm:NOSPACE' || { note "it ended although the store is full"; return 1; }
  $ctl del filler && $ctl compact 14 && $ctl alarm list | grep -q 'alarm:NOSPACE' || return 1
  wait_for 60 "the alarm to end" sh -c "[ -z \"\$($ctl alarm list)\" ]" && wait_for 60 "a write" $ctl put a b
}
no_quota() {
  serve fairlead-none --quota-backend-bytes -1 && ! fill
}

# ---- hashes: the same history gives the same HashKV

# One operation a line for etcdctl, from a fixed generator: puts, deletes, ranges, transactions; compactions in between.
history() {
  python3 - "$1" <<'PY'
import random, sys
r = random.Random(int(sys.argv[1]))
key = lambda: "k%d" % r.randrange(9)
for i in range(60):
    dice = r.randrange(10)
    if dice < 5: print("put", key(), "v%d" % i * r.randrange(1, 40))
    elif dice < 7: print("del", key())
    elif dice < 8: print("del k --prefix" if r.random() < .2 else "del " + key())
    else: print("txn", key(), key() + "x", i)
PY
}
run_history() {
  local verb a b c
  while read -r verb a b c; do
    case $verb in
      put) $ctl put "$a" "$b" ;;
      del) $ctl del "$a" $b ;;
      txn) printf 'mod("none") = "0"\n\nput %s 1-%s\nput %s 2-%s\ndel gone\n\nget %s\n\n' "$a" "$c" "$b" "$c" "$a" | $ctl txn ;;
    esac >/dev/null
  done
}
revision() { $ctl get nothing -w json | grep -o '"revision":[0-9]*' | cut -d: -f2; }
compact() {
  $ctl compact "$1" --physical >/dev/null
  compacted+=" $1 "
}
# hashes: of the newest and of several older revisions, errors too. Where exactly a compaction took place etcd answers,
# until it is restarted, with the hash that the compaction itself computed, from the compaction before on: not asked.
hashes() {
  local rev newest
  newest=$(revision)
  for rev in 0 $newest $((newest - 1)) $((newest - 7)) $((newest / 2)) $((newest * 3 / 4)) 2 1 $((newest + 1)); do
    [[ $compacted != *" $rev "* ]] || continue
    echo "revision $rev: $($ctl endpoint hashkv --rev "$rev" -w json 2>&1 | grep -oE '"hash":[0-9]+|"compact_revision":-?[0-9]+|"hash_revision":[0-9]+|mvcc: .*revision' | sort -u | tr '\n' ' ')"
    echo "peer page, revision $rev: $(curl -sS -X GET -d "{\"revision\":$rev}" "$peer_url/members/hashkv")"
  done
}
hash_story() {
  local seed=$1 compacted=
  history "$seed" | run_history
  hashes
  compact $(($(revision) / 2))
  hashes
  history $((seed + 1000)) | run_history
  hashes
  compact "$(revision)"
  $ctl defrag >/dev/null
  hashes
  $ctl del k --prefix >/dev/null # no key is alive
  hashes
  compact "$(revision)"
  hashes
  $ctl put k0 again >/dev/null
  $ctl put k1 again >/dev/null
  hashes
  compact $(($(revision) - 1))
  stop_server "$last_pid" TERM || true
  serve "$label-hash$seed"
  compacted=
  hashes
}
compare_hashes() {
  local seed=$1 label
  for label in etcd fairlead; do
    serve "$label-hash$seed" || return 1
    hash_story "$seed" >"$work/hashes-$label" || return 1
    stop_server "$last_pid" TERM || true
  done
  [ "$(grep -c '"hash":' "$work/hashes-etcd")" -gt 50 ] && diff "$work/hashes-etcd" "$work/hashes-fairlead"
}
hashes_7() { compare_hashes 7; }
hashes_8() { compare_hashes 8; }
# The same before and after a restart, and after the cleaner went over it.
hash_after_restart() {
  local before after
  serve fairlead-rehash || return 1
  history 5 | run_history
  $ctl endpoint hashkv >/dev/null # now all of it is on disk
  $ctl compact $(($(revision) - 5)) >/dev/null
  before=$($ctl endpoint hashkv -w json | grep -o '"hash":[0-9]*')
  $ctl defrag >/dev/null
  wait_for 60 "the round to end" sh -c "curl -sS $url/metrics | grep -q '^etcd_disk_backend_defrag_duration_seconds_count 1'" || return 2
  after=$($ctl endpoint hashkv -w json | grep -o '"hash":[0-9]*')
  [ -n "$before" ] && [ "$before" = "$after" ] || return 1
  curl -sS "$url/metrics" | grep -E '^fairlead_cleaner_records_dropped_total [1-9]' || return 1
  stop_server "$last_pid" KILL || true
  serve fairlead-rehash || return 1
  [ "$before" = "$($ctl endpoint hashkv -w json | grep -o '"hash":[0-9]*')" ]
}

say "Space: quota and alarms beside etcd $etcd_version"
compare_alarms
check "the alarm is still on after a restart" alarm_survives_restart
check "NOSPACE ends by itself" disarms_itself
check "a negative quota is none" no_quota
say "Hashes: equal to etcd's for equal histories"
check "HashKV over puts, deletes, transactions and compactions, history 7" hashes_7
check "HashKV over puts, deletes, transactions and compactions, history 8" hashes_8
check "HashKV is the same after cleaning and after a restart" hash_after_restart
print_score
