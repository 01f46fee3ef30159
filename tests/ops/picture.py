#!/usr/bin/env python3
"""Draws panels from what `live --results` kept: the dashboards' own queries, without a Grafana.

    tests/ops/picture.py RESULTS.json OUT.svg "title" "panel" "panel" ...
"""

import json
import math
import pathlib
import sys
from xml.sax.saxutils import escape

WIDTH, HEIGHT, COLUMNS, HEAD, LEFT, RIGHT, TOP, BOTTOM = 640, 210, 2, 70, 56, 190, 30, 24
COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"]


def readable(value, unit):
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    return f"{value:.3g}" + (" /s" if unit == "reqps" else "")


def text(x, y, content, **attributes):
    inside = " ".join(f'{name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" {inside}>{escape(content)}</text>'


def chart(panel, start, end):
    yield text(0, 18, panel["panel"], font_weight="bold")
    inner, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    lines = [(line["legend"], [(float(t), float(v)) for t, v in line["values"]]) for line in panel["lines"]]
    # Lines that never left 0 only crowd the legend.
    shown = [line for line in lines if any(v > 0 for _, v in line[1])][:10] or lines[:1]
    top = max((v for _, values in shown for _, v in values if math.isfinite(v)), default=0) * 1.1 or 1
    for part in (0, 0.5, 1):
        y = TOP + tall * (1 - part)
        yield f'<path d="M{LEFT} {y:.1f}h{inner}" stroke="#ddd"/>'
        yield text(LEFT - 4, y + 4, readable(top * part, panel["unit"]), text_anchor="end", fill="#555")
    for seconds in range(0, round(end - start) + 1, 60):
        x = LEFT + inner * seconds / (end - start)
        yield text(x, HEIGHT - 8, f"{seconds // 60} min", text_anchor="middle", fill="#555")
    for number, (legend, values) in enumerate(shown):
        colour = COLOURS[number % len(COLOURS)]
        path, before = [], None
        for moment, value in values:
            if not math.isfinite(value):
                before = None
                continue
            # A gap in the data is a gap in the line.
            joined = before is not None and moment - before < (end - start) / 40
            path.append(f'{"L" if joined else "M"}{LEFT + inner * (moment - start) / (end - start):.1f} {TOP + tall * (1 - value / top):.1f}')
            before = moment
        yield f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        yield text(WIDTH - RIGHT + 8, TOP + 8 + number * 15, (legend or "value")[:28], fill=colour)


def bands(history, start, end):
    """One line of text and one bar per alert that fired."""
    for number, name in enumerate(sorted({series["metric"]["alertname"] for series in history})):
        moments = [moment for series in history if series["metric"]["alertname"] == name for moment, _ in series["values"]]
        x = lambda moment: 220 + (COLUMNS * WIDTH - 240) * (moment - start) / (end - start)
        y = HEAD - 24 + number * 18
        yield text(0, y + 10, name, fill="#b00")
        yield f'<rect x="{x(min(moments)):.1f}" y="{y}" width="{max(2, x(max(moments)) - x(min(moments))):.1f}" height="12" fill="#b00" opacity="0.6"/>'


def draw(results, out, title, wanted):
    """The panels of these titles, into a file."""
    data = json.loads(pathlib.Path(results).read_text())
    start, end = data["start"], data["end"]
    found = {panel["panel"]: panel for panel in data["panels"]}
    missing = [name for name in wanted if name not in found]
    if missing:
        sys.exit(f"no panel {missing}; there are {sorted(found)}")
    alerts = list(bands(data["alerts"], start, end))
    head = HEAD + len(alerts) // 2 * 18
    rows = math.ceil(len(wanted) / COLUMNS)
    body = [text(0, 18, title, font_weight="bold", font_size="15"), text(0, 36, "Alerts that fired:" if alerts else "No alert fired.", fill="#555"), *alerts]
    for number, name in enumerate(wanted):
        body.append(f'<g transform="translate({number % COLUMNS * WIDTH} {head + number // COLUMNS * HEIGHT})">')
        body += [*chart(found[name], start, end), "</g>"]
    width, height = COLUMNS * WIDTH + 20, head + rows * HEIGHT + 10
    pathlib.Path(out).write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 -4 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="11">\n'
        f'<rect x="-10" y="-4" width="{width}" height="{height}" fill="white"/>\n' + "\n".join(body) + "\n</svg>\n")


if __name__ == "__main__":
    draw(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
