#!/usr/bin/env python3
"""Every row of docs/flags.md names a test that exists, and at most so many flags have no effect here.

The page itself is compared with the server's table by server/main/options_test.cc. A row's last cell is "FILE: WORDS",
and the words stand in that file; "e2e/conformance: TestName" is one of etcd's own tests. Prints one line a finding.
"""
import pathlib
import re
import sys

NOT_NEEDED_MAX = 15
ROW = re.compile(r"^\| `--([a-z0-9-]+)` \|(.*)\|\s*$")


def cells(text):
    return [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", text)]


def findings(page, read):
    out, not_needed, rows = [], 0, 0
    for line in page.splitlines():
        match = ROW.match(line)
        if not match or len(row := cells(match[2])) != 4:
            continue
        rows += 1
        flag, (_, state, _, test) = match[1], row
        not_needed += state == "not needed"
        where, _, words = test.partition(": ")
        if not words:
            out.append(f"--{flag}: no test")
        elif where == "e2e/conformance":
            if not re.fullmatch(r"Test\w+", words):
                out.append(f"--{flag}: {words} is no name of a test")
        elif (text := read(where)) is None:
            out.append(f"--{flag}: there is no {where}")
        elif words not in text:
            out.append(f"--{flag}: {where} has no test '{words}'")
    if not_needed > NOT_NEEDED_MAX:
        out.append(f"{not_needed} flags are not needed here, and at most {NOT_NEEDED_MAX} may be")
    if rows == 0:
        out.append("the page has no rows")
    return rows, out


def main():
    root = pathlib.Path(__file__).resolve().parents[2]

    def read(name):
        path = root / name
        return path.read_text() if path.is_file() else None

    rows, found = findings((root / "docs/flags.md").read_text(), read)
    for line in found:
        print(line)
    print(f"{rows} flags, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
