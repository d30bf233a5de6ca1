#!/usr/bin/env python3
"""A few questions to an HTTP/2 server that no client library asks (RFC 9113): h2raw.py COMMAND PORT.

  settings       the server's SETTINGS, one "NUMBER VALUE" a line
  ping MS N      with a stream open, N pings MS milliseconds apart: "fine", or the GOAWAY's reason
  silent         with a stream open, never answers a ping: seconds to the first ping and to the end of the connection
"""
import socket
import struct
import sys
import time

DATA, HEADERS, SETTINGS, PING, GOAWAY = 0, 1, 4, 6, 7


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.buffer = b""
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))

    def open_watch(self):
        """A Watch stream on a key that nobody writes: it stays open and is silent."""
        headers = b"\x83\x86" + b"".join(literal(n, v) for n, v in (
            (b":path", b"/etcdserverpb.Watch/Watch"), (b":authority", b"localhost"),
            (b"content-type", b"application/grpc"), (b"te", b"trailers")))
        message = b"\x0a\x05\x0a\x03key"
        self.socket.sendall(frame(HEADERS, 4, 1, headers) + frame(DATA, 0, 1, b"\0" + struct.pack(">I", len(message)) + message))

    def next(self, seconds):
        """(kind, flags, payload), None when nothing came in time, () at the end."""
        end = time.monotonic() + seconds
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            left = end - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(65536)
            except socket.timeout:
                return None
            except ConnectionError:
                return ()
            if not more:
                return ()
            self.buffer += more
        length = int.from_bytes(self.buffer[:3], "big")
        found = (self.buffer[3], self.buffer[4], self.buffer[9:9 + length])
        self.buffer = self.buffer[9 + length:]
        return found


def settings(c):
    while True:
        got = c.next(5)
        if not got:
            raise SystemExit("no SETTINGS")
        if got[0] == SETTINGS and not got[1] & 1:
            for i in range(0, len(got[2]), 6):
                print(*struct.unpack(">HI", got[2][i:i + 6]))
            return


def ping(c, interval_ms, count):
    c.open_watch()
    while (got := c.next(0.3)):
        pass
    for n in range(count):
        try:
            c.socket.sendall(frame(PING, 0, 0, struct.pack(">Q", n)))
        except ConnectionError:
            pass
        end = time.monotonic() + interval_ms / 1000
        while (left := end - time.monotonic()) > 0:
            got = c.next(left)
            if got == ():
                return print("closed")
            if got and got[0] == GOAWAY:
                return print(got[2][8:].decode())
    print("fine")


def silent(c):
    c.open_watch()
    begin, first = time.monotonic(), None
    while time.monotonic() - begin < 15:
        got = c.next(15)
        if got == ():
            first = first if first is not None else -1
            return print(f"{first:.1f} {time.monotonic() - begin:.1f}")
        if got and got[0] == PING and not got[1] & 1 and first is None:
            first = time.monotonic() - begin
    print("still open")


def main():
    connection = Connection(int(sys.argv[2]))
    if sys.argv[1] == "settings":
        settings(connection)
    elif sys.argv[1] == "ping":
        ping(connection, float(sys.argv[3]), int(sys.argv[4]))
    else:
        silent(connection)


if __name__ == "__main__":
    main()
