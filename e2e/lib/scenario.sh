# The story that ./dev demo tells and ./dev e2e smoke checks: operator, three members, data, a leader
# that dies under load, figures in Prometheus. Each step_* returns 0 if it went as it should.
# The caller sets `kubectl` (an array: the command with its context), `namespace`, `reach` (pods: the pods'
# addresses can be reached from here; forward: only through kubectl port-forward).

cluster=demo
ready_seconds=180

k() { "${kubectl[@]}" "$@"; }
kn() { "${kubectl[@]}" -n "$namespace" "$@"; }

# ---- what is there ---------------------------------------------------------------------------------

# Names of the members' pods, in order of name. A pod has the name of its FairleadMember.
member_pods() {
  kn get flm --field-selector "spec.clusterRef.name=$cluster" -o name | sed 's|.*/||' | sort
}
pod_field() { kn get pod "$1" -o jsonpath="$2"; }
pod_ready() { pod_field "$1" '{.status.conditions[?(@.type=="Ready")].status}' | grep -q True; }
cluster_condition() { kn get flc $cluster -o jsonpath="{.status.conditions[?(@.type==\"$1\")].status}"; }
cluster_ready() {
  [ "$(cluster_condition Ready)" = True ] && [ "$(kn get flc $cluster -o jsonpath='{.status.readyReplicas}')" = 3 ]
}

# endpoint_of_pod POD: a client URL of this member, as seen from here.
endpoint_of_pod() {
  if [ "$reach" = pods ]; then
    echo "http://$(pod_field "$1" '{.status.podIP}'):2379"
  else
    echo "http://127.0.0.1:$(cat "$run/forward-$1.port")"
  fi
}
member_endpoints() {
  local pod
  for pod in $(member_pods); do endpoint_of_pod "$pod"; done | paste -sd,
}
# service_endpoints: where a client connects: the service, or all tunnels.
service_endpoints() {
  if [ "$reach" = pods ]; then
    echo "http://$(kn get service $cluster-client -o jsonpath='{.spec.clusterIP}'):2379"
  else
    member_endpoints
  fi
}
service_answers() { curl -fsS -m 1 -o /dev/null "$(service_endpoints | cut -d, -f1)/version"; }
ctl() { "$etcd_bin/etcdctl" --endpoints="$(service_endpoints)" "$@"; }

# leader_pod: the member that says of itself that it is the leader.
leader_pod() {
  local pod
  for pod in $(member_pods); do
    if "$etcd_bin/etcdctl" --endpoints="$(endpoint_of_pod "$pod")" endpoint status -w json 2>/dev/null |
      jq -e '.[0].Status | .leader == .header.member_id and .leader != null' >/dev/null; then
      echo "$pod"
      return
    fi
  done
  return 1
}

# Tunnels to the members of a cluster whose pods cannot be reached from here; each is dug again when it falls in.
open_forwards() {
  [ "$reach" = forward ] || return 0
  local pod port
  for pod in $(member_pods); do
    ! is_running "forward-$pod" || continue
    port=$(free_port)
    echo "$port" >"$run/forward-$pod.port"
    in_background "forward-$pod" bash -c 'while true; do "$@"; sleep 0.3; done' tunnel \
      "${kubectl[@]}" -n "$namespace" port-forward "pod/$pod" "$port:2379"
    wait_for 20 "a tunnel to $pod" curl -fsS -o /dev/null "http://127.0.0.1:$port/version" || return 1
  done
}

# ---- the steps -------------------------------------------------------------------------------------

# manifest FILE: with other images, where the caller wants them (FAIRLEAD_IMAGE, FAIRLEAD_OPERATOR_IMAGE).
manifest() {
  sed -e "s|localhost/fairlead-operator:dev|${FAIRLEAD_OPERATOR_IMAGE:-localhost/fairlead-operator:dev}|" \
    -e "s|localhost/fairlead:dev|${FAIRLEAD_IMAGE:-localhost/fairlead:dev}|" "$1"
}

step_operator() {
  local file
  for file in "$root"/manifests/crds/*.yaml; do k apply --server-side -f "$file" >/dev/null || return 1; done
  k wait --for=condition=Established --timeout=30s crd/fairleadclusters.fairlead.io crd/fairleadmembers.fairlead.io >/dev/null || return 1
  manifest "$root/manifests/operator.yaml" | k apply --server-side -f - >/dev/null || return 1
  k -n fairlead-system rollout restart deployment/fairlead-operator >/dev/null || return 1 # its image may be newer
  k -n fairlead-system rollout status deployment/fairlead-operator --timeout=90s >/dev/null || {
    k -n fairlead-system get pods
    k -n fairlead-system logs deployment/fairlead-operator --tail=20
    return 1
  }
}

step_cluster() {
  local begin=$SECONDS
  if kn get flc $cluster >/dev/null 2>&1; then
    note "a cluster '$cluster' is there from before; deleting it"
    kn delete flc $cluster --timeout=90s >/dev/null || return 1
    begin=$SECONDS
  fi
  manifest "$root/manifests/samples/cluster.yaml" | kn apply -f - >/dev/null || return 1
  wait_for $ready_seconds "the cluster to be ready" cluster_ready || {
    explain_cluster
    return 1
  }
  open_forwards || return 1
  # kube-proxy learns of a service a moment after the API server knows its endpoints.
  wait_for 30 "the client service to lead to a member" service_answers || return 1
  note "three members are ready after $((SECONDS - begin)) s"
}

# explain_cluster: what one would look at when it does not work.
explain_cluster() {
  {
    kn get flc,flm,pods,pvc -o wide
    kn get flc $cluster -o json | jq -r '.status | "next: \(.plan.next): \(.plan.why)", (.conditions[]? | "\(.type) \(.status) \(.reason): \(.message)")'
    kn get events --sort-by=.lastTimestamp | tail -n 8
    local pod
    for pod in $(member_pods); do
      echo "--- $pod"
      kn logs "$pod" --all-containers --tail=4
    done
    echo "--- operator"
    k -n fairlead-system logs deployment/fairlead-operator --tail=10
  } 2>&1 | cut -c 1-300 | sed 's/^/   | /'
}

step_use() {
  local watch_log=$logs/watch.log pid code=0
  [ "$(ctl put hello 'from the demo')" = OK ] || return 1
  note "etcdctl put hello 'from the demo': OK"
  [ "$(ctl get hello --print-value-only)" = 'from the demo' ] || return 1
  note "etcdctl get hello: $(ctl get hello --print-value-only)"
  "$etcd_bin/etcdctl" --endpoints="$(service_endpoints)" watch hello --rev=1 >"$watch_log" 2>&1 &
  pid=$!
  ctl put hello again >/dev/null || code=1
  wait_for 15 "the watch to see both puts" grep -q again "$watch_log" || code=1
  kill $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
  note "etcdctl watch hello --rev=1 saw: $(paste -sd' ' "$watch_log")"
  return $code
}

start_load() {
  rm -f "$run/writes"
  in_background writer "$writer" run --endpoints "$(service_endpoints)" --log "$run/writes"
  wait_for 20 "the first acknowledged writes" acknowledged_more_than 100
}
acknowledged() { wc -l 2>/dev/null <"$run/writes" || echo 0; }
acknowledged_more_than() { [ "$(acknowledged)" -gt "$1" ]; }
# end_load: sets pause_ms and acknowledged_writes.
end_load() {
  end writer TERM
  pause_ms=$(sed -n 's/^longest_pause_ms //p' "$logs/writer.log")
  acknowledged_writes=$(sed -n 's/^acknowledged //p' "$logs/writer.log")
  [ -n "$pause_ms" ] && [ "${acknowledged_writes:-0}" -gt 0 ]
}

# leader_dies HOW: deleted (the pod, in order) or killed (its process, with SIGKILL), under load; then
# every acknowledged write is looked up, and the cluster must be whole again.
leader_dies() {
  local how=$1 old uid count
  start_load || return 1
  old=$(leader_pod) || { note "no leader"; return 1; }
  uid=$(pod_field "$old" '{.metadata.uid}')
  note "a load writes; the leader is $old"
  case $how in
    deleted) kn delete pod "$old" --wait=false >/dev/null || return 1 ;;
    killed) kill_container "$old" || return 1 ;;
  esac
  count=$(acknowledged)
  wait_for 60 "writes to go on" acknowledged_more_than $((count + 500)) || return 1
  wait_for $ready_seconds "three ready members again" whole_again "$how" "$old" "$uid" || {
    explain_cluster
    return 1
  }
  end_load || return 1
  open_forwards || return 1
  "$writer" check --endpoints "$(service_endpoints)" --log "$run/writes" >"$logs/check.log" 2>&1 || {
    sed 's/^/   | /' "$logs/check.log"
    return 1
  }
  note "the leader is now $(leader_pod); $old is back with its volume"
  note "writes paused for $pause_ms ms"
  note "all $(sed -n 's/^checked //p' "$logs/check.log") acknowledged writes are there, none is lost"
}
whole_again() {
  cluster_ready && pod_ready "$2" || return 1
  case $1 in
    deleted) [ "$(pod_field "$2" '{.metadata.uid}')" != "$3" ] ;;
    killed) [ "$(restarts "$2")" -gt 0 ] || [ "$(pod_field "$2" '{.metadata.uid}')" != "$3" ] ;;
  esac
}
restarts() { pod_field "$1" '{.status.containerStatuses[0].restartCount}'; }
# Only on a node of our own: the process of the pod's container, as if the machine's memory had run out.
kill_container() {
  local id
  id=$(pod_field "$1" '{.status.containerStatuses[0].containerID}')
  ctr -a "$containerd_socket" -n k8s.io tasks kill -s SIGKILL "${id#containerd://}"
}

# Members keep their volumes, so Prometheus finds them by name; addresses are written anew when they change.
write_targets() {
  local pod
  for pod in $(member_pods); do
    jq -n --arg pod "$pod" --arg target "$(endpoint_of_pod "$pod" | sed 's|http://||')" \
      '{targets: [$target], labels: {member: $pod}}'
  done | jq -s . >"$run/targets.new" && mv "$run/targets.new" "$run/targets.json"
}
# Pods that come later, by people who try things, are written down as they come.
follow_targets() {
  [ "$reach" = pods ] || return 0
  in_background targets bash -c '
    file=$1 && shift
    while sleep 1; do
      "$@" --watch -o name 2>/dev/null | while read -r _; do
        "$@" -o json | jq "[.items[] | select(.status.podIP) |
          {targets: [.status.podIP + \":2379\"], labels: {member: .metadata.name}}]" >"$file.follow" &&
          mv "$file.follow" "$file"
      done
    done' targets "$run/targets.json" "${kubectl[@]}" -n "$namespace" get pods -l "fairlead.io/cluster=$cluster"
}
start_prometheus() {
  write_targets
  follow_targets
  if ! is_running prometheus; then
    prometheus_port=$(free_port)
    echo "$prometheus_port" >"$run/prometheus.port"
    cat >"$run/prometheus.yaml" <<YAML
global: {scrape_interval: 1s}
scrape_configs:
- job_name: fairlead
  file_sd_configs: [{files: [$run/targets.json], refresh_interval: 2s}]
YAML
    in_background prometheus prometheus --config.file="$run/prometheus.yaml" \
      --storage.tsdb.path="$run/prometheus" --web.listen-address="127.0.0.1:$prometheus_port"
  fi
  prometheus_port=$(cat "$run/prometheus.port")
  wait_for 30 "Prometheus to scrape three members" figure 'sum(up{job="fairlead"}) == 3'
}
# figure QUERY: the value, or an error if there is none.
figure() {
  curl -fsS --get "http://127.0.0.1:$prometheus_port/api/v1/query" --data-urlencode "query=$1" |
    jq -er '.data.result[0].value[1]'
}
step_figures() {
  local leaders rate memory
  write_targets
  wait_for 30 "Prometheus to scrape three members" figure 'sum(up{job="fairlead"}) == 3' || return 1
  leaders=$(figure 'sum(etcd_server_has_leader)') || return 1
  rate=$(figure 'max_over_time(sum(rate(etcd_mvcc_put_total[5s]))[5m:1s])') || return 1
  memory=$(figure 'max(process_resident_memory_bytes)') || return 1
  note "members with a leader (etcd_server_has_leader):           $leaders of 3"
  note "puts applied a second, all members (etcd_mvcc_put_total): $(printf '%.0f' "$rate") at most"
  note "memory of the largest member (process_resident_memory):   $(printf '%.1f' "$(jq -n "$memory / 1048576")") MiB"
  [ "$leaders" = 3 ] && [ "$(printf '%.0f' "$rate")" -gt 0 ]
}
