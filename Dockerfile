# syntax=docker/dockerfile:1
# Two images from one build:
#   docker build --target server   -t fairlead .
#   docker build --target operator -t fairlead-operator .
# Each holds one program with the shared libraries it asks for, and nothing else (e2e/image/rootfs.sh).
# It runs as user 65532, also with a read-only root file system; the server keeps its data in /var/lib/fairlead.

FROM golang:1.26-bookworm AS etcdctl
COPY e2e/kube/modules/etcd /module
RUN cd /module && CGO_ENABLED=0 go build -trimpath -o /etcdctl go.etcd.io/etcd/etcdctl/v3

FROM debian:bookworm-slim AS build
COPY dev /src/dev
COPY e2e/lib/common.sh e2e/lib/setup.sh /src/e2e/lib/
RUN /src/dev setup --build
COPY . /src
RUN cd /src && CI=true ./dev build
COPY --from=etcdctl /etcdctl /etcdctl
RUN cd /src && e2e/image/rootfs.sh server build/bin /etcdctl /rootfs/server \
 && e2e/image/rootfs.sh operator build/bin /etcdctl /rootfs/operator

FROM scratch AS server
COPY --from=build /rootfs/server /
ENV PATH=/usr/local/bin \
    ETCD_DATA_DIR=/var/lib/fairlead/data \
    ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379 \
    ETCD_LISTEN_PEER_URLS=http://0.0.0.0:2380 \
    ETCD_ADVERTISE_CLIENT_URLS=http://localhost:2379
USER 65532:65532
WORKDIR /var/lib/fairlead
VOLUME /var/lib/fairlead
EXPOSE 2379 2380
ENTRYPOINT ["fairlead"]

FROM scratch AS operator
COPY --from=build /rootfs/operator /
ENV PATH=/usr/local/bin
USER 65532:65532
WORKDIR /
ENTRYPOINT ["fairlead-operator"]
