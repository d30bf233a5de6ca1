#!/usr/bin/env bash
# tls_test.sh: TLS between the original etcdctl, curl, openssl and our server, and between our members.
# Needs FAIRLEAD_BIN (folder with fairlead) and ETCD_BIN (folder with etcd and etcdctl). Certificates are made here.
# One line a case; the last line is "N passed, N failed".
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/e2e/lib/common.sh"
. "$root/e2e/interop/servers.sh"
. "$root/e2e/interop/pki.sh"

server=$FAIRLEAD_BIN/fairlead
etcdctl=$ETCD_BIN/etcdctl
work=$(mktemp -d "${TMPDIR:-/tmp}/fairlead-tls.XXXXXX")
pki=$work/pki
mkdir -p "$pki"
trap 'stop_all; [ -n "${FAIRLEAD_KEEP:-}" ] || rm -rf "$work"' EXIT
recheck=1.2 # seconds after which a changed file has been seen

here=DNS:localhost,IP:127.0.0.1
make_ca ca
make_ca other
make_cert server ca server "$here"
make_cert alice ca alice "$here"
make_cert bob ca bob DNS:bob.example
make_cert stranger other alice "$here"
make_cert expired ca alice "$here" 20200101000000Z 20200102000000Z
mtls=(--cert-file "$pki/server.crt" --key-file "$pki/server.key" --trusted-ca-file "$pki/ca.crt" --client-cert-auth)

# one_member LABEL FLAG...: a fresh member with https for clients; sets url, port and member.
one_member() {
  local label=$1 peer_port
  shift
  port=$(free_port) peer_port=$(free_port)
  url=https://127.0.0.1:$port
  : >"$work/$label.log"
  start_server "$label" "$server" one "$port" "$peer_port" "one=http://127.0.0.1:$peer_port" \
    --listen-client-urls "$url" --advertise-client-urls "$url" "$@"
  member=$last_pid log=$work/$label.log
  wait_for 60 "$label to serve" grep -q 'ready to serve client requests' "$log"
}
end_member() { stop_server "$member" TERM || true; }
# as NAME ARGUMENT...: etcdctl with this certificate ('' = none).
as() {
  local cert=()
  [ -z "$1" ] || cert=(--cert "$pki/$1.crt" --key "$pki/$1.key")
  "$etcdctl" --endpoints="$url" --cacert "$pki/ca.crt" "${cert[@]}" --command-timeout=3s --dial-timeout=2s "${@:2}"
}
page() { curl -sS --max-time 5 --cacert "$pki/ca.crt" --cert "$pki/alice.crt" --key "$pki/alice.key" "$@"; }
# served_certificate FIELD: of the server's certificate. (Without one of our own the connection may end badly.)
served_certificate() {
  echo | openssl s_client -connect "127.0.0.1:$port" >"$work/served" 2>/dev/null || true
  openssl x509 -in "$work/served" -noout "$@"
}
# shows PATTERN ARGUMENT...: a page has it. (No pipe: a grep that stops reading would look like a failure.)
shows() {
  local text
  text=$(page "${@:2}") && grep -q "$1" <<<"$text"
}
refused() { ! as "$@" >>"$work/refused.out" 2>&1; }
logged() { grep -q "$1" "$log" || { tail -n 5 "$log" && return 1; }; }

mutual_tls() {
  as alice put a 1 && [ "$(as alice get a --print-value-only)" = 1 ] && as bob get a || return 1
  [ "$(page "$url/health")" = '{"health":"true","reason":""}' ] || return 1
  shows 'fairlead_tls_handshakes_total{side="client",result="ok"} [1-9]' "$url/metrics" || return 1
  shows 'fairlead_tls_certificate_not_after_seconds{side="client"} 1' "$url/metrics"
}
bad_certificates() {
  refused '' get a && logged "client didn't provide a certificate" || return 1
  refused stranger get a && logged 'failed to verify certificate' || return 1
  refused expired get a && logged 'certificate has expired'
}
# The common name is the user; a token would win.
certificate_is_user() {
  as alice put mine 1 && as alice user add root:secret && as alice user grant-role root root &&
    as alice user add alice --no-password && as alice role add reader && as alice role grant-permission reader read mine &&
    as alice user grant-role alice reader && as alice auth enable || return 1
  local code=0
  [ "$(as alice get mine --print-value-only)" = 1 ] || code=1
  as alice put mine 2 >"$work/denied" 2>&1 && code=1
  grep -q 'etcdserver: permission denied' "$work/denied" || code=1
  as bob get mine && code=1
  as alice --user root:secret put mine 3 || code=1
  as bob --user root:secret auth disable || code=1
  return $code
}
# What does not speak TLS, and the other way round.
wrong_protocol() {
  [ "$(curl -s "http://127.0.0.1:$port/health")" = 'Client sent an HTTP request to an HTTPS server.' ] || return 1
  logged 'first record does not look like a TLS handshake' || return 1
  ! "$etcdctl" --endpoints="127.0.0.1:$port" --command-timeout=2s get a 2>/dev/null
}
# Who offers h2 and HTTP/1.1 gets h2, and pages over either: the same from etcd and from us.
h2_answers() { # of the server at $url: one line a question
  local ask=(page -o "$work/h2.body" -w '%{http_version} %{http_code} %{content_type} ' -H 'Expect:')
  "${ask[@]}" "$url/health" && cat "$work/h2.body" && echo &&
    "${ask[@]}" --http1.1 "$url/health" && cat "$work/h2.body" && echo &&
    "${ask[@]}" --head "$url/nowhere" && echo &&
    "${ask[@]}" "$url/nowhere" && cat "$work/h2.body" &&
    "${ask[@]}" -X PUT "$url/health" && cat "$work/h2.body" &&
    "${ask[@]}" -d '{"key":"aDI=","value":"eA=="}' "$url/v3/kv/put" && echo &&
    "${ask[@]}" -d '{"key":"aDI="}' "$url/v3/kv/range" && tr -d ' ' <"$work/h2.body" | grep -o '"value":"eA=="' || return 1
  local offer
  for offer in h2 http/1.1,h2 h2,http/1.1; do
    echo "$offer: $(echo | openssl s_client -connect "${url#https://}" -CAfile "$pki/ca.crt" -cert "$pki/alice.crt" -key "$pki/alice.key" -alpn "$offer" 2>/dev/null | grep -aio 'ALPN protocol: [a-z0-9./]*' | head -n 1)"
  done
}
pages_over_h2() {
  h2_answers >"$work/h2.ours" || return 1
  local ours=$url etcd_port peer_port pid code=0
  # A value of a megabyte both ways, through the flow control of HTTP/2; and many questions on one connection.
  head -c 1000000 /dev/zero | base64 -w 0 >"$work/h2.value"
  { printf '{"key":"bGFyZ2U=","value":"' && cat "$work/h2.value" && printf '"}'; } >"$work/h2.large"
  page -d "@$work/h2.large" -H 'Expect:' "$url/v3/kv/put" -o "$work/h2.body" || return 1
  page -d '{"key":"bGFyZ2U="}' "$url/v3/kv/range" -o "$work/h2.body" && grep -qFf "$work/h2.value" "$work/h2.body" || return 1
  head -c 5000000 /dev/zero >"$work/h2.large" # over the limit
  [ "$(page -o "$work/h2.body" -w '%{http_version} %{http_code}' --data-binary "@$work/h2.large" -H 'Expect:' "$url/v3/kv/put")" = "2 413" ] || return 1
  [ "$(page --parallel --parallel-max 50 "$url/version?n=[1-200]" | grep -o '"etcdserver"' | wc -l)" = 200 ] || return 1
  # A stream that its client leaves is ended.
  page --max-time 2 -N -d '{"create_request":{"key":"aDI="}}' "$url/v3/watch" >"$work/h2.watch" 2>/dev/null || true
  grep -q '"created":true' "$work/h2.watch" || return 1
  wait_for 60 "the watch to end" shows '^etcd_debugging_mvcc_watcher_total 0' "$url/metrics" || return 1
  as alice put a 1 || return 1
  etcd_port=$(free_port) peer_port=$(free_port) url=https://127.0.0.1:$etcd_port
  start_server h2etcd "$ETCD_BIN/etcd" one "$etcd_port" "$peer_port" "one=http://127.0.0.1:$peer_port" \
    --listen-client-urls "$url" --advertise-client-urls "$url" --cert-file "$pki/server.crt" --key-file "$pki/server.key" --trusted-ca-file "$pki/ca.crt" --client-cert-auth
  pid=$last_pid
  wait_for 60 "etcd to serve" page "$url/health" && h2_answers >"$work/h2.etcd" || code=1
  stop_server "$pid" TERM || true
  url=$ours
  [ $code = 0 ] && diff "$work/h2.etcd" "$work/h2.ours"
}
resumption() {
  local client=(openssl s_client -connect "127.0.0.1:$port" -CAfile "$pki/ca.crt" -cert "$pki/alice.crt" -key "$pki/alice.key" -alpn http/1.1)
  ask() { printf 'GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' | timeout 60 "${client[@]}" -ign_eof "$@" 2>&1; }
  local version
  for version in -tls1_2 -tls1_3; do
    ask $version -sess_out "$work/session" >"$work/asked" || return 1
    grep -q '"health":"true"' "$work/asked" || return 1
    ask $version -sess_in "$work/session" -sess_out "$work/session2" >"$work/resumed" || return 1
    grep -q '^Reused, ' "$work/resumed" && grep -q '"health":"true"' "$work/resumed" || return 1
  done
  # Changed authorities end all sessions.
  cat "$pki/ca.crt" "$pki/other.crt" >"$pki/both.crt" && cp "$pki/both.crt" "$pki/served.crt"
  sleep $recheck
  ask -tls1_3 -sess_in "$work/session2" >"$work/asked" || true
  grep -q '^New, ' "$work/asked"
}
revoked() {
  as alice put b 1 && as bob get b || return 1
  revoke bob ca && make_crl ca "$pki/crl" && sleep $recheck || return 1
  refused bob get b && logged 'certificate serial .* revoked' && as alice get b
}
crl_unreadable() { # nobody is let in while the list is gone
  mv "$pki/crl" "$pki/crl.gone" && sleep $recheck && refused alice get b || return 1
  mv "$pki/crl.gone" "$pki/crl" && sleep $recheck && as alice get b
}
allowed_hostname() { as alice put c 1 && refused bob get c && logged 'client certificate authentication failed'; }

# New authority, new certificates, while clients come and go and a watch stays.
rotation() {
  local served=$pki/rotating watch puts stop=$work/rotation.stop
  make_ca next && make_cert next_server next server "$here" && make_cert next_alice next alice "$here" || return 1
  cp "$pki/server.crt" "$served.crt" && cp "$pki/server.key" "$served.key" && cp "$pki/ca.crt" "$served.ca" || return 1
  cp "$pki/alice.crt" "$pki/now.crt" && cp "$pki/alice.key" "$pki/now.key"
  cat "$pki/ca.crt" "$pki/next.crt" >"$pki/trusted.crt"
  one_member rotation --cert-file "$served.crt" --key-file "$served.key" --trusted-ca-file "$served.ca" --client-cert-auth || return 1
  rotating() { "$etcdctl" --endpoints="$url" --cacert "$pki/trusted.crt" --cert "$pki/$1.crt" --key "$pki/$1.key" --command-timeout=3s "${@:2}"; }
  # The program itself, not a shell around it: it is to be ended.
  "$etcdctl" --endpoints="$url" --cacert "$pki/trusted.crt" --cert "$pki/alice.crt" --key "$pki/alice.key" watch load >"$work/rotation.watch" 2>&1 &
  watch=$!
  pids+=("$watch")
  wait_for 60 "the watch" shows '^etcd_debugging_mvcc_watcher_total 1' "$url/metrics" || return 1
  (
    n=0
    until [ -e "$stop" ]; do
      n=$((n + 1))
      name=$(cat "$work/rotation.name")
      rotating "$name" put load $n >/dev/null 2>>"$work/rotation.err" || echo "put $n as $name failed" >>"$work/rotation.err"
    done
    echo $n >"$work/rotation.n"
  ) &
  puts=$!
  replace() { cp "$1" "$2.new" && mv "$2.new" "$2"; }
  sleep 0.5
  replace "$pki/trusted.crt" "$served.ca" && sleep $recheck
  replace "$pki/next_server.crt" "$served.crt" && sleep $recheck # the key is late: the old pair stays
  replace "$pki/next_server.key" "$served.key" && sleep $recheck
  echo next_alice >"$work/rotation.name" && sleep $recheck
  replace "$pki/next.crt" "$served.ca" && sleep $recheck
  touch "$stop"
  wait $puts || true
  kill $watch 2>/dev/null || true
  [ ! -s "$work/rotation.err" ] || { cat "$work/rotation.err" && return 1; }
  [ "$(grep -c '^PUT' "$work/rotation.watch")" = "$(cat "$work/rotation.n")" ] || { echo "the watch missed something" && return 1; }
  ! rotating alice get load >/dev/null 2>&1 || { echo "the old authority is still trusted" && return 1; }
  [ "$(served_certificate -issuer)" = 'issuer=CN = next' ]
}

versions() {
  local s=(openssl s_client -connect "127.0.0.1:$port" -CAfile "$pki/ca.crt")
  ! echo | "${s[@]}" -tls1_3 >/dev/null 2>&1 || return 1
  echo | "${s[@]}" -tls1_2 >"$work/cipher" 2>/dev/null || return 1
  grep -q 'Cipher is ECDHE-ECDSA-AES256-GCM-SHA384' "$work/cipher" || return 1
  ! echo | "${s[@]}" -tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256 >/dev/null 2>&1
}

# The same refusal as etcd's, and a start that ends with 1.
contradiction() {
  local etcd_says we_say code=0 ports urls
  ports=$(free_port)
  urls=(--listen-peer-urls "http://127.0.0.1:$ports" --initial-advertise-peer-urls "http://127.0.0.1:$ports" --initial-cluster "default=http://127.0.0.1:$ports")
  rm -rf "$work/c1" "$work/c2"
  timeout 10 "$ETCD_BIN/etcd" --data-dir "$work/c1" "${urls[@]}" "$@" >"$work/etcd.out" 2>&1 || true
  etcd_says=$(python3 -c '
import json, sys
found = [json.loads(l) for l in sys.stdin if l.startswith("{")]
print([l["error"] for l in found if l["level"] == "fatal" or "verify flags" in l["msg"]][-1])' <"$work/etcd.out") || { echo "etcd takes $*" && return 1; }
  timeout 10 "$server" --data-dir "$work/c2" "${urls[@]}" "$@" >"$work/our.out" 2>&1 || code=$?
  we_say=$(sed -n 's/^fairlead: //p' "$work/our.out")  # before there is a log
  [ -n "$we_say" ] || we_say=$(python3 -c '
import json, sys
print([l["error"] for l in map(json.loads, sys.stdin) if l["level"] == "fatal"][-1])' <"$work/our.out") || return 1
  [ "$code" = 1 ] && [ "$etcd_says" = "$we_say" ] || { printf 'etcd: %s\nours: %s (%s)\n' "$etcd_says" "$we_say" $code && return 1; }
}
contradictions() {
  local p url m
  p=$(free_port) url=https://127.0.0.1:$p
  m=$(free_port)
  contradiction --tls-min-version TLS1.4 && contradiction --tls-min-version TLS1.3 --tls-max-version TLS1.2 &&
    contradiction --cipher-suites foo &&
    contradiction --tls-min-version TLS1.3 --cipher-suites TLS_AES_128_GCM_SHA256 &&
    contradiction --listen-client-urls "$url" --advertise-client-urls "$url" &&
    contradiction --listen-client-urls "unixs://$work/s" --advertise-client-urls "unixs://$work/s" &&
    contradiction --listen-peer-urls "https://127.0.0.1:$m" --initial-advertise-peer-urls "https://127.0.0.1:$m" --initial-cluster "default=https://127.0.0.1:$m" &&
    contradiction --listen-metrics-urls "$url" &&
    contradiction --listen-client-urls "$url" --advertise-client-urls "$url" --cert-file "$pki/server.crt" &&
    contradiction --listen-client-urls "$url" --advertise-client-urls "$url" --cert-file "$pki/server.crt" --key-file "$pki/server.key" --client-cert-file "$pki/alice.crt" &&
    contradiction --listen-client-http-urls "http://127.0.0.1:$p" --listen-client-urls "http://127.0.0.1:$p" --advertise-client-urls "http://127.0.0.1:$p" &&
    contradiction --auto-tls --self-signed-cert-validity 0 --listen-client-urls "$url" --advertise-client-urls "$url"
}

auto_tls() {
  local first
  one_member auto --auto-tls --self-signed-cert-validity 2 || return 1
  "$etcdctl" --endpoints="$url" --insecure-transport=false --insecure-skip-tls-verify put d 1 || return 1
  first=$(served_certificate -fingerprint)
  [ "$(stat -c %a "$work/auto.data/fixtures/client/key.pem")" = 600 ] || return 1
  openssl x509 -in "$work/auto.data/fixtures/client/cert.pem" -noout -checkend $((700 * 86400)) || return 1
  ! openssl x509 -in "$work/auto.data/fixtures/client/cert.pem" -noout -checkend $((740 * 86400)) || return 1
  openssl x509 -in "$work/auto.data/fixtures/client/cert.pem" -noout -checkip 127.0.0.1 | grep -q 'does match' || return 1
  end_member
  one_member auto --auto-tls || return 1
  [ "$(served_certificate -fingerprint)" = "$first" ] || return 1 # made once
  end_member
}

# gRPC and pages on ports of their own; a metrics port of its own scheme; Unix sockets with and without TLS.
apart() {
  local http metrics plain both
  http=$(free_port) metrics=$(free_port) plain=$(free_port)
  one_member apart "${mtls[@]}" --listen-client-http-urls "https://127.0.0.1:$http" \
    --listen-metrics-urls "http://127.0.0.1:$metrics,https://127.0.0.1:$plain" || return 1
  as alice put e 1 || return 1
  ! page -f "$url/health" >/dev/null 2>&1 || return 1
  shows true "https://127.0.0.1:$http/health" || return 1
  ! (url=https://127.0.0.1:$http && as alice get e) >/dev/null 2>&1 || return 1
  shows '^etcd_server_has_leader 1' "http://127.0.0.1:$metrics/metrics" || return 1
  shows true "https://127.0.0.1:$plain/health" || return 1
  end_member
  rm -rf "$work/apart.data"
  one_member apart "${mtls[@]}" --listen-client-urls "http://127.0.0.1:$plain,unix://$work/plain.sock,unixs://$work/tls.sock" || return 1
  shows true --unix-socket "$work/plain.sock" http://localhost/health || return 1
  shows true --unix-socket "$work/tls.sock" https://localhost/health || return 1
  "$etcdctl" --endpoints="unix://$work/plain.sock" put f 1 || return 1
  end_member
  # one address, both schemes
  both=$(free_port)
  rm -rf "$work/apart.data"
  one_member apart "${mtls[@]}" --listen-client-urls "https://127.0.0.1:$both,http://127.0.0.1:$both" || return 1
  url=https://127.0.0.1:$both
  "$etcdctl" --endpoints="http://127.0.0.1:$both" put g 1 && [ "$(as alice get g --print-value-only)" = 1 ] || return 1
  end_member
}

# Thousands of clients that say hello, or half of it, and no more, and some that shake hands all the time.
flood() {
  local flooder code=0 i begin
  python3 - "$port" "$pki" >"$work/flood.out" 2>&1 <<'PY' &
import resource, socket, ssl, sys, threading, time
port, pki = int(sys.argv[1]), sys.argv[2]
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
end = time.time() + 20
def shake():
    context = ssl.create_default_context(cafile=pki + "/ca.crt")
    context.load_cert_chain(pki + "/alice.crt", pki + "/alice.key")
    while time.time() < end:
        try:
            with socket.create_connection(("127.0.0.1", port)) as s, context.wrap_socket(s, server_hostname="localhost"):
                pass
        except OSError:
            pass
for _ in range(2):
    threading.Thread(target=shake, daemon=True).start()
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
try:
    ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
except ssl.SSLWantReadError:
    pass
hello = outgoing.read()
held = []
while time.time() < end:
    try:
        s = socket.create_connection(("127.0.0.1", port))
        s.sendall(hello if len(held) % 2 else hello[:60])
        held.append(s)
    except OSError:
        pass
    if len(held) > 3000:
        held = held[1000:]
    time.sleep(0.0005)
PY
  flooder=$!
  pids+=("$flooder")
  wait_for 60 "the flood" shows 'fairlead_tls_handshakes_open{side="client"} [0-9][0-9][0-9]' "$url/metrics" || code=1
  for i in 1 2 3 4 5 6; do
    begin=$(date +%s%N)
    as alice put flood $i || code=1
    echo "put $i in the flood: $((($(date +%s%N) - begin) / 1000000)) ms"
  done
  kill $flooder 2>/dev/null || true
  cat "$work/flood.out"
  [ "$(grep -c 'rejected connection' "$log")" -lt 100 ] || code=1
  return $code
}

# --- three members
three_start() { # FLAG...: for all of them
  local i
  for i in 0 1 2; do three_member $i "$@"; done
  wait_for 60 "three members" three_health
}
three_member() { # NUMBER FLAG...
  local i=$1
  shift
  start_server "t$i" "$server" "t$i" "${client_ports[i]}" "${peer_ports[i]}" "$cluster" \
    --listen-peer-urls "https://127.0.0.1:${peer_ports[i]}" --initial-advertise-peer-urls "https://127.0.0.1:${peer_ports[i]}" "$@"
  members[i]=$last_pid
}
three_logged() { cat "$work"/t[012].log | grep "$1" >/dev/null; }
three_health() { "$etcdctl" --endpoints="$endpoints" --command-timeout=2s endpoint health; }
three_stop() {
  local i
  for i in 0 1 2; do stop_server "${members[i]}" TERM || true; done
}
three_fresh() {
  local i
  peer_ports=() client_ports=() members=() cluster='' endpoints=''
  for i in 0 1 2; do
    client_ports[i]=$(free_port) peer_ports[i]=$(free_port)
    cluster+=${cluster:+,}t$i=https://127.0.0.1:${peer_ports[i]}
    endpoints+=${endpoints:+,}http://127.0.0.1:${client_ports[i]}
  done
  rm -rf "$work"/t[012].data "$work"/t[012].log
}
health_of() { "$etcdctl" --endpoints="http://127.0.0.1:${client_ports[$1]}" --command-timeout=2s endpoint health; }
make_ca peers
make_cert member peers member "$here"
make_cert intruder peers intruder "$here"
make_cert elsewhere peers member IP:127.0.0.9
make_cert retired peers member "$here"
peer_flags=(--peer-cert-file "$pki/member.crt" --peer-key-file "$pki/member.key" --peer-trusted-ca-file "$pki/peers.crt" --peer-client-cert-auth)
three_tls() { # also a certificate of its own for dialing, and a revocation list
  three_fresh
  make_crl peers "$pki/peers.crl"
  three_flags=("${peer_flags[@]}" --peer-client-cert-file "$pki/member.crt" --peer-client-key-file "$pki/member.key"
    --peer-cert-allowed-cn "other,member" --peer-crl-file "$pki/peers.crl")
  three_start "${three_flags[@]}" || return 1
  "$etcdctl" --endpoints="$endpoints" put three 1 || return 1
  curl -sS --cacert "$pki/peers.crt" --cert "$pki/member.crt" --key "$pki/member.key" "https://127.0.0.1:${peer_ports[0]}/members" >"$work/members" || return 1
  grep -q t2 "$work/members" || return 1
  ! curl -sS --cacert "$pki/peers.crt" "https://127.0.0.1:${peer_ports[0]}/members" 2>/dev/null
}
# three_alone CERTIFICATE: a member with this one is not let in; with its own again it is.
three_alone() {
  stop_server "${members[2]}" TERM || true
  three_member 2 "${three_flags[@]}" --peer-cert-file "$pki/$1.crt" --peer-key-file "$pki/$1.key" --peer-client-cert-file "$pki/$1.crt" --peer-client-key-file "$pki/$1.key"
  wait_for 60 "the refusal" three_logged "rejected connection on peer endpoint.*$2" || { tail -n 3 "$work"/t[012].log && return 1; }
  ! health_of 2 2>/dev/null || { echo "the member was let in" && return 1; }
  health_of 0 && health_of 1 || return 1
  stop_server "${members[2]}" TERM || true
  three_member 2 "${three_flags[@]}"
  wait_for 60 "the member with its own certificate" health_of 2
}
three_wrong_name() { three_alone intruder 'bad certificate\|client certificate authentication failed'; }
three_stranger() { three_alone stranger 'failed to verify certificate\|unknown ca'; }
three_revoked() {
  revoke retired peers && make_crl peers "$pki/peers.crl" && sleep $recheck && three_alone retired 'revoked\|bad certificate'
}
three_add() { "$etcdctl" --endpoints="$endpoints" member add t3 --peer-urls="https://127.0.0.1:${peer_ports[3]}" >"$work/added"; }
three_join() { # a fourth member asks the others over TLS who is there
  local id before=$cluster
  client_ports[3]=$(free_port) peer_ports[3]=$(free_port)
  # A cluster that has stood for less than five seconds takes nobody in.
  wait_for 60 "room for a fourth member" three_add || return 1
  id=$(sed -n 's/^Member *\([0-9a-f]*\) added.*/\1/p' "$work/added")
  rm -rf "$work/t3.data"
  cluster=$before,t3=https://127.0.0.1:${peer_ports[3]}
  three_member 3 "${three_flags[@]}" --initial-cluster-state existing
  cluster=$before
  wait_for 60 "the fourth member" health_of 3 || { tail -n 5 "$work/t3.log" && return 1; }
  [ "$("$etcdctl" --endpoints="http://127.0.0.1:${client_ports[3]}" get three --print-value-only)" = 1 ] || return 1
  wait_for 60 "the removal" "$etcdctl" --endpoints="$endpoints" member remove "$id" || return 1
  stop_server "${members[3]}" TERM || true
}
three_wrong_hostname() {
  three_fresh
  three_flags=("${peer_flags[@]}" --peer-cert-allowed-hostname 127.0.0.1)
  three_start "${three_flags[@]}" || return 1
  make_cert unnamed peers member DNS:nowhere.example
  stop_server "${members[2]}" TERM || true
  three_member 2 "${three_flags[@]}" --peer-cert-file "$pki/unnamed.crt" --peer-key-file "$pki/unnamed.key"
  wait_for 60 "the refusal" three_logged "rejected connection on peer endpoint" || return 1
  ! health_of 2 2>/dev/null || return 1
  three_stop
}
# A certificate for dialing that names another address; the flag that does not ask.
three_wrong_address() {
  local flags=("${peer_flags[@]}" --peer-client-cert-file "$pki/elsewhere.crt" --peer-client-key-file "$pki/elsewhere.key") i
  three_fresh
  for i in 0 1 2; do three_member $i "${flags[@]}"; done
  wait_for 60 "a refusal" three_logged 'certificate is valid for 127.0.0.9, not 127.0.0.1' || return 1
  ! three_health 2>/dev/null || return 1
  three_stop
  three_start "${flags[@]}" --peer-skip-client-san-verification || return 1
  three_stop
}
three_auto() {
  three_fresh
  three_start --peer-auto-tls || return 1
  "$etcdctl" --endpoints="$endpoints" put auto 1 || return 1
  three_stop
}

# check NAME FUNCTION
check() {
  local code=0
  "$2" >"$work/check.log" 2>&1 || code=$?
  case_result $code "TLS: $1"
  [ $code = 0 ] || sed 's/^/   | /' "$work/check.log" | tail -n 15
}

cp "$pki/ca.crt" "$pki/served.crt"
one_member mutual "${mtls[@]}" --trusted-ca-file "$pki/served.crt"
check "mutual TLS" mutual_tls
check "no certificate, a stranger's, an expired one" bad_certificates
check "a certificate's name is the user" certificate_is_user
check "plain clients of a TLS port" wrong_protocol
check "h2 before HTTP/1.1, pages over either" pages_over_h2
check "sessions resume, and end with a changed authority" resumption
check "a flood of handshakes starves nobody" flood
end_member
make_crl ca "$pki/crl"
one_member revoked "${mtls[@]}" --client-crl-file "$pki/crl"
check "a revoked certificate" revoked
check "a revocation list that cannot be read" crl_unreadable
end_member
one_member hostname "${mtls[@]}" --client-cert-allowed-hostname elsewhere.example,127.0.0.1
check "allowed hostname" allowed_hostname
end_member
echo alice >"$work/rotation.name"
check "new certificates and a new authority under load" rotation
end_member
one_member versions --cert-file "$pki/server.crt" --key-file "$pki/server.key" --tls-max-version TLS1.2 --cipher-suites TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_AES_128_GCM_SHA256
check "versions and cipher suites" versions
end_member
check "contradictions in etcd's words" contradictions
check "auto TLS" auto_tls
check "pages and gRPC apart, Unix sockets, both schemes" apart
check "three members" three_tls
check "three members: a wrong common name" three_wrong_name
check "three members: a stranger" three_stranger
check "three members: a revoked member" three_revoked
check "three members: a fourth one joins" three_join
three_stop
check "three members: a wrong hostname" three_wrong_hostname
check "three members: a wrong address" three_wrong_address
check "three members: peer auto TLS" three_auto
print_score
