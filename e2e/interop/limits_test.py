#!/usr/bin/python3
"""Each limit of the client port, just below and just above it, beside etcd: what is answered, and that the server goes
on serving. Limits that etcd does not have are asked of ours alone. (Debian's Python: it has the package python3-hpack.)
"""

import http.client
import socket
import struct
import time

from grpc_raw import Connection, field
from gateway_test import b64, post
from pair import fairlead_binary, pair, run_tests, server, tests_of, wait_for

KV, LEASE, AUTH = "/etcdserverpb.KV/", "/etcdserverpb.Lease/", "/etcdserverpb.Auth/"
REQUEST_BYTES = 1536 * 1024      # --max-request-bytes
MESSAGE_BYTES = REQUEST_BYTES + 512 * 1024
ENVELOPE_BYTES = 100             # what a request grows by in either server's log, at most
TXN_OPS = 128
OK, INVALID, OUT_OF_RANGE, EXHAUSTED, UNIMPLEMENTED = 0, 3, 11, 8, 12


def ask(s, path, message, metadata=()):
    with Connection(s.client_port) as c:
        return c.unary(path, message, metadata)[:2]


def both(servers, path, message, metadata=()):
    """The answer of both, which is the same."""
    answers = [ask(s, path, message, metadata) for s in servers]
    assert answers[0] == answers[1], f"etcd {answers[0]}, ours {answers[1]}"
    return answers[1]


def put(key, size):
    return field(1, key) + field(2, b"v" * size)


def range_of(size):
    """A Range whose encoded request has `size` bytes."""
    for head in range(2, 8):
        message = field(1, b"k" * (size - head))
        if len(message) == size:
            return message
    raise AssertionError(size)


def nested(levels, innermost=b""):
    """A txn in a txn in a txn ..."""
    message = innermost
    for _ in range(levels - 1):
        message = field(2, field(4, message))
    return message


def still_serves(*servers):
    for s in servers:
        assert ask(s, KV + "Put", put("alive", 1)) == (OK, ""), s.process.args[0]


# --- requests


def test_request_bytes():
    with pair() as servers:
        too_large = (INVALID, "etcdserver: request is too large")
        assert both(servers, KV + "Put", put("k", REQUEST_BYTES - ENVELOPE_BYTES)) == (OK, "")
        assert both(servers, KV + "Put", put("k", REQUEST_BYTES)) == too_large
        half = REQUEST_BYTES // 2
        txn = b"".join(field(2, field(2, put(k, half - ENVELOPE_BYTES))) for k in ("a", "b"))
        assert both(servers, KV + "Txn", txn) == (OK, "")
        txn = b"".join(field(2, field(2, put(k, half))) for k in ("a", "b"))
        assert both(servers, KV + "Txn", txn) == too_large
        assert both(servers, KV + "DeleteRange", field(1, b"d" * (REQUEST_BYTES - ENVELOPE_BYTES))) == (OK, "")
        assert both(servers, KV + "DeleteRange", field(1, b"d" * REQUEST_BYTES)) == too_large
        # etcd itself dies of a name that its database cannot take as a key, so only the refusal is compared.
        assert ask(servers[1], AUTH + "RoleAdd", field(1, b"r" * (REQUEST_BYTES - ENVELOPE_BYTES))) == (OK, "")
        assert both(servers, AUTH + "RoleAdd", field(1, b"r" * REQUEST_BYTES)) == too_large
        still_serves(*servers)


def test_request_bytes_by_flag():
    with pair(["--max-request-bytes", "10000"]) as servers:
        assert both(servers, KV + "Put", put("k", 10000 - ENVELOPE_BYTES)) == (OK, "")
        assert both(servers, KV + "Put", put("k", 10000)) == (INVALID, "etcdserver: request is too large")
        limit = 10000 + 512 * 1024
        assert both(servers, KV + "Range", range_of(limit)) == (OK, "")
        assert both(servers, KV + "Range", range_of(limit + 1))[0] == EXHAUSTED
    with pair(["--max-request-bytes", str(9 << 20)]) as servers:  # more than the limits that have no flag would let in
        size = (9 << 20) - ENVELOPE_BYTES
        assert both(servers, KV + "Put", put("k", size)) == (OK, "")
        for s in servers:
            status, _, _ = post(s, "/v3/kv/put", {"key": b64("g"), "value": b64("v" * size)})
            assert status == 200, (s.process.args[0], status)


def test_message_bytes():
    with pair() as servers:
        assert both(servers, KV + "Range", range_of(MESSAGE_BYTES)) == (OK, "")
        assert both(servers, KV + "Range", range_of(MESSAGE_BYTES + 1)) == (
            EXHAUSTED, f"grpc: received message larger than max ({MESSAGE_BYTES + 1} vs. {MESSAGE_BYTES})")
        for s in servers:  # announced, and never sent
            with Connection(s.client_port) as c:
                call = c.open(KV + "Range")
                c.send_data(call, b"\0" + struct.pack(">I", 0xffffffff))
                assert c.wait(lambda: call.over), s.process.args[0]
                assert call.status()[0] == EXHAUSTED, (s.process.args[0], call.status())
        still_serves(*servers)


def test_message_bytes_of_the_gateway():
    with pair() as (a, b):
        for size in (MESSAGE_BYTES - 10, MESSAGE_BYTES + 1, MESSAGE_BYTES * 14 // 10):
            body = {"key": b64("k" * size)}
            answers = [post(s, "/v3/kv/range", body) for s in (a, b)]
            assert answers[0][0] == answers[1][0], (size, [x[0] for x in answers], answers[1][2])
            if answers[0][0] != 200:
                assert answers[0][2] == answers[1][2], (size, answers[0][2], answers[1][2])
        still_serves(a, b)


def test_txn_ops():
    with pair() as servers:
        too_many = (INVALID, "etcdserver: too many operations in txn request")
        compare = field(1, field(3, b"k"))
        success, failure = (field(n, field(1, field(1, b"k"))) for n in (2, 3))
        for part in (compare, success, failure):
            assert both(servers, KV + "Txn", part * TXN_OPS) == (OK, "")
            assert both(servers, KV + "Txn", part * (TXN_OPS + 1)) == too_many
        assert both(servers, KV + "Txn", (compare + success + failure) * TXN_OPS) == (OK, "")
        still_serves(*servers)
    with pair(["--max-txn-ops", "3"]) as servers:
        assert both(servers, KV + "Txn", success * 3) == (OK, "")
        assert both(servers, KV + "Txn", success * 4) == too_many


def test_txn_nesting():
    """Each level takes its operations off what the levels below may have."""
    with pair() as servers:
        too_many = (INVALID, "etcdserver: too many operations in txn request")
        leaf = field(2, field(1, field(1, b"k")))
        assert both(servers, KV + "Txn", nested(3, leaf * (TXN_OPS - 2))) == (OK, "")
        assert both(servers, KV + "Txn", nested(3, leaf * (TXN_OPS - 1))) == too_many
        for levels in (50, 51, 60, TXN_OPS - 1, TXN_OPS):
            assert both(servers, KV + "Txn", nested(levels, leaf)) == (OK, ""), levels
        assert both(servers, KV + "Txn", nested(TXN_OPS + 1, leaf)) == too_many
        for levels in (1000, 5000):
            answers = [ask(s, KV + "Txn", nested(levels, leaf)) for s in servers]
            assert OK not in [code for code, _ in answers], answers
        still_serves(*servers)


def test_txn_nesting_of_the_gateway():
    with pair() as (a, b):
        for levels, status in ((3, 200), (60, 200), (TXN_OPS, 200), (TXN_OPS + 1, 400)):
            body = {"success": [{"request_range": {"key": b64("k")}}]}
            for _ in range(levels - 1):
                body = {"success": [{"request_txn": body}]}
            answers = [post(s, "/v3/kv/txn", body) for s in (a, b)]
            assert [x[0] for x in answers] == [status, status], (levels, answers)

            def depth(answer):
                n = 0
                while answer:
                    answer, n = answer.get("responses", [{}])[0].get("response_txn"), n + 1
                return n
            assert depth(answers[0][2][0]) == depth(answers[1][2][0]), levels


def test_lease_ttl():
    with pair() as servers:
        assert both(servers, LEASE + "LeaseGrant", field(1, 9_000_000_000) + field(2, 7)) == (OK, "")
        assert both(servers, LEASE + "LeaseGrant", field(1, 9_000_000_001)) == (
            OUT_OF_RANGE, "etcdserver: too large lease TTL")


def test_password_bytes():
    with pair() as servers:
        assert both(servers, AUTH + "UserAdd", field(1, "u72") + field(2, "p" * 72)) == (OK, "")
        both(servers, AUTH + "UserAdd", field(1, "u73") + field(2, "p" * 73))
        still_serves(*servers)


# --- connections


def test_concurrent_streams():
    """One more than was agreed on is refused, and only that one."""
    with pair(["--max-concurrent-streams", "5"]) as servers:
        for s in servers:
            with Connection(s.client_port) as c:
                assert c.settings.get(3) == 5, (s.process.args[0], c.settings)
                calls = [c.open("/etcdserverpb.Watch/Watch") for _ in range(5)]
                for call in calls:
                    c.send_message(call, field(1, field(1, b"k")))
                assert c.wait(lambda: all(call.messages() for call in calls))
                over = c.open(KV + "Range")
                assert c.wait(lambda: over.over), s.process.args[0]
                assert over.reset == 7, (s.process.args[0], over.reset)  # REFUSED_STREAM
                assert ask(s, KV + "Put", put("k", 1)) == (OK, "")  # makes an event for those that are open
                assert c.wait(lambda: all(len(call.messages()) > 1 for call in calls)), s.process.args[0]
                assert not c.goaway, (s.process.args[0], c.goaway)


def test_concurrent_streams_default():
    """etcd has no limit; ours is far above what clients open."""
    with server(fairlead_binary()) as s, Connection(s.client_port) as c:
        assert c.settings.get(3) == 16 * 1024, c.settings


def test_watches_of_a_stream():
    """No limit in either: each of many is created, gets its event and can be cancelled."""
    count = 5000
    with pair() as servers:
        for s in servers:
            with Connection(s.client_port) as c:
                call = c.open("/etcdserverpb.Watch/Watch")
                for _ in range(count):
                    c.send_message(call, field(1, field(1, b"w")))
                assert c.wait(lambda: call.data.count(b"\x18\x01") >= count), s.process.args[0]  # created = true
                call.data = b""
                assert ask(s, KV + "Put", put("w", 1)) == (OK, "")
                events = b"\x0a\x01w"  # each has the key
                assert c.wait(lambda: call.data.count(events) >= count), (s.process.args[0], call.data.count(events))


def test_header_bytes():
    """Ours is 16 KiB and said so in SETTINGS; etcd's is 16 MiB."""
    def header_bytes(fields):
        return sum(len(k) + len(v) + 32 for k, v in fields)
    base = header_bytes([(":method", "POST"), (":scheme", "http"), (":path", KV + "Range"), (":authority", "localhost"),
                         ("content-type", "application/grpc"), ("te", "trailers")])
    fill = 16 * 1024 - base - 32 - len("x-fill")
    with pair() as servers:
        assert both(servers, KV + "Range", field(1, b"k"), [("x-fill", "f" * fill)]) == (OK, "")
        s = servers[1]
        with Connection(s.client_port) as c:
            assert c.settings.get(6) == 16 * 1024, c.settings
            refused = c.unary(KV + "Range", field(1, b"k"), [("x-fill", "f" * (fill + 1))])
            assert refused[:2] == (EXHAUSTED, "request headers are larger than the limit of 16384 bytes"), refused
            many = [("x-fill", "")] * 600
            assert c.unary(KV + "Range", field(1, b"k"), many)[0] == EXHAUSTED  # many small ones count too
            assert c.unary(KV + "Range", field(1, b"k"))[0] == OK  # the connection goes on
        still_serves(s)


def test_path_bytes():
    with pair() as servers:
        for path in ("/" + "p" * 8000, "/a/" + "p" * 8000, "no-slash", "/"):
            answer = both(servers, path, b"")
            assert answer[0] == UNIMPLEMENTED, answer
        with Connection(servers[1].client_port) as c:
            assert c.unary("/" + "p" * 17000, b"")[0] == EXHAUSTED
        still_serves(*servers)


def test_http_header_and_path_bytes():
    def get(s, path, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", s.client_port, timeout=30)
        connection.request("GET", path, headers=dict(headers))
        return connection.getresponse().status
    with pair() as (a, b):
        assert get(a, "/health?" + "x" * 4000) == 200  # etcd's own is 4 KiB for the first line where there is no TLS
        assert get(b, "/health?" + "x" * 15_000) == 200
        for s in (a, b):
            assert get(s, "/health", [("X-Fill", "f" * 15_000)]) == 200, s.process.args[0]
        head = len("GET / HTTP/1.1\r\nHost: 127.0.0.1:12345\r\nAccept-Encoding: identity\r\n\r\n")
        assert get(b, "/" + "x" * (16 * 1024 - head - 200)) == 404
        assert get(b, "/" + "x" * 16 * 1024) == 431
        assert get(b, "/", [("X-Fill", "f" * 16 * 1024)]) == 431
        still_serves(a, b)


def test_json_depth():
    """10,000 levels in both, counted with the message itself."""
    with pair() as (a, b):
        for levels, status in ((9_999, 200), (10_000, 400), (100_000, 400)):
            for opened, closed in (("[", "]"), ('{"a":', "}")):
                inner = "1" if opened != "[" else ""
                body = '{"key":"' + b64("k") + '","unknown":' + opened * levels + inner + closed * levels + "}"
                answers = [post(s, "/v3/kv/range", body) for s in (a, b)]
                assert answers[0][0] == answers[1][0] == status, (levels, opened, [x[0] for x in answers])
                if status != 200:
                    assert answers[0][2] == answers[1][2], (levels, answers[0][2], answers[1][2])
        still_serves(a, b)


def test_http_body_bytes():
    """Ours grows with the limit of requests: twice that of a message, for base64 and names. etcd has none."""
    with server(fairlead_binary()) as s:
        for size, status in ((2 * MESSAGE_BYTES, 400), (2 * MESSAGE_BYTES + 1, 413)):
            with socket.create_connection(("127.0.0.1", s.client_port), timeout=60) as c:
                c.sendall(f"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
                if status == 400:
                    c.sendall(b"x" * size)
                assert c.recv(100).startswith(f"HTTP/1.1 {status} ".encode()), size
        still_serves(s)


def test_unfinished_requests_of_a_connection():
    """16 MiB of halves of messages; whoever asks for more is refused, and the others are not."""
    with server(fairlead_binary()) as s, Connection(s.client_port) as c:
        half = b"\0" + struct.pack(">I", MESSAGE_BYTES) + b"h" * (256 * 1024 - 5)
        calls = []
        for _ in range(80):
            calls.append(c.open(KV + "Put"))
            c.send_data(calls[-1], half)
        c.wait(lambda: any(call.over for call in calls))
        refused = [call for call in calls if call.over]
        assert refused and len(calls) - len(refused) >= 60, len(refused)
        assert refused[0].status()[0] == EXHAUSTED, refused[0].status()
        still_serves(s)


def test_pings():
    """As often as --grpc-keepalive-min-time allows, and more often: the third strike is the end."""
    with pair(["--grpc-keepalive-min-time", "1s"]) as servers:
        for s in servers:
            for pause, fine in ((1.3, True), (0.05, False)):
                with Connection(s.client_port) as c:
                    call = c.open("/etcdserverpb.Watch/Watch")
                    c.send_message(call, field(1, field(1, b"quiet")))
                    assert c.wait(lambda: call.messages())
                    for n in range(5):
                        c.send(b"\0\0\x08\x06\0\0\0\0\0" + struct.pack(">Q", n))
                        c.wait(lambda: c.goaway, pause)
                    c.wait(lambda: c.goaway, 0 if fine else 60)
                    assert (c.goaway is None) == fine, (s.process.args[0], pause, c.goaway)
                    assert fine or c.goaway == (11, "too_many_pings"), c.goaway


def test_snapshots_at_a_time():
    """Eight streams of a snapshot that nobody reads; the ninth is refused. etcd has no limit."""
    with server(fairlead_binary()) as s:
        for n in range(4):
            wait_for(lambda: ask(s, KV + "Put", put(f"big{n}", 700_000)) == (OK, ""), 60, "a put")
        with Connection(s.client_port) as c:
            c.send(b"\0\0\x06\x04\0\0\0\0\0" + struct.pack(">HI", 4, 0))  # no window: nothing of them is taken
            calls = [c.open("/etcdserverpb.Maintenance/Snapshot") for _ in range(8)]
            for call in calls:
                c.send_message(call, b"", end=True)
            time.sleep(1)
            assert not any(call.over for call in calls)
            ninth = c.open("/etcdserverpb.Maintenance/Snapshot")
            c.send_message(ninth, b"", end=True)
            assert c.wait(lambda: ninth.over)
            assert ninth.status()[0] == EXHAUSTED, ninth.status()
        still_serves(s)


if __name__ == "__main__":
    run_tests(tests_of(globals()))
