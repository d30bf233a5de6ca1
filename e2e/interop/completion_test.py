#!/usr/bin/env python3
"""Completion of fairleadctl in the real bash, zsh and fish, at a terminal: the script is sourced, a line is typed and the
tabulator is pressed. FAIRLEAD_BIN has fairleadctl."""

import atexit
import os
import pty
import re
import select
import shutil
import subprocess
import tempfile
import time

from pair import run_tests, tests_of

BIN = os.environ["FAIRLEAD_BIN"]
WORK = tempfile.mkdtemp(prefix="completion-")
atexit.register(shutil.rmtree, WORK, ignore_errors=True)
os.symlink(os.path.join(BIN, "fairleadctl"), os.path.join(WORK, "fairleadctl"))
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\x1b\][^\x07]*\x07|\r|\x07")
SECONDS = 60


class Terminal:
    """A shell at a terminal of its own."""

    def __init__(self, *command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            env = {"PATH": WORK + ":" + os.environ["PATH"], "HOME": WORK, "TERM": "xterm", "PS1": "ready> ", "LANG": "C.UTF-8",
                   "COLUMNS": "150", "LINES": "60"}
            os.chdir(WORK)
            os.execvpe(command[0], command, env)
        self.seen = ""

    def send(self, text):
        self.seen = ""
        os.write(self.fd, text.encode())

    def shows(self, *parts):
        """Whether all of these come, in any order; what was seen is in self.seen."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if all(p in self.seen for p in parts):
                return True
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.seen += ESCAPES.sub("", os.read(self.fd, 65536).decode(errors="replace"))
                except OSError:
                    break
        return False

    def close(self):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def complete(shell, setup, cases):
    """cases: (typed, what must be shown, what must not)."""
    for typed, wanted, unwanted in cases:
        t = Terminal(*shell)
        try:
            for line in setup:
                t.send(line + "\n")
            t.send("echo so''urced\n")
            assert t.shows("sourced"), f"{shell[0]} does not start: {t.seen}"
            time.sleep(0.3)  # until the prompt is back
            t.send(typed + "\t")
            time.sleep(0.5)
            os.write(t.fd, b"\t")
            assert t.shows(*wanted), f"{shell[0]}: {typed!r} shows no {wanted} but {t.seen!r}"
            for word in unwanted:
                assert word not in t.seen, f"{shell[0]}: {typed!r} shows {word} in {t.seen!r}"
        finally:
            t.close()


CASES = [
    ("fairleadctl doc", ["fairleadctl doctor"], []),
    ("fairleadctl check ", ["perf", "datascale"], ["doctor"]),
    ("fairleadctl lease g", ["lease grant"], []),
    ("fairleadctl --endpoints http://127.0.0.1:1 doctor --disk", ["--disk-limit"], ["--prefix"]),
    ("fairleadctl top --on", ["top --once"], []),
    ("fairleadctl status --metrics", ["--metrics-urls"], []),
    ("fairleadctl check perf --auto-c", ["--auto-compact"], []),
    ("fairleadctl get key --pre", ["--prefix"], []),
    ("fairleadctl -w js", ["-w json"], []),
    ("fairleadctl endpoint health --clu", ["--cluster"], []),
    ("fairleadctl --endp", ["--endpoints"], []),
]


def test_bash():
    complete(["bash", "--norc", "--noprofile", "-i"], ["source <(fairleadctl completion bash)"], CASES + [
        ("fairleadctl --write-out=pro", ["--write-out=protobuf"], [])])


def test_zsh():
    complete(["zsh", "-f", "-i"], ["unsetopt LIST_AMBIGUOUS", "source <(fairleadctl completion zsh)"], CASES)


def test_fish():
    complete(["fish", "--private", "--no-config"], ["fairleadctl completion fish | source"], CASES[:4])


def test_fish_knows_every_verb_and_flag():
    script = "fairleadctl completion fish | source; for l in $argv; echo '>' $l; complete -C $l; end"
    env = {"PATH": WORK + ":" + os.environ["PATH"], "HOME": WORK, "TERM": "dumb"}
    for typed, wanted, unwanted in CASES:
        shown = subprocess.run(["fish", "--no-config", "-c", script, typed], capture_output=True, text=True, env=env, timeout=SECONDS)
        assert shown.returncode == 0 and not shown.stderr, shown.stderr
        words = [line.split("\t")[0] for line in shown.stdout.split("\n")[1:]]
        for word in wanted:
            assert word.split(" ")[-1] in words, f"{typed!r}: no {word} in {words}"
        for word in unwanted:
            assert word not in words, f"{typed!r}: {word} in {words}"


def test_every_verb_and_flag_of_the_help_is_in_each_script():
    def help_of(*path):
        return subprocess.run([os.path.join(WORK, "fairleadctl"), *path, "--help"], capture_output=True, text=True, timeout=10).stdout
    verbs = re.findall(r"^  ([a-z][a-z-]+) ", help_of().split("Available Commands:")[1], re.M)
    assert {"status", "top", "doctor", "check"} <= set(verbs), verbs
    for shell in ("bash", "zsh", "fish"):
        script = subprocess.run([os.path.join(WORK, "fairleadctl"), "completion", shell], capture_output=True, text=True).stdout
        for verb in verbs:
            assert re.search(rf"\b{verb}\b", script), f"{shell}: {verb}"
            for flag in re.findall(r"--([a-z-]+) ", help_of(verb).split("\nFlags:")[-1]) if "\nFlags:" in help_of(verb) else []:
                assert re.search(rf"(--| -l ){flag}\b", script), f"{shell}: {verb} --{flag}"


if __name__ == "__main__":
    run_tests(tests_of(globals()))
