# ./dev image --dockerfile: the real Dockerfile, built by buildah without a registry, and compared with the
# archives that ./dev image makes. The base image that the Dockerfile names is made here, by debootstrap.

# Storage by overlay mounts where this machine can make them; plain copies (vfs) of each step elsewhere, which
# cost a gigabyte and a minute a step. What is built is kept, so that the next time only changes cost.
buildah_driver() {
  [ -z "${driver:-}" ] || return 0
  local probe
  probe=$(mktemp -d "$cache_dir/overlay-XXXXXX")
  mkdir "$probe"/{lower,upper,work,all}
  driver=vfs
  if mount -t overlay overlay -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" "$probe/all" 2>/dev/null; then
    umount "$probe/all"
    driver=overlay
  fi
  rm -rf "$probe"
}

# shellcheck source=debian.sh
. "$root/e2e/lib/debian.sh"

buildah_here() {
  buildah --storage-driver "$driver" --root "$cache_dir/buildah-$driver" --runroot "$root/build/buildah-run" "$@"
}

have_image() { buildah_here images -q "$1" 2>/dev/null | grep -q .; }

debian_base() {
  ! have_image localhost/debian:bookworm-slim || return 0
  local container
  debian_base_archive
  container=$(buildah_here from scratch)
  buildah_here add -q "$container" "$debian_archive" / >/dev/null
  buildah_here config --cmd bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah_here commit -q "$container" localhost/debian:bookworm-slim >/dev/null
  buildah_here rm "$container" >/dev/null
}

# One target of the Dockerfile, to an archive. What it compiles is kept for the next time.
dockerfile_target() {
  local target=$1 name=$2 archive=$3
  mkdir -p "$cache_dir/image-ccache"
  quietly "Dockerfile, target $target" "$log_dir/dockerfile-$target.log" \
    buildah_here bud --pull-never --isolation chroot --network host --layers \
    --volume "$cache_dir/image-ccache:/root/.cache/ccache" \
    --target "$target" -t "$name" -f "$root/Dockerfile" "$root" ||
    fail "the Dockerfile does not build" "the reason is above"
  rm -f "$archive"
  buildah_here push -q "$name" "docker-archive:$archive" >/dev/null
}

# Steps of old sources are kept too, until they are many.
forget_old_steps() {
  local kib
  kib=$(du -skx "$cache_dir/buildah-$driver" 2>/dev/null | cut -f1)
  [ "${kib:-0}" -lt $((20 * 1024 * 1024)) ] || quietly "forgetting old steps" "$log_dir/prune.log" buildah_here rmi --prune || true
}

dockerfile_images() {
  need_program buildah
  need_program debootstrap
  say "The Dockerfile, by buildah"
  mkdir -p "$cache_dir" "$root/build/buildah-run"
  buildah_driver
  note "storage: $driver, in $cache_dir/buildah-$driver"
  forget_old_steps
  debian_base
  dockerfile_target server localhost/fairlead:dockerfile "$image_dir/fairlead.dockerfile.tar"
  dockerfile_target operator localhost/fairlead-operator:dockerfile "$image_dir/fairlead-operator.dockerfile.tar"
}

compare_images() {
  say "Both ways give the same images"
  local name
  for name in fairlead fairlead-operator; do
    if python3 "$root/e2e/image/compare.py" "$image_dir/$name.tar" "$image_dir/$name.dockerfile.tar" >"$log_dir/compare-$name.log"; then
      case_passed "$name: $(tail -n 1 "$log_dir/compare-$name.log")"
    else
      sed 's/^/   | /' "$log_dir/compare-$name.log" | head -n 40
      case_failed "$name: the images differ"
    fi
  done
}
