# ./dev test clients: programs of ours in six languages, each with its language's usual client, against our server or,
# with --reference, against the reference etcd. What a language needs is set up only when it is asked for, and kept.

# shellcheck source=go.sh
. "$root/e2e/lib/go.sh"

clients_dir=$root/e2e/clients
client_languages=(go python rust node java cpp)

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
# more_client_LANGUAGE, where there is one, runs further tests with options of lab.py, and ends with its score.
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

setup_client_node() {
  local dir
  need_version node 18.0 nodejs npm
  command -v npm >/dev/null || setup_packages npm
  client_toolchain=$(node --version) dir=$(client_cache node "$clients_dir/node/package-lock.json")
  [ -d "$dir/node_modules" ] || {
    rm -rf "$dir.new"
    mkdir -p "$dir.new"
    cp "$clients_dir"/node/package*.json "$dir.new"
    quietly "Node: etcd3 (once)" "$log_dir/clients-node.log" npm --prefix "$dir.new" ci --ignore-scripts --no-audit --no-fund ||
      fail "the packages for Node could not be installed" "the reason is above"
    mv "$dir.new" "$dir"
  }
  client_command=(env "NODE_PATH=$dir/node_modules" node "$clients_dir/node/cases.js")
}

setup_client_java() {
  local dir
  need_version javac 17.0 openjdk-17-jdk-headless
  client_toolchain=$(javac --version) dir=$(client_cache java "$clients_dir/java/pom.xml" "$clients_dir"/java/src/io/fairlead/clients/*.java)
  [ -f "$dir/classpath" ] || {
    need_version mvn 3.6 maven
    quietly "Java: jetcd (once)" "$log_dir/clients-java.log" mvn --batch-mode --quiet --no-transfer-progress -f "$clients_dir/java/pom.xml" \
      "-Dout=$dir" "-Dmdep.outputFile=$dir/.classpath.new" compile dependency:build-classpath ||
      fail "the program in Java could not be built" "the reason is above"
    mv "$dir/.classpath.new" "$dir/classpath"
  }
  client_command=(java -cp "$dir/classes:$(cat "$dir/classpath")" io.fairlead.clients.Cases)
}

setup_client_rust() {
  # Debian's rustc is too old; rustc-web is the one that it builds browsers with.
  need_version cargo 1.85 rustc-web cargo-web
  command -v protoc >/dev/null || setup_packages protobuf-compiler
  local manifest=$clients_dir/rust/Cargo.toml
  client_toolchain=$(rustc --version) rust_dir=$(client_cache rust "$clients_dir/rust/Cargo.lock")
  mkdir -p "$rust_dir"
  export CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 # a sixth of the disk
  quietly "Rust: etcd-client (minutes, once)" "$log_dir/clients-rust.log" \
    cargo build --locked --manifest-path "$manifest" --target-dir "$rust_dir/target" ||
    fail "the program in Rust could not be built" "the reason is above"
  client_command=("$rust_dir/target/debug/fairlead-clients")
  # The crate brings its tests along: built from a copy of its package, with the versions that it locks.
  [ -d "$rust_dir/crate" ] || {
    rm -rf "$rust_dir/crate.new"
    cp -r "$(cargo metadata --locked --format-version 1 --manifest-path "$manifest" |
      jq -r '.packages[] | select(.name == "etcd-client").manifest_path | rtrimstr("/Cargo.toml")')" "$rust_dir/crate.new"
    mv "$rust_dir/crate.new" "$rust_dir/crate"
  }
  quietly "Rust: the crate's own tests (minutes, once)" "$log_dir/clients-rust-crate.log" rust_crate_tests ||
    fail "the tests of etcd-client could not be built" "the reason is above"
}
rust_crate_tests() {
  cargo test --no-run --locked --features tls --manifest-path "$rust_dir/crate/Cargo.toml" --target-dir "$rust_dir/target" \
    --message-format json >"$rust_dir/built.json"
}
more_client_rust() {
  local programs
  mapfile -t programs < <(jq -r 'select(.executable and .target.kind == ["test"]).executable' "$rust_dir/built.json")
  [ ${#programs[@]} -gt 0 ] || fail "etcd-client has no tests"
  python3 -B "$clients_dir/rust/crate_tests.py" "$@" "${programs[@]}"
}

# scored LOG COMMAND...: shows what it prints, and adds its score.
scored() {
  local log=$1
  shift
  "$@" 2>&1 | tee "$log" | sed -u '/^[0-9]* passed, [0-9]* failed$/d' || true
  add_score "$log"
}

# run_client LANGUAGE [--reference]
run_client() {
  local language=$1 variant name log
  shift
  export FAIRLEAD_BIN=$bin_dir ETCD_BIN
  ETCD_BIN=$(etcd_bin_dir)
  client_command=() client_variants=()
  say "Clients: $language"
  "setup_client_$language"
  mkdir -p "$log_dir/clients"
  for variant in "${client_variants[@]-}"; do
    name=$language
    [ -z "$variant" ] || name=$(basename "$variant" | sed "s/^cases_\(.*\)\..*/$language, \1/")
    log="$log_dir/clients/$name.log"
    scored "$log" python3 -B "$clients_dir/lab.py" "$@" --logs "$log_dir/clients/$name" "$name" \
      "${client_command[@]}" ${variant:+"$variant"}
  done
  if declare -F "more_client_$language" >/dev/null; then
    scored "$log_dir/clients/$language-more.log" "more_client_$language" "$@" --logs "$log_dir/clients/$language-more"
  fi
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
  setup_packages openssl jq iproute2
  go_programs etcd
  [ ${#languages[@]} -gt 0 ] || languages=("${client_languages[@]}")
  for word in "${languages[@]}"; do run_client "$word" "${options[@]}"; done
}
