"""Breaks one thing at a time in a copy, and demands that the check meant for it goes red, and names it."""

import importlib
import pathlib
import shutil
import tempfile

from check import execute, show

COPIED = ("helm", "dashboards", "docs", "tests/ops", "tests/it", "tests/fuzz", "src", "loadtest", "Dockerfile", ".dockerignore", "Cargo.toml", "Cargo.lock")

# check, file, what stands there, what to write instead, a word of the red line. An empty "what stands there" appends.
MUTANTS = [
    ("chart.lint", "helm/Chart.yaml", "version: 0.1.0\n", "version: one\n", "lint"),
    ("chart.renders", "helm/templates/deployment.yaml", "maxUnavailable: 0", "maxUnavailable: 1", "no pod is taken"),
    ("chart.renders", "helm/templates/deployment.yaml", "enableServiceLinks: false", "enableServiceLinks: true", "service links"),
    ("chart.renders", "helm/templates/deployment.yaml", "terminationGracePeriodSeconds: {{ include \"scanlogin.gracePeriod\" . }}", "terminationGracePeriodSeconds: 25", "outlasts"),
    ("chart.renders", "helm/templates/deployment.yaml", "path: /livez\n              port: admin\n            periodSeconds: 10", "path: /readyz\n              port: admin\n            periodSeconds: 10", "liveness"),
    ("chart.renders", "helm/templates/deployment.yaml", "mountPath: /run/secrets/scanlogin/{{ .name }}", "mountPath: /run/secrets/{{ .name }}", "mounted"),
    ("chart.renders", "helm/values.yaml", "confirm: required", "confirm: \"off\"", "confirmation"),
    ("chart.renders", "helm/values.yaml", "      podSelector:\n        matchLabels:\n          app.kubernetes.io/name: prometheus\n", "", "one Prometheus is named"),
    ("chart.renders", "helm/values.yaml", "    - namespaceSelector:\n        matchLabels:\n          kubernetes.io/metadata.name: monitoring\n", "    - namespaceSelector: {}\n", "whom the policy names"),
    ("chart.renders", "helm/templates/_helpers.tpl", "SCANLOGIN_ADMIN_TOKEN_FILE", "SCANLOGIN_REVOKE_TOKEN_FILE", "the admin token is asked for"),
    ("chart.kept", "helm/templates/admin-token.yaml", 'lookup "v1" "Secret"', 'lookup "v1" "ConfigMap"', "an upgrade keeps the token"),
    ("chart.manifests", "helm/templates/deployment.yaml", "imagePullPolicy:", "imagePullPolicies:", "imagePullPolicies"),
    ("chart.golden", "helm/templates/service.yaml", "appProtocol: http", "appProtocol: https", "golden"),
    ("chart.golden", "tests/ops/golden/full.yaml", "averageUtilization: 70", "averageUtilization: 71", "golden full"),
    ("chart.copied", "helm/dashboards/logins.json", "schemaVersion", "schemaversion", "logins.json"),
    ("chart.copied", "helm/rules/rules.yaml", "", "# later\n", "rules.yaml"),
    ("chart.variables", "helm/templates/configmap.yaml", "SCANLOGIN_MAX_WAITING", "SCANLOGIN_MAX_SOCKETS", "SCANLOGIN_MAX_SOCKETS"),
    ("chart.variables", "helm/templates/configmap.yaml", "  SCANLOGIN_LOG_LINES_PER_SECOND: {{ .logLinesPerSecond | int64 | quote }}\n", "", "SCANLOGIN_LOG_LINES_PER_SECOND"),
    ("chart.refusals", "helm/values.schema.json", '"required"\n', '"required",\n            "maybe"\n', "confirm=maybe"),
    ("chart.refusals", "helm/templates/_helpers.tpl", "ne (len $token) 1", "gt (len $token) 2", "token"),
    ("chart.schema_covers", "helm/values.yaml", "replicaCount: 2", "replicaCount: 2\n# More.\nreplicas: 3", "differ"),
    ("chart.commented", "helm/values.yaml", "# Number of pods; ignored where autoscaling.enabled. Two is the least that survives a node's drain.\n", "\n", "comment"),
    ("chart.notes", "helm/templates/NOTES.txt", "Its restart logs everybody out", "Enjoy", "notes of trial-redis"),
    ("chart.security", "helm/templates/deployment.yaml", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "CKV_K8S_20"),
    ("dashboards.generated", "dashboards/redis.json", '"refresh": "30s"', '"refresh": "5s"', "redis.json"),
    ("dashboards.questions", "dashboards/redis.json", "is Redis the problem?", "Redis", "question"),
    ("dashboards.identity", "dashboards/redis.json", '"id": 2,', '"id": 1,', "ids are unique"),
    ("dashboards.identity", "dashboards/redis.json", '"uid": "scanlogin-redis"', '"uid": "scanlogin-logins"', "uids"),
    ("dashboards.variables", "dashboards/redis.json", '"uid": "${datasource}"', '"uid": "prometheus"', "data source"),
    ("dashboards.variables", "dashboards/redis.json", "instance=~\\\"$instance\\\"", "instance=~\\\".*\\\"", "ignores $instance"),
    ("dashboards.explained", "dashboards/redis.json", '"unit": "reqps"', '"unit": ""', "unit"),
    ("dashboards.linked", "dashboards/redis.json", "runbook.md#scanloginstoreslow", "runbook.md#slow", "no runbook entry"),
    ("dashboards.grid", "dashboards/redis.json", '"x": 6,', '"x": 5,', "lies on"),
    ("dashboards.expressions", "dashboards/redis.json", "avg(scanlogin_feed_connected", "avg((scanlogin_feed_connected", "parse"),
    ("dashboards.expressions", "dashboards/redis.json", "scanlogin_feed_rescued_total", "scanlogin_feed_saved_total", "scanlogin_feed_saved_total"),
    ("dashboards.expressions", "dashboards/redis.json", "reason=\\\"store\\\"", "reason=\\\"redis\\\"", "never redis"),
    ("dashboards.expressions", "dashboards/redis.json", "sum by (kind)", "sum by (error)", "label error"),
    ("dashboards.shown", "dashboards/redis.json", "scanlogin_notifications_total", "up", "scanlogin_notifications_total"),
    ("alerts.parsed", "dashboards/rules.yaml", "scanlogin_feed_connected == 0", "scanlogin_feed_connected === 0", "promtool"),
    ("alerts.parsed", "dashboards/rules.yaml", "scanlogin_draining == 1", "scanlogin_drains == 1", "scanlogin_drains"),
    ("alerts.parsed", "dashboards/rules.yaml", 'outcome="denied"', 'outcome="refused"', "never refused"),
    ("alerts.runbook", "docs/runbook.md", "### ScanloginFull", "### ScanloginCrowded", "ScanloginFull"),
    ("alerts.runbook", "docs/runbook.md", "", "\n### ScanloginTired\n", "ScanloginTired"),
    ("alerts.runbook", "docs/runbook.md", "**Do.** As [ScanloginNearCapacity]", "As [ScanloginNearCapacity]", "lacks **Do.**"),
    ("alerts.runbook", "dashboards/rules.yaml", "runbook.md#scanloginabsent", "runbook.md#scanloginfull", "leads to"),
    ("alerts.links", "docs/runbook.md", "operations.md#proxies", "operations.md#proxy", "operations.md#proxy"),
    ("alerts.cases", "dashboards/rules.yaml", "scanlogin_registry_mailbox > 1000", "scanlogin_registry_mailbox > 9000", "ScanloginRegistryBacklog: it stays full"),
    ("alerts.cases", "dashboards/rules.yaml", "(rate(scanlogin_event_loop_lag_seconds_bucket[5m]))) > 0.1", "(rate(scanlogin_event_loop_lag_seconds_bucket[5m]))) > 5", "ScanloginEventLoopLag"),
    ("alerts.cases", "dashboards/rules.yaml", "(abs(scanlogin_store_clock_offset_seconds)[5m:30s])", "(scanlogin_store_clock_offset_seconds[5m])", "ScanloginClocksApart"),
    ("alerts.cases", "dashboards/rules.yaml", "0.8 * scanlogin_max_waiting_sockets", "0.9 * scanlogin_max_waiting_sockets", "ScanloginNearCapacity"),
    ("alerts.cases", "dashboards/rules.yaml", "expr: scanlogin_draining == 1\n        for: 5m", "expr: scanlogin_draining == 1\n        for: 0m", "ScanloginDrainStuck"),
    ("alerts.cases", "tests/ops/alerts.yaml", "    a missed scrape:\n", "    a scrape:\n      labels: {}\n      fires: [1]\n", "ScanloginInstanceDown"),
    ("deploy.dockerfile", "Dockerfile", "WORKDIR /build", "WORKDIR build", "hadolint"),
    ("deploy.dockerfile", "Dockerfile", "USER 65532:65532\n", "", "user"),
    ("deploy.dockerfile", ".dockerignore", "*\n!Cargo.toml", "!Cargo.toml", "allow-list"),
    ("deploy.dockerfile", "Dockerfile", "rust:1.91-bookworm", "rust:1.90-bookworm", "toolchain"),
    ("deploy.build_context", ".dockerignore", "!src\n", "!src/main.rs\n", "compiles"),
    ("deploy.build_context", ".dockerignore", "!src\n", "!src\n!docs\n", "nothing else"),
    ("deploy.final_stage", "Dockerfile", 'ENTRYPOINT ["/usr/local/bin/scanlogin"]', 'ENTRYPOINT ["/usr/local/bin/scanlogin", "--nonsense"]', "starts on a read-only root"),
    ("deploy.final_stage", "Dockerfile", "USER 65532:65532", "USER 0:0", "capability"),
    ("deploy.health_check", "Dockerfile", "GET /livez", "GET /health", "on 200"),
    ("deploy.health_check", "Dockerfile", "exit(!healthy()", "exit(healthy()", "on 200"),
    ("deploy.compose", "docs/compose.yaml", "./nginx.conf", "./nginx.cfg", "nginx.cfg"),
    ("deploy.compose", "docs/compose.yaml", "172.31.250.0/24\n    SCANLOGIN_APP", "0.0.0.0/0\n    SCANLOGIN_APP", "trusts"),
    ("deploy.compose", "docs/compose.yaml", "127.0.0.1:9090:9090", "9090:9090", "publishes"),
    ("deploy.compose", "docs/compose.yaml", "SCANLOGIN_PUBLIC_URL", "SCANLOGIN_URL", "SCANLOGIN_URL"),
    ("deploy.compose_parts", "docs/compose.yaml", "scrape_interval: 5s\n        eval", "scrape_intervals: 5s\n        eval", "promtool"),
    ("deploy.compose_parts", "docs/compose.yaml", "scanlogin-b:8081", "scanlogin-c:8081", "scraped"),
    ("deploy.compose_parts", "docs/compose.yaml", "$$__rate_interval", "$__rate_interval", "unmeant"),
    ("deploy.nginx", "docs/nginx.conf", "least_conn;", "least_connections;", "nginx -t"),
    ("deploy.nginx", "docs/nginx.conf", "proxy_read_timeout 90s", "proxy_read_timeout 60s", "pings"),
    ("deploy.unit", "docs/scanlogin.service", "ProtectSystem=strict", "ProtectSystem=very", "verify"),
    ("deploy.unit", "docs/scanlogin.service", "TimeoutStopSec=45", "TimeoutStopSec=10", "drain"),
    ("deploy.unit", "docs/scanlogin.service", "DynamicUser=yes\n", "User=root\n", "security"),
    ("deploy.variables", "docs/operations.md", "SCANLOGIN_MAX_WAITING", "SCANLOGIN_MAXIMUM", "SCANLOGIN_MAXIMUM"),
]


def verdict(red, word):
    if not red:
        return "it stayed green"
    return None if any(word in line for line in red) else "red without a word of it:\n" + "\n".join(red)


def run(root):
    results = []
    for check, file, old, new, word in MUTANTS:
        group, name = check.split(".")
        what = f"{check} notices {new.strip().splitlines()[0] if new.strip() else 'no ' + old.strip().splitlines()[0]!r} in {file}"
        with tempfile.TemporaryDirectory() as directory:
            copy = pathlib.Path(directory)
            for entry in COPIED:
                if (root / entry).is_dir():
                    shutil.copytree(root / entry, copy / entry, ignore=shutil.ignore_patterns("__pycache__", "target", "node_modules"))
                else:
                    (copy / entry).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(root / entry, copy / entry)
            text = (copy / file).read_text()
            if old and old not in text:
                wrong = f"{old!r} is not there any more"
            else:
                (copy / file).write_text(text.replace(old, new) if old else text + new)
                found = execute(getattr(importlib.import_module(group), name), copy)
                wrong = verdict([f"{label} {problem}" for label, problem in found if problem], word)
        results.append((what, wrong))
        show(*results[-1])
    return results
