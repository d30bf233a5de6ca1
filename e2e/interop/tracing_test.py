#!/usr/bin/python3
"""tracing_test.py: --enable-distributed-tracing: the reference etcd and ours hand their traces to a real collector side
(gRPC's own server), after the same calls; names, kinds, parents and attributes of the spans must be the same.

ETCD_BIN has etcd and etcdctl, FAIRLEAD_BIN has fairlead. One line a case; the last line is "N passed, N failed".
"""
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
WAIT = 60

import grpc  # noqa: E402
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: E402

from pair import ROOT, free_ports, run_tests, wait_for  # noqa: E402


def messages(folder):
    """The protocol's messages, from proto/: name -> class."""
    files = ["proto/otlp.proto", "proto/kv.proto", "proto/auth.proto", "proto/rpc.proto"]
    subprocess.run(["protoc", "-I", str(ROOT), "--include_imports", f"--descriptor_set_out={folder}/set", *files], check=True)
    pool = descriptor_pool.DescriptorPool()
    with open(f"{folder}/set", "rb") as f:
        for one in descriptor_pb2.FileDescriptorSet.FromString(f.read()).file:
            pool.Add(one)
    make = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
    return lambda name: make(pool.FindMessageTypeByName(name))


class Collector:
    """Takes what comes; gRPC's own server, with the service's name and nothing generated."""

    def __init__(self, port, message):
        self.request, self.reply = message("fairlead.otlp.ExportTraceServiceRequest"), message("fairlead.otlp.ExportTraceServiceResponse")
        self.lock, self.spans, self.resources = threading.Lock(), [], []
        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        method = grpc.unary_unary_rpc_method_handler(self.take, request_deserializer=self.request.FromString,
                                                     response_serializer=lambda m: m.SerializeToString())
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
            "opentelemetry.proto.collector.trace.v1.TraceService", {"Export": method}),))
        self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()

    def take(self, request, _):
        with self.lock:
            for resource in request.resource_spans:
                self.resources.append(attributes(resource.resource.attributes))
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)
        return self.reply()

    def all(self):
        with self.lock:
            return list(self.spans)

    def stop(self):
        self.server.stop(None)


def attributes(pairs):
    out = {}
    for p in pairs:
        kind = p.value.WhichOneof("value")
        out[p.key] = getattr(p.value, kind) if kind else None
    return out


class Member:
    def __init__(self, program, folder, *flags):
        self.client, peer = free_ports(2)
        shutil.rmtree(f"{folder}/data", ignore_errors=True)
        self.log_path = f"{folder}/{os.path.basename(program)}.log"
        self.log = open(self.log_path, "w")
        url, peer_url = f"http://127.0.0.1:{self.client}", f"http://127.0.0.1:{peer}"
        self.process = subprocess.Popen(
            [program, "--name", "m", "--data-dir", f"{folder}/data", "--listen-client-urls", url, "--advertise-client-urls", url,
             "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url, "--initial-cluster", f"m={peer_url}", *flags],
            stdout=self.log, stderr=self.log)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.client}")
        grpc.channel_ready_future(self.channel).result(WAIT)

    def stop(self):
        self.channel.close()
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def calls(channel, message, metadata):
    """What every client does, one call of each that has a span inside; returns the number of spans that are expected."""
    def m(name, **fields):
        return message("etcdserverpb." + name)(**fields)

    def unary(path, request, reply, fails=False):
        call = channel.unary_unary(path, request_serializer=lambda r: r.SerializeToString(), response_deserializer=m(reply).FromString)
        try:
            answer = call(request, metadata=metadata, timeout=WAIT)
            assert not fails, path
            return answer
        except grpc.RpcError:
            assert fails, path
            return None

    def stream(path, reply, requests, answers):
        call = channel.stream_stream(path, request_serializer=lambda r: r.SerializeToString(), response_deserializer=m(reply).FromString)
        more = threading.Event()

        def send():
            yield from requests
            more.wait(WAIT)
        run = call(send(), metadata=metadata, timeout=WAIT)
        for _ in range(answers):
            next(run)
        return run, more

    kv, lease = "/etcdserverpb.KV/", "/etcdserverpb.Lease/"
    put = m("PutRequest", key=b"k", value=b"v")
    unary(kv + "Put", put, "PutResponse")
    unary(kv + "Put", m("PutRequest", key=b"", value=b"v"), "PutResponse", fails=True)
    unary(kv + "Range", m("RangeRequest", key=b"k", range_end=b"l", limit=5, serializable=True), "RangeResponse")
    unary(kv + "Range", m("RangeRequest", key=b"k", count_only=True, keys_only=True), "RangeResponse")
    unary(kv + "Range", m("RangeRequest", key=b"k", revision=1000), "RangeResponse", fails=True)
    txn = m("TxnRequest")
    txn.compare.add(key=b"c", target=3, value=b"x")
    txn.success.add().request_put.CopyFrom(m("PutRequest", key=b"s", value=b"1", lease=0))
    txn.failure.add().request_range.CopyFrom(m("RangeRequest", key=b"f"))
    unary(kv + "Txn", txn, "TxnResponse")
    read = m("TxnRequest")
    read.success.add().request_range.CopyFrom(m("RangeRequest", key=b"r"))
    unary(kv + "Txn", read, "TxnResponse")
    unary(kv + "DeleteRange", m("DeleteRangeRequest", key=b"d", range_end=b"e"), "DeleteRangeResponse")
    unary(kv + "Compact", m("CompactionRequest", revision=2), "CompactionResponse")
    unary(kv + "Compact", m("CompactionRequest", revision=2000), "CompactionResponse", fails=True)
    ranges = channel.unary_stream(kv + "RangeStream", request_serializer=lambda r: r.SerializeToString(),
                                  response_deserializer=lambda b: b)
    assert list(ranges(m("RangeRequest", key=b"k"), metadata=metadata, timeout=WAIT))
    unary(lease + "LeaseGrant", m("LeaseGrantRequest", ID=77, TTL=100), "LeaseGrantResponse")
    keep, done = stream(lease + "LeaseKeepAlive", "LeaseKeepAliveResponse", [m("LeaseKeepAliveRequest", ID=77)] * 2, 2)
    done.set()
    list(keep)
    unary(lease + "LeaseRevoke", m("LeaseRevokeRequest", ID=77), "LeaseRevokeResponse")
    unary(lease + "LeaseRevoke", m("LeaseRevokeRequest", ID=78), "LeaseRevokeResponse", fails=True)
    unary("/etcdserverpb.Cluster/MemberList", m("MemberListRequest"), "MemberListResponse")
    unary("/etcdserverpb.Maintenance/Status", m("StatusRequest"), "StatusResponse")
    watch = m("WatchRequest")
    watch.create_request.CopyFrom(m("WatchCreateRequest", key=b"w", range_end=b"\0", prev_kv=True, progress_notify=True, fragment=True))
    run, done = stream("/etcdserverpb.Watch/Watch", "WatchResponse", [watch], 1)
    run.cancel()
    done.set()
    return 20 + 18  # calls, and the steps inside of them


PORTS = ("server.port",)


def shape(spans):
    """What is to be the same: names, kinds, place in the tree, attributes, status; one line a span, sorted."""
    by_id = {s.span_id: s for s in spans}
    out = []
    for s in spans:
        parent = by_id.get(s.parent_span_id)
        where = parent.name if parent else s.parent_span_id.hex()
        a = attributes(s.attributes)
        for key in PORTS:
            if key in a:
                a[key] = "port"
        if s.name == "etcdserverpb.Watch/Watch":  # cancelled: when the server hears of it is a race
            a.pop("rpc.response.status_code", None)
        out.append(f"{s.name} kind={s.kind} trace={s.trace_id.hex()} parent={where} flags={s.flags:x} status={s.status.code} {sorted(a.items())}")
    return sorted(out)


def traced(program, folder, message, *flags):
    port = free_ports(1)[0]
    collector = Collector(port, message)
    member = Member(program, folder, "--enable-distributed-tracing", "--distributed-tracing-address", f"127.0.0.1:{port}", *flags)
    return collector, member


def same_spans(bins, folder, message):
    """The caller's trace is followed: the same spans from both."""
    seen = {}
    for name, program in bins.items():
        collector, member = traced(program, folder, message, "--distributed-tracing-service-name", "svc", "--distributed-tracing-instance-id", "i1")
        try:
            calls(member.channel, message, [("traceparent", f"00-{TRACE}-{PARENT}-01")])
            seen_at, count = time.time(), -1
            while time.time() - seen_at < 12:  # batches leave every 5 seconds
                if len(collector.all()) != count:
                    count, seen_at = len(collector.all()), time.time()
                time.sleep(0.2)
        finally:
            member.stop()
            collector.stop()
        seen[name] = shape(collector.all())
        assert all(r == {"service.name": "svc", "service.instance.id": "i1"} for r in collector.resources), collector.resources
    assert len(seen["etcd"]) > 30, seen["etcd"]
    missing = [s for s in seen["etcd"] if s not in seen["fairlead"]]
    extra = [s for s in seen["fairlead"] if s not in seen["etcd"]]
    assert seen["etcd"] == seen["fairlead"], "only etcd:\n  " + "\n  ".join(missing) + "\nonly fairlead:\n  " + "\n  ".join(extra)


def sampling(bins, folder, message):
    """Without a caller's trace: none at rate 0, all at a million, a part between; a caller who does not sample is obeyed."""
    for name, program in bins.items():
        for rate, low, high in (("0", 0, 0), ("1000000", 400, 400), ("500000", 80, 320)):
            collector, member = traced(program, folder, message, "--distributed-tracing-sampling-rate", rate)
            try:
                get = member.channel.unary_unary("/etcdserverpb.KV/Range", request_serializer=lambda r: r.SerializeToString(),
                                                 response_deserializer=lambda b: b)
                request = message("etcdserverpb.RangeRequest")(key=b"k", serializable=True)
                for _ in range(200):
                    get(request, timeout=WAIT)
                get(request, timeout=WAIT, metadata=[("traceparent", f"00-{TRACE}-{PARENT}-00")])
            finally:
                member.stop()  # what waits is sent at the end
                time.sleep(0.5)
                collector.stop()
            spans = collector.all()
            ours = [s for s in spans if s.trace_id.hex() != TRACE and s.name in ("range", "etcdserverpb.KV/Range")]
            assert low <= len(ours) <= high, f"{name}: {len(ours)} spans at rate {rate}"
            assert not [s for s in spans if s.trace_id.hex() == TRACE], f"{name}: an unsampled trace was sent"


def collector_away(bins, folder, message):
    """Ours: a collector that is not there costs nothing but spans; its return is noticed."""
    port = free_ports(1)[0]
    member = Member(bins["fairlead"], folder, "--enable-distributed-tracing", "--distributed-tracing-address", f"127.0.0.1:{port}",
                    "--distributed-tracing-sampling-rate", "1000000")
    collector = None
    try:
        put = member.channel.unary_unary("/etcdserverpb.KV/Put", request_serializer=lambda r: r.SerializeToString(), response_deserializer=lambda b: b)
        for i in range(100):
            put(message("etcdserverpb.PutRequest")(key=b"k%d" % i, value=b"v"), timeout=WAIT)
        wait_for(lambda: "cannot hand traces to the collector" in open(member.log_path).read(), WAIT, "line in the log")
        collector = Collector(port, message)
        wait_for(lambda: len([s for s in collector.all() if s.name == "put"]) == 100, WAIT, "spans")
    finally:
        member.stop()
        if collector:
            collector.stop()


def refused_rates(bins, folder, _):
    """A rate that is none stops the start, where tracing is on."""
    for program in bins.values():
        for rate in ("-1", "1000001"):
            run = subprocess.run([program, "--data-dir", f"{folder}/refused", "--enable-distributed-tracing", "--distributed-tracing-sampling-rate", rate],
                                 capture_output=True, text=True, timeout=WAIT, check=False)
            assert run.returncode != 0 and "tracing sampling rate must be" in run.stdout + run.stderr, (program, rate, run.stderr[-300:])


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    bins = {name: f"{os.environ[folder]}/{name}" for name, folder in (("etcd", "ETCD_BIN"), ("fairlead", "FAIRLEAD_BIN"))}
    tests = {"the same spans": same_spans, "sampling": sampling, "a collector that is away": collector_away, "rates that are none": refused_rates}
    with tempfile.TemporaryDirectory(prefix="fairlead-tracing.") as folder:
        message = messages(folder)
        run_tests({name: functools.partial(test, bins, folder, message) for name, test in tests.items()})


if __name__ == "__main__":
    main()
