"""Browsers and phones for the fuzzer: so that what it sends is not only ever refused."""
import base64
import hashlib
import hmac
import json
import os
import socket
import time
import urllib.request

SECRET = "the-app-secret-of-the-fuzzed-instance-is-long"


def _part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def app_token(user):
    claims = {"sub": user, "exp": int(time.time()) + 3600, "name": "A Person"}
    signed = _part(b'{"alg":"HS256","typ":"JWT"}') + "." + _part(json.dumps(claims).encode())
    return signed + "." + _part(hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256))


class Browser:
    """A waiting browser of the plain protocol."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        nonce = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n\r\n".encode()
        )
        self.stream = self.socket.makefile("rb")
        while self.stream.readline() != b"\r\n":
            pass
        self.key = self.text()

    def text(self):
        """The next text frame; pings are passed over."""
        while True:
            first, length = self.stream.read(2)
            if length == 126:
                length = int.from_bytes(self.stream.read(2), "big")
            payload = self.stream.read(length)
            if first & 0x0F == 1:
                return payload.decode()


def post(address, path, body, token):
    request = urllib.request.Request(
        f"http://{address}{path}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def claim(address, user):
    """A claimed login: its browser, which must be kept, and the claim."""
    browser = Browser(address)
    return browser, post(address, "/scan", {"key": browser.key}, app_token(user))["claim"]


def web_token(address, user):
    browser, claimed = claim(address, user)
    if os.environ["FUZZED_CONFIRM"] == "required":
        post(address, "/scan/confirm", {"claim": claimed}, app_token(user))
    return browser.text()
