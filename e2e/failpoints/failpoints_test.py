#!/usr/bin/python3
"""Every failpoint that is placed in the server, armed over HTTP on a live cluster of three, as etcd's robustness tests
do it: the member dies there, is started again, and nothing that was acknowledged is lost; then it sleeps there, and
goes on. A release binary has none of the names.

  FAIRLEAD_FAILPOINTS_BIN=PROGRAM FAIRLEAD_BIN=FOLDER failpoints_test.py [NAME ...]
"""
import base64
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "interop"))
from grpc_raw import Connection, field  # noqa: E402
from pair import free_port  # noqa: E402

WAIT_SECONDS = 90
PANIC_EXIT = 2
BINARY = os.environ["FAIRLEAD_FAILPOINTS_BIN"]


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def ask(port, method, path, body=None, timeout=20):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def wait(condition, what):
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except (OSError, http.client.HTTPException, ValueError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"waited {WAIT_SECONDS} s for {what}")


class Member:
    def __init__(self, cluster, name):
        self.cluster, self.name, self.process = cluster, name, None
        self.client, self.peer, self.gofail = free_port(), free_port(), free_port()
        self.log_path = os.path.join(cluster.work, name + ".log")

    def start(self, failpoints=""):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("ETCD_", "GOFAIL_"))}
        env["GOFAIL_HTTP"] = f"127.0.0.1:{self.gofail}"
        if failpoints:
            env["GOFAIL_FAILPOINTS"] = failpoints
        url, peer = f"http://127.0.0.1:{self.client}", f"http://127.0.0.1:{self.peer}"
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(
                [BINARY, "--name", self.name, "--data-dir", os.path.join(self.cluster.work, self.name),
                 "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer,
                 "--initial-advertise-peer-urls", peer, "--initial-cluster", self.cluster.initial,
                 "--heartbeat-interval", "100", "--election-timeout", "1000",
                 # small, so that a member that was away for a moment is sent a snapshot
                 "--snapshot-catchup-entries", "1", "--fairlead-checkpoint-tail", "1MiB",
                 "--fairlead-log-segment", "1MiB"],
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env)

    def stop(self):
        self.process.terminate()
        self.process.wait(WAIT_SECONDS)

    def log(self):
        return pathlib.Path(self.log_path).read_text()

    def post(self, path, body, timeout=20):
        """The reply of a gateway call; raises OSError where there is none."""
        status, text = ask(self.client, "POST", path, json.dumps(body), timeout)
        if status != 200:
            raise OSError(f"{status} {text}")
        return json.loads(text)

    def healthy(self):
        return self.process.poll() is None and ask(self.client, "GET", "/health", timeout=5)[0] == 200

    def leads(self):
        status = self.post("/v3/maintenance/status", {}, timeout=5)
        return status.get("leader") == status["header"]["member_id"]

    # --- failpoints
    def arm(self, name, terms):
        status, text = ask(self.gofail, "PUT", "/" + name, terms)
        assert status == 204, (name, terms, status, text)

    def disarm(self, name):
        return ask(self.gofail, "DELETE", "/" + name)[0]

    def count(self, name):
        status, text = ask(self.gofail, "GET", f"/{name}/count")
        return int(text) if status == 200 else 0


class Cluster:
    """Three members under a light load whose acknowledged writes are remembered."""

    def __init__(self):
        self.work = tempfile.mkdtemp(prefix="failpoints-")
        self.members = [Member(self, f"m{i}") for i in range(3)]
        self.initial = ",".join(f"{m.name}=http://127.0.0.1:{m.peer}" for m in self.members)
        self.acknowledged, self.lock, self.over = {}, threading.Lock(), False
        self.writers = []
        for m in self.members:
            m.start()
        try:
            self.all_healthy()
        except AssertionError:
            self.end()
            raise
        self.writers = [threading.Thread(target=self.write, args=(n,), daemon=True) for n in range(3)]
        for writer in self.writers:
            writer.start()

    def end(self):
        self.over = True
        for m in self.members:
            if m.process and m.process.poll() is None:
                m.process.kill()
                m.process.wait()
        for writer in self.writers:
            writer.join()
        shutil.rmtree(self.work, ignore_errors=True)

    def write(self, n):
        """Puts through member n, each key once, a new one after every answer."""
        i = 0
        while not self.over:
            key = f"w{n}-{i:06}"
            i += 1
            try:
                self.members[n].post("/v3/kv/put", {"key": b64(key), "value": b64(key * 5)}, timeout=10)
                with self.lock:
                    self.acknowledged[key] = key * 5
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.05)
            time.sleep(0.005)

    def all_healthy(self):
        for m in self.members:
            wait(m.healthy, f"health of {m.name}: {m.log()[-1500:]}" if m.process.poll() is not None else m.name)

    def leader(self):
        return wait(lambda: next((m for m in self.members if m.process.poll() is None and m.leads()), None), "a leader")

    def follower(self):
        leader = self.leader()
        return next(m for m in self.members if m is not leader)

    def check(self, label):
        """All that was acknowledged by now is there, on each member, and they are equal."""
        self.all_healthy()
        with self.lock:
            expected = dict(self.acknowledged)
        for m in self.members:
            reply = wait(lambda: m.post("/v3/kv/range", {"key": b64("w"), "range_end": b64("x")}), m.name)
            found = {base64.b64decode(kv["key"]).decode(): base64.b64decode(kv["value"]).decode() for kv in reply["kvs"]}
            lost = [k for k, v in expected.items() if found.get(k) != v]
            assert not lost, f"{label}: {m.name} lost {len(lost)} of {len(expected)} acknowledged writes: {lost[:5]}"
        revision = int(self.members[0].post("/v3/kv/range", {"key": b64("none")})["header"]["revision"])

        def hashes():
            return {m.post("/v3/maintenance/hashkv", {"revision": str(revision)})["hash"] for m in self.members}
        found = wait(hashes, "hashes")
        assert len(found) == 1, f"{label}: members differ at revision {revision}: {found}"

    def rewrite(self, keys=6, size=300_000):
        """Bytes enough for checkpoints, and dead records for the cleaner."""
        for n in range(keys):
            wait(lambda: self.leader().post("/v3/kv/put", {"key": b64(f"big{n % 3}"), "value": b64(os.urandom(size))}), "a put")


# --- what makes a member come by


def puts(cluster, member):
    del cluster, member  # the writers do


def checkpoint(cluster, member):
    cluster.rewrite()
    member.post("/v3/maintenance/defragment", {})


def compact(cluster, member):
    del member
    leader = cluster.leader()
    revision = leader.post("/v3/kv/range", {"key": b64("none")})["header"]["revision"]
    leader.post("/v3/kv/compaction", {"revision": revision})


def clean(cluster, member):
    cluster.rewrite(9)
    compact(cluster, member)
    member.post("/v3/maintenance/defragment", {})


def change_members(cluster, member):
    leader = cluster.leader()
    url = f"http://127.0.0.1:{free_port()}"
    added = leader.post("/v3/cluster/member/add", {"peerURLs": [url], "isLearner": True})["member"]["ID"]
    leader.post("/v3/cluster/member/remove", {"ID": added})


def remove_learners(cluster):
    """What a death in the middle of change_members() leaves behind."""
    def gone():
        leader = cluster.leader()
        learners = [m["ID"] for m in leader.post("/v3/cluster/member/list", {})["members"] if m.get("isLearner")]
        for one in learners:
            leader.post("/v3/cluster/member/remove", {"ID": one})
        return not learners
    wait(gone, "the learner to go")


def renew_lease(cluster, member):
    lease = member.post("/v3/lease/grant", {"TTL": "60"})["ID"]
    for m in cluster.members:
        if m.process.poll() is None:
            ask(m.client, "POST", "/v3/lease/keepalive", json.dumps({"ID": lease}), timeout=5)


def look_at_lease(cluster, member):
    lease = member.post("/v3/lease/grant", {"TTL": "60"})["ID"]
    for m in cluster.members:
        if m.process.poll() is None:
            ask(m.client, "POST", "/v3/lease/timetolive", json.dumps({"ID": lease}), timeout=5)


def watch(cluster, member):
    del cluster
    with Connection(member.client) as c:
        call = c.open("/etcdserverpb.Watch/Watch")
        c.send_message(call, field(1, field(1, b"w") + field(2, b"x")))
        c.wait(lambda: len(call.messages()) > 1, 5)


def stream_range(cluster, member):
    del cluster
    with Connection(member.client) as c:
        call = c.open("/etcdserverpb.KV/RangeStream")
        c.send_message(call, field(1, b"w") + field(2, b"x"), end=True)
        c.wait(lambda: call.over, 5)


LEADER, FOLLOWER = Cluster.leader, Cluster.follower
# name: on which member, and what brings it there
LIVE = {
    "afterCommit": (FOLLOWER, checkpoint),
    "afterIsMemberExist": (FOLLOWER, puts),
    "beforeApplyOneConfChange": (FOLLOWER, change_members),
    "beforeApplyOneEntryNormal": (FOLLOWER, puts),
    "beforeCheckpointInLeaseRenew": (LEADER, renew_lease),
    "beforeCommit": (LEADER, checkpoint),
    "beforeLookupWhenForwardLeaseTimeToLive": (LEADER, look_at_lease),
    "beforeLookupWhenLeaseTimeToLive": (LEADER, look_at_lease),
    "beforeRangeStreamChunk": (FOLLOWER, stream_range),
    "beforeSendWatchResponse": (FOLLOWER, watch),
    "beforeServeHTTPLeaseRenew": (LEADER, renew_lease),
    "commitAfterPreCommitHook": (FOLLOWER, checkpoint),
    "commitBeforePreCommitHook": (LEADER, checkpoint),
    "compactAfterCommitBatch": (FOLLOWER, compact),
    "compactAfterCommitScheduledCompact": (FOLLOWER, compact),
    "compactAfterSetFinishedCompact": (LEADER, compact),
    "compactBeforeCommitBatch": (LEADER, compact),
    "compactBeforeCommitScheduledCompact": (LEADER, compact),
    "compactBeforeSetFinishedCompact": (FOLLOWER, compact),
    "defragBeforeCopy": (FOLLOWER, clean),
    "defragBeforeRename": (FOLLOWER, clean),
    "raftAfterSave": (LEADER, puts),
    "raftBeforeAdvance": (FOLLOWER, puts),
    "raftBeforeFollowerSend": (FOLLOWER, puts),
    "raftBeforeLeaderSend": (LEADER, puts),
    "raftBeforeSave": (LEADER, puts),
    "walAfterSync": (FOLLOWER, puts),
    "walBeforeSync": (LEADER, puts),
}
# Passed by a member that is sent a snapshot.
INSTALL = ["raftBeforeSaveSnap", "raftAfterSaveSnap", "applyBeforeOpenSnapshot", "applyAfterOpenSnapshot",
           "raftBeforeApplySnap", "raftAfterApplySnap", "raftBeforeWALSaveSnaphot", "raftAfterWALRelease"]
START = ["beforePublishing"]
RETURN = ["raftDropHeartbeat", "defragdbFail", "defragOpenFileError"]


def bring(cluster, member, name, trigger):
    """Until the failpoint has done something: a member may lose its turn to lead meanwhile."""
    def came_by():
        try:
            trigger(cluster, member)
        except (OSError, http.client.HTTPException, ValueError, AssertionError):
            pass  # the member died under it
        return member.process.poll() is not None or member.count(name) > 0
    wait(came_by, f"{name} to be passed on {member.name}")


def died_of(member, name):
    try:
        code = member.process.wait(WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        code = None
    log = member.log()[-3000:]
    assert code == PANIC_EXIT and "panic: failpoint panic: {}" in log, (name, code, log)


def dies_and_comes_back(cluster, name):
    pick, trigger = LIVE[name]
    member = pick(cluster)
    member.arm(name, "panic")
    bring(cluster, member, name, trigger)
    died_of(member, name)
    member.start()
    if trigger is change_members:
        cluster.all_healthy()
        remove_learners(cluster)
    cluster.check(name)


def sleeps_and_goes_on(cluster, name):
    pick, trigger = LIVE[name]
    member = pick(cluster)
    member.arm(name, "2*sleep(150)")
    bring(cluster, member, name, trigger)
    assert member.disarm(name) == 204
    assert member.process.poll() is None, (name, member.log()[-1500:])


def installs(cluster, name):
    """A member falls so far behind that it needs a snapshot; it dies while it takes it."""
    member = cluster.follower()
    member.stop()
    time.sleep(3)  # then the leader does not keep its log for it
    cluster.rewrite(14)
    member.start(f"{name}=panic")
    died_of(member, name)
    member.start()
    cluster.check(name)


def dies_at_start(cluster, name):
    member = cluster.follower()
    member.stop()
    member.start(f"{name}=panic")
    died_of(member, name)
    member.start()
    cluster.check(name)


def returns(cluster, name):
    member = cluster.follower()
    if name == "raftDropHeartbeat":
        other = cluster.leader()
        member.arm(name, "return()")
        wait(lambda: member.count(name) > 10, "messages to be dropped")
        wait(lambda: ask(member.client, "GET", "/health", timeout=5)[0] == 503, "the deaf member to see no leader")
        wait(other.healthy, "the others to go on")
        assert member.disarm(name) == 204
    else:
        why = f"no room for {name}"
        member.arm(name, f'return("{why}")')
        wait(lambda: clean(cluster, member) or why in member.log(), "the cleaner to give up")
        assert member.disarm(name) == 204
    cluster.check(name)


def the_interface(member):
    status, text = ask(member.gofail, "GET", "/")
    names = [line.partition("=")[0] for line in text.splitlines()]
    placed = sorted([*LIVE, *INSTALL, *START, *RETURN])
    assert status == 200 and names == placed, (status, set(names) ^ set(placed))
    name = "/walBeforeSync"
    for method, path, body, expected in (
            ("GET", name, None, (404, "failed to GET: failpoint: failpoint is disabled\n\n")),
            ("GET", name + "/count", None, (500, "failed to GET: failpoint: failpoint is disabled\n")),
            ("GET", "/none/count", None, (404, "failed to GET: failpoint: failpoint does not exist\n")),
            ("PUT", "/none", "off", (400, "fail to set failpoint: failpoint: failpoint does not exist\n")),
            ("PUT", name, "nonsense", (400, "fail to set failpoint: failpoint: could not parse terms\n")),
            ("PUT", name, "0*panic", (204, "")),
            ("GET", name, None, (200, "0*panic\n")),
            ("GET", name + "/count", None, (200, "0")),
            ("PUT", "/failpoints", "walAfterSync=0*panic;raftBeforeSave=0*sleep(1)", (204, "")),
            ("GET", "/raftBeforeSave", None, (200, "0*sleep(1)\n")),
            ("PUT", "/failpoints", "x", (400, 'fail to parse failpoint: bad failpoint "x"\n')),
            ("DELETE", name, None, (204, "")),
            ("DELETE", name, None, (400, "failed to delete failpoint failpoint: failpoint is disabled\n")),
            ("POST", name, None, (405, "Method not allowed\n"))):
        got = ask(member.gofail, method, path, body)
        assert got == expected, (method, path, got)
    for name in ("walAfterSync", "raftBeforeSave"):
        assert member.disarm(name) == 204


def a_release_has_none():
    release = pathlib.Path(os.environ["FAIRLEAD_BIN"], "fairlead").read_bytes()
    test_build = pathlib.Path(BINARY).read_bytes()
    for name in [*LIVE, *INSTALL, *START, *RETURN, "GOFAIL_HTTP"]:
        assert name.encode() in test_build, f"{name} is not even in the test build"
        assert not re.search(rb"(?<![A-Za-z])" + name.encode() + rb"(?![A-Za-z])", release), f"a release contains {name}"


def main():
    wanted = sys.argv[1:]
    cases = [("a release has no failpoints", lambda c: a_release_has_none()),
             ("the HTTP interface", lambda c: the_interface(c.members[0]))]
    cases += [(f"{n}: sleeps", lambda c, n=n: sleeps_and_goes_on(c, n)) for n in LIVE]
    cases += [(f"{n}: dies", lambda c, n=n: dies_and_comes_back(c, n)) for n in LIVE]
    cases += [(f"{n}: dies at the start", lambda c, n=n: dies_at_start(c, n)) for n in START]
    cases += [(f"{n}: dies during an install", lambda c, n=n: installs(c, n)) for n in INSTALL]
    cases += [(f"{n}: returns", lambda c, n=n: returns(c, n)) for n in RETURN]
    if wanted:
        cases = [case for case in cases if any(w in case[0] for w in wanted)]
    passed = failed = 0
    cluster = Cluster()
    for label, run in cases:
        began = time.monotonic()
        try:
            run(cluster)
            passed += 1
            print(f"ok   {label} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as e:  # the next one has a cluster of its own
            failed += 1
            print(f"FAIL {label}: {type(e).__name__}: {e}", flush=True)
            cluster.end()
            cluster = Cluster()
    acknowledged = len(cluster.acknowledged)
    cluster.end()
    print(f"     {acknowledged} acknowledged writes in the last cluster")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
