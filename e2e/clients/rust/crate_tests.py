#!/usr/bin/env python3
"""The tests that the crate etcd-client brings along, against our server or (--reference) etcd.

    crate_tests.py [--reference] [--logs FOLDER] PROGRAM...

PROGRAM are its test programs, built by cargo. They want a server on localhost:2379 with a user root of a certain password
and tokens that end after 2 s; so each gets a fresh server, in a network namespace of this script's own. Those of its tests
marked `ignored` that are about RangeStream want a small --max-request-bytes; the one that wants a fourth member is left out.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import lab  # noqa: E402
import pair  # noqa: E402  (lab put its folder into the path)

RESULT = re.compile(r"^test (\S+) \.\.\. (ok|FAILED|ignored.*)$", re.MULTILINE)
FLAGS = ["--auth-token-ttl", "2"]
SECONDS = 600


def isolate():
    """Runs this script again where port 2379 is its own."""
    if os.environ.get("CLIENTS_ISOLATED"):
        return
    inner = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, "-B", *sys.argv]
    environment = dict(os.environ, CLIENTS_ISOLATED="1", PATH="/usr/sbin:/sbin:" + os.environ["PATH"])
    may = subprocess.run(["unshare", "--net", "true"], stderr=subprocess.DEVNULL).returncode == 0
    os.execvpe("unshare", ["unshare", *([] if may else ["--map-root-user"]), "--net", *inner], environment)


def run_tests(program, arguments, log):
    """{test: passed} of those that ran."""
    with open(log, "a") as out:
        done = subprocess.run([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS,
                              stdin=subprocess.DEVNULL)
        out.write(done.stdout)
    outcome = {name: word == "ok" for name, word in RESULT.findall(done.stdout) if not word.startswith("ignored")}
    if not outcome or (done.returncode == 0) != all(outcome.values()):
        print(done.stdout[-2000:])
        outcome[pathlib.Path(program).name + " ran"] = not outcome and done.returncode == 0 and "0 tests" in done.stdout
    return outcome


def add_root(member):
    etcdctl = [pair.etcd_binary("etcdctl"), "--endpoints", member.address]
    subprocess.run([*etcdctl, "user", "add", "root:rootpwd"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*etcdctl, "user", "grant-role", "root", "root"], check=True, stdout=subprocess.DEVNULL)


def on_one_member(server, work, flags, program, arguments, log):
    shutil.rmtree(work / "one.data", ignore_errors=True)
    with lab.running([lab.Member(server, work, "one", port=2379, flags=FLAGS + flags)]) as cluster:
        add_root(cluster.members[0])
        return run_tests(program, arguments, log)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--logs", default=".")
    parser.add_argument("programs", nargs="+")
    args = parser.parse_args()
    isolate()
    logs = pathlib.Path(args.logs)
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / "tests.log"
    log.unlink(missing_ok=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix="fairlead-crate-"))
    server, outcome = lab.binary(args.reference), {}
    try:
        for program in args.programs:
            outcome.update(on_one_member(server, work, [], program, [], log))
            if pathlib.Path(program).name.startswith("client-"):
                outcome.update(on_one_member(server, work, ["--max-request-bytes", "10240"], program, ["--ignored", "test_get_stream"], log))
    finally:
        for file in work.glob("*.log"):
            shutil.copy(file, logs)
        shutil.rmtree(work, ignore_errors=True)
    for name, passed in outcome.items():
        print(f"   {'ok  ' if passed else 'FAIL'}  rust, the crate's own: {name}" + ("" if passed else f" (see {log})"))
    failed = list(outcome.values()).count(False)
    print(f"{len(outcome) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
