#!/usr/bin/env python3
"""run.py: every alert of etcd's fires on a cluster that is in its condition; every dashboard expression has data.

Environment: FAIRLEAD (the server), LOAD, JSONNET, MIXIN (folder), optionally ONLY (a scenario). Some conditions need root.
"""
import math
import os
import shutil
import signal
import sys
import tempfile
import threading
import time

import cluster as clusters
import rules

FIRE_SECONDS_MAX = 240  # most take 10 to 40; a busy machine scrapes late
# What a slow or busy machine may really have; the calm cluster is not judged by these.
OF_THE_MACHINE = {"etcdGRPCRequestsSlow", "etcdMemberCommunicationSlow", "etcdHighFsyncDurations", "etcdHighCommitDurations",
                  "etcdHighNumberOfLeaderChanges", "etcdMembersDown"}


class Run:
    def __init__(self, folder):
        self.programs = {"fairlead": os.environ["FAIRLEAD"], "load": os.environ["LOAD"]}
        self.folder, self.passed, self.failed = folder, 0, 0
        jsonnet, mixin = os.environ["JSONNET"], os.environ["MIXIN"]
        rule_file, self.alerts = rules.alert_rules(jsonnet, mixin)
        self.dashboard = rules.dashboard_expressions(jsonnet, mixin, "etcd-calm")
        self.fired = set()
        self.prometheus = clusters.Prometheus("prometheus", folder, rule_file)

    def result(self, ok, name):
        self.passed, self.failed = self.passed + bool(ok), self.failed + (not ok)
        print(f"   {'ok   ' if ok else 'FAIL '} {name}", flush=True)

    def cluster(self, job, **options):
        made = clusters.Cluster(self.programs, self.folder, job, **options)
        made.wait_ready()
        self.prometheus.add(made)
        return made

    def firing(self, job):
        return {(r["metric"]["alertname"], r["metric"]["severity"])
                for r in self.prometheus.query(f'ALERTS{{job="{job}",alertstate="firing"}}')}

    def expect(self, job, *alerts):
        """Each (name, severity) fires for this job in time."""
        begin, open_ = time.time(), set(alerts)
        while open_ and time.time() - begin < FIRE_SECONDS_MAX:
            for alert in sorted(open_ & self.firing(job)):
                self.fired.add(alert)
                self.result(True, f"{alert[0]} ({alert[1]}) fires: {job}, after {time.time() - begin:.0f} s")
                open_.discard(alert)
            time.sleep(0.3)
        for alert in sorted(open_):
            self.result(False, f"{alert[0]} ({alert[1]}) did not fire in {FIRE_SECONDS_MAX} s: {job}")


def members_killed(run):
    c = run.cluster("etcd-killed")
    c.kill(2)
    run.expect(c.job, ("etcdMembersDown", "warning"))
    c.kill(1)
    c.load(members=[0], rate=40, timeout="4s")
    run.expect(c.job, ("etcdNoLeader", "critical"), ("etcdInsufficientMembers", "critical"),
               ("etcdHighNumberOfFailedGRPCRequests", "warning"), ("etcdHighNumberOfFailedGRPCRequests", "critical"),
               ("etcdHighNumberOfFailedProposals", "warning"))
    return c


def leaders_restarted(run):
    c = run.cluster("etcd-elections")
    c.load(rate=20)
    stop = threading.Event()

    def restart():
        while not stop.is_set():
            leader = c.leader()
            if leader is not None:
                c.restart(leader)
            stop.wait(0.7)

    thread = threading.Thread(target=restart)
    thread.start()
    try:
        run.expect(c.job, ("etcdHighNumberOfLeaderChanges", "warning"))
    finally:
        stop.set()
        thread.join()
    return c


def members_stand_still(run):
    """Followers that are stopped half of the time: short enough for no election, long enough to be felt."""
    c = run.cluster("etcd-slow")
    c.load(rate=50)
    leader = c.leader()
    followers = [m for i, m in enumerate(c.members) if i != leader]
    stop = threading.Event()

    def halt():
        while not stop.is_set():
            for how, seconds in ((signal.SIGSTOP, 0.5), (signal.SIGCONT, 0.25)):
                for m in followers:
                    m.send_signal(how)
                stop.wait(seconds)
        for m in followers:
            m.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=halt)
    thread.start()
    try:
        run.expect(c.job, ("etcdGRPCRequestsSlow", "critical"), ("etcdMemberCommunicationSlow", "warning"))
    finally:
        stop.set()
        thread.join()
    return c


class SlowDisk:
    """A control group whose processes may write so many bytes a second (version 1: blkio, 2: io)."""

    def __init__(self, folder, bytes_a_second):
        device = os.stat(folder).st_dev
        numbers = f"{os.major(device)}:{os.minor(device)}"
        if os.path.exists(f"/sys/dev/block/{numbers}/partition"):  # only whole disks have limits
            with open(f"/sys/dev/block/{numbers}/../dev") as f:
                numbers = f.read().strip()
        v1 = os.path.isdir("/sys/fs/cgroup/blkio")
        self.path = ("/sys/fs/cgroup/blkio" if v1 else "/sys/fs/cgroup") + f"/fairlead-alerts-{os.getpid()}"
        if not v1:
            with open("/sys/fs/cgroup/cgroup.subtree_control", "w") as f:
                f.write("+io")
        os.mkdir(self.path)
        rule, text = (("blkio.throttle.write_bps_device", f"{numbers} {bytes_a_second}") if v1
                      else ("io.max", f"{numbers} wbps={bytes_a_second}"))
        with open(f"{self.path}/{rule}", "w") as f:
            f.write(text)
        self.parent = os.path.dirname(self.path)

    def take(self, pid, path=None):
        with open(f"{path or self.path}/cgroup.procs", "w") as f:
            f.write(str(pid))

    def remove(self, pids):
        for pid in pids:
            self.take(pid, self.parent)
        clusters.wait_for(30, "the control group to empty", self.try_remove)

    def try_remove(self):
        try:
            os.rmdir(self.path)
            return True
        except OSError:
            return False


def throttled(run, job, flags, load, bytes_a_second, *alerts):
    c = run.cluster(job, members=1, flags=flags)
    disk = SlowDisk(c.folder, bytes_a_second)
    try:
        c.load(**load)
        time.sleep(5)  # the log lays out its next segment first; it would take all that the disk may do
        disk.take(c.members[0].pid)
        run.expect(c.job, *alerts)
    finally:
        disk.remove([c.members[0].pid])
    return c


def slow_log(run):
    """A put a second, whose write takes a little longer than that."""
    return throttled(run, "etcd-log", [], {"rate": 1, "size": 60_000, "timeout": "30s"}, 60_000,
                     ("etcdHighFsyncDurations", "warning"), ("etcdHighFsyncDurations", "critical"))


def slow_checkpoints(run):
    """Checkpoints of a MiB, and a disk that takes a third of a second for one."""
    return throttled(run, "etcd-checkpoints", ["--fairlead-checkpoint-tail", "1MiB", "--fairlead-log-segment", "1MiB"],
                     {"rate": 25, "size": 20_000, "timeout": "30s"}, 3_000_000, ("etcdHighCommitDurations", "warning"))


def filled(run):
    """Two megabytes a second into a quota of 32 MiB."""
    c = run.cluster("etcd-full", members=1, flags=["--quota-backend-bytes", str(32 << 20)])
    c.load(rate=20, size=100_000, keys=100_000)
    run.expect(c.job, ("etcdExcessiveDatabaseGrowth", "warning"), ("etcdDatabaseQuotaLowSpace", "critical"))
    return c


def fragmented(run):
    """Two thirds of the data die at once, on a disk too slow for the cleaner to give them back within the alert's time."""
    c = run.cluster("etcd-fragments", members=1)
    c.once(puts=3600, keys=1200, size=100_000)
    disk = SlowDisk(c.folder, 1_000_000)
    try:
        disk.take(c.members[0].pid)
        c.once(compact="true")
        run.expect(c.job, ("etcdDatabaseHighFragmentationRatio", "warning"))
    finally:
        disk.remove([c.members[0].pid])
    return c


SCENARIOS = {f.__name__: f for f in (members_killed, leaders_restarted, members_stand_still, slow_log, slow_checkpoints,
                                     filled, fragmented)}


def calm(run):
    job = "etcd-calm"
    for expression in run.dashboard:
        try:
            values = [float(r["value"][1]) for r in run.prometheus.query(expression)]
        except OSError as error:
            values, expression = [], f"{expression}: {error}"
        run.result(values and not any(math.isnan(v) for v in values), f"dashboard: {' '.join(expression.split())[:110]}")
    ever = run.prometheus.query(f'count_over_time(ALERTS{{job="{job}",alertstate="firing"}}[1h])')
    wrong = {r["metric"]["alertname"] for r in ever} - OF_THE_MACHINE
    run.result(not wrong, f"no alert about a fault on the calm cluster {sorted(wrong) if wrong else ''}")


def main():
    folder = tempfile.mkdtemp(prefix="fairlead-alerts-", dir=os.environ.get("ALERTS_DIR"))
    run = Run(folder)
    try:
        # Small checkpoints, so that their time is always known; etcd commits ten times a second.
        quiet = run.cluster("etcd-calm", flags=["--fairlead-checkpoint-tail", "1MiB"])
        quiet.load(rate=30, size=10_000)
        for name, scenario in SCENARIOS.items():
            if os.environ.get("ONLY") in (None, "", name):
                made = scenario(run)
                run.prometheus.remove(made)
                made.stop()
        calm(run)
        if not os.environ.get("ONLY"):
            missing = set(run.alerts) - run.fired
            run.result(not missing, f"every alert has fired {sorted(missing) if missing else ''}")
    finally:
        for c in run.prometheus.jobs:
            c.stop()
        run.prometheus.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{run.passed} passed, {run.failed} failed")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
