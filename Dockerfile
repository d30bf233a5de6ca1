# syntax=docker/dockerfile:1
# Two images from one build:
#   docker build --target server   -t fairlead .
#   docker build --target operator -t fairlead-operator .
# Each holds its programs with the shared libraries they ask for, and nothing else (e2e/image/rootfs.sh): the server's
# fairleadctl too, also under the names etcdctl and etcdutl.
# It runs as user 65532, also with a read-only root file system; the server keeps its data in /var/lib/fairlead.

FROM debian:bookworm-slim AS build
COPY dev /src/dev
COPY e2e/lib/common.sh e2e/lib/setup.sh /src/e2e/lib/
RUN /src/dev setup --build
COPY . /src
RUN cd /src && CI=true ./dev build
RUN cd /src && e2e/image/rootfs.sh server build/bin /rootfs/server \
 && e2e/image/rootfs.sh operator build/bin /rootfs/operator

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
