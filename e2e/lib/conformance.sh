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

# Our server under etcd's name, beside the original tools.
conformance_bin() {
  local bin=$root/build/conformance/bin reference=$1
  mkdir -p "$bin"
  cp "$bin_dir/fairlead" "$bin/.etcd.new" # a copy: a build meanwhile changes nothing
  mv "$bin/.etcd.new" "$bin/etcd"
  ln -sfn "$reference/etcdctl" "$bin/etcdctl"
  ln -sfn "$reference/etcdutl" "$bin/etcdutl"
  echo "$bin"
}

test_conformance() {
  local dir reference folder log=$log_dir/conformance.log
  say "Conformance: etcd's tests/common $etcd_version, reference first"
  go_programs etcd
  dir=$(conformance_dir)
  conformance_suite "$dir"
  reference=$(etcd_bin_dir)
  folder=$(cd "$root/e2e/conformance" && go list -m -f '{{.Dir}}' go.etcd.io/etcd/tests/v3)/common
  nice python3 "$root/e2e/conformance/conformance.py" --suite "$dir/common.test" --folder "$folder" \
    --reference "$reference" --ours "$(conformance_bin "$reference")" --baseline "$dir/baseline" \
    --logs "$log_dir/conformance" --exceptions "$root/docs/conformance.md" "$@" 2>&1 | tee "$log" |
    sed -u '/^[0-9]* passed, [0-9]* failed$/d' || true
  add_score "$log"
}
