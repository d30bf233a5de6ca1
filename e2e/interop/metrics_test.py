#!/usr/bin/env python3
"""metrics_test.py: /metrics of three of our members beside that of three of the reference etcd, after the same work.

Every family of etcd's of the names etcd_*, grpc_server_*, process_* and os_fd_* must be here with the same type, the same
label names and, for histograms, the same bounds. What is not here stands in docs/metrics.md with its reason, and a
name that stands there must really be missing. Names of ours (fairlead_*) are listed there too, as the page describes
them; `metrics_test.py --rewrite` writes that list anew. ETCD_BIN has etcd and etcdctl, FAIRLEAD_BIN has fairlead.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

from pair import free_ports, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
ETCDCTL = os.environ["ETCD_BIN"] + "/etcdctl"
PAGE = ROOT / "docs" / "metrics.md"
SCOPE = re.compile(r"(etcd_|grpc_server_|process_|os_fd_)")
SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Cluster:
    """Three members of one program, with --metrics as given."""

    def __init__(self, program, folder, metrics):
        ports = free_ports(6)
        self.clients = [f"http://127.0.0.1:{p}" for p in ports[:3]]
        peers = [f"http://127.0.0.1:{p}" for p in ports[3:]]
        names = ["m0", "m1", "m2"]
        cluster = ",".join(f"{n}={p}" for n, p in zip(names, peers))
        self.log = open(f"{folder}/log", "w")
        self.members = [subprocess.Popen(
            [program, "--name", n, "--data-dir", f"{folder}/{n}", "--listen-client-urls", c, "--advertise-client-urls", c,
             "--listen-peer-urls", p, "--initial-advertise-peer-urls", p, "--initial-cluster", cluster, "--metrics", metrics],
            stdout=self.log, stderr=self.log) for n, c, p in zip(names, self.clients, peers)]

    def ctl(self, *args, member=None, wait=True):
        endpoints = ",".join(self.clients) if member is None else self.clients[member]
        command = [ETCDCTL, "--endpoints", endpoints, "--command-timeout", "20s", *args]
        if not wait:
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def get(self, member, path):
        try:
            with urllib.request.urlopen(self.clients[member] + path, timeout=10) as page:
                return page.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def stop(self):
        for m in self.members:
            m.terminate()
        for m in self.members:
            try:
                m.wait(20)
            except subprocess.TimeoutExpired:
                m.kill()
                m.wait()
        self.log.close()


def work(cluster):
    """A bit of everything, so that families appear that only exist once they were used."""
    for _ in range(100):
        if cluster.ctl("put", "a", "1").returncode == 0:
            break
        time.sleep(0.3)
    else:
        raise RuntimeError("the cluster takes no writes")
    watch = cluster.ctl("watch", "--prefix", "a", wait=False)
    lease = cluster.ctl("lease", "grant", "60").stdout.split()[1]
    for member in range(3):
        cluster.ctl("put", f"a{member}", "2", "--lease", lease, member=member)
        cluster.ctl("get", "--prefix", "a", member=member)
        cluster.ctl("get", "a", "--consistency=s", member=member)
        cluster.ctl("lease", "keep-alive", "--once", lease, member=member)
        cluster.ctl("del", "a1", member=member)
        cluster.ctl("member", "list", member=member)
        for path in ("/health", "/readyz", "/livez", "/version"):
            cluster.get(member, path)
    cluster.ctl("compaction", "4")
    cluster.ctl("compaction", "1")  # refused
    cluster.ctl("lease", "revoke", lease)
    # Round trips between members are measured now and then.
    wait_for(lambda: all("\netcd_network_peer_round_trip_time_seconds_count{" in cluster.get(m, "/metrics") for m in range(3)), what="round trips")
    watch.terminate()
    watch.wait()


def families(text):
    """name -> (type, label names, bounds)"""
    types, labels, bounds = {}, {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            types[name] = kind
        elif line and not line.startswith("#"):
            name, inside, _ = SAMPLE.match(line).groups()
            found = dict(LABEL.findall(inside or ""))
            family = name
            if family not in types:
                family = re.sub(r"_(bucket|sum|count)$", "", name)
            if "le" in found:
                bounds.setdefault(family, set()).add(float(found.pop("le")))
            labels.setdefault(family, set()).update(found)
    return {n: (t, labels.get(n, set()), bounds.get(n, set())) for n, t in types.items()}


def merged(cluster):
    """All members' families: some are only the leader's, or a follower's."""
    out = {}
    for member in range(3):
        for name, (kind, labels, bounds) in families(cluster.get(member, "/metrics")).items():
            before = out.get(name, (kind, set(), set()))
            out[name] = (kind, before[1] | labels, before[2] | bounds)
    return out


def exceptions():
    """Names of etcd's in the tables of docs/metrics.md, each with a reason."""
    rows = re.findall(r"^\| `([\w*]+)` \| (.+) \|$", PAGE.read_text(), re.M)
    return {name: why for name, why in rows if not name.startswith("fairlead_")}


def our_rows(cluster):
    """The rows of docs/metrics.md for names of ours, from what the members say of them."""
    kinds, helps = {}, {}
    for member in range(3):
        for line in cluster.get(member, "/metrics").splitlines():
            word = line.split(" ", 3)
            if line.startswith("# TYPE fairlead_"):
                kinds[word[2]] = word[3]
            elif line.startswith("# HELP fairlead_"):
                helps[word[2]] = word[3]
    return [f"| `{name}` | {kinds[name]} | {helps.get(name, '')} |" for name in sorted(kinds)]


def check_ours(rows, rewrite):
    there = re.findall(r"^\| `fairlead_\w+` \| .+ \|$", PAGE.read_text(), re.M)
    if rewrite:
        head, mark, _ = PAGE.read_text().partition("## Ours\n")
        PAGE.write_text(head + mark + "\n| name | type | what |\n|---|---|---|\n" + "\n".join(rows) + "\n")
        return []
    wrong = [f"docs/metrics.md lacks or tells otherwise: {row}" for row in rows if row not in there]
    return wrong + [f"docs/metrics.md has, and the page has not: {row}" for row in there if row not in rows]


def differences(theirs, ours, excepted):
    for name in sorted(theirs):
        if not SCOPE.match(name):
            continue
        if name in excepted:
            if name in ours:
                yield f"{name}: docs/metrics.md says that it is not here, and it is"
            continue
        if name not in ours:
            yield f"{name}: missing"
            continue
        for what, a, b in zip(("type", "labels", "bounds"), theirs[name], ours[name]):
            if a != b:
                yield f"{name}: {what} {sorted(a) if isinstance(a, set) else a} there, {sorted(b) if isinstance(b, set) else b} here"
    for name in excepted:
        if name not in theirs:
            yield f"{name}: docs/metrics.md excepts it, but etcd has no such name"


def main():
    passed = failed = 0
    wrong = list(differences({"etcd_a": ("gauge", {"x"}, set()), "etcd_b": ("gauge", set(), set()), "etcd_c": ("gauge", set(), set())},
                             {"etcd_a": ("counter", {"y"}, set()), "etcd_c": ("gauge", set(), set())}, {"etcd_c": "", "etcd_d": ""}))
    results = [("the comparison finds what it should", [] if len(wrong) == 5 else wrong)]
    folder = tempfile.mkdtemp(prefix="fairlead-metrics-")
    programs = {"etcd": os.environ["ETCD_BIN"] + "/etcd", "fairlead": os.environ["FAIRLEAD_BIN"] + "/fairlead"}
    try:
        pages = {}
        for mode in ("extensive", "basic"):
            for name, program in programs.items():
                os.makedirs(f"{folder}/{mode}-{name}")
                cluster = Cluster(program, f"{folder}/{mode}-{name}", mode)
                try:
                    work(cluster)
                    pages[mode, name] = merged(cluster)
                    if name == "fairlead" and mode == "extensive":
                        results.append(("names of ours are in docs/metrics.md", check_ours(our_rows(cluster), "--rewrite" in sys.argv)))
                finally:
                    cluster.stop()
            results.append((f"{mode}: every name of etcd's is here, with its type, labels and bounds",
                            list(differences(pages[mode, "etcd"], pages[mode, "fairlead"], exceptions()))))
        only_basic = "grpc_server_handling_seconds" in pages["basic", "fairlead"]
        results.append(("basic: no histograms of calls", ["grpc_server_handling_seconds is there"] if only_basic else []))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, wrong in results:
        print(f"   ok    {name}" if not wrong else "\n   | ".join([f"   FAIL  {name}", *wrong]), flush=True)
        passed, failed = passed + (not wrong), failed + bool(wrong)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
