#!/usr/bin/env bash
# load_test.sh: the commands by which ./dev demo --context brings image archives into kind, k3d and minikube.
# These programs need a Docker engine: stand-ins record how they are called. Where the real kind is in PATH, its own
# parser must accept the same arguments (it then fails for want of an engine or of the cluster, not of an argument).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/e2e/lib/common.sh"
. "$root/e2e/lib/demo.sh"

real_kind=$(command -v kind || true)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in kind k3d minikube; do
  printf '#!/bin/sh\necho "%s $*" >>"%s/calls"\nexit "${CODE:-0}"\n' "$name" "$work" >"$work/$name"
  chmod 755 "$work/$name"
done
PATH=$work:$PATH
server=$root/build/images/fairlead.tar operator=$root/build/images/fairlead-operator.tar

# called_as CONTEXT LINE LINE
called_as() {
  context=$1
  rm -f "$work/calls"
  bring_images
  diff <(printf '%s\n' "${@:2}") "$work/calls"
}
check() {
  local name=$1
  shift
  if "$@" >"$work/out" 2>&1; then case_passed "$name"; else
    sed 's/^/   | /' "$work/out"
    case_failed "$name"
  fi
}
a_failing_load_ends_the_demo() {
  context=kind-two
  ! (CODE=1 bring_images) && grep -q 'fairlead.tar could not be loaded' "$work/out"
}
# Every flag after the sub-command must be one that the real kind's help knows.
kind_takes_it() {
  local help
  help=$("$real_kind" load image-archive --help 2>&1)
  grep -q 'image-archive <IMAGE.tar>' <<<"$help" && grep -Eq '^ +-n, --name string' <<<"$help"
}

check "kind" called_as kind-two "kind load image-archive $server --name two" "kind load image-archive $operator --name two"
check "k3d" called_as k3d-two "k3d image import $server -c two" "k3d image import $operator -c two"
check "minikube" called_as minikube-two "minikube -p minikube-two image load $server" "minikube -p minikube-two image load $operator"
check "a load that fails ends the demo" a_failing_load_ends_the_demo
if [ -n "$real_kind" ]; then check "the real kind knows these arguments" kind_takes_it; fi
print_score
