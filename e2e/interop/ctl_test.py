#!/usr/bin/env python3
"""fairleadctl beside etcdctl: each verb in each format, each tool at a fresh server of its own; equal output and exit
code after masking. The list of verbs is read from etcdctl's own help."""

import atexit
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.request

from pair import etcd_binary, fairlead_binary, run_tests, server, tests_of, wait_for

WAIT = 60
FORMATS = ["simple", "fields", "json", "protobuf", "table"]
# Ours under the original's name, as people install it.
LINKS = tempfile.mkdtemp(prefix="ctl-")
atexit.register(shutil.rmtree, LINKS, ignore_errors=True)
LINK = os.path.join(LINKS, "etcdctl")
os.symlink(os.path.join(os.environ["FAIRLEAD_BIN"], "fairleadctl"), LINK)
TOOLS = {"etcdctl": etcd_binary("etcdctl"), "fairleadctl": LINK}

# Lines in order; each runs once per format, so what they find grows from round to round, equally for both tools.
# $ROUND is the round, to make names of its own. A tuple has standard input besides.
LINES = [
    "put foo bar", "put foo bar2 --prev-kv", "put foo --ignore-value", ("put foo", "from stdin"), "put", "put foo a b --lease=xyz",
    "put foo a --lease=8000000000000000", "put foo a --lease=-1", "put leased v --lease=7fffffffffffffff", "put foo v --ignore-lease", "put -- --dash value", ("put empty", ""),
    "get foo", "get foo --hex", "get foo --print-value-only", "get --prefix f --keys-only", "get f g", "get --from-key f --limit 2",
    "get '' --prefix --sort-by MODIFY --order DESCEND", "get foo --rev 2", "get foo --rev 99999", "get foo --count-only",
    "get foo --consistency s", "get foo --consistency x", "--consistency s get foo", "--prefix get f", "--limit 1 --prefix=true get f", "-x 1 get f",
    "--nosuch get foo", "lease --keys timetolive 12", "lease --nosuch list", "get foo --order up", "get foo --sort-by color", "get", "get a b --prefix",
    "get foo --prefix --from-key", "get foo --keys-only --count-only", "get foo --stream", "get '' --prefix --stream --limit 1",
    "get foo --min-mod-rev 1 --max-mod-rev 2", "get foo --min-create-rev 3 --max-create-rev 2", "get nothing",
    ("txn", "mod(\"foo\") > \"0\"\nvalue(\"foo\") = \"nope\"\n\nput a b\n\nget foo\nput c 'd e'\ndel c --prev-kv\n\n"),
    ("txn", "create(\"new$ROUND\") = \"0\"\n\nput new$ROUND v\nget new --prefix\n\n\n"), ("txn -i", "\n\n\n"),
    ("txn", "bad line\n\n\n\n"), ("txn", "\nnonsense\n\n"), ("txn", "\n"), "txn extra",
    "del foo --prev-kv", "del foo", "del a b --range", "del --prefix new", "del", "del a b c", "del x --prefix --from-key",
    "compaction 2", "compaction 2", "compaction 99999", "compaction x", "compaction", "compaction 3 --physical",
    "lease grant 600", "lease grant x", "lease grant", "lease grant 99999999999", "lease list", "lease list extra",
    "lease timetolive 1234", "lease revoke 1234", "lease revoke zz", "lease revoke", "lease keep-alive 1234 --once",
    "lease timetolive", "lease timetolive 12 --keys",
    "member list", "member list --hex", "member list --consistency s", "member add", "member add a b", "member add m1",
    "member add m1 --peer-urls=nourl", "member remove 1234", "member remove", "member remove zz", "member update 1234",
    "member update 1234 --peer-urls=http://127.0.0.1:1", "member promote 1234", "member promote",
    "endpoint status", "endpoint status --cluster", "endpoint health", "endpoint health --cluster", "endpoint hashkv",
    "endpoint hashkv --rev 99999", "endpoint health --endpoints 127.0.0.1:1 --command-timeout 300ms",
    "alarm list", "alarm disarm", "alarm list x", "defrag", "defrag --cluster", "move-leader", "move-leader zz", "move-leader 1234",
    "downgrade validate 3.6", "downgrade validate", "downgrade validate nonsense", "downgrade enable", "downgrade cancel",
    "snapshot save $WORK/snap$ROUND", "snapshot save", "snapshot save /nowhere/x",
    "role add r$ROUND", "role add r$ROUND", "role add", "role list", "role get r$ROUND", "role get nobody",
    "role grant-permission r$ROUND readwrite k", "role grant-permission r$ROUND READ a b",
    "role grant-permission r$ROUND write p --prefix", "role grant-permission r$ROUND read x --from-key",
    "role grant-permission r$ROUND fly x", "role grant-permission r$ROUND read a b --prefix", "role grant-permission r$ROUND",
    "role get r$ROUND", "role revoke-permission r$ROUND k", "role revoke-permission r$ROUND a b", "role revoke-permission r$ROUND zz",
    "role revoke-permission r$ROUND p --prefix", "role revoke-permission r$ROUND", "role get root",
    "user add u$ROUND:pw", "user add u$ROUND:pw", "user add :pw", "user add", "user add n$ROUND --no-password",
    "user add v$ROUND --new-user-password pw", ("user add i$ROUND --interactive=false", "secret\n"), "user list", "user list x",
    "user grant-role u$ROUND r$ROUND", "user grant-role u$ROUND nobody", "user grant-role u", "user get u$ROUND",
    "user get u$ROUND --detail", "user get nobody", "user get", "user revoke-role u$ROUND r$ROUND", "user revoke-role u$ROUND r$ROUND",
    ("user passwd u$ROUND --interactive=false", "new\n"), ("user passwd nobody --interactive=false", "new\n"), "user passwd",
    "user delete u$ROUND", "user delete u$ROUND", "user delete", "role delete r$ROUND", "role delete r$ROUND", "role delete",
    "auth status", "auth status x", "auth enable", "auth disable", "auth enable x", "auth disable x",
    "lock", "lock l echo locked", "lock l false", "lock l --ttl 0 echo locked", "lock l --ttl=-1 echo locked", "lock l no-such-program-here", "elect", "elect e", "elect e p x", "elect -l e p",
    "version", "nosuch", "get --nosuch", "get -z", "get foo --limit x", "get foo --limit 99999999999999999999", "get foo --limit -0x5", "compaction 99999999999999999999", "get foo --limit", "get foo -w nosuch",
    "get foo --endpoints 127.0.0.1:1 --command-timeout 300ms", "put foo 12345678901 --max-request-bytes 10",
    "get foo --max-recv-bytes 2", "get foo --user root:pw", "watch", "make-mirror",
]

MASKS = [
    (re.compile(rb"(took = |took |\"took\":\")[0-9.a-z\xc2\xb5m]+"), rb"\1TOOK"),
    (re.compile(rb"\"Took\" : \S+"), b"TOOK"),
    (re.compile(rb"127\.0\.0\.1:[1-9][0-9]{3,5}"), b"ADDRESS"),
    (re.compile(rb"\b[0-9a-f]{15,16}\b"), b"ID"),
    (re.compile(rb"\b[0-9]{16,20}\b"), b"ID"),
    (re.compile(rb"(\"cluster_id\"|\"member_id\"|\"ID\"|\"leader\"|\"memberID\"):(\"[0-9a-f]+\"|[0-9]+)"), rb"\1:ID"),
    (re.compile(rb"(ClusterID|MemberID|Leader|ID)\" : \S+"), rb"\1 ID"),
    (re.compile(rb"(raft_?(term|index|appliedindex)|db_?size(inuse)?|raftIndex|raftTerm|raftAppliedIndex|dbSize|dbSizeInUse)\":[0-9]+",
                re.I), rb"\1"),
    (re.compile(rb"\"(RaftTerm|RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse)\" : [0-9]+"), rb"\1"),
    (re.compile(rb"/tmp/\S+/snap"), b"SNAP"),
    (re.compile(rb"[0-9.]+ [kMG]?B, [0-9.]+ [kMG]?B, [0-9-]+%.*"), b"SIZES"),
    (re.compile(rb"\([0-9]+ vs\. "), b"(N vs. "),
    (re.compile(rb" +"), b" "),
    (re.compile("[─┬┐┘└┴┼├┤┌]+".encode()), b"-"),
]


def mask(text, line):
    if line.startswith("endpoint status"):
        text = re.sub(rb"[0-9.]+ [kMG]?B", b"SIZE", text)
        text = re.sub(rb"[0-9-]+%", b"%", text)
        text = re.sub("│ +[0-9]+ (?=│)".encode(), "│ N ".encode(), text)
        text = re.sub(rb"((true|false), (true|false)), [0-9]+, [0-9]+, [0-9]+", rb"\1, N, N, N", text)
    if line.startswith("endpoint health"):
        text = re.sub("[0-9.]+(ms|µs|s)\\b".encode(), b"TOOK", text)
    for pattern, replacement in MASKS:
        text = pattern.sub(replacement, text)
    return text


def post(s, path, body):
    request = urllib.request.Request(s.url + path, json.dumps(body).encode(), method="POST")
    return urllib.request.urlopen(request, timeout=WAIT).status


def run(tool, s, line, work, round_, fmt, stdin=None, seconds=WAIT):
    words = [w.strip("'") if w != "''" else "" for w in
             line.replace("$ROUND", round_).replace("$WORK", work).split()]
    argv = [tool]
    if "--endpoints" not in words:
        argv += ["--endpoints", f"127.0.0.1:{s.client_port}"]
    if fmt and "-w" not in words:
        argv += ["-w", fmt]
    done = subprocess.run(argv + words, input=(stdin or "").replace("$ROUND", round_).encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=seconds, env={"PATH": os.environ["PATH"], "HOME": work})
    return done.returncode, done.stdout, done.stderr


def difference(line, fmt, a, b):
    if a[0] != b[0]:
        return f"{line} -w {fmt}: exit code {a[0]}, ours {b[0]}\n  etcdctl {a[2][-200:]}\n  ours    {b[2][-200:]}"
    if fmt == "protobuf":  # ids are bytes there: the length tells
        same = abs(len(a[1]) - len(b[1])) <= 4
    else:
        same = mask(a[1], line) == mask(b[1], line)
    if not same:
        return f"{line} -w {fmt}:\n  etcdctl {mask(a[1], line)[:500]}\n  ours    {mask(b[1], line)[:500]}"
    # Errors of the tool itself and of the server read the same; those of the network stack do not.
    error = [re.search(rb"^Error: (.*)$", e, re.M) for e in (a[2], b[2])]
    texts = [mask(e.group(1), line) if e else b"" for e in error]
    own = [t for t in texts if b"context deadline" not in t and b"exec:" not in t]
    if len(own) == 2 and own[0] != own[1]:
        return f"{line} -w {fmt}: errors differ\n  etcdctl {texts[0]}\n  ours    {texts[1]}"
    return None


def test_each_verb_in_each_format():
    differences, count = [], 0
    for fmt in FORMATS:
        with server(fairlead_binary()) as a, server(fairlead_binary()) as b:
            work = os.path.dirname(a.log.name), os.path.dirname(b.log.name)
            for entry in LINES:
                line, stdin = entry if isinstance(entry, tuple) else (entry, None)
                count += 1
                theirs = run(TOOLS["etcdctl"], a, line, work[0], fmt[0], fmt, stdin)
                ours = run(TOOLS["fairleadctl"], b, line, work[1], fmt[0], fmt, stdin)
                if d := difference(line, fmt, theirs, ours):
                    differences.append(d)
    assert not differences, f"{len(differences)} of {count} lines differ:\n" + "\n".join(differences)


def verbs(tool, path=()):
    """Of the tool's help, recursively."""
    text = subprocess.run([tool, *path, "--help"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=WAIT).stdout.decode()
    found, inside = [], False
    for line in text.split("\n"):
        if re.match(r".*[Cc]ommands:?$", line.strip()):
            inside = True
        elif re.match(r"(Global )?(Flags|Options|Usage|FLAGS)\b", line):
            inside = False
        elif inside and (m := re.match(r"  ([a-z][a-z-]+) ", line)):
            found.append((*path, m.group(1)))
    return [v for top in found for v in ([top] + verbs(tool, top) if len(path) == 0 else [top])]


# Verbs that are not in LINES: what they are tested by instead.
ELSEWHERE = {("help",): "the grammar's unit test", ("completion",): "prints a script that is the tool's own",
             ("options",): "test_options", ("check",): "doctor_test.py", ("check", "perf"): "doctor_test.py",
             ("check", "datascale"): "doctor_test.py", ("snapshot",): "its sub-commands"}


def test_no_verb_is_missing():
    ours = {" ".join(v) for v in verbs(TOOLS["fairleadctl"])}
    lines = [e[0] if isinstance(e, tuple) else e for e in LINES]
    missing, untested = [], []
    for verb in verbs(TOOLS["etcdctl"]):
        name = " ".join(verb)
        if name not in ours and verb not in {("help",)}:
            missing.append(name)
        if not any(line == name or line.startswith(name + " ") for line in lines) and verb not in ELSEWHERE:
            untested.append(name)
    assert not missing, f"fairleadctl lacks: {missing}"
    assert not untested, f"no line for: {untested}"


def figure(s, name):
    """Of the server's page."""
    page = urllib.request.urlopen(s.url + "/metrics", timeout=WAIT).read().decode()
    return float(re.search(rf"^{name} (\S+)$", page, re.M).group(1))


def watch_and_put(tool, s, work, args, puts, fmt="simple"):
    """What a watch shows of these changes; the last of them puts a value that nothing else has."""
    last = puts[-1].split()[-1].encode()
    if fmt == "json":
        last = base64.b64encode(last)
    with tempfile.TemporaryFile() as out:
        watch = subprocess.Popen([tool, "--endpoints", f"127.0.0.1:{s.client_port}", "-w", fmt, "watch", *args],
                                 stdout=out, stderr=subprocess.DEVNULL, stdin=subprocess.PIPE,
                                 env={"PATH": os.environ["PATH"], "HOME": work})

        def shown():
            out.seek(0)
            return out.read()
        try:
            wait_for(lambda: figure(s, "etcd_debugging_mvcc_watcher_total") == 1, WAIT, "the watch")
            for put in puts:
                assert run(TOOLS["etcdctl"], s, put, work, "", None)[0] == 0, put
            wait_for(lambda: last in shown(), WAIT, "the last event")
        finally:
            watch.kill()
            watch.communicate()
        wait_for(lambda: figure(s, "etcd_debugging_mvcc_watcher_total") == 0, WAIT, "the end of the watch")
        return shown()


def test_watches_show_the_same():
    cases = [(["k"], ["put k v1", "put k v2", "del k", "put k last1"]), (["k", "--prev-kv"], ["put k v1", "put k v2", "del k", "put k last2"]),
             (["--prefix", "p"], ["put p1 a", "put q b", "put p2 last3"]), (["k", "--rev", "2"], ["put k last4"]),
             (["a", "c"], ["put a 1", "put c 3", "put b last5"])]
    command = (["k", "--", "sh", "-c", "echo $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"], ["put k v", "del k", "put k last6"])
    for fmt in ("simple", "fields", "json"):
        with server(fairlead_binary()) as a, server(fairlead_binary()) as b:
            for args, puts in [*cases, *([command] if fmt == "simple" else [])]:
                theirs = watch_and_put(TOOLS["etcdctl"], a, "/tmp", args, puts, fmt)
                ours = watch_and_put(TOOLS["fairleadctl"], b, "/tmp", args, puts, fmt)
                assert mask(theirs, "watch") == mask(ours, "watch"), f"{args} -w {fmt}:\n{theirs.decode()}\n---\n{ours.decode()}"


def test_who_prints_for_nobody_ends():
    with server(fairlead_binary()) as s:
        for name, tool in TOOLS.items():
            for words in (["watch", "k"], ["lease", "keep-alive", "4d2"]):
                assert post(s, "/v3/lease/grant", {"ID": 0x4d2, "TTL": 5}) == 200
                printing = holder_of(tool, s, *words)
                if words[0] == "watch":
                    wait_for(lambda: figure(s, "etcd_debugging_mvcc_watcher_total") == 1, WAIT, "the watch")
                    run(TOOLS["etcdctl"], s, "put k v", "/tmp", "", None)
                assert printing.stdout.readline(), name
                printing.stdout.close()
                for _ in range(2):  # the first may have been under way
                    run(TOOLS["etcdctl"], s, "put k v", "/tmp", "", None)
                assert printing.wait(WAIT) == -signal.SIGPIPE, (name, words, printing.returncode)
                assert post(s, "/v3/lease/revoke", {"ID": 0x4d2}) == 200
        run(TOOLS["etcdctl"], s, "put k v", "/tmp", "", None)
        with open("/dev/full", "w") as full:  # etcdctl does not notice
            done = subprocess.run([TOOLS["fairleadctl"], "--endpoints", f"127.0.0.1:{s.client_port}", "get", "k"], stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1 and b"No space left" in done.stderr, done


def holder_of(tool, s, *args):
    return subprocess.Popen([tool, "--endpoints", f"127.0.0.1:{s.client_port}", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def call(tool, *words, **variables):
    """(exit code, standard output, standard error)"""
    done = subprocess.run([tool, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=WAIT,
                          env={"PATH": os.environ["PATH"], "HOME": "/tmp", **variables})
    return done.returncode, done.stdout, done.stderr


def test_settings_from_the_environment():
    with server(fairlead_binary()) as s:
        here = f"127.0.0.1:{s.client_port}"
        for words in (["put", "k", "v"], ["get", "k"], ["endpoint", "health", "--cluster"], ["endpoint", "status"], ["endpoint", "hashkv"], ["defrag"]):
            for name, tool in TOOLS.items():
                code, out, error = call(tool, *words, ETCDCTL_ENDPOINTS=here, ETCDCTL_DIAL_TIMEOUT="3s")
                assert code == 0 and out, (name, words, error)
        for variables in ({"ETCDCTL_ENDPOINTS": "127.0.0.1:1"}, {"ETCDCTL_ENDPOINTS": ""}):  # one of both would be ignored
            for name, tool in TOOLS.items():
                assert call(tool, "get", "k", "--endpoints", here, **variables)[0] == 1, name
        for name, tool in TOOLS.items():
            code, out, error = call(tool, "get", "k", "-w", "fields", ETCDCTL_ENDPOINTS=here, ETCDCTL_PASWORD="x")
            assert code == 0 and b"ETCDCTL_PASWORD" in error, (name, error)
        _, _, error = call(TOOLS["fairleadctl"], "watch", "--command-timeout", "x", ETCDCTL_WATCH_KEY="k", ETCDCTL_API="3")
        assert b"unrecognized" not in error, error
        code, _, error = call(TOOLS["fairleadctl"], "get", "k", "--endpoints", here, "--debug", "--user", "root:geheim")
        assert b"ETCDCTL_ENDPOINTS=[" in error and b"geheim" not in error, error
        # What gRPC itself has to say goes to --debug alone.
        assert call(TOOLS["fairleadctl"], "get", "k", "--endpoints", here, GRPC_VERBOSITY="DEBUG")[2] == b""
        assert b".cc:" in call(TOOLS["fairleadctl"], "get", "k", "--endpoints", here, "--debug", GRPC_VERBOSITY="DEBUG")[2]


def test_timeouts():
    with server(fairlead_binary()) as s:
        here = ["--endpoints", f"127.0.0.1:{s.client_port}"]
        for words in (["get", "k"], ["get", "k", "--stream"], ["endpoint", "status"], ["member", "list"]):
            for limit in ("0", "-1s"):
                results = [call(tool, *here, *words, "--command-timeout", limit)[0] for tool in TOOLS.values()]
                assert results[0] == results[1] == 1, (words, limit, results)
        for name, tool in TOOLS.items():
            assert call(tool, *here, "snapshot", "save", os.path.join(LINKS, "snap-" + name), "--dial-timeout", "1us")[0] == 0, name
    # Who could not be asked, and why.
    code, _, error = call(TOOLS["fairleadctl"], "get", "k", "--endpoints", "127.0.0.1:1,https://127.0.0.1:2", "--command-timeout", "1s")
    assert code == 1 and error.endswith(b"Error: context deadline exceeded\n"), error
    assert b"127.0.0.1:1: connection refused\nhttps://127.0.0.1:2: " in error, error


def test_a_password_is_one_line():
    """More may follow, or nothing: whoever types has the other end open."""
    for typed in (b"\n", b"  secret more\n"):
        with server(fairlead_binary()) as a, server(fairlead_binary()) as b:
            results = []
            for tool, s in zip(TOOLS.values(), (a, b)):
                add = subprocess.Popen([tool, "--endpoints", f"127.0.0.1:{s.client_port}", "user", "add", "u", "--interactive=false"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                add.stdin.write(typed)
                add.stdin.flush()
                results.append((add.wait(WAIT), add.stdout.read(), re.findall(rb"Error: .*", add.stderr.read())))
                add.stdin.close()
            assert results[0] == results[1], results


def test_lock_holds_until_a_signal():
    with server(fairlead_binary()) as s:
        for first, second in (("etcdctl", "fairleadctl"), ("fairleadctl", "etcdctl")):
            holder = holder_of(TOOLS[first], s, "lock", "name")
            assert holder.stdout.readline().startswith(b"name/"), first
            waiter = holder_of(TOOLS[second], s, "lock", "name")
            wait_for(lambda: run(TOOLS["etcdctl"], s, "get --prefix name/ --keys-only", "/tmp", "", None)[1].count(b"name/") == 2,
                     WAIT, "the second to wait")
            assert waiter.poll() is None, f"{second} did not wait"
            holder.send_signal(signal.SIGINT)
            assert holder.wait(WAIT) == 0, holder.stderr.read()
            assert waiter.stdout.readline().startswith(b"name/")
            waiter.send_signal(signal.SIGTERM)
            waiter.wait(WAIT)


def test_what_is_held_by_a_lease_is_given_up_without_a_server():
    """Somebody else may hold it by then."""
    for verb, code, end in (("lock", 1, b"Error: session expired"), ("lease", 0, b"lease 00000000000004d2 expired or revoked.")):
        with server(fairlead_binary()) as s:
            assert post(s, "/v3/lease/grant", {"ID": 0x4d2, "TTL": 5}) == 200
            holders = {name: holder_of(tool, s, *(["lock", name, "--ttl", "2"] if verb == "lock" else ["lease", "keep-alive", "4d2"]))
                       for name, tool in TOOLS.items()}
            for holder in holders.values():
                assert holder.stdout.readline(), holder.communicate()
            s.process.kill()
            for name, holder in holders.items():
                said = b"".join(holder.communicate(timeout=WAIT))
                assert holder.returncode == code and end in said, (name, holder.returncode, said)


def test_elections_of_both_tools():
    with server(fairlead_binary()) as s:
        for tool in TOOLS.values():
            leader = holder_of(TOOLS["fairleadctl"], s, "elect", "e", "one")
            assert leader.stdout.readline().startswith(b"e/")
            observer = holder_of(tool, s, "elect", "-l", "e")
            assert observer.stdout.readline().startswith(b"e/")
            assert observer.stdout.readline() == b"one\n"
            leader.send_signal(signal.SIGINT)
            assert leader.wait(WAIT) == 0, leader.stderr.read()
            observer.send_signal(signal.SIGINT)
            observer.wait(WAIT)


def test_make_mirror_copies_and_follows():
    with server(fairlead_binary()) as a, server(fairlead_binary()) as b:
        for i in range(5):
            run(TOOLS["etcdctl"], a, f"put m/{i} v{i}", "/tmp", "", None)
        mirror = subprocess.Popen([TOOLS["fairleadctl"], "--endpoints", f"127.0.0.1:{a.client_port}", "make-mirror",
                                   "--prefix", "m/", "--dest-prefix", "n/", f"127.0.0.1:{b.client_port}"])
        def there(count):
            return run(TOOLS["etcdctl"], b, "get --prefix n/ --keys-only", "/tmp", "", None)[1].count(b"n/") == count
        wait_for(lambda: there(5), what="the copy")
        run(TOOLS["etcdctl"], a, "put m/new v", "/tmp", "", None)
        run(TOOLS["etcdctl"], a, "del m/0", "/tmp", "", None)
        run(TOOLS["etcdctl"], a, "put m/more v", "/tmp", "", None)
        wait_for(lambda: there(6), what="the changes")
        mirror.kill()
        mirror.wait()


def test_several_endpoints():
    """Whoever is there answers, well before gRPC by itself looks at connections (five seconds)."""
    with server(fairlead_binary()) as s:
        for others in (["127.0.0.1:1"], ["127.0.0.1:1", "127.0.0.1:2"], [f"127.0.0.1:{s.client_port}"] * 2):
            for place in range(len(others) + 1):
                endpoints = ",".join(others[:place] + [f"127.0.0.1:{s.client_port}"] + others[place:])
                line = f"put k v --endpoints {endpoints} --command-timeout 4s"
                tries = (run(TOOLS["fairleadctl"], s, line, "/tmp", "", None) for _ in range(5))  # on a busy machine one may fail
                assert any(code == 0 for code, _, _ in tries), endpoints


def test_options():
    texts = [subprocess.run([t, "options"], stdout=subprocess.PIPE).stdout.decode() for t in TOOLS.values()]
    names = [set(re.findall(r"--([a-z-]+)", t)) for t in texts]
    assert names[0] == names[1], names[0] ^ names[1]


if __name__ == "__main__":
    run_tests(tests_of(globals()))
