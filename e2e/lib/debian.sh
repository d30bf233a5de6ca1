# A Debian 12 of our own, made once by debootstrap and kept as an archive: the base image of the Dockerfile, and the
# machine that ./dev package test installs into.

debian_archive=$cache_dir/debian-bookworm.tar

debian_base_archive() {
  [ ! -f "$debian_archive" ] || return 0
  need_program debootstrap
  local folder
  mkdir -p "$cache_dir"
  folder=$(mktemp -d "$cache_dir/debootstrap-XXXXXX")
  quietly "Debian 12 (debootstrap, once)" "$log_dir/debootstrap.log" \
    debootstrap --variant=minbase bookworm "$folder" || fail "debootstrap failed" "the reason is above"
  # The machine's package sources and settings work here; Debian's own may not be reachable.
  cp -r /etc/apt/. "$folder/etc/apt/"
  chmod 755 "$folder"
  tar -C "$folder" -cf "$debian_archive.new" .
  mv "$debian_archive.new" "$debian_archive"
  rm -rf "$folder"
}
