#!/usr/bin/env python3
"""proxy_test.py: `grpc-proxy start`, the reference etcd's and ours, before one and the same three members (ours).

ETCD_BIN has etcd and etcdctl, FAIRLEAD_BIN has fairlead. With a name as argument, only tests that have it in theirs. One line a case; the
last line is "N passed, N failed".
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "e2e/interop"))
from pair import etcd_binary, fairlead_binary, free_port, run_tests, tests_of, wait_for  # noqa: E402

WAIT = 60
WORK = tempfile.mkdtemp(prefix="fairlead-proxy.")
CTL = etcd_binary("etcdctl")
KINDS = {"etcd": etcd_binary(), "fairlead": fairlead_binary()}
ENV = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}


def ctl(endpoint, *args, stdin=None, check=True):
    done = subprocess.run([CTL, "--endpoints", endpoint, "--command-timeout=30s", *args], input=stdin, capture_output=True,
                          text=True, timeout=2 * WAIT, check=False, env=ENV)
    assert not check or done.returncode == 0, f"etcdctl {args}: {done.stdout}{done.stderr}"
    return done


def get(url, method="GET"):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=WAIT) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metric(url, name, path="/proxy/metrics"):
    found = re.search(rf"^{name} (\S+)$", get(url + path)[1], re.M)
    assert found, name
    return float(found[1])


class Process:
    def __init__(self, label, command):
        self.log_path = f"{WORK}/{label}-{time.monotonic_ns()}.log"
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=ENV)

    def log(self):
        return pathlib.Path(self.log_path).read_text()

    def alive(self):
        assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.log()[-2000:]}"
        return True

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
        try:
            return self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Member(Process):
    def __init__(self, name, ports, cluster, *flags, kind="fairlead"):
        self.name, self.address = name, f"127.0.0.1:{ports[0]}"
        self.url, peer = "http://" + self.address, f"http://127.0.0.1:{ports[1]}"
        urls = [f for f in flags if f.startswith("https://")]
        flags = [f for f in flags if not f.startswith("https://")]
        super().__init__(name, [
            KINDS[kind], "--name", name, "--data-dir", f"{WORK}/{name}.data", "--listen-client-urls", ",".join([self.url, *urls]),
            "--advertise-client-urls", self.url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", cluster, *flags])


class Cluster:
    def __init__(self, label, count, *flags, kind="fairlead"):
        self.ports = [(free_port(), free_port()) for _ in range(count)]
        self.cluster = ",".join(f"{label}{i}=http://127.0.0.1:{p[1]}" for i, p in enumerate(self.ports))
        self.label, self.flags, self.kind = label, flags, kind
        self.members = [self.start(i) for i in range(count)]
        self.endpoints = ",".join(m.address for m in self.members)
        wait_for(lambda: ctl(self.endpoints, "endpoint", "health", check=False).returncode == 0, WAIT, "the cluster")

    def start(self, i):
        return Member(f"{self.label}{i}", self.ports[i], self.cluster, *self.flags, kind=self.kind)

    def restart(self, i):
        self.members[i] = self.start(i)
        wait_for(lambda: ctl(self.members[i].address, "endpoint", "health", check=False).returncode == 0, WAIT, "the member")

    def watchers(self):
        return sum(metric(m.url, "etcd_debugging_mvcc_watcher_total", "/metrics") for m in self.members)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for m in self.members:
            m.stop(signal.SIGKILL)


class Proxy(Process):
    def __init__(self, kind, endpoints, *flags, scheme="http"):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"{scheme}://{self.address}"
        if not any(f.startswith("--advertise-client-url") for f in flags):
            flags = (*flags, "--advertise-client-url", self.address)
        super().__init__("proxy-" + kind, [KINDS[kind], "grpc-proxy", "start", "--listen-addr", self.address, "--endpoints", endpoints, *flags])
        wait_for(lambda: self.alive() and "started gRPC proxy" in self.log(), WAIT, "the proxy")


def refused(kind, text, *flags):
    done = subprocess.run([KINDS[kind], "grpc-proxy", "start", "--listen-addr", f"127.0.0.1:{free_port()}", *flags], capture_output=True,
                          text=True, timeout=WAIT, check=False, env=ENV)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and text.lower() in said.lower(), f"{kind} {flags}: {done.returncode} {said[-500:]}, expected: {text}"


class Watch(Process):
    def __init__(self, endpoint, *args):
        super().__init__("watch", [CTL, "--endpoints", endpoint, "watch", *args])

    def lines(self):
        return self.log().splitlines()


MAIN = None  # the cluster that most tests share


# ---- commands, one by one, through both

COMMANDS = [
    ("put", "P/a", "1"), ("put", "P/b", "2"), ("put", "P/b", "3", "--prev-kv"), ("get", "P/a"), ("get", "P/", "--prefix"),
    ("get", "P/", "--prefix", "--keys-only"), ("get", "P/", "--prefix", "--count-only", "-w=fields"), ("get", "P/", "P/b"),
    ("get", "P/", "--prefix", "--sort-by=KEY", "--order=DESCEND", "--limit=1"), ("get", "P/none"),
    ("put", "P/a", "new"), ("get", "P/a"), ("get", ""), ("put", "", "x"),
    ("get", "P/a", "--rev=1000000"), ("del", "P/b", "--prev-kv"), ("del", "P/none"), ("get", "P/", "--prefix"),
    ("put", "P/l", "x", "--lease=1"), ("lease", "timetolive", "1"), ("lease", "revoke", "1"), ("lease", "keep-alive", "1", "--once"),
    ("alarm", "list"), ("user", "add", "P-user:pw"), ("user", "add", "P-user:pw"), ("user", "get", "P-user"), ("role", "add", "P-role"),
    ("role", "grant-permission", "P-role", "readwrite", "P/", "--prefix"), ("role", "get", "P-role"), ("user", "grant-role", "P-user", "P-role"),
    ("user", "get", "P-user", "--detail"), ("user", "revoke-role", "P-user", "P-role"), ("role", "revoke-permission", "P-role", "P/", "--prefix"),
    ("role", "delete", "P-role"), ("user", "delete", "P-user"), ("user", "delete", "P-user"), ("auth", "status", "-w=fields"), ("defrag",),
    ("lock", "P-lock", "echo", "locked"), ("endpoint", "health"), ("del", "P/", "--prefix"), ("member", "remove", "1"),
]
VARYING = re.compile(r"(took|Took|in) (= )?[0-9.]+\S*|\[[0-9a-f]{16}\]|127\.0\.0\.1:\d+|\"(ClusterID|MemberID|Revision|RaftTerm|AuthRevision)\" : \d+"
                     r"|\"(ts|caller|logger|target|attempt)\":[^,}]*|[0-9]+ key|logger.go:[0-9]+"
                     r"|code = [A-Za-z]+")  # etcd's proxy says Unknown for KV's errors; ours passes the member's code on


def test_commands():
    said = {}
    for kind in KINDS:
        with Proxy(kind, MAIN.endpoints) as proxy:
            said[kind] = []
            for command in COMMANDS:
                done = ctl(proxy.address, *(f"by-{kind}" + word[1:] if word.startswith("P") else word for word in command), check=False)
                text = re.sub(VARYING, "~", done.stdout + done.stderr).replace(f"by-{kind}", "P")
                said[kind].append((command, done.returncode, text))
    for theirs, ours in zip(said["etcd"], said["fairlead"]):
        assert theirs == ours, f"{theirs}\n{ours}"


def test_transactions_and_leases():
    for kind in KINDS:
        with Proxy(kind, MAIN.endpoints) as proxy:
            ctl(proxy.address, "put", f"{kind}/t", "1")
            txn = ctl(proxy.address, "txn", stdin=f'value("{kind}/t") = "1"\n\nput {kind}/t 2\nget {kind}/t\n\nget {kind}/none\n\n').stdout
            assert txn.split() == ["SUCCESS", "OK", f"{kind}/t", "2"], txn
            lease = ctl(proxy.address, "lease", "grant", "600").stdout.split()[1]
            ctl(proxy.address, "put", f"{kind}/leased", "1", "--lease", lease)
            assert f"attached keys([{kind}/leased])" in ctl(proxy.address, "lease", "timetolive", lease, "--keys").stdout
            assert lease in ctl(proxy.address, "lease", "list").stdout
            assert "TTL(600)" in ctl(proxy.address, "lease", "keep-alive", lease, "--once").stdout
            ctl(proxy.address, "lease", "revoke", lease)
            assert ctl(proxy.address, "get", f"{kind}/leased").stdout == ""
            revision = json.loads(ctl(proxy.address, "get", "x", "-w=json").stdout)["header"]["revision"]
            assert f"compacted revision {revision}" in ctl(proxy.address, "compaction", str(revision)).stdout
            assert "has been compacted" in ctl(proxy.address, "get", "x", f"--rev={revision - 1}", check=False).stderr


def test_snapshot():
    ctl(MAIN.endpoints, "put", "large", stdin="x" * 1_000_000)
    for kind in KINDS:
        with Proxy(kind, MAIN.endpoints) as proxy:
            path = f"{WORK}/{kind}.db"
            ctl(proxy.address, "snapshot", "save", path)
            status = subprocess.run([etcd_binary("etcdutl"), "snapshot", "status", path], capture_output=True, text=True, check=True)
            assert status.stdout, status


def test_lock_and_election():
    with Proxy("fairlead", MAIN.endpoints) as proxy, Process("elect", [CTL, "--endpoints", proxy.address, "elect", "e", "me"]) as leader:
        wait_for(lambda: leader.log().splitlines()[1:2] == ["me"], WAIT, "the leader")
        with Process("observe", [CTL, "--endpoints", proxy.address, "elect", "--listen", "e"]) as observer:
            wait_for(lambda: "me" in observer.log(), WAIT, "the observer")


# ---- watches

def test_watch_coalescing():
    wait_for(lambda: MAIN.watchers() == 0, WAIT, "the end of other tests' watches")
    with Proxy("fairlead", MAIN.endpoints) as proxy:
        watches = [Watch(proxy.address, "coalesced", *flags) for flags in ([], ["--prev-kv"], [], ["--progress-notify"], [], [], [], [])]
        try:
            wait_for(lambda: metric(proxy.url, "fairlead_proxy_watchers") == 8, WAIT, "watchers")
            wait_for(lambda: metric(proxy.url, "fairlead_proxy_watches") == 1, WAIT, "one watch")
            wait_for(lambda: MAIN.watchers() == 1, WAIT, "one watch in the cluster")
            assert metric(proxy.url, "etcd_grpc_proxy_watchers_coalescing_total") == 7
            ctl(MAIN.endpoints, "put", "coalesced", "1")
            ctl(proxy.address, "put", "coalesced", "2")
            for i, w in enumerate(watches):
                want = ["PUT", "coalesced", "1", "PUT", "coalesced", "2"] if i != 1 else \
                    ["PUT", "coalesced", "1", "PUT", "coalesced", "1", "coalesced", "2"]
                wait_for(lambda w=w, want=want: w.lines() == want or len(w.lines()) > len(want), WAIT, f"events {want}, not {w.lines()}")
                assert w.lines() == want, w.lines()
            assert metric(proxy.url, "etcd_grpc_proxy_events_coalescing_total") == 14
        finally:
            for w in watches:
                w.stop()
        wait_for(lambda: MAIN.watchers() == 0, WAIT, "no watch")


def test_watch_history_filters_and_compaction():
    """What a watcher sees is the same through both, from the past too."""
    ctl(MAIN.endpoints, "put", "h", "0")
    first = json.loads(ctl(MAIN.endpoints, "put", "h", "1", "-w=json").stdout)["header"]["revision"]
    ctl(MAIN.endpoints, "put", "h", "2")
    ctl(MAIN.endpoints, "del", "h")
    last = json.loads(ctl(MAIN.endpoints, "put", "h", "3", "-w=json").stdout)["header"]["revision"]
    want = ["PUT", "h", "1", "PUT", "h", "2", "DELETE", "h", "", "PUT", "h", "3"]
    for kind in KINDS:
        with Proxy(kind, MAIN.endpoints) as proxy, Watch(proxy.address, "h", f"--rev={first}") as whole, Watch(
                proxy.address, "h", f"--rev={last}") as end, Watch(proxy.address, "h", f"--rev={first}") as again:
            for w, lines in ((whole, want), (again, want), (end, want[-3:])):
                wait_for(lambda w=w, lines=lines: w.lines() == lines, WAIT, f"{kind}: {lines}, not {w.lines()}")
    ctl(MAIN.endpoints, "compaction", str(last))
    for kind in KINDS:
        with Proxy(kind, MAIN.endpoints) as proxy:
            done = ctl(proxy.address, "watch", "h", f"--rev={first}", check=False)
            assert "required revision has been compacted" in done.stderr, f"{kind}: {done}"


def test_member_killed():
    """Watchers go on where they were, and so do commands."""
    with Proxy("fairlead", MAIN.endpoints) as proxy, Watch(proxy.address, "k") as one, Watch(proxy.address, "k") as other:
        wait_for(lambda: metric(proxy.url, "fairlead_proxy_watches") == 1, WAIT, "one watch")
        wait_for(lambda: metric(proxy.url, "fairlead_proxy_watchers") == 2, WAIT, "two watchers")
        want = []
        for i in range(3):
            MAIN.members[i].stop(signal.SIGKILL)
            others = ",".join(m.address for j, m in enumerate(MAIN.members) if j != i)
            wait_for(lambda: ctl(others, "put", "k", str(i), check=False).returncode == 0, WAIT, "a leader")
            wait_for(lambda: ctl(proxy.address, "get", "k", "--print-value-only", check=False).stdout == f"{i}\n", WAIT, "a read")
            want += ["PUT", "k", str(i)]
            for w in (one, other):
                wait_for(lambda w=w: w.lines() == want, WAIT, f"{want}, not {w.lines()}")
            MAIN.restart(i)
        assert metric(proxy.url, "fairlead_proxy_watches_resumed_total") >= 1


# ---- what the proxy itself does

def test_namespace():
    for kind in KINDS:
        space = f"space-{kind}/"
        with Proxy(kind, MAIN.endpoints, "--namespace", space) as proxy, Watch(proxy.address, "", "--prefix") as watch:
            ctl(MAIN.endpoints, "put", "outside", "1")
            wait_for(lambda: ctl(proxy.address, "put", "a", "in") and watch.lines()[:3] == ["PUT", "a", "in"], WAIT, "the event")
            assert ctl(MAIN.endpoints, "get", space + "a", "--print-value-only").stdout == "in\n"
            assert ctl(proxy.address, "get", "", "--prefix").stdout == "a\nin\n"
            assert ctl(proxy.address, "get", "a", "--from-key").stdout == "a\nin\n"
            txn = ctl(proxy.address, "txn", stdin='value("a") = "in"\n\nput b 2\nget a\n\nget none\n\n').stdout
            assert txn.split() == ["SUCCESS", "OK", "a", "in"], txn
            assert ctl(MAIN.endpoints, "get", space + "b", "--print-value-only").stdout == "2\n"
            lease = ctl(proxy.address, "lease", "grant", "600").stdout.split()[1]
            ctl(proxy.address, "put", "leased", "1", "--lease", lease)
            ctl(MAIN.endpoints, "put", "outside", "2", "--lease", lease)
            assert "attached keys([leased])" in ctl(proxy.address, "lease", "timetolive", lease, "--keys").stdout
            assert ctl(proxy.address, "put", "b", "3", "--prev-kv").stdout == "OK\nb\n2\n"
            assert ctl(proxy.address, "del", "a", "--from-key").stdout == "3\n"
            assert ctl(MAIN.endpoints, "get", "outside", "--print-value-only").stdout == "2\n"
            assert "outside" not in watch.log()


def test_cache():
    with Proxy("fairlead", MAIN.endpoints) as proxy:
        def read(*more):
            return ctl(proxy.address, "get", "cached", "--print-value-only", *more).stdout.strip()
        ctl(proxy.address, "put", "cached", "1")
        wait_for(lambda: read("--consistency=s") == "1", WAIT, "a member that has it")
        assert metric(proxy.url, "etcd_grpc_proxy_cache_misses_total") >= 1
        hits = metric(proxy.url, "etcd_grpc_proxy_cache_hits_total")
        assert read("--consistency=s") == "1" and metric(proxy.url, "etcd_grpc_proxy_cache_hits_total") == hits + 1
        assert metric(proxy.url, "etcd_grpc_proxy_cache_keys_total") == 1
        ctl(MAIN.endpoints, "put", "cached", "2")  # not through the proxy: it does not know
        assert read("--consistency=s") == "1" and read() == "2" and read("--consistency=s") == "2"
        ctl(proxy.address, "put", "cached", "3")
        wait_for(lambda: read("--consistency=s") == "3", WAIT, "the new value")
        ctl(proxy.address, "del", "cach", "cachee")
        wait_for(lambda: read("--consistency=s") == "", WAIT, "the end of the key")


def test_ordering():
    """An endpoint that is behind, here one of another cluster, is not believed."""
    with Cluster("behind", 1, kind="etcd") as behind:
        ctl(MAIN.endpoints, "put", "ordered", "new")
        ctl(behind.endpoints, "put", "ordered", "old")
        both = f"{MAIN.members[0].address},{behind.endpoints}"

        def read(proxy):
            return {ctl(proxy.address, "get", "ordered", "--print-value-only", "--consistency=s").stdout.strip() for _ in range(8)}
        with Proxy("fairlead", both, "--experimental-serializable-ordering") as proxy:
            wait_for(lambda: read(proxy) == {"new"}, WAIT, "the newer cluster")
            assert read(proxy) == {"new"}
        with Proxy("fairlead", behind.endpoints, "--experimental-serializable-ordering") as proxy:
            assert read(proxy) == {"old"}


def test_member_list():
    for kind in KINDS:
        with Proxy(kind, MAIN.endpoints, "--advertise-client-url", "proxy.example.com:1") as proxy:
            members = json.loads(ctl(proxy.address, "member", "list", "-w=json").stdout)["members"]
            assert members == [{"name": socket.gethostname(), "clientURLs": ["proxy.example.com:1"]}], members
        with Proxy(kind, MAIN.endpoints, "--advertise-client-url=") as proxy:
            names = sorted(m["name"] for m in json.loads(ctl(proxy.address, "member", "list", "-w=json").stdout)["members"])
            assert names == ["m0", "m1", "m2"], names


def test_resolver():
    """Proxies of both kinds see one another, and one that dies is gone when its lease is."""
    flags = ("--resolver-prefix", "___proxies", "--resolver-ttl", "2")
    with Proxy("etcd", MAIN.endpoints, *flags) as theirs, Proxy("fairlead", MAIN.endpoints, *flags) as ours:
        def listed(proxy):
            members = json.loads(ctl(proxy.address, "member", "list", "-w=json").stdout)["members"]
            assert {m["name"] for m in members} == {socket.gethostname()}, members
            return sorted(m["clientURLs"][0] for m in members)
        both = sorted([theirs.address, ours.address])
        wait_for(lambda: listed(ours) == both and listed(theirs) == both, WAIT, "both proxies")
        values = [json.loads(line) for line in ctl(MAIN.endpoints, "get", "___proxies", "--prefix", "--print-value-only").stdout.splitlines()]
        assert sorted(values[0]) == sorted(values[1]) and values[0]["Metadata"] == values[1]["Metadata"], values
        time.sleep(5)  # longer than the lease: it is kept alive
        assert listed(ours) == both
        theirs.stop(signal.SIGKILL)
        wait_for(lambda: listed(ours) == [ours.address], WAIT, "one proxy")
    wait_for(lambda: ctl(MAIN.endpoints, "get", "___proxies", "--prefix").stdout == "", WAIT, "no proxy")
    for kind in KINDS:
        refused(kind, "invalid resolver-ttl 0", "--resolver-prefix=x")
        refused(kind, 'invalid resolver-prefix ""', "--resolver-ttl=5")
        refused(kind, 'invalid advertise-client-url ""', "--resolver-prefix=x", "--resolver-ttl=5", "--advertise-client-url=")


def test_endpoints_auto_sync():
    with Proxy("fairlead", MAIN.members[0].address, "--endpoints-auto-sync-interval=500ms") as proxy:
        ctl(proxy.address, "put", "sync", "1")
        MAIN.members[1].alive()
        time.sleep(3)
        MAIN.members[0].stop(signal.SIGKILL)
        try:
            wait_for(lambda: ctl(proxy.address, "put", "sync", "2", check=False).returncode == 0, WAIT, "another endpoint")
        finally:
            MAIN.restart(0)


# ---- pages, limits, connections

def test_pages():
    port = free_port()
    for kind in KINDS:
        with Proxy(kind, MAIN.endpoints, f"--metrics-addr=http://127.0.0.1:{port}") as proxy:
            for url in (proxy.url, f"http://127.0.0.1:{port}"):
                assert get(url + "/health") == (200, '{"health":"true","reason":""}'), (kind, get(url + "/health"))
                assert get(url + "/proxy/health") == (200, '{"health":"true","reason":""}'), (kind, get(url + "/proxy/health"))
                assert get(url + "/health", "POST")[0] == 405
                assert "etcd_server_has_leader 1" in get(url + "/metrics")[1]
                page = get(url + "/proxy/metrics")[1]
                for name in ("watchers_coalescing_total gauge", "events_coalescing_total counter", "cache_keys_total gauge", "cache_hits_total gauge",
                             "cache_misses_total gauge"):
                    assert f"# TYPE etcd_grpc_proxy_{name}" in page, (kind, name)
                assert get(url + "/nothing")[0] == 404
        with Proxy(kind, "127.0.0.1:1") as proxy:
            code, body = get(proxy.url + "/health")
            assert code == 503 and json.loads(body)["health"] == "false" and "GET ERROR" in body, (kind, code, body)
            assert get(proxy.url + "/metrics")[0] == 500


def test_message_limits():
    with Proxy("fairlead", MAIN.endpoints, "--max-send-bytes=1000", "--max-recv-bytes=2000") as proxy:
        ctl(proxy.address, "put", "limited", "x" * 900)
        assert "trying to send message larger than max" in ctl(proxy.address, "put", "limited", "x" * 1100, check=False).stderr
        ctl(MAIN.endpoints, "put", "limited", "x" * 2100)
        assert "larger than the limit" in ctl(proxy.address, "get", "limited", check=False).stderr


def h2raw(proxy, *args):
    return subprocess.run([sys.executable, "-B", str(ROOT / "e2e/interop/h2raw.py"), args[0], str(proxy.port), *args[1:]], capture_output=True,
                          text=True, timeout=2 * WAIT, check=False).stdout.strip()


def test_max_concurrent_streams():
    with Proxy("fairlead", MAIN.endpoints, "--max-concurrent-streams=7") as proxy:
        assert "3 7" in h2raw(proxy, "settings").splitlines(), h2raw(proxy, "settings")


def test_too_many_pings():
    with Proxy("fairlead", MAIN.endpoints, "--grpc-keepalive-min-time=10s") as strict, Proxy(
            "fairlead", MAIN.endpoints, "--grpc-keepalive-min-time=1ms") as lenient:
        assert h2raw(strict, "ping", "20", "8") == "too_many_pings"
        assert h2raw(lenient, "ping", "20", "8") == "fine"


def test_keepalive_to_clients():
    with Proxy("fairlead", MAIN.endpoints, "--grpc-keepalive-interval=1s", "--grpc-keepalive-timeout=1s") as proxy:
        first, end = (float(x) for x in h2raw(proxy, "silent").split()[-2:])
        assert first >= 0.5 and end >= first + 0.5, (first, end)


def test_dial_keepalive():
    with Cluster("stands", 1) as stands:
        flags = ("--dial-keepalive-time=1s", "--dial-keepalive-timeout=1s")
        with Proxy("fairlead", stands.endpoints, *flags, "--permit-without-stream") as pings, Proxy(
                "fairlead", stands.endpoints, *flags) as quiet:
            ctl(pings.address, "put", "a", "1")
            ctl(quiet.address, "put", "a", "1")
            stands.members[0].process.send_signal(signal.SIGSTOP)
            wait_for(lambda: "no answer to a keepalive ping" in pings.log(), WAIT, "the end of the connection")
            assert "keepalive" not in quiet.log(), "it has no call open"
            stands.members[0].process.send_signal(signal.SIGCONT)
            wait_for(lambda: ctl(pings.address, "put", "a", "2", check=False).returncode == 0, WAIT, "the endpoint again")


def test_logging():
    with Proxy("fairlead", MAIN.endpoints, "--experimental-enable-grpc-logging") as proxy:
        ctl(proxy.address, "put", "logged", "secret-value")
        wait_for(lambda: '"grpc.method":"Put"' in proxy.log(), WAIT, "the line")
        assert "secret-value" not in proxy.log()
    with Proxy("fairlead", MAIN.endpoints) as proxy:
        ctl(proxy.address, "put", "logged", "1")
        assert '"grpc.method"' not in proxy.log()
    with Proxy("fairlead", MAIN.endpoints, "--debug") as proxy:
        assert '"level":"debug"' in proxy.log()


def test_what_is_not_there():
    refused("fairlead", "--experimental-leasing-prefix: leasing is not here yet", "--experimental-leasing-prefix=x")
    refused("fairlead", "--enable-pprof: the proxy has no profiling pages yet", "--enable-pprof")


def test_mistakes():
    for kind in KINDS:
        refused(kind, "unknown flag: --name-space", "--name-space=x")
        refused(kind, "flag needs an argument: --namespace", "--namespace")
        refused(kind, 'invalid argument "x" for "--resolver-ttl" flag', "--resolver-ttl=x")
        refused(kind, "address already in use", "--listen-addr", MAIN.members[0].address)
    flags = {}
    for kind, program in KINDS.items():
        said = subprocess.run([program, "grpc-proxy", "start", "--help"], capture_output=True, text=True, check=True).stdout
        flags[kind] = set(re.findall(r"^ +(?:-h, )?--([a-z-]+)", said, re.M))
    assert flags["etcd"] == flags["fairlead"], flags["etcd"] ^ flags["fairlead"]


def test_systemd():
    for kind in KINDS:
        path = f"{WORK}/notify-{kind}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            s.settimeout(WAIT)
            ENV["NOTIFY_SOCKET"] = path
            try:
                with Proxy(kind, MAIN.endpoints):
                    assert s.recv(100) == b"READY=1"
            finally:
                del ENV["NOTIFY_SOCKET"]


# ---- users

def test_users():
    """Tokens go through; what one user has read is not shown to another."""
    with Cluster("auth", 1) as cluster, Proxy("fairlead", cluster.endpoints) as proxy:
        def as_user(user, *args, check=True):
            return ctl(proxy.address, "--user", user, *args, check=check)
        for args in (("user", "add", "root:pw"), ("role", "add", "root"), ("user", "grant-role", "root", "root"), ("user", "add", "u:pw"),
                     ("role", "add", "r"), ("role", "grant-permission", "r", "readwrite", "mine"), ("user", "grant-role", "u", "r")):
            ctl(proxy.address, *args)
        ctl(proxy.address, "put", "secret", "1")
        ctl(proxy.address, "get", "secret", "--consistency=s")  # kept
        ctl(proxy.address, "auth", "enable")
        assert "user name is empty" in ctl(proxy.address, "get", "secret", "--consistency=s", check=False).stderr
        as_user("root:pw", "get", "secret", "--consistency=s")
        assert "permission denied" in as_user("u:pw", "get", "secret", "--consistency=s", check=False).stderr
        as_user("u:pw", "put", "mine", "2")
        assert as_user("u:pw", "get", "mine", "--print-value-only").stdout == "2\n"
        with Process("watch", [CTL, "--endpoints", proxy.address, "--user", "u:pw", "watch", "secret"]) as watch:
            wait_for(lambda: "permission denied" in watch.log(), WAIT, "the refusal")
        with Process("watch", [CTL, "--endpoints", proxy.address, "--user", "u:pw", "watch", "mine"]) as watch:
            wait_for(lambda: as_user("u:pw", "put", "mine", "3") and "mine" in watch.log(), WAIT, "the event")


# ---- TLS

def sh(script):
    subprocess.run(["bash", "-ec", f'pki={WORK}/pki; mkdir -p "$pki"; . "{ROOT}/e2e/interop/pki.sh"\n{script}'], check=True, timeout=2 * WAIT)


def pki(name):
    return f"{WORK}/pki/{name}"


def make_pki():
    if not os.path.exists(pki("ca.crt")):
        sh("make_ca ca; make_ca other; make_cert server ca server IP:127.0.0.1; make_cert client ca client ''; make_cert gone ca gone ''; "
           "revoke gone ca; make_crl ca \"$pki/crl\"")
        # etcd wants a proxy's certificate without a name
        sh("openssl req -new -key \"$pki/client.key\" -subj / -out \"$pki/nameless.csr\" 2>/dev/null; "
           "printf 'extendedKeyUsage=clientAuth\\nsubjectAltName=DNS:proxy\\n' >\"$pki/nameless.ext\"; openssl x509 -req -in \"$pki/nameless.csr\" "
           "-CA \"$pki/ca.crt\" -CAkey \"$pki/ca.key\" -set_serial 77 -days 2 -extfile \"$pki/nameless.ext\" -out \"$pki/nameless.crt\" 2>/dev/null")


def test_tls_to_the_cluster():
    make_pki()
    port = free_port()
    secure = f"https://127.0.0.1:{port}"
    with Cluster("tls", 1, secure, "--cert-file", pki("server.crt"), "--key-file", pki("server.key"), "--trusted-ca-file", pki("ca.crt"),
                 "--client-cert-auth"):
        files = ("--cacert", pki("ca.crt"), "--cert", pki("nameless.crt"), "--key", pki("client.key"))
        for kind in KINDS:
            for endpoint in (secure, f"127.0.0.1:{port}"):
                with Proxy(kind, endpoint, *files) as proxy:
                    ctl(proxy.address, "put", "tls", kind)
                    assert "etcd_server_has_leader 1" in get(proxy.url + "/metrics")[1] or endpoint != secure
            with Proxy(kind, secure, "--cert", pki("nameless.crt"), "--key", pki("client.key"), "--insecure-skip-tls-verify") as proxy:
                ctl(proxy.address, "put", "tls", kind)
        refused("fairlead", "cert has non empty Common Name (client)", "--cacert", pki("ca.crt"), "--cert", pki("client.crt"), "--key", pki("client.key"))
        for wrong in (("--cacert", pki("other.crt"), "--cert", pki("nameless.crt"), "--key", pki("client.key")), ("--cacert", pki("ca.crt"))):
            with Proxy("fairlead", secure, *wrong) as proxy:
                assert get(proxy.url + "/health")[0] == 503


def tls_ctl(proxy, cert, *args, check=True):
    return ctl("https://" + proxy.address, "--cacert", pki("ca.crt"), "--cert", pki(cert + ".crt"), "--key", pki(cert + ".key"), *args, check=check)


def server_files():
    return ("--cert-file", pki("server.crt"), "--key-file", pki("server.key"))


def test_tls_for_clients():
    make_pki()
    for kind in KINDS:
        with Proxy(kind, MAIN.endpoints, *server_files(), "--trusted-ca-file", pki("ca.crt"), scheme="https") as proxy:
            tls_ctl(proxy, "client", "put", "tls", kind)
            assert ctl("https://" + proxy.address, "--cacert", pki("ca.crt"), "--command-timeout=3s", "get", "tls", check=False).returncode != 0
        with Proxy(kind, MAIN.endpoints, *server_files(), scheme="https") as proxy:
            assert ctl("https://" + proxy.address, "--cacert", pki("ca.crt"), "get", "tls", "--print-value-only").stdout == kind + "\n"
            page = subprocess.run(["curl", "-s", "--http1.1", "--cacert", pki("ca.crt"), proxy.url + "/proxy/metrics"], capture_output=True, text=True, check=True)
            assert "etcd_grpc_proxy_cache_keys_total" in page.stdout
    refused("fairlead", "KeyFile and CertFile must both be present", "--cert-file", pki("server.crt"))


def test_revoked_client():
    make_pki()
    with Proxy("fairlead", MAIN.endpoints, *server_files(), "--trusted-ca-file", pki("ca.crt"), "--client-crl-file", pki("crl"), scheme="https") as proxy:
        tls_ctl(proxy, "client", "put", "tls", "x")
        assert tls_ctl(proxy, "gone", "--command-timeout=3s", "get", "tls", check=False).returncode != 0


def test_auto_tls():
    for kind in KINDS:
        data = f"{WORK}/auto-{kind}"
        with Proxy(kind, MAIN.endpoints, "--auto-tls", "--data-dir", data, "--self-signed-cert-validity=3", scheme="https") as proxy:
            ctl("https://" + proxy.address, "--insecure-skip-tls-verify", "--insecure-transport=false", "put", "auto", kind)
        end = subprocess.run(["openssl", "x509", "-in", f"{data}/fixtures/proxy/cert.pem", "-noout", "-checkend", str(2 * 365 * 86400)],
                             capture_output=True, check=False)
        assert end.returncode == 0, "good for three years"
        refused(kind, "selfSignedCertValidity is invalid", "--auto-tls", "--self-signed-cert-validity=0")


def test_tls_versions_and_ciphers():
    make_pki()

    def version(proxy, *args):
        said = subprocess.run(["openssl", "s_client", "-connect", proxy.address, *args], input="", capture_output=True, text=True, timeout=WAIT,
                              check=False).stdout
        found = re.search(r"New, (TLSv1\.[23]), Cipher is (\S+)", said)
        return found.groups() if found else None
    with Proxy("fairlead", MAIN.endpoints, *server_files(), "--tls-min-version=TLS1.3", scheme="https") as proxy:
        assert version(proxy)[0] == "TLSv1.3" and version(proxy, "-tls1_2") is None
    with Proxy("fairlead", MAIN.endpoints, *server_files(), "--tls-max-version=TLS1.2", "--listen-cipher-suites",
               "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", scheme="https") as proxy:
        assert version(proxy) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"), version(proxy)
    for kind in KINDS:
        refused(kind, "tls-min-version is invalid", "--tls-min-version=TLS1.1")
        refused(kind, "is greater than max version", "--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2")


def main():
    global MAIN
    tests = tests_of(globals())
    try:
        with Cluster("m", 3) as MAIN:
            run_tests(tests)
    finally:
        if not os.environ.get("FAIRLEAD_KEEP"):
            shutil.rmtree(WORK, ignore_errors=True)


if __name__ == "__main__":
    main()
