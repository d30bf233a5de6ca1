# ./dev build: the release tree in build/, its programs in build/bin.

# One cache entry for every checkout: paths are made relative to the checkout, its own path is not hashed.
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1

# configure PRESET [CMAKE ARGUMENT...]
configure() {
  local preset=$1
  shift
  (cd "$root" && quietly "configure ($preset)" "$log_dir/configure-$preset.log" \
    cmake --preset "$preset" "$@") || fail "CMake does not accept the tree" "the reason is above"
}

# compile TREE [TARGET...]: ninja with its own progress on a terminal, a line now and then elsewhere.
compile() {
  local tree=$1 name
  shift
  name=$(basename "$tree")
  if [ -t 1 ]; then
    ninja -C "$tree" -j "$jobs" "$@"
  else
    quietly "compile ($name)" "$log_dir/compile-$name.log" ninja -C "$tree" -j "$jobs" "$@"
  fi || fail "the build failed" "the first error is above"
}

# The programs of a tree: everything that CMake links into TREE/bin.
program_targets() { ninja -C "$1" -t targets all | sed -n 's/^\(bin\/[^:]*\): .*/\1/p' | sort -u; }

# The server answers to etcd's name too.
link_names() {
  [ ! -e "$bin_dir/fairlead" ] || ln -sfn fairlead "$bin_dir/etcd"
}

# build_programs [NAME...]: these, or all.
build_programs() {
  local programs=("${@/#/bin/}")
  setup_build
  say "Building ${*:-the programs}"
  configure release
  [ $# -gt 0 ] || mapfile -t programs < <(program_targets "$root/build")
  compile "$root/build" "${programs[@]}"
  link_names
}

build_all() {
  setup_build
  say "Building programs and tests"
  configure release
  compile "$root/build"
  link_names
}

# shellcheck source=setup.sh
. "$root/e2e/lib/setup.sh"

verb_build() {
  build_programs
  say "In build/bin: $(cd "$bin_dir" 2>/dev/null && echo * || echo nothing)"
}
