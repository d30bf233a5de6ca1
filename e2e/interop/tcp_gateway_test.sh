#!/usr/bin/env bash
# tcp_gateway_test.sh: `gateway start`, the reference etcd's and ours, each before one and the same three members (ours):
# commands through it, load, endpoints that go and come back, SRV records from a real name server (dnsmasq), systemd,
# mistakes. Runs in a network and mount namespace of its own, so that it has port 53 and /etc/resolv.conf to itself.
# Needs FAIRLEAD_BIN, ETCD_BIN as etcdctl_test.sh does. One line a case; the last line is "N passed, N failed".
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if [ -z "${FAIRLEAD_ISOLATED:-}" ]; then
  user=()
  unshare --net --mount true 2>/dev/null || user=(--map-root-user)
  FAIRLEAD_ISOLATED=1 exec unshare "${user[@]}" --net --mount "${BASH_SOURCE[0]}" "$@"
fi
. "$root/e2e/lib/common.sh"
. "$root/e2e/interop/servers.sh"

work=$(mktemp -d "${TMPDIR:-/tmp}/fairlead-tcp-gateway.XXXXXX")
trap 'stop_all; [ -n "${FAIRLEAD_KEEP:-}" ] || rm -rf "$work"' EXIT
PATH=/usr/sbin:/sbin:$PATH
ip link set lo up
echo "nameserver 127.0.0.1" >"$work/resolv.conf"
printf '127.0.0.1 localhost\n' >"$work/hosts"
mount --bind "$work/resolv.conf" /etc/resolv.conf
mount --bind "$work/hosts" /etc/hosts
binary_of() { if [ "$1" = etcd ]; then echo "$ETCD_BIN/etcd"; else echo "$FAIRLEAD_BIN/fairlead"; fi; }
ctl() { timeout 90 "$ETCD_BIN/etcdctl" --command-timeout=60s "$@"; }
check() {
  local name=$1 log=$work/check.log code=0
  shift
  "$@" >"$log" 2>&1 || code=$?
  case_result $code "$name"
  [ $code = 0 ] || sed 's/^/   | /' "$log" | tail -n 20
}

# ---- three members on ports 12370 to 12372 (TLS on 12470 to 12472), and a name server

cluster=m0=http://127.0.0.1:12380,m1=http://127.0.0.1:12381,m2=http://127.0.0.1:12382
members=()
start_one() { # NUMBER
  start_server "m$1" "$FAIRLEAD_BIN/fairlead" "m$1" "1237$1" "1238$1" $cluster \
    --listen-client-urls "http://127.0.0.1:1237$1,https://127.0.0.1:1247$1" --cert-file "$work/server.crt" --key-file "$work/server.key"
  members[$1]=$last_pid
}
serves() { ctl --endpoints="127.0.0.1:$1" endpoint health; }
make_certificates() { # a CA; a certificate of example.com; one of other.com
  local domain
  openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=test-ca -days 2 -keyout "$work/ca.key" -out "$work/ca.crt"
  openssl req -newkey rsa:2048 -nodes -subj /CN=server -keyout "$work/server.key" -out "$work/server.csr"
  openssl x509 -req -in "$work/server.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 2 -out "$work/server.crt" \
    -extfile <(printf 'subjectAltName=DNS:example.com,DNS:*.example.com,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n')
}
start_dns() {
  local i records=()
  for i in 0 1 2; do
    echo "127.0.0.1 infra$i.example.com" >>"$work/names"
    echo "127.0.0.1 infra$i.other.com" >>"$work/names"
    records+=("--srv-host=_etcd-client._tcp.example.com,infra$i.example.com,1237$i,1$((2 - i)),5")
    records+=("--srv-host=_etcd-client-light._tcp.example.com,infra$i.example.com,1237$i,1$((2 - i))")
    records+=("--srv-host=_etcd-client-ssl-blue._tcp.example.com,infra$i.example.com,1247$i")
    records+=("--srv-host=_etcd-client-ssl._tcp.other.com,infra$i.other.com,1247$i")
  done
  # the weights of one priority: all to the first
  records+=("--srv-host=_etcd-client-heavy._tcp.example.com,infra0.example.com,12370,1,60000")
  records+=("--srv-host=_etcd-client-heavy._tcp.example.com,infra1.example.com,12371,1,1")
  dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --port=53 --listen-address=127.0.0.1 \
    --bind-interfaces --addn-hosts="$work/names" --pid-file= --user="$(id -un)" --local=/example.com/ --local=/other.com/ \
    "${records[@]}" >"$work/dnsmasq.log" 2>&1 </dev/null &
  pids+=($!)
  wait_for 60 "the name server" getent ahosts infra0.example.com
}

# start_gateway KIND [FLAG...]: on port 23790; sets gateway.
start_gateway() {
  local kind=$1
  shift
  rm -f "$work/gateway-$kind.log" # of the one before
  "$(binary_of "$kind")" gateway start --listen-addr 127.0.0.1:23790 "$@" >"$work/gateway-$kind.log" 2>&1 </dev/null &
  gateway=$!
  pids+=("$gateway")
  wait_for 60 "the gateway" grep -q "ready to proxy client requests" "$work/gateway-$kind.log"
}
stop_gateway() { stop_server "$gateway" TERM || true; }
# Which member a connection through the gateway comes to: the last digit of its client URL.
status_of() { ctl --endpoints="$1" endpoint status -w json | jq -r '.[0].Status.header.member_id'; }
reached() {
  local id i
  id=$(status_of 127.0.0.1:23790)
  for i in 0 1 2; do [ "$id" != "${ids[$i]}" ] || echo "$i"; done
}

all_ports=127.0.0.1:12370,127.0.0.1:12371,127.0.0.1:12372
through() {
  start_gateway "$1" --endpoints="http://127.0.0.1:12370,127.0.0.1:12371" --endpoints=127.0.0.1:12372
  local code=0 seen
  ctl --endpoints=127.0.0.1:23790 put "from-$1" value && [ "$(ctl --endpoints=127.0.0.1:23790 get "from-$1" --print-value-only)" = value ] || code=1
  seen=$(for _ in 1 2 3 4 5 6; do reached; done | sort -u | tr -d '\n')
  echo "reached $seen"
  [ "$seen" = 012 ] || code=1 # in turn
  stop_gateway
  return $code
}
tls_through() { # what is passed on is not looked at
  start_gateway "$1" --endpoints=127.0.0.1:12470
  local code=0
  ctl --endpoints=https://127.0.0.1:23790 --cacert "$work/ca.crt" put tls value || code=1
  stop_gateway
  return $code
}
goes_and_comes() {
  start_gateway "$1" --endpoints=127.0.0.1:12370,127.0.0.1:12371 --retry-delay=1s
  local code=0 i
  stop_server "${members[0]}" KILL || true
  for i in 1 2 3 4; do [ "$(reached)" = 1 ] || code=1; done
  grep -q "deactivated endpoint" "$work/gateway-$1.log" || code=2
  start_one 0
  wait_for 60 "the member" serves 12370
  wait_for 60 "the endpoint" grep -q '"activated"' "$work/gateway-$1.log" || code=3
  [ "$(for i in 1 2 3 4; do reached; done | sort -u | tr -d '\n')" = 01 ] || code=4
  stop_gateway
  return $code
}
none_left() {
  start_gateway "$1" --endpoints=127.0.0.1:1
  local code=0
  exec 3<>/dev/tcp/127.0.0.1/23790
  [ -z "$(timeout 30 cat <&3)" ] || code=1 # closed at once, without a byte
  exec 3>&-
  stop_gateway
  return $code
}
load() { # many connections and large values
  start_gateway "$1" --endpoints=$all_ports
  local code=0 i load=()
  head -c 1000000 /dev/zero | tr '\0' x >"$work/large"
  for i in 1 2 3 4 5 6 7 8; do
    (for j in 1 2 3; do ctl --endpoints=127.0.0.1:23790 put "load-$i-$j" <"$work/large" >/dev/null || exit 1; done) &
    load+=($!)
  done
  for i in "${load[@]}"; do wait "$i" || code=1; done
  ctl --endpoints=127.0.0.1:23790 get --prefix load- --write-out=json | jq -r '.kvs[].value | length' | sort | uniq -c | tee -a "$work/check.log" |
    grep -qE '^ *24 1333336$' || code=2
  ctl --endpoints=127.0.0.1:23790 del --prefix load- || code=3
  stop_gateway
  return $code
}
half_close() { # a client that has said all still gets its answer
  start_gateway fairlead --endpoints=127.0.0.1:12370
  local code=0
  python3 - <<'PY' || code=1
import socket
s = socket.create_connection(("127.0.0.1", 23790))
s.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
s.shutdown(socket.SHUT_WR)
s.settimeout(60)
answer = b""
while chunk := s.recv(4096):
    answer += chunk
assert b"etcdserver" in answer, answer
PY
  stop_gateway
  return $code
}

srv_priorities() {
  start_gateway "$@" --discovery-srv example.com --insecure-discovery
  local code=0 i
  for i in 1 2 3; do [ "$(reached)" = 2 ] || code=1; done # the lowest number goes first
  stop_gateway
  return $code
}
srv_weights() {
  start_gateway fairlead --discovery-srv example.com --discovery-srv-name heavy --insecure-discovery
  local code=0 i
  for i in 1 2 3 4 5 6; do [ "$(reached)" = 0 ] || code=1; done
  stop_gateway
  return $code
}
srv_suffix() {
  start_gateway "$1" --discovery-srv example.com --discovery-srv-name blue --trusted-ca-file "$work/ca.crt"
  local code=0
  ctl --endpoints=https://127.0.0.1:23790 --cacert "$work/ca.crt" put tls "$1" || code=1
  stop_gateway
  return $code
}
srv_verified() { # the certificate does not name this domain: --endpoints take its place, as with etcd where none is left
  start_gateway fairlead --discovery-srv other.com --trusted-ca-file "$work/ca.crt" --endpoints=127.0.0.1:12371
  local code=0
  [ "$(reached)" = 1 ] || code=1
  grep -q 'left out.*https://infra0.other.com' "$work/gateway-fairlead.log" || code=2
  stop_gateway
  return $code
}
srv_insecure_left_out() { # http endpoints prove nothing
  start_gateway "$1" --discovery-srv example.com --trusted-ca-file "$work/ca.crt" --endpoints=127.0.0.1:12371
  local code=0
  [ "$(reached)" = 1 ] || code=1
  stop_gateway
  return $code
}

# The grpc-proxy looks for its endpoints in the same way.
proxy_srv() { # KIND FLAG...
  local kind=$1 code=0
  shift
  rm -f "$work/proxy.log"
  "$(binary_of "$kind")" grpc-proxy start --listen-addr 127.0.0.1:23790 --endpoints 127.0.0.1:1 "$@" >"$work/proxy.log" 2>&1 </dev/null &
  gateway=$!
  pids+=("$gateway")
  wait_for 60 "the proxy" grep -q "started gRPC proxy" "$work/proxy.log" && ctl --endpoints=127.0.0.1:23790 put proxy "$kind" || code=1
  stop_gateway
  return $code
}
systemd() {
  local code=0
  python3 - "$work/notify" >"$work/notified" <<'PY' &
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
s.settimeout(60)
print(s.recv(100).decode(), flush=True)
PY
  local listener=$!
  wait_for 60 "the socket" test -S "$work/notify"
  NOTIFY_SOCKET=$work/notify start_gateway "$1" --endpoints=$all_ports
  wait $listener || code=1
  grep -q READY=1 "$work/notified" || code=2
  stop_gateway
  rm -f "$work/notify"
  return $code
}

# both_refuse TEXT FLAG...: both end with 1 and say TEXT.
both_refuse() {
  local text=$1 kind code
  shift
  for kind in etcd fairlead; do
    code=0
    timeout 60 "$(binary_of $kind)" gateway start "$@" >"$work/refused" 2>&1 </dev/null || code=$?
    [ $code = 1 ] && grep -qiF -- "$text" "$work/refused" && continue
    echo "$kind: exit code $code, expected 1 and: $text"
    tail -n 3 "$work/refused"
    return 1
  done
}
port_taken() {
  start_gateway fairlead --endpoints=$all_ports
  local code=0
  both_refuse "address already in use" --listen-addr 127.0.0.1:23790 --endpoints=$all_ports || code=1
  stop_gateway
  return $code
}
only_ours() { # what etcd accepts in silence
  local code=0
  timeout 60 "$FAIRLEAD_BIN/fairlead" gateway start 127.0.0.1:2379 >"$work/refused" 2>&1 || code=$?
  [ $code = 1 ] && grep -q 'unexpected argument "127.0.0.1:2379"' "$work/refused" || return 1
  code=0
  timeout 60 "$FAIRLEAD_BIN/fairlead" gateway start --listen-addr 0.0.0.0:23790 --endpoints=127.0.0.1:23790 >"$work/refused" 2>&1 || code=$?
  [ $code = 1 ] && grep -q 'should not resolve to the gateway listen addr' "$work/refused"
}
help_of() {
  local kind
  for kind in etcd fairlead; do
    "$(binary_of $kind)" gateway start --help | grep -oE -- '--[a-z-]+( [a-z]+)?  ' | sort >"$work/flags-$kind"
  done
  diff -u "$work/flags-etcd" "$work/flags-fairlead" && "$FAIRLEAD_BIN/fairlead" gateway | grep -q '^  start '
}

make_certificates >"$work/openssl.log" 2>&1
start_dns
for i in 0 1 2; do start_one $i; done
for i in 0 1 2; do wait_for 60 "member $i" serves "1237$i" >/dev/null; done
ids=()
for i in 0 1 2; do ids[$i]=$(status_of "127.0.0.1:1237$i"); done

for kind in etcd fairlead; do
  say "gateway start: $kind"
  check "$kind: etcdctl through it, endpoints in turn" through $kind
  check "$kind: TLS through it" tls_through $kind
  check "$kind: load" load $kind
  check "$kind: no endpoint is left" none_left $kind
  check "$kind: an endpoint goes and comes back" goes_and_comes $kind
  check "$kind: SRV: priorities" srv_priorities $kind
  check "$kind: SRV: a suffix, verified" srv_suffix $kind
  check "$kind: SRV: plain endpoints are not trusted" srv_insecure_left_out $kind
  check "$kind: systemd is told" systemd $kind
  check "$kind: grpc-proxy: SRV" proxy_srv $kind --discovery-srv example.com --insecure-discovery
done
# etcd's asks for a certificate that has the record's name with the dot at its end.
check "grpc-proxy: SRV with a suffix, verified" proxy_srv fairlead --discovery-srv example.com --discovery-srv-name blue \
  --cacert "$work/ca.crt"
check "an end is passed on" half_close
check "SRV: priorities without weights" srv_priorities fairlead --discovery-srv-name light # etcd takes any
check "SRV: weights" srv_weights
check "SRV: certificates are verified" srv_verified
check "--help has etcd's flags" help_of
check "an unknown flag" both_refuse "unknown flag: --endpoint" --endpoint=a
check "a flag without its value" both_refuse "flag needs an argument: --endpoints" --endpoints
check "a bad duration" both_refuse 'invalid argument "1" for "--retry-delay" flag' --retry-delay=1
check "a bad endpoint" both_refuse 'error parsing endpoint "abc"' --endpoints=abc
check "an endpoint without address" both_refuse "failed to resolve endpoint host: nowhere.example.com" --endpoints=nowhere.example.com:1
check "no endpoint" both_refuse "no endpoints found" --endpoints=
check "a bad address to listen on" both_refuse "failed to validate listen address: abc" --listen-addr=abc
check "a host to listen on that has no address" both_refuse "failed to resolve listen host: nowhere.example.com" --listen-addr=nowhere.example.com:1
check "no host to listen on" both_refuse "failed to resolve listen host:" --listen-addr=:23790
check "an endpoint that is the gateway" both_refuse "should not resolve to the gateway listen addr" \
  --listen-addr=127.0.0.1:23790 --endpoints=localhost:23790
check "no SRV records" both_refuse "dns lookup errors" --discovery-srv nowhere.example.com
check "a port that is taken" port_taken
check "arguments that etcd ignores, and a loop that it does not see" only_ours
print_score
