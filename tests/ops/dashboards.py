"""The Grafana dashboards: what Grafana would only show as an empty panel."""

import importlib.util
import json
import re

import contract
import promql
from alerts import runbook_entries

QUESTIONS = {
    "logins": "are logins working?",
    "redis": "is Redis the problem?",
    "instances": "is an instance the problem?",
    "attacks": "is somebody attacking?",
}


def boards(root):
    return {path.stem: json.loads(path.read_text()) for path in sorted((root / "dashboards").glob("*.json"))}


def panels(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(board):
    """(where, expr) of everything in a board that Prometheus will be asked."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield f"{board['title']} / {panel['title']} / {target['refId']}", target["expr"]
    for annotation in board["annotations"]["list"]:
        yield f"{board['title']} / annotation {annotation['name']}", annotation["expr"]


def generated(root):
    spec = importlib.util.spec_from_file_location("generate", root / "dashboards/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rendered = module.render()
    for name, text in rendered.items():
        path = root / "dashboards" / name
        same = path.exists() and path.read_text() == text
        yield f"{name} is what generate.py writes", None if same else "run dashboards/generate.py"
    extra = {path.name for path in (root / "dashboards").glob("*.json")} - set(rendered)
    yield "no dashboard beside them", ", ".join(extra) or None


def questions(root):
    found = {name: board["title"] for name, board in boards(root).items()}
    wrong = [f"{name}: {found.get(name)}" for name, question in QUESTIONS.items() if not found.get(name, "").endswith(question)]
    yield "one dashboard for each question", ", ".join(wrong) or None


def identity(root):
    uids = [board["uid"] for board in boards(root).values()]
    yield "uids are unique", None if len(set(uids)) == len(uids) and all(uids) else str(uids)
    for name, board in boards(root).items():
        ids = [panel["id"] for panel in board["panels"]]
        titles = [panel["title"] for panel in board["panels"]]
        yield f"{name}: panel ids are unique", None if len(set(ids)) == len(ids) else str(ids)
        yield f"{name}: panel titles are unique", None if len(set(titles)) == len(titles) else str(titles)


def variables(root):
    for name, board in boards(root).items():
        kinds = {variable["name"]: variable["type"] for variable in board["templating"]["list"]}
        wanted = {"datasource": "datasource", "namespace": "query", "instance": "query"}
        wrong = [] if kinds == wanted else [f"variables {kinds}"]
        wrong += [
            f"{variable['name']} asks {variable['definition']}" for variable in board["templating"]["list"]
            if variable["type"] == "query" and promql.unknown(re.sub(r"^label_values\((.*), (\w+)\)$", r"sum by (\2) (\1)", variable["definition"]))
        ]
        for holder in [*panels(board), *(t for p in panels(board) for t in p["targets"]), *board["annotations"]["list"]]:
            if holder["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
                wrong.append(f"{holder.get('title') or holder.get('refId')}: datasource {holder['datasource']}")
        for where, expr in queries(board):
            wrong += [f"{where} ignores ${v}" for v in ("namespace", "instance") if f'{v}=~"${v}"' not in expr]
            # A query without its job would add up everybody's process_* series.
            wrong += [f"{where} selects any job" for s in re.findall(r"\{[^}]*\}", expr) if 'job="scanlogin"' not in s]
            if "rate(" in expr and "[$__rate_interval]" not in expr:
                wrong.append(f"{where} rates over a window that zooming does not change")
        yield f"{name}: data source and variables", "\n".join(wrong) or None


def explained(root):
    for name, board in boards(root).items():
        wrong = [f"{p['title']}: description" for p in panels(board) if len(p.get("description", "")) < 40]
        wrong += [f"{p['title']}: unit" for p in panels(board) if not p["fieldConfig"]["defaults"].get("unit")]
        wrong += [f"{p['title']}: threshold without a base" for p in panels(board)
                  if p["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is not None]
        yield f"{name}: description, unit, thresholds on every panel", "\n".join(wrong) or None


def linked(root):
    entries = runbook_entries(root)
    for name, board in boards(root).items():
        wrong = []
        if not any(link["type"] == "dashboards" and "scanlogin" in link["tags"] for link in board["links"]):
            wrong.append("no link to the others")
        if not any(link["url"] == "docs/runbook.md" for link in board["links"]):
            wrong.append("no link to the runbook")
        anchors = [link["url"].partition("#")[2] for panel in panels(board) for link in panel["links"]]
        wrong += [f"no runbook entry {anchor}" for anchor in anchors if anchor not in entries]
        yield f"{name}: links", "\n".join(wrong) or None


def grid(root):
    for name, board in boards(root).items():
        taken, wrong = {}, []
        for panel in board["panels"]:
            g = panel["gridPos"]
            if g["x"] + g["w"] > 24:
                wrong.append(f"{panel['title']} sticks out")
            for cell in ((x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])):
                if taken.setdefault(cell, panel["title"]) != panel["title"]:
                    wrong.append(f"{panel['title']} lies on {taken[cell]}")
                    break
        yield f"{name}: panels do not overlap", "\n".join(wrong) or None


def expressions(root):
    for name, board in boards(root).items():
        found = {where: promql.plain(expr) for where, expr in queries(board)}
        left = [f"{where}: {expr}" for where, expr in found.items() if "$" in expr]
        bad = promql.parse_errors(sorted(set(found.values())))
        wrong = left + [f"{where}: {bad[expr]}" for where, expr in found.items() if expr in bad]
        yield f"{name}: {len(found)} expressions parse", "\n".join(wrong) or None
        wrong = [f"{where}: {', '.join(problems)}" for where, expr in found.items() if (problems := promql.unknown(expr))]
        yield f"{name}: only promised metrics and labels", "\n".join(wrong) or None


def shown(root):
    """A metric that no panel shows is one that nobody will look at."""
    used = {name for board in boards(root).values() for _, expr in queries(board) for name in promql.metric_names(promql.plain(expr))}
    drawn = {contract.SERIES[n] for n in used if n in contract.SERIES}
    missing = {m for m in contract.METRICS if m.startswith("scanlogin_")} - drawn
    yield "every metric of ours is on a dashboard", ", ".join(sorted(missing)) or None


CHECKS = [generated, questions, identity, variables, explained, linked, grid, expressions, shown]
