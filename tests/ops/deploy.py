"""Image, compose file, proxy and unit: as far as they can be judged without a container engine."""

import http.server
import ipaddress
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import yaml

import contract
from chart import scan


HOME = pathlib.Path(__file__).resolve().parent.parent.parent


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)


def failure(result):
    return None if result.returncode == 0 else result.stdout + result.stderr


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|m)?", str(text)).groups()
    return int(number) * (60 if unit == "m" else 1)


def dockerfile(root):
    path = root / "Dockerfile"
    yield "hadolint", failure(run(os.environ["HADOLINT"], "--failure-threshold", "style", path))
    yield from scan("dockerfile", "--file", path)
    final = re.split(r"^FROM ", path.read_text(), flags=re.M)[-1]
    user = re.search(r"^USER (\d+):(\d+)$", final, flags=re.M)
    facts = {
        "a number as user, not root": bool(user) and int(user.group(1)) > 0,
        "a health check": "HEALTHCHECK" in final,
        "labels": "org.opencontainers.image.version" in final,
        "listens beyond loopback": "SCANLOGIN_LISTEN=0.0.0.0:8080" in final and "SCANLOGIN_ADMIN_LISTEN=0.0.0.0:8081" in final,
        "locked dependencies": "--locked" in path.read_text(),
    }
    yield "facts of the Dockerfile", ", ".join(fact for fact, holds in facts.items() if not holds) or None
    wanted = re.search(r'^rust-version = "([\d.]+)"', (root / "Cargo.toml").read_text(), flags=re.M).group(1)
    given = re.search(r"^ARG RUST_IMAGE=.*:([\d.]+)-", path.read_text(), flags=re.M).group(1)
    yield "the image's toolchain is the one that Cargo.toml asks for", None if given == wanted else f"{given}, not {wanted}"
    ignored = [line for line in (root / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    yield ".dockerignore is an allow-list", None if ignored[0] == "*" else f"begins with {ignored[0]}"


def admitted(root):
    """The files that .dockerignore lets in: of its lines the last that matches decides."""
    rules = []
    for line in (root / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
            rules.append((line.startswith("!"), re.compile(f"{pattern}(/.*)?")))
    for directory, folders, files in os.walk(root):
        # Large, and let in by no rule.
        folders[:] = [name for name in folders if name not in ("target", "node_modules", ".git", ".tools", "results")]
        for name in sorted(str((pathlib.Path(directory) / file).relative_to(root)) for file in files):
            verdicts = [lets_in for lets_in, pattern in rules if pattern.fullmatch(name)]
            if verdicts and verdicts[-1]:
                yield name


def build_context(root):
    """What .dockerignore admits is enough to build, as `COPY . .` and the next line of the Dockerfile would have it."""
    with tempfile.TemporaryDirectory() as directory:
        context = pathlib.Path(directory)
        names = list(admitted(root))
        for name in names:
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, context / name)
        stray = [name for name in names if name.startswith(("docs/", "helm/", "dashboards/", "tests/browser/", "tests/ops/"))]
        yield "nothing else is in the image's context", ", ".join(stray) or None
        # The project's own target: its dependencies are built there. Checked, not built: what is missing shows as well.
        result = run("cargo", "check", "--locked", "--offline", "--package", "scanlogin", "--bin", "scanlogin",
                     cwd=context, env={**os.environ, "CARGO_TARGET_DIR": str(HOME / "target"),
                                       # As the image is built. Said, so that the next build here asks git again.
                                       "REVISION": "unknown"})
        yield f"the service compiles from the {len(names)} files of the image's context", failure(result)


def final_stage(root):
    """The Dockerfile's last stage by hand: the binary, its libraries and nothing else, read-only, as its user."""
    final = re.split(r"^FROM ", (root / "Dockerfile").read_text(), flags=re.M)[-1]
    user = re.search(r"^USER (\S+)$", final, flags=re.M).group(1)
    entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", final, flags=re.M).group(1))
    check = json.loads(re.search(r"HEALTHCHECK .* CMD (.*)$", final, flags=re.M).group(1))
    binary = HOME / "target/debug/scanlogin"
    privileged = [] if os.geteuid() == 0 else ["sudo"]
    with tempfile.TemporaryDirectory() as directory:
        image = pathlib.Path(directory) / "root"
        source = re.search(r"^COPY <<'EOF' /probe/main\.rs\n(.*?)^EOF$", (root / "Dockerfile").read_text(), flags=re.M | re.S).group(1)
        (pathlib.Path(directory) / "main.rs").write_text(source)
        probe = pathlib.Path(directory) / "livez"
        run("rustc", "--edition", "2021", "-o", probe, pathlib.Path(directory) / "main.rs")
        for program, place in ((binary, entry[0]), (probe, check[0])):
            needed = re.findall(r"(/\S+) \(0x", run("ldd", program).stdout)
            for source, place in [(program, place), *((library, library) for library in needed)]:
                copy = image / str(place).lstrip("/")
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, copy)
        for name in ("proc", "dev"):
            (image / name).mkdir()
        (image / "dev/null").touch()
        os.chmod(image.parent, 0o755)
        public, admin = free_port(), free_port()
        environment = {
            "SCANLOGIN_LISTEN": f"127.0.0.1:{public}", "SCANLOGIN_ADMIN_LISTEN": f"127.0.0.1:{admin}",
            "SCANLOGIN_APP_JWT_SECRET": "a" * 32, "SCANLOGIN_TOKEN_SECRET": "t" * 32, "SCANLOGIN_DRAIN_SECONDS": "0",
        }
        # A mount namespace of its own: nothing of this is left behind.
        enter = [*privileged, "unshare", "--mount", "sh", "-c",
                 'mount --rbind "$0" "$0" && mount -t proc proc "$0/proc" && mount --bind /dev/null "$0/dev/null" && mount -o remount,bind,ro "$0" '
                 '&& user=$1 && root=$0 && shift && exec env -i "$@"']
        inside = lambda command: [*enter, str(image), user, *(f"{k}={v}" for k, v in environment.items()), "/usr/sbin/chroot", f"--userspec={user}", str(image), *command]
        service = subprocess.Popen(inside(entry), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        try:
            healthy = False
            for _ in range(100):
                healthy = run(*inside(check)).returncode == 0
                if healthy or service.poll() is not None:
                    break
                time.sleep(0.2)
            yield "the last stage starts on a read-only root, and its health check says so", None if healthy else said(service)
            if not healthy:
                return
            status = pathlib.Path(f"/proc/{service.pid}/status").read_text()
            ids = re.findall(r"^(?:Uid|Gid):\s+(\d+)", status, flags=re.M)
            yield "it runs as the image's user", None if ":".join(ids) == user else status
            capabilities = re.search(r"^CapEff:\s+(\w+)$", status, flags=re.M).group(1)
            yield "it needs no capability", None if int(capabilities, 16) == 0 else capabilities
        finally:
            run(*privileged, "kill", service.pid)
            code = service.wait(20)
        yield "it ends well when it is told to stop", None if code == 0 else f"{code}"


def said(process):
    process.terminate()
    return process.communicate(timeout=20)[1]


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(self.server.status if self.path == "/livez" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def health_check(root):
    """The program inside the Dockerfile, against a server that is well, one that is not, and none."""
    source = re.search(r"^COPY <<'EOF' /probe/main\.rs\n(.*?)^EOF$", (root / "Dockerfile").read_text(), flags=re.M | re.S).group(1)
    with tempfile.TemporaryDirectory() as directory:
        program = pathlib.Path(directory) / "livez"
        (pathlib.Path(directory) / "main.rs").write_text(source)
        compiled = run("rustc", "--edition", "2021", "-D", "warnings", "-o", program, pathlib.Path(directory) / "main.rs")
        yield "the health check compiles", failure(compiled)
        if compiled.returncode:
            return
        for status, expected in ((200, 0), (503, 1)):
            server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
            server.status = status
            threading.Thread(target=server.serve_forever, daemon=True).start()
            code = run(program, env={"SCANLOGIN_ADMIN_LISTEN": f"0.0.0.0:{server.server_port}"}).returncode
            server.shutdown()
            server.server_close()
            yield f"the health check on {status}", None if code == expected else f"ended with {code}"
        code = run(program, env={"SCANLOGIN_ADMIN_LISTEN": f"0.0.0.0:{free_port()}"}).returncode
        yield "the health check on nothing", None if code == 1 else f"ended with {code}"


def compose_file(root):
    return yaml.safe_load((root / "docs/compose.yaml").read_text())


def compose(root):
    file = compose_file(root)
    services = file["services"]
    wrong = []
    for name, service in services.items():
        wrong += [f"{name} depends on {other}" for other in service.get("depends_on", []) if other not in services]
        wrong += [f"{name} has an image without a tag" for image in [service.get("image", "")] if ":" not in image or image.endswith(":latest")]
        for entry in service.get("configs", []):
            if entry["source"] not in file["configs"]:
                wrong.append(f"{name} uses config {entry['source']}")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith(".") and not (root / "docs" / source).exists():
                wrong.append(f"{name} mounts {source}")
            elif not source.startswith(".") and source not in file["volumes"]:
                wrong.append(f"{name} uses volume {source}")
        wrong += [f"{name} publishes {port}" for port in service.get("ports", []) if not port.startswith("127.0.0.1:")]
    yield "names, mounts and ports", "\n".join(wrong) or None
    instances = {name: service for name, service in services.items() if name.startswith("scanlogin-")}
    yield "two instances", None if len(instances) == 2 else str(list(instances))
    for name, service in instances.items():
        names = set(service["environment"])
        wrong = sorted(names - contract.VARIABLES)
        subnet = ipaddress.ip_network(file["networks"]["default"]["ipam"]["config"][0]["subnet"])
        if ipaddress.ip_network(service["environment"]["SCANLOGIN_TRUSTED_PROXIES"]) != subnet:
            wrong.append(f"trusts another network than {subnet}")
        if seconds(service["stop_grace_period"]) <= 20:
            wrong.append("is killed while it drains")
        for secret in contract.SECRETS & {n.removeprefix("SCANLOGIN_") for n in names}:
            value = service["environment"]["SCANLOGIN_" + secret]
            if not value.startswith("${") and "@" in value or secret != "REDIS_URL" and not value.startswith("${"):
                wrong.append(f"holds the secret {secret}")
        yield f"{name}", ", ".join(wrong) or None


def compose_parts(root):
    """The inline configurations, by the programs that would read them."""
    file = compose_file(root)
    # What compose does: $$ is a dollar, a lone one would be a variable.
    inline = {name: entry["content"] for name, entry in file["configs"].items()}
    lone = [name for name, text in inline.items() if re.search(r"(?<!\$)\$(?!\$)", text)]
    yield "no unmeant variable in inline configurations", ", ".join(lone) or None
    inline = {name: text.replace("$$", "$") for name, text in inline.items()}
    with tempfile.TemporaryDirectory() as directory:
        config = pathlib.Path(directory) / "prometheus.yml"
        config.write_text(inline["prometheus"].replace("/etc/prometheus/rules.yaml", str(root / "dashboards/rules.yaml")))
        yield "promtool check config", failure(run("promtool", "check", "config", config))
    scrape = yaml.safe_load(inline["prometheus"])["scrape_configs"]
    targets = [target for entry in scrape for group in entry["static_configs"] for target in group["targets"]]
    expected = [f"{name}:8081" for name in file["services"] if name.startswith("scanlogin-")]
    yield "both instances are scraped as scanlogin", None if targets == expected and scrape[0]["job_name"] == "scanlogin" else str(scrape)
    provider = yaml.safe_load(inline["grafana-dashboards"])["providers"][0]["options"]["path"]
    mounts = [volume.split(":")[1] for volume in file["services"]["grafana"]["volumes"]]
    source = yaml.safe_load(inline["grafana-datasource"])["datasources"][0]
    yield "Grafana finds dashboards and data", None if provider in mounts and source["type"] == "prometheus" else f"{provider} {source}"
    command = file["services"]["redis"]["command"]
    yield "Redis announces and keeps", None if "K$$" in command and "noeviction" in command else str(command)


def nginx(root):
    """nginx -t on the file, with names and ports that exist here."""
    text = (root / "docs/nginx.conf").read_text()
    upstream = re.findall(r"^\s*server ([\w-]+):8080", text, flags=re.M)
    services = [name for name in compose_file(root)["services"] if name.startswith("scanlogin-")]
    yield "nginx knows both instances", None if upstream == services else f"{upstream}"
    with tempfile.TemporaryDirectory() as directory:
        config = pathlib.Path(directory) / "nginx.conf"
        text = re.sub(r"server ([\w-]+):8080", "server 127.0.0.1:8080", text)
        text = text.replace("listen 8080", f"listen 127.0.0.1:{free_port()}").replace("/tmp/", f"{directory}/")
        config.write_text(text.replace("/dev/stdout", f"{directory}/access.log").replace("/dev/stderr", f"{directory}/error.log"))
        result = run("nginx", "-t", "-p", directory, "-c", config)
        yield "nginx -t", failure(result) or (result.stderr if "[warn]" in result.stderr else None)
    read = seconds(re.search(r"location = /ws \{.*?proxy_read_timeout (\w+);", text, flags=re.S).group(1))
    yield "nginx waits for three pings", None if read > 75 else f"{read} s"


def unit(root):
    text = (root / "docs/scanlogin.service").read_text()
    names = set(re.findall(r"^Environment=(\w+)=", text, flags=re.M)) | set(re.findall(r"^#.*?(SCANLOGIN_\w+)=", text, flags=re.M))
    yield "variables of the unit", ", ".join(sorted(names - contract.VARIABLES)) or None
    stop = seconds(re.search(r"^TimeoutStopSec=(\w+)$", text, flags=re.M).group(1))
    yield "the unit's stop outlasts the drain", None if stop > 20 else f"{stop} s"
    with tempfile.TemporaryDirectory() as directory:
        # verify wants the binary to exist.
        path = pathlib.Path(directory) / "scanlogin.service"
        path.write_text(re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", text, flags=re.M))
        result = run("systemd-analyze", "verify", path)
        said = [line for line in result.stderr.splitlines() if "scanlogin.service" in line]
        yield "systemd-analyze verify", failure(result) or "\n".join(said) or None
        # 1.4 today, on a scale of 10; what is missing would forbid its network.
        yield "systemd-analyze security", failure(run("systemd-analyze", "security", "--offline=true", "--threshold=15", path))


def variables(root):
    """A variable that is named anywhere an operator reads exists."""
    files = [root / "Dockerfile", *(root / "docs").glob("*.*"), *(root / "helm").rglob("*"), root / "dashboards/README.md", root / "dashboards/generate.py"]
    for path in sorted(path for path in files if path.is_file() and path.suffix not in (".json", ".png", ".svg")):
        named = set(re.findall(r"SCANLOGIN_[A-Z][A-Z_]*[A-Z]", path.read_text()))
        unknown = named - contract.VARIABLES - {"SCANLOGIN_SERVICE_HOST"}
        if named:
            yield f"{path.relative_to(root)} names variables that exist", ", ".join(sorted(unknown)) or None


CHECKS = [dockerfile, health_check, build_context, final_stage, compose, compose_parts, nginx, unit, variables]
