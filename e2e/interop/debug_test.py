#!/usr/bin/env python3
"""debug_test.py: what one looks at when something is wrong: /debug/requests, /debug/pprof, the log's level, the line
"request stats", probes of a member whose loop stands or whose data is corrupt. Where etcd has the same, beside it.

ETCD_BIN has etcd and etcdctl, FAIRLEAD_BIN has fairlead. One line a case; the last line is "N passed, N failed".
"""
import atexit
import ctypes
import ctypes.util
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request

from pair import free_ports, run_tests, wait_for

WAIT = 60
ETCD = os.environ["ETCD_BIN"] + "/etcd"
FAIRLEAD = os.environ["FAIRLEAD_BIN"] + "/fairlead"
FOLDER = tempfile.mkdtemp(prefix="fairlead-debug.")
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


class Member:
    def __init__(self, program, *flags, data="data"):
        self.client, peer, metrics = free_ports(3)
        self.url, self.metrics, self.peer = f"http://127.0.0.1:{self.client}", f"http://127.0.0.1:{metrics}", f"http://127.0.0.1:{peer}"
        shutil.rmtree(f"{FOLDER}/{data}", ignore_errors=True)
        self.log_path = f"{FOLDER}/log"
        self.log = open(self.log_path, "w")
        self.process = subprocess.Popen(
            [program, "--name", "m", "--data-dir", f"{FOLDER}/{data}", "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
             "--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer, "--initial-cluster", f"m={self.peer}",
             "--listen-metrics-urls", self.metrics, *flags], stdout=self.log, stderr=self.log)
        wait("member", lambda: self.ctl("put", "first", "1").returncode == 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def ctl(self, *args, stdin=None):
        return subprocess.run([os.environ["ETCD_BIN"] + "/etcdctl", "--endpoints", self.url, *args], input=stdin,
                              capture_output=True, text=True, timeout=WAIT, check=False)

    def lines(self, message):
        with open(self.log_path) as f:
            return [line for line in map(parse, f) if line.get("msg") == message]


def parse(line):
    try:
        return json.loads(line)
    except ValueError:
        return {}


def wait(what, condition):
    wait_for(condition, WAIT, what)


def http(url, method="GET", body=None, headers=None, timeout=WAIT):
    request = urllib.request.Request(url, method=method, data=body.encode() if body is not None else None, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(map(str, what)))


def request_stats():
    """A unary call over --warning-unary-request-duration is told, by both with the same fields; values never."""
    told = {}
    for program in (ETCD, FAIRLEAD):
        with Member(program, "--warning-unary-request-duration", "1ns") as m:
            m.ctl("put", "key", "secret-value")
            m.ctl("get", "key", "--prefix")
            m.ctl("txn", stdin='value("key") = "secret-value"\n\nput key other-secret\n\n\n')
            m.ctl("lease", "grant", "100")
            want = ["/etcdserverpb.KV/Put", "/etcdserverpb.KV/Range", "/etcdserverpb.KV/Txn", "/etcdserverpb.Lease/LeaseGrant"]
            wait("lines", lambda: all([x for x in m.lines("request stats") if x["response type"] == w] for w in want))
            with open(m.log_path) as f:
                check("secret" not in f.read(), program, "shows values")
            lines = m.lines("request stats")
            told[program] = {w: [x for x in lines if x["response type"] == w][-1] for w in want}
    for path, theirs in told[ETCD].items():
        ours = told[FAIRLEAD][path]
        check(set(theirs) == set(ours), path, sorted(theirs), sorted(ours))
        for field in ("level", "request count", "request size", "response count"):
            check(theirs[field] == ours[field], path, field, theirs[field], ours[field])
    check(told[FAIRLEAD]["/etcdserverpb.KV/Put"]["request content"] == 'key:"key" value_size:12', told[FAIRLEAD]["/etcdserverpb.KV/Put"])
    with Member(FAIRLEAD, "--experimental-warning-unary-request-duration", "1m") as m:
        m.ctl("put", "key", "v")
        check(not m.lines("request stats"), "told although it was quick")


def slow_requests():
    """/debug/requests: always with times; keys and addresses only where debug pages are asked for."""
    for flags, open_pages in (((), False), (("--enable-pprof",), True)):
        with Member(FAIRLEAD, *flags) as m:
            m.ctl("put", "a-key", "v")
            for root in (m.url, m.metrics):
                code, body = http(root + "/debug/requests?format=json")
                check(code == 200, code)
                puts = [r for r in json.loads(body)["requests"] if r["method"] == "etcdserverpb.KV/Put"]
                check(puts, body)
                for stage in ("receive_ns", "check_ns", "queue_ns", "raft_ns", "log_sync_ns", "apply_wait_ns", "apply_ns", "answer_ns"):
                    check(stage in puts[0], stage, puts[0])
                check(puts[0]["raft_ns"] > 0 and puts[0]["log_sync_ns"] > 0, puts[0])
                check((b"a-key" in body) == open_pages, "keys shown:", not open_pages)
                code, page = http(root + "/debug/requests")
                check(code == 200 and b"<table>" in page and b"etcdserverpb.KV/Put" in page, page[:200])


def pprof():
    """--enable-pprof: not there without it, as etcd; with it a CPU profile that go tool pprof reads, with names."""
    for program in (ETCD, FAIRLEAD):
        with Member(program) as m:
            check(http(m.url + "/debug/pprof/")[0] == 404, program)
        with Member(program, "--enable-pprof") as m:
            check(http(m.url + "/debug/pprof/")[0] == 200, program)
            check(http(m.metrics + "/debug/pprof/")[0] == 404, program)
            code, line = http(m.url + "/debug/pprof/cmdline")
            check(code == 200 and line.split(b"\0")[1:3] == [b"--name", b"m"], program, line)
            check(http(m.url + "/debug/vars")[0] == 200, program)
            if program == ETCD:
                continue
            done = threading.Event()

            def load():
                while not done.is_set():
                    m.ctl("get", "", "--prefix")
            threads = [threading.Thread(target=load) for _ in range(2)]
            for t in threads:
                t.start()
            try:
                busy = threading.Thread(target=lambda: [http(m.metrics + "/metrics") for _ in range(2000) if not done.is_set()])
                busy.start()
                with urllib.request.urlopen(m.url + "/debug/pprof/profile?seconds=3", timeout=WAIT) as reply:
                    profile = reply.read()
                check(http(m.url + "/debug/pprof/symbol")[1].startswith(b"num_symbols: 1"))
            finally:
                done.set()
                for t in threads + [busy]:
                    t.join()
            check(struct.unpack("5Q", profile[:40])[:3] == (0, 3, 0), profile[:40])
            with open(f"{FOLDER}/profile", "wb") as f:
                f.write(profile)
            top = subprocess.run(["go", "tool", "pprof", "-top", FAIRLEAD, f"{FOLDER}/profile"], capture_output=True, text=True,
                                 timeout=2 * WAIT, check=False, env={**os.environ, "PPROF_TMPDIR": FOLDER})
            check(top.returncode == 0 and "flat%" in top.stdout, top.stdout[-500:], top.stderr[-500:])
            count = struct.unpack("Q", profile[48:56])[0]
            pc = struct.unpack("Q", profile[56:64])[0]
            check(count > 0, count)
            code, names = http(m.url + "/debug/pprof/symbol", "POST", hex(pc))
            check(code == 200, code, names)


def log_level():
    """The level at run time: GET tells it, PUT changes it, only on the client port, only root where users are on."""
    with Member(FAIRLEAD) as m:
        check(json.loads(http(m.url + "/config/local/log")[1]) == {"Level": "info"})
        m.ctl("put", "quiet", "1")
        check(not m.lines("request stats"), "told at info")
        check(http(m.metrics + "/config/local/log", "PUT", '{"Level":"debug"}')[0] == 405, "a metrics port changes nothing")
        for bad in ("", "[]", '{"Level":7}', '{"Level":"loud"}'):
            check(http(m.url + "/config/local/log", "PUT", bad)[0] == 400, bad)
        check(http(m.url + "/config/local/log", "PUT", '{"Level":"DEBUG"}')[0] == 204)
        m.ctl("put", "loud", "1")
        wait("debug line", lambda: [x for x in m.lines("request stats") if x["level"] == "debug"])
        check(json.loads(http(m.url + "/config/local/log")[1]) == {"Level": "debug"})
        for args in (("user", "add", "root:pw"), ("user", "grant-role", "root", "root"), ("user", "add", "joe:pw"), ("auth", "enable")):
            check(m.ctl(*args).returncode == 0, args)
        check(http(m.url + "/config/local/log", "PUT", '{"Level":"info"}')[0] == 401, "nobody")
        for user, code in (("joe", 401), ("root", 204)):
            _, reply = http(m.url + "/v3/auth/authenticate", "POST", json.dumps({"name": user, "password": "pw"}))
            token = json.loads(reply)["token"]
            got = http(m.url + "/config/local/log", "PUT", '{"Level":"info"}', {"Authorization": token})
            check(got[0] == code, user, got)
        check(json.loads(http(m.url + "/config/local/log")[1]) == {"Level": "info"})


def promote_page():
    """/members/promote on the peer port: with users on, the token in Authorization decides, as with etcd."""
    answers = {}
    for program in (ETCD, FAIRLEAD):
        with Member(program) as m:
            for args in (("user", "add", "root:pw"), ("user", "grant-role", "root", "root"), ("auth", "enable")):
                check(m.ctl(*args).returncode == 0, args)
            token = json.loads(http(m.url + "/v3/auth/authenticate", "POST", '{"name":"root","password":"pw"}')[1])["token"]
            page = m.peer + "/members/promote/1234"
            answers[program] = http(page, "POST", "", {"Authorization": token})
            nobody = http(page, "POST", "")
            check(nobody[0] in (401, 500), program, nobody)
    check(answers[ETCD] == answers[FAIRLEAD] and answers[ETCD][0] == 404, answers)


class OneThreadStopped:
    """Stops a single thread of a process, the others run on: what a loop that stands looks like."""

    def __init__(self, thread):
        self.thread, self.libc = thread, ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)

    def call(self, request, data=0):
        if self.libc.ptrace(ctypes.c_long(request), ctypes.c_long(self.thread), ctypes.c_void_p(0), ctypes.c_void_p(data)) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def __enter__(self):
        self.call(0x4206)  # PTRACE_SEIZE
        self.call(0x4207)  # PTRACE_INTERRUPT
        os.waitpid(self.thread, 0x40000000)  # __WALL
        return self

    def __exit__(self, *_):
        self.call(17)  # PTRACE_DETACH


def stalled_loop():
    """A loop that stands: /livez says so on the metrics port, and is fine again afterwards."""
    with Member(FAIRLEAD) as m:
        check(http(m.metrics + "/livez") == (200, b"ok\n"))
        with OneThreadStopped(m.process.pid):  # the main thread has the loop
            def told():
                try:
                    code, body = http(m.metrics + "/livez?verbose", timeout=2)
                except OSError:
                    return False
                check(code == 503 and body.startswith(b"[-]serializable_read failed: the server's loop has not turned for "), code, body)
                return True
            wait("answer of a stalled member", told)
            code, body = http(m.metrics + "/readyz", timeout=5)
            check(code == 503 and body.startswith(b"[-]serializable_read failed: "), body)
            code, body = http(m.metrics + "/health", timeout=5)
            check(code == 503 and json.loads(body)["health"] == "false", body)

        def fine():
            try:
                return http(m.metrics + "/livez", timeout=5) == (200, b"ok\n")
            except OSError:
                return False
        wait("recovery", fine)
        check(m.ctl("put", "after", "1").returncode == 0)
        check(m.lines("the loop does not turn: nothing is served; probes are told so"), "no line")
        wait("line", lambda: m.lines("the loop turns again"))
        wait("count", lambda: b"fairlead_loop_stalls_total 1" in http(m.metrics + "/metrics")[1])


def data_corruption():
    """An alarm CORRUPT: /readyz fails by its check data_corruption and is fine without it; /livez does not care."""
    answers = {}
    for program in (ETCD, FAIRLEAD):
        with Member(program) as m:
            code, body = http(m.url + "/v3/maintenance/status", "POST", "{}")
            member = json.loads(body)["header"]["member_id"]
            alarm = json.dumps({"action": "ACTIVATE", "memberID": member, "alarm": "CORRUPT"})
            check(http(m.url + "/v3/maintenance/alarm", "POST", alarm)[0] == 200)
            paths = ["/readyz", "/readyz?verbose", "/readyz/data_corruption", "/readyz?exclude=data_corruption", "/livez", "/health",
                     "/health?exclude=CORRUPT"]
            answers[program] = {p: http(m.metrics + p) for p in paths}
    check(answers[FAIRLEAD]["/readyz/data_corruption"] == (503, b"[-]data_corruption failed: alarm activated: CORRUPT\n\n"), answers[FAIRLEAD])
    for path, theirs in answers[ETCD].items():
        ours = answers[FAIRLEAD][path]
        same = theirs[0] == ours[0] and sorted(theirs[1].splitlines()) == sorted(ours[1].splitlines())  # Go's maps have no order
        check(same, path, theirs, ours)


TESTS = {"request stats": request_stats, "slow requests": slow_requests, "pprof": pprof, "log level": log_level, "promote page": promote_page,
         "stalled loop": stalled_loop, "data corruption": data_corruption}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    run_tests(TESTS)
