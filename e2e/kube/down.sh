#!/usr/bin/env bash
# down.sh: ends the Kubernetes of up.sh, and only that, by the process IDs that up.sh recorded. Can be repeated.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/e2e/lib/common.sh"
. "$root/e2e/kube/net.sh"

[ -e "$state_dir/.fairlead-state" ] || {
  note "nothing is up"
  exit 0
}
need_root "ending the demo"

# Whatever else the demo left running (a load, Prometheus), then node and control plane: each is
# process 1 of its own PID namespace, and everything inside ends with it.
for file in "$run"/*.pid; do
  [ -e "$file" ] || continue
  name=$(basename "$file" .pid)
  case $name in node | control) ;; *) end "$name" TERM ;; esac
done
end node
end control

# The network link went with the node's namespace; its routes go with the bridge.
ip link del "$veth" 2>/dev/null || true
ip link del "$bridge" 2>/dev/null || true

# Control groups of the pods, deepest first. They are empty: all pods have ended.
find /sys/fs/cgroup -depth -type d \( -path '*/kubepods' -o -path '*/kubepods/*' \) -exec rmdir {} \; 2>/dev/null || true

if [ -f "$run/made_places" ]; then
  sort -r "$run/made_places" | while read -r place; do rmdir "$place" 2>/dev/null || true; done
fi
rm -rf --one-file-system "$state_dir"
note "Kubernetes is down, nothing is left of it"
