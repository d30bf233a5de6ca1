#!/usr/bin/env bash
# bootstrap_test.sh: how members of a new cluster find each other: DNS SRV records from a real name server (dnsmasq) and
# v3 discovery, with the reference etcd and with ours, in every mix. Runs in a network and mount namespace of its own,
# so that it has port 53 and /etc/resolv.conf to itself. Needs FAIRLEAD_BIN and ETCD_BIN as etcdctl_test.sh does.
# One line a case; the last line is "N passed, N failed".
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if [ -z "${FAIRLEAD_ISOLATED:-}" ]; then
  user=()
  unshare --net --mount true 2>/dev/null || user=(--map-root-user)
  FAIRLEAD_ISOLATED=1 exec unshare "${user[@]}" --net --mount "${BASH_SOURCE[0]}" "$@"
fi
. "$root/e2e/lib/common.sh"
. "$root/e2e/interop/servers.sh"

work=$(mktemp -d "${TMPDIR:-/tmp}/fairlead-bootstrap.XXXXXX")
trap 'stop_all; [ -n "${FAIRLEAD_KEEP:-}" ] || rm -rf "$work"' EXIT
PATH=/usr/sbin:/sbin:$PATH
ip link set lo up
echo "nameserver 127.0.0.1" >"$work/resolv.conf"
printf '127.0.0.1 localhost\n' >"$work/hosts"
mount --bind "$work/resolv.conf" /etc/resolv.conf
mount --bind "$work/hosts" /etc/hosts
binary_of() { if [ "$1" = etcd ]; then echo "$ETCD_BIN/etcd"; else echo "$FAIRLEAD_BIN/fairlead"; fi; }
ctl() { "$ETCD_BIN/etcdctl" --command-timeout=5s "$@"; }

# ---- the name server: SRV records of example.com (plain), of blue.example.com with the suffix "blue"

names_file=$work/names
start_dns() {
  : >"$names_file"
  local i
  for i in 0 1 2; do name_on "$i"; done
  dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --port=53 --listen-address=127.0.0.1 \
    --bind-interfaces --addn-hosts="$names_file" --pid-file= --user="$(id -un)" --local=/example.com/ --max-cache-ttl=0 \
    --srv-host=_etcd-server._tcp.example.com,infra0.example.com,2380 \
    --srv-host=_etcd-server._tcp.example.com,infra1.example.com,2381 \
    --srv-host=_etcd-server._tcp.example.com,infra2.example.com,2382 \
    --srv-host=_etcd-server-blue._tcp.example.com,infra0.example.com,2380 \
    --srv-host=_etcd-server-blue._tcp.example.com,infra1.example.com,2381 \
    --srv-host=_etcd-server-blue._tcp.example.com,infra2.example.com,2382 \
    --srv-host=_etcd-server-ssl-mixed._tcp.example.com,infra0.example.com,2380 \
    >"$work/dnsmasq.log" 2>&1 </dev/null &
  dns=$!
  pids+=("$dns")
  wait_for 60 "the name server" getent ahosts infra0.example.com
}
name_on() { echo "127.0.0.1 infra$1.example.com" >>"$names_file"; }
name_off() { sed -i "/infra$1/d" "$names_file"; }
reload_dns() { kill -HUP "$dns"; }

# start_member LABEL KIND NUMBER HOST [FLAG...]: sets last_pid; HOST is what it advertises.
start_member() {
  local label=$1 kind=$2 number=$3 host=$4
  shift 4
  env -u ETCD_BIN "$(binary_of "$kind")" --name "infra$number" --data-dir "$work/$label-$number.data" \
    --listen-client-urls "http://127.0.0.1:1237$number" --advertise-client-urls "http://$host:1237$number" \
    --listen-peer-urls "http://127.0.0.1:238$number" --initial-advertise-peer-urls "http://$host:238$number" "$@" \
    >"$work/$label-$number.log" 2>&1 </dev/null &
  last_pid=$!
  pids+=("$last_pid")
}
endpoints=127.0.0.1:12370,127.0.0.1:12371,127.0.0.1:12372
all_serve() { ctl --endpoints="$endpoints" endpoint health; }
all_published() { [ "$(ctl --endpoints=127.0.0.1:12370 member list | grep -c 'started, infra')" = 3 ]; }
stop_members() {
  local pid
  for pid in "$@"; do stop_server "$pid" KILL || true; done
}

# three LABEL KIND HOSTS [FLAG...]: three members serve; their list is left in $work/LABEL.list.
three() {
  local label=$1 kind=$2 hosts=$3 i members=() code=0
  shift 3
  for i in 0 1 2; do
    start_member "$label" "$kind" "$i" "${hosts/N/$i}" "$@"
    members+=("$last_pid")
  done
  { wait_for 60 "$label: three members" all_serve && wait_for 60 "$label: their names" all_published &&
    ctl --endpoints=127.0.0.1:12370 member list | sort >"$work/$label.list" &&
    ctl --endpoints="$endpoints" put k v; } || code=1
  stop_members "${members[@]}"
  [ $code = 0 ] || tail -n 5 "$work/$label"-*.log | cut -c 1-300
  return $code
}
# both LABEL HOSTS [FLAG...]: with etcd, with ours: the same member ids, names and URLs.
both() {
  local label=$1
  shift
  three "$label-etcd" etcd "$@" && three "$label-fairlead" fairlead "$@" &&
    diff -u "$work/$label-etcd.list" "$work/$label-fairlead.list"
}
check() {
  local name=$1 log=$work/check.log code=0
  shift
  "$@" >"$log" 2>&1 || code=$?
  case_result $code "$name"
  [ $code = 0 ] || sed 's/^/   | /' "$log" | tail -n 20
}

# refused TEXT KIND HOST [FLAG...]: the member ends with 1, saying TEXT.
refused() {
  local text=$1 kind=$2 host=$3 code=0
  shift 3
  rm -rf "$work"/refused-*
  start_member refused "$kind" 0 "$host" "$@"
  local pid=$last_pid
  timeout 30 tail --pid="$pid" -f /dev/null || kill -KILL "$pid"
  wait "$pid" || code=$?
  [ "$code" = 1 ] && grep -qF -- "$text" "$work/refused-0.log" && return 0
  echo "exit code $code, expected 1 and: $text"
  tail -n 3 "$work/refused-0.log"
  return 1
}
both_refuse() {
  local text=$1
  shift
  refused "$text" etcd "$@" && refused "$text" fairlead "$@"
}

waits_for_names() {
  local i members=() code=0
  name_off 2
  reload_dns
  for i in 0 1 2; do
    start_member waits fairlead "$i" 127.0.0.1 --discovery-srv example.com
    members+=("$last_pid")
  done
  wait_for 60 "a member that waits" grep -q "infra2.example.com: resolve" "$work/waits-0.log" || code=1
  ! ctl --endpoints=127.0.0.1:12370 --dial-timeout=200ms endpoint health || code=1
  name_on 2
  reload_dns
  wait_for 60 "three members" all_serve || code=1
  stop_members "${members[@]}"
  return $code
}

srv() {
  say "DNS SRV records, dnsmasq $(dnsmasq --version | sed -n 's/^Dnsmasq version \([^ ]*\).*/\1/p')"
  start_dns
  check "three members by SRV records" both srv infraN.example.com --discovery-srv example.com
  check "three members by SRV records, advertising addresses" both srv-address 127.0.0.1 --discovery-srv example.com
  check "three members by SRV records with a suffix" \
    both srv-blue infraN.example.com --discovery-srv example.com --discovery-srv-name blue --initial-cluster-token other
  check "SRV: waits until every name resolves" waits_for_names
  check "SRV: no such record" both_refuse "error querying DNS SRV records for _etcd-server-ssl" infra0.example.com \
    --discovery-srv nowhere.example.com
  check "SRV: the own URL is not there" both_refuse 'in SRV records' 127.0.0.1 \
    --initial-advertise-peer-urls http://127.0.0.1:9999 --discovery-srv example.com
  check "SRV: https records for an http member" refused "scheme mismatch" fairlead infra0.example.com \
    --discovery-srv example.com --discovery-srv-name mixed
  check "SRV beside a static list" both_refuse "multiple discovery or bootstrap flags are set" 127.0.0.1 \
    --discovery-srv example.com --initial-cluster infra0=http://127.0.0.1:2380
}

# ---- v3 discovery

# with_service KIND: a one-member server on port 12379 as the discovery service; sets service.
with_service() {
  local kind=$1
  shift
  env -u ETCD_BIN "$(binary_of "$kind")" --name service --data-dir "$work/service-$kind.data" \
    --listen-client-urls http://127.0.0.1:12379,https://127.0.0.1:12378 --advertise-client-urls http://127.0.0.1:12379 \
    --listen-peer-urls http://127.0.0.1:12380 --initial-advertise-peer-urls http://127.0.0.1:12380 \
    --initial-cluster service=http://127.0.0.1:12380 --cert-file "$work/server.crt" --key-file "$work/server.key" \
    --trusted-ca-file "$work/ca.crt" --client-cert-auth >"$work/service-$kind.log" 2>&1 </dev/null &
  service=$!
  pids+=("$service")
  wait_for 60 "the discovery service" ctl --endpoints=127.0.0.1:12379 endpoint health
}
at_service() { ctl --endpoints=127.0.0.1:12379 "$@"; }
token_flags() { flags=(--discovery-token "$1" --discovery-endpoints "http://127.0.0.1:12379"); }

by_token() {
  local service_kind=$1 kind=$2
  at_service put /_etcd/registry/token-1/_config/size 3
  at_service del --prefix /_etcd/registry/token-1/members
  token_flags token-1
  three "token-$service_kind-$kind" "$kind" 127.0.0.1 "${flags[@]}"
}
same_members() { diff -u "$work/token-etcd-etcd.list" "$work/token-fairlead-fairlead.list"; }
one_too_many() {
  at_service put /_etcd/registry/full/_config/size 1
  at_service put /_etcd/registry/full/members/1 one=http://127.0.0.1:1
  token_flags full
  both_refuse "discovery: cluster is full" 127.0.0.1 "${flags[@]}"
}
ignored_afterwards() { # a member that has its data needs no discovery
  token_flags gone
  start_member "token-$1-fairlead" fairlead 0 127.0.0.1 "${flags[@]}"
  local pid=$last_pid code=0
  wait_for 60 "the warning" grep -q "discovery is ignored" "$work/token-$1-fairlead-0.log" || code=1
  stop_members "$pid"
  return $code
}

# A CA, a server's certificate for 127.0.0.1, a client's.
make_certificates() {
  local name usage
  openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=test-ca -days 2 -keyout "$work/ca.key" -out "$work/ca.crt"
  for name in server client; do
    usage=$name"Auth"
    openssl req -newkey rsa:2048 -nodes -subj "/CN=$name" -keyout "$work/$name.key" -out "$work/$name.csr"
    openssl x509 -req -in "$work/$name.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 2 \
      -out "$work/$name.crt" -extfile <(printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=%s\n' "$usage")
  done
}
by_token_over_tls() { # LABEL KIND FLAG...
  local label=$1 kind=$2
  shift 2
  at_service put "/_etcd/registry/$label/_config/size" 3
  three "$label" "$kind" 127.0.0.1 --discovery-token "$label" --discovery-endpoints https://127.0.0.1:12378 \
    --discovery-insecure-transport=false --discovery-cert "$work/client.crt" --discovery-key "$work/client.key" "$@"
}
not_trusted() { # the service's authority is none that the system knows: no member may come up
  at_service put /_etcd/registry/strange/_config/size 1
  start_member strange fairlead 0 127.0.0.1 --discovery-token strange \
    --discovery-endpoints https://127.0.0.1:12378 --discovery-insecure-transport=false
  local pid=$last_pid code=0
  wait_for 60 "a refusal" grep -q "retry connecting to discovery service.*certificate" "$work/strange-0.log" || code=1
  stop_members "$pid"
  return $code
}

tokens() {
  local kind
  make_certificates >"$work/openssl.log" 2>&1
  for kind in etcd fairlead; do
    say "v3 discovery, the service is $kind"
    with_service $kind
    check "three members by a token: etcd's" by_token $kind etcd
    check "three members by a token: ours" by_token $kind fairlead
    check "token: ignored by a member that has its data" ignored_afterwards $kind
    check "token over TLS: etcd's" by_token_over_tls tls-etcd etcd --discovery-cacert "$work/ca.crt"
    check "token over TLS: ours" by_token_over_tls tls-fairlead fairlead --discovery-cacert "$work/ca.crt"
    check "token over TLS, not verified" \
      by_token_over_tls tls-skip fairlead --discovery-insecure-skip-tls-verify
    check "token over TLS: a service that is not trusted" not_trusted
    check "token: one too many" one_too_many
    token_flags unknown
    check "token: unknown" both_refuse "discovery: size key not found" 127.0.0.1 "${flags[@]}"
    at_service put /_etcd/registry/bad/_config/size many >/dev/null
    token_flags bad
    check "token: bad size" both_refuse "discovery: size key is bad" 127.0.0.1 "${flags[@]}"
    stop_server "$service" TERM || true
    rm -rf "$work"/{token,tls}-*.data
  done
  check "token: the members of etcd and of ours are the same" same_members
  check "token without endpoints" both_refuse "both --discovery-token and --discovery-endpoints must be set" 127.0.0.1 \
    --discovery-token t
}

static() {
  say "Static lists"
  check "static: the own URL is not the advertised one" both_refuse "missing from --initial-advertise-peer-urls" \
    127.0.0.1 --initial-cluster infra0=http://127.0.0.1:2399
  check "static: the own name is not there" both_refuse "couldn't find local name" 127.0.0.1 \
    --initial-cluster other=http://127.0.0.1:2380
  check "static: a URL twice" both_refuse "has duplicate url" 127.0.0.1 \
    --initial-cluster infra0=http://127.0.0.1:2380,other=http://127.0.0.1:2380
}

static
srv
tokens
print_score
