"""What both programs in Python share: where the servers are, the door of lab.py, and how a case is reported."""

import os
import pathlib
import sys
import traceback
import urllib.request

ENDPOINTS = os.environ["CLIENT_ENDPOINTS"].split(",")
# Both clients build their target as host:port. gRPC takes several addresses in one, and goes to the next when one is gone.
HOST, PORT = ("ipv4:" + ",".join(ENDPOINTS)).rsplit(":", 1)
TLS_HOST, TLS_PORT = os.environ["CLIENT_TLS_ENDPOINT"].rsplit(":", 1)
PKI = pathlib.Path(os.environ["CLIENT_PKI"])
OPTIONS = {"grpc.max_reconnect_backoff_ms": 500, "grpc.use_local_subchannel_pool": 1}

CASE_SECONDS = 180
# So long the one that must wait is given to do the wrong thing; a slow machine makes the test weaker, never red.
WRONG_SECONDS = 0.3
NUMBERS = 300  # events of the case "watch resume"
STEPS = {50: "/kill-watched", 150: "/restart"}


def control(action):
    with urllib.request.urlopen(os.environ["CLIENT_CONTROL"] + action, data=b"", timeout=120) as answer:
        return answer.read().decode()


def expect(what, got, want):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def expect_error(what, error, text):
    """`error` is what was raised, or None."""
    if error is None or text not in str(getattr(error, "details", lambda: None)() or error):
        raise AssertionError(f"{what}: got {error!r}, want {text!r}")


def prefix_end(prefix):
    return prefix[:-1] + bytes([prefix[-1] + 1])


def check_history(seen, history, first):
    """Events as tuples that begin with their revision: what a watch told while members died, and what is true."""
    for i, (got, want) in enumerate(zip(seen, history, strict=True)):
        expect(f"event {i} of {len(seen)}", got, want)
    revisions = [e[0] for e in seen]
    expect("revisions grow", revisions, sorted(set(revisions)))
    expect("first revision", revisions[0] > first, True)
    expect("acknowledged puts seen", {e[2] for e in seen}, {b"%d" % i for i in range(NUMBERS)})


def run(cases, run_one):
    """Each case: run_one(function, prefix). Ends the program."""
    failed = False
    for name, function in cases:
        try:
            run_one(function, b"python/" + name.replace(" ", "-").encode() + b"/")
            print(f"ok    {name}")
        except BaseException as e:  # a case may fail in any way
            failed = True
            traceback.print_exc()
            print(f"FAIL  {name}: {type(e).__name__}: {str(e) or repr(e)}".replace("\n", "; "))
    sys.stdout.flush()
    os._exit(1 if failed else 0)  # etcd3 leaves threads behind that never end
