# The etcdctl and curl commands that are run twice, against etcd and against Fairlead, and must print the
# same and exit alike. Sourced by etcdctl_test.sh, which sets: ctl (etcdctl with its endpoint), url, out.

# run NAME COMMAND...: the case is what the command prints on both streams, and its exit code.
run() {
  local name=$1 code=0
  shift
  timeout 20 "$@" >"$out/$name.raw" 2>&1 </dev/null || code=$?
  keep "$name" $code
}
# run_input NAME TEXT COMMAND...: with TEXT as standard input.
run_input() {
  local name=$1 text=$2 code=0
  shift 2
  timeout 20 "$@" >"$out/$name.raw" 2>&1 <<<"$text" || code=$?
  keep "$name" $code
}
# run_watch NAME LINES COMMAND...: ends the command once it has printed so many lines.
run_watch() {
  local name=$1 lines=$2 pid
  shift 2
  "$@" >"$out/$name.raw" 2>&1 </dev/null &
  pid=$!
  wait_for 10 "$lines lines of $name" has_lines "$out/$name.raw" "$lines" || true
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  keep "$name" 0
}
has_lines() { [ "$(wc -l <"$1")" -ge "$2" ]; }

# What may differ from run to run: log lines of the client, terms and sizes, remaining seconds, random IDs. This version
# has no quota (README.md), so that figure is left out.
keep() {
  {
    sed -E -e '/^\{"level":/d' -e 's/,"dbSizeQuota":[0-9]+//' \
      -e 's/"(raft_term|raftTerm|raftIndex|raftAppliedIndex|dbSize|dbSizeInUse)":[0-9]+/"\1":N/g' \
      -e 's/"(RaftTerm|RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse)" : [0-9]+/"\1" : N/' \
      -e 's/took [0-9.]+[mµ]?s/took T/' -e 's/(remaining\()[0-9]+s/\1Ns/; s/took = [0-9.]+[mµ]?s/took = T/; s/"(took|ttl)":("[^"]*"|[0-9]+)/"\1":T/' \
      -e 's/\[on-lease-too on-lease\]/[on-lease on-lease-too]/' \
      -e "s/${lease_id:-no lease yet}/LEASE/g" -e 's/lease [0-9a-f]{15,16} granted/lease LEASE granted/' \
      -e 's/"ID":[0-9]+,"ttl"/"ID":LEASE,"ttl"/' "$out/$1.raw"
    echo "exit $2"
  } >"$out/$1"
  rm "$out/$1.raw"
}

run_commands() {
  local text
  lease_id=
  run version $ctl version
  run put $ctl put foo bar
  run put_again_json $ctl put foo bar2 -w json
  run put_prev $ctl put foo bar3 --prev-kv
  run put_fields $ctl put f1 v -w fields
  run put_empty_value $ctl put empty ''
  run put_empty_key $ctl put '' x
  run_input put_stdin 'from standard input' $ctl put from-stdin
  run put_ignore_value_missing $ctl put none --ignore-value
  run put_unicode $ctl put ключ 値
  run put_binary $ctl put $'\x01\x02\xfe' $'\xff\xfe'
  run get $ctl get foo
  run get_json $ctl get foo -w json
  run get_fields $ctl get foo -w fields
  run get_value_only $ctl get foo --print-value-only
  run get_hex $ctl get foo --hex
  run get_missing $ctl get nothing-there
  run get_unicode $ctl get ключ
  run get_binary_json $ctl get $'\x01' --prefix -w json
  run get_old_revision $ctl get foo --rev=2
  run get_future_revision $ctl get foo --rev=1000
  run get_serializable $ctl get foo --consistency=s
  for text in 3 1 2; do $ctl put "p/$text" "v$text" >/dev/null; done
  $ctl put p/1 again >/dev/null
  run get_prefix $ctl get p/ --prefix
  run get_prefix_limit_json $ctl get p/ --prefix --limit=2 -w json
  run get_keys_only $ctl get p/ --prefix --keys-only
  run get_count_only $ctl get p/ --prefix --count-only -w fields
  run get_from_key $ctl get p/2 --from-key
  run get_range $ctl get p/1 p/3
  run get_sorted_by_value $ctl get p/ --prefix --sort-by=VALUE --order=DESCEND
  run get_sorted_by_modified $ctl get p/ --prefix --sort-by=MODIFY --order=ASCEND --limit=1 -w json
  run get_sorted_by_version $ctl get p/ --prefix --sort-by=VERSION --order=DESCEND
  run del $ctl del p/2
  run del_missing $ctl del p/2
  run del_range_prev $ctl del p/ --prefix --prev-kv
  run del_json $ctl del foo f1 --range -w json
  run_input txn_success $'mod("t") = "0"\n\nput t 1\nget t\n\nget t\n' $ctl txn
  run_input txn_failure $'mod("t") = "0"\n\nput t 1\n\nget t\nput other 2\n' $ctl txn
  run_input txn_json $'value("t") = "1"\nversion("t") = "1"\n\nput t 2\nput u 3\ndel other\n\n\n' $ctl txn -w json
  run_input txn_duplicate_key $'\nput d 1\nput d 2\n\n' $ctl txn
  run_input txn_broken $'nonsense\n\n\n\n' $ctl txn
  run get_after_txn $ctl get t --from-key
  run_watch watch_history 6 $ctl watch t --rev=2 --prefix
  run_watch watch_prev 9 $ctl watch foo --rev=2 --prev-kv
  run_watch watch_json 1 $ctl watch empty --rev=2 -w json
  run_watch watch_range 3 $ctl watch e f --rev=2
  run watch_exec timeout 2 $ctl watch empty --rev=2 -- sh -c 'echo $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY'
  run lease_grant $ctl lease grant 100
  lease_id=$($ctl lease grant 200 | awk '{print $2}')
  run lease_put $ctl put on-lease 1 --lease="$lease_id"
  run lease_put_again $ctl put on-lease-too 1 --lease="$lease_id"
  run lease_time_to_live $ctl lease timetolive "$lease_id" --keys
  run lease_keep_alive $ctl lease keep-alive "$lease_id" --once
  run lease_ignore_lease $ctl put on-lease 2 --ignore-lease
  run lease_revoke $ctl lease revoke "$lease_id"
  run lease_keys_gone $ctl get on-lease --prefix
  run lease_revoke_again $ctl lease revoke "$lease_id"
  run lease_time_to_live_gone $ctl lease timetolive "$lease_id"
  run lease_put_gone $ctl put on-lease 1 --lease="$lease_id"
  run lock $ctl lock a-lock echo inside
  run compact $ctl compact 10
  run compact_again $ctl compact 5
  run compact_future $ctl compact 100000
  run get_compacted $ctl get foo --rev=3
  run watch_compacted $ctl watch foo --rev=3
  run compact_physical $ctl compact 12 --physical
  run member_list $ctl member list
  run member_list_table $ctl member list -w table
  run member_list_json $ctl member list -w json
  run endpoint_health $ctl endpoint health
  run endpoint_health_json $ctl endpoint health -w json
  run endpoint_status_json $ctl endpoint status -w json
  run alarm_list $ctl alarm list
  run_input put_large "$(head -c 1000000 /dev/zero | tr '\0' x)" $ctl put large
  run_input put_too_large "$(head -c 1700000 /dev/zero | tr '\0' x)" $ctl put large
  run http_health curl -sS -w ' %{http_code} %{content_type}' "$url/health"
  run http_health_serializable curl -sS -w ' %{http_code}' "$url/health?serializable=true"
  run http_livez curl -sS -w ' %{http_code}' "$url/livez"
  run http_readyz curl -sS -w ' %{http_code}' "$url/readyz"
  run http_version curl -sS -w ' %{http_code} %{content_type}' "$url/version"
  run http_unknown_path curl -sS -o /dev/null -w '%{http_code}' "$url/no-such-page"
  run http_wrong_method curl -sS -o /dev/null -w '%{http_code}' -X DELETE "$url/health"
}
