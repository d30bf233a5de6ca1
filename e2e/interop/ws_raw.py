"""A WebSocket client that speaks frames (RFC 6455), for tests: it keeps to the rules only where it is asked to."""

import base64
import hashlib
import socket
import ssl
import struct

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = base64.b64encode(b"sixteen bytes ok").decode()


def frame(opcode, payload=b"", final=True, mask=b"\x01\x02\x03\x04", rsv=0, length=None):
    """length: what the head says, where it is not the truth."""
    length = len(payload) if length is None else length
    out = bytes([(0x80 if final else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    if length <= 125:
        out += bytes([bit | length])
    elif length <= 0xffff:
        out += bytes([bit | 126]) + struct.pack(">H", length)
    else:
        out += bytes([bit | 127]) + struct.pack(">Q", length)
    if not mask:
        return out + payload
    turns = (mask * (len(payload) // 4 + 1))[:len(payload)]
    xored = int.from_bytes(payload, "big") ^ int.from_bytes(turns, "big")
    return out + mask + xored.to_bytes(len(payload), "big")


class WebSocket:
    """handshake() first. Frames that came are (opcode, payload); the end of the connection is None."""

    def __init__(self, port, tls=None, timeout=20):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def handshake(self, path, headers=None, method="GET", ahead=b""):
        """(status, headers). `headers` replace those of a handshake in order; None leaves one out."""
        fields = {"Host": "127.0.0.1", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                  "Sec-WebSocket-Key": KEY, **(headers or {})}
        lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
        self.send(("\r\n".join([f"{method} {path} HTTP/1.1", *lines]) + "\r\n\r\n").encode() + ahead)
        while b"\r\n\r\n" not in self.received:
            if not self.read_more():
                return None, {}
        head, self.received = self.received.split(b"\r\n\r\n", 1)
        first, *rest = head.decode().split("\r\n")
        answered = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        status = int(first.split(" ")[1])
        if status == 101:
            digest = hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
            assert answered["sec-websocket-accept"] == base64.b64encode(digest).decode(), answered
        else:
            while len(self.received) < int(answered.get("content-length", 0)) and self.read_more():
                pass
        return status, answered

    def read_more(self):
        try:
            chunk = self.socket.recv(1 << 20)
        except (ConnectionError, ssl.SSLError) as e:
            if isinstance(e, TimeoutError):
                raise
            chunk = b""
        self.received += chunk
        return bool(chunk)

    def send(self, data):
        self.socket.sendall(data)

    def say(self, text, **how):
        self.send(frame(TEXT, text.encode() if isinstance(text, str) else text, **how))

    def next(self, timeout=20):
        """The next frame, or None at the end; TimeoutError if nothing comes."""
        self.socket.settimeout(timeout)
        while True:
            got = self.parse()
            if got:
                return got
            if not self.read_more():
                assert not self.received, f"the connection ended within a frame: {self.received[:100]}"
                return None

    def parse(self):
        data = self.received
        if len(data) < 2:
            return None
        at, length = 2, data[1] & 0x7f
        assert not data[1] & 0x80, "a server does not mask"
        for code, size in ((126, 2), (127, 8)):
            if length == code:
                if len(data) < 2 + size:
                    return None
                at, length = 2 + size, int.from_bytes(data[2:2 + size], "big")
                break
        if len(data) < at + length:
            return None
        assert data[0] & 0xf0 == 0x80, f"whole frames without extensions, not {data[0]:02x}"
        self.received = data[at + length:]
        return data[0] & 0xf, data[at:at + length]

    def frames(self, count=None):
        """Frames until there are `count`, or the connection ends (None is the last then)."""
        out = []
        while count is None or len(out) < count:
            out.append(self.next(60))
            if out[-1] is None:
                break
        return out

    def rest(self):
        """What comes before a pong, and a moment later. (etcd reads no ping when nobody takes what came before it.)"""
        self.send(frame(PING, b"the rest"))
        out, wait = [], 2
        while True:
            try:
                out.append(self.next(wait))
            except TimeoutError:
                return out
            if out[-1] is None:
                return out
            if out[-1] == (PONG, b"the rest"):
                out.pop()
                wait = 0.2
