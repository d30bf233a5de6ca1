#!/usr/bin/env python3
"""WebSockets on the gateway beside etcd's: the same handshakes, the same frames."""

import base64
import json
import os
import re
import ssl
import struct
import subprocess
import tempfile

from gateway_test import CASES, b64, mask, metrics, named, post
from pair import fairlead_binary, pair, run_tests, server, tests_of, wait_for
from ws_raw import BINARY, CLOSE, PING, PONG, TEXT, WebSocket, frame

HERE = os.path.dirname(os.path.abspath(__file__))
INPUT_BYTES = 2 * (1536 + 512) * 1024  # of a message, and of a request over several: twice what gRPC takes


def shown(frames):
    """Frames as (kind, what it says); JSON without what differs between clusters."""
    out = []
    for one in frames:
        if one is None or one[0] != TEXT:
            out.append(one)
            continue
        text = one[1].decode().replace("\u00a0", " ")
        out.append(mask(json.loads(text)))
    return out


def talk(s, path, says=(), headers=None, count=None, tls=None, port=None):
    """Shakes hands, says it all, and what came: (status, headers, frames). As many frames as expected and what else
    there is; or all up to the end of the connection."""
    with WebSocket(port or s.client_port, tls) as w:
        status, answered = w.handshake(path, headers)
        answered.pop("date", None)
        if status != 101:
            return status, answered, w.received.decode().replace("\": ", "\":").replace(", \"", ",\"")
        for text in says:
            w.send(text) if isinstance(text, bytes) else w.say(text)
        return status, answered, shown(w.frames(count) + (w.rest() if count is not None else []))


def both(servers, path, says=(), headers=None, count=None):
    answers = [talk(s, path, says, headers, count) for s in servers]
    for answer in answers:
        answer[1].pop("content-length", None)  # of JSON: etcd's has spaces
    assert answers[0] == answers[1], f"{path} {says} {headers}:\n  etcd {answers[0]}\n  ours {answers[1]}"
    return answers[1]


def create(key, **more):
    return json.dumps({"create_request": {"key": b64(key), **more}})


def put(s, key, value="v"):
    assert post(s, "/v3/kv/put", {"key": b64(key), "value": b64(value)})[0] == 200


def test_watch():
    """Several watches on one connection: created, events, cancelled; requests in pieces and several in one."""
    with pair() as servers:
        sockets = [WebSocket(s.client_port) for s in servers]
        seen = []
        for s, w in zip(servers, sockets):
            frames = []
            assert w.handshake("/v3/watch")[0] == 101
            w.say(create("a"))
            frames += w.frames(1)
            w.say(create("b", watch_id="9", prev_kv=True) + create("c", range_end=b64("d")))
            frames += w.frames(2)
            for key in ("a", "b", "b", "ca", "x"):
                put(s, key)
                frames += w.frames(1) if key != "x" else []
            w.say('{"cancel_request":', final=False)
            w.send(frame(PING, b"between"))
            w.send(frame(0, b'{"watch_id":"9"}}'))
            frames += w.frames(2)
            w.send(frame(BINARY, b'{"progress_request"'))
            w.say(":{}}")
            frames += w.frames(1)
            w.say(create("z", start_revision="1") + "\n" + create("z", watch_id="0"))
            frames += w.frames(2)
            put(s, "a", "last")
            frames += w.frames(1)
            w.send(frame(CLOSE, struct.pack(">H", 1000) + b"done"))
            frames += w.frames()
            seen.append(shown(frames))
        assert seen[0] == seen[1], "\n".join(f"etcd {a}\nours {b}" for a, b in zip(*seen) if a != b)
        assert (PONG, b"between") in seen[1] and seen[1][-2:] == [(CLOSE, struct.pack(">H", 1000)), None], seen[1]
        assert sum("events" in f.get("result", {}) for f in seen[1] if isinstance(f, dict)) == 5, seen[1]


def test_keepalive():
    with pair() as servers:
        for s in servers:
            assert post(s, "/v3/lease/grant", {"TTL": "600", "ID": "77"})[0] == 200
        frames = both(servers, "/v3/lease/keepalive", ['{"ID":"77"}', '{"ID":"78"}{"ID":77}'], count=3)[2]
        assert [f["result"].get("TTL") for f in frames] == ["600", None, "600"], frames


def test_bad_requests():
    """What is no JSON, no request, no path: an error where one is told, the end of the input on a stream."""
    with pair() as servers:
        for path, says, count in (
                ("/v3/nothing", ["{}"], None), ("/v3/", [], None), ("/v3beta/watch", [create("a")], 1),
                ("/v3/kv/range", ['{"key":7}'], None), ("/v3/kv/range", ['{"key" nonsense'], None),
                ("/v3/kv/put", ["7"], None), ("/v3/kv/put", ['{"key":', '"not base64!"}'], None),
                ("/v3/kv/put", ['{"ke', 'y":""}'], None), ("/v3/kv/put", ['{"key":'], 0),
                ("/v3/maintenance/snapshot", ["[1]"], None), ("/v3/election/observe", ["{,}"], None),
                ("/v3/watch", [], 0), ("/v3/watch", ["nonsense"], 0), ("/v3/watch", [create("a"), "}", create("b")], 1),
                ("/v3/watch", ['{"create_request":{"key":7}}'], 0), ("/v3/watch", ["", " ", "\n"], 0),
                ("/v3/lease/keepalive", ["x"], None),
                ("/v3/lease/keepalive", ['{"ID":"77"}', "x", '{"ID":"78"}'], None)):
            both(servers, path, says, count=count)


def test_handshakes():
    with pair() as servers:
        for path, headers in (
                ("/v3/watch", {"Sec-WebSocket-Version": "12"}), ("/v3/watch", {"Sec-WebSocket-Version": None}),
                ("/v3/watch", {"Sec-WebSocket-Version": "8, 13"}), ("/v3/watch", {"Sec-WebSocket-Key": None}),
                ("/v3/watch", {"Sec-WebSocket-Key": "c2hvcnQ="}), ("/v3/watch", {"Sec-WebSocket-Key": "not base64"}),
                ("/v3/watch", {"Upgrade": "h2c"}), ("/v3/watch", {"Upgrade": "h2c, WebSocket"}),
                ("/v3/watch", {"Connection": "keep-alive, upgrade"}), ("/v3/watch", {"Connection": "close"}),
                ("/v3/watch", {"Sec-WebSocket-Extensions": "permessage-deflate"}),
                ("/v3/watch", {"Sec-WebSocket-Protocol": "chat, superchat"}),
                ("/v3/watch", {"Sec-WebSocket-Protocol": "Bearer, x"}),
                ("/v3/watch", {"Sec-WebSocket-Protocol": "Bearer"}),
                ("/v3/watch?method=GET", {}), ("/v3/watch?method=DELETE&x=%zz", {}),
                ("/health", {}), ("/version2", {})):
            both(servers, path, [create("a")], headers, 1)
        for method in ("POST", "PUT", "HEAD", "OPTIONS", "DELETE"):
            answers = []
            for s in servers:
                with WebSocket(s.client_port) as w:
                    w.socket.settimeout(20)
                    w.send(f"{method} /v3/watch HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2l4dGVlbiBieXRlcyBvaw==\r\n\r\n".encode())
                    while b"\r\n\r\n" not in w.received:
                        assert w.read_more()
                    answers.append(w.received.split(b"\r\n")[0])
            assert answers[0] == answers[1], (method, answers)
        for s in servers:  # what comes with the handshake is not taken for frames
            with WebSocket(s.client_port) as w:
                assert w.handshake("/v3/watch", ahead=frame(TEXT, create("a").encode())) == (None, {}), s.process.args[0]


def test_frames_against_the_rules():
    with pair() as servers:
        for bytes_, reason in (
                (frame(TEXT, b"x", mask=None), b"bad MASK"), (frame(3, b"x"), b"bad opcode 3"),
                (frame(TEXT, b"x", rsv=4), b"RSV1 set"), (frame(TEXT, b"x", rsv=7, mask=None), None),
                (frame(PING, b"x" * 126), b"len > 125 for control"), (frame(PING, final=False), b"FIN not set on control"),
                (frame(TEXT, b"{", final=False) + frame(TEXT, b"}"), b"data before FIN"),
                (frame(0, b"x"), b"continuation after FIN"),
                (frame(CLOSE, struct.pack(">H", 1005)), b"bad close code 1005"),
                (frame(CLOSE, struct.pack(">H", 1000) + b"\xff"), b"invalid utf8 payload in close frame")):
            frames = both(servers, "/v3/watch", [bytes_])[2]
            code, = struct.unpack(">H", frames[0][1][:2])
            assert code == 1002 and (reason is None or frames[0][1][2:] == reason) and frames[1] is None, frames
        for bytes_ in (frame(PING, b"p" * 125), frame(PONG, b"unasked"), frame(CLOSE), frame(CLOSE, struct.pack(">H", 4000))):
            both(servers, "/v3/watch", [bytes_], count=None if bytes_[0] & 0xf == CLOSE else 0)


def test_tokens():
    """A token comes by subprotocol or by cookie, not by header; the watch is judged by it."""
    with pair() as servers:
        tokens = []
        for s in servers:
            for path, body in (("user/add", {"name": "root", "password": "pw"}), ("role/add", {"name": "root"}),
                               ("user/grant", {"user": "root", "role": "root"}), ("enable", {})):
                assert post(s, "/v3/auth/" + path, body)[0] == 200, path
            tokens.append(post(s, "/v3/auth/authenticate", {"name": "root", "password": "pw"})[2][0]["token"])
        cases = [({}, False), ({"Sec-WebSocket-Protocol": "Bearer, TOKEN"}, True),
                 ({"Sec-WebSocket-Protocol": "Bearer,TOKEN"}, True), ({"Sec-WebSocket-Protocol": "Bearer, wrong"}, False),
                 ({"Cookie": "a=b; token=TOKEN"}, True), ({"Cookie": 'token="TOKEN"; a=b'}, True),
                 ({"Cookie": "token=wrong", "Sec-WebSocket-Protocol": "Bearer, TOKEN"}, False),
                 ({"Cookie": "nottoken=TOKEN"}, False), ({"Authorization": "TOKEN"}, False),
                 ({"Authorization": "Bearer TOKEN"}, False)]
        for headers, good in cases:
            answers = [talk(s, "/v3/watch", [create("a")], count=1,
                            headers={k: v.replace("TOKEN", t) for k, v in headers.items()})
                       for s, t in zip(servers, tokens)]
            assert answers[0] == answers[1], f"{headers}\n  etcd {answers[0]}\n  ours {answers[1]}"
            result = answers[1][2][0]["result"]
            assert result.get("created") and bool(result.get("canceled")) != good, (headers, answers[1])


def test_origins_and_hosts():
    flags = ["--cors", "http://one.example:80", "--host-whitelist", "127.0.0.1,good.example"]
    with pair(flags) as servers:
        for headers in ({}, {"Origin": "http://one.example:80"}, {"Origin": "http://evil.example:80"},
                        {"Host": "good.example:2379"}):
            assert both(servers, "/v3/watch", [create("a")], headers, 1)[0] == 101
            both(servers, "/v3/watch", [create("a")], {**headers, "Sec-WebSocket-Version": "1"})
        for headers in ({"Host": "evil.example"}, {"Host": "evil.example:2379", "Origin": "http://one.example:80"}):
            answers = [talk(s, "/v3/watch", [create("a")], headers)[0] for s in servers]
            assert answers == [421, 421], (headers, answers)
    with pair(["--enable-grpc-gateway=false"]) as servers:
        assert both(servers, "/v3/watch")[0] == 404


def certificates(folder):
    script = f'''set -e; pki={folder}; . {HERE}/pki.sh; make_ca ca
        make_cert server ca server "DNS:localhost,IP:127.0.0.1"; make_cert client ca alice ""; make_cert nameless ca x ""'''
    subprocess.run(["bash", "-c", script], check=True, capture_output=True)
    tls = ssl.create_default_context(cafile=f"{folder}/ca.crt")
    tls.load_cert_chain(f"{folder}/client.crt", f"{folder}/client.key")
    return tls


def test_tls():
    """The same over TLS; a client's certificate that names somebody is refused where users count."""
    with tempfile.TemporaryDirectory(prefix="interop-pki-") as folder:
        tls = certificates(folder)
        with pair(["--cert-file", f"{folder}/server.crt", "--key-file", f"{folder}/server.key", "--trusted-ca-file",
                   f"{folder}/ca.crt", "--client-cert-auth"], split_tls=True) as servers:
            def ask(headers=None, says=(create("a"),), count=1):
                answers = [talk(s, "/v3/watch", says, headers, count, tls, s.tls_port) for s in servers]
                assert answers[0] == answers[1], answers
                return answers[1]
            status, _, frames = ask()
            assert status == 101 and frames[0]["result"]["created"], frames
            assert ask({"Host": "any.example"})[0] == 101
            assert ask(says=[frame(TEXT, create("a").encode(), mask=None)], count=None)[2][0][0] == CLOSE
            for s in servers:
                for path, body in (("user/add", {"name": "root", "password": "pw"}), ("role/add", {"name": "root"}),
                                   ("user/grant", {"user": "root", "role": "root"}), ("enable", {})):
                    assert post(s, "/v3/auth/" + path, body)[0] == 200, path
            assert ask()[0] == 400


# --- ours alone


def test_one_request_is_answered():
    """What takes one request runs as soon as it is whole. etcd waits for the end of the connection and answers nobody."""
    with pair() as (a, b):
        for path, body in (("/v3/kv/put", {"key": b64("k"), "value": b64("v")}), ("/v3/kv/range", {"key": b64("k")}),
                           ("/v3/maintenance/snapshot", {}), ("/v3/election/observe", {"name": b64("e")})):
            assert talk(a, path, [json.dumps(body)], count=0)[2] == [], "etcd answers by now"
        for path, body in (("/v3/kv/put", {"key": b64("k"), "value": b64("v")}), ("/v3/kv/range", {"key": b64("k")}),
                           ("/v3/lease/revoke", {"ID": "5"}), ("/v3/kv/range", {})):
            text = json.dumps(body)
            got = talk(b, path, [text[:1], text[1:]])[2]
            assert got[0] == mask(post(b, path, body)[2][0]) or path == "/v3/kv/put", (path, got)
            assert len(got) == 2 and got[1] is None, (path, got)
        frames = talk(b, "/v3/maintenance/snapshot", ["{}"])[2]
        assert len(base64.b64decode(frames[-2]["result"]["blob"])) == 32 and frames[-1] is None, "a SHA-256 at the end"
        post(b, "/v3/lease/grant", {"TTL": "600", "ID": "55"})
        post(b, "/v3/election/campaign", {"name": b64("e"), "lease": "55", "value": b64("v1")})
        frames = talk(b, "/v3/election/observe", [json.dumps({"name": b64("e")})], count=1)[2]
        assert [f["result"]["kv"]["value"] for f in frames] == [b64("v1")], frames


def test_every_path():
    """Each path of the gateway gives what it gives to a POST, good body or bad."""
    streams = ("/v3/watch", "/v3/lease/keepalive", "/v3/election/observe")
    with server(fairlead_binary()) as a, server(fairlead_binary()) as b:
        differences = []
        for path, body, more in CASES:
            text = named(a, body)
            if more or path in streams or not text.strip():
                continue  # these have tests of their own; nothing is no message
            expected = mask(post(a, path, text)[2])
            if "unexpected EOF" in str(expected):
                continue  # more may come
            got = talk(b, path, [named(b, body)])[2]
            if got != [*expected, None]:
                differences.append(f"{path} {text}:\n  POST {expected}\n  WebSocket {got}")
        assert not differences, "\n".join(differences)


def test_message_bytes():
    with server(fairlead_binary()) as s:
        fill = INPUT_BYTES - len('{"unknown":""}')
        frames = talk(s, "/v3/kv/range", ['{"unknown":"' + "x" * fill + '"}'])[2]
        assert frames[0]["message"] == "etcdserver: key is not provided", frames
        frames = talk(s, "/v3/kv/range", ['{"unknown":"' + "x" * (fill + 1) + '"}'])[2]
        assert frames == [(CLOSE, struct.pack(">H", 1009)), None], frames
        with WebSocket(s.client_port) as w:  # announced, and never sent
            w.handshake("/v3/watch")
            w.send(frame(TEXT, b"", length=1 << 62))
            assert w.frames() == [(CLOSE, struct.pack(">H", 1009)), None]
        # A request over many messages has the same limit; each brings a line's end.
        for size, message in ((INPUT_BYTES // 2 - 10, "etcdserver: key is not provided"),
                              (INPUT_BYTES // 2 + 10, "the request is too large")):
            frames = talk(s, "/v3/kv/range", ['{"unknown":[' + " " * size, " " * size, "0]}"])[2]
            assert frames[0]["message"] == message, (size, frames)
            ok = size < INPUT_BYTES // 2
            frames = talk(s, "/v3/watch", ['{"unknown":[' + " " * size, " " * size, '0],"create_request":{}}'],
                          count=1 if ok else None)[2]
            assert ("result" if ok else "error") in frames[0], (size, frames)
        assert talk(s, "/v3/watch", [create("a")], count=1)[2][0]["result"]["created"]


def test_frames_that_carry_nothing():
    """10,000 at once, as HTTP/2's; then a thousand a second."""
    with server(fairlead_binary()) as s:
        with WebSocket(s.client_port) as w:
            w.handshake("/v3/watch")
            w.send(frame(PING, b"p") * 9_900)
            w.say(create("a"))
            frames = []
            while not frames or frames[-1][0] != TEXT:
                frames.append(w.next(60))
            assert len(frames) < 9_901 and shown(frames[-1:])[0]["result"]["created"], len(frames)
        with WebSocket(s.client_port) as w:
            w.handshake("/v3/watch")
            try:
                w.send(frame(PONG) * 200_000)
            except ConnectionError:
                pass  # it has hung up
            frames = w.frames()
            assert frames[-1] is None and (len(frames) == 1 or frames[0][1][:2] == struct.pack(">H", 1008)), frames[:3]


def test_a_watch_that_is_hardly_read_is_held_back():
    with server(fairlead_binary()) as s:
        with WebSocket(s.client_port) as w:
            w.handshake("/v3/watch")
            w.say(create("big"))
            assert "created" in shown(w.frames(1))[0]["result"]
            puts = 100
            value = base64.b64encode(b"x" * 500_000).decode()
            for _ in range(puts):
                assert post(s, "/v3/kv/put", {"key": b64("big"), "value": value})[0] == 200
                w.received += w.socket.recv(1 << 16)  # so little that much waits, but not nothing for a minute
            resident = float(re.search(r"\nprocess_resident_memory_bytes (\S+)", metrics(s)).group(1))
            assert resident < 400e6, resident
            assert "\nfairlead_websockets 1\n" in metrics(s)
            events = 0
            while events < puts:
                events += len(json.loads(w.next(30)[1])["result"]["events"])
            assert events == puts
        wait_for(lambda: "\nfairlead_websockets 0\n" in metrics(s), 60, "the end of the connection")


def test_a_silent_client_is_pinged():
    """As often as --grpc-keepalive-interval says; one that does not answer is dropped."""
    with server(fairlead_binary(), ["--grpc-keepalive-interval", "2s", "--grpc-keepalive-timeout", "3s"]) as s:
        with WebSocket(s.client_port) as w:
            w.handshake("/v3/watch")
            for _ in range(3):
                assert w.next(60) == (PING, b"")
                w.send(frame(PONG))
            assert w.next(60) == (PING, b"")
            assert w.next(60) is None
        wait_for(lambda: "\nfairlead_websockets 0\n" in metrics(s), 60, "the end of the connection")


def test_a_server_that_stops_says_so():
    with pair() as servers:
        for s in servers:
            with WebSocket(s.client_port) as w:
                w.handshake("/v3/watch")
                w.say(create("a"))
                w.next()
                s.process.terminate()
                frames = shown(w.frames(2))
                assert frames[0]["error"]["code"] == 14 and frames[1] is None, (s.process.args[0], frames)


if __name__ == "__main__":
    run_tests(tests_of(globals()))
