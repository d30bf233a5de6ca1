#!/usr/bin/env python3
"""fairleadctl beside etcdutl: each verb in each format, each tool on files of its own; equal output and exit code. Then
what only we have: data directories of ours, and the names that the program answers to."""

import atexit
import contextlib
import fcntl
import os
import pty
import re
import shutil
import subprocess
import tempfile

from ctl_test import FORMATS, run, verbs
from pair import Server, etcd_binary, fairlead_binary, run_tests, tests_of

BIN = tempfile.mkdtemp(prefix="utl-")
atexit.register(shutil.rmtree, BIN, ignore_errors=True)
OURS = {name: os.path.join(BIN, name) for name in ("etcdutl", "etcdctl", "fairleadctl")}
for path in OURS.values():
    os.symlink(os.path.join(os.environ["FAIRLEAD_BIN"], "fairleadctl"), path)
ETCDUTL, ETCDCTL = etcd_binary("etcdutl"), etcd_binary("etcdctl")

# Files of the folder that a line runs in:
#   etcd.db, ours.db   snapshots of both servers          new.db     of a server without a key
#   raw.db             a stopped member's database        bumped.db  after restore --bump-revision
#   rotten.db          a page overwritten                 torn.db    cut short          text   no database
#   etcd/              etcd's data directory, stopped
FILES = ["etcd.db", "ours.db", "new.db", "raw.db", "bumped.db", "rotten.db", "torn.db", "text", "etcd", "nothing"]
# etcdutl writes to a file that it hashes: restores come first.
LINES = [
    "snapshot", "snapshot nosuch", "snapshot restore", "snapshot restore etcd.db new.db", "snapshot restore nothing --data-dir d1",
    "snapshot restore etcd.db --data-dir d2", "snapshot restore etcd.db --data-dir d2", "snapshot restore raw.db --data-dir d3",
    "snapshot restore raw.db --data-dir d3b --skip-hash-check", "snapshot restore etcd.db --data-dir d4 --bump-revision 10",
    "snapshot restore etcd.db --data-dir d4 --mark-compacted", "snapshot restore etcd.db --data-dir d5 --bump-revision 10 --mark-compacted",
    "snapshot restore etcd.db --data-dir d6 --name other", "snapshot restore etcd.db --data-dir d6 --initial-cluster a",
    "snapshot restore etcd.db --data-dir d6 --initial-cluster default=http://127.0.0.1",
    "snapshot restore etcd.db --data-dir d6 --initial-cluster default=http://127.0.0.1:1/x",
    "snapshot restore etcd.db --data-dir d6 --initial-cluster default=ftp://127.0.0.1:1",
    "snapshot restore etcd.db --data-dir d6 --initial-advertise-peer-urls localhost:2380",
    "snapshot restore etcd.db --data-dir d6 --initial-advertise-peer-urls http://127.0.0.1:1",
    "snapshot restore etcd.db --data-dir d6 --bump-revision x", "snapshot restore etcd.db --name m1 --initial-cluster m1=http://localhost:2380",
    "snapshot restore etcd.db --data-dir d7 --initial-cluster-token t", "snapshot restore text --data-dir d8",
    "snapshot restore text --data-dir d8b --skip-hash-check", "snapshot restore ours.db --data-dir d9 --initial-memory-map-size 0",
] + [f"snapshot status {f}" for f in FILES] + [f"hashkv {f}" for f in FILES] + [
    "hashkv etcd.db --rev 6", "hashkv etcd.db --rev 9", "hashkv etcd.db --rev=12", "hashkv etcd.db --rev 3", "hashkv etcd.db --rev 99999",
    "hashkv etcd.db --rev -1", "hashkv ours.db --rev 7", "hashkv raw.db --rev 6", "hashkv bumped.db --rev 20", "hashkv etcd.db --rev x",
    "hashkv", "hashkv etcd.db ours.db", "hashkv --nosuch", "hashkv etcd.db -w nosuch", "snapshot status etcd.db -w nosuch",
    "snapshot status nothing -w nosuch", "hashkv nothing -w nosuch", "snapshot status", "snapshot status etcd.db ours.db",
    "defrag", "defrag --data-dir nothing", "defrag --data-dir etcd", "defrag --data-dir etcd extra", "defrag --data-dir",
    "snapshot status etcd/member/snap/db", "hashkv etcd/member/snap/db",
    "migrate", "migrate --data-dir etcd", "migrate --target-version 3.6", "migrate --data-dir nothing --target-version 3.6",
    "migrate --data-dir etcd --target-version 3", "migrate --data-dir etcd --target-version 3.6.1", "migrate --data-dir etcd --target-version x.y",
    "migrate --data-dir etcd --target-version 3.4", "migrate --data-dir etcd --target-version 3.7",
    "migrate --data-dir etcd --target-version 3.9", "migrate --data-dir etcd --target-version 4.0",
    "migrate --data-dir etcd --target-version 3.6", "snapshot status etcd/member/snap/db",
    "migrate --data-dir etcd --target-version 3.5", "snapshot status etcd/member/snap/db",
    "migrate --data-dir etcd --target-version 3.7", "snapshot status etcd/member/snap/db",
    "migrate --data-dir etcd --target-version 3.9 --force", "snapshot status etcd/member/snap/db",
    "migrate --data-dir etcd --target-version 3.7", "hashkv etcd/member/snap/db",
    "version", "version extra", "nosuch", "--nosuch", "completion", "completion nosuch", "completion bash zsh",
]
# Of what is no database or is damaged each says what it found; help and completion are each tool's own.
OWN_WORDS = re.compile(r"rotten|torn|text|snapshot status etcd$")
OWN_OUTPUT = re.compile(r"completion|snapshot$|snapshot nosuch")


def fill(ctl):
    for i in range(1, 7):
        ctl(f"put k{i} v{i}")
    ctl("put k1 again")
    ctl("del k2")
    ctl("compaction 6")
    ctl("put k3 again")
    ctl("del k5")
    ctl("put k5 back")
    lease = ctl("lease grant 5000").split()[1].decode()
    ctl(f"put leased one --lease={lease}")
    ctl("put k6 x")
    ctl("del k6")


def ctl_of(s):
    def ctl(line):
        code, out, error = run(ETCDCTL, s, line, "/tmp", "", None)
        assert code == 0, (line, error)
        return out
    return ctl


@contextlib.contextmanager
def stopped(binary, change=fill, flags=()):
    """The work folder of a server that was filled and stopped in order; its data is in data/."""
    work = tempfile.mkdtemp(prefix="utl-data-")
    try:
        s = Server(binary, work, flags).ready()
        try:
            change(ctl_of(s))
        finally:
            s.stop()
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def make_files(folder):
    def snapshot_too(name):
        def change(ctl):
            fill(ctl)
            ctl(f"snapshot save {folder}/{name}")
        return change
    with stopped(fairlead_binary(), snapshot_too("ours.db")):
        pass
    with stopped(etcd_binary(), lambda ctl: ctl(f"snapshot save {folder}/new.db")):
        pass
    with stopped(etcd_binary(), snapshot_too("etcd.db")) as work:
        shutil.copytree(os.path.join(work, "data"), os.path.join(folder, "etcd"))
    shutil.copy(f"{folder}/etcd/member/snap/db", f"{folder}/raw.db")
    subprocess.run([ETCDUTL, "snapshot", "restore", f"{folder}/etcd.db", "--data-dir", f"{folder}/b", "--bump-revision", "1000",
                    "--mark-compacted"], check=True, stderr=subprocess.DEVNULL)
    shutil.move(f"{folder}/b/member/snap/db", f"{folder}/bumped.db")
    shutil.rmtree(f"{folder}/b")
    whole = open(f"{folder}/etcd.db", "rb").read()
    with open(f"{folder}/rotten.db", "wb") as f:  # all but the meta pages
        f.write(whole[:8192] + b"\xff" * (len(whole) - 8192))
    with open(f"{folder}/torn.db", "wb") as f:
        f.write(whole[:6000])
    with open(f"{folder}/text", "w") as f:
        f.write("no database\n" * 1000)


def call(tool, line, folder, fmt="simple", seconds=60):
    words = line.split()
    done = subprocess.run([tool] + ([] if "-w" in words else ["-w", fmt]) + words, cwd=folder, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=seconds)
    return done.returncode, done.stdout, done.stderr


def first_error(stderr):
    match = re.search(rb"^Error: (.*)$", stderr, re.M)
    return re.sub(rb" \(resolved .*| \(\".*", b"", match.group(1)) if match else b""


def size_masked(text):
    """Pages are filled in another way by a rewrite."""
    text = re.sub(rb"[0-9.]+ [kM]B", b"SIZE", text)
    return re.sub(rb'(Size" : |totalSize":)[0-9]+', rb"\1", re.sub(rb" +", b" ", text))


def difference(line, fmt, theirs, ours):
    damaged = "rotten" in line and theirs[0] and ours[0]  # by an error or by a panic, as chance has it
    if theirs[0] != ours[0] and not damaged:
        return f"{line} -w {fmt}: exit code {theirs[0]}, ours {ours[0]}\n  etcdutl {theirs[2][-300:]}\n  ours    {ours[2][-300:]}"
    mask = size_masked if "member/snap" in line else bytes
    if mask(theirs[1]) != mask(ours[1]) and not OWN_OUTPUT.match(line):
        return f"{line} -w {fmt}:\n  etcdutl {theirs[1][:500]}\n  ours    {ours[1][:500]}"
    errors = first_error(theirs[2]), first_error(ours[2])
    if errors[0] != errors[1] and theirs[0] != 2 and not OWN_WORDS.search(line):
        return f"{line} -w {fmt}: errors differ\n  etcdutl {errors[0]}\n  ours    {errors[1]}"
    return None


def test_each_verb_in_each_format():
    differences, count = [], 0
    with tempfile.TemporaryDirectory(prefix="utl-") as work:
        make_files(work)
        for fmt in FORMATS:
            with tempfile.TemporaryDirectory(prefix="utl-") as a, tempfile.TemporaryDirectory(prefix="utl-") as b:
                for folder in (a, b):
                    shutil.copytree(work, folder, dirs_exist_ok=True)
                for line in LINES:
                    count += 1
                    theirs, ours = call(ETCDUTL, line, a, fmt), call(OURS["etcdutl"], line, b, fmt)
                    if d := difference(line, fmt, theirs, ours):
                        differences.append(d)
    assert not differences, f"{len(differences)} of {count} lines differ:\n" + "\n".join(differences)


ELSEWHERE = {("help",): "the grammar's unit test"}


def test_no_verb_is_missing():
    ours = {" ".join(v) for v in verbs(OURS["etcdutl"])}
    theirs = [v for v in verbs(ETCDUTL) if v not in ELSEWHERE]
    assert len(theirs) >= 8, theirs
    missing = [" ".join(v) for v in theirs if " ".join(v) not in ours]
    untested = [" ".join(v) for v in theirs if not any(line.startswith(" ".join(v)) for line in LINES)]
    assert not missing, f"etcdutl's verbs that ours lacks: {missing}"
    assert not untested, f"no line for: {untested}"
    # What is new to etcdutl is not ours to give away under its name.
    assert ours == {" ".join(v) for v in theirs}, ours


def test_no_flag_is_missing():
    for verb in [()] + [v for v in verbs(ETCDUTL) if v not in ELSEWHERE]:
        flags = []
        for tool in (ETCDUTL, OURS["etcdutl"]):
            text = subprocess.run([tool, *verb, "--help"], stdout=subprocess.PIPE, check=True).stdout.decode()
            flags.append(set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)", text, re.M)) - {"help"})
        assert flags[0] == flags[1], (verb, flags[0] ^ flags[1])


def test_a_rewritten_directory_serves():
    """etcd starts from its directory after our defrag and our migrate, with all that it held."""
    with stopped(etcd_binary()) as work:
        data = os.path.join(work, "data")
        before = call(ETCDUTL, f"snapshot status {data}/member/snap/db", work)[1].split(b",")[0]
        assert call(OURS["etcdutl"], f"defrag --data-dir {data}", work)[0] == 0
        assert call(ETCDUTL, f"snapshot status {data}/member/snap/db", work)[1].split(b",")[0] == before, "the content has changed"
        for version in ("3.6", "3.5", "3.7"):
            assert call(OURS["etcdutl"], f"migrate --data-dir {data} --target-version {version}", work)[0] == 0
        assert call(ETCDUTL, f"snapshot status {data}/member/snap/db", work)[1].split(b",")[0] == before
        assert os.listdir(f"{data}/member/snap") == ["db"], os.listdir(f"{data}/member/snap")
        s = Server(etcd_binary(), work).ready()
        try:
            keys = ctl_of(s)("get --prefix --keys-only k").split()
            ctl_of(s)("put after defrag")
            assert keys == [b"k1", b"k3", b"k4", b"k5"], keys
        finally:
            s.stop()


def dead_weight(ctl):
    """Overwritten again and again, and on disk before it is compacted: a hash waits for that."""
    fill(ctl)
    for i in range(60):
        ctl(f"put heavy {'x' * 100000}")
    ctl("endpoint hashkv")
    revision = re.search(rb'"revision":([0-9]+)', ctl("get heavy -w json")).group(1).decode()
    ctl(f"compaction {revision} --physical")
    ctl("put last one")
    ctl("endpoint hashkv")


def size_of(folder):
    return sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder) if f.startswith("seg-"))


def test_a_directory_of_ours_is_cleaned():
    with stopped(fairlead_binary(), dead_weight) as work:
        data = os.path.join(work, "data")
        hashed = call(OURS["etcdutl"], f"hashkv {data}", work)
        assert hashed[0] == 0, hashed
        size = size_of(data)
        assert size > 4_000_000, size
        code, out, error = call(OURS["etcdutl"], f"defrag --data-dir {data}", work)
        assert (code, out) == (0, b"") and b"dead records are gone" in error, (code, out, error)
        assert size_of(data) < size / 4, (size, size_of(data))
        assert call(OURS["etcdutl"], f"hashkv {data}", work) == hashed
        code, out, error = call(OURS["fairleadctl"], f"defrag --data-dir {data}", work)
        assert code == 0 and b"nothing to clean" in error, (code, error)
        s = Server(fairlead_binary(), work).ready()
        try:
            ctl = ctl_of(s)
            assert ctl("get k1 --print-value-only") == b"again\n" and ctl("get last --print-value-only") == b"one\n"
            # While it serves, its directory is its own.
            for verb, name in ((f"defrag --data-dir {data}", "etcdutl"), (f"hashkv {data}", "fairleadctl")):
                code, _, error = call(OURS[name], verb + " --timeout 300ms", work)
                assert code == 2 and b"is locked" in error, (verb, code, error)
            revision = hashed[1].split(b",")[1].strip().decode()
            served = re.search(rb'"hash":([0-9]+)', ctl(f"endpoint hashkv --rev {revision} -w json")).group(1)
            assert served == hashed[1].split(b",")[0], (served, hashed)
        finally:
            s.stop()


def test_a_directory_of_ours_and_the_other_verbs():
    with stopped(fairlead_binary()) as work:
        data = os.path.join(work, "data")
        code, _, error = call(OURS["etcdutl"], f"snapshot status {data}", work)
        assert code == 1 and b"is a directory" in error, (code, error)
        assert call(OURS["etcdutl"], f"migrate --data-dir {data} --target-version 3.7", work)[0] == 0
        code, _, error = call(OURS["etcdutl"], f"migrate --data-dir {data} --target-version 3.6", work)
        assert code == 1 and b"snapshot restore" in error, (code, error)
        code, _, error = call(OURS["etcdutl"], f"hashkv {data} --rev 9999", work)
        assert code == 1 and b"future revision" in error, (code, error)


def test_flags_that_have_no_place_say_so():
    with tempfile.TemporaryDirectory(prefix="utl-") as work:
        with stopped(fairlead_binary(), lambda ctl: ctl(f"snapshot save {work}/s.db")):
            pass
        code, _, error = call(OURS["etcdutl"], "snapshot restore s.db --data-dir d --wal-dir w", work)
        assert code == 1 and b"--wal-dir" in error and not os.path.exists(f"{work}/d"), (code, error)
        code, _, error = call(OURS["etcdutl"], "snapshot restore s.db --data-dir d --initial-memory-map-size 1", work)
        assert code == 0 and b"no effect" in error, (code, error)


def test_a_database_in_use_is_waited_for():
    with tempfile.TemporaryDirectory(prefix="utl-") as work, stopped(etcd_binary()) as data:
        db = f"{work}/db"
        shutil.copy(f"{data}/data/member/snap/db", db)
        with open(db, "r+b") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            for tool in (ETCDUTL, OURS["etcdutl"]):
                assert call(tool, "hashkv db --timeout 300ms", work)[0] == 2, tool
            assert call(OURS["etcdutl"], "snapshot status db --timeout 300ms", work)[0] == 2
            waiting = subprocess.Popen([OURS["etcdutl"], "hashkv", db, "--timeout", "0"], stdout=subprocess.PIPE)
            fcntl.flock(f, fcntl.LOCK_UN)
            assert waiting.wait(60) == 0
            waiting.stdout.close()


def test_files_stay_as_they_are():
    with tempfile.TemporaryDirectory(prefix="utl-") as work, stopped(etcd_binary()) as data:
        shutil.copy(f"{data}/data/member/snap/db", f"{work}/db")
        before = open(f"{work}/db", "rb").read()
        for line in ("hashkv db", "snapshot status db", "snapshot restore db --data-dir d --skip-hash-check"):
            assert call(OURS["etcdutl"], line, work)[0] == 0, line
        assert open(f"{work}/db", "rb").read() == before


def test_names():
    """etcdctl has the verbs for snapshot files too, as up to 3.5; fairleadctl has all of both tools."""
    with tempfile.TemporaryDirectory(prefix="utl-") as work:
        with stopped(etcd_binary(), lambda ctl: (fill(ctl), ctl(f"snapshot save {work}/s.db"))):
            pass
        expected = call(ETCDUTL, "snapshot status s.db", work)
        for name in OURS:
            assert call(OURS[name], "snapshot status s.db", work)[:2] == expected[:2], name
            assert call(OURS[name], f"snapshot restore s.db --data-dir {name}.data", work)[0] == 0, name
            assert os.path.exists(f"{work}/{name}.data/manifest")
        assert call(OURS["fairleadctl"], "hashkv s.db", work)[:2] == call(ETCDUTL, "hashkv s.db", work)[:2]
        assert call(OURS["etcdctl"], "hashkv s.db", work)[0] == 1
        assert call(OURS["fairleadctl"], "defrag --data-dir nothing", work)[0] == 1
        assert call(OURS["fairleadctl"], "defrag --data-dir nothing --cluster", work)[0] == 128
        own, theirs = call(OURS["fairleadctl"], "version", work)[1], call(ETCDCTL, "version", work)[1]
        assert re.fullmatch(rb"fairleadctl version: [0-9.]+\n" + re.escape(theirs), own), own
        merged = {" ".join(v) for v in verbs(OURS["fairleadctl"])}
        both = {" ".join(v) for tool in (ETCDUTL, ETCDCTL) for v in verbs(tool)}
        assert {v for v in both if not v.startswith(("help", "check"))} <= merged, both - merged


def test_progress_is_for_terminals():
    with tempfile.TemporaryDirectory(prefix="utl-") as work:
        with stopped(etcd_binary(), lambda ctl: (fill(ctl), ctl(f"snapshot save {work}/s.db"))):
            pass
        assert call(OURS["etcdutl"], "hashkv s.db", work)[2] == b""
        for line in ("hashkv s.db", "snapshot status s.db", "snapshot restore s.db --data-dir d"):
            terminal, side = pty.openpty()
            done = subprocess.run([OURS["etcdutl"], *line.split()], cwd=work, stdout=subprocess.PIPE, stderr=side)
            os.close(side)
            shown = os.read(terminal, 65536)
            os.close(terminal)
            assert done.returncode == 0 and b"%)" in shown and b"\r" not in done.stdout, (line, shown)


if __name__ == "__main__":
    run_tests(tests_of(globals()))
