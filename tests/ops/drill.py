"""See `drill`."""

import argparse
import asyncio
import contextlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import live
import people
import picture

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Its patience is a minute, and it must end with the outage.
EXPECTED = "ScanloginFeedDisconnected"
# People were turned away: that is what the budget is for. Nothing else may wake anybody within two minutes of the outage:
# the next alert's patience. The last people are often not done by then.
MAY_FIRE = [EXPECTED, "ScanloginErrorBudgetBurnFast"]
QUIET_FOR = 120
PANELS = ["Funnel", "How logins end", "Scan to push", "Browsers waiting, over time", "Feed connections by instance and node",
          "Store errors by kind", "Turned away because of the store", "Resyncs by reason", "Event-loop lag", "Busiest worker thread"]
RATE = 12
# Both instances accept each other's web tokens.
TOKEN_SECRET = os.urandom(32).hex()


class Redis:
    """A redis-server of our own, which can be gone for a while."""

    def __init__(self, directory):
        self.port, self.directory = live.free_port(), directory
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self.directory],
            stdout=subprocess.DEVNULL)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


class Keys(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(self.server.keys).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def key_server(keys):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    server.keys = keys
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/keys"
    server.shutdown()


@contextlib.contextmanager
def instance(binary, redis, keys, log):
    public, admin = (f"127.0.0.1:{live.free_port()}" for _ in range(2))
    environment = {
        "SCANLOGIN_LISTEN": public, "SCANLOGIN_ADMIN_LISTEN": admin, "SCANLOGIN_REDIS_URL": f"redis://127.0.0.1:{redis.port}",
        "SCANLOGIN_PUBLIC_URL": "http://127.0.0.1", "SCANLOGIN_APP_JWKS_URL": keys, "SCANLOGIN_TOKEN_SECRET": TOKEN_SECRET,
        "SCANLOGIN_CONFIRM": "required", "SCANLOGIN_CONNECTS_PER_MINUTE": "0", "SCANLOGIN_SCANS_PER_MINUTE": "0","SCANLOGIN_LOG_FORMAT": "json",
    }
    process = subprocess.Popen([binary], env=environment, stderr=log)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                live.get(f"http://{admin}/readyz")
                break
            if process.poll() is not None:
                sys.exit(f"an instance ended with {process.returncode}")
            time.sleep(0.1)
        yield public, admin
    finally:
        process.terminate()
        process.wait(40)


def main():
    parser = argparse.ArgumentParser(prog="tests/ops/drill")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/debug/scanlogin")
    parser.add_argument("--before", type=float, default=25, help="seconds of an ordinary day")
    parser.add_argument("--away", type=float, default=75, help="seconds without Redis")
    parser.add_argument("--after", type=float, default=40, help="seconds after it")
    parser.add_argument("--picture", type=pathlib.Path, help="draw it there, as SVG")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "tests/results/drill.json")
    arguments = parser.parse_args()
    if not arguments.binary.exists():
        sys.exit(f"{arguments.binary} is missing: cargo build")
    arguments.results.parent.mkdir(exist_ok=True)
    key = Ed25519PrivateKey.generate()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        log = stack.enter_context(open(arguments.results.with_suffix(".log"), "wb"))
        redis = Redis(directory)
        stack.callback(lambda: redis.stop())
        keys = stack.enter_context(key_server(people.key_set(key)))
        pairs = [stack.enter_context(instance(arguments.binary, redis, keys, log)) for _ in range(2)]
        away_since = None
        crowd = people.People([public for public, _ in pairs], people.signer(key), RATE)

        async def day():
            async def outage():
                nonlocal away_since
                await asyncio.sleep(arguments.before)
                away_since = time.time()
                await asyncio.to_thread(redis.stop)
                await asyncio.sleep(arguments.away)
                redis.start()

            await asyncio.gather(crowd.run(arguments.before + arguments.away + arguments.after), outage())

        def during():
            asyncio.run(day())
            print(f"people: {crowd.number} came, {crowd.delivered} logged in, {crowd.refused} times turned away")
            yield "people log in", crowd.delivered < RATE * (arguments.before + arguments.after) / 3

        failed = live.ask_everything(
            [admin for _, admin in pairs], during, expect=[EXPECTED], quiet=[EXPECTED], results=arguments.results,
            only=MAY_FIRE, until=lambda: away_since + QUIET_FOR)
    if arguments.picture:
        title = f"Two instances under load; Redis stopped after {arguments.before:g} s and started again, empty, {arguments.away:g} s later"
        picture.draw(arguments.results, arguments.picture, title, PANELS)
    return failed


if __name__ == "__main__":
    sys.exit(main())
