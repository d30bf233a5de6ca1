# The auth, user and role verbs of etcdctl and what they forbid, run like those of commands.sh. Sourced after it. Every
# refusal is here with its text: clients match on it.

as() { # as USER COMMAND...: password is the user's name and "-pw"
  local user=$1
  shift
  $ctl --user "$user:$user-pw" "$@"
}
# run_as NAME USER COMMAND...
run_as() {
  local name=$1 user=$2
  shift 2
  run "$name" $ctl --user "$user:$user-pw" "$@"
}

run_auth_commands() {
  run auth_users_before_root $ctl user list
  run auth_enable_without_root $ctl auth enable
  run auth_user_add $ctl user add root:root-pw
  run auth_user_add_again $ctl user add root:root-pw
  run auth_user_add_no_password $ctl user add tls --no-password
  run_input auth_user_add_interactive $'ann-pw' $ctl user add ann --interactive=false
  run auth_user_add_json $ctl user add writer:writer-pw -w json
  run auth_user_add_reader $ctl user add reader:reader-pw
  run auth_user_add_bob $ctl user add bob:bob-pw
  run auth_user_add_long $ctl user add long:0123456789012345678901234567890123456789012345678901234567890123456789xyz
  run auth_user_get $ctl user get ann
  run auth_user_get_missing $ctl user get nobody
  run auth_user_list_json $ctl user list -w json
  run auth_user_delete_missing $ctl user delete nobody
  run auth_passwd_missing $ctl user passwd nobody --interactive=false </dev/null
  run auth_role_add $ctl role add rw
  run auth_role_add_again $ctl role add rw
  run auth_role_add_empty $ctl role add ''
  run auth_role_add_r $ctl role add r
  run auth_role_add_w $ctl role add w
  run auth_role_get_missing $ctl role get none
  run auth_role_grant $ctl role grant-permission rw readwrite a m
  run auth_role_grant_again $ctl role grant-permission rw readwrite a m
  run auth_role_grant_prefix $ctl role grant-permission rw read p/ --prefix=true
  run auth_role_grant_from_key $ctl role grant-permission r read x --from-key=true
  run auth_role_grant_key $ctl role grant-permission r read one
  run auth_role_grant_bad_range $ctl role grant-permission r read m a
  run auth_role_grant_missing $ctl role grant-permission none read a
  run auth_role_grant_bad_type $ctl role grant-permission r execute a
  run auth_role_grant_w $ctl role grant-permission w write a m
  run auth_role_get $ctl role get rw
  run auth_role_get_json $ctl role get r -w json
  run auth_role_get_fields $ctl role get r -w fields
  run auth_role_list $ctl role list
  run auth_role_revoke_missing $ctl role revoke-permission rw nothing
  run auth_role_revoke_other_range $ctl role revoke-permission rw a
  run auth_role_revoke $ctl role revoke-permission rw p/ --prefix=true
  run auth_grant_role $ctl user grant-role ann rw
  run auth_grant_role_again $ctl user grant-role ann rw
  run auth_grant_role_missing $ctl user grant-role ann none
  run auth_grant_role_no_user $ctl user grant-role nobody rw
  run auth_grant_reader $ctl user grant-role reader r
  run auth_grant_writer $ctl user grant-role writer w
  run auth_grant_tls $ctl user grant-role tls rw
  run auth_revoke_role_not_granted $ctl user revoke-role ann r
  run auth_user_get_detail $ctl user get ann --detail
  run auth_status_off $ctl auth status
  run auth_authenticate_off $ctl --user root:root-pw get k
  run auth_put_before $ctl put b before
  run auth_put_foreign $ctl put z foreign
  run auth_enable $ctl auth enable
  run auth_enable_again_anonymous $ctl auth enable
  run_as auth_enable_again root auth enable
  run_as auth_status_on root auth status
  run auth_status_anonymous $ctl auth status
  run auth_status_json_anonymous $ctl auth status -w json

  # nobody, somebody unknown, a wrong password, a user without one
  run auth_get_anonymous $ctl get b
  run auth_put_anonymous $ctl put b 1
  run auth_del_anonymous $ctl del b
  run_input auth_txn_anonymous $'mod("b") > "0"\n\nput b 1\n\nget b\n\n' $ctl txn
  run auth_compact_anonymous $ctl compact 1
  run auth_lease_anonymous $ctl lease grant 60
  run auth_member_list_anonymous $ctl member list
  run auth_member_add_anonymous $ctl member add x --peer-urls=http://127.0.0.1:1
  run auth_defrag_anonymous $ctl defrag
  run auth_snapshot_anonymous $ctl snapshot save "$out.never"
  run auth_alarm_anonymous $ctl alarm list
  run auth_endpoint_status_anonymous $ctl endpoint status
  run auth_users_anonymous $ctl user list
  run auth_role_anonymous $ctl role get rw
  run auth_wrong_password $ctl --user root:wrong get b
  run auth_unknown_user $ctl --user nobody:wrong get b
  run auth_no_password_user $ctl --user tls:any get b
  run auth_empty_password $ctl --user root: get b

  # by range
  run_as auth_ann_put ann put b 2
  run_as auth_ann_put_outside ann put z 2
  run_as auth_ann_get ann get b
  run_as auth_ann_get_range ann get a m
  run_as auth_ann_get_wider ann get a n
  run_as auth_ann_get_prefix ann get '' --prefix
  run_as auth_ann_get_from_key ann get a --from-key
  run_as auth_ann_get_outside ann get z
  run_as auth_ann_get_serializable ann get z --consistency=s
  run_as auth_ann_del_outside ann del z
  run_as auth_ann_del_wider ann del a n
  run_as auth_ann_del ann del c
  run_as auth_reader_get reader get z
  run_as auth_reader_from_key reader get x --from-key
  run_as auth_reader_put reader put z 1
  run_as auth_writer_put writer put b 3
  run_as auth_writer_get writer get b
  run_as auth_writer_put_prev writer put b 4 --prev-kv
  run_as auth_writer_del_prev writer del b --prev-kv
  run_as auth_bob_get bob get b
  run_as auth_root_get root get b z --keys-only
  run_as auth_root_put root put z 3
  run_input auth_txn_ann $'mod("b") > "0"\n\nput b 5\n\nget b\n\n' $ctl --user ann:ann-pw txn
  run_input auth_txn_ann_compare $'mod("z") > "0"\n\nput b 6\n\nget b\n\n' $ctl --user ann:ann-pw txn
  run_input auth_txn_ann_put $'mod("b") > "0"\n\nput z 6\n\nget b\n\n' $ctl --user ann:ann-pw txn
  run_input auth_txn_ann_else $'mod("b") > "0"\n\nput b 7\n\nget z\n\n' $ctl --user ann:ann-pw txn
  run_watch auth_watch_outside 1 $ctl --user ann:ann-pw watch z
  run_watch auth_watch_wider 1 $ctl --user ann:ann-pw watch a --from-key
  run_watch auth_watch_anonymous 1 $ctl watch b

  # leases
  run_as auth_lease_grant root lease grant 600
  lease_id=$(as root lease grant 600 | sed -n 's/^lease \([0-9a-f]*\) granted.*/\1/p')
  run_as auth_lease_put ann put b leased --lease="$lease_id"
  run_as auth_lease_keys_ann ann lease timetolive "$lease_id" --keys
  run_as auth_lease_put_root root put z leased --lease="$lease_id"
  run_as auth_lease_put_denied ann put b again --lease="$lease_id"
  run_as auth_lease_keys_denied ann lease timetolive "$lease_id" --keys
  run_as auth_lease_ttl ann lease timetolive "$lease_id"
  run_as auth_lease_list_denied ann lease list
  run_as auth_lease_keep_alive_denied ann lease keep-alive "$lease_id" --once
  run_as auth_lease_revoke_denied ann lease revoke "$lease_id"
  run_as auth_lease_keep_alive root lease keep-alive "$lease_id" --once
  run_as auth_lease_revoke root lease revoke "$lease_id"

  # administration
  run_as auth_ann_compact ann compact 2
  run_as auth_ann_user_list ann user list
  run_as auth_ann_user_add ann user add eve:eve
  run_as auth_ann_user_get_self ann user get ann
  run_as auth_ann_user_get_other ann user get root
  run_as auth_ann_role_get_own ann role get rw
  run_as auth_ann_role_get_other ann role get r
  run_as auth_ann_role_list ann role list
  run_as auth_ann_disable ann auth disable
  run_as auth_ann_member_list ann member list
  run_as auth_ann_alarm_list ann alarm list
  run_as auth_ann_alarm_disarm ann alarm disarm
  run_as auth_ann_member_remove ann member remove 1
  run_as auth_ann_member_add ann member add x --peer-urls=http://127.0.0.1:1
  run_as auth_ann_defrag ann defrag
  run_as auth_ann_hashkv ann endpoint hashkv
  run_as auth_ann_move_leader ann move-leader 1
  run_as auth_ann_snapshot ann snapshot save "$out.never"
  run_as auth_root_delete_root root user delete root
  run_as auth_root_revoke_root root user revoke-role root root
  run_as auth_root_delete_role_root root role delete root
  run_as auth_root_role_get_root root role get root
  run_as auth_root_revoke_role root user revoke-role ann rw
  run_as auth_ann_after_revoke ann get b
  run_as auth_root_grant_root root user grant-role ann root
  run_as auth_ann_as_root ann get z
  run_input auth_root_passwd $'new\n' $ctl --user root:root-pw user passwd ann --interactive=false
  run_as auth_ann_old_password ann get z
  run auth_ann_new_password $ctl --user ann:new get z
  run_as auth_root_role_delete root role delete rw
  run_as auth_root_user_get_tls root user get tls
  run_as auth_root_user_delete root user delete bob
  run_as auth_bob_gone bob get b
  run_as auth_disable root auth disable
  run auth_disable_again $ctl auth disable
  run auth_status_after $ctl auth status
  run auth_get_after $ctl get b
  run auth_user_with_auth_off $ctl --user ann:wrong get b
}
