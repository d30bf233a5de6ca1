#!/usr/bin/env python3
"""A cluster for one client program, and a door through which the program breaks it.

    lab.py [--reference] [--logs FOLDER] LANGUAGE COMMAND...

Starts three members and a fourth, alone, that asks for client certificates; runs COMMAND; ends all. The servers are
Fairlead's (FAIRLEAD_BIN), with --reference the reference etcd's (ETCD_BIN). The program finds in its environment

    CLIENT_ENDPOINTS      host:port,host:port,host:port   no TLS
    CLIENT_TLS_ENDPOINT   host:port                       server and client certificates
    CLIENT_PKI            a folder: ca.crt; alice.crt, alice.key, alice.pk8 (a good client); other.crt, stranger.crt,
                          stranger.key, stranger.pk8 (an authority the server does not know, and one of its clients)
    CLIENT_CONTROL        http://host:port; each request is a POST without a body, answered when it is done:
        /mark             remembers how many watches each member has
        /kill-watched     kills (SIGKILL) the one member that has more watches than then; answers host:port
        /restart          starts what was killed, and waits until it serves

and prints `ok    CASE` or `FAIL  CASE: reason` for each case. The cases in REQUIRED must all be there: a program that
ends early has failed.
"""

import argparse
import contextlib
import http.server
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "interop"))
import pair  # noqa: E402  (free ports, waiting)

REQUIRED = ["kv", "txn", "watch", "watch resume", "lease", "lock", "election", "auth", "tls"]
WAIT_SECONDS = 60
PROGRAM_SECONDS = 900


def lasting_port():
    """A free port that no outgoing connection can take while its member is down: below the kernel's own range."""
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Member:
    def __init__(self, binary, work, name, port=None, flags=(), scheme="http"):
        self.binary, self.work, self.name, self.flags, self.scheme = binary, pathlib.Path(work), name, list(flags), scheme
        self.port, self.peer_port = port or lasting_port(), lasting_port()
        self.address = f"127.0.0.1:{self.port}"
        self.peer_url = self.peer_listen = f"http://127.0.0.1:{self.peer_port}"
        # Health and metrics without TLS, for the lab.
        self.page_port = lasting_port()
        self.pages = f"http://127.0.0.1:{self.page_port}"
        self.process = None

    def start(self, cluster):
        url = f"{self.scheme}://{self.address}"
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("ETCD_", "ETCDCTL_"))}
        with open(self.work / f"{self.name}.log", "a") as log:
            self.process = subprocess.Popen(
                [self.binary, "--name", self.name, "--data-dir", str(self.work / f"{self.name}.data"),
                 "--listen-client-urls", url, "--advertise-client-urls", url,
                 "--listen-peer-urls", self.peer_listen, "--initial-advertise-peer-urls", self.peer_url,
                 "--listen-metrics-urls", self.pages, "--initial-cluster", cluster, *self.flags],
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.alive():
            self.process.kill()
        if self.process is not None:
            self.process.wait()

    def page(self, path):
        with urllib.request.urlopen(self.pages + path, timeout=5) as answer:
            return answer.read().decode()

    def serves(self):
        if not self.alive():
            raise AssertionError(f"{self.name} ended by itself; see its log")
        return '"true"' in self.page("/health")

    def watches(self):
        if not self.alive():
            return 0
        found = re.search(r"^etcd_debugging_mvcc_watcher_total (\S+)", self.page("/metrics"), re.MULTILINE)
        return int(float(found[1])) if found else 0


class Cluster:
    def __init__(self, members):
        self.members = members
        self.text = ",".join(f"{m.name}={m.peer_url}" for m in members)
        self.marked = {}

    def start(self):
        for m in self.members:
            if not m.alive():
                m.start(self.text)
        for m in self.members:
            pair.wait_for(m.serves, WAIT_SECONDS, f"{m.name} to serve")

    def stop(self):
        for m in self.members:
            m.kill()

    def addresses(self):
        return ",".join(m.address for m in self.members)

    def mark(self):
        self.marked = {m.name: m.watches() for m in self.members}
        return str(self.marked)

    def kill_watched(self):
        grown = []

        def one():
            grown[:] = [m for m in self.members if m.watches() > self.marked.get(m.name, 0)]
            return len(grown) == 1

        pair.wait_for(one, WAIT_SECONDS, "one member with a new watch")
        grown[0].kill()
        return grown[0].address

    def restart(self):
        self.start()
        return "all serve"


@contextlib.contextmanager
def running(members):
    cluster = Cluster(members)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@contextlib.contextmanager
def control(cluster):
    """The door: its URL."""
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            actions = {"/mark": cluster.mark, "/kill-watched": cluster.kill_watched, "/restart": cluster.restart}
            try:
                with lock:
                    status, text = 200, actions[self.path]()
            except Exception as e:  # the program is to hear of every failure
                status, text = 500, f"{type(e).__name__}: {e}"
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def make_pki(folder):
    folder.mkdir()
    here = "DNS:localhost,IP:127.0.0.1"
    script = f'''set -e; pki={folder}; . "{HERE.parent}/interop/pki.sh"
        make_ca ca; make_ca other
        make_cert server ca server {here}; make_cert alice ca alice {here}; make_cert stranger other alice {here}
        for name in alice stranger; do openssl pkcs8 -topk8 -nocrypt -in "$pki/$name.key" -out "$pki/$name.pk8"; done'''
    subprocess.run(["bash", "-c", script], check=True, stdout=subprocess.DEVNULL)


def binary(reference):
    return pair.etcd_binary() if reference else pair.fairlead_binary()


def run_program(language, command, environment, log):
    """Runs the program; the outcome of each case, in order: (case, reason or None)."""
    outcome = []
    with open(log, "w") as out:
        # A group of its own, so that what it starts (a JVM, a node) ends with it.
        program = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=out, stdin=subprocess.DEVNULL, text=True,
                                   start_new_session=True)
        timer = threading.Timer(PROGRAM_SECONDS, os.killpg, (program.pid, signal.SIGKILL))
        timer.start()
        try:
            for line in program.stdout:
                out.write(line)
                out.flush()
                found = re.match(r"(ok|FAIL)\s+([^:\n]+)(?:: (.*))?$", line)
                if not found:
                    continue
                outcome.append((found[2].strip(), None if found[1] == "ok" else found[3] or "no reason given"))
                print(f"   {found[1]:<4}  {language}: {line[6:].rstrip()}", flush=True)
            code = program.wait()
        finally:
            timer.cancel()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()
    failed = any(reason for _, reason in outcome)
    if (code != 0) != failed:
        outcome.append(("exit code", f"{code}, which is not what the cases say (its output is in {log})"))
    return outcome


def report(language, outcome, required):
    missing = [(case, "did not run") for case in required if case not in [name for name, _ in outcome]]
    for case, reason in missing + [o for o in outcome if o[0] == "exit code"]:
        print(f"   FAIL  {language}: {case}: {reason}")
    failed = len(missing) + sum(1 for _, reason in outcome if reason)
    print(f"{len(outcome) + len(missing) - failed} passed, {failed} failed")
    return 1 if failed else 0


def end_in_order():
    """A TERM (a time limit, a Ctrl-C of the script around it) ends servers and removes folders too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def main():
    end_in_order()
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", action="store_true", help="the reference etcd in place of Fairlead")
    parser.add_argument("--logs", default=".", help="where logs of servers and program stay")
    parser.add_argument("language")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="fairlead-clients-"))
    logs = pathlib.Path(args.logs)
    logs.mkdir(parents=True, exist_ok=True)
    server = binary(args.reference)
    try:
        make_pki(work / "pki")
        tls = ["--cert-file", f"{work}/pki/server.crt", "--key-file", f"{work}/pki/server.key",
               "--trusted-ca-file", f"{work}/pki/ca.crt", "--client-cert-auth"]
        with running([Member(server, work, f"m{i}") for i in range(3)]) as three, \
                running([Member(server, work, "tls", flags=tls, scheme="https")]) as alone, control(three) as door:
            environment = {k: v for k, v in os.environ.items() if not k.startswith(("ETCD_", "FAIRLEAD_"))}
            environment.update(CLIENT_ENDPOINTS=three.addresses(), CLIENT_TLS_ENDPOINT=alone.addresses(),
                               CLIENT_PKI=str(work / "pki"), CLIENT_CONTROL=door)
            outcome = run_program(args.language, args.command, environment, logs / "program.log")
    finally:
        for log in work.glob("*.log"):
            shutil.copy(log, logs)
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(report(args.language, outcome, REQUIRED))


if __name__ == "__main__":
    main()
