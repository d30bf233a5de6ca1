"""Clusters of our members on this machine, and a Prometheus that scrapes them all."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import rules

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from ports import free_ports  # noqa: E402


def wait_for(seconds, what, condition):
    deadline = time.time() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.time() > deadline:
            raise TimeoutError(f"gave up after {seconds} s waiting for {what}")
        time.sleep(0.25)


def end(process):
    """In order where it can be; on a busy machine that takes its time, and nothing here depends on it."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Cluster:
    """Members m0, m1, ... of one job. Every process is ended by stop()."""

    def __init__(self, programs, folder, job, members=3, flags=()):
        self.programs, self.folder, self.job, self.flags = programs, f"{folder}/{job}", job, list(flags)
        os.makedirs(self.folder)
        ports = free_ports(2 * members)
        self.clients = [f"http://127.0.0.1:{p}" for p in ports[:members]]
        self.peers = [f"http://127.0.0.1:{p}" for p in ports[members:]]
        self.log = open(f"{self.folder}/log", "w")
        self.members = [None] * members
        self.load_process = None
        for i in range(members):
            self.start(i)

    def start(self, i):
        cluster = ",".join(f"m{n}={p}" for n, p in enumerate(self.peers))
        self.members[i] = subprocess.Popen(
            [self.programs["fairlead"], "--name", f"m{i}", "--data-dir", f"{self.folder}/m{i}",
             "--listen-client-urls", self.clients[i], "--advertise-client-urls", self.clients[i],
             "--listen-peer-urls", self.peers[i], "--initial-advertise-peer-urls", self.peers[i],
             "--initial-cluster", cluster, "--metrics", "extensive", *self.flags], stdout=self.log, stderr=self.log)

    def targets(self):
        return {"targets": [c.removeprefix("http://") for c in self.clients], "labels": {"job": self.job}}

    def load(self, members=None, **options):
        endpoints = ",".join(self.clients[i] for i in (members if members is not None else range(len(self.clients))))
        flags = [f"-{name}={value}" for name, value in options.items()]
        self.load_process = subprocess.Popen([self.programs["load"], f"-endpoints={endpoints}", *flags],
                                             stdout=self.log, stderr=self.log)

    def once(self, **options):
        flags = [f"-{name}={value}" for name, value in options.items()]
        subprocess.run([self.programs["load"], f"-endpoints={','.join(self.clients)}", *flags], check=True, timeout=120,
                       stdout=self.log, stderr=self.log)

    def kill(self, i):
        self.members[i].kill()
        self.members[i].wait()

    def restart(self, i):
        end(self.members[i])
        self.start(i)

    def leader(self):
        """Index of the member that says it leads, or None."""
        for i, client in enumerate(self.clients):
            try:
                with urllib.request.urlopen(client + "/metrics", timeout=2) as page:
                    if "\netcd_server_is_leader 1" in page.read().decode():
                        return i
            except OSError:
                pass
        return None

    def wait_ready(self):
        wait_for(60, f"a leader of {self.job}", lambda: self.leader() is not None)

    def stop(self):
        if self.load_process:
            end(self.load_process)
        for m in self.members:
            if m.poll() is None:
                m.send_signal(signal.SIGCONT)
                m.kill()
                m.wait()
        self.log.close()


class Prometheus:
    def __init__(self, program, folder, rule_file):
        self.folder = folder
        self.jobs = []
        self.url = f"http://127.0.0.1:{free_ports(1)[0]}"
        with open(f"{folder}/rules.json", "w") as f:
            f.write(rule_file)
        self.write_targets()
        config = {"global": {"scrape_interval": f"{int(rules.SCRAPE_SECONDS * 1000)}ms", "scrape_timeout": f"{int(rules.SCRAPE_SECONDS * 1000)}ms",
                             "evaluation_interval": "500ms"},
                  "rule_files": [f"{folder}/rules.json"],
                  "scrape_configs": [{"job_name": "members", "file_sd_configs": [{"files": [f"{folder}/targets.json"],
                                                                                   "refresh_interval": "500ms"}]}]}
        with open(f"{folder}/prometheus.json", "w") as f:
            json.dump(config, f)
        self.log = open(f"{folder}/prometheus.log", "w")
        self.process = subprocess.Popen(
            [program, f"--config.file={folder}/prometheus.json", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address={self.url.removeprefix('http://')}", "--query.lookback-delta=5s"],
            stdout=self.log, stderr=self.log)
        wait_for(30, "Prometheus", self.answers)

    def answers(self):
        try:
            return self.query("vector(1)")
        except OSError:
            return False

    def write_targets(self):
        with open(f"{self.folder}/targets.new", "w") as f:
            json.dump([c.targets() for c in self.jobs], f)
        os.rename(f"{self.folder}/targets.new", f"{self.folder}/targets.json")

    def add(self, cluster):
        self.jobs.append(cluster)
        self.write_targets()
        wait_for(60, f"the first scrape of {cluster.job}",
                 lambda: len(self.query(f'up{{job="{cluster.job}"}} == 1')) == len(cluster.clients))

    def remove(self, cluster):
        self.jobs.remove(cluster)
        self.write_targets()

    def query(self, expression):
        """Asked again where the machine is too busy to answer in time."""
        url = f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        for attempt in range(6):
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    return json.load(answer)["data"]["result"]
            except TimeoutError:
                if attempt == 5:
                    raise

    def stop(self):
        end(self.process)
        self.log.close()
