# ./dev image: server and operator image as archives that `ctr images import` and `docker load` take.

# shellcheck source=build.sh
. "$root/e2e/lib/build.sh"
# shellcheck source=../image/settings.sh
. "$root/e2e/image/settings.sh"

image_dir=$root/build/images

# make_image KIND PROGRAM NAME SETTINGS...: only where a program is newer than the archive.
make_image() {
  local kind=$1 program=$2 name=$3 archive
  shift 3
  archive=$image_dir/$(basename "$program").tar
  [ -x "$program" ] || fail "there is no $program, so there can be no $kind image" "./dev build makes it"
  if [ "$archive" -nt "$program" ] && { [ "$kind" != server ] || [ "$archive" -nt "$bin_dir/fairleadctl" ]; } &&
    [ "$archive" -nt "$root/e2e/image/rootfs.sh" ] &&
    [ "$archive" -nt "$root/e2e/image/settings.sh" ] && [ "$archive" -nt "$root/e2e/image/mkimage.py" ]; then
    note "$name: $archive is up to date"
    return
  fi
  "$root/e2e/image/rootfs.sh" "$kind" "$bin_dir" "$root/build/rootfs/$kind"
  python3 "$root/e2e/image/mkimage.py" --name "$name" --root "$root/build/rootfs/$kind" --out "$archive" "$@"
  note "$name: $archive, $(($(stat -c %s "$archive") / 1000000)) MB"
}

make_images() {
  setup_run
  build_programs fairlead fairleadctl fairlead-operator
  say "Images"
  mkdir -p "$image_dir"
  make_image server "$bin_dir/fairlead" "$server_image" "${server_settings[@]}"
  make_image operator "$bin_dir/fairlead-operator" "$operator_image" "${operator_settings[@]}"
}

verb_image() {
  case ${1:-} in
    '') make_images ;;
    --dockerfile)
      # shellcheck source=dockerfile.sh
      . "$root/e2e/lib/dockerfile.sh"
      need_root "building the Dockerfile without a Docker engine"
      make_images
      dockerfile_images
      compare_images
      print_score
      ;;
    *) fail "'./dev image $1' is unknown" "./dev image [--dockerfile]" ;;
  esac
}
