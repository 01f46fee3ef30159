"""What the service promises to its operators: variables, metrics, labels, as its own pages list them.

Both tables are written by the code (`UPDATE_README=1 cargo test --test it readme`), and a test there compares them with
it. The chart, the dashboards, the alerts and the compose file may use nothing else. A label whose values are not known
in advance (a node, a thread, a version) has None.
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def rows(page, table):
    """The cells of each row of a table that the code writes."""
    text = (ROOT / page).read_text()
    body = text.partition(f"<!-- {table} -->")[2].partition(f"<!-- /{table} -->")[0]
    for line in body.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def settings():
    """{variable: whether it is a secret}."""
    return {cells[0].strip("` "): "`_FILE`" in cells[1] for cells in rows("README.md", "settings")}


def labels(text):
    """{label: values} of a cell such as "`event`: login, revoked; `node`= host:port of Redis"."""
    return {
        name: values.strip().split(", ") if kind == ":" else None
        for name, kind, values in re.findall(r"`(\w+)`([:=])([^;]*)", text)
    }


SETTINGS = settings()
SECRETS = {name.removeprefix("SCANLOGIN_") for name, secret in SETTINGS.items() if secret}
VARIABLES = set(SETTINGS) | {f"SCANLOGIN_{name}_FILE" for name in SECRETS}

# name: (type, {label: values})
METRICS = {
    cells[0].strip("` "): (cells[1].split(",")[0], labels(cells[2])) for cells in rows("docs/metrics.md", "metrics")
} | {"up": ("gauge", {})}

# What Prometheus adds to every series of ours.
TARGET_LABELS = {"job", "instance", "namespace", "pod"}

SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


def series():
    """Every name that a query may use, with the metric it belongs to."""
    for name, (kind, _) in METRICS.items():
        for suffix in SUFFIXES.get(kind, ("",)):
            yield name + suffix, name


SERIES = dict(series())
