#!/usr/bin/env python3
"""Every test that docs/conformance.md names is there.

In the last cell of a row of its table of rules, words in backquotes are files, names of tests of ours (a * at the end
stands for any), or `Test...`, etcd's own. Prints one line a finding.
"""
import pathlib
import re
import sys

HEADING = "## What is kept, and by which test"
THEIRS = re.compile(r"Test\w+\*?$")


def findings(page, exists, tests):
    if HEADING not in page:
        return 0, [f"the page has no part '{HEADING[3:]}'"]
    out, rows = [], 0
    for line in page.split(HEADING, 1)[1].splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if not line.startswith("|") or len(cells) != 3 or cells[0] in ("area", "---"):
            continue
        rows += 1
        if not re.search(r"`|\b[A-Z]\b|\]\(", cells[2]):
            out.append(f"{cells[1]}: no test")
        for word in re.findall(r"`([^`]+)`", cells[2]):
            if "/" in word:
                if not exists(word):
                    out.append(f"{cells[1]}: there is no {word}")
            elif not THEIRS.match(word) and word.rstrip("*") not in tests:
                out.append(f"{cells[1]}: there is no test '{word}'")
    return rows, out


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    files = [*root.glob("server/**/*_test.cc"), *root.glob("e2e/interop/*.sh"), *root.glob("e2e/interop/*.py")]
    tests = "\n".join(f.read_text() for f in files)

    def exists(name):
        return any(root.glob(name))

    rows, found = findings((root / "docs/conformance.md").read_text(), exists, tests)
    for line in found:
        print(line)
    print(f"{rows} rules, {len(found)} findings")
    return 1 if found or rows == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
