"""The alerts: that they parse, fire, stay silent, and lead somewhere."""

import re
import subprocess
import tempfile

import yaml

import promql

PARTS = ("**Means.**", "**Confirm.**", "**Do.**")
SEVERITIES = {"critical", "warning"}


def rules(root):
    groups = yaml.safe_load((root / "dashboards/rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts(root):
    return {rule["alert"]: rule for rule in rules(root) if "alert" in rule}


def runbook_entries(root):
    """{anchor: (title, text)} of the third-level headings: those are entries, the second level sorts them."""
    text = (root / "docs/runbook.md").read_text()
    found = re.split(r"^### (.+)$", text, flags=re.M)
    return {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-"): (title, body)
        for title, body in zip(found[1::2], found[2::2])
    }


def parsed(root):
    path = root / "dashboards/rules.yaml"
    result = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True)
    yield "promtool check rules", result.stdout + result.stderr if result.returncode else None
    recorded = {rule["record"] for rule in rules(root) if "record" in rule}
    wrong = [
        f"{rule.get('alert') or rule['record']}: {', '.join(problems)}"
        for rule in rules(root) if (problems := promql.unknown(rule["expr"], recorded))
    ]
    yield "only promised metrics and labels", "\n".join(wrong) or None


def runbook(root):
    entries = runbook_entries(root)
    for name, rule in alerts(root).items():
        wrong = []
        if rule["labels"].get("severity") not in SEVERITIES:
            wrong.append(f"severity {rule['labels'].get('severity')}")
        for annotation in ("summary", "description"):
            if not rule["annotations"].get(annotation):
                wrong.append(f"no {annotation}")
        page, _, anchor = rule["annotations"].get("runbook_url", "").partition("#")
        if page != "docs/runbook.md" or anchor not in entries:
            wrong.append(f"no entry {page}#{anchor}")
        elif entries[anchor][0] != name:
            wrong.append(f"leads to {entries[anchor][0]}")
        else:
            wrong += [f"its entry lacks {part}" for part in PARTS if part not in entries[anchor][1]]
        yield f"{name} leads to its runbook entry", ", ".join(wrong) or None
    stray = {title for title, _ in entries.values()} - set(alerts(root))
    yield "every runbook entry has an alert", ", ".join(sorted(stray)) or None


def links(root):
    """Of all pages of ours: the anchors they point to exist."""
    pages = {path.name: path.read_text() for path in (root / "docs").glob("*.md")}
    anchors = {
        name: {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, flags=re.M)}
        for name, text in pages.items()
    }
    for name in ("runbook.md", "operations.md"):
        wrong = []
        for page, anchor in re.findall(r"\]\(([\w.-]*\.md)?#([\w-]+)\)", pages.get(name, "")):
            if anchor not in anchors.get(page or name, ()):
                wrong.append(f"{page}#{anchor}")
        for target in re.findall(r"\]\(((?!http)[^)#]+)(?:#[^)]*)?\)", pages.get(name, "")):
            if not (root / "docs" / target).exists():
                wrong.append(target)
        yield f"links of {name}", (", ".join(wrong) if name in pages else "it is missing") or None


def samples(alert, labels):
    inside = ", ".join(f'{key}="{value}"' for key, value in {"alertname": alert, "alertstate": "firing", **labels}.items())
    return {"labels": f"ALERTS{{{inside}}}", "value": 1}


def promtool_test(root, series, expectations):
    """expectations: [(minutes, alert, [labels of each firing one])]; None as alert means all of them."""
    document = {
        "rule_files": [str(root / "dashboards/rules.yaml")],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": 'ALERTS{alertstate="firing"' + (f', alertname="{alert}"' if alert else "") + "}",
                    "eval_time": f"{minutes}m",
                    "exp_samples": [samples(alert, labels) for labels in firing],
                }
                for minutes, alert, firing in expectations
            ],
        }],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(document, file)
        file.flush()
        result = subprocess.run(["promtool", "test", "rules", file.name], capture_output=True, text=True)
    return None if result.returncode == 0 else result.stdout + result.stderr


def cases(root):
    """Every alert fires in a case of its own, is silent in another, and none fires on a healthy day."""
    table = yaml.safe_load((root / "tests/ops/alerts.yaml").read_text())
    known = alerts(root)
    for alert in sorted(set(known) | set(table["alerts"])):
        members = table["alerts"].get(alert, {})
        if alert not in known:
            yield f"{alert} exists", "no such alert"
            continue
        kinds = {("fires" if case.get("fires") else "silent") for case in members.values()}
        yield f"{alert} has a firing and a silent case", None if kinds == {"fires", "silent"} else f"only {kinds or 'nothing'}"
        for name, case in members.items():
            expectations = [(minutes, alert, [{"severity": known[alert]["labels"]["severity"], **case["labels"]}]) for minutes in case.get("fires", [])]
            expectations += [(minutes, alert, []) for minutes in case.get("silent", [])]
            yield f"{alert}: {name}", promtool_test(root, case["series"], expectations)
    healthy = table["healthy"]
    yield "a healthy day is silent", promtool_test(root, healthy["series"], [(minutes, None, []) for minutes in healthy["silent"]])


CHECKS = [parsed, runbook, links, cases]
