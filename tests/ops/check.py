#!/usr/bin/env python3
"""Runs the checks of this directory. Each is a generator of (what was checked, what is wrong or None)."""

import argparse
import importlib
import pathlib
import subprocess
import sys
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
ROOT = HERE.parent.parent


GROUPS = ("chart", "dashboards", "alerts", "deploy")


class Drill:
    """The rehearsal mostly waits: the other checks run beside it."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, HERE / "drill.py"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def results(self):
        output, _ = self.process.communicate()
        # Its own sum is not one of ours.
        said = [line for line in output.splitlines() if not line.startswith("ops live:")]
        wrong = "\n".join(said) if self.process.returncode else None
        yield "drill: " + " | ".join(line for line in said if line.startswith(("people:", "fired:"))), wrong


def execute(check, root):
    """The results of one check; one that crashes has failed, and one that finds nothing to check has too."""
    results = []
    try:
        results.extend(check(root))
    except Exception:  # whatever it is, it belongs to this check's line and must not hide the others
        results.append((check.__name__, traceback.format_exc(limit=4)))
    return results or [(check.__name__, "it checked nothing")]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--update", action="store_true", help="write golden files and copies anew first")
    parser.add_argument("--only", default="", help="comma-separated: " + ", ".join((*GROUPS, "drill")))
    parser.add_argument("--mutants", action="store_true", help="break things in a copy, demand red")
    arguments = parser.parse_args()
    if arguments.mutants:
        import mutants
        results = mutants.run(ROOT)
        return report("ops mutants", results, shown=True)
    if arguments.update:
        import chart
        chart.update(ROOT)
    results = []
    wanted = [name for name in arguments.only.split(",") if name]
    drill = Drill() if not wanted or "drill" in wanted else None
    for group in GROUPS:
        if wanted and group not in wanted:
            continue
        for check in importlib.import_module(group).CHECKS:
            for what, wrong in execute(check, ROOT):
                results.append((f"{group}: {what}", wrong))
                show(*results[-1])
    for what, wrong in drill.results() if drill else ():
        results.append((what, wrong))
        show(*results[-1])
    return report("ops", results, shown=True)


def show(what, wrong):
    print(f"{'FAIL' if wrong else 'ok  '} {what}", flush=True)
    if wrong:
        print("     " + str(wrong).rstrip().replace("\n", "\n     "), flush=True)


def report(title, results, shown=False):
    if not shown:
        for result in results:
            show(*result)
    failed = sum(1 for _, wrong in results if wrong)
    print(f"{title}: {len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
