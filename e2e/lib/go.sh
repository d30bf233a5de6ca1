# Programs of other projects, built from Go modules once and kept: Kubernetes, the reference etcd, CoreDNS.
# The folder of a program's cache carries the version and a hash of module files and flags, so that a
# change of either builds anew and never uses what is stale.

go_modules=$root/e2e/kube/modules
export CGO_ENABLED=0 GOWORK=off

kubernetes_ldflags() {
  local package flags="-s -w"
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    # Without the stamp the version is v0.0.0-master, and version-skew checks refuse it.
    flags+=" -X $package.gitVersion=v$kubernetes_version -X $package.gitMajor=1"
    flags+=" -X $package.gitMinor=36 -X $package.gitTreeState=clean"
  done
  echo "$flags"
}

# module MODULE: sets module_packages (import paths), module_names (file names), module_flags.
module() {
  module_flags=(-trimpath)
  case $1 in
    kubernetes)
      module_names=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)
      module_packages=("${module_names[@]/#/k8s.io/kubernetes/cmd/}")
      module_flags+=(-ldflags "$(kubernetes_ldflags)")
      ;;
    etcd)
      module_names=(etcd etcdctl etcdutl)
      module_packages=(go.etcd.io/etcd/server/v3 go.etcd.io/etcd/etcdctl/v3 go.etcd.io/etcd/etcdutl/v3)
      ;;
    mixin)
      module_names=(jsonnet)
      module_packages=(github.com/google/go-jsonnet/cmd/jsonnet)
      ;;
    coredns)
      module_names=(coredns)
      module_packages=(github.com/coredns/coredns)
      module_flags+=(-ldflags "-s -w")
      ;;
    *) fail "no Go module '$1'" ;;
  esac
}

# module_dir MODULE: where its programs are kept.
module_dir() {
  local hash
  module "$1"
  hash=$({ cat "$go_modules/$1/go.mod" "$go_modules/$1/go.sum"
    printf '%s\n' "${module_flags[@]}" "${module_packages[@]}"
    cd "$go_modules/$1" && go env GOVERSION; } | sha256sum | cut -c 1-12)
  echo "$cache_dir/$1-$hash"
}
etcd_bin_dir() { module_dir etcd; }

# go_programs MODULE...: builds what is not in the cache yet; a line for each program.
go_programs() {
  local m i dir
  need_go
  for m in "$@"; do
    dir=$(module_dir "$m")
    module "$m"
    mkdir -p "$dir"
    for i in "${!module_names[@]}"; do
      [ ! -x "$dir/${module_names[i]}" ] || continue
      (cd "$go_modules/$m" && quietly "${module_names[i]} (Go modules, once)" "$log_dir/go-${module_names[i]}.log" \
        go build -v "${module_flags[@]}" -o "$dir/.${module_names[i]}.new" "${module_packages[i]}") ||
        fail "${module_names[i]} could not be built from Go modules" "the reason is above"
      mv "$dir/.${module_names[i]}.new" "$dir/${module_names[i]}"
    done
  done
}

# go_own FOLDER OUT: one of our own small Go programs below e2e/, which share e2e/go.mod.
go_own() {
  need_go
  (cd "$root/e2e" && quietly "$1" "$log_dir/go-$(basename "$1").log" go build -trimpath -o "$2" "./$1") ||
    fail "e2e/$1 could not be built" "the reason is above"
}
