# ./dev nightly: everything that is too long for each change, one part after another. A part that fails does not end the rest.

# Name, then the verb of ./dev. The order is by what one wants to know first.
nightly_parts=(
  "test            test"
  "clients         test clients"
  "reference       test clients --reference"
  "conformance     test conformance"
  "tools           test conformance --ctl ours --server etcd"
  "both            test conformance --ctl ours"
  "seeds           test sim --seconds 1200"
  "planted         sim planted"
  "failpoints      test failpoints"
  "alerts          e2e alerts"
  "smoke           e2e smoke"
  "matrix          test matrix"
  "fuzz            fuzz --seconds 300"
  "asan            test --sanitize asan"
  "tsan            test --sanitize tsan"
  "package         package test"
  "dockerfile      image --dockerfile"
)

# nightly_part NAME VERB...: its log is build/log/nightly-NAME.log; one without a score counts by its exit code.
nightly_part() {
  local name=$1 begin=$SECONDS code=0 log=$log_dir/nightly-$1.log line
  shift
  say "./dev $*"
  "$root/dev" "$@" >"$log" 2>&1 </dev/null || code=$?
  grep -E '^ +FAIL ' "$log" || true
  if grep -qE '^[0-9]+ passed, [0-9]+ failed$' "$log"; then add_score "$log"; else case_result $code "$name"; fi
  line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1) || true
  nightly_summary+=("$(printf '%6d s  %-12s %s' $((SECONDS - begin)) "$name" "${line:-exit $code}")")
  note "${nightly_summary[-1]}"
}

verb_nightly() {
  local part name verb known=''
  nightly_summary=()
  for part in "${nightly_parts[@]}"; do known+=" ${part%% *}"; done
  for name in "$@"; do
    [[ " $known " == *" $name "* ]] || fail "no part of the night is '$name'" "there are:$known"
  done
  mkdir -p "$log_dir"
  note "logs: build/log/nightly-PART.log"
  for part in "${nightly_parts[@]}"; do
    read -r name verb <<<"$part"
    [ $# = 0 ] || [[ " $* " == *" $name "* ]] || continue
    # shellcheck disable=SC2086
    nightly_part "$name" $verb
  done
  say "The night"
  printf '   %s\n' "${nightly_summary[@]}"
  print_score
}
