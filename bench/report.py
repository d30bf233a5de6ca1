"""From measured rows to targets, tables and plots."""
import json
import statistics

import svg

US, THEM = "Fairlead", "etcd"
MIB = 1024 * 1024

# (text, scenario, column, the most that ours may be as a share of etcd's)
TARGETS = [
    ("three-node put, 256 in flight: CPU per put of all members", "put-3-256", "cpu_us_per_op", 1 / 5),
    ("one-node put, 256 in flight: CPU per put", "put-1-256", "cpu_us_per_op", 1 / 4),
    ("serializable read, one member: CPU per read", "read-s-1-256", "cpu_us_per_op", 1 / 4),
    ("linearizable read, one member: CPU per read", "read-l-1-256", "cpu_us_per_op", 1 / 4),
    ("linearizable read, three members: CPU per read", "read-l-3-256", "cpu_us_per_op", 1 / 4),
    ("watch, 1000 watchers on 100 streams: CPU per event", "watch-1", "cpu_us_per_op", 1 / 4),
    ("put over TLS, 256 in flight: CPU per put", "put-tls-1-256", "cpu_us_per_op", 1 / 2),
    ("serializable read over TLS: CPU per read", "read-tls-1-256", "cpu_us_per_op", 1 / 2),
    ("TLS handshake and one read: CPU", "connect-tls-1", "cpu_us_per_op", 1.1),
    ("put with a token: CPU per put", "put-token-1-256", "cpu_us_per_op", 1 / 2),
    ("serializable read with a token: CPU per read", "read-token-1-256", "cpu_us_per_op", 1 / 2),
    ("Authenticate: CPU", "authenticate-1", "cpu_us_per_op", 1.1),
    ("JSON gateway, put: CPU per request", "gateway-put-1", "cpu_us_per_op", 1 / 2),
    ("JSON gateway, read: CPU per request", "gateway-read-1", "cpu_us_per_op", 1 / 2),
    ("10,000 connections, opening: CPU per connection", "crowd-open", "cpu_us_per_op", 1 / 2),
    ("10,000 connections, keeping: CPU per connection and second", "crowd-idle", "cpu_us_per_op", 1 / 2),
    ("10,000 connections, reads over them: CPU per read", "crowd-read", "cpu_us_per_op", 1 / 2),
    ("10,000 connections, puts over them: CPU per put", "crowd-put", "cpu_us_per_op", 1 / 2),
    ("100 MB list in pages: CPU per list", "list-pages", "cpu_us_per_op", 1 / 2),
    ("100 MB list by RangeStream: CPU per list", "list-stream", "cpu_us_per_op", 1 / 2),
    ("100,000 leases, granting: CPU per lease", "lease-grant", "cpu_us_per_op", 1 / 2),
    ("100,000 leases, keep-alives, 256 in flight: CPU each", "lease-keepalive", "cpu_us_per_op", 1 / 2),
    ("100,000 leases, each kept alive every 20 s: CPU per keep-alive", "lease-steady", "cpu_us_per_op", 1 / 2),
    ("100,000 leases, left alone: CPU per lease and second", "lease-idle", "cpu_us_per_op", 1 / 2),
    ("three-node put, 1 in flight: p50", "put-3-1", "p50_ms", 1 / 2),
    ("keys in memory: anonymous memory after load", "memory", "anonymous_after_load_bytes", 1 / 2),
    ("keys in memory: anonymous memory after restart", "memory", "anonymous_after_restart_bytes", 1 / 2),
]

# etcd's own advice for a small cluster is 1000 writes/s; clusters of moderate size read at 2000/s.
YARDSTICKS = [("put-3-256", "writes/s", 1000), ("read-l-3-256", "linearizable reads/s", 2000)]


def medians(rows):
    """{scenario: {contender: {column: median over the rounds}}}, numbers only."""
    grouped = {}
    for row in rows:
        grouped.setdefault(row["scenario"], {}).setdefault(row["contender"], []).append(row)
    out = {}
    for scenario, by_contender in grouped.items():
        for contender, measured in by_contender.items():
            columns = {c for row in measured for c, v in row.items() if isinstance(v, (int, float))}
            out.setdefault(scenario, {})[contender] = {
                c: statistics.median([row[c] for row in measured if c in row]) for c in columns}
    return out


def verdicts(table):
    found = []
    for text, scenario, column, most in TARGETS:
        ours = table.get(scenario, {}).get(US, {}).get(column)
        theirs = table.get(scenario, {}).get(THEM, {}).get(column)
        if ours is None or not theirs:
            continue
        found.append({"target": text, "ours": ours, "etcd": theirs, "ratio": ours / theirs, "most": most,
                      "pass": ours / theirs <= most, "column": column})
    return found


def share(ratio):
    """A ratio as people say it: 1/8.9, or 1.05."""
    return "1/" + f"{1 / ratio:.1f}".removesuffix(".0") if 0 < ratio < 0.95 else f"{ratio:.2f}"


def show(value, column):
    if value is None:
        return "-"
    if column.endswith("_bytes") and value > 10 * MIB:
        return f"{value / MIB:,.0f} MiB"
    if column.endswith("_seconds"):
        return f"{value:.2f} s"
    return svg.number(value)


def markdown_table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join([" --- "] + [" ---: "] * (len(head) - 1)) + "|"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def verdict_table(found):
    return markdown_table(
        ["target", US, THEM, "ratio", "at most", ""],
        [[v["target"], show(v["ours"], v["column"]), show(v["etcd"], v["column"]), share(v["ratio"]),
          share(v["most"]), "pass" if v["pass"] else "**fail**"] for v in found])


def scenario_table(table, scenarios):
    rows = []
    for name, label in scenarios:
        for contender in (US, THEM):
            row = table.get(name, {}).get(contender)
            if not row:
                continue
            rows.append([label, contender] + [show(row.get(c), c) for c in (
                "rate", "p50_ms", "p99_ms", "cpu_us_per_op", "server_cores", "client_cpu_us_per_op",
                "disk_bytes_per_op", "syncs_per_op")])
    return markdown_table(["load", "", "per second", "p50 ms", "p99 ms", "server CPU us", "server cores",
                           "client CPU us", "disk bytes", "syncs"], rows)


def things_table(table):
    """Memory that each of many connections and leases takes."""
    rows = [[text, *(show(table.get(name, {}).get(c, {}).get("memory_bytes_per_thing"), "bytes") for c in (US, THEM))]
            for text, name in (("a connection, idle", "crowd-open"), ("a lease", "lease-grant"))]
    return markdown_table(["anonymous memory, bytes each", US, THEM], rows)


def memory_table(table):
    columns = [("anonymous memory after load", "anonymous_after_load_bytes"), ("resident", "rss_after_load_bytes"),
               ("anonymous after restart", "anonymous_after_restart_bytes"), ("resident", "rss_after_restart_bytes"),
               ("restart to first linearizable read", "restart_seconds"), ("on disk", "on_disk_bytes"),
               ("fill, puts/s", "rate")]
    memory = table.get("memory", {})
    return markdown_table(["", US, THEM], [
        [text, show(memory.get(US, {}).get(column), column), show(memory.get(THEM, {}).get(column), column)]
        for text, column in columns])


def plots(table, scenarios):
    """{file name: svg text}"""
    def rows(column, names):
        return [(label, {c: table[name][c][column] for c in (US, THEM) if column in table.get(name, {}).get(c, {})})
                for name, label in scenarios if name in names and name in table]
    loaded = [n for n, _ in scenarios if n.endswith("-256")]
    single = [n for n, _ in scenarios if n.endswith("-1-1") or n.endswith("-3-1")]
    memory = table.get("memory", {})
    megabytes = [(text, {c: memory[c][column] / MIB for c in (US, THEM) if column in memory.get(c, {})})
                 for text, column in (("anonymous, after load", "anonymous_after_load_bytes"),
                                      ("resident, after load", "rss_after_load_bytes"),
                                      ("anonymous, after restart", "anonymous_after_restart_bytes"),
                                      ("resident, after restart", "rss_after_restart_bytes"))]
    out = {
        "cpu.svg": svg.bars("Server CPU per operation", "microseconds, all members; less is better",
                            rows("cpu_us_per_op", loaded + ["watch-1"])),
        "throughput.svg": svg.bars("Operations per second, 256 in flight", "more is better", rows("rate", loaded)),
        "latency.svg": svg.bars("Median latency, one call at a time", "milliseconds; less is better",
                                rows("p50_ms", single)),
    }
    shares = [(v["target"], v["ratio"], v["most"]) for v in verdicts(table) if v["column"] == "cpu_us_per_op"]
    out["share.svg"] = svg.shares("CPU as a share of etcd's", "percent; the line is the most that it may be", shares)
    if memory:
        out["memory.svg"] = svg.bars("Memory", "MiB; less is better", megabytes)
    return out


def write(out_dir, rows, facts, scenarios):
    table = medians(rows)
    found = verdicts(table)
    out_dir.mkdir(parents=True, exist_ok=True)
    pictures = plots(table, scenarios)
    for name, text in pictures.items():
        (out_dir / name).write_text(text)
    (out_dir / "report.json").write_text(
        json.dumps({"facts": facts, "targets": found, "medians": table, "rows": rows}, indent=1, sort_keys=True) + "\n")
    lines = ["# Fairlead beside etcd", "",
             "Written by `./dev bench`; raw figures in `report.json`. Both servers ran on the same machine and disk in one "
             "run, taking turns; a figure is the median of the rounds. CPU is user and system time of the server "
             "processes, of all members together.", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "## Targets", "", verdict_table(found)]
    for scenario, text, yardstick in YARDSTICKS:
        rate = table.get(scenario, {}).get(US, {}).get("rate")
        if rate:
            lines.append(f"{US}, three members: {rate:,.0f} {text} (yardstick: {yardstick:,}).  ")
    lines += ["", "## Loads", "",
              "Clients and servers share the machine's cores, so throughput is bounded by their sum. Syncs are what the "
              "server's own metrics count (log syncs and, for etcd, commits of its database), per operation; `-` where "
              "a server does not tell. Disk bytes include what a server writes besides: new log segments are filled in "
              "advance, which shows at low rates.", "", scenario_table(table, scenarios)]
    if "crowd-open" in table or "lease-grant" in table:
        lines += ["## Memory of connections and leases", "",
                  "The growth of the server's anonymous memory from before the first to after the last, divided by their "
                  "number; the kernel's socket buffers are not in it.", "", things_table(table)]
    if "memory" in table:
        lines += [f"## Memory, {facts['keys in the memory test']}", "", memory_table(table)]
    lines += ["## Plots", ""] + [f"![{name}]({name})" for name in pictures]
    (out_dir / "report.md").write_text("\n".join(lines) + "\n")
    return found
