# ./dev test conformance: etcd's own black-box tests, first against the reference etcd (kept in the cache), then ours.

# shellcheck source=go.sh
. "$root/e2e/lib/go.sh"

conformance_dir() {
  local hash
  hash=$({ cat "$root/e2e/conformance/go.mod" "$root/e2e/conformance/go.sum"
    cd "$root/e2e/conformance" && go env GOVERSION; } | sha256sum | cut -c 1-12)
  echo "$cache_dir/conformance-$hash"
}

# Builds the suite once: the code comes from the module cache, nothing of it is ours.
conformance_suite() {
  local dir=$1
  mkdir -p "$dir"
  [ -x "$dir/common.test" ] || {
    (cd "$root/e2e/conformance" && quietly "etcd's tests (Go modules, once)" "$log_dir/go-conformance.log" \
      go test -c -trimpath -tags e2e -o "$dir/.common.test.new" go.etcd.io/etcd/tests/v3/common) ||
      fail "etcd's tests could not be built from Go modules" "the reason is above"
    mv "$dir/.common.test.new" "$dir/common.test"
  }
}

# conformance_bin REFERENCE SERVER CTL: the programs to judge under etcd's names: ours (a copy: a build meanwhile changes
# nothing) and for the rest the original ones.
conformance_bin() {
  local reference=$1 server=$2 ctl=$3 bin
  bin=$root/build/conformance/bin-$server-$ctl
  mkdir -p "$bin"
  rm -f "$bin"/etcd "$bin"/etcdctl "$bin"/etcdutl
  if [ "$server" = ours ]; then cp "$bin_dir/fairlead" "$bin/etcd"; else ln -s "$reference/etcd" "$bin/etcd"; fi
  if [ "$ctl" = ours ]; then
    cp "$bin_dir/fairleadctl" "$bin/etcdctl"
    cp "$bin_dir/fairleadctl" "$bin/etcdutl"
  else
    ln -s "$reference/etcdctl" "$bin/etcdctl"
    ln -s "$reference/etcdutl" "$bin/etcdutl"
  fi
  echo "$bin"
}

test_conformance() {
  local dir reference folder name log server=ours ctl=original rest=()
  while [ $# -gt 0 ]; do
    case $1 in
      --ctl | --server) [ $# -gt 1 ] || fail "$1 needs a value" ;;&
      --ctl) ctl=$2 && shift ;;
      --ctl=*) ctl=${1#*=} ;;
      --server) server=$2 && shift ;;
      --server=*) server=${1#*=} ;;
      *) rest+=("$1") ;;
    esac
    shift
  done
  [[ $server =~ ^(ours|etcd)$ ]] || fail "--server is ours or etcd, not '$server'"
  [[ $ctl =~ ^(ours|original)$ ]] || fail "--ctl is ours or original, not '$ctl'"
  [ "$server$ctl" != etcdoriginal ] || fail "--server etcd --ctl original is the reference itself" "--fresh repeats that"
  [ "$ctl" = original ] || build_programs fairleadctl
  say "Conformance: etcd's tests/common $etcd_version, reference first; then the server: $server, the tools: $ctl"
  go_programs etcd
  name=$([ $server = ours ] && echo fairlead || echo etcd)$([ $ctl = original ] || echo +fairleadctl) log=$log_dir/conformance-$name.log
  dir=$(conformance_dir)
  conformance_suite "$dir"
  reference=$(etcd_bin_dir)
  folder=$(cd "$root/e2e/conformance" && go list -m -f '{{.Dir}}' go.etcd.io/etcd/tests/v3)/common
  nice python3 "$root/e2e/conformance/conformance.py" --suite "$dir/common.test" --folder "$folder" \
    --reference "$reference" --ours "$(conformance_bin "$reference" "$server" "$ctl")" --baseline "$dir/baseline" \
    --logs "$log_dir/conformance" --name "$name" --exceptions "$root/docs/conformance.md" "${rest[@]}" 2>&1 | tee "$log" |
    sed -u '/^[0-9]* passed, [0-9]* failed$/d' || true
  add_score "$log"
}
