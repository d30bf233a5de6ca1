#!/usr/bin/env python3
"""How long from a process's start to its first acknowledged write: one member, and a fresh static cluster of three
(from the last process's start), Fairlead and the reference etcd taking turns; then many starts and stops of ours, which
must leave nothing behind. Needs FAIRLEAD_BIN and ETCD_BIN (folders with the programs), as bench/run does.

The client is a few bytes of HTTP/2 written by hand, so that no library's own start is measured.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from cluster import free_ports

SECONDS_MAX = 20
SINGLE_MS_MAX, THREE_MS_MAX = 100, 300  # what the project promises; and below etcd's


# ---- a Put in bytes (RFC 9113, RFC 7541 without dynamic table)

def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def put_bytes(key, value):
    headers = b"\x83\x86" + b"".join(literal(n, v) for n, v in (
        (b":path", b"/etcdserverpb.KV/Put"), (b":authority", b"localhost"), (b"content-type", b"application/grpc"),
        (b"te", b"trailers")))
    message = b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value
    data = b"\0" + struct.pack(">I", len(message)) + message
    return (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, headers) + frame(0, 1, 1, data))


def acknowledged(s):
    """True when the reply message of stream 1 is there; False when the stream ends without one."""
    buffer = b""
    while True:
        while len(buffer) >= 9:
            length = int.from_bytes(buffer[:3], "big")
            if len(buffer) < 9 + length:
                break
            kind, flags, stream = buffer[3], buffer[4], int.from_bytes(buffer[5:9], "big")
            buffer = buffer[9 + length:]
            if stream == 1 and kind == 0 and length > 0:
                return True
            if stream == 1 and (kind == 3 or (kind == 1 and flags & 1)) or kind == 7:
                return False
        more = s.recv(4096)
        if not more:
            return False
        buffer += more


def first_write(ports, begin):
    """Milliseconds from begin until one of the ports acknowledges a Put."""
    i = 0
    while time.monotonic() - begin < SECONDS_MAX:
        port = ports[i % len(ports)]
        i += 1
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX) as s:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                s.sendall(put_bytes(b"k", b"v"))
                if acknowledged(s):
                    return (time.monotonic() - begin) * 1000
        except OSError:
            pass
        time.sleep(0.0005)
    raise SystemExit(f"no write was acknowledged within {SECONDS_MAX} s")


# ---- members

def start(program, folder, index, ports, size):
    urls = [(f"http://127.0.0.1:{ports[2 * i]}", f"http://127.0.0.1:{ports[2 * i + 1]}") for i in range(size)]
    client, peer = urls[index]
    log = open(folder / f"log-{index}", "ab")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
    return subprocess.Popen(
        [program, "--name", f"m{index}", "--data-dir", str(folder / f"data-{index}"), "--listen-client-urls", client,
         "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
         "--initial-cluster", ",".join(f"m{i}={urls[i][1]}" for i in range(size)), "--initial-cluster-token", "start"],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)


def stop(processes):
    for p in processes:
        p.send_signal(signal.SIGTERM)
    return [p.wait(SECONDS_MAX) for p in processes]


def measure(program, size, base):
    folder = pathlib.Path(tempfile.mkdtemp(dir=base))
    ports = free_ports(2 * size)
    processes = []
    try:
        for i in range(size):
            begin = time.monotonic()
            processes.append(start(program, folder, i, ports, size))
        return first_write([ports[2 * i] for i in range(size)], begin)
    finally:
        stop(processes)
        shutil.rmtree(folder)


def many_starts(program, count, base):
    """Starts and stops one member, every fifth one again on its data; what is left behind is an error."""
    def seen():
        return {p: sorted(os.listdir(p)) for p in ("/dev/shm", base) if os.path.isdir(p)}
    before, ports = seen(), free_ports(2)
    folder = pathlib.Path(tempfile.mkdtemp(dir=base))
    begin, errors = time.monotonic(), []
    for n in range(count):
        if n % 5 == 0:
            shutil.rmtree(folder / "data-0", ignore_errors=True)
        p = start(program, folder, 0, ports, 1)
        first_write([ports[0]], time.monotonic())
        code = stop([p])[0]
        if code != 0:
            errors.append(f"start {n}: exit code {code}")
    seconds = time.monotonic() - begin
    left = [str(p.relative_to(folder)) for p in folder.iterdir() if p.name not in ("data-0", "log-0")]
    log = (folder / "log-0").read_text(errors="replace")
    bad = [line for line in log.splitlines() if '"level":"error"' in line or '"level":"fatal"' in line]
    shutil.rmtree(folder)
    if left:
        errors.append(f"files beside the data: {left}")
    if bad:
        errors.append(f"{len(bad)} errors in the log, the first: {bad[0][:300]}")
    if seen() != before:
        errors.append(f"left behind: {before} became {seen()}")
    for port in ports:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                errors.append(f"something still listens on port {port}")
    return seconds, errors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each")
    parser.add_argument("--starts", type=int, default=1000, help="starts and stops of ours at the end")
    parser.add_argument("--folder", default=None, help="where the data goes (a real disk)")
    parser.add_argument("--json", default=None, help="also write the figures here")
    args = parser.parse_args()
    base = tempfile.mkdtemp(prefix="fairlead-start-", dir=args.folder)
    programs = {"etcd": os.environ["ETCD_BIN"] + "/etcd", "fairlead": os.environ["FAIRLEAD_BIN"] + "/fairlead"}
    times = {(size, who): [] for size in (1, 3) for who in programs}
    good = 0
    bad = 0
    try:
        for _ in range(args.rounds):
            for (size, who), list_ in times.items():
                list_.append(measure(programs[who], size, base))
        print(f"{'first write after a start':28}{'etcd best':>12}{'median':>10}{'ours best':>12}{'median':>10}   (ms)")
        for size, limit in ((1, SINGLE_MS_MAX), (3, THREE_MS_MAX)):
            theirs, ours = times[size, "etcd"], times[size, "fairlead"]
            print(f"{'one member' if size == 1 else 'three members, the last one':28}{min(theirs):12.1f}"
                  f"{statistics.median(theirs):10.1f}{min(ours):12.1f}{statistics.median(ours):10.1f}")
            fine = min(ours) < limit and min(ours) < min(theirs)
            good, bad = good + fine, bad + (not fine)
        if args.starts:
            seconds, errors = many_starts(programs["fairlead"], args.starts, base)
            print(f"{args.starts} starts and stops: {seconds:.1f} s, {seconds / args.starts * 1000:.1f} ms each")
            for error in errors[:10]:
                print("  " + error)
            good, bad = good + (not errors), bad + bool(errors)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({f"{who}-{size}": t for (size, who), t in times.items()}))
    print(f"{good} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
