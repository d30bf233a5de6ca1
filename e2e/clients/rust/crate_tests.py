#!/usr/bin/env python3
"""The tests that the crate etcd-client brings along, against our server or (--reference) etcd.

    crate_tests.py [--reference] [--logs FOLDER] PROGRAM...

PROGRAM are its test programs, built by cargo. They want a server on localhost:2379 with a user root of a certain password
and tokens that end after 2 s; so each gets a fresh server, in a network namespace of this script's own. Its tests marked
`ignored` need more: those of RangeStream a small --max-request-bytes, the one of the cluster three members and a fourth
that starts once it was added.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import lab  # noqa: E402
import pair  # noqa: E402  (lab put its folder into the path)

RESULT = re.compile(r"^test (\S+) \.\.\. (ok|FAILED|ignored.*)$", re.MULTILINE)
FLAGS = ["--auth-token-ttl", "2"]
SECONDS = 600


def isolate():
    """Runs this script again where ports 2379 and 2380 and the names of hosts are its own."""
    if os.environ.get("CLIENTS_ISOLATED"):
        return
    inner = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, "-B", *sys.argv]
    environment = dict(os.environ, CLIENTS_ISOLATED="1", PATH="/usr/sbin:/sbin:" + os.environ["PATH"])
    may = subprocess.run(["unshare", "--net", "--mount", "true"], stderr=subprocess.DEVNULL).returncode == 0
    os.execvpe("unshare", ["unshare", *([] if may else ["--map-root-user"]), "--net", "--mount", *inner], environment)


def name_hosts(work, names):
    """`names` are 127.0.0.1, for this script's own view of the system."""
    hosts = work / "hosts"
    hosts.write_text("127.0.0.1 localhost " + " ".join(names) + "\n")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)


def run_tests(program, arguments, log):
    """{test: passed} of those that ran."""
    with open(log, "a") as out:
        done = subprocess.run([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS,
                              stdin=subprocess.DEVNULL)
        out.write(done.stdout)
    if done.returncode == 0 and "running 0 tests" in done.stdout:
        return {}
    outcome = {name: word == "ok" for name, word in RESULT.findall(done.stdout) if not word.startswith("ignored")}
    if not outcome or (done.returncode == 0) != all(outcome.values()):
        print(done.stdout[-2000:])
        outcome[pathlib.Path(program).name + " ran"] = False
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


def on_a_cluster(server, work, program, log):
    """Its test adds a learner at http://node4:2380 and promotes it: the fourth member starts when the list has it."""
    members = [lab.Member(server, work, f"node{i}", port=2379 if i == 1 else None, flags=FLAGS) for i in (1, 2, 3)]
    joining = lab.Member(server, work, "node4", flags=[*FLAGS, "--initial-cluster-state", "existing"])
    joining.peer_url, joining.peer_listen = "http://node4:2380", "http://127.0.0.1:2380"
    listing = [pair.etcd_binary("etcdctl"), "--endpoints", members[0].address, "member", "list"]

    def join():
        pair.wait_for(lambda: joining.peer_url in subprocess.run(listing, stdout=subprocess.PIPE, text=True).stdout, 120, "node4 in the list")
        joining.start(",".join(f"{m.name}={m.peer_url}" for m in [*members, joining]))

    def may_add():
        """A member is added only when all have known each other for some seconds."""
        add = [*listing[:3], "member", "add", "probe", "--learner", "--peer-urls", "http://127.0.0.1:1", "-w", "json"]
        done = subprocess.run(add, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if done.returncode != 0:
            return False
        identity = json.loads(done.stdout)["member"]["ID"]
        return subprocess.run([*listing[:3], "member", "remove", f"{identity:x}"], stdout=subprocess.DEVNULL).returncode == 0

    with lab.running(members):
        pair.wait_for(may_add, 120, "members that may be added to")
        waiting = threading.Thread(target=join, daemon=True)
        waiting.start()
        try:
            return run_tests(program, ["--ignored", "--exact", "test_cluster"], log)
        finally:
            waiting.join(10)
            joining.kill()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--logs", default=".")
    parser.add_argument("programs", nargs="+")
    args = parser.parse_args()
    isolate()
    lab.end_in_order()
    logs = pathlib.Path(args.logs)
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / "tests.log"
    log.unlink(missing_ok=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix="fairlead-crate-"))
    server, outcome = lab.binary(args.reference), {}
    try:
        name_hosts(work, ["node4"])
        for program in args.programs:
            outcome.update(on_one_member(server, work, [], program, [], log))
            if pathlib.Path(program).name.startswith("client-"):
                outcome.update(on_one_member(server, work, ["--max-request-bytes", "10240"], program, ["--ignored", "test_get_stream"], log))
                outcome.update(on_a_cluster(server, work, program, log))
    finally:
        for file in work.glob("*.log"):
            shutil.copy(file, logs)
        shutil.rmtree(work, ignore_errors=True)
    outcome = outcome or {"no test ran": False}
    for name, passed in outcome.items():
        print(f"   {'ok  ' if passed else 'FAIL'}  rust, the crate's own: {name}" + ("" if passed else f" (see {log})"))
    failed = list(outcome.values()).count(False)
    print(f"{len(outcome) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
