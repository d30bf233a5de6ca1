# ./dev test clients: programs of ours in six languages, each with its language's usual client, against our server or,
# with --reference, against the reference etcd. What a language needs is set up only when it is asked for, and kept.

# shellcheck source=go.sh
. "$root/e2e/lib/go.sh"

clients_dir=$root/e2e/clients
client_languages=(go python cpp)

# client_cache NAME FILE...: a folder of the cache whose name changes with the files and with $client_toolchain.
client_cache() {
  local name=$1 hash
  shift
  hash=$({ cat "$@"; echo "$client_toolchain"; } | sha256sum | cut -c 1-12)
  echo "$cache_dir/clients-$name-$hash"
}
# need_version PROGRAM MAJOR.MINOR PACKAGE...: installs Debian's packages where the program is missing.
need_version() {
  local program=$1 want=$2 have
  shift 2
  command -v "$program" >/dev/null || setup_packages "$@"
  have=$("$program" --version 2>&1 | grep -oE '[0-9]+\.[0-9]+' | head -n 1)
  [ "$(printf '%s\n' "$want" "$have" | sort -V | head -n 1)" = "$want" ] ||
    fail "$program $want or later is needed, and this is ${have:-unknown}" "put a newer one into PATH"
}

# setup_client_LANGUAGE: sets `client_command`, an array; and `client_variants` where there are several programs.
setup_client_go() {
  go_own clients/go "$root/build/client-go"
  client_command=("$root/build/client-go")
}

setup_client_python() {
  local python=python3 dir
  # pip and venv are packages of their own in Debian.
  python3 -c 'import venv, ensurepip' 2>/dev/null || setup_packages python3-venv
  client_toolchain=$($python --version) dir=$(client_cache python "$clients_dir/python/requirements.txt")
  [ -x "$dir/bin/python" ] || {
    rm -rf "$dir.new"
    quietly "Python: etcd3, aetcd (once)" "$log_dir/clients-python.log" client_venv "$python" "$dir.new" ||
      fail "the packages for Python could not be installed" "the reason is above"
    mv "$dir.new" "$dir"
  }
  # The code that etcd3 was published with needs Protocol Buffers' implementation in Python.
  client_command=(env PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python "$dir/bin/python" -B)
  client_variants=("$clients_dir/python/cases_etcd3.py" "$clients_dir/python/cases_aetcd.py")
}
client_venv() {
  "$1" -m venv "$2" && "$2/bin/python" -m pip install --quiet --require-hashes -r "$clients_dir/python/requirements.txt"
}

setup_client_cpp() {
  build_programs fairlead-client-cases
  client_command=("$bin_dir/fairlead-client-cases")
}

# run_client LANGUAGE [--reference]
run_client() {
  local language=$1 variant name log
  shift
  client_command=() client_variants=()
  say "Clients: $language"
  "setup_client_$language"
  mkdir -p "$log_dir/clients"
  for variant in "${client_variants[@]-}"; do
    name=$language
    [ -z "$variant" ] || name=$(basename "$variant" | sed "s/^cases_\(.*\)\..*/$language, \1/")
    log="$log_dir/clients/$name.log"
    ETCD_BIN=$(etcd_bin_dir) FAIRLEAD_BIN=$bin_dir python3 -B "$clients_dir/lab.py" "$@" --logs "$log_dir/clients/$name" \
      "$name" "${client_command[@]}" ${variant:+"$variant"} 2>&1 | tee "$log" | sed -u '/^[0-9]* passed, [0-9]* failed$/d' || true
    add_score "$log"
  done
}

# test_clients [LANGUAGE...] [--reference]
test_clients() {
  local word languages=() options=()
  for word in "$@"; do
    case $word in
      --reference) options=(--reference) ;;
      *) [[ " ${client_languages[*]} " == *" $word "* ]] || fail "no client in '$word'" "there are: ${client_languages[*]}"
        languages+=("$word") ;;
    esac
  done
  setup_packages openssl
  go_programs etcd
  [ ${#languages[@]} -gt 0 ] || languages=("${client_languages[@]}")
  for word in "${languages[@]}"; do run_client "$word" "${options[@]}"; done
}
