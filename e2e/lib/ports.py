#!/usr/bin/env python3
"""Ports that nobody listens on: free_ports(N) for programs in Python, `ports.py N` prints them for scripts."""
import contextlib
import socket
import sys


def free_ports(count):
    """Distinct ones: all sockets are open at the same time."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


if __name__ == "__main__":
    print(*free_ports(int(sys.argv[1])))
