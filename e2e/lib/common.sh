# What every verb of ./dev uses: messages, checks of the machine, long work with progress, scores.
# Sourced by ./dev and by scripts below e2e/, which set `root` to the checkout first.

: "${root:?set root to the checkout before sourcing common.sh}"
cache_dir=${FAIRLEAD_CACHE:-${HOME:-/root}/.cache/fairlead}
state_dir=${FAIRLEAD_STATE:-/var/lib/fairlead-demo}
bin_dir=$root/build/bin
log_dir=$root/build/log
jobs=${FAIRLEAD_JOBS:-$(nproc)}
etcd_version=3.7.1
kubernetes_version=1.36.3

say() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
# fail WHAT [WHAT TO DO]: one clear message, then the end of this verb.
fail() {
  printf '\nfairlead: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf '          %s\n' "$2" >&2
  exit 1
}

need_linux() {
  [ "$(uname -s)" = Linux ] || fail "this needs Linux, and this is $(uname -s)" \
    "use a Debian 12 machine or virtual machine"
  [ "$(uname -m)" = x86_64 ] || fail "this needs an x86-64 processor, and this is $(uname -m)" \
    "the server is built for x86-64-v2"
}
need_root() {
  [ "$(id -u)" = 0 ] || fail "$1 needs root (it makes network namespaces and mounts)" "run it with sudo"
}
need_program() {
  command -v "$1" >/dev/null || fail "there is no program '$1'" "./dev setup installs it (Debian package ${2:-$1})"
}
# The Go that works on the given module; an older Go fetches the one that go.mod asks for by itself.
need_go() {
  command -v go >/dev/null || fail "there is no Go here" \
    "install Go 1.26 or later (https://go.dev/dl) and put it into PATH"
  local version minor
  version=$(cd "$root/e2e/kube/modules/etcd" && go env GOVERSION 2>/dev/null) || version=unknown
  minor=${version#go1.}
  minor=${minor%%[!0-9]*}
  [ "${minor:-0}" -ge 26 ] || fail "Go 1.26 or later is needed, and this is $version" \
    "install it (https://go.dev/dl) and put it into PATH before the older one"
}

# on_interrupt is a command that undoes what must not stay behind when a Ctrl-C ends long work.
on_interrupt=
# quietly LABEL LOG COMMAND...: runs long work with its output in LOG and a sign of life every
# 20 seconds; on failure it shows the end of LOG and returns the command's exit code.
quietly() {
  local label=$1 log=$2 begin=$SECONDS pid code=0
  shift 2
  mkdir -p "$(dirname "$log")"
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  # What runs in the background does not hear a Ctrl-C by itself.
  trap 'kill -TERM "$pid" 2>/dev/null; ${on_interrupt:-:}; exit 130' INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    if [ $((SECONDS - begin)) -ge "${next_sign:-20}" ]; then
      note "$label: $((SECONDS - begin)) s: $(tail -n 1 "$log" | cut -c 1-80)"
      next_sign=$((SECONDS - begin + 20))
    fi
  done
  unset next_sign
  wait "$pid" || code=$?
  if [ -n "$on_interrupt" ]; then trap '$on_interrupt; exit 130' INT TERM; else trap - INT TERM; fi
  if [ "$code" != 0 ]; then
    note "$label: failed after $((SECONDS - begin)) s; the end of $log:"
    tail -n 40 "$log" | sed 's/^/   | /'
  else
    note "$label: $((SECONDS - begin)) s"
  fi
  return "$code"
}

# wait_for SECONDS WHAT COMMAND...: waits for a condition, never for a time.
wait_for() {
  local limit=$1 what=$2 begin=$SECONDS
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $((SECONDS - begin)) -lt "$limit" ] || {
      note "gave up after $limit s waiting for $what" >&2
      return 1
    }
    sleep 0.2
  done
}

# free_ports N: so many, distinct.
free_ports() { python3 "$root/e2e/lib/ports.py" "$1"; }
free_port() { free_ports 1; }

# The score of a run: case_passed and case_failed count, print_score prints the closing line.
passed=0
failed=0
case_passed() {
  passed=$((passed + 1))
  note "ok    $*"
}
case_failed() {
  failed=$((failed + 1))
  note "FAIL  $*"
}
# case_result CODE NAME
case_result() { if [ "$1" = 0 ]; then case_passed "$2"; else case_failed "$2"; fi; }
# add_score FILE: adds what another script counted (its last line "N passed, N failed").
add_score() {
  local line
  line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$1" | tail -n 1)
  if [ -z "$line" ]; then
    case_failed "$(basename "$1"): ended without a score"
    return
  fi
  passed=$((passed + ${line%% *}))
  line=${line#*, }
  failed=$((failed + ${line%% *}))
}
print_score() {
  printf '\n%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" = 0 ]
}
