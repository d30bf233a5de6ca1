"""Two servers side by side for tests in Python: the reference etcd and Fairlead, started with the same flags.

Needs ETCD_BIN (folder with etcd and etcdctl) and FAIRLEAD_BIN (folder with fairlead). Each server has its own work folder
and free ports; all ends with the `with` block.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "e2e/lib"))
from ports import free_ports  # noqa: E402


def free_port():
    return free_ports(1)[0]


def wait_for(condition, seconds=60, what="condition"):
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

    def __init__(self, binary, work, flags=(), name="default", split_tls=False):
        """split_tls: clients are served with TLS besides, on tls_port."""
        self.client_port, self.peer_port, self.tls_port = free_ports(3)
        self.url = f"http://127.0.0.1:{self.client_port}"
        urls = self.url + (f",https://127.0.0.1:{self.tls_port}" if split_tls else "")
        peer = f"http://127.0.0.1:{self.peer_port}"
        self.log = open(os.path.join(work, "log"), "w+")
        env = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
        self.process = subprocess.Popen(
            [binary, "--name", name, "--data-dir", os.path.join(work, "data"), "--listen-client-urls", urls,
             "--advertise-client-urls", self.url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
             "--initial-cluster", f"{name}={peer}", *flags],
            stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env)

    def ready(self):
        def healthy():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.process.args[0]} ended with {self.process.returncode}:\n{self.tail()}")
            return urllib.request.urlopen(self.url + "/health", timeout=2).status == 200
        wait_for(healthy, 60, "health of " + self.process.args[0])
        return self

    def tail(self):
        return pathlib.Path(self.log.name).read_text()[-2000:]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def etcd_binary(program="etcd"):
    return os.path.join(os.environ["ETCD_BIN"], program)


def fairlead_binary():
    return os.path.join(os.environ["FAIRLEAD_BIN"], "fairlead")


@contextlib.contextmanager
def server(binary, flags=(), **more):
    work = tempfile.mkdtemp(prefix="interop-")
    s = Server(binary, work, flags, **more)
    try:
        yield s.ready()
    finally:
        s.stop()
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def pair(flags=(), fairlead_flags=(), **more):
    """(etcd, fairlead)"""
    with server(etcd_binary(), flags, **more) as a, server(fairlead_binary(), [*flags, *fairlead_flags], **more) as b:
        yield a, b


def tests_of(module):
    """The functions test_* of a module's globals(), by their names."""
    return {name: f for name, f in sorted(module.items()) if name.startswith("test_")}


def run_tests(tests):
    """Runs functions by their names (those that contain the first argument), prints what failed and the score that
    ./dev test adds up."""
    chosen = {name: test for name, test in tests.items() if len(sys.argv) < 2 or sys.argv[1] in name}
    if not chosen:
        sys.exit(f"no test's name contains {sys.argv[1]!r}; there are: {', '.join(tests)}")
    failed = 0
    for name, test in chosen.items():
        try:
            test()
            print(f"ok   {name}", flush=True)
        except Exception:  # a test may fail in any way
            failed += 1
            print(f"FAIL {name}")
            print("   | " + traceback.format_exc().strip().replace("\n", "\n   | "), flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
