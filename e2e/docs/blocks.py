#!/usr/bin/env python3
"""blocks.py FILE.md...: runs the shell blocks marked with <!-- tested -->; prints a line for each and a score.

A block runs with bash -eu in the checkout. Paths /tmp/NAME in it are moved into a folder of this run, which is
removed. As root each block has a network of its own with nothing but a loopback.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS_MAX = 1200  # the first command of a block may build everything
BLOCK = re.compile(r"^<!-- tested -->\n```sh\n(.*?)^```\n(?:\n*```text\n(.*?)^```\n)?", re.S | re.M)


def blocks_of(text):
    """(shell commands, expected lines) of each marked block. A mark without a block is an error."""
    found = [(m.group(1), (m.group(2) or "").splitlines()) for m in BLOCK.finditer(text)]
    marks = text.count("<!-- tested -->")
    if marks != len(found):
        raise ValueError(f"{marks} marks, but {len(found)} shell blocks right below one")
    return found


def missing_line(expected, output):
    """The first expected line that does not come in its order, or None."""
    lines = iter(line.strip() for line in output.splitlines())
    return next((line for line in expected if line.strip() and line.strip() not in lines), None)


def run(commands, folder):
    """The block's exit code and output."""
    script = re.sub(r"/tmp/(?=[\w-])", f"{folder}/", commands)
    command = ["bash", "-euc", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + script]
    if os.geteuid() == 0:
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    # A file, not a pipe: what a block leaves in the background must not hold us up.
    with tempfile.TemporaryFile("w+") as out:
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                              timeout=SECONDS_MAX, check=False)
        out.seek(0)
        return done.returncode, out.read()


def check(commands, expected):
    """None, or what is wrong."""
    folder = tempfile.mkdtemp(prefix="fairlead-docs-")
    try:
        code, output = run(commands, folder)
    except subprocess.TimeoutExpired:
        return f"no end after {SECONDS_MAX} s"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    missing = missing_line(expected, output)
    if code == 0 and missing is None:
        return None
    tail = "\n".join("   | " + line for line in output.splitlines()[-12:])
    return (f"exit code {code}" if code else f"'{missing}' is not in its place in the output") + "\n" + tail


def main(files):
    passed = failed = 0
    for file in files:
        for number, (commands, expected) in enumerate(blocks_of(pathlib.Path(file).read_text()), 1):
            wrong = check(commands, expected)
            name = f"{pathlib.Path(file).name}, block {number} ({commands.splitlines()[0]} ...)"
            print(f"   ok    {name}" if wrong is None else f"   FAIL  {name}: {wrong}", flush=True)
            passed, failed = passed + (wrong is None), failed + (wrong is not None)
    if passed + failed == 0:
        print("   FAIL  no block is marked")
        failed = 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
