"""The Helm chart, rendered by a real helm for every value case."""

import base64
import difflib
import filecmp
import functools
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading

import kubernetes_validate
import yaml

import contract

KUBERNETES = ("1.30", "1.35")  # the oldest that Chart.yaml admits and the newest that helm brings
# Objects of operators that Kubernetes' own schemas do not hold; their shape is in the golden files.
CUSTOM = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
}
HERE = pathlib.Path(__file__).resolve().parent


def helm(*arguments):
    home = tempfile.gettempdir()
    environment = {**os.environ, "HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home, "HELM_DATA_HOME": home}
    return subprocess.run([os.environ["HELM"], *arguments], capture_output=True, text=True, env=environment)


def cases(root):
    return sorted((root / "helm/ci").glob("*-values.yaml"))


def case_name(path):
    return path.name.removesuffix("-values.yaml")


@functools.cache
def render(root, case):
    result = helm("template", "rel", str(root / "helm"), "--namespace", "login", "--values", str(case))
    if result.returncode:
        raise RuntimeError(result.stderr)
    return result.stdout


def objects(root, case):
    return [document for document in yaml.safe_load_all(render(root, case)) if document]


def golden_text(text):
    """Without what is random, and what is compared elsewhere, byte for byte: the dashboards and the rules."""
    text = re.sub(r"(kind: Secret\n(?:.*\n)*?data:\n  \S+: )\"\w{60,}={0,2}\"", r'\1"(made anew)"', text)
    text = re.sub(r"(  scanlogin-[a-z]+\.json): \|-\n(?:    .*\n|\n)+", r"\1: (dashboards/)\n", text)
    return re.sub(r"(kind: PrometheusRule\n(?:.*\n)*?spec:\n)(?:  .*\n|\n)+", r"\1  (dashboards/rules.yaml)\n", text)


def update(root):
    golden = root / "tests/ops/golden"
    shutil.rmtree(golden, ignore_errors=True)
    golden.mkdir(parents=True)
    for source, copy in copies(root):
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
    render.cache_clear()
    for case in cases(root):
        (golden / f"{case_name(case)}.yaml").write_text(golden_text(render(root, case)))


def copies(root):
    for source in sorted((root / "dashboards").glob("*.json")):
        yield source, root / "helm/dashboards" / source.name
    yield root / "dashboards/rules.yaml", root / "helm/rules/rules.yaml"


def lint(root):
    for case in cases(root):
        result = helm("lint", "--strict", str(root / "helm"), "--values", str(case))
        yield f"lint {case_name(case)}", result.stdout + result.stderr if result.returncode else None


def renders(root):
    """A few facts that a golden file would let slip if nobody read its diff."""
    for case in cases(root):
        found = objects(root, case)
        deployment = next(o for o in found if o["kind"] == "Deployment" and not o["metadata"]["name"].endswith("-redis"))
        config = next(o for o in found if o["kind"] == "ConfigMap" and "SCANLOGIN_LISTEN" in o["data"])["data"]
        pod = deployment["spec"]["template"]["spec"]
        container = pod["containers"][0]
        rolling = deployment["spec"]["strategy"]["rollingUpdate"]
        least = int(config["SCANLOGIN_DRAIN_SECONDS"]) + container["lifecycle"]["preStop"]["sleep"]["seconds"]
        mounted = {
            f"{mount['mountPath']}/{item['path']}"
            for mount in container["volumeMounts"] for volume in pod["volumes"] if volume["name"] == mount["name"]
            for item in volume["secret"]["items"]
        }
        facts = {
            "no pod is taken before its successor is ready": rolling["maxUnavailable"] == 0,
            "the grace period outlasts preStop and drain": pod["terminationGracePeriodSeconds"] > least,
            "no service links": pod["enableServiceLinks"] is False,
            "no token": pod["automountServiceAccountToken"] is False,
            "listens beyond loopback": config["SCANLOGIN_LISTEN"] == "0.0.0.0:8080" and config["SCANLOGIN_ADMIN_LISTEN"] == "0.0.0.0:8081",
            "liveness asks /livez only": container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "admin"},
            "readiness asks /readyz": container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"},
            "every named file is mounted": {e["value"] for e in container["env"]} == mounted,
            "no Secret is made but the admin token": made_secrets(found) == ([] if case_name(case) == "full" else [f"{deployment['metadata']['name']}-admin-token"]),
            "the admin token is asked for": any(e["name"] == "SCANLOGIN_ADMIN_TOKEN_FILE" for e in container["env"]),
            "the admin port is for whom the policy names": all(named(peer) for peer in admin_peers(found, deployment)),
            "the pod restarts with its configuration": "checksum/config" in deployment["spec"]["template"]["metadata"]["annotations"],
            "the image names its user": pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0,
            "the public Service does not carry the admin port": all(
                [p["name"] for p in o["spec"]["ports"]] == ["http"]
                for o in found if o["kind"] == "Service" and o["metadata"]["name"] == deployment["metadata"]["name"]),
        }
        wrong = [fact for fact, holds in facts.items() if not holds]
        yield f"facts of {case_name(case)}", ", ".join(wrong) or None
    confirm = yaml.safe_load((root / "helm/values.yaml").read_text())["config"]["confirm"]
    peers = yaml.safe_load((root / "helm/values.yaml").read_text())["networkPolicy"]["adminFrom"]
    by_name = [{"namespaceSelector", "podSelector"} == set(peer) and named(peer) for peer in peers]
    yield "one Prometheus is named by default, by namespace and label", None if by_name == [True] else f"{peers}"
    yield "confirmation is required by default", None if confirm == "required" else f"it is {confirm}"


def made_secrets(found):
    """Their names; each must hold one value that is long enough for the service."""
    made = [o for o in found if o["kind"] == "Secret"]
    assert all([len(base64.b64decode(value)) >= 32 for value in o["data"].values()] == [True] for o in made), made
    return [o["metadata"]["name"] for o in made]


def admin_peers(found, deployment):
    """Who the NetworkPolicy lets at the admin port; a rule without `from` is everybody."""
    policy = next(o for o in found if o["kind"] == "NetworkPolicy" and o["metadata"]["name"] == deployment["metadata"]["name"])
    rules = [rule for rule in policy["spec"]["ingress"] if any(port["port"] == "admin" for port in rule["ports"])]
    return [peer for rule in rules for peer in rule.get("from", [{}])]


def named(peer):
    """Whether it is some and not all: an empty selector selects everything."""
    selectors = [peer[kind] for kind in ("namespaceSelector", "podSelector") if kind in peer]
    return "ipBlock" in peer or (bool(selectors) and all(selector for selector in selectors))


def plural(kind):
    name = kind.lower()
    return name[:-1] + "ies" if name.endswith("y") else name + "s"


class Cluster(http.server.BaseHTTPRequestHandler):
    """As much of a Kubernetes API as helm asks before an upgrade: which kinds there are, and what became of a Secret."""

    kinds = ()  # (apiVersion, kind)
    secret = None

    def do_GET(self):
        path = self.path.split("?")[0]
        versions = {version for version, _ in self.kinds} - {"v1"}
        groups = [
            {"name": version.split("/")[0], "versions": [{"groupVersion": version, "version": version.split("/")[1]}]}
            for version in sorted(versions)]
        answers = {
            "/version": {"major": "1", "minor": "35", "gitVersion": "v1.35.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
        }
        for version in versions | {"v1"}:
            kinds = sorted(kind for of, kind in self.kinds if of == version)
            answers["/api/v1" if version == "v1" else f"/apis/{version}"] = {"kind": "APIResourceList", "groupVersion": version, "resources": [
                {"name": plural(kind), "namespaced": True, "kind": kind, "verbs": ["get", "list"]} for kind in kinds]}
        if self.secret:
            answers[f"/api/v1/namespaces/login/secrets/{self.secret['metadata']['name']}"] = self.secret
        found = answers.get(path)
        body = json.dumps(found or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


def kept(root):
    """An upgrade keeps the admin token that an installation has made."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def token():
        result = helm(
            "template", "rel", str(root / "helm"), "--namespace", "login", "--values", str(root / "helm/ci/minimal-values.yaml"),
            "--dry-run=server", "--disable-openapi-validation", "--kubeconfig", os.devnull, "--kube-apiserver", f"http://127.0.0.1:{server.server_port}")
        if result.returncode:
            raise RuntimeError(result.stderr)
        return next(o for o in yaml.safe_load_all(result.stdout) if o and o["kind"] == "Secret")

    try:
        Cluster.kinds = {(o["apiVersion"], o["kind"]) for o in objects(root, root / "helm/ci/minimal-values.yaml")}
        Cluster.secret = None
        first, other = token(), token()
        yield "an installation makes a token of its own", None if first["data"] != other["data"] else "two are the same"
        # As an installation marks what is its own.
        first["metadata"]["annotations"] = {"meta.helm.sh/release-name": "rel", "meta.helm.sh/release-namespace": "login"}
        Cluster.secret = first
        again = token()
        yield "an upgrade keeps the token", None if again["data"] == first["data"] else f"{first['data']} became {again['data']}"
    finally:
        server.shutdown()
        server.server_close()


def manifests(root):
    """Kubernetes' own schemas, strict: an unknown field is an error."""
    for case in cases(root):
        wrong = []
        for document in objects(root, case):
            if (document["apiVersion"], document["kind"]) in CUSTOM:
                continue
            for version in KUBERNETES:
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                except Exception as error:  # the library raises several unrelated types; each is a refusal
                    wrong.append(f"{document['kind']} {document['metadata']['name']} ({version}): {error}")
        yield f"manifests of {case_name(case)}", "\n".join(wrong) or None


def golden(root):
    directory = root / "tests/ops/golden"
    names = {case_name(case) for case in cases(root)}
    stale = {path.stem for path in directory.glob("*.yaml")} ^ names
    yield "one golden file per case", f"{sorted(stale)}: tests/ops/run --update" if stale else None
    for case in cases(root):
        path = directory / f"{case_name(case)}.yaml"
        if not path.exists():
            continue
        diff = list(difflib.unified_diff(
            path.read_text().splitlines(), golden_text(render(root, case)).splitlines(), "golden", "rendered", lineterm="", n=2))
        yield f"golden {case_name(case)}", "\n".join(diff[:60] + ["tests/ops/run --update writes it anew"]) if diff else None


def copied(root):
    expected = set()
    for source, copy in copies(root):
        expected.add(copy)
        same = copy.exists() and filecmp.cmp(source, copy, shallow=False)
        yield f"{copy.relative_to(root)} is a copy", None if same else f"differs from {source.relative_to(root)}: tests/ops/run --update"
    extra = {p for d in ("dashboards", "rules") for p in (root / "helm" / d).iterdir()} - expected
    yield "nothing else was copied", ", ".join(map(str, sorted(extra))) or None


def variables(root):
    """The names that the service would refuse as unknown, and stop."""
    seen = set()
    for case in cases(root):
        found = objects(root, case)
        names = set()
        for document in found:
            if document["kind"] == "ConfigMap":
                names |= {name for name in document["data"] if name.isupper()}
            if document["kind"] == "Deployment":
                for container in document["spec"]["template"]["spec"]["containers"]:
                    names |= {entry["name"] for entry in container.get("env", [])}
        seen |= names
        unknown = names - contract.VARIABLES
        yield f"variables of {case_name(case)}", f"unknown: {sorted(unknown)}" if unknown else None
    # DEMO is for one process on loopback.
    never = {v for v in contract.VARIABLES - seen - {"SCANLOGIN_DEMO"} if not v.removesuffix("_FILE") in seen and v + "_FILE" not in seen}
    yield "every variable can be set", f"no case sets {sorted(never)}" if never else None


# What the schema or the templates must refuse, each beside the minimal case: (set, a word of the message).
REFUSED = [
    ("unknown=1", "unknown"),
    ("config.unknown=1", "unknown"),
    ("replicaCount=0", "replicaCount"),
    ("replicaCount=two", "replicaCount"),
    ("config.confirm=maybe", "confirm"),
    ("config.confirm=", "confirm"),
    ("config.deliver=cookie", "deliver"),
    ("config.deliver=ticket", "allowedOrigins"),
    ("config.deliver=ticket,config.allowedOrigins={*}", "allowedOrigins"),
    ("config.match=sometimes", "match"),
    ("config.confirm=off,config.match=always", "config.match needs config.confirm=required"),
    ("config.claimsPerUser=-1", "claimsPerUser"),
    ("config.publicUrl=login.example.com", "publicUrl"),
    ("config.publicUrl=https://login.example.com/#x", "publicUrl"),
    ("config.allowedOrigins={https://www.example.com/path}", "allowedOrigins"),
    ("config.allowedOrigins={https://*.example.com}", "allowedOrigins"),
    ("config.allowedOrigins={chrome-extension://*}", "allowedOrigins"),
    ("config.allowedOrigins={capacitor://localhost/}", "allowedOrigins"),
    ("config.trustedProxies={10.0.0.0/33}", "trustedProxies"),
    ("config.trustedProxies={nginx}", "trustedProxies"),
    ("config.proxyHeader=x-real-ip", "proxyHeader"),
    ("config.waitSeconds=0", "waitSeconds"),
    ("config.waitSeconds=901", "waitSeconds"),
    ("config.rotateSeconds=3", "rotateSeconds"),
    ("config.rotateSeconds=121", "rotateSeconds"),
    ("config.waitSeconds=900,config.rotateSeconds=20", "32 codes"),
    ("config.resumeSeconds=301", "resumeSeconds"),
    ("config.maxWaiting=0", "maxWaiting"),
    ("config.connectsPerMinute=-1", "connectsPerMinute"),
    ("config.workers=0", "workers"),
    ("config.logFormat=xml", "logFormat"),
    ("config.logLinesPerSecond=-1", "logLinesPerSecond"),
    ("config.otlp.endpoint=collector:4318", "endpoint"),
    ("config.otlp.oneIn=0", "oneIn"),
    ("token.ttlSeconds=59", "ttlSeconds"),
    ("token.issuer=", "issuer"),
    ("appJwt.jwksUrl=http://app.example.com/jwks", "jwksUrl"),
    ("appJwt.jwksUrl=https://app.example.com/jwks", "exactly one of appJwt"),
    ("appJwt.secret.existingSecret=", "exactly one of appJwt"),
    ("appJwt.secret.value=hunter2", "value"),
    ("token.secret.existingSecret=", "exactly one of token"),
    ("token.privateKey.existingSecret=other", "exactly one of token"),
    ("token.secret.existingSecret=,token.webhook.url=https://t.example.com/", "go together"),
    ("token.secret.existingSecret=,token.webhook.url=https://t.example.com/,token.webhook.existingSecret=hook,"
     "token.previousSecret.existingSecret=before", "the webhook's tokens are its own"),
    ("appJwt.previousSecret.value=hunter2", "value"),
    ("adminToken.value=hunter2", "value"),
    ("adminToken.existingSecret=Not_A_Name", "existingSecret"),
    ("redis.url=redis://:secret@redis:6379", "url"),
    ("redis.prefix=a{b}", "prefix"),
    ("redis.existingSecret=", "embedded one"),
    ("trialRedis.enabled=true", "embedded one"),
    ("redis.existingSecret=Not_A_Name", "existingSecret"),
    ("redis.ports={70000}", "ports"),
    ("redis.tls.existingSecret=tls,redis.tls.certKey=tls.crt", "go together"),
    ("image.digest=sha256:abc", "digest"),
    ("image.pullPolicy=Sometimes", "pullPolicy"),
    ("service.type=ExternalName", "type"),
    ("service.port=0", "port"),
    ("ingress.enabled=true", "ingress.hosts"),
    ("ingress.hosts={https://login.example.com}", "hosts"),
    ("gateway.enabled=true", "parentRefs"),
    ("autoscaling.enabled=true,autoscaling.minReplicas=11", "above"),
    ("autoscaling.enabled=true,autoscaling.targetCPUUtilizationPercentage=0", "needs"),
    ("podDisruptionBudget.maxUnavailable=0", "maxUnavailable"),
    ("terminationGracePeriodSeconds=25", "must be above"),
    ("preStopSeconds=0", "preStopSeconds"),
    ("maxSurge=0", "maxSurge"),
    ("securityContext.runAsUser=0", "runAsUser"),
    ("resources.limits.memory=lots", "memory"),
    ("resources.limits.gpu=1", "gpu"),
    ("monitoring.serviceMonitor.enabled=true,monitoring.podMonitor.enabled=true", "twice"),
    ("monitoring.serviceMonitor.intervalSeconds=0", "intervalSeconds"),
    ("monitoring.runbookUrl=wiki", "runbookUrl"),
]


def refusals(root):
    minimal = root / "helm/ci/minimal-values.yaml"
    for setting, word in REFUSED:
        result = helm("template", "rel", str(root / "helm"), "--namespace", "login", "--values", str(minimal), "--set", setting)
        if result.returncode == 0:
            wrong = "it was accepted"
        elif word not in result.stderr:
            wrong = f"refused without a word of {word!r}: {result.stderr}"
        else:
            wrong = None
        yield f"refuses {setting}", wrong


def schema_covers(root):
    """Every value has its place in the schema, every object there is closed, and the other way round."""
    values = yaml.safe_load((root / "helm/values.yaml").read_text())
    schema = json.loads((root / "helm/values.schema.json").read_text())
    wrong = []

    def resolve(node):
        return schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node

    def walk(path, value, node):
        node = resolve(node)
        if node.get("type") != "object" or "properties" not in node:
            return
        if node.get("additionalProperties") is not False:
            wrong.append(f"{path or 'the top'} admits any property")
        if not isinstance(value, dict):
            return
        # Resources are a choice: cpu, memory and storage need no default each.
        known = set(node["properties"]) - ({"global"} if not path else set())
        if set(value) - known or (known - set(value) and "resources" not in path):
            wrong.append(f"{path or 'the top'}: values and schema differ in {sorted(set(value) ^ known)}")
        for key, member in value.items():
            if key in node["properties"]:
                walk(f"{path}.{key}".lstrip("."), member, node["properties"][key])

    walk("", values, schema)
    yield "values and schema name the same things", "\n".join(wrong) or None


def commented(root):
    """Each value of values.yaml has a comment above it, except inside a value that is one thing (resources)."""
    lines = (root / "helm/values.yaml").read_text().splitlines()
    bare = []
    for number, line in enumerate(lines):
        key = re.match(r"( *)([A-Za-z]+):(.*)$", line)
        if not key or key.group(2) in ("requests", "limits"):
            continue
        above = lines[number - 1].strip() if number else ""
        # A key that only opens a block is explained by its members.
        if not above.startswith("#") and key.group(3).strip():
            bare.append(f"{number + 1}: {line}")
    yield "every value has a comment", "\n".join(bare) or None


def notes(root):
    """NOTES.txt is rendered on install only; a dry run without a cluster shows it."""
    expected = {
        "minimal": ["rollout status deployment/rel-scanlogin", "wss://login.example.com/ws", "Nothing scrapes",
                    "get secret rel-scanlogin-admin-token -o jsonpath='{.data.admin-token}'"],
        "trial-redis": ["app.kubernetes.io/name: prometheus", "Its restart logs everybody out", "config.publicUrl is empty", "config.confirm is off"],
        "full": ["deployment/login", "get secret operators -o jsonpath='{.data.revoke}'"],
    }
    for name, phrases in expected.items():
        result = helm("install", "rel", str(root / "helm"), "--namespace", "login", "--dry-run=client", "--values", str(root / f"helm/ci/{name}-values.yaml"))
        text = result.stdout.rsplit("NOTES:", 1)[-1]
        missing = [phrase for phrase in phrases if phrase not in text]
        yield f"notes of {name}", f"{missing} not in: {text}{result.stderr}" if missing else None


def scan(framework, *arguments):
    """checkov's findings and summary. Each finding is fixed or has its reason in checkov-skips.yaml; no reason is stale."""
    result = subprocess.run(
        [os.environ["CHECKOV"], *map(str, arguments), "--framework", framework, "--compact", "--quiet", "--skip-download", "--output", "json"],
        capture_output=True, text=True)
    outcome = json.loads(result.stdout)
    skips = yaml.safe_load((HERE / "checkov-skips.yaml").read_text())
    mine = [skip for skip in skips if skip["check"].startswith({"kubernetes": "CKV_K8S", "dockerfile": "CKV_DOCKER"}[framework])]
    used = []
    for finding in outcome.get("results", {}).get("failed_checks", []):
        skip = next((s for s in mine if s["check"] == finding["check_id"] and re.search(s["resource"], finding["resource"])), None)
        if skip:
            used.append(skip)
        else:
            yield f"security {finding['check_id']} {finding['resource']}", f"{finding['check_name']} in {finding['file_path']}"
    stale = [skip["check"] for skip in mine if skip not in used]
    yield f"every skipped {framework} finding still occurs", f"{stale} do not" if stale else None
    summary = outcome.get("summary", outcome)
    # A scanner that found nothing to look at has no findings either.
    enough = summary["passed"] > 20 * len([a for a in arguments if not str(a).startswith("--")]) and not summary["parsing_errors"]
    yield f"security scan of {framework}", None if enough else f"it saw too little: {summary}"


def security(root):
    with tempfile.TemporaryDirectory() as directory:
        for case in cases(root):
            (pathlib.Path(directory) / f"{case_name(case)}.yaml").write_text(render(root, case))
        yield from scan("kubernetes", "--directory", directory)


CHECKS = [lint, renders, kept, manifests, golden, copied, variables, refusals, schema_covers, commented, notes, security]
