#!/usr/bin/env python3
"""fairleadctl's status, doctor and top against real clusters with real faults: each fault is found under its name, with
what to do, and a healthy cluster has no finding. Also `check`, beside etcdctl's.

ETCD_BIN has etcd and etcdctl, FAIRLEAD_BIN has fairlead and fairleadctl. Needs faketime, openssl. Root, for the slow disk.
"""

import contextlib
import http.client
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from pair import etcd_binary, fairlead_binary, free_port, run_tests, tests_of, wait_for

CTL = os.path.join(os.environ["FAIRLEAD_BIN"], "fairleadctl")
ETCDCTL = etcd_binary("etcdctl")
PKI = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pki.sh")
# What a busy machine may really have is not what these tests are about.
CALM = ["--disk-limit=60s", "--network-limit=60s", "--clock-limit=60s"]
ENV = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
SECONDS = 60


class Cluster:
    """Members of one program; `flags` for all, `env` for one by its number."""

    def __init__(self, work, size=3, binary=None, flags=(), tls=None, env=None, token="doctor"):
        self.work, self.binary, self.flags, self.tls, self.env, self.token = work, binary or fairlead_binary(), flags, tls, env or {}, token
        scheme = "https" if tls else "http"
        self.clients = [f"{scheme}://127.0.0.1:{free_port()}" for _ in range(size)]
        self.peers = [f"http://127.0.0.1:{free_port()}" for _ in range(size)]
        self.processes = [None] * size
        for i in range(size):
            self.start(i)
        self.wait_until_healthy()

    def initial(self):
        return ",".join(f"m{i}={p}" for i, p in enumerate(self.peers))

    def start(self, i, state="new"):
        tls = ["--cert-file", f"{self.tls}/m{i}.crt", "--key-file", f"{self.tls}/m{i}.key"] if self.tls else []
        log = open(f"{self.work}/m{i}.log", "a")
        self.processes[i] = subprocess.Popen(
            [self.binary, "--name", f"m{i}", "--data-dir", f"{self.work}/m{i}", "--listen-client-urls", self.clients[i],
             "--advertise-client-urls", self.clients[i], "--listen-peer-urls", self.peers[i], "--initial-advertise-peer-urls",
             self.peers[i], "--initial-cluster", self.initial(), "--initial-cluster-token", self.token,
             "--initial-cluster-state", state, *tls, *self.flags],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**ENV, **self.env.get(i, {})})
        log.close()

    def add(self, learner=False):
        """A member more, not started yet: its number."""
        self.clients.append(f"http://127.0.0.1:{free_port()}")
        self.peers.append(f"http://127.0.0.1:{free_port()}")
        self.processes.append(None)
        i = len(self.peers) - 1
        # A new leader judges the health of connections for its first seconds.
        wait_for(lambda: self.run(["member", "add", f"m{i}", f"--peer-urls={self.peers[i]}"] + (["--learner"] if learner else [])).returncode == 0,
                 SECONDS, "member add")
        return i

    def endpoints(self, *numbers):
        return ",".join(self.clients[i] for i in (numbers or range(len(self.clients))))

    def ca(self):
        return ["--cacert", f"{self.tls}/ca.crt"] if self.tls else []

    def run(self, words, endpoints=None, tool=CTL, seconds=SECONDS):
        # Most calls answer at once; on a busy machine they need not.
        return subprocess.run([tool, "--endpoints", endpoints or self.endpoints(), "--dial-timeout=20s", "--command-timeout=30s", *self.ca(), *words],
                              capture_output=True, text=True, timeout=2 * seconds, env=ENV)

    def wait_until_healthy(self):
        for i in range(len(self.clients)):
            wait_for(lambda i=i: self.run(["endpoint", "health"], self.clients[i], ETCDCTL).returncode == 0, 2 * SECONDS, f"m{i}'s health")

    def status(self, *words, endpoints=None):
        return self.judged("status", *words, endpoints=endpoints)

    def doctor(self, *words, endpoints=None):
        return self.judged("doctor", "--sample=0s", *words, endpoints=endpoints)

    def judged(self, verb, *words, endpoints=None):
        """(exit code, findings that are not well as "level check member", the whole)."""
        done = self.run([verb, "-w", "json", *(CALM if not set(CALM) & set(words) else []), *words], endpoints)
        assert done.stdout, (done.returncode, done.stderr)
        out = json.loads(done.stdout)
        for f in out["findings"]:
            assert f["text"] and (f["level"] == "ok") == ("advice" not in f), f
        return done.returncode, sorted({" ".join([f["level"], f["check"], f.get("member", "")]).strip()
                                        for f in out["findings"] if f["level"] != "ok"}), out

    def expect(self, wanted, *words, verbs=("status", "doctor"), endpoints=None):
        """Both verbs find these and no other, exit code included."""
        for verb in verbs:
            words_ = ["--sample=0s", *words] if verb == "doctor" else list(words)
            code, found, out = self.judged(verb, *words_, endpoints=endpoints)
            assert found == sorted(wanted), f"{verb}: {json.dumps(out['findings'], indent=1)}\n wanted {sorted(wanted)}"
            assert code == (1 if any(w.startswith("fail") for w in wanted) else 0), (verb, code)

    def ids(self):
        members = json.loads(self.run(["member", "list", "-w", "json"]).stdout)["members"]
        return {m.get("name", ""): m["ID"] for m in members}

    def leader(self):
        return json.loads(self.run(["status", "-w", "json"]).stdout)["leader"]

    def stop(self):
        for p in self.processes:
            if p and p.poll() is None:
                p.send_signal(signal.SIGCONT)
                p.kill()
        for p in self.processes:
            if p:
                p.wait()


@contextlib.contextmanager
def cluster(size=3, **settings):
    work = tempfile.mkdtemp(prefix="doctor-")
    c = None
    try:
        c = Cluster.__new__(Cluster)
        c.processes = []
        c.__init__(work, size, **settings)
        yield c
    finally:
        c.stop()
        shutil.rmtree(work, ignore_errors=True)


def put(c, key, value, member=0):
    return c.run(["put", key, value], c.clients[member])


def pour(url, count, body, path="/v3/kv/put"):
    """So many requests by the JSON gateway, on one connection."""
    host = url.split("//")[1]
    connection = http.client.HTTPConnection(host, timeout=60)
    for i in range(count):
        connection.request("POST", path, body(i))
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
    connection.close()


def b64(text):
    import base64
    return base64.b64encode(text.encode()).decode()


# ---- status and doctor

def test_a_healthy_cluster_has_no_finding():
    with cluster() as c:
        for i in range(20):
            put(c, f"k{i}", "v", i % 3)
        code, found, out = c.status()
        assert (code, found, out["fine"]) == (0, [], True), out
        assert [m["answers"] for m in out["members"]] == [True] * 3 and out["leader"] in ("m0", "m1", "m2")
        assert sorted(m["role"] for m in out["members"]) == ["follower", "follower", "leader"]
        for m in out["members"]:
            assert m["version"] == "3.7.1" and m["dbSizeQuota"] > 0 and m["healthy"], m
            assert abs(m["clockAheadSeconds"]) < 60
        code, found, out = c.doctor("--strict")
        assert (code, found) == (0, []), out
        looked_at = {f["check"] for f in out["findings"]}
        assert {"members", "quorum", "leader", "quota", "clock", "size", "version", "compaction", "network", "disk"} <= looked_at
        # One endpoint is enough to find all members.
        assert len(c.status(endpoints=c.clients[1])[2]["members"]) == 3
        screen = c.run(["status", *CALM])
        assert screen.returncode == 0 and screen.stdout.startswith("The cluster is fine.\n"), screen.stdout
        for word in ("MEMBER", "leader", "follower", "m0", "m1", "m2", "3.7.1"):
            assert word in screen.stdout, screen.stdout
        screen = c.run(["doctor", "--sample=0s", *CALM])
        assert screen.stdout.startswith("0 failing, 0 to see to, "), screen.stdout
        assert c.run(["status", "-w", "fields"]).returncode == 4


def test_members_that_do_not_answer():
    with cluster() as c:
        c.processes[2].kill()
        c.processes[2].wait()
        wait_for(lambda: c.leader() in ("m0", "m1"), SECONDS, "a leader")
        c.expect(["fail members m2", "warn quorum"])
        done = c.run(["status", *CALM])
        assert done.returncode == 1 and done.stdout.startswith("The cluster is NOT fine.\n"), done.stdout
        assert "m2: does not answer at " + c.clients[2] + ": connection refused" in done.stdout and "-> see whether" in done.stdout
        # Found without being named.
        code, found, _ = c.status(endpoints=c.clients[0])
        assert (code, found) == (1, ["fail members m2", "warn quorum"])
        c.start(2)
        c.wait_until_healthy()
        c.expect([])
        follower = next(i for i in range(3) if f"m{i}" != c.leader())
        c.processes[follower].send_signal(signal.SIGSTOP)
        code, found, out = c.status()
        assert (code, found) == (1, [f"fail members m{follower}", "warn quorum"]), out
        assert "does not answer at " in json.dumps(out), out  # in time, or no more: a busy machine breaks the connection first
        c.processes[follower].send_signal(signal.SIGCONT)


def test_a_lost_quorum():
    with cluster() as c:
        for i in (1, 2):
            c.processes[i].kill()
            c.processes[i].wait()
        wait_for(lambda: "fail leader m0" in c.status("--command-timeout=2s")[1], SECONDS, "m0 to miss its leader")
        code, found, out = c.status("--command-timeout=2s")
        assert code == 1 and {"fail members m1", "fail members m2", "fail quorum", "fail leader m0", "fail reads m0"} <= set(found), out
        assert not out["fine"] and len(out["members"]) == 3, "the list is known to the one that is left"
        c.processes[0].kill()
        c.processes[0].wait()
        code, found, out = c.status("--command-timeout=2s")
        assert code == 1 and f"fail members {c.clients[0]}" in found and "fail members" in found, out


def test_a_full_store():
    with cluster(flags=["--quota-backend-bytes=2000000", "--fairlead-auto-disarm-delay=0s"]) as c:
        big = "x" * 100_000
        wait_for(lambda: "database space exceeded" in put(c, "filler", big).stderr, SECONDS, "the quota")
        code, found, out = c.status()
        assert code == 1 and any(f.startswith("fail alarms m") for f in found) and any(f.startswith("fail quota m") for f in found), out
        assert set(f.split()[1] for f in found) == {"alarms", "quota"}
        assert "NOSPACE" in c.run(["doctor", "--sample=0s", *CALM]).stdout
        got = c.run(["get", "filler", "-w", "json"])
        assert got.returncode == 0, got.stderr
        revision = json.loads(got.stdout)["header"]["revision"]
        gone = c.run(["del", "filler"])
        assert gone.returncode == 0, (gone, open(c.work + "/m0.log").read()[-1500:])
        assert c.run(["compaction", str(revision + 1), "--physical"]).returncode == 0
        c.run(["defrag"])
        seen = None

        def room():
            nonlocal seen
            c.run(["alarm", "disarm"])
            seen = c.status()
            return seen[1] == []
        try:
            wait_for(room, SECONDS, "room")
        except AssertionError:
            raise AssertionError(f"no room: {json.dumps(seen)}") from None


def test_an_endpoint_of_another_cluster():
    with cluster(1) as a, cluster(1, token="other") as b:
        code, found, out = a.status(endpoints=f"{a.clients[0]},{b.clients[0]}")
        assert (code, found) == (1, [f"fail cluster-id {b.clients[0]}"]), out
        assert [m["name"] for m in out["members"]] == ["m0"]


def test_members_that_were_forgotten():
    with cluster() as c:
        i = c.add()
        name = f"{c.ids()['']:x}"
        c.expect([f"warn members {name}", "warn quorum"], verbs=["status"], endpoints=c.endpoints(0, 1, 2))
        c.expect([f"warn members {name}", "warn quorum", "warn size"], verbs=["doctor"], endpoints=c.endpoints(0, 1, 2))
        c.start(i, "existing")
        c.wait_until_healthy()
        c.expect([], verbs=["status"])
        c.expect(["warn size"], verbs=["doctor"])
        assert c.run(["doctor", "--sample=0s", "--strict", *CALM]).returncode == 1
        i = c.add(learner=True)
        c.start(i, "existing")
        wait_for(lambda: c.status()[1] == [f"warn learners m{i}"], SECONDS, "the learner")
        assert "member promote" in c.run(["status", *CALM]).stdout


def test_one_member_alone():
    with cluster(1) as c:
        c.expect([], verbs=["status"])
        c.expect(["warn size"], verbs=["doctor"])


def test_clocks_that_differ():
    library = subprocess.run(["dpkg", "-L", "libfaketime"], capture_output=True, text=True).stdout
    preload = re.search(r"\S+/libfaketime\.so\.1", library)
    assert preload, "faketime is not installed"
    env = {"LD_PRELOAD": preload.group(0), "FAKETIME": "+120s", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}
    with cluster(env={1: env}) as c:
        code, found, out = c.status("--clock-limit=20s", *CALM[:2])
        assert (code, found) == (0, ["warn clock m1"]), out
        code, found, out = c.doctor("--clock-limit=5s", *CALM[:2])
        assert (code, found) == (1, ["fail clock m1"]), out


def make_certificates(folder, days):
    """For m0, m1, m2: `days` has the days that each has left."""
    script = f"pki={folder}; . {PKI}; make_ca ca; "
    for i, left in enumerate(days):
        end = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + left * 86400))
        begin = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() - 10 * 86400))
        script += f"make_cert m{i} ca m{i} IP:127.0.0.1 {begin} {end}; "
    subprocess.run(["bash", "-ec", script], check=True, capture_output=True)


def test_certificates():
    folder = tempfile.mkdtemp(prefix="doctor-pki-")
    try:
        make_certificates(folder, [400, 400, 5])
        with cluster(tls=folder, flags=["--quota-backend-bytes=8000000"]) as c:
            # The authority itself is made for two days.
            code, found, out = c.doctor("--expiry-limit=1h")
            assert (code, found) == (0, []), out
            assert any(f["check"] == "certificates" and f["level"] == "ok" for f in out["findings"]), out
            code, found, out = c.doctor("--expiry-limit=240h")
            assert found == [f"warn certificates --cacert {folder}/ca.crt", "warn certificates m2, clients"], out
            # m1's is replaced by one that ended two days ago: taken without a restart, refused by whoever asks.
            os.rename(f"{folder}/m1.crt", f"{folder}/m1.good")
            make = (f"pki={folder}; . {PKI}; make_cert bad ca m1 IP:127.0.0.1 "
                    + time.strftime("%Y%m%d%H%M%SZ ", time.gmtime(time.time() - 9 * 86400))
                    + time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() - 2 * 86400)))
            subprocess.run(["bash", "-ec", make], check=True, capture_output=True)
            os.rename(f"{folder}/bad.key", f"{folder}/m1.key")
            os.rename(f"{folder}/bad.crt", f"{folder}/m1.crt")
            wait_for(lambda: "fail certificates m1, clients" in c.doctor("--expiry-limit=1h")[1], SECONDS, "the expired certificate")
            code, found, out = c.doctor("--expiry-limit=1h")
            wanted = ["fail certificates m1, clients", "fail members m1", "warn quorum"]
            assert code == 1 and [f for f in found if f != "warn leader"] == wanted, out  # it may lead
            assert "ended 2 days ago" in json.dumps(out)
            # One that is not for the address.
            subprocess.run(["bash", "-ec", f"pki={folder}; . {PKI}; make_cert m1 ca m1 DNS:elsewhere.example"], check=True, capture_output=True)
            wait_for(lambda: "it is not for 127.0.0.1" in json.dumps(c.doctor("--expiry-limit=1h")[2]), SECONDS, "the wrong name")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class SlowDisk:
    """A control group whose processes may write so many bytes a second."""

    def __init__(self, folder, bytes_a_second):
        device = os.stat(folder).st_dev
        numbers = f"{os.major(device)}:{os.minor(device)}"
        if os.path.exists(f"/sys/dev/block/{numbers}/partition"):
            with open(f"/sys/dev/block/{numbers}/../dev") as f:
                numbers = f.read().strip()
        if not os.path.isdir("/sys/fs/cgroup/blkio"):
            raise OSError("no blkio")
        self.path = f"/sys/fs/cgroup/blkio/fairlead-doctor-{os.getpid()}"
        os.mkdir(self.path)
        try:
            with open(f"{self.path}/blkio.throttle.write_bps_device", "w") as f:
                f.write(f"{numbers} {bytes_a_second}")
        except OSError:
            os.rmdir(self.path)
            raise

    def take(self, pid, path=None):
        with open(f"{path or self.path}/cgroup.procs", "w") as f:
            f.write(str(pid))

    def remove(self, pid):
        self.take(pid, os.path.dirname(self.path))

        def gone():
            os.rmdir(self.path)
            return True
        wait_for(gone, SECONDS, "the control group to empty")


def test_a_slow_disk():
    with cluster(1) as c:
        # Whatever the disk is like, it is slower than this, and the writes of the start are enough to say so.
        for i in range(20):
            put(c, "k", str(i))
        code, found, out = c.doctor("--disk-limit=1us", *CALM[1:])
        assert code == 1 and "fail disk m0" in found, out
        assert any("faster disk" in f.get("advice", "") for f in out["findings"])
        code, found, out = c.doctor(f"--data-dir={c.work}")
        assert code == 0 and any(f["check"] == "local-disk" and "durable writes" in f["text"] for f in out["findings"]), out
        assert not [name for name in os.listdir(c.work) if name.startswith("doctor-")], "nothing is left behind"
        code, found, out = c.doctor("--disk-limit=1ns", *CALM[1:], f"--data-dir={c.work}")
        assert code == 1 and f"fail local-disk {c.work}" in found, out
        code, found, out = c.doctor("--data-dir=/nowhere")
        assert code == 1 and "fail local-disk /nowhere" in found, out


def test_a_disk_made_slow():
    """A real one: the log's writes take a second and more, and doctor watches for three."""
    with cluster(1) as c:
        try:
            disk = SlowDisk(c.work, 60_000)
        except OSError as e:
            print(f"   | no control group can slow this disk down ({e}); the other cases stand")
            return
        stop = threading.Event()

        def write():
            while not stop.is_set():
                put(c, "k", "x" * 60_000)
        writers = [threading.Thread(target=write) for _ in range(2)]
        try:
            disk.take(c.processes[0].pid)
            for w in writers:
                w.start()
            wait_for(lambda: "disk m0" in " ".join(c.judged("doctor", "--sample=8s", *CALM[1:], "--disk-limit=200ms")[1]), 2 * SECONDS,
                     "the slow disk to be found")
        finally:
            stop.set()
            disk.remove(c.processes[0].pid)
            for w in writers:
                if w.ident:
                    w.join()


def test_history_without_compaction():
    with cluster(1) as c:
        pour(c.clients[0], 10_200, lambda i: '{"key":"aw==","value":"dg=="}')
        code, found, out = c.doctor()
        assert (code, found) == (0, ["warn compaction", "warn size"]), out
        assert "--auto-compaction-retention" in json.dumps(out)
        assert c.run(["compaction", "10190"]).returncode == 0
        assert c.doctor()[1] == ["warn size"]


def test_who_asks():
    with cluster(1) as c:
        for words in (["user", "add", "root:pw"], ["user", "grant-role", "root", "root"], ["user", "add", "guest:pw"], ["auth", "enable"]):
            done = c.run(words)
            assert done.returncode == 0, (words, done.stderr)
        code, found, out = c.status()
        assert code == 1 and "--user" in json.dumps(out), out
        code, found, out = c.status("--user=root:pw")
        assert (code, found) == (0, []), out
        assert c.doctor("--user=root:pw")[1] == ["warn size"]
        top = json.loads(c.run(["top", "--once", "-w", "json", "--user=guest:pw"]).stdout)
        assert "permission denied" in top["noKeys"] and top["hotKeys"] == [] and top["members"][0]["answers"], top
        assert "noKeys" not in json.loads(c.run(["top", "--once", "-w", "json", "--user=root:pw"]).stdout)


def test_an_etcd():
    with cluster(binary=etcd_binary()) as c:
        for i in range(5):
            put(c, f"k{i}", "v", i % 3)
        c.expect([])
        c.processes[1].kill()
        c.processes[1].wait()
        wait_for(lambda: c.leader() in ("m0", "m2"), SECONDS, "a leader")
        c.expect(["fail members m1", "warn quorum"])
        top = json.loads(c.run(["top", "--once", "-w", "json"]).stdout)
        assert top["methods"] and "no Fairlead" in top["noKeys"], top


def test_metrics_elsewhere():
    ports = [free_port() for _ in range(2)]
    with cluster(1, flags=[f"--listen-metrics-urls=http://127.0.0.1:{ports[0]}"]) as c:
        url = f"http://127.0.0.1:{ports[0]}"
        assert c.doctor(f"--metrics-urls={url}")[1] == ["warn size"]
        code, found, out = c.doctor(f"--metrics-urls=http://127.0.0.1:{ports[1]}")
        assert found == ["warn metrics m0", "warn size"], out


# ---- top

def test_top_shows_what_is_asked_for():
    with cluster() as c:
        stop = threading.Event()

        def load(url, path, body):
            while not stop.is_set():
                pour(url, 50, body, path)
        keys = [f"/registry/pods/default/p{i}" for i in range(50)]
        threads = [threading.Thread(target=load, args=(c.clients[0], "/v3/kv/range", lambda i: json.dumps({"key": b64(keys[i % 50])}))),
                   threading.Thread(target=load, args=(c.clients[1], "/v3/kv/put", lambda i: json.dumps({"key": b64("/leases/one"), "value": "dg=="})))]
        for t in threads:
            t.start()
        try:
            def shown():
                nonlocal top
                top = json.loads(c.run(["top", "--once", "--interval=1s", "-w", "json"]).stdout)
                hot = {h["text"]: h for h in top["hotKeys"]}
                return "/registry/pods/default/" in hot and "/leases/one" in hot
            top = None
            wait_for(shown, SECONDS, "the hot keys")
            hot = {h["text"]: h for h in top["hotKeys"]}
            pods, lease = hot["/registry/pods/default/"], hot["/leases/one"]
            assert pods["readsPerSecond"] > 0 and pods["writesPerSecond"] == 0 and not pods["wholeKey"], top
            assert lease["writesPerSecond"] > 0 and lease["wholeKey"], top
            methods = {m["method"]: m["callsPerSecond"] for m in top["methods"]}
            assert methods.get("KV/Range", 0) > 0 and methods.get("KV/Put", 0) > 0, top
            assert {m["name"] for m in top["members"]} == {"m0", "m1", "m2"} and top["leader"], top
            assert sum(m["callsPerSecond"] for m in top["members"]) > 0 and top["members"][0]["residentBytes"] > 0
            text = c.run(["top", "--once", "--interval=1s"]).stdout
            for word in ("HOT KEYS", "/registry/pods/default/*", "/leases/one", "KV/Range", "SLOW WATCH", "CPU", "CONNECTIONS"):
                assert word in text, text
        finally:
            stop.set()
            for t in threads:
                t.join()


def test_top_goes_on_until_a_signal():
    with cluster(1) as c:
        top = subprocess.Popen([CTL, "--endpoints", c.clients[0], "top", "--interval=300ms", "-w", "json"], stdout=subprocess.PIPE, env=ENV)
        for _ in range(3):
            assert json.loads(top.stdout.readline())["members"][0]["answers"]
        top.send_signal(signal.SIGINT)
        assert top.wait(SECONDS) == 0
        done = c.run(["top", "--once", "--interval=300ms"], "http://127.0.0.1:1")
        assert done.returncode == 2 and "connection refused" in done.stderr, done


def test_a_slow_watch_is_named():
    with cluster(1) as c:
        # A watch of a whole prefix whose reader stands still, and one that reads.
        still, well = [subprocess.Popen([ETCDCTL, "--endpoints", c.clients[0], "watch", "--prefix", p], stdout=subprocess.DEVNULL, env=ENV)
                       for p in ("slow/", "well/")]
        try:
            def watchers():
                return json.loads(c.run(["top", "--once", "--interval=200ms", "-w", "json"]).stdout)["members"][0]["watchers"] == 2
            wait_for(watchers, SECONDS, "the watches")
            still.send_signal(signal.SIGSTOP)
            value = "A" * 100_000
            top = {}

            def slow():
                nonlocal top
                pour(c.clients[0], 40, lambda i: json.dumps({"key": b64("slow/k"), "value": value}))
                pour(c.clients[0], 1, lambda i: json.dumps({"key": b64("well/k"), "value": value}))
                top = json.loads(c.run(["top", "--once", "--interval=200ms", "-w", "json"]).stdout)
                return top["slowWatches"] and top["slowWatches"][0]["revisionsBehind"] > 1
            wait_for(slow, 2 * SECONDS, "the watch to fall behind")
            watch = top["slowWatches"][0]
            assert watch["text"] == "slow/*" and watch["member"] == "m0" and watch["client"].startswith("127.0.0.1:"), top
            assert watch["queuedBytes"] > 0 and watch["watchersBehind"] == 1 and not watch["reads"], top
            assert top["members"][0]["slowWatchers"] >= 1
            assert not any(w["text"].startswith("well") for w in top["slowWatches"]), top
            still.send_signal(signal.SIGCONT)
            wait_for(lambda: json.loads(c.run(["top", "--once", "--interval=200ms", "-w", "json"]).stdout)["slowWatches"] == [],
                     2 * SECONDS, "the watch to catch up")
        finally:
            for p in (still, well):
                p.kill()
                p.wait()


# ---- check

PERF_FORM = [r"(PASS: Throughput is|FAIL: Throughput too low:) \d+ writes/s", r"(PASS: Slowest request took|Slowest request took too long:) \d+\.\d{6}s",
             r"(PASS: Stddev is|Stddev too high:) \d+\.\d{6}s", r"PASS|FAIL"]


def at_a_terminal(argv):
    """(exit code, standard output, what the terminal on standard error showed)"""
    parent, child = pty.openpty()
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=child, env=ENV)
    os.close(child)
    shown = b""
    while True:
        if select.select([parent], [], [], 0.5)[0]:
            try:
                shown += os.read(parent, 65536)
            except OSError:  # the other side is closed
                break
    out = process.stdout.read().decode()
    code = process.wait(SECONDS)
    os.close(parent)
    return code, out, shown.decode()


def test_check_perf_beside_etcdctl():
    with cluster(1) as a, cluster(1) as b:
        results = {}

        def run(name, tool, c):
            results[name] = at_a_terminal([tool, "--endpoints", c.clients[0], "check", "perf", "--auto-compact", "--auto-defrag"])
        threads = [threading.Thread(target=run, args=args) for args in (("etcdctl", ETCDCTL, a), ("ours", CTL, b))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for name, c in (("etcdctl", a), ("ours", b)):
            code, out, shown = results[name]
            lines = [line for line in out.strip().split("\n")
                     if not re.fullmatch(r"(Compacting|Compacted) with revision \d+|Defragment(ing|ed) \"\S+\"", line)]
            assert len(lines) == len(out.strip().split("\n")) - 4, f"{name}: {out}"
            assert len(lines) == 4 and all(re.fullmatch(p, line) for p, line in zip(PERF_FORM, lines)), f"{name}: {out}"
            assert code == (0 if lines[-1] == "PASS" else 1), name
            assert (lines[-1] == "PASS") == all(line.startswith("PASS") for line in lines), out
            assert re.search(r"\d+ / 60 \[-*>?_*\] \d+\.\d+% \S* ?p/s", shown), f"{name}: {shown[-300:]!r}"
            assert name == "etcdctl" or ("60 / 60" in shown and "100.00%" in shown), shown[-300:]  # on a busy machine its own stops short
            assert c.run(["get", "--prefix", "/etcdctl-check-perf/", "--keys-only"]).stdout == "", f"{name} cleans up"
        ours = int(re.search(r"(\d+) writes/s", results["ours"][1]).group(1))
        assert 1 <= ours <= 160, "no more than the load's 150 a second"


def test_check_datascale_beside_etcdctl():
    for name, tool in (("etcdctl", ETCDCTL), ("ours", CTL)):
        with cluster(1) as c:
            code, out, shown = at_a_terminal([tool, "--endpoints", c.clients[0], "check", "datascale", "--load", "small", "--prefix", "here/"])
            assert code == 0, f"{name}: {out}"
            assert re.fullmatch(r"Start data scale check for work load \[10000 key-value pairs, 1024 bytes per key-value, 50 concurrent clients\]\.\n"
                                r"PASS: Approximate system memory used : -?\d+\.\d\d MB\.\n", out), f"{name}: {out}"
            assert name == "etcdctl" or "10000 / 10000" in shown, shown[-300:]
            assert c.run(["get", "--prefix", "here/", "--keys-only"]).stdout == "", f"{name} cleans up"
            puts = re.search(r"^etcd_mvcc_put_total (\d+)", subprocess.run(["curl", "-s", c.clients[0] + "/metrics"], capture_output=True, text=True).stdout, re.M)
            assert int(puts.group(1)) == 10_000, puts.group(0)


def test_check_refuses_as_etcdctl():
    with cluster(1) as c:
        for prefix in ("/etcdctl-check-perf/", "/etcdctl-check-datascale/"):
            assert put(c, prefix + "x", "v").returncode == 0
        for words in (["perf"], ["datascale"], ["perf", "--load=huge"], ["datascale", "--load", "XL"], ["perf", "--nosuch"], ["perf", "--prefix", "none", "--load="]):
            results = [c.run(["check", *words], tool=tool) for tool in (ETCDCTL, CTL)]
            assert results[0].returncode == results[1].returncode != 0, (words, results)
            errors = [re.search(r"Error: .*", r.stderr).group(0) for r in results]
            assert errors[0] == errors[1], errors
        for words in ([], ["perf"], ["datascale"]):
            flags = [sorted(f for f in re.findall(r"--([a-z-]+) (?:string)? +(.*)", c.run(["check", *words, "--help"], tool=tool).stdout.split("Global")[0])
                            if f[0] != "help") for tool in (ETCDCTL, CTL)]
            assert flags[0] == flags[1], flags


def test_check_perf_cleans_up_when_interrupted():
    with cluster(1) as c:
        check = subprocess.Popen([CTL, "--endpoints", c.clients[0], "check", "perf"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENV, text=True)
        wait_for(lambda: "x" in c.run(["get", "--prefix", "/etcdctl-check-perf/", "--keys-only", "--hex", "--limit=1"]).stdout, SECONDS, "its first key")
        check.send_signal(signal.SIGINT)
        out, _ = check.communicate(timeout=SECONDS)
        assert "Throughput" in out
        assert c.run(["get", "--prefix", "/etcdctl-check-perf/", "--keys-only"]).stdout == ""


# ---- the client's retries, with members killed under load

def test_writes_happen_once_while_members_die():
    with cluster() as c:
        stop = threading.Event()
        outcomes, lock = {}, threading.Lock()

        def write(worker):
            n = 0
            while not stop.is_set():
                n += 1
                key = f"once/{worker}/{n}"
                # Every endpoint is given, dead ones too: the tool finds its way.
                done = subprocess.run([CTL, "--endpoints", c.endpoints(), "--command-timeout=30s", "put", key, "v"],
                                      capture_output=True, text=True, env=ENV, timeout=3 * SECONDS)
                with lock:
                    outcomes[key] = (done.returncode, done.stderr)
        workers = [threading.Thread(target=write, args=(i,)) for i in range(4)]
        for w in workers:
            w.start()
        try:
            for victim in (0, 1, 2):
                before = len(outcomes)
                c.processes[victim].kill()
                c.processes[victim].wait()
                wait_for(lambda: sum(code == 0 for code, _ in list(outcomes.values())[before:]) >= 10, 2 * SECONDS, "writes beside the dead")
                c.start(victim)
                wait_for(lambda v=victim: c.run(["endpoint", "health"], c.clients[v], ETCDCTL).returncode == 0, 2 * SECONDS, "its return")
        finally:
            stop.set()
            for w in workers:
                w.join()
        kept = json.loads(c.run(["get", "--prefix", "once/", "-w", "json"]).stdout)["kvs"]
        import base64
        versions = {base64.b64decode(kv["key"]).decode(): kv["version"] for kv in kept}
        assert all(v == 1 for v in versions.values()), "a write was sent twice"
        lost = [k for k, (code, _) in outcomes.items() if code == 0 and k not in versions]
        assert not lost, f"acknowledged and lost: {lost}"
        failed = [e for code, e in outcomes.values() if code != 0]
        assert len(failed) <= 4 * 3 * 4, f"{len(failed)} of {len(outcomes)} failed: {failed[:5]}"  # those under way, and few more
        reads = [c.run(["get", k, "--print-value-only"]) for k in list(versions)[:10]]
        assert all(r.stdout == "v\n" for r in reads)


if __name__ == "__main__":
    run_tests(tests_of(globals()))
