# ./dev package: the Debian package and the release archive, with checksums; `test` installs and runs both.

# shellcheck source=build.sh
. "$root/e2e/lib/build.sh"

package_dir=$root/build/package
package_work=$root/build/package-work

fairlead_version() {
  sed -n 's/.*kFairleadVersion = "\(.*\)".*/\1/p' "$root/base/version.h" | grep . ||
    fail "base/version.h does not say kFairleadVersion"
}
# The package's time is the commit's, so that two builds of one commit agree.
commit_time() { git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s; }

# The tools, which are one program under three names. A checkout without it has none to pack.
have_ctl() { [ -x "$bin_dir/fairleadctl" ]; }
build_packaged() {
  setup_packages "${packages_build[@]}" "${packages_package[@]}"
  build_programs fairlead
  if ninja -C "$root/build" -t targets all | grep -q '^bin/fairleadctl:'; then build_programs fairleadctl; fi
}

# stripped FROM TO: without debug information, which would be nine tenths of it.
stripped() {
  install -D -m 755 "$1" "$2"
  strip --strip-debug --strip-unneeded "$2"
}

# ---- the Debian package ----------------------------------------------------------------------------

# library_packages PROGRAM...: what they need, with the versions that their symbols ask for.
library_packages() {
  local folder=$package_work/shlibdeps
  mkdir -p "$folder/debian"
  printf 'Source: fairlead\n\nPackage: fairlead\nArchitecture: amd64\n' >"$folder/debian/control"
  (cd "$folder" && dpkg-shlibdeps -O --warnings=0 "$@") | sed 's/^shlibs:Depends=//'
}

make_deb() {
  local tree=$package_work/deb version programs depends deb
  version=$(fairlead_version)
  deb=$package_dir/fairlead_${version}_amd64.deb
  rm -rf "$tree"
  stripped "$bin_dir/fairlead" "$tree/usr/bin/fairlead"
  programs=("$tree/usr/bin/fairlead")
  if have_ctl; then
    stripped "$bin_dir/fairleadctl" "$tree/usr/bin/fairleadctl"
    programs+=("$tree/usr/bin/fairleadctl")
  fi
  install -D -m 644 "$root/packaging/fairlead.service" "$tree/lib/systemd/system/fairlead.service"
  install -D -m 644 "$root/packaging/fairlead.default" "$tree/etc/default/fairlead"
  install -D -m 644 "$root/README.md" "$tree/usr/share/doc/fairlead/README.md"
  install -D -m 644 "$root/packaging/debian/copyright" "$tree/usr/share/doc/fairlead/copyright"
  install -d "$tree/DEBIAN"
  install -m 755 "$root"/packaging/debian/{postinst,prerm,postrm} "$tree/DEBIAN/"
  echo /etc/default/fairlead >"$tree/DEBIAN/conffiles"
  depends=$(library_packages "${programs[@]}") || fail "dpkg-shlibdeps failed" "the reason is above"
  cat >"$tree/DEBIAN/control" <<CONTROL
Package: fairlead
Version: $version
Architecture: amd64
Section: database
Priority: optional
Maintainer: The Fairlead authors <root@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
Depends: $depends, adduser, init-system-helpers
Description: replicated key-value store that speaks etcd's protocols
 Clients of etcd work unchanged. This package has the server, its systemd unit
 and fairleadctl, which has etcdctl's and etcdutl's verbs; settings are in /etc/default/fairlead, data is in /var/lib/fairlead.
CONTROL
  (cd "$tree" && find usr lib etc -type f -exec md5sum {} + | sort -k2 >DEBIAN/md5sums)
  SOURCE_DATE_EPOCH=$(commit_time) quietly "Debian package" "$log_dir/package-deb.log" \
    dpkg-deb --root-owner-group -Zxz --build "$tree" "$deb" || fail "dpkg-deb failed" "the reason is above"
  note "$(basename "$deb"): $(($(stat -c %s "$deb") / 1024)) KiB, depends on $depends"
}

# ---- the release archive ---------------------------------------------------------------------------

# bundled_libraries PROGRAM...: what the loader will open for them, glibc's own parts excepted.
bundled_libraries() {
  local lines
  lines=$(ldd "$@") || fail "ldd failed"
  ! grep 'not found' <<<"$lines" >&2 || fail "a library is missing here"
  awk '/=> \// {print $3}' <<<"$lines" | sort -u |
    grep -Ev '/(libc|libm|libdl|librt|libpthread|libresolv|ld-linux-x86-64)\.so\.' || true
}

# archive_program FROM NAME: finds its libraries in lib/ beside itself, wherever a link to it may be.
archive_program() {
  stripped "$1" "$tree/$2"
  patchelf --set-rpath "\$ORIGIN/lib" "$tree/$2"
}

make_archive() {
  local version name tree library programs missing='' more=()
  version=$(fairlead_version)
  name=fairlead-$version-linux-amd64
  tree=$package_work/$name
  rm -rf "$tree"
  mkdir -p "$tree/lib"
  archive_program "$bin_dir/fairlead" fairlead
  ln -s fairlead "$tree/etcd"
  programs="| \`fairlead\`, \`etcd\` | the server, under both names |"
  if have_ctl; then
    archive_program "$bin_dir/fairleadctl" fairleadctl
    more=("$tree/fairleadctl")
    ln -s fairleadctl "$tree/etcdctl"
    programs+=$'\n'"| \`fairleadctl\`, \`etcdctl\` | the client, under both names |"
    ln -s fairleadctl "$tree/etcdutl"
    programs+=$'\n'"| \`etcdutl\` | the same program with the verbs for files and data directories |"
  else
    missing=$'\n'"This archive has no client tools yet: use etcd's own \`etcdctl\`."$'\n'
    note "no client tools in this checkout: the archive has the server only, and says so"
  fi
  while read -r library; do
    install -m 644 "$library" "$tree/lib/"
    # A library's own libraries are beside it.
    patchelf --set-rpath "\$ORIGIN" "$tree/lib/$(basename "$library")"
  done < <(bundled_libraries "$tree/fairlead" "${more[@]}")
  install -m 644 "$root/packaging/fairlead.service" "$root/packaging/fairlead.default" "$root/LICENSE" "$tree/"
  VERSION=$version PROGRAMS=$programs MISSING=$missing python3 - "$root/packaging/archive.md" >"$tree/README.md" <<'PYTHON'
import os, re, sys
print(re.sub(r"@(\w+)@", lambda m: os.environ[m.group(1)], open(sys.argv[1]).read()), end="")
PYTHON
  quietly "release archive" "$log_dir/package-archive.log" \
    tar -C "$package_work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(commit_time)" \
    -I 'gzip -n9' -cf "$package_dir/$name.tar.gz" "$name" || fail "tar failed" "the reason is above"
  note "$name.tar.gz: $(($(stat -c %s "$package_dir/$name.tar.gz") / 1024)) KiB"
}

make_packages() {
  need_linux
  build_packaged
  say "Packages"
  rm -rf "$package_work"
  mkdir -p "$package_dir" "$package_work"
  rm -f "$package_dir"/*
  make_deb
  make_archive
  (cd "$package_dir" && sha256sum -- *.deb *.tar.gz >SHA256SUMS)
  note "in $package_dir: $(cd "$package_dir" && echo *)"
}

verb_package() {
  case ${1:-} in
    '') make_packages ;;
    test)
      # shellcheck source=package_test.sh
      . "$root/e2e/lib/package_test.sh"
      need_root "a Debian of its own to install into"
      make_packages
      test_packages
      print_score
      ;;
    *) fail "'./dev package $1' is unknown" "./dev package [test]" ;;
  esac
}
