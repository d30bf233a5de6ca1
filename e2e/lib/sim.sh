# ./dev sim: the deterministic simulator. One seed is one whole history of three members.

# shellcheck source=build.sh
. "$root/e2e/lib/build.sh"

# Seeds never run before by anyone, most likely: the clock, in a range of its own for each second.
fresh_seed() { echo $(($(date +%s) * 1000)); }

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
  case " $* " in
    *" --first-seed"* | *" --seed "* | *" --seed="*) ;;
    *) set -- "$@" --first-seed "$(fresh_seed)" ;;
  esac
  say "fairlead-sim $*"
  "$bin_dir/fairlead-sim" "$@"
}
