# Certificates and kubeconfigs of the cluster. Sourced by up.sh.

# certificate NAME SUBJECT SUBJECT_ALT_NAMES
certificate() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$1.key"
  openssl req -new -key "$pki/$1.key" -subj "$2" -out "$pki/$1.csr"
  openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial \
    -days 365 -out "$pki/$1.crt" -extfile <(
      printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3") 2>/dev/null
}

make_pki() {
  mkdir -p "$pki"
  chmod 700 "$pki"
  openssl ecparam -name prime256v1 -genkey -noout -out "$pki/ca.key"
  openssl req -x509 -new -key "$pki/ca.key" -days 3650 -subj /CN=fairlead-demo-ca -out "$pki/ca.crt"
  certificate apiserver /CN=kube-apiserver "IP:127.0.0.1,IP:$host_ip,IP:$api_service_ip,DNS:localhost,\
DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  certificate admin /O=system:masters/CN=admin DNS:admin
  certificate controller-manager /CN=system:kube-controller-manager DNS:controller-manager
  certificate scheduler /CN=system:kube-scheduler DNS:scheduler
  certificate proxy /CN=system:kube-proxy DNS:proxy
  certificate "$node" "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$node_ip"
  openssl genrsa -out "$pki/service-account.key" 2048 2>/dev/null
  openssl rsa -in "$pki/service-account.key" -pubout -out "$pki/service-account.pub" 2>/dev/null
}

# kubeconfig NAME: for the holder of certificate NAME, with the certificates inside the file.
kubeconfig() {
  cat >"$state_dir/$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: fairlead-demo
  cluster:
    server: $api_url
    certificate-authority-data: $(base64 -w 0 "$pki/ca.crt")
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w 0 "$pki/$1.crt")
    client-key-data: $(base64 -w 0 "$pki/$1.key")
contexts:
- name: fairlead-demo
  context: {cluster: fairlead-demo, user: $1}
current-context: fairlead-demo
YAML
  chmod 600 "$state_dir/$1.kubeconfig"
}
