# What both images say about themselves. The Dockerfile has the same in its own words;
# ./dev image --dockerfile compares the two.

server_image=localhost/fairlead:dev
operator_image=localhost/fairlead-operator:dev
image_user=65532:65532
path_env=PATH=/usr/local/bin

# A container listens beyond loopback without any argument; flags on the command line win.
server_settings=(
  --user "$image_user" --workdir /var/lib/fairlead --entrypoint '["fairlead"]'
  --env "$path_env"
  --env ETCD_DATA_DIR=/var/lib/fairlead/data
  --env ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379
  --env ETCD_LISTEN_PEER_URLS=http://0.0.0.0:2380
  --env ETCD_ADVERTISE_CLIENT_URLS=http://localhost:2379
  --port 2379 --port 2380 --volume /var/lib/fairlead
)
operator_settings=(
  --user "$image_user" --workdir / --entrypoint '["fairlead-operator"]'
  --env "$path_env"
)
