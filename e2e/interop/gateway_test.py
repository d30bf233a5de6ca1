#!/usr/bin/env python3
"""The JSON gateway beside etcd's: every path with good and bad bodies, equal status and equal JSON."""

import base64
import http.client
import json
import re
import socket

from pair import fairlead_binary, pair, run_tests, server, tests_of, wait_for

# What differs between any two clusters: ids, terms, sizes, addresses.
MASKED = {"cluster_id", "member_id", "raft_term", "raftTerm", "raftIndex", "raftAppliedIndex", "leader", "dbSize",
          "dbSizeInUse", "hash", "peerURLs", "clientURLs", "token"}


def b64(text):
    return base64.b64encode(text.encode()).decode()


def mask(value):
    if isinstance(value, dict):
        if "members" in value:  # in the order of their ids
            value = {**value, "members": sorted(({**m, "ID": "*"} for m in value["members"]), key=json.dumps)}
        if "member" in value:
            value = {**value, "member": {**value["member"], "ID": "*"}}
        return {k: "*" if k in MASKED and not isinstance(v, dict) else mask(v) for k, v in value.items()}
    if isinstance(value, list):
        return [mask(v) for v in value]
    return value


def post(s, path, body, headers=None, method="POST", stream_seconds=2.0, answer_seconds=60):
    """(status, headers, [JSON values]); of a stream what comes within a while. Without an answer the status is None."""
    connection = http.client.HTTPConnection("127.0.0.1", s.client_port, timeout=answer_seconds)
    connection.request(method, path, body if isinstance(body, (str, bytes)) else json.dumps(body), headers or {})
    try:
        response = connection.getresponse()
    except (socket.timeout, TimeoutError):
        connection.close()
        return None, {}, []
    if response.headers.get("Transfer-Encoding") == "chunked" and connection.sock:
        connection.sock.settimeout(stream_seconds)
    text = b""
    try:
        while chunk := response.read1(65536):
            text += chunk
    except (socket.timeout, TimeoutError):
        pass
    connection.close()
    text = text.decode().replace("\u00a0", " ")
    if not text.startswith("{"):
        return response.status, response.headers, [text] if text else []
    return response.status, response.headers, [json.loads(line) for line in text.split("\n") if line]


def case(path, body, **more):
    return (path, body, more)


PATHS = {"/v3/" + path for path in """
    kv/range kv/put kv/deleterange kv/txn kv/compaction watch lease/grant lease/revoke kv/lease/revoke lease/keepalive
    lease/timetolive kv/lease/timetolive lease/leases kv/lease/leases cluster/member/add cluster/member/remove
    cluster/member/update cluster/member/list cluster/member/promote maintenance/alarm maintenance/status
    maintenance/defragment maintenance/hash maintenance/hashkv maintenance/snapshot maintenance/transfer-leadership
    maintenance/downgrade auth/enable auth/disable auth/status auth/authenticate auth/user/add auth/user/get
    auth/user/list auth/user/delete auth/user/changepw auth/user/grant auth/user/revoke auth/role/add auth/role/get
    auth/role/list auth/role/delete auth/role/grant auth/role/revoke lock/lock lock/unlock election/campaign
    election/proclaim election/leader election/observe election/resign""".split()}
# Without a good answer above: it needs a second member that runs.
NO_GOOD_ANSWER = {"/v3/cluster/member/promote"}

# In order: each may build on what went before. A number as an ID: chosen here, so that both know it. MEMBER and LEARNER:
# that of the member itself, and of the learner that was added. ELECTED: the revision at which the leader of "e" became it.
CASES = [
    case("/v3/kv/put", {"key": b64("foo"), "value": b64("bar")}),
    case("/v3/kv/put", {"key": b64("foo"), "value": b64("bar2"), "prev_kv": True}),
    case("/v3/kv/put", {"key": b64("foo"), "value": b64("bar3"), "prevKv": True}),
    case("/v3/kv/put", {"value": b64("no key")}),
    case("/v3/kv/put", {"key": b64("k"), "lease": "12345"}),
    case("/v3/kv/put", {"key": b64("k"), "ignore_value": True}),
    case("/v3/kv/put", "{\"key\": \"Zm9v\", \"value\": 7}"),
    case("/v3/kv/put", "{\"key\": \"not base64!\"}"),
    case("/v3/kv/put", "{\"key\": \"Zg==\", \"key\": \"Zg==\"}"),
    case("/v3/kv/put", "{\"key\": \"Zg=\"}"),
    case("/v3/kv/range", {"key": b64("foo")}),
    case("/v3/kv/range", {"key": b64("foo"), "unknown_field": {"a": [1, {}]}}),
    case("/v3/kv/range", {"key": b64("\0"), "range_end": b64("\0"), "limit": 1}),
    case("/v3/kv/range", {"key": b64("\0"), "rangeEnd": b64("\0"), "limit": "1", "sort_order": "DESCEND", "sort_target": "MOD"}),
    case("/v3/kv/range", {"key": b64("foo"), "sort_order": 1, "sort_target": 3, "count_only": True}),
    case("/v3/kv/range", {"key": b64("foo"), "sort_order": "SIDEWAYS"}),
    case("/v3/kv/range", {"key": b64("foo"), "sort_order": 99}),
    case("/v3/kv/range", {"key": b64("foo"), "revision": 1e3}),
    case("/v3/kv/range", {"key": b64("foo"), "revision": 2.0}),
    case("/v3/kv/range", {"key": b64("foo"), "revision": 2.5}),
    case("/v3/kv/range", {"key": b64("foo"), "limit": "x"}),
    case("/v3/kv/range", {"key": b64("foo"), "limit": "99999999999999999999"}),
    case("/v3/kv/range", {"key": b64("foo"), "limit": True}),
    case("/v3/kv/range", {"key": b64("foo"), "serializable": "yes"}),
    case("/v3/kv/range", {"key": None, "range_end": None}),
    case("/v3/kv/range", ""),
    case("/v3/kv/range", "  "),
    case("/v3/kv/range", "{"),
    case("/v3/kv/range", "{\"key\""),
    case("/v3/kv/range", "{\"key\":\"a"),
    case("/v3/kv/range", "{\"key\" \"Zm9v\"}"),
    case("/v3/kv/range", "{\"key\":\"Zm9v\" \"b\"}"),
    case("/v3/kv/range", "{key:1}"),
    case("/v3/kv/range", "{\"key\":\"Zm9v\",}"),
    case("/v3/kv/range", "{\"key\":\"\\x\"}"),
    case("/v3/kv/range", "{\"key\":\"\\u12g4\"}"),
    case("/v3/kv/range", "{\"key\":\"Zm\n9v\"}"),
    case("/v3/kv/range", "{\"key\":[1,2}"),
    case("/v3/kv/range", "{\"limit\":-}"),
    case("/v3/kv/range", "{\"limit\":1.}"),
    case("/v3/kv/range", "{\"limit\":1e}"),
    case("/v3/kv/range", "{\"limit\":tru}"),
    case("/v3/kv/range", "nonsense"),
    case("/v3/kv/range", "[1]"),
    case("/v3/kv/range", "7"),
    case("/v3/kv/range", "\"text\""),
    case("/v3/kv/range", "null"),
    case("/v3/kv/range", "{\"key\":{\"a\":1}}"),
    case("/v3/kv/range", "{\"key\":\n  [\"é\", 2]}"),
    case("/v3/kv/range", "{\"key\":\"Zm9v\"} trailing"),
    case("/v3/kv/range", {"key": b64("foo")}, method="GET"),
    case("/v3/kv/range", {"key": b64("foo")}, method="PUT"),
    case("/v3/kv/nothing", {}),
    case("/v3/", {}),
    case("/v3beta/kv/range", {"key": b64("foo")}),
    case("/v3/kv/txn", {"compare": [{"key": b64("foo"), "target": "VALUE", "result": "EQUAL", "value": b64("bar3")}],
                        "success": [{"request_put": {"key": b64("t"), "value": b64("1")}},
                                    {"requestRange": {"key": b64("t")}},
                                    {"request_delete_range": {"key": b64("t"), "prev_kv": True}},
                                    {"request_txn": {"failure": [], "success": [{"request_range": {"key": b64("foo")}}]}}],
                        "failure": [{"request_range": {"key": b64("foo")}}]}),
    case("/v3/kv/txn", {"compare": [{"key": b64("foo"), "target": "VERSION", "version": "7", "value": b64("x")}]}),
    case("/v3/kv/txn", {"compare": [{"key": b64("foo"), "target": "CREATE", "result": "GREATER", "create_revision": "1"}]}),
    case("/v3/kv/txn", {"success": [{"request_put": {"key": b64("d")}}, {"request_put": {"key": b64("d")}}]}),
    case("/v3/kv/txn", {"success": 5}),
    case("/v3/kv/deleterange", {"key": b64("foo"), "prev_kv": True}),
    case("/v3/kv/deleterange", {}),
    case("/v3/kv/put", {"key": b64("c"), "value": b64("1")}),
    case("/v3/kv/compaction", {"revision": "3"}),
    case("/v3/kv/compaction", {"revision": "3"}),
    case("/v3/kv/compaction", {"revision": "3000"}),
    case("/v3/kv/range", {"key": b64("foo"), "revision": "2"}),
    case("/v3/watch", {"create_request": {"key": b64("c"), "start_revision": "4"}}),
    case("/v3/watch", {"create_request": {"key": b64("c"), "start_revision": "1"}}),
    case("/v3/watch", "{\"create_request\":{\"key\":\"Yw==\",\"watch_id\":\"7\"}}\n"
                      "{\"cancel_request\":{\"watch_id\":\"7\"}}"),
    case("/v3/watch", {"create_request": {"key": b64("b"), "range_end": b64("a")}}),
    case("/v3/lease/grant", {"TTL": "600", "ID": "77"}),
    case("/v3/lease/grant", {"TTL": "600", "ID": "77"}),
    case("/v3/lease/grant", {"TTL": "99999999999"}),
    case("/v3/lease/keepalive", {"ID": "77"}),
    case("/v3/lease/keepalive", "{\"ID\":\"77\"}{\"ID\":\"78\"}"),
    case("/v3/lease/keepalive", {"ID": "x"}),
    case("/v3/kv/put", {"key": b64("leased"), "lease": "77"}),
    case("/v3/lease/timetolive", {"ID": "77", "keys": True}),
    case("/v3/kv/lease/timetolive", {"ID": 77}),
    case("/v3/lease/timetolive", {"ID": "78"}),
    case("/v3/lease/leases", {}),
    case("/v3/kv/lease/leases", ""),
    case("/v3/lease/revoke", {"ID": "77"}),
    case("/v3/kv/lease/revoke", {"ID": "77"}),
    case("/v3/lease/grant", {"TTL": "600", "ID": "79"}),
    case("/v3/kv/lease/revoke", {"ID": "79"}),
    case("/v3/lease/revoke", {"ID": []}),
    case("/v3/cluster/member/list", {}),
    case("/v3/cluster/member/list", {"linearizable": 1}),
    case("/v3/cluster/member/remove", {"ID": "1"}),
    case("/v3/cluster/member/update", {"ID": "1", "peerURLs": ["http://127.0.0.1:1"]}),
    case("/v3/cluster/member/add", {"peerURLs": ["no url"]}),
    case("/v3/cluster/member/add", {"peerURLs": "no list"}),
    case("/v3/cluster/member/promote", {"ID": "1"}),
    case("/v3/cluster/member/update", {"ID": "MEMBER", "peerURLs": ["http://127.0.0.1:1"]}),
    case("/v3/cluster/member/add", {"peerURLs": ["http://127.0.0.1:2"], "isLearner": True}),  # its name, in any style
    case("/v3/cluster/member/add", {"peerURLs": ["http://127.0.0.1:1"]}),
    case("/v3/cluster/member/promote", {"ID": "LEARNER"}),
    case("/v3/cluster/member/remove", {"ID": "LEARNER"}),
    case("/v3/cluster/member/remove", {"ID": "-1"}),
    case("/v3/maintenance/status", {}),
    case("/v3/maintenance/alarm", {}),
    case("/v3/maintenance/alarm", {"action": "ACTIVATE", "alarm": "NOSPACE"}),
    case("/v3/kv/put", {"key": b64("full"), "value": b64("1")}),
    case("/v3/maintenance/alarm", {"action": "DEACTIVATE", "alarm": "NOSPACE"}),
    case("/v3/maintenance/alarm", {"action": {}}),
    case("/v3/maintenance/hash", {}),
    case("/v3/maintenance/hashkv", {"revision": "99999"}),
    case("/v3/maintenance/defragment", {}),
    case("/v3/maintenance/transfer-leadership", {"targetID": "1"}),
    case("/v3/maintenance/transfer-leadership", {"targetID": "MEMBER"}),
    case("/v3/maintenance/hashkv", {}),
    case("/v3/maintenance/downgrade", {"action": "VALIDATE", "version": "3.6.0"}),
    case("/v3/maintenance/downgrade", {"action": "VALIDATE", "version": "nonsense"}),
    case("/v3/maintenance/downgrade", {"action": "CANCEL"}),
    case("/v3/lock/lock", {"name": b64("lock"), "lease": "555"}),
    case("/v3/lease/grant", {"TTL": "600", "ID": "555"}),
    case("/v3/lock/lock", {"name": b64("lock"), "lease": "555"}),
    case("/v3/lock/lock", {"name": b64("lock"), "lease": "555"}),
    case("/v3/lock/lock", {"name": 5}),
    case("/v3/lock/unlock", {"key": b64("lock/22b")}),
    case("/v3/lock/unlock", {"key": b64("lock/22b")}),
    case("/v3/lock/unlock", {}),
    case("/v3/election/leader", {"name": b64("e")}),
    case("/v3/election/campaign", {"name": b64("e"), "lease": "555", "value": b64("v1")}),
    case("/v3/election/campaign", {"name": b64("e"), "lease": "555", "value": b64("v2")}),
    case("/v3/election/leader", {"name": b64("e")}),
    case("/v3/election/observe", {"name": b64("e")}),
    case("/v3/election/proclaim", {"leader": {"name": b64("e"), "key": b64("e/22b"), "rev": "1", "lease": "555"}, "value": b64("v3")}),
    case("/v3/election/proclaim", {"leader": {"name": b64("e"), "key": b64("e/22b"), "rev": "ELECTED", "lease": "555"}, "value": b64("v3")}),
    case("/v3/election/proclaim", {}),
    case("/v3/election/resign", {"leader": {"name": b64("e"), "key": b64("e/22b"), "rev": "1", "lease": "555"}}),
    case("/v3/election/resign", {}),
    case("/v3/auth/status", {}),
    case("/v3/auth/enable", {}),
    case("/v3/auth/disable", {}),
    case("/v3/auth/authenticate", {"name": "a", "password": "b"}),
    case("/v3/auth/user/add", {"name": "root", "password": "pw"}),
    case("/v3/auth/user/add", {"name": "root", "password": "pw"}),
    case("/v3/auth/user/add", {"password": "pw"}),
    case("/v3/auth/user/get", {"name": "root"}),
    case("/v3/auth/user/get", {"name": "nobody"}),
    case("/v3/auth/user/list", {}),
    case("/v3/auth/user/changepw", {"name": "root", "password": "pw2"}),
    case("/v3/auth/user/grant", {"user": "root", "role": "root"}),
    case("/v3/auth/role/add", {"name": "root"}),
    case("/v3/auth/role/add", {"name": "r1"}),
    case("/v3/auth/role/get", {"role": "r1"}),
    case("/v3/auth/role/grant", {"name": "r1", "perm": {"permType": "READWRITE", "key": b64("a"), "range_end": b64("b")}}),
    case("/v3/auth/role/get", {"role": "r1"}),
    case("/v3/auth/role/revoke", {"role": "r1", "key": b64("a"), "range_end": b64("b")}),
    case("/v3/auth/role/list", {}),
    case("/v3/auth/user/grant", {"user": "root", "role": "root"}),
    case("/v3/auth/user/revoke", {"name": "root", "role": "r1"}),
    case("/v3/auth/user/add", {"name": "second", "options": {"no_password": True}}),
    case("/v3/auth/user/grant", {"user": "second", "role": "r1"}),
    case("/v3/auth/user/revoke", {"name": "second", "role": "r1"}),
    case("/v3/auth/user/delete", {"name": "second"}),
    case("/v3/auth/user/delete", {"name": "second"}),
    case("/v3/auth/role/delete", {"role": "r1"}),
    case("/v3/auth/enable", {}),
    case("/v3/kv/range", {"key": b64("foo")}),
    case("/v3/auth/user/list", {}),
    case("/v3/auth/user/list", {}, headers={"Authorization": "no such token"}),
    case("/v3/auth/authenticate", {"name": "root", "password": "wrong"}),
    case("/v3/auth/authenticate", {"name": "root", "password": "pw2"}),
    case("/v3/auth/disable", {}),
]


def named(s, body):
    """The body for this server, with what is called otherwise there."""
    text = body if isinstance(body, str) else json.dumps(body)
    if "MEMBER" in text or "LEARNER" in text:
        for m in post(s, "/v3/cluster/member/list", {})[2][0]["members"]:
            text = text.replace("LEARNER" if m.get("isLearner") else "MEMBER", m["ID"])
    if "ELECTED" in text:
        text = text.replace("ELECTED", post(s, "/v3/election/leader", {"name": b64("e")})[2][0]["kv"]["create_revision"])
    return text


def compare(a, b, path, body, more, seen=None):
    status_a, headers_a, values_a = post(a, path, named(a, body), **more)
    status_b, headers_b, values_b = post(b, path, named(b, body), **more)
    if seen is not None:
        seen.add((path, status_a == 200 and bool(values_a) and "error" not in str(values_a)))
    what = f"{more.get('method', 'POST')} {path} {body}"
    difference = ""
    if status_a != status_b:
        difference += f"status {status_a}, ours {status_b}; "
    if mask(values_a) != mask(values_b):
        difference += f"\n  etcd {json.dumps(mask(values_a))[:600]}\n  ours {json.dumps(mask(values_b))[:600]}"
    for name in ("Content-Type", "Access-Control-Allow-Origin", "WWW-Authenticate"):
        if values_a and headers_a.get(name) != headers_b.get(name):
            difference += f"\n  {name}: etcd {headers_a.get(name)}, ours {headers_b.get(name)}"
    return f"{what}: {difference}" if difference else None


def test_every_path_beside_etcd():
    with pair() as (a, b):
        seen = set()
        # A watch says nothing before it has understood a request, and ends only with its client.
        cases = CASES + [case(path, body, **({"answer_seconds": 3} if path == "/v3/watch" else {}))
                         for body in ("[1]", "{\"header\":}") for path in sorted(PATHS)]
        differences = [d for d in (compare(a, b, *c, seen) for c in cases) if d]
        assert not differences, f"{len(differences)} of {len(cases)} cases differ:\n" + "\n".join(differences)
        for answer in (True, False):
            missing = PATHS - {path for path, good in seen if good == answer} - (NO_GOOD_ANSWER if answer else set())
            assert not missing - {"/v3/maintenance/snapshot"}, (answer, missing)  # its good answer has a test below


def test_snapshot_streams():
    with pair() as (a, b):
        for s in (a, b):
            post(s, "/v3/kv/put", {"key": b64("k"), "value": b64("v")})
            status, _, lines = post(s, "/v3/maintenance/snapshot", {}, stream_seconds=5)
            assert status == 200, (status, lines)
            assert int(lines[0]["result"].get("remaining_bytes", 0)) >= 0
            assert len(base64.b64decode(lines[-1]["result"]["blob"])) == 32, "the last blob is a SHA-256"


def test_a_token_of_the_gateway_is_one():
    with pair() as (a, b):
        for s in (a, b):
            post(s, "/v3/auth/user/add", {"name": "root", "password": "pw"})
            post(s, "/v3/auth/role/add", {"name": "root"})
            post(s, "/v3/auth/user/grant", {"user": "root", "role": "root"})
            post(s, "/v3/auth/enable", {})
            token = post(s, "/v3/auth/authenticate", {"name": "root", "password": "pw"})[2][0]["token"]
            status, _, values = post(s, "/v3/auth/user/list", {}, headers={"Authorization": token})
            assert (status, values[0].get("users")) == (200, ["root"]), (s.process.args[0], status, values)


def test_cors_and_hosts():
    flags = ["--cors", "http://one.example:80,http://two.example:80", "--host-whitelist", "127.0.0.1,good.example"]
    with pair(flags) as (a, b):
        for headers in ({}, {"Origin": "http://two.example:80"}, {"Origin": "http://evil.example:80"},
                        {"Host": "evil.example:2379"}, {"Host": "good.example:2379"}):
            for method in ("POST", "OPTIONS"):
                status_a, headers_a, values_a = post(a, "/v3/kv/range", {"key": b64("a")}, headers, method)
                status_b, headers_b, values_b = post(b, "/v3/kv/range", {"key": b64("a")}, headers, method)
                assert status_a == status_b, (headers, status_a, status_b)
                name = "Access-Control-Allow-Origin"
                assert headers_a.get(name) == headers_b.get(name), (headers, headers_a.get(name), headers_b.get(name))
                if status_a != 421:
                    assert mask(values_a) == mask(values_b), (headers, values_a, values_b)


def test_gateway_off():
    with pair(["--enable-grpc-gateway=false"]) as (a, b):
        answers = [post(s, "/v3/kv/range", {"key": b64("a")})[::2] for s in (a, b)]
        assert answers[0] == answers[1], answers


def test_legacy_errors():
    with server(fairlead_binary(), ["--fairlead-gateway-legacy-errors"]) as s:
        text = "etcdserver: key is not provided"
        assert post(s, "/v3/kv/range", {})[2] == [{"error": text, "code": 3, "message": text}]


def test_a_watch_that_is_hardly_read_is_held_back():
    """Memory stays bounded while a client reads little, and the events are all there when it does read."""
    with server(fairlead_binary()) as s:
        reader = socket.create_connection(("127.0.0.1", s.client_port))
        body = json.dumps({"create_request": {"key": b64("big")}})
        reader.sendall(f"POST /v3/watch HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        wait_for(lambda: "\netcd_debugging_mvcc_watcher_total 1\n" in metrics(s), what="the watch")
        value = base64.b64encode(b"x" * 500_000).decode()
        puts, text = 100, b""
        for _ in range(puts):
            assert post(s, "/v3/kv/put", {"key": b64("big"), "value": value})[0] == 200
            text += reader.recv(1 << 16)  # so little that much waits, but not nothing for a minute
        resident = float(re.search(r"\nprocess_resident_memory_bytes (\S+)", metrics(s)).group(1))
        assert resident < 400e6, resident
        reader.settimeout(60)
        while text.count(b'"mod_revision"') < puts:
            chunk = reader.recv(1 << 20)
            assert chunk, f"the stream ended after {len(text)} bytes"
            text += chunk
        reader.close()


def metrics(s):
    connection = http.client.HTTPConnection("127.0.0.1", s.client_port, timeout=60)
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


if __name__ == "__main__":
    run_tests(tests_of(globals()))
