"""See `live`."""

import argparse
import contextlib
import json
import math
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

import contract
import promql
from alerts import alerts, rules
from dashboards import boards, panels, queries

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def prometheus(admins, interval):
    """A Prometheus of our own, gone with the block."""
    with tempfile.TemporaryDirectory() as directory:
        config = pathlib.Path(directory) / "prometheus.yml"
        config.write_text(yaml.safe_dump({
            "global": {"scrape_interval": f"{interval}s", "scrape_timeout": f"{interval}s", "evaluation_interval": f"{interval}s"},
            "rule_files": [str(ROOT / "dashboards/rules.yaml")],
            "scrape_configs": [{"job_name": "scanlogin", "static_configs": [{"targets": admins}]}],
        }))
        port = free_port()
        log = open(pathlib.Path(directory) / "log", "w+")
        process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory}/data",
             f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(100):
                with contextlib.suppress(OSError):
                    get(f"{url}/-/ready")
                    break
                if process.poll() is not None:
                    break
                time.sleep(0.1)
            else:
                process.kill()
            if process.poll() is not None:
                log.seek(0)
                sys.exit(f"prometheus did not start:\n{log.read()}")
            yield url
        finally:
            process.terminate()
            process.wait(10)
            log.close()


def ask(url, path, **parameters):
    try:
        return json.loads(get(f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))["data"]
    except urllib.error.HTTPError as error:
        return {"error": error.read().decode(), "result": []}


def step(start, end):
    return max(1, round((end - start) / 200))


def panels_with_data(url, board, start, end):
    """What a browser would draw of a board, for `picture.py`."""
    for panel in panels(board):
        lines = []
        for target in panel["targets"]:
            for series in ask(url, "query_range", query=promql.plain(target["expr"]), start=start, end=end, step=step(start, end))["result"]:
                legend = re.sub(r"\{\{(\w+)\}\}", lambda found: series["metric"].get(found.group(1), ""), target["legendFormat"])
                lines.append({"legend": legend, "values": series["values"]})
        yield {"board": board["title"], "panel": panel["title"], "unit": panel["fieldConfig"]["defaults"]["unit"], "lines": lines}


def verdict(url, expr, start, end):
    """'data', 'NaN' (samples, never a number: a share of nothing), 'empty', or the error."""
    answer = ask(url, "query_range", query=expr, start=start, end=end, step=step(start, end))
    if "error" in answer:
        return answer["error"]
    values = [float(value) for series in answer["result"] for _, value in series["values"]]
    if not values:
        return "empty"
    return "NaN" if all(map(math.isnan, values)) else "data"


def exposed(admins):
    """{name: type} and {name: {label: values}} of what the instances show."""
    types, labels = {}, {}
    for admin in admins:
        text = get(f"http://{admin}/metrics")
        types |= dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.M))
        for name, body in re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+", text, flags=re.M):
            of = labels.setdefault(name, {})
            for label, value in re.findall(r'(\w+)="([^"]*)"', body):
                of.setdefault(label, set()).add(value)
    return types, labels


def against_contract(admins):
    types, labels = exposed(admins)
    for name, kind in types.items():
        if name.startswith("scanlogin_") and name not in contract.METRICS:
            yield f"{name} ({kind}) is shown and not in contract.py"
    for name, (kind, wanted) in contract.METRICS.items():
        if name == "up":
            continue
        if name not in types:
            yield f"{name} is promised and not shown"
        elif types[name] != kind:
            yield f"{name} is a {types[name]}, not a {kind}"
        else:
            series = name + (contract.SUFFIXES.get(kind) or ("",))[-1]
            found = labels.get(series, {})
            if set(found) != set(wanted) and found:
                yield f"{name} has the labels {sorted(found)}, not {sorted(wanted)}"
            for label, values in wanted.items():
                if values is not None and (strange := found.get(label, set()) ^ set(values)):
                    yield f"{name} {label}: contract and service differ in {sorted(strange)}"


def main():
    parser = argparse.ArgumentParser(prog="tests/ops/live")
    parser.add_argument("--admin", action="append", required=True, metavar="HOST:PORT")
    parser.add_argument("--seconds", type=float, default=60, help="how long to scrape, without a command")
    parser.add_argument("--interval", type=int, default=1, help="seconds between scrapes")
    parser.add_argument("--window", default="30s", help="what $__rate_interval stands for")
    parser.add_argument("--expect", action="append", default=[], metavar="ALERT", help="must have fired at some time")
    parser.add_argument("--quiet", action="append", default=[], metavar="ALERT", help="must not have fired at the end")
    parser.add_argument("--results", type=pathlib.Path, help="write every answer there, as JSON")
    parser.add_argument("command", nargs="*")
    arguments = parser.parse_args()

    def during():
        if not arguments.command:
            time.sleep(arguments.seconds)
            return
        code = subprocess.run(arguments.command).returncode
        yield f"command: {arguments.command[0]} ended with {code}", code != 0

    return ask_everything(
        arguments.admin, during, arguments.expect, arguments.quiet, arguments.results, interval=arguments.interval, window=arguments.window)


def ask_everything(admins, during, expect=(), quiet=(), results=None, only=None, until=None, interval=1, window="30s"):
    """Scrapes while `during` goes on, then asks; `during` yields (what, whether it is bad). The exit code.

    `only`: no critical alert but these may have fired before `until()`, asked after `during`.
    """
    promql.GRAFANA["$__rate_interval"] = window
    found = [(f"contract: {problem}", True) for problem in against_contract(admins)]
    kept = []
    with prometheus(admins, interval) as url:
        start = time.time()
        found += during()
        end = time.time()
        answers = {}
        for board in boards(ROOT).values():
            for where, expr in queries(board):
                if "annotation" in where:
                    continue
                expr = promql.plain(expr)
                answers[where] = verdict(url, expr, start, end)
            kept += panels_with_data(url, board, start, end) if results else []
        found += [(f"dashboard: {where}: {answer}", answer not in ("data", "NaN")) for where, answer in answers.items()]
        # An alert that is silent has no data by design; what it looks at must be there.
        recorded = {rule["record"] for rule in rules(ROOT) if "record" in rule}
        for name, rule in alerts(ROOT).items():
            parts = sorted(set(re.findall(r"[a-zA-Z_:][\w:]*\{[^}]*\}", rule["expr"])) | {n for n in promql.metric_names(rule["expr"]) if n in recorded})
            parts += sorted(n for n in promql.metric_names(rule["expr"]) if n not in recorded and not re.search(rf"\b{n}\{{", rule["expr"]))
            for part in parts:
                answer = verdict(url, part, start, end)
                found.append((f"alert: {name} looks at {part}: {answer}", answer == "empty" or answer not in ("data", "NaN")))
        history = ask(url, "query_range", query='ALERTS{alertstate="firing"}', start=start, end=end, step=1)["result"]
        fired = {series["metric"]["alertname"] for series in history}
        firing = {s["metric"]["alertname"] for s in ask(url, "query", query='ALERTS{alertstate="firing"}')["result"]}
        found += [(f"alert: {name} was to fire", name not in fired) for name in expect]
        found += [(f"alert: {name} was to be silent at the end", name in firing) for name in quiet]
        if only is not None:
            critical = {name for name, rule in alerts(ROOT).items() if rule["labels"]["severity"] == "critical"}
            early = {series["metric"]["alertname"] for series in history if series["values"][0][0] < until()} & critical
            found.append((f"alert: no other critical one fires: {sorted(early)}", not early <= set(only)))
    for what, bad in found:
        if bad or what.endswith(": NaN"):
            print(f"{'FAIL' if bad else 'note'} {what}")
    print(f"fired: {', '.join(sorted(fired)) or 'none'}; at the end: {', '.join(sorted(firing)) or 'none'}")
    if results:
        results.write_text(json.dumps({"start": start, "end": end, "panels": kept, "alerts": history}))
    failed = sum(1 for _, bad in found if bad)
    print(f"ops live: {len(found) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
