# ./dev setup: Debian packages by apt, a check of Go. Everything else is built from source.

packages_build=(
  build-essential cmake ninja-build ccache pkg-config python3 ca-certificates curl
  libnghttp2-dev libboost1.81-dev libcpp-httplib-dev libabsl-dev
  libprotobuf-dev protobuf-compiler libgrpc++-dev protobuf-compiler-grpc
  nlohmann-json3-dev libyaml-cpp-dev prometheus-cpp-dev liburing-dev libzstd-dev zlib1g-dev
  libssl-dev libcrypt-dev libc-ares-dev libcurl4-openssl-dev libcli11-dev libfmt-dev libspdlog-dev
  libhowardhinnant-date-dev libgtest-dev libgmock-dev libbenchmark-dev librapidcheck-dev
)
packages_fuzz=(clang-16 libclang-rt-16-dev llvm-16)
packages_check=(clang-format-14 clang-tidy-14 shellcheck)
packages_package=(dpkg-dev patchelf binutils)
packages_run=(
  containerd runc containernetworking-plugins iproute2 iptables nftables openssl procps jq
  prometheus etcd-client debootstrap buildah dnsmasq-base python3-hpack zsh fish faketime
)

missing_packages() {
  local p
  for p in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
  done
}

setup_packages() {
  need_linux
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "this is no Debian: there is no apt-get" \
    "install what corresponds to: ${missing[*]}"
  [ "$(id -u)" = 0 ] || fail "${#missing[@]} Debian packages are missing, and you are not root" \
    "sudo apt-get install ${missing[*]}"
  say "Installing ${#missing[@]} Debian packages"
  export DEBIAN_FRONTEND=noninteractive
  quietly "package lists" "$log_dir/apt-update.log" apt-get -q update ||
    fail "apt-get update failed" "is there a network?"
  # Services of these packages (containerd, prometheus) are not wanted as services: the demo starts
  # its own. Debian asks policy-rc.d before it starts one.
  local policy=/usr/sbin/policy-rc.d made_policy=
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    made_policy=1
    on_interrupt="rm -f $policy"
  fi
  local code=0
  quietly "packages" "$log_dir/apt-install.log" \
    apt-get -q -y -o Dpkg::Options::=--force-confold install --no-install-recommends "${missing[@]}" || code=$?
  [ -z "$made_policy" ] || rm -f $policy
  on_interrupt=
  [ "$code" = 0 ] || fail "apt-get install failed" "the reason is above"
}

setup_build() { setup_packages "${packages_build[@]}"; }
setup_run() {
  setup_packages "${packages_build[@]}" "${packages_run[@]}"
  need_go
}

verb_setup() {
  case ${1:-} in
    '') ;;
    --build) # all that ./dev build needs, and no more: for the Dockerfile
      setup_build
      return
      ;;
    *) fail "'./dev setup $1' is unknown" "./dev setup [--build]" ;;
  esac
  setup_packages "${packages_build[@]}" "${packages_check[@]}" "${packages_package[@]}" "${packages_run[@]}"
  need_go
  say "Set up: Debian packages are here, $(go version | cut -d' ' -f3)"
}
