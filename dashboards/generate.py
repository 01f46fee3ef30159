#!/usr/bin/env python3
"""Writes the Grafana dashboards: four questions, one file each.

The JSON is committed, so that nobody needs this script to import it; tests/ops/run compares the two. One place for the
variables, the units' spelling and the grid is what keeps four files of two thousand lines alike.

    dashboards/generate.py [--out DIR] [--runbook-url URL]
"""

import argparse
import json
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
RUNBOOK = "docs/runbook.md"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# The job as well: process_* and up are everybody's names.
SELECTOR = 'job="scanlogin", namespace=~"$namespace", instance=~"$instance"'

GREEN, YELLOW, RED = "green", "yellow", "red"


def select(expr):
    """`name` and `name{label="x"}` get the variables' matchers, `name{}` stands for nothing but them."""
    def matchers(found):
        own = found.group(2)
        return f"{found.group(1)}{{{own + ', ' if own else ''}{SELECTOR}}}"
    return re.sub(r"\b((?:scanlogin|process)_[a-z_]+|up)(?:\{([^}]*)\})?(?![a-z_({])", matchers, expr)


def quantiles(histogram, by="", which=(0.5, 0.95, 0.99)):
    """One target per quantile. The buckets are summed before the quantile: quantiles of instances do not add up."""
    labels = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    return [
        (f"histogram_quantile({q}, sum by ({labels}) (rate({histogram}_bucket[$__rate_interval])))", f"{legend}p{q * 100:g}")
        for q in which
    ]


def rate_by(metric, label):
    return [(f"sum by ({label}) (rate({metric}[$__rate_interval]))", f"{{{{{label}}}}}")]


def steps(*pairs):
    """(value, colour) pairs; the first value is None, the base."""
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in pairs]}


def panel(title, description, targets, unit, alerts=(), kind="timeseries", width=12, height=8, thresholds=None,
          stack=False, minimum=0, maximum=None, decimals=None, mappings=None, instant=False):
    defaults = {"unit": unit, "thresholds": thresholds or steps((None, GREEN))}
    if minimum is not None:
        defaults["min"] = minimum
    if maximum is not None:
        defaults["max"] = maximum
    if decimals is not None:
        defaults["decimals"] = decimals
    if mappings:
        defaults["mappings"] = mappings
    if kind == "timeseries":
        defaults["custom"] = {
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if stack else 5, "showPoints": "never",
            "stacking": {"mode": "normal" if stack else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if thresholds else "off"},
        }
        options = {
            "legend": {"displayMode": "table", "placement": "right", "calcs": ["lastNotNull", "max"], "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif kind == "stat":
        options = {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background" if thresholds else "value", "graphMode": "area", "textMode": "auto",
        }
    elif kind == "table":
        options = {"showHeader": True}
    return {
        "kind": kind, "title": title, "description": description, "width": width, "height": height, "alerts": alerts,
        "targets": [(select(expr), legend) for expr, legend in targets], "options": options, "defaults": defaults,
        "instant": instant or kind == "table",
    }


def row(title):
    return {"kind": "row", "title": title, "width": 24, "height": 1}


def place(panels):
    """Left to right, top to bottom, ids in reading order."""
    placed, x, y, line = [], 0, 0, 0
    for number, item in enumerate(panels, 1):
        if x + item["width"] > 24:
            x, y, line = 0, y + line, 0
        grid = {"x": x, "y": y, "w": item["width"], "h": item["height"]}
        x, line = x + item["width"], max(line, item["height"])
        if item["kind"] == "row":
            placed.append({"id": number, "type": "row", "title": item["title"], "collapsed": False, "gridPos": grid, "panels": []})
            continue
        placed.append({
            "id": number,
            "type": item["kind"],
            "title": item["title"],
            "description": item["description"],
            "datasource": DATASOURCE,
            "gridPos": grid,
            "targets": [
                {
                    "refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": expr, "legendFormat": legend,
                    **({"instant": True, "range": False, "format": "table"} if item["kind"] == "table" else {"range": True}),
                }
                for index, (expr, legend) in enumerate(item["targets"])
            ],
            "fieldConfig": {"defaults": item["defaults"], "overrides": []},
            "options": item["options"],
            "links": [
                {"title": f"Runbook: {alert}", "url": f"{RUNBOOK}#{alert.lower()}", "targetBlank": True} for alert in item["alerts"]
            ],
        })
    return placed


def query_variable(name, label, query):
    return {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE, "query": {"query": query, "refId": name},
        "definition": query, "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def dashboard(uid, title, description, panels):
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["scanlogin"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "",
        "templating": {"list": [
            {
                "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
                "current": {}, "hide": 0, "refresh": 1,
            },
            query_variable("namespace", "Namespace", "label_values(scanlogin_build_info, namespace)"),
            query_variable("instance", "Instance", 'label_values(scanlogin_build_info{namespace=~"$namespace"}, instance)'),
        ]},
        "annotations": {"list": [{
            "name": "Drains", "datasource": DATASOURCE, "enable": True, "iconColor": "blue",
            "expr": f"scanlogin_draining{{{SELECTOR}}} == 1", "step": "30s", "titleFormat": "draining", "textFormat": "{{instance}}",
        }]},
        "links": [
            {"type": "dashboards", "title": "scanlogin", "tags": ["scanlogin"], "asDropdown": False, "includeVars": True,
             "keepTime": True, "targetBlank": False, "url": ""},
            {"type": "link", "title": "Runbook", "url": RUNBOOK, "icon": "doc", "targetBlank": True, "tags": []},
        ],
        "panels": place(panels),
    }


BAD = 'sum(rate(scanlogin_logins_total{outcome=~"failed|undelivered"}[$__rate_interval]))'
GOOD = 'sum(rate(scanlogin_logins_total{outcome="delivered"}[$__rate_interval]))'
SUCCESS = f"{GOOD} / ({GOOD} + {BAD})"

logins = dashboard("scanlogin-logins", "scanlogin: are logins working?", "Start here. The funnel, how logins end, and how long people wait.", [
    panel("Logins that reach their browser",
          "Of the logins somebody tried to complete; the objective is 99.5 %. Lower: 'How logins end' says whether they fail or are not collected; then ask whether Redis or an instance is the problem. Empty while nobody logs in.",
          [(SUCCESS, "success")], "percentunit", ["ScanloginErrorBudgetBurnFast", "ScanloginErrorBudgetBurnSlow"], kind="stat", width=6, height=5,
          thresholds=steps((None, RED), (0.98, YELLOW), (0.995, GREEN)), maximum=1, decimals=2),
    panel("Browsers waiting",
          "Open sockets on all instances. A fall to near zero without a drain means that browsers cannot connect: look at the load balancer, then at refusals.",
          [("sum(scanlogin_waiting_sockets)", "waiting")], "short", ["ScanloginAbsent"], kind="stat", width=6, height=5),
    panel("Logins per second",
          "Delivered. Compare with the same hour of yesterday; zero in business hours is an outage whatever the other panels say.",
          [(GOOD, "delivered")], "reqps", ["ScanloginErrorBudgetBurnFast"], kind="stat", width=6, height=5, decimals=2),
    panel("Scan to push, p99",
          "From the phone's yes to the token leaving for the browser, across instances. Over a second people scan again: look at the feed and the store.",
          [(quantiles("scanlogin_scan_to_push_seconds")[2][0], "p99")], "s", ["ScanloginSlowPush"], kind="stat", width=6, height=5,
          thresholds=steps((None, GREEN), (0.1, YELLOW), (1, RED)), decimals=1),
    row("From the page to the token"),
    panel("Funnel",
          "Each step holds fewer people than the one before; a step that falls alone is where it breaks. Opened without scanned: the phones' side. Scanned without delivered: the feed, the store, or people who do not confirm.",
          [("sum(rate(scanlogin_sockets_opened_total[$__rate_interval]))", "1 opened"),
           ('sum(rate(scanlogin_scans_total{result=~"approved|claimed"}[$__rate_interval]))', "2 scanned"),
           ('sum(rate(scanlogin_scans_total{result=~"approved|confirmed"}[$__rate_interval]))', "3 approved"),
           (GOOD, "4 delivered")], "reqps", ["ScanloginErrorBudgetBurnFast"]),
    panel("How logins end",
          "expired and cancelled are people who left, denied is a decision. failed is ours: the store was away for longer than the login could wait. undelivered means a phone was told yes and the browser never took the token.",
          rate_by("scanlogin_logins_total", "outcome"), "reqps", ["ScanloginUndelivered"], stack=True),
    panel("Scans and confirmations by answer",
          "approved, claimed and confirmed are the good ones; repeated is a phone on a bad network. A rise of store is Redis; of unauthenticated the app's own tokens; of the others see 'is somebody attacking?'.",
          rate_by("scanlogin_scans_total", "result"), "reqps", ["ScanloginAppAuthFailing"], stack=True),
    panel("Browsers waiting, over time",
          "The sum over the instances. A saw tooth with the period of a lifetime (120 s) is a page that reconnects on expiry by itself: ask its authors to wait for a click.",
          [("sum(scanlogin_waiting_sockets)", "waiting")], "short", ["ScanloginNearCapacity"]),
    row("Waiting times"),
    panel("Scan to push",
          "A few milliseconds are normal. p50 up: Redis or the network between. Only p99 up: one instance, or resyncs that find what notifications missed.",
          quantiles("scanlogin_scan_to_push_seconds"), "s", ["ScanloginSlowPush", "ScanloginFeedRescues"], thresholds=steps((None, GREEN), (1, RED))),
    panel("Open to key",
          "From the upgrade to the QR code: one write and one subscription in Redis. Up: the store's latency, then the registry's mailbox.",
          quantiles("scanlogin_open_to_key_seconds"), "s", ["ScanloginStoreSlow"], thresholds=steps((None, GREEN), (1, RED))),
    panel("How long browsers wait",
          "Until the login ends. p50 near the lifetime means that most people never scan; a p50 of a few seconds is healthy.",
          quantiles("scanlogin_wait_seconds"), "s", []),
    panel("Resumed logins",
          "Browsers that came back to a login after losing their socket. A burst beside a drain mark is the drain at work; a steady rise without one is a proxy that cuts sockets: check its read time-out. refused: unknown, ended or too late.",
          rate_by("scanlogin_resumes_total", "result"), "reqps", ["ScanloginUndelivered"], stack=True),
    row("HTTP"),
    panel("Requests by route",
          "What phones and your own servers ask. A route at zero that is not normally there is a client that cannot reach it.",
          rate_by("scanlogin_http_requests_total", "route"), "reqps", [], stack=True),
    panel("Request time by route, p99",
          "Receipts are held open on purpose (up to 10 s), so the outcome's route is long by design. The others follow the store.",
          quantiles("scanlogin_http_request_seconds", "route", (0.99,)), "s", ["ScanloginHttpErrors"]),
])

redis = dashboard("scanlogin-redis", "scanlogin: is Redis the problem?", "The store that the instances share, and the feed of its notifications.", [
    panel("Feed connections",
          "The share of feed connections (one per instance and Redis primary) that are up. Below 100 %: that instance hears nothing from that node. Empty with the embedded store.",
          [("avg(scanlogin_feed_connected)", "connected")], "percentunit", ["ScanloginFeedDisconnected"], kind="stat", width=6, height=5,
          thresholds=steps((None, RED), (1, GREEN)), maximum=1),
    panel("Store operations, p99",
          "Over 100 ms something is wrong with Redis or the network to it: SLOWLOG, a fork for a dump, a saturated core, a noisy neighbour.",
          [(quantiles("scanlogin_store_seconds")[2][0], "p99")], "s", ["ScanloginStoreSlow"], kind="stat", width=6, height=5,
          thresholds=steps((None, GREEN), (0.02, YELLOW), (0.1, RED)), decimals=1),
    panel("Store errors per second",
          "Anything above zero for more than a reconnect: the kinds below say why.",
          [("sum(rate(scanlogin_store_errors_total[$__rate_interval]))", "errors")], "reqps", ["ScanloginStoreErrors"], kind="stat", width=6, height=5,
          thresholds=steps((None, GREEN), (0.01, YELLOW), (1, RED)), decimals=2),
    panel("Changes found only by re-reading",
          "Per second; each one is a notification that never came. A burst after a reconnect is the resync at work; a steady rate means that notifications are off or lost.",
          [("sum(rate(scanlogin_feed_rescued_total[$__rate_interval]))", "rescued")], "reqps", ["ScanloginFeedRescues"], kind="stat", width=6, height=5,
          thresholds=steps((None, GREEN), (0.1, YELLOW), (1, RED)), decimals=2),
    row("Store"),
    panel("Store time by operation, p99",
          "All operations slow: Redis or the network. One alone: its script, or a pipeline it shares with a burst.",
          quantiles("scanlogin_store_seconds", "operation", (0.99,)), "s", ["ScanloginStoreSlow"], thresholds=steps((None, GREEN), (0.1, RED))),
    panel("Store time, all operations",
          "p50 is the round trip. If it moved with a deployment or a failover, the instances now talk to a Redis in another zone.",
          quantiles("scanlogin_store_seconds"), "s", ["ScanloginStoreSlow"]),
    panel("Store operations",
          "What Redis is asked, by operation. Seven commands a login are the most there should be; reclaim above zero means that Redis forgot logins.",
          rate_by("scanlogin_store_seconds_count", "operation"), "reqps", [], stack=True),
    panel("Store errors by kind",
          "io, timeout and full (too many commands wait): reachability. auth: the password or the ACL. readonly: we write to a replica, a failover was not followed. oom: maxmemory with noeviction is reached. None of the last three heals by waiting.",
          rate_by("scanlogin_store_errors_total", "kind"), "reqps", ["ScanloginStoreErrors", "ScanloginRedisRefuses"], stack=True),
    panel("Store errors by operation",
          "create fails: no new QR codes. read fails: approved logins are not pushed. probe alone: the feed's check, not the logins.",
          rate_by("scanlogin_store_errors_total", "operation"), "reqps", ["ScanloginStoreErrors"], stack=True),
    panel("Turned away because of the store",
          "Browsers and phones that got a 503, code -6. They retry by themselves; the number says how many people notice.",
          [('sum(rate(scanlogin_sockets_refused_total{reason="store"}[$__rate_interval]))', "browsers"),
           ('sum(rate(scanlogin_scans_total{result="store"}[$__rate_interval]))', "phones")], "reqps", ["ScanloginStoreErrors"], stack=True),
    row("Feed"),
    panel("Feed connections by instance and node",
          "1 is connected. One instance at 0: its network. One node at 0 everywhere: that node. All at 0: Redis is away; waiting browsers go on waiting.",
          [("scanlogin_feed_connected", "{{instance}} {{node}}")], "short", ["ScanloginFeedDisconnected"], maximum=1, decimals=0),
    panel("Notifications",
          "delivered goes to a waiting browser: one a login, two with confirmation. unknown is for a login that had just ended; many of them mean that something else writes under our prefix. full: a queue overflowed, a resync follows.",
          rate_by("scanlogin_notifications_total", "result"), "reqps", ["ScanloginFeedRescues"], stack=True),
    panel("Resyncs by reason",
          "connected: a start. reconnected: the connection was lost. topology: a failover or a slot migration. probe: connected but deaf, the one to worry about.",
          rate_by("scanlogin_feed_resyncs_total", "reason"), "reqps", ["ScanloginFeedDeaf"], stack=True),
    panel("Rescued beside delivered",
          "The share of changes that only a re-read found. Above 1 % for minutes: check notify-keyspace-events on every node, also on the one just promoted.",
          [("sum(rate(scanlogin_feed_rescued_total[$__rate_interval])) / (sum(rate(scanlogin_feed_rescued_total[$__rate_interval])) + sum(rate(scanlogin_notifications_total{result=\"delivered\"}[$__rate_interval])))", "rescued")],
          "percentunit", ["ScanloginFeedRescues"], maximum=1, thresholds=steps((None, GREEN), (0.01, RED))),
    panel("Probe round trip",
          "How long a notification takes that the feed sends to itself: the part of scan-to-push that is Redis's pub/sub. Rising alone: Redis has many subscribers or a slow reader.",
          quantiles("scanlogin_feed_probe_seconds"), "s", ["ScanloginFeedDeaf"], thresholds=steps((None, GREEN), (1, RED))),
    panel("Scan to push, beside it",
          "If this moves together with the probe, it is Redis; if it moves alone, it is an instance.",
          quantiles("scanlogin_scan_to_push_seconds"), "s", ["ScanloginSlowPush"]),
    row("Clocks"),
    panel("Redis's clock, ahead of the instance's",
          "Web tokens have Redis's time, all else the instance's. One instance apart: its clock. All by the same: Redis's. A few milliseconds are normal, over 5 s somebody's NTP is off.",
          [("scanlogin_store_clock_offset_seconds", "{{instance}}")], "s", ["ScanloginClocksApart"], minimum=None,
          thresholds=steps((None, RED), (-5, GREEN), (5, RED))),
])

PER_INSTANCE = "{{instance}}"
instances = dashboard("scanlogin-instances", "scanlogin: is an instance the problem?", "One line per instance: the one that differs from the others is the answer.", [
    panel("Instances up",
          "Answering Prometheus. Fewer than you run: see the pods' or units' state and their last log line.",
          [('sum(up)', "up")], "short", ["ScanloginInstanceDown", "ScanloginAbsent"], kind="stat", width=6, height=5, decimals=0,
          thresholds=steps((None, RED), (1, YELLOW), (2, GREEN))),
    panel("Draining",
          "Instances that are on their way out. Above zero for more than the drain's time: one does not end.",
          [("sum(scanlogin_draining)", "draining")], "short", ["ScanloginDrainStuck"], kind="stat", width=6, height=5, decimals=0,
          thresholds=steps((None, GREEN), (1, YELLOW))),
    panel("Fullest instance",
          "Of SCANLOGIN_MAX_WAITING, or of what its open files allow: at 100 % browsers are refused.",
          [("max(scanlogin_waiting_sockets / scanlogin_max_waiting_sockets)", "used")], "percentunit", ["ScanloginNearCapacity", "ScanloginFull"], kind="stat",
          width=6, height=5, maximum=1, thresholds=steps((None, GREEN), (0.8, YELLOW), (0.95, RED))),
    panel("Open files, of the limit",
          "The fullest instance. Each socket is one; at 100 % nothing can be accepted. Raise LimitNOFILE or the runtime's ulimit.",
          [("max(process_open_fds / process_max_fds)", "used")], "percentunit", ["ScanloginNearCapacity"], kind="stat", width=6, height=5, maximum=1,
          thresholds=steps((None, GREEN), (0.7, YELLOW), (0.9, RED))),
    row("Sockets"),
    panel("Waiting sockets by instance",
          "They should be alike within a lifetime of a roll-out. One far above the others: the load balancer counts requests, not connections; set it to least connections.",
          [("sum by (instance) (scanlogin_waiting_sockets)", PER_INSTANCE)], "short", ["ScanloginNearCapacity"]),
    panel("Sockets opened by instance",
          "One at zero beside the others gets no browsers: not ready, draining, or lost by the load balancer.",
          rate_by("scanlogin_sockets_opened_total", "instance"), "reqps", ["ScanloginInstanceDown"]),
    panel("Sockets opened by protocol",
          "plain ones lose their login with their socket; many of them make every roll-out visible to people.",
          rate_by("scanlogin_sockets_opened_total", "protocol"), "reqps", [], stack=True),
    panel("Refused for want of room",
          "full: at its limit. draining: the load balancer still sends browsers to an instance that leaves; lengthen preStop.",
          [('sum by (instance, reason) (rate(scanlogin_sockets_refused_total{reason=~"full|draining"}[$__rate_interval]))', "{{instance}} {{reason}}")],
          "reqps", ["ScanloginFull"]),
    row("Resources"),
    panel("Memory",
          "Resident. It follows the peak of the sockets, not their present number. A rise with level sockets over days is a leak: report it with this graph.",
          [("sum by (instance) (process_resident_memory_bytes)", PER_INSTANCE)], "bytes", ["ScanloginNearCapacity"]),
    panel("Memory per waiting socket",
          "Means something above a thousand sockets: 1.5 to 2 KiB is what it is built for. The kernel's own 4.9 KB a socket are not in it, but count against a container's limit.",
          [("sum by (instance) (process_resident_memory_bytes) / sum by (instance) (clamp_min(scanlogin_waiting_sockets, 1))", PER_INSTANCE)], "bytes", []),
    panel("CPU",
          "Cores used; counted in whole seconds, so it is rough over short times. Idle sockets cost next to nothing, so this follows logins and reconnects. One instance alone: a flood behind one address.",
          [("sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]))", PER_INSTANCE)], "short", ["ScanloginRegistryBacklog"], decimals=2),
    panel("Open files",
          "Against the limit, the upper line. Sockets plus a few dozen is right; more means that connections before the upgrade pile up.",
          [("sum by (instance) (process_open_fds)", "{{instance}} open"), ("sum by (instance) (process_max_fds)", "{{instance}} limit")], "short", ["ScanloginNearCapacity"]),
    row("Lag"),
    panel("Registry mailbox",
          "Messages that wait for the registry actor. Near zero always; thousands mean that pushes wait behind connects: add instances.",
          [("sum by (instance) (scanlogin_registry_mailbox)", PER_INSTANCE)], "short", ["ScanloginRegistryBacklog"], thresholds=steps((None, GREEN), (1000, RED))),
    panel("Log lines left out",
          "Whoever reads the log (a pipe, the node's collector) is slower than the service writes. Logins are not held up by it; lines are missing. A trace filter left on, or a collector that stalls. sampled: lines about single logins above SCANLOGIN_LOG_LINES_PER_SECOND, left out on purpose.",
          [("sum by (instance) (rate(scanlogin_log_lines_dropped_total[$__rate_interval]))", "{{instance}} dropped"),
           ("sum by (instance) (rate(scanlogin_log_lines_sampled_out_total[$__rate_interval]))", "{{instance}} sampled")], "cps", ["ScanloginEventLoopLag"]),
    panel("Spans of traces",
          "exported: the collector has them. failed: it did not take them, the log says why. dropped: more than it takes: raise SCANLOGIN_OTLP_ONE_IN. Logins do not wait for any of it. At 0 without SCANLOGIN_OTLP_ENDPOINT.",
          rate_by("scanlogin_trace_spans_total", "result"), "cps", [], stack=True),
    panel("Event-loop lag",
          "How late the worker threads come back to their event loops, the latest of a hundred looks. Everything on that instance is as late. Up to 2 ms is the timer. One instance alone: it is busy, or its node is; all: more logins than they can carry.",
          quantiles("scanlogin_event_loop_lag_seconds", "instance", (0.99,)), "s", ["ScanloginEventLoopLag"], thresholds=steps((None, GREEN), (0.1, RED))),
    panel("Busiest worker thread",
          "The share of its time that it works. Near 1 it is at its limit, whatever the others do: more instances, or more threads where cores idle. Low beside a high lag: something else has the core.",
          [("max by (instance) (rate(scanlogin_runtime_busy_seconds_total[$__rate_interval]))", PER_INSTANCE)], "percentunit", ["ScanloginEventLoopLag"],
          thresholds=steps((None, GREEN), (0.9, RED))),
    panel("Tasks",
          "Alive on the worker threads: one or two for each socket and open connection. Rising while the sockets do not is a leak: report it with this graph.",
          [("sum by (instance) (scanlogin_runtime_tasks)", PER_INSTANCE)], "short", ["ScanloginEventLoopLag"]),
    panel("Tasks woken and waiting",
          "Woken by another thread and not run yet. Near zero; tens for longer than a burst mean that a thread cannot keep up.",
          [("sum by (instance) (scanlogin_runtime_queue)", PER_INSTANCE)], "short", ["ScanloginEventLoopLag"]),
    panel("Wake-ups",
          "How often the threads went to sleep for want of work. Each costs a few microseconds of CPU: thousands a second with few logins mean that something ticks.",
          [("sum by (instance) (rate(scanlogin_runtime_wakeups_total[$__rate_interval]))", PER_INSTANCE)], "cps", ["ScanloginEventLoopLag"]),
    panel("Open to key by instance, p99",
          "One instance above the others is short of CPU, all together is Redis.",
          quantiles("scanlogin_open_to_key_seconds", "instance", (0.99,)), "s", ["ScanloginRegistryBacklog", "ScanloginStoreSlow"]),
    panel("Request time by instance, p99",
          "As above, for the phones' side. Receipts that are held open lift it.",
          quantiles("scanlogin_http_request_seconds", "instance", (0.99,)), "s", ["ScanloginHttpErrors"]),
    panel("Server errors by instance",
          "One instance alone: drain it and keep its log. All: the store, or the token webhook.",
          [('sum by (instance) (rate(scanlogin_http_requests_total{status=~"5.."}[$__rate_interval]))', PER_INSTANCE)], "reqps", ["ScanloginHttpErrors"]),
    row("What the service calls itself"),
    panel("Calls of the token webhook, by result",
          "Everything but ok sends a phone away (login) or is tried again (revoked). unreachable and no_answer: its health. status: its secret. invalid: its answer. queue_full: it refuses revocations for long.",
          [('sum by (event, result) (rate(scanlogin_webhook_requests_total[$__rate_interval]))', "{{event}} {{result}}")], "reqps", ["ScanloginWebhookFailing"], stack=True),
    panel("Token webhook, p99",
          "The phone waits for it. It is given up after 3 s.",
          quantiles("scanlogin_webhook_seconds", "event", (0.99,)), "s", ["ScanloginWebhookFailing"]),
    panel("Tokens that nobody has acknowledged yet",
          "Of all instances. In step with the logins; a steady rise is a webhook that refuses to hear of revocations. At 100,000 no more tokens are made.",
          [("max(scanlogin_webhook_queue)", "waiting")], "short", ["ScanloginWebhookFailing"]),
    panel("Age of the app's key set",
          "Fetched every 5 minutes. Older: its endpoint fails, and a new key of the app is not accepted.",
          [("(time() - scanlogin_jwks_refreshed_timestamp_seconds) and scanlogin_jwks_refreshed_timestamp_seconds > 0", PER_INSTANCE)], "s", ["ScanloginKeySetStale"]),
    panel("Fetches of the app's key set, by result",
          "More than one in 5 minutes and instance: tokens name keys that are not in it, six times a minute at most.",
          rate_by("scanlogin_jwks_refreshes_total", "result"), "reqps", ["ScanloginKeySetStale"], stack=True),
    row("Identity"),
    panel("Uptime",
          "A saw tooth is a process that is killed or gives up: its exit code and last line say which.",
          [("time() - max by (instance) (process_start_time_seconds)", PER_INSTANCE)], "s", ["ScanloginInstanceDown"]),
    panel("Versions",
          "More than one for longer than a roll-out: it got stuck.",
          [("scanlogin_build_info", "")], "none", [], kind="table", minimum=None),
])

attacks = dashboard("scanlogin-attacks", "scanlogin: is somebody attacking?", "Refusals, scans that fail, races and denials.", [
    panel("Browsers refused, share",
          "Of all that tried. Above a few percent: the reasons below say who.",
          [("sum(rate(scanlogin_sockets_refused_total[$__rate_interval])) / (sum(rate(scanlogin_sockets_refused_total[$__rate_interval])) + sum(rate(scanlogin_sockets_opened_total[$__rate_interval])))", "refused")],
          "percentunit", ["ScanloginOriginRefused", "ScanloginClientsLimited"], kind="stat", width=6, height=5, maximum=1, decimals=1,
          thresholds=steps((None, GREEN), (0.05, YELLOW), (0.2, RED))),
    panel("Scans refused, share",
          "Of all scans and answers. Half of them is somebody who guesses, or an app release that builds its requests wrongly.",
          [('sum(rate(scanlogin_scans_total{result=~"unknown|conflict|unauthenticated|forbidden|limited|locked|crowded|mismatch|malformed"}[$__rate_interval])) / sum(rate(scanlogin_scans_total[$__rate_interval]))', "refused")],
          "percentunit", ["ScanloginScanAbuse", "ScanloginAppAuthFailing"], kind="stat", width=6, height=5, maximum=1, decimals=1,
          thresholds=steps((None, GREEN), (0.2, YELLOW), (0.5, RED))),
    panel("Denied, share",
          "Of the logins that a person decided. People deny what they did not ask for: a rise is a phishing campaign until proved otherwise.",
          [('sum(rate(scanlogin_logins_total{outcome="denied"}[$__rate_interval])) / sum(rate(scanlogin_logins_total{outcome=~"denied|delivered|undelivered"}[$__rate_interval]))', "denied")],
          "percentunit", ["ScanloginDenySpike"], kind="stat", width=6, height=5, maximum=1, decimals=1, thresholds=steps((None, GREEN), (0.02, YELLOW), (0.1, RED))),
    panel("Races per second",
          "Scans that came second, by another user. One code is seen by many people: relayed, or shown on a public screen.",
          [('sum(rate(scanlogin_scans_total{result="conflict"}[$__rate_interval]))', "conflicts")], "reqps", ["ScanloginScanConflicts"], kind="stat", width=6, height=5,
          decimals=2, thresholds=steps((None, GREEN), (0.05, YELLOW), (1, RED))),
    row("Browsers"),
    panel("Browsers refused, by reason",
          "origin: a page that is not listed, yours or somebody else's. host: a name we do not answer to, DNS rebinding on loopback. limited: one address floods, or a proxy is missing in SCANLOGIN_TRUSTED_PROXIES. protocol and handshake: scanners and broken clients. full, draining and store are not attacks.",
          rate_by("scanlogin_sockets_refused_total", "reason"), "reqps", ["ScanloginOriginRefused", "ScanloginClientsLimited"], stack=True),
    panel("Opened and never used",
          "Sockets opened against logins that a phone touched. Opened far above its usual multiple: somebody holds sockets to exhaust them. The limit per address is SCANLOGIN_CONNECTS_PER_MINUTE.",
          [("sum(rate(scanlogin_sockets_opened_total[$__rate_interval]))", "opened"),
           ('sum(rate(scanlogin_scans_total{result=~"approved|claimed"}[$__rate_interval]))', "scanned")], "reqps", ["ScanloginFull"]),
    panel("Resumes refused",
          "Somebody tries resume secrets, or browsers come back too late after a long outage. 256 bits are not guessed; a flood is only load.",
          [('sum by (result) (rate(scanlogin_resumes_total{result=~"refused|malformed"}[$__rate_interval]))', "{{result}}")], "reqps", ["ScanloginScanAbuse"]),
    panel("Clients that do not read",
          "Sockets that were cut because their client took nothing. A few are phones in tunnels; a steady rate from the hour of a release is a page that blocks, without one it is somebody who ties up buffers.",
          [("sum(rate(scanlogin_slow_clients_total[$__rate_interval]))", "cut")], "reqps", ["ScanloginClientsLimited"]),
    panel("Clients that break the rules",
          "Sockets that were closed for what their client sent. flood: more than 100 messages a minute. too_big: over 4 KiB. malformed: not our protocol. A release of your own page with a mistake, or somebody who tries.",
          rate_by("scanlogin_sockets_cut_total", "reason"), "reqps", ["ScanloginClientsLimited"]),
    panel("Open connections, by state",
          "TCP connections of the public port. head and silent far above their usual level: somebody holds connections without asking anything. socket: waiting browsers.",
          [('sum by (state) (scanlogin_connections{port="public"})', "{{state}}")], "short", ["ScanloginFull"], stack=True),
    panel("Connections ended by a bound",
          "slow_head, large_head, slow_reader: clients that take their time, on purpose at a steady rate. crowded: an address with more than SCANLOGIN_CONNECTIONS_PER_ADDRESS. silent: keep-alive that was not used, which is usual.",
          [('sum by (reason) (rate(scanlogin_connections_ended_total{port="public"}[$__rate_interval]))', "{{reason}}")], "reqps", ["ScanloginClientsLimited"]),
    panel("Logins whose browser is away",
          "away: sockets that were cut off, and polls between two questions; all come back or end within their time. ended: others needed their places, of which each instance has SCANLOGIN_MAX_WAITING. Somebody cuts off sockets to fill Redis, or a proxy is missing in SCANLOGIN_TRUSTED_PROXIES and all browsers share one address's quarter.",
          [("sum(scanlogin_detached_logins)", "away"),
           ("sum(rate(scanlogin_detached_ended_total[$__rate_interval]))", "ended a second")], "short", ["ScanloginFull"], width=24),
    panel("How logins end, other than well",
          "denied beside its usual level is the sign of phishing. cancelled and expired in step with opened: sockets that nobody meant to use.",
          [('sum by (outcome) (rate(scanlogin_logins_total{outcome=~"denied|expired|cancelled"}[$__rate_interval]))', "{{outcome}}")], "reqps", ["ScanloginDenySpike"], stack=True, width=24),
    row("Phones"),
    panel("Scans that fail, by result",
          "unknown: keys that do not exist, guessed or stale. unauthenticated: wrong or expired app tokens. forbidden: somebody else's claim. malformed: not our clients. limited: one user floods. mismatch: a number that is not the browser's; locked: nine numbers of one user were wrong within a day, which is a person before a code of somebody else's, or a guesser. crowded: more questions for one person than they can mean.",
          [('sum by (result) (rate(scanlogin_scans_total{result=~"unknown|unauthenticated|forbidden|malformed|limited|locked|crowded|mismatch"}[$__rate_interval]))', "{{result}}")],
          "reqps", ["ScanloginScanAbuse", "ScanloginAppAuthFailing"], stack=True),
    panel("Tokens refused, by reason",
          "What is wrong with the tokens of calls that were answered 401: app, a phone's; web, a browser's. expired: usual. revoked: web logins that are over, usual. issuer, audience, dates, subject, critical: the backend that makes them, or our settings. key, signature: a rotation without overlap, or somebody who makes tokens up. missing: scanners.",
          [("sum by (kind, reason) (rate(scanlogin_tokens_refused_total[$__rate_interval]))", "{{kind}} {{reason}}")], "reqps", ["ScanloginAppAuthFailing"], stack=True, width=24),
    panel("Races and repeats",
          "conflict: another user was first. repeated: the same user again, a phone on a bad network. Conflicts without repeats are not the network.",
          [('sum by (result) (rate(scanlogin_scans_total{result=~"conflict|repeated"}[$__rate_interval]))', "{{result}}")], "reqps", ["ScanloginScanConflicts"]),
    panel("Claimed, then",
          "What became of claims: confirmed, denied, or neither (the person saw a place that was not theirs and put the phone away). A growing gap is worth the same worry as denials.",
          [('sum(rate(scanlogin_scans_total{result="claimed"}[$__rate_interval]))', "claimed"),
           ('sum(rate(scanlogin_scans_total{result="confirmed"}[$__rate_interval]))', "confirmed"),
           ('sum(rate(scanlogin_scans_total{result="denied"}[$__rate_interval]))', "denied")], "reqps", ["ScanloginDenySpike"]),
    panel("Client errors by status",
          "401: app tokens or web tokens that do not verify. 403: origins and claims of others. 404: keys. 413, 415: not our clients. 429: limits at work.",
          [('sum by (status) (rate(scanlogin_http_requests_total{status=~"4.*"}[$__rate_interval]))', "{{status}}")], "reqps", ["ScanloginScanAbuse"], stack=True),
])

DASHBOARDS = {"logins": logins, "redis": redis, "instances": instances, "attacks": attacks}


def render(runbook=RUNBOOK):
    return {
        f"{name}.json": json.dumps(content, indent=2, ensure_ascii=False).replace(RUNBOOK, runbook) + "\n"
        for name, content in DASHBOARDS.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=HERE, help="where to write (default: beside this script)")
    parser.add_argument("--runbook-url", default=RUNBOOK, help="where your people read docs/runbook.md")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for file, text in render(arguments.runbook_url).items():
        (arguments.out / file).write_text(text, encoding="utf-8")
