"""The cases of e2e/clients with aetcd (the asynchronous client). Users and elections as in cases_etcd3.py: by its service
stubs, and by the usual recipe. It has no option for TLS: its channel is made with gRPC's own."""

import asyncio
import time

import aetcd
import grpc
from aetcd import rpc
from lab_client import (CASE_SECONDS, HOST, NUMBERS, OPTIONS, PKI, PORT, STEPS, TLS_HOST, TLS_PORT, WRONG_SECONDS, check_history, control,
                        expect, expect_error, prefix_end, run)

DELETES = aetcd.EventKind.DELETE


def connect(timeout=60, **more):
    return aetcd.Client(host=HOST, port=PORT, timeout=timeout, options=dict(OPTIONS), **more)


async def error_of(awaitable):
    try:
        await awaitable
    except (aetcd.ClientError, grpc.RpcError) as e:
        return e
    return None


def as_tuple(e):
    return (e.kv.mod_revision, e.kv.key, e.kv.value, e.prev_kv.value if e.prev_kv else b"", e.kind)


async def take(client, prefix, revision, count, **more):
    watch = await client.watch_prefix(prefix, start_revision=revision, prev_kv=True, **more)
    taken = []
    async for event in watch:
        taken.append(as_tuple(event))
        if len(taken) == count:
            break
    await watch.cancel()
    return taken


async def kv(c, p):
    first = (await c.put(p + b"a", b"1")).header.revision
    expect("previous value", (await c.put(p + b"a", b"2", prev_kv=True)).prev_kv.value, b"1")
    await c.put(p + b"b", b"3")
    await c.put(p + b"c", b"\0\xff")
    got = await c.get(p + b"a")
    expect("value", (got.value, got.version, got.create_revision), (b"2", 2, first))
    down = [(kv.key, kv.value) for kv in await c.get_prefix(p, sort_order="descend")]
    expect("downwards", down, [(p + b"c", b"\0\xff"), (p + b"b", b"3"), (p + b"a", b"2")])
    expect("range", [kv.key for kv in await c.get_range(p + b"a", p + b"c")], [p + b"a", p + b"b"])
    expect("replace", (await c.replace(p + b"b", b"no", b"x"), await c.replace(p + b"b", b"3", b"4")), (False, True))
    deleted = await c.delete(p + b"b", prev_kv=True)
    expect("delete", (deleted.deleted, deleted.prev_kv.value, await c.delete(p + b"b")), (1, b"4", None))
    expect("delete_prefix", (await c.delete_prefix(p)).deleted, 2)
    expect("nothing left", await c.get(p + b"a"), None)
    expect_error("empty key", await error_of(c.put(b"", b"x")), "etcdserver: key is not provided")


async def txn(c, p):
    t = c.transactions

    async def create():
        return await c.transaction(compare=[t.create(p + b"a") == 0], success=[t.put(p + b"a", b"1"), t.put(p + b"b", b"2")],
                                   failure=[t.get(p + b"a"), t.txn(compare=[t.value(p + b"b") == b"2", t.version(p + b"b") > 0],
                                                                   success=[t.delete(p + b"b")], failure=[])])

    expect("first branch", (await create())[0], True)
    succeeded, responses = await create()
    expect("second branch", (succeeded, len(responses)), (False, 2))
    expect("read value", responses[0][0][0], b"1")
    inner = responses[1].response_txn
    expect("inner", (inner.succeeded, inner.responses[0].response_delete_range.deleted), (True, 1))
    expect_error("the same key twice", await error_of(c.transaction([], [t.put(p, b""), t.put(p, b"")], [])), "duplicate key")


async def watch(c, p):
    revision = (await c.put(p + b"a", b"1")).header.revision
    await c.put(p + b"a", b"2")
    await c.put(p + b"b", b"3")
    await c.delete(p + b"a")
    told = [(e[1][len(p):], e[2], e[4]) for e in await take(c, p, revision, 4)]
    expect("events", told, [(b"a", b"1", "PUT"), (b"a", b"2", "PUT"), (b"b", b"3", "PUT"), (b"a", b"", "DELETE")])
    expect("filtered", [e[4] for e in await take(c, p, revision, 1, kind=DELETES)], ["DELETE"])
    await c.compact(revision + 2)
    # On a member that has not compacted yet the watch begins; so ask again.
    end = time.monotonic() + CASE_SECONDS
    while True:
        try:
            await take(c, p, revision, 1)
        except aetcd.RevisionCompactedError as e:
            return expect("compacted revision", e.compacted_revision, revision + 2)
        expect("a compacted revision is refused", time.monotonic() < end, True)


async def write_numbers(p):
    """Each number until it is acknowledged: of a put whose member died nobody knows whether it was written."""
    writer = connect(timeout=2)
    end = time.monotonic() + CASE_SECONDS
    for i in range(NUMBERS):
        while await error_of(writer.put(p + b"key%d" % (i % 7), b"%d" % i)) is not None:
            expect("the puts go on", time.monotonic() < end, True)
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.002)
    await writer.close()


async def follow(c, p, revision):
    """aetcd tells a broken watch with an exception: the next one begins behind the last event."""
    seen, steps, broken = [], dict(STEPS), 0
    while not seen or seen[-1][2] != b"%d" % (NUMBERS - 1):
        try:
            watch = await c.watch_prefix(p, start_revision=seen[-1][0] + 1 if seen else revision, prev_kv=True)
            async for event in watch:
                seen.append(as_tuple(event))
                if len(seen) in steps:
                    await asyncio.to_thread(control, steps.pop(len(seen)))
                if seen[-1][2] == b"%d" % (NUMBERS - 1):
                    await watch.cancel()
                    break
        except (aetcd.ClientError, grpc.RpcError):
            broken += 1
            expect("few streams break", broken < 100, True)
            await asyncio.sleep(0.1)
    expect("the stream broke when its member was killed", broken > 0, True)
    return seen


async def watch_resume(c, p):
    control("/mark")
    revision = (await c.put(p + b"begin", b"")).header.revision
    writer = asyncio.create_task(write_numbers(p))
    seen = await follow(c, p, revision + 1)
    await writer
    check_history(seen, await take(c, p, revision + 1, len(seen)), revision)


async def lease(c, p):
    brief, lasting = await c.lease(5), await c.lease(1000)
    revision = (await c.put(p + b"brief", b"", lease=brief)).header.revision
    await c.put(p + b"lasting", b"", lease=lasting)
    for _ in range(14):
        expect("kept alive", (await brief.refresh()).TTL, 5)
        await asyncio.sleep(0.5)
    expect("key of a lease kept alive", (await c.get(p + b"brief")).value, b"")
    expect("granted", (await lasting.granted_ttl(), list(await lasting.keys())), (1000, [p + b"lasting"]))
    expect("expired", (await take(c, p + b"brief", revision, 1, kind=DELETES))[0][1], p + b"brief")
    await lasting.revoke()
    expect("nothing left", len(await c.get_prefix(p)), 0)
    expect_error("revoked again", await error_of(lasting.revoke()), "requested lease not found")
    expect("kept alive too late", (await brief.refresh()).TTL, 0)


async def waits(what, task):
    done, _ = await asyncio.wait([task], timeout=WRONG_SECONDS)
    expect(what, done, set())


async def lock(c, p):
    one, two = c.lock(p + b"lock", ttl=60), connect().lock(p + b"lock", ttl=60)
    expect("first", await one.acquire(), True)
    expect("not at once", await two.acquire(timeout=0), False)
    waiting = asyncio.create_task(two.acquire(timeout=CASE_SECONDS))
    await waits("both have the lock", waiting)
    expect("holder", (await one.is_acquired(), await two.is_acquired()), (True, False))
    expect("released", await one.release(), True)
    expect("second", (await waiting, await two.is_acquired(), await one.is_acquired()), (True, True, False))
    await two.lease.revoke()  # the holder died
    expect("third", await one.acquire(), True)
    await one.release()


class Candidate:
    """The election recipe: the oldest key below a prefix leads; each waits for the one before it to go."""

    def __init__(self, client, prefix, lease):
        self.client, self.prefix, self.lease, self.key = client, prefix, lease, prefix + b"%x" % lease.id

    async def campaign(self, value):
        t = self.client.transactions
        await self.client.transaction([t.create(self.key) == 0], [t.put(self.key, value, lease=self.lease)], [])
        mine = (await self.client.get(self.key)).create_revision
        while True:
            all_of_them = await self.client.get_prefix(self.prefix)
            before = [kv for kv in all_of_them if kv.create_revision < mine]
            if not before:
                return
            last = max(before, key=lambda kv: kv.create_revision)
            await take(self.client, last.key, all_of_them.header.revision + 1, 1, kind=DELETES)

    async def resign(self):
        await self.client.delete(self.key)


async def leader(c, prefix):
    candidates = [(kv.create_revision, kv.value) for kv in await c.get_prefix(prefix)]
    return min(candidates)[1] if candidates else None


async def election(c, p):
    other = connect()
    one, two = Candidate(c, p, await c.lease(60)), Candidate(other, p, await other.lease(60))
    expect("before any campaign", await leader(c, p), None)
    observed = asyncio.Queue()

    async def observe(watch):
        last = None
        async for _ in watch:
            now = await leader(c, p)
            if now and now != last:
                last = now
                await observed.put(now)

    observer = asyncio.create_task(observe(await c.watch_prefix(p)))
    await one.campaign(b"one")
    expect("observed", await observed.get(), b"one")
    waiting = asyncio.create_task(two.campaign(b"two"))
    await waits("two leaders", waiting)
    await one.resign()
    await waiting
    expect("observed", await observed.get(), b"two")
    await two.lease.revoke()
    expect("nobody", await leader(c, p), None)
    observer.cancel()


async def tls(_, p):
    def client(authority, name):
        def read(what):
            return (PKI / what).read_bytes()

        pair = {"private_key": read(f"{name}.key"), "certificate_chain": read(f"{name}.crt")} if name else {}
        credentials = grpc.ssl_channel_credentials(read(f"{authority}.crt"), **pair)
        made = aetcd.Client(host=TLS_HOST, port=int(TLS_PORT), timeout=60 if (authority, name) == ("ca", "alice") else 3)
        return made, lambda target, options: rpc.secure_channel(target, credentials, options=list(options))

    async def with_tls(authority, name, action):
        made, channel = client(authority, name)
        plain, rpc.insecure_channel = rpc.insecure_channel, channel
        try:
            await made.connect()
        finally:
            rpc.insecure_channel = plain
        return await action(made)

    async def write_and_watch(c):
        revision = (await c.put(p + b"a", b"1")).header.revision
        return (await take(c, p, revision, 1))[0][2]

    expect("watched", await with_tls("ca", "alice", write_and_watch), b"1")
    for authority, name in [("ca", None), ("ca", "stranger"), ("other", "alice")]:
        refused = await error_of(with_tls(authority, name, lambda c: c.put(p + b"a", b"2")))
        expect(f"refused: authority {authority}, client {name}", refused is not None, True)


async def auth(c, p):
    stub = rpc.AuthStub(c.channel)
    await c.put(p + b"a", b"1")
    await stub.RoleAdd(rpc.AuthRoleAddRequest(name="reader"))
    permission = rpc.Permission(permType=rpc.Permission.READ, key=p, range_end=prefix_end(p))
    await stub.RoleGrantPermission(rpc.AuthRoleGrantPermissionRequest(name="reader", perm=permission))
    for name, role in [("root", "root"), ("alice", "reader")]:
        await stub.UserAdd(rpc.AuthUserAddRequest(name=name, password=name + "-secret"))
        await stub.UserGrantRole(rpc.AuthUserGrantRoleRequest(user=name, role=role))
    await stub.AuthEnable(rpc.AuthEnableRequest())
    root = connect(username="root", password="root-secret")
    await root.connect()
    managed = rpc.AuthStub(root.channel)
    try:
        guess = connect(username="alice", password="guess")
        expect_error("wrong password", await error_of(guess.connect()), "authentication failed")
        alice = connect(username="alice", password="alice-secret")
        expect("value", (await alice.get(p + b"a")).value, b"1")
        expect_error("write", await error_of(alice.put(p + b"a", b"2")), "permission denied")
        expect_error("outside", await error_of(alice.get(b"elsewhere")), "permission denied")
        expect_error("no user", await error_of(c.get(p + b"a")), "user name is empty")
        # A right that is taken away ends at once, also for a token given out before.
        await managed.UserRevokeRole(rpc.AuthUserRevokeRoleRequest(name="alice", role="reader"), metadata=root.metadata)
        expect_error("after revoke", await error_of(alice.get(p + b"a")), "permission denied")
        await root.put(p + b"a", b"2")
    finally:
        await managed.AuthDisable(rpc.AuthDisableRequest(), metadata=root.metadata)
    await c.put(p + b"a", b"3")


CASES = [
    ("watch resume", watch_resume),  # first: no other case has left a watch
    ("kv", kv), ("txn", txn), ("watch", watch), ("lease", lease), ("lock", lock), ("election", election), ("tls", tls), ("auth", auth),
]


async def one_case(function, p):
    client = connect()
    await client.connect()
    await asyncio.wait_for(function(client, p), CASE_SECONDS)


if __name__ == "__main__":
    run(CASES, lambda function, p: asyncio.run(one_case(function, p)))
