# ./dev sim: the deterministic simulator. One seed is one whole history of three members.

# shellcheck source=build.sh
. "$root/e2e/lib/build.sh"

sim_planted() {
  setup_build
  say "Building with planted bugs"
  configure planted
  compile "$root/build/planted" fairlead-sim
  say "Each planted bug must be found"
  "$root/build/planted/bin/fairlead-sim" planted "$@"
}

verb_sim() {
  if [ "${1:-}" = planted ]; then
    shift
    sim_planted "$@"
    return
  fi
  build_programs fairlead-sim
  [ $# -gt 0 ] || set -- --seeds 200
  say "fairlead-sim $*"
  "$bin_dir/fairlead-sim" "$@"
}
