#!/usr/bin/env python3
"""Runs etcd's own black-box tests against a server and compares the outcome with the reference server's.

Each top-level test is a process of its own in a network namespace of its own (the tests use fixed ports), with its own
temporary folder and a time limit; so one that hangs or panics takes nothing else with it, and several can run at once.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

OUTCOME = re.compile(r"^\s*--- (PASS|FAIL|SKIP): (\S+) \((\d+\.\d+)s\)\s*$", re.MULTILINE)
EXCEPTION = re.compile(r"^\|\s*`(Test[^`]*)`\s*\|\s*(\S[^|]*?)\s*\|\s*$", re.MULTILINE)
EXCEPTIONS_MAX = 3
TEST_SECONDS_MAX = 600
OUT_OF_TIME = "test timed out after"  # the suite's own limits, of a few seconds


def isolated(command):
    """The command in a network namespace with a loopback of its own; None where that is not allowed."""
    inner = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    for unshare in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        if subprocess.run(unshare + inner + ["true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            return unshare + inner + command
    return None


class Suite:
    def __init__(self, args):
        self.binary = os.path.abspath(args.suite)
        self.folder = args.folder  # the tests find their fixtures from here
        self.minimal = args.short
        self.jobs = args.jobs
        self.prefix = isolated([])
        if self.prefix is None:
            self.prefix, self.jobs = [], 1  # the tests' ports are fixed

    def names(self, regex):
        out = subprocess.run([self.binary, "-test.list", regex], cwd=self.folder, stdout=subprocess.PIPE, check=True, text=True)
        return [line for line in out.stdout.splitlines() if line.startswith("Test")]

    def run_one(self, name, bin_dir, log):
        """The outcome of a test and of each of its subtests: name -> [PASS | FAIL | SKIP, seconds]."""
        temp = tempfile.mkdtemp(prefix="fairlead-conformance-")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("ETCD_", "ETCDCTL_", "FAIRLEAD_"))}
        environment.update(TMPDIR=temp, HOME=temp, PATH="/usr/sbin:/sbin:" + environment.get("PATH", ""))
        if self.minimal:
            environment["E2E_TEST_MINIMAL"] = "true"
        command = self.prefix + [
            self.binary, "-test.v", "-test.run", f"^{name}$", f"-test.timeout={TEST_SECONDS_MAX}s",
            "-bin-dir", os.path.abspath(bin_dir), "-cert-dir", os.path.abspath(os.path.join(self.folder, "../fixtures")),
        ]
        begin = time.monotonic()
        with open(log, "w") as out:
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=subprocess.STDOUT, start_new_session=True)
            try:
                process.wait(TEST_SECONDS_MAX + 30)
            except subprocess.TimeoutExpired:
                pass
            end_group(process)
        seconds = time.monotonic() - begin
        shutil.rmtree(temp, ignore_errors=True)
        text = pathlib.Path(log).read_text(errors="replace")
        outcome = {test: [what, float(took)] for what, test, took in OUTCOME.findall(text)}
        if name not in outcome or process.returncode not in (0, 1):
            outcome[name] = ["FAIL", seconds]  # a panic or a hang
        return outcome

    def run(self, names, bin_dir, log_dir, label):
        """The outcomes. A test that missed a limit of its own while another ran beside it is repeated alone."""
        os.makedirs(log_dir, exist_ok=True)
        results, begin = {}, time.monotonic()

        def told(name, outcome, what):
            for old in [n for n in results if n.split("/")[0] == name]:
                del results[old]
            results.update(outcome)
            print(f"   {label} {what} {time.monotonic() - begin:5.0f} s  {outcome[name][0]} {name} ({outcome[name][1]:.1f} s)", flush=True)

        def log_of(name):
            return os.path.join(log_dir, name + ".log")
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            futures = {pool.submit(self.run_one, n, bin_dir, log_of(n)): n for n in names}
            for done, future in enumerate(concurrent.futures.as_completed(futures), 1):
                told(futures[future], future.result(), f"{done}/{len(names)}")
        late = [n for n in names if results[n][0] == "FAIL" and OUT_OF_TIME in pathlib.Path(log_of(n)).read_text(errors="replace")]
        for name in late if self.jobs > 1 else []:
            os.replace(log_of(name), os.path.join(log_dir, name + ".late.log"))
            told(name, self.run_one(name, bin_dir, log_of(name)), "again, alone:")
        return results


def end_group(process):
    """The servers that a test may have left behind are in its process group's session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.getsid(int(entry)) == process.pid:
                    os.kill(int(entry), signal.SIGKILL)
            except OSError:
                pass


def exceptions(path):
    if not os.path.exists(path):
        return {}
    found = dict(EXCEPTION.findall(pathlib.Path(path).read_text()))
    if len(found) > EXCEPTIONS_MAX:
        sys.exit(f"{path} lists {len(found)} exceptions, and at most {EXCEPTIONS_MAX} are allowed")
    return found


def top(results):
    return {name: r for name, r in results.items() if "/" not in name}


def tally(results):
    outcomes = [r[0] for r in top(results).values()]
    return f"{outcomes.count('PASS')} pass, {outcomes.count('SKIP')} skip, {outcomes.count('FAIL')} fail"


def baseline_of(suite, args, names):
    """The reference server's results, kept beside the suite; only what is missing there is run."""
    path = args.baseline + (".minimal" if suite.minimal else "") + ".json"
    known = {}
    if os.path.exists(path):
        known = json.loads(pathlib.Path(path).read_text())
    if args.fresh:
        known = {n: r for n, r in known.items() if n.split("/")[0] not in names}
    missing = [n for n in names if n not in known]
    if missing:
        known.update(suite.run(missing, args.reference, os.path.join(args.logs, "reference"), "reference"))
        pathlib.Path(path + ".new").write_text(json.dumps(known, indent=0, sort_keys=True))
        os.replace(path + ".new", path)
    return {n: r for n, r in known.items() if n.split("/")[0] in names}


def compare(reference, ours, allowed):
    """Prints what passes there and not here; returns those that no exception covers."""
    worse = sorted(n for n, r in reference.items() if r[0] == "PASS" and ours.get(n, ["MISSING"])[0] != "PASS")
    # A subtest that fails makes its parent fail, one that is skipped has no subtests: show the deepest that ran.
    here = [n for n in worse if n in ours] or worse
    lost = [n for n in worse if n not in ours and not any(n.startswith(other + "/") for other in here)]
    leaves = sorted(lost + [n for n in here if not any(other.startswith(n + "/") for other in here)])
    if leaves:
        print(f"\n   {'there':8}{'here':8}test")
    for name in leaves:
        reason = next((r for n, r in allowed.items() if name == n or name.startswith(n + "/")), "")
        print(f"   {reference[name][0]:8}{ours.get(name, ['MISSING'])[0]:8}{name}" + (f"   (exception: {reason})" if reason else ""))
    return [n for n in leaves if not any(n == a or n.startswith(a + "/") for a in allowed)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for flag, text in (("suite", "the built test program"), ("folder", "its package folder"),
                       ("reference", "folder with the reference programs"), ("ours", "folder with ours as 'etcd'"),
                       ("baseline", "file of the reference's results, without its ending"), ("logs", "folder for logs and results"),
                       ("name", "what is judged: NAME.json and the folder NAME in --logs are its"),
                       ("exceptions", "the page that lists exceptions")):
        parser.add_argument("--" + flag, required=True, help=text)
    parser.add_argument("--run", default=".", help="only tests that match")
    parser.add_argument("--short", action="store_true", help="the sample of short.txt with fewer cluster variants")
    parser.add_argument("--fresh", action="store_true", help="run the reference again")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    suite = Suite(args)
    names = suite.names(args.run)
    if args.short:
        short = pathlib.Path(__file__).with_name("short.txt").read_text().split()
        unknown = set(short) - set(suite.names("."))
        if unknown:
            sys.exit(f"short.txt names tests that do not exist: {' '.join(sorted(unknown))}")
        names = [n for n in names if n in short]
    if not names:
        sys.exit(f"no test matches {args.run}")
    reference = baseline_of(suite, args, names)
    ours = suite.run(names, args.ours, os.path.join(args.logs, args.name), args.name)
    kept = pathlib.Path(args.logs, args.name + (".short" if args.short else "") + ".json")
    kept.write_text(json.dumps(ours, indent=0, sort_keys=True))
    allowed = exceptions(args.exceptions)
    bad = compare(reference, ours, allowed)
    width = max(len("reference"), len(args.name)) + 1
    print(f"\n   {'reference:':{width}} {tally(reference)}\n   {args.name + ':':{width}} {tally(ours)}\n   each test: {kept}")
    if bad:
        print(f"   logs: {args.logs}/{args.name}/TEST.log")
    bad_tests = {n.split("/")[0] for n in bad}
    print(f"{len(names) - len(bad_tests)} passed, {len(bad_tests)} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
