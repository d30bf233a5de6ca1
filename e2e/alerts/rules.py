"""etcd's alert rules and dashboard, rendered from its module, with durations divided by 60."""
import json
import re
import subprocess

SCRAPE_SECONDS = 1  # Prometheus wants the whole answer within this time
SCALE = {"s": None, "m": "s", "h": "m", "d": None}  # 20m -> 20s, 4h -> 4m
ALERTS = 15


def render(jsonnet, mixin, what, file):
    program = (f'((import "config.libsonnet") + (import "{file}") + '
               f"{{_config+:: {{scrape_interval_seconds: {SCRAPE_SECONDS}, grafana7x: true}}}}).{what}")
    done = subprocess.run([jsonnet, "-e", program], cwd=mixin, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def scale_duration(text):
    match = re.fullmatch(r"(\d+)([mh])", text)
    if not match:
        raise ValueError(f"cannot divide the duration {text} by 60")
    return match.group(1) + SCALE[match.group(2)]


def scale_expression(expr):
    """Ranges [5m], [15m:1m] and the one bare number of seconds, 4*60*60. What follows from the scrape interval stays."""
    def ranges(match):
        parts = match.group(1).split(":")
        return "[" + ":".join(p if p == f"{SCRAPE_SECONDS * 4:g}s" else scale_duration(p) for p in parts) + "]"
    return re.sub(r"\[([^\]]+)\]", ranges, expr).replace("4*60*60", "4*60")


def alert_rules(jsonnet, mixin):
    """The rule file for Prometheus (JSON is YAML), and the list of (name, severity)."""
    groups = render(jsonnet, mixin, "prometheusAlerts", "alerts/alerts.libsonnet")
    rules = groups["groups"][0]["rules"]
    if len(rules) != ALERTS:
        raise ValueError(f"{len(rules)} alert rules, and {ALERTS} are known here")
    for rule in rules:
        rule["expr"] = scale_expression(rule["expr"])
        rule["for"] = scale_duration(rule["for"])
    groups["groups"][0]["interval"] = "500ms"
    return json.dumps(groups, indent=1), [(r["alert"], r["labels"]["severity"]) for r in rules]


def dashboard_expressions(jsonnet, mixin, job):
    """Every expression of every panel, for one cluster."""
    found = []

    def walk(node):
        if isinstance(node, dict):
            if isinstance(node.get("expr"), str):
                found.append(node["expr"])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(render(jsonnet, mixin, "grafanaDashboards", "dashboards/etcd-grafana7x.libsonnet"))
    return [e.replace("$cluster", job).replace("$__rate_interval", "10s") for e in found]
