"""The cases of e2e/clients with etcd3 (the synchronous client). It has no calls for users and elections: those are its
service stubs, and the usual recipe on its transactions, leases and watches."""

import concurrent.futures
import threading
import time

import etcd3
import grpc
from etcd3 import etcdrpc, exceptions
from lab_client import (CASE_SECONDS, HOST, NUMBERS, OPTIONS, PKI, PORT, STEPS, TLS_HOST, TLS_PORT, WRONG_SECONDS, check_history, control,
                        expect, expect_error, prefix_end, run)

POOL = concurrent.futures.ThreadPoolExecutor(16)


def connect(host=HOST, port=PORT, timeout=60, **more):
    client = etcd3.client(host=host, port=port, timeout=timeout, grpc_options=list(OPTIONS.items()), **more)
    # etcd3 sends the token twice; gRPC since 1.5x refuses the one as credentials of a call without TLS.
    client.call_credentials = client.watcher._credentials = None
    return client


def error_of(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except (grpc.RpcError, exceptions.Etcd3Exception) as e:
        # etcd3 keeps the server's words in the exception that it replaces.
        return e.__context__ if isinstance(e, exceptions.Etcd3Exception) and e.__context__ else e
    return None


def events(client, prefix, revision):
    """(revision, key, value, previous value) of each event, as they come."""
    iterator, cancel = client.watch_prefix(prefix, start_revision=revision, prev_kv=True)
    return ((e.mod_revision, e.key, e.value, e.prev_value, type(e).__name__) for e in iterator), cancel


def take(client, prefix, revision, count):
    iterator, cancel = events(client, prefix, revision)
    taken = [next(iterator) for _ in range(count)]
    cancel()
    return taken


def wait_deleted(client, key, revision):
    # (The filters of etcd3's watches do not work: it assigns to a repeated field.)
    iterator, cancel = events(client, key, revision)
    event = next(e for e in iterator if e[4] == "DeleteEvent")
    cancel()
    return event


def kv(c, p):
    first = c.put(p + b"a", b"1").header.revision
    expect("previous value", c.put(p + b"a", b"2", prev_kv=True).prev_kv.value, b"1")
    c.put(p + b"b", b"3")
    c.put(p + b"c", b"\0\xff")
    value, meta = c.get(p + b"a")
    expect("value", (value, meta.version, meta.create_revision), (b"2", 2, first))
    down = [(m.key, v) for v, m in c.get_prefix(p, sort_order="descend")]
    expect("downwards", down, [(p + b"c", b"\0\xff"), (p + b"b", b"3"), (p + b"a", b"2")])
    expect("range", [m.key for _, m in c.get_range(p + b"a", p + b"c")], [p + b"a", p + b"b"])
    expect("replace", (c.replace(p + b"b", b"no", b"x"), c.replace(p + b"b", b"3", b"4")), (False, True))
    expect("put_if_not_exists", c.put_if_not_exists(p + b"b", b"x"), False)
    expect("delete", (c.delete(p + b"b"), c.delete(p + b"b")), (True, False))
    expect("delete_prefix", c.delete_prefix(p).deleted, 2)
    expect("nothing left", c.get(p + b"a"), (None, None))
    expect_error("empty key", error_of(c.put, b"", b"x"), "etcdserver: key is not provided")


def txn(c, p):
    t = c.transactions

    def create():
        return c.transaction(compare=[t.create(p + b"a") == 0], success=[t.put(p + b"a", b"1"), t.put(p + b"b", b"2")],
                             failure=[t.get(p + b"a"), t.txn(compare=[t.value(p + b"b") == b"2", t.version(p + b"b") > 0],
                                                             success=[t.delete(p + b"b")], failure=[])])

    expect("first branch", create()[0], True)
    succeeded, responses = create()
    expect("second branch", (succeeded, len(responses)), (False, 2))
    expect("read value", responses[0][0][0], b"1")
    inner = responses[1].response_txn
    expect("inner", (inner.succeeded, inner.responses[0].response_delete_range.deleted), (True, 1))
    expect_error("the same key twice", error_of(c.transaction, [], [t.put(p, b""), t.put(p, b"")], []), "duplicate key")


def watch(c, p):
    revision = c.put(p + b"a", b"1").header.revision
    c.put(p + b"a", b"2")
    c.put(p + b"b", b"3")
    c.delete(p + b"a")
    told = [(k[len(p):], v, before, kind) for _, k, v, before, kind in take(c, p, revision, 4)]
    expect("events", told, [(b"a", b"1", b"", "PutEvent"), (b"a", b"2", b"1", "PutEvent"), (b"b", b"3", b"", "PutEvent"),
                            (b"a", b"", b"2", "DeleteEvent")])
    c.compact(revision + 2)
    # On a member that has not compacted yet the watch begins; so ask again.
    end = time.monotonic() + CASE_SECONDS
    while True:
        try:
            take(c, p, revision, 1)
        except exceptions.RevisionCompactedError as e:
            return expect("compacted revision", e.compacted_revision, revision + 2)
        expect("a compacted revision is refused", time.monotonic() < end, True)


def write_numbers(p):
    """Each number until it is acknowledged: of a put whose member died nobody knows whether it was written."""
    writer = connect(timeout=2)
    end = time.monotonic() + CASE_SECONDS
    for i in range(NUMBERS):
        while True:
            try:
                writer.put(p + b"key%d" % (i % 7), b"%d" % i)
                break
            except (grpc.RpcError, exceptions.Etcd3Exception):
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        time.sleep(0.002)


def follow(c, p, revision):
    """etcd3 tells a broken watch with an exception: the next one begins behind the last event."""
    seen, steps, broken = [], dict(STEPS), 0
    while not seen or seen[-1][2] != b"%d" % (NUMBERS - 1):
        try:
            iterator, cancel = events(c, p, seen[-1][0] + 1 if seen else revision)
            for event in iterator:
                seen.append(event)
                if len(seen) in steps:
                    control(steps.pop(len(seen)))
                if event[2] == b"%d" % (NUMBERS - 1):
                    cancel()
                    break
        except (grpc.RpcError, exceptions.Etcd3Exception):
            broken += 1
            expect("few streams break", broken < 100, True)
            time.sleep(0.1)
    expect("the stream broke when its member was killed", broken > 0, True)
    return seen


def watch_resume(c, p):
    control("/mark")
    revision = c.put(p + b"begin", b"").header.revision
    writer = POOL.submit(write_numbers, p)
    seen = follow(c, p, revision + 1)
    writer.result(CASE_SECONDS)
    check_history(seen, take(c, p, revision + 1, len(seen)), revision)


def lease(c, p):
    brief, lasting = c.lease(5), c.lease(1000)
    revision = c.put(p + b"brief", b"", lease=brief).header.revision
    c.put(p + b"lasting", b"", lease=lasting)
    for _ in range(14):
        expect("kept alive", brief.refresh()[0].TTL, 5)
        time.sleep(0.5)
    expect("key of a lease kept alive", c.get(p + b"brief")[0], b"")
    expect("granted", (lasting.granted_ttl, list(lasting.keys)), (1000, [p + b"lasting"]))
    expect("expired", wait_deleted(c, p + b"brief", revision)[1], p + b"brief")
    lasting.revoke()
    expect("nothing left", list(c.get_prefix(p)), [])
    expect_error("revoked again", error_of(lasting.revoke), "requested lease not found")
    expect("kept alive too late", brief.refresh()[0].TTL, 0)


def lock(c, p):
    name = p.decode() + "lock"
    one, two = c.lock(name, ttl=60), connect().lock(name, ttl=60)
    expect("first", one.acquire(), True)
    expect("not at once", two.acquire(timeout=0), False)
    waiting = POOL.submit(two.acquire, CASE_SECONDS)
    expect("both have the lock", concurrent.futures.wait([waiting], WRONG_SECONDS).done, set())
    expect("holder", (one.is_acquired(), two.is_acquired()), (True, False))
    expect("released", one.release(), True)
    expect("second", (waiting.result(CASE_SECONDS), two.is_acquired(), one.is_acquired()), (True, True, False))
    two.lease.revoke()  # the holder died
    expect("third", one.acquire(), True)
    one.release()


class Candidate:
    """The election recipe: the oldest key below a prefix leads; each waits for the one before it to go."""

    def __init__(self, client, prefix):
        self.client, self.prefix, self.lease = client, prefix, client.lease(60)
        self.key = prefix + b"%x" % self.lease.id

    def campaign(self, value):
        c = self.client
        c.transaction([c.transactions.create(self.key) == 0], [c.transactions.put(self.key, value, lease=self.lease)], [])
        mine = c.get(self.key)[1].create_revision
        while True:
            before = [m for _, m in c.get_prefix(self.prefix) if m.create_revision < mine]
            if not before:
                return
            last = max(before, key=lambda m: m.create_revision)
            wait_deleted(c, last.key, last.response_header.revision + 1)

    def resign(self):
        self.client.delete(self.key)


def leader(c, prefix):
    candidates = [(m.create_revision, v) for v, m in c.get_prefix(prefix)]
    return min(candidates)[1] if candidates else None


def election(c, p):
    one, two = Candidate(c, p), Candidate(connect(), p)
    expect("before any campaign", leader(c, p), None)
    observed, changed = [], threading.Condition()

    def observe(response):
        with changed:
            observed.append(leader(observer, p))
            changed.notify_all()

    observer = connect()
    c.add_watch_prefix_callback(p, lambda r: POOL.submit(observe, r))

    def see(value):
        with changed:
            expect(f"observed {value}", changed.wait_for(lambda: value in observed, CASE_SECONDS), True)

    one.campaign(b"one")
    see(b"one")
    waiting = POOL.submit(two.campaign, b"two")
    expect("two leaders", concurrent.futures.wait([waiting], WRONG_SECONDS).done, set())
    expect("leader", leader(c, p), b"one")
    one.resign()
    waiting.result(CASE_SECONDS)
    see(b"two")
    expect("next leader", leader(c, p), b"two")
    two.lease.revoke()
    expect("nobody", leader(c, p), None)


def tls(c, p):
    def client(authority, name):
        pair = {"cert_cert": PKI / f"{name}.crt", "cert_key": PKI / f"{name}.key"} if name else {}
        return connect(TLS_HOST, TLS_PORT, ca_cert=PKI / f"{authority}.crt", timeout=60 if (authority, name) == ("ca", "alice") else 3, **pair)

    good = client("ca", "alice")
    revision = good.put(p + b"a", b"1").header.revision
    expect("watched", take(good, p, revision, 1)[0][2], b"1")
    for authority, name in [("ca", None), ("ca", "stranger"), ("other", "alice")]:
        expect(f"refused: authority {authority}, client {name}", error_of(client(authority, name).put, p + b"a", b"2") is not None, True)


def auth(c, p):
    stub = etcdrpc.AuthStub(c.channel)
    c.put(p + b"a", b"1")
    stub.RoleAdd(etcdrpc.AuthRoleAddRequest(name="reader"))
    permission = etcdrpc.AuthRoleGrantPermissionRequest(name="reader")
    permission.perm.permType, permission.perm.key, permission.perm.range_end = 0, p, prefix_end(p)
    stub.RoleGrantPermission(permission)
    for name, role in [("root", "root"), ("alice", "reader")]:
        stub.UserAdd(etcdrpc.AuthUserAddRequest(name=name, password=name + "-secret"))
        stub.UserGrantRole(etcdrpc.AuthUserGrantRoleRequest(user=name, role=role))
    stub.AuthEnable(etcdrpc.AuthEnableRequest())
    root = connect(user="root", password="root-secret")
    managed = etcdrpc.AuthStub(root.channel)
    try:
        expect_error("wrong password", error_of(connect, user="alice", password="guess"), "authentication failed")
        alice = connect(user="alice", password="alice-secret")
        expect("value", alice.get(p + b"a")[0], b"1")
        expect_error("write", error_of(alice.put, p + b"a", b"2"), "permission denied")
        expect_error("outside", error_of(alice.get, b"elsewhere"), "permission denied")
        expect_error("no user", error_of(c.get, p + b"a"), "user name is empty")
        # A right that is taken away ends at once, also for a token given out before.
        managed.UserRevokeRole(etcdrpc.AuthUserRevokeRoleRequest(name="alice", role="reader"), metadata=root.metadata)
        expect_error("after revoke", error_of(alice.get, p + b"a"), "permission denied")
        root.put(p + b"a", b"2")
    finally:
        managed.AuthDisable(etcdrpc.AuthDisableRequest(), metadata=root.metadata)
    c.put(p + b"a", b"3")


CASES = [
    ("watch resume", watch_resume),  # first: no other case has left a watch
    ("kv", kv), ("txn", txn), ("watch", watch), ("lease", lease), ("lock", lock), ("election", election), ("tls", tls), ("auth", auth),
]

if __name__ == "__main__":
    # The client's own calls have deadlines; a case that waits for events has this one.
    run(CASES, lambda function, p: POOL.submit(lambda: function(connect(), p)).result(CASE_SECONDS))
