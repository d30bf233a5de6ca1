#!/usr/bin/env bash
# rootfs.sh server|operator BIN_DIR OUT: the file system of an image, in folder OUT.
# It holds our programs, the shared libraries that it asks for, certificate authorities and the user
# nonroot, and hardly anything else: no shell, no package manager. Both ./dev image and the Dockerfile call this.
set -euo pipefail
kind=$1 bin=$2 out=$3

# libraries PROGRAM...: the closure of what the dynamic loader will open, as it names them.
libraries() {
  local lines
  for program in "$@"; do
    lines=$(ldd "$program" 2>/dev/null) || continue # statically linked
    if grep 'not found' <<<"$lines" >&2; then exit 1; fi
    awk '/=> \// {print $3} /^\t\/.*ld-linux/ {print $1}' <<<"$lines"
  done | sort -u
}
# install_program FROM NAME: without debug information, which would be nine tenths of it.
install_program() {
  cp -L "$1" "$out/usr/local/bin/$2"
  chmod 755 "$out/usr/local/bin/$2"
  strip --strip-debug "$out/usr/local/bin/$2" 2>/dev/null || true
}

rm -rf "$out"
mkdir -p "$out"/{etc/ssl/certs,tmp,usr/local/bin,usr/lib,var/lib/fairlead}
# Debian's layout: /lib and /lib64 are links into /usr.
ln -s usr/lib "$out/lib"
mkdir -p "$out/usr/lib64"
ln -s usr/lib64 "$out/lib64"
case $kind in
  server)
    install_program "$bin/fairlead" fairlead
    ln -s fairlead "$out/usr/local/bin/etcd"
    install_program "$bin/fairleadctl" fairleadctl
    ln -s fairleadctl "$out/usr/local/bin/etcdctl"
    ln -s fairleadctl "$out/usr/local/bin/etcdutl"
    # The operator's init container calls it where a volume belongs to root (spec.storage.fixPermissions).
    mkdir -p "$out/usr/bin"
    ln -s usr/bin "$out/bin"
    cp -L /bin/chown "$out/usr/bin/chown"
    programs=("$bin/fairlead" "$bin/fairleadctl" /bin/chown)
    ;;
  operator)
    install_program "$bin/fairlead-operator" fairlead-operator
    rmdir "$out/var/lib/fairlead"
    programs=("$bin/fairlead-operator")
    ;;
  *)
    echo "rootfs.sh: '$kind' is neither server nor operator" >&2
    exit 1
    ;;
esac
while read -r library; do
  mkdir -p "$out$(dirname "$library")"
  cp -L "$library" "$out$library"
  chmod 755 "$out$library"
done < <(libraries "${programs[@]}")
cp -L /etc/ssl/certs/ca-certificates.crt "$out/etc/ssl/certs/"
chmod 644 "$out/etc/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' >"$out/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$out/etc/group"
printf 'hosts: files dns\n' >"$out/etc/nsswitch.conf"
find "$out" -type d -exec chmod 755 {} +
chmod 1777 "$out/tmp"
if [ -d "$out/var/lib/fairlead" ]; then
  chmod 700 "$out/var/lib/fairlead"
  # The Dockerfile copies owners along; mkimage.py gives the folder to the image's user by itself.
  [ "$(id -u)" != 0 ] || chown 65532:65532 "$out/var/lib/fairlead"
fi
