#!/usr/bin/env python3
"""Condenses ctest's JUnit report: one line a program, then "N passed, N failed"."""
import sys
import xml.etree.ElementTree as xml


def main(path):
    passed = failed = 0
    try:
        cases = list(xml.parse(path).getroot().iter("testcase"))
    except (OSError, xml.ParseError) as error:
        print(f"   FAIL  ctest left no report: {error}")
        print("0 passed, 1 failed")
        return
    for case in cases:
        name, seconds = case.get("name"), float(case.get("time", 0))
        if case.get("status") == "run" and case.find("failure") is None:
            passed += 1
            print(f"   ok    {name} ({seconds:.1f} s)")
        else:
            failed += 1
            reason = case.find("failure")
            message = reason.get("message", "") if reason is not None else case.get("status")
            print(f"   FAIL  {name} ({seconds:.1f} s) {message}")
    print(f"{passed} passed, {failed} failed")


main(sys.argv[1])
