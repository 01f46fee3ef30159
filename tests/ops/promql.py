"""As much of PromQL as is needed to see which names a query uses; promtool judges the rest."""

import re
import subprocess
import tempfile

import yaml

import contract

KEYWORDS = {
    "and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "inf", "nan",
    "sum", "avg", "min", "max", "count", "topk", "bottomk", "quantile", "stddev", "stdvar", "group", "count_values",
}
# What Grafana would put there: its own variables, then the dashboard's.
GRAFANA = {"$__rate_interval": "1m", "$__interval": "30s", "$__range": "1h", "$namespace": ".*", "$instance": ".*"}


def plain(expr):
    for variable, value in GRAFANA.items():
        expr = expr.replace(variable, value)
    return expr


def metric_names(expr):
    bare = re.sub(r'"(?:\\.|[^"\\])*"', '""', expr)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    return {name for name in re.findall(r"(?<![\w.])[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])", bare) if name.lower() not in KEYWORDS}


def selectors(expr):
    """(metric, label, operator, value) of every matcher."""
    for metric, body in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expr):
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:\\.|[^"\\])*)"', body):
            yield metric, label, operator, value


def grouped(expr):
    for labels in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expr):
        yield from (label.strip() for label in labels.split(",") if label.strip())


def unknown(expr, recorded=()):
    """What the service does not promise: names, labels, label values that could never match."""
    wrong = []
    allowed = set(contract.TARGET_LABELS) | {"le"}
    for name in metric_names(expr):
        if name in recorded:
            continue
        if name not in contract.SERIES:
            wrong.append(f"metric {name}")
            continue
        allowed |= set(contract.METRICS[contract.SERIES[name]][1])
    for metric, label, operator, value in selectors(expr):
        if metric in recorded or metric not in contract.SERIES or label in contract.TARGET_LABELS:
            continue
        labels = contract.METRICS[contract.SERIES[metric]][1]
        if label not in labels:
            wrong.append(f"{metric} has no label {label}")
        elif labels[label] is not None:
            parts = value.split("|") if "~" in operator else [re.escape(value)]
            wrong += [f"{metric} {label} is never {part}" for part in parts if not any(re.fullmatch(part, v) for v in labels[label])]
    wrong += [f"label {label}" for label in grouped(expr) if label not in allowed]
    return wrong


def parse_errors(exprs):
    """The expressions that promtool refuses, with its message."""
    def check(members):
        rules = [{"record": f"check:number_{number}", "expr": expr} for number, expr in members]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump({"groups": [{"name": "check", "rules": rules}]}, file)
            file.flush()
            result = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True)
        return None if result.returncode == 0 else (result.stdout + result.stderr)

    members = list(enumerate(exprs))
    if check(members) is None:
        return {}
    # One run for the good case; one each, to name the culprit, in the bad one.
    return {expr: message for number, expr in members if (message := check([(number, expr)]))}
