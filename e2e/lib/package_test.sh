# ./dev package test: the package in a Debian of its own (install, start, stop, upgrade, remove, purge), the archive unpacked
# and run in an empty folder of the same Debian before anything was installed there.

# shellcheck source=debian.sh
. "$root/e2e/lib/debian.sh"

inside() { chroot "$tree" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"; }
client() { ETCDCTL_API=3 etcdctl --endpoints="127.0.0.1:$client_port" "$@"; }

# start_server NAME COMMAND...: as systemd would: environment from the settings, a socket that hears READY=1.
start_server() {
  local name=$1
  shift
  client_port=$(free_port) peer_port=$(free_port)
  rm -f "$tree/notify" "$work/heard"
  python3 - "$tree/notify" >"$work/heard" <<'PYTHON' &
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
s.settimeout(120)
while True:
    state = s.recv(100).decode()
    print(state, flush=True)
    if state == "STOPPING=1":
        break
PYTHON
  listener_pid=$!
  wait_for 60 "the listener of READY=1" test -S "$tree/notify" || return 1
  "$@" >"$log_dir/package-$name.log" 2>&1 &
  server_pid=$!
  wait_for 60 "READY=1 of $name" grep -q READY=1 "$work/heard" || {
    tail -n 5 "$log_dir/package-$name.log"
    kill "$server_pid" "$listener_pid" 2>/dev/null
    server_pid='' listener_pid=''
    return 1
  }
}
server_environment() {
  printf '%s\n' NOTIFY_SOCKET=/notify "ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:$client_port" \
    "ETCD_ADVERTISE_CLIENT_URLS=http://127.0.0.1:$client_port" "ETCD_LISTEN_PEER_URLS=http://127.0.0.1:$peer_port" \
    "ETCD_INITIAL_ADVERTISE_PEER_URLS=http://127.0.0.1:$peer_port"
}
# stop_server: SIGTERM must end it with code 0, and be told to systemd.
stop_server() {
  local code=0
  kill -TERM "$server_pid"
  wait "$server_pid" || code=$?
  server_pid=''
  wait_for 60 "STOPPING=1" grep -q STOPPING=1 "$work/heard" || code=1
  wait "$listener_pid" || code=1
  listener_pid=''
  return $code
}
# The installed program, as user fairlead, with the settings of /etc/default/fairlead (the ports are the test's own).
installed_server() {
  local settings
  mapfile -t settings < <(grep -E '^ETCD_' "$tree/etc/default/fairlead"; server_environment)
  exec chroot --userspec=fairlead:fairlead "$tree" env -i PATH=/usr/bin "${settings[@]}" /usr/bin/fairlead
}
archive_server() {
  local settings
  mapfile -t settings < <(server_environment)
  exec chroot "$tree" env -i PATH=/usr/bin "${settings[@]}" "$1" --data-dir /empty/data
}

put_and_get() { [ "$(client put "$1" "$2")" = OK ] && [ "$(client get "$1" --print-value-only)" = "$2" ]; }

# ---- cases, in order: each uses what the one before has left ---------------------------------------

archive_has_its_checksum() { (cd "$package_dir" && sha256sum -c --quiet SHA256SUMS); }
archive_unpacks() {
  mkdir "$tree/empty"
  tar -C "$tree/empty" -xzf "$package_dir/fairlead-$version-linux-amd64.tar.gz"
  archive=/empty/fairlead-$version-linux-amd64
  [ "$(ls "$tree/empty")" = "fairlead-$version-linux-amd64" ]
}
archive_says_its_version() { inside $archive/etcd --version | grep -q "^Fairlead Version: $version$"; }
archive_runs() {
  inside ln -s $archive/etcd /usr/local/bin/etcd || return 1 # as the README in it says
  start_server archive archive_server /usr/local/bin/etcd && put_and_get from archive &&
    tools_work /empty/a.db $archive/etcdutl && tools_work /empty/b.db $archive/etcdctl && stop_server
}
# tools_work SNAPSHOT COMMAND: the tool's verbs for files, on a snapshot of the server that runs.
tools_work() {
  client snapshot save "$tree$1" >/dev/null && inside "$2" snapshot status "$1" -w json | grep -q '"totalKey":[1-9]' &&
    inside "$2" snapshot restore "$1" --data-dir "$1.data" 2>/dev/null && [ -f "$tree$1.data/manifest" ]
}
# Every name that the README of the archive lists is there and starts.
archive_names() {
  local names name
  names=$(sed -n '/^| `lib/q; s/^| \(`.*`\) |.*/\1/p' "$tree$archive/README.md" | tr -d '`,')
  [ -n "$names" ] || return 1
  for name in $names; do
    inside "$archive/$name" --version >/dev/null 2>&1 || inside "$archive/$name" version >/dev/null || return 1
  done
}
# The check that has no exception: whatever a program asks for comes from lib/ or is glibc.
archive_needs_only_glibc() {
  local lines
  lines=$(inside sh -c "for f in $archive/fairlead $archive/lib/*; do ldd \$f; done") || return 1
  ! grep 'not found' <<<"$lines" || return 1
  ! awk '/=> \// {print $3}' <<<"$lines" | grep -v "^$archive/lib/" |
    grep -Ev '/(libc|libm|libdl|librt|libpthread|libresolv)\.so\.'
}
deb_installs() {
  cp "$package_dir/fairlead_${version}_amd64.deb" "$tree/fairlead.deb"
  inside apt-get -q update >"$log_dir/package-apt.log" 2>&1 || return 1
  inside apt-get -q -y install --no-install-recommends /fairlead.deb >>"$log_dir/package-apt.log" 2>&1
}
deb_has_user_and_folder() {
  [ "$(stat -c %a "$tree/var/lib/fairlead")" = 700 ] &&
    [ "$(inside stat -c %U:%G /var/lib/fairlead)" = fairlead:fairlead ] &&
    inside dpkg-query -W -f '${Conffiles}' fairlead | grep -q /etc/default/fairlead
}
# Only systemd itself knows whether the unit is right; its checker runs without a running systemd.
unit_is_valid() {
  inside apt-get -q -y install --no-install-recommends systemd >>"$log_dir/package-apt.log" 2>&1 || return 1
  inside systemd-analyze verify --man=no /lib/systemd/system/fairlead.service >"$log_dir/package-unit.log" 2>&1 &&
    ! grep fairlead.service "$log_dir/package-unit.log"
}
deb_runs() {
  start_server installed installed_server && put_and_get from package &&
    tools_work /tmp/a.db fairleadctl && stop_server &&
    [ -d "$tree/var/lib/fairlead/data" ]
}
reinstall_keeps_settings() {
  echo 'ETCD_HEARTBEAT_INTERVAL=200' >>"$tree/etc/default/fairlead"
  inside dpkg -i --force-confold /fairlead.deb >>"$log_dir/package-apt.log" 2>&1 &&
    grep -q HEARTBEAT "$tree/etc/default/fairlead"
}
removal_keeps_data() {
  inside dpkg -r fairlead >>"$log_dir/package-apt.log" 2>&1 && [ ! -e "$tree/usr/bin/fairlead" ] &&
    [ -d "$tree/var/lib/fairlead/data" ] && [ -f "$tree/etc/default/fairlead" ]
}
data_is_there_after_a_new_install() {
  inside dpkg -i --force-confold /fairlead.deb >>"$log_dir/package-apt.log" 2>&1 &&
    start_server again installed_server && [ "$(client get from --print-value-only)" = package ] && stop_server
}
purge_removes_all() {
  inside dpkg -P fairlead >>"$log_dir/package-apt.log" 2>&1 &&
    [ -z "$(find "$tree" -xdev -name '*fairlead*' -not -path '*/empty/*' -not -path "$tree/fairlead.deb" \
      -not -path '*/var/log/*' -not -path '*/var/cache/*')" ]
}

leave_debian() {
  [ -z "$server_pid$listener_pid" ] || kill $server_pid $listener_pid 2>/dev/null || true
  umount "$tree/proc" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}

test_packages() {
  # Not local: leave_debian may run when this function has ended by a failure.
  work=$package_work/test tree=$package_work/test/debian archive='' server_pid='' listener_pid=''
  local version client_port peer_port c
  version=$(fairlead_version)
  setup_packages debootstrap etcd-client
  debian_base_archive
  say "The archive and the package in a Debian 12 of their own"
  mkdir -p "$tree"
  tar -C "$tree" -xf "$debian_archive"
  trap leave_debian EXIT
  mount -t proc proc "$tree/proc" # without it no program knows where it is, so none finds lib/ beside itself
  # Nothing may start a service in there; the test starts the server itself.
  printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
  chmod 755 "$tree/usr/sbin/policy-rc.d"
  for c in archive_has_its_checksum archive_unpacks archive_says_its_version archive_needs_only_glibc archive_names archive_runs \
    deb_installs deb_has_user_and_folder unit_is_valid deb_runs reinstall_keeps_settings removal_keeps_data \
    data_is_there_after_a_new_install purge_removes_all; do
    if "$c"; then case_passed "${c//_/ }"; else case_failed "${c//_/ } (logs: $log_dir/package-*.log)"; fi
  done
  leave_debian
  trap - EXIT
}
