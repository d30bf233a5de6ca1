#!/usr/bin/env bash
# control.sh: the control plane: reference etcd, kube-apiserver, controller manager, scheduler. Process 1 of
# its own PID and mount namespace; started by up.sh, with the environment that up.sh prepares.
set -euo pipefail
. "$root/e2e/lib/common.sh"
. "$root/e2e/kube/net.sh"
. "$root/e2e/kube/supervise.sh"

# The controller manager's provisioner knows one place only; what it makes there is ours to remove.
# Volumes must be writable for pods that do not run as root.
mount --bind "$state_dir/volumes" /tmp/hostpath_pv
cd "$run"

start etcd "$etcd_bin/etcd" --name store --data-dir "$state_dir/etcd" --log-level warn \
  --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
  --listen-peer-urls "http://127.0.0.1:$etcd_peer_port" \
  --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peer_port" \
  --initial-cluster "store=http://127.0.0.1:$etcd_peer_port" --unsafe-no-fsync
start apiserver "$kube_bin/kube-apiserver" --bind-address="$host_ip" --secure-port=6443 --advertise-address="$host_ip" \
  --etcd-servers="http://127.0.0.1:$etcd_port" --service-cluster-ip-range="$service_cidr" \
  --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
  --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key" \
  --service-account-key-file="$pki/service-account.pub" \
  --service-account-signing-key-file="$pki/service-account.key" \
  --service-account-issuer=https://kubernetes.default.svc --authorization-mode=Node,RBAC \
  --kubelet-preferred-address-types=InternalIP --allow-privileged=true \
  --endpoint-reconciler-type=master-count --cert-dir="$run"
wait_for 60 "the API server" "$kube_bin/kubectl" --kubeconfig "$admin_kubeconfig" get --raw /readyz
umask 0
start controller-manager "$kube_bin/kube-controller-manager" --bind-address="$host_ip" \
  --kubeconfig="$state_dir/controller-manager.kubeconfig" \
  --authentication-kubeconfig="$state_dir/controller-manager.kubeconfig" \
  --authorization-kubeconfig="$state_dir/controller-manager.kubeconfig" \
  --service-account-private-key-file="$pki/service-account.key" --root-ca-file="$pki/ca.crt" \
  --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
  --cluster-cidr=10.244.0.0/16 --allocate-node-cidrs=false --enable-hostpath-provisioner=true \
  --use-service-account-credentials=true --leader-elect=false --cert-dir="$run"
umask 022
start scheduler "$kube_bin/kube-scheduler" --bind-address="$host_ip" --leader-elect=false \
  --kubeconfig="$state_dir/scheduler.kubeconfig" --authentication-kubeconfig="$state_dir/scheduler.kubeconfig" \
  --authorization-kubeconfig="$state_dir/scheduler.kubeconfig" --cert-dir="$run"
watch_over
