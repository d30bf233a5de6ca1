"""Members of one contender as plain processes, each in a directory of its own on a real disk."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e/lib"))
from ports import free_ports  # noqa: E402

STOP_SECONDS = 20
READY_SECONDS = 60
FSYNC_METRICS = ("etcd_disk_wal_fsync_duration_seconds_count", "etcd_disk_backend_commit_duration_seconds_count")


class BenchError(Exception):
    pass


def file_system_of(path):
    """Type of the file system that holds path, from /proc/mounts."""
    path = os.path.realpath(path)
    best = ("", "unknown")
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        mount, kind = line.split()[1:3]
        inside = path == mount or path.startswith(mount.rstrip("/") + "/") or mount == "/"
        if inside and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


class Member:
    def __init__(self, name, program, directory, client_port, peer_port):
        self.name, self.program, self.directory = name, program, pathlib.Path(directory)
        self.client_port, self.peer_port = client_port, peer_port
        self.endpoint = f"127.0.0.1:{client_port}"
        self.process = None

    def start(self, cluster, extra_flags):
        client, peer = f"http://{self.endpoint}", f"http://127.0.0.1:{self.peer_port}"
        self.directory.mkdir(parents=True, exist_ok=True)
        log = open(self.directory / "log", "ab")
        self.started = time.monotonic_ns()
        self.process = subprocess.Popen(
            [self.program, "--name", self.name, "--data-dir", str(self.directory / "data"),
             "--listen-client-urls", client, "--advertise-client-urls", client,
             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
             "--initial-cluster", cluster, "--initial-cluster-state", "new",
             "--initial-cluster-token", "bench", "--log-level", "error", *extra_flags],
            stdout=log, stderr=log, cwd=self.directory)
        log.close()

    def stop(self):
        if not self.process or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def check_alive(self):
        if self.process.poll() is not None:
            tail = (self.directory / "log").read_text(errors="replace")[-2000:]
            raise BenchError(f"{self.program} ({self.name}) ended with code {self.process.returncode}:\n{tail}")

    def memory(self):
        """Resident and anonymous bytes."""
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        value = lambda field: int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M).group(1)) * 1024
        return {"rss_bytes": value("Rss"), "anonymous_bytes": value("Anonymous")}

    def metrics(self):
        """Counters of interest from /metrics; absent ones are left out."""
        try:
            with urllib.request.urlopen(f"http://{self.endpoint}/metrics", timeout=10) as reply:
                text = reply.read().decode()
        except OSError:
            return {}
        found = {}
        for name in FSYNC_METRICS:
            match = re.search(rf"^{name} ([0-9.e+]+)$", text, re.M)
            if match:
                found[name] = float(match.group(1))
        return found


class Cluster:
    """One or three members of a contender. A context manager: leaves no process and no files."""

    def __init__(self, contender, size, directory, ctl):
        self.contender, self.ctl = contender, ctl
        self.directory = pathlib.Path(directory) / f"{contender['name']}-{size}"
        shutil.rmtree(self.directory, ignore_errors=True)
        ports = free_ports(2 * size)
        self.members = [
            Member(f"m{i + 1}", contender["program"], self.directory / f"m{i + 1}", ports[2 * i], ports[2 * i + 1])
            for i in range(size)]
        self.initial = ",".join(f"{m.name}=http://127.0.0.1:{m.peer_port}" for m in self.members)

    def __enter__(self):
        try:
            for member in self.members:
                member.start(self.initial, self.contender["flags"])
            self.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for member in self.members:
            member.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def pids(self):
        return ",".join(str(m.process.pid) for m in self.members)

    @property
    def endpoints(self):
        return ",".join(m.endpoint for m in self.members)

    def control(self, *arguments):
        """One etcdctl command against the first member."""
        done = subprocess.run([self.ctl, "--endpoints", self.members[0].endpoint, *arguments], capture_output=True,
                              text=True, timeout=60)
        if done.returncode != 0:
            raise BenchError(f"etcdctl {' '.join(arguments)}: {done.stderr.strip()}")

    def statuses(self):
        done = subprocess.run([self.ctl, "--endpoints", self.endpoints, "endpoint", "status", "-w", "json",
                               "--command-timeout", "2s"], capture_output=True, text=True, timeout=30)
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else []

    def wait_ready(self):
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            for member in self.members:
                member.check_alive()
            statuses = self.statuses()
            leaders = {s["Status"].get("leader", 0) for s in statuses}
            if len(statuses) == len(self.members) and len(leaders) == 1 and leaders != {0}:
                return
            time.sleep(0.1)
        raise BenchError(f"{self.contender['name']}: no leader within {READY_SECONDS} s")

    def leader_endpoint(self):
        for status in self.statuses():
            if status["Status"]["header"]["member_id"] == status["Status"].get("leader"):
                return status["Endpoint"]
        raise BenchError(f"{self.contender['name']}: no member says that it leads")

    def fsyncs(self):
        total = {}
        for member in self.members:
            for name, value in member.metrics().items():
                total[name] = total.get(name, 0) + value
        return total

    def disk_bytes(self):
        return sum(f.stat().st_blocks * 512 for f in self.directory.rglob("*") if f.is_file())
