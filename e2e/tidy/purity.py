#!/usr/bin/env python3
"""Proves that the pure libraries reach for nothing but memory, strings and abort.

    purity.py BUILD_TREE LIBRARY.a...

Links the libraries, whole, into one relocatable object and compares what stays undefined with
purity.allow beside this script: one regular expression a line for a whole symbol, mangled or
demangled. What the object asks for is all that its code could ever call.
"""
import pathlib
import re
import subprocess
import sys


def run(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def undefined_symbols(build_tree, libraries):
    linked = build_tree / "purity.o"
    run("ld", "-r", "--whole-archive", *libraries, "-o", str(linked))
    symbols = [line.split()[-1] for line in run("nm", "-u", str(linked)).splitlines() if line.strip()]
    linked.unlink()
    return sorted(set(symbols))


def main():
    build_tree, libraries = pathlib.Path(sys.argv[1]), sys.argv[2:]
    allow = []
    for line in (pathlib.Path(__file__).parent / "purity.allow").read_text().splitlines():
        if line and not line.startswith("#"):
            allow.append(re.compile(line))
    symbols = undefined_symbols(build_tree, libraries)
    if not symbols:
        sys.exit("no undefined symbol at all: the link went wrong")
    names = run("c++filt", input="\n".join(symbols)).splitlines()
    bad = [(s, n) for s, n in zip(symbols, names)
           if not any(a.fullmatch(s) or a.fullmatch(n) for a in allow)]
    for symbol, name in bad:
        print(f"not on the list of harmless symbols: {name}" + (f" ({symbol})" if symbol != name else ""))
    short = " ".join(pathlib.Path(l).stem.replace("libfairlead_", "") for l in libraries)
    print(f"{short}: {len(symbols)} undefined symbols, {len(bad)} not allowed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
