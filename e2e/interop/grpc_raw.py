"""gRPC over HTTP/2 by hand (RFC 9113), for what no client library would send: requests at and over limits.

One Connection, calls one after the other or several at a time; messages are the encoded bytes. Headers are coded by
Debian's python3-hpack; field(), varint() write Protocol Buffers.
"""
import socket
import struct
import time
import urllib.parse

import hpack

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
FRAME_BYTES = 16384
WAIT_SECONDS = 60


def varint(number):
    number &= (1 << 64) - 1
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    """A field of a message: bytes or text with their length, anything else as a number."""
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(int(value))


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Call:
    def __init__(self, stream):
        self.stream, self.window = stream, 65535
        self.headers, self.trailers, self.data = None, None, b""
        self.reset = None  # the error of a RST_STREAM
        self.over = False

    def messages(self):
        out, data = [], self.data
        while len(data) >= 5:
            size = struct.unpack(">I", data[1:5])[0]
            if len(data) < 5 + size:
                break
            out.append(data[5:5 + size])
            data = data[5 + size:]
        return out

    def status(self):
        """(code, message); code is None where the call ended without one."""
        last = self.trailers or self.headers or {}
        if "grpc-status" not in last:
            return None, f"reset {self.reset}" if self.reset is not None else "no status"
        return int(last["grpc-status"]), urllib.parse.unquote(last.get("grpc-message", ""))


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.buffer, self.block = b"", b""
        self.calls, self.next_stream = {}, 1
        self.window, self.initial_window = 65535, 65535
        self.settings, self.goaway, self.closed = None, None, False
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 30)) +
                            frame(WINDOW, 0, 0, struct.pack(">I", 1 << 30)))
        self.wait(lambda: self.settings is not None)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- frames

    def read_frame(self, seconds):
        end = time.monotonic() + seconds
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(1 << 18)
            except socket.timeout:
                return False
            except ConnectionError:
                more = b""
            if not more:
                self.closed = True
                return False
            self.buffer += more
        size = int.from_bytes(self.buffer[:3], "big")
        kind, flags = self.buffer[3], self.buffer[4]
        stream = int.from_bytes(self.buffer[5:9], "big") & 0x7fffffff
        payload, self.buffer = self.buffer[9:9 + size], self.buffer[9 + size:]
        self.handle(kind, flags, stream, payload)
        return True

    def handle(self, kind, flags, stream, payload):
        call = self.calls.get(stream)
        if kind == SETTINGS and not flags & ACK:
            self.settings = {n: v for n, v in struct.iter_unpack(">HI", payload)}
            if 4 in self.settings:
                for c in self.calls.values():
                    c.window += self.settings[4] - self.initial_window
                self.initial_window = self.settings[4]
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.goaway = (struct.unpack(">I", payload[4:8])[0], payload[8:].decode())
        elif kind == WINDOW:
            more = struct.unpack(">I", payload)[0]
            if stream == 0:
                self.window += more
            elif call:
                call.window += more
        elif kind in (HEADERS, CONTINUATION):
            self.block += payload
            if flags & END_HEADERS:
                fields = {k: v for k, v in self.decoder.decode(self.block)}
                self.block = b""
                if call and call.headers is None:
                    call.headers = fields
                elif call:
                    call.trailers = fields
            if call and kind == HEADERS and flags & END_STREAM:
                call.over = True
        elif kind == DATA and call:
            call.data += payload
            call.over |= bool(flags & END_STREAM)
        elif kind == RESET and call:
            call.reset = struct.unpack(">I", payload)[0]
            call.over = True

    def send(self, data):
        try:
            self.socket.settimeout(WAIT_SECONDS)
            self.socket.sendall(data)
        except ConnectionError:
            self.closed = True

    def wait(self, condition, seconds=WAIT_SECONDS):
        """False when the connection ended, or the time was over."""
        end = time.monotonic() + seconds
        while not condition():
            if self.closed or not self.read_frame(max(end - time.monotonic(), 0)):
                return condition()
        return True

    # --- calls

    def open(self, path, metadata=(), end=False):
        call = Call(self.next_stream)
        call.window = self.initial_window
        self.next_stream += 2
        self.calls[call.stream] = call
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
                  ("content-type", "application/grpc"), ("te", "trailers"), *metadata]
        block = self.encoder.encode(fields, huffman=False)
        pieces = [block[i:i + FRAME_BYTES] for i in range(0, len(block), FRAME_BYTES)] or [b""]
        for i, piece in enumerate(pieces):
            last = END_HEADERS if i + 1 == len(pieces) else 0
            kind, flags = (HEADERS, END_STREAM if end else 0) if i == 0 else (CONTINUATION, 0)
            self.send(frame(kind, flags | last, call.stream, piece))
        return call

    def send_data(self, call, data, end=False):
        """As the server's windows allow; stops early when the call is over."""
        while data and not call.over and not self.closed:
            size = min(len(data), FRAME_BYTES, self.window, call.window)
            if size <= 0:
                if not self.wait(lambda: call.over or (self.window > 0 and call.window > 0)):
                    return
                continue
            piece, data = data[:size], data[size:]
            self.window -= size
            call.window -= size
            self.send(frame(DATA, END_STREAM if end and not data else 0, call.stream, piece))

    def send_message(self, call, message, end=False):
        self.send_data(call, b"\0" + struct.pack(">I", len(message)) + message, end)

    def unary(self, path, message, metadata=()):
        """(code, message of the status, reply or None)"""
        call = self.open(path, metadata)
        self.send_message(call, message, end=True)
        self.wait(lambda: call.over)
        code, text = call.status()
        replies = call.messages()
        return code, text, replies[0] if replies else None
