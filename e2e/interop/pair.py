"""Two servers side by side for tests in Python: the reference etcd and Fairlead, started with the same flags.

Needs ETCD_BIN (folder with etcd and etcdctl) and FAIRLEAD_BIN (folder with fairlead). Each server has its own work folder
and free ports; all ends with the `with` block.
"""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, seconds=20, what="condition"):
    end = time.monotonic() + seconds
    while True:
        last = None
        try:
            if condition():
                return
        except OSError as e:
            last = e
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}: {last}")
        time.sleep(0.05)


class Server:
    """One member of a cluster of one."""

    def __init__(self, binary, work, flags=(), name="default"):
        self.client_port, self.peer_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.client_port}"
        peer = f"http://127.0.0.1:{self.peer_port}"
        self.log = open(os.path.join(work, "log"), "w+")
        env = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
        self.process = subprocess.Popen(
            [binary, "--name", name, "--data-dir", os.path.join(work, "data"), "--listen-client-urls", self.url,
             "--advertise-client-urls", self.url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
             "--initial-cluster", f"{name}={peer}", *flags],
            stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env)

    def ready(self):
        def healthy():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.process.args[0]} ended with {self.process.returncode}:\n{self.tail()}")
            return urllib.request.urlopen(self.url + "/health", timeout=2).status == 200
        wait_for(healthy, 30, "health of " + self.process.args[0])
        return self

    def tail(self):
        return pathlib.Path(self.log.name).read_text()[-2000:]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def etcd_binary(program="etcd"):
    return os.path.join(os.environ["ETCD_BIN"], program)


def fairlead_binary():
    return os.path.join(os.environ["FAIRLEAD_BIN"], "fairlead")


@contextlib.contextmanager
def server(binary, flags=()):
    work = tempfile.mkdtemp(prefix="interop-")
    s = Server(binary, work, flags)
    try:
        yield s.ready()
    finally:
        s.stop()
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def pair(flags=(), fairlead_flags=()):
    """(etcd, fairlead)"""
    with server(etcd_binary(), flags) as a, server(fairlead_binary(), [*flags, *fairlead_flags]) as b:
        yield a, b


def run_tests(tests):
    """Runs functions, prints what failed and the score that ./dev test adds up."""
    failed = 0
    for test in tests:
        try:
            test()
            print(f"ok   {test.__name__}")
        except Exception:  # a test may fail in any way
            failed += 1
            print(f"FAIL {test.__name__}")
            print("   | " + traceback.format_exc().strip().replace("\n", "\n   | "))
    print(f"{len(tests) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
