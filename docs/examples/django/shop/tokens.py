"""Web tokens: two ways to check one. And the app's own token, which the phone shows to scanlogin."""

import json
import re
import time
import urllib.error
import urllib.request
from functools import cache

import jwt
from django.conf import settings

PATIENCE_SECONDS = 3
APP_TOKEN_SECONDS = 3600
TOKEN = re.compile(r"[A-Za-z0-9_.-]{1,4096}")


def ask(token: str) -> str | None:
    """Whose token it is, by the service: a log-out or a newer login is seen at once.

    Raises OSError where the service does not answer: that is no log-out.
    """
    if not TOKEN.fullmatch(token):
        return None
    try:
        with call("GET", "/verify", token) as answer:
            return json.load(answer)["user"]
    except urllib.error.HTTPError as error:
        if error.code == 401:
            return None
        raise


def call(method: str, path: str, token: str):
    request = urllib.request.Request(
        settings.SERVICE_URL + path, method=method, headers={"Authorization": f"Bearer {token}"}
    )
    return urllib.request.urlopen(request, timeout=PATIENCE_SECONDS)


def log_out(token: str) -> None:
    """Ends the web login everywhere. Where the service is away the token lives on: it is nobody's but this server's."""
    try:
        call("POST", "/logout", token).close()
    except OSError:
        pass


@cache
def key_set() -> jwt.PyJWKClient:
    """The service's public keys, fetched when needed and kept for five minutes."""
    return jwt.PyJWKClient(f"{settings.SERVICE_URL}/.well-known/jwks.json", lifespan=300, timeout=PATIENCE_SECONDS)


def by_key_set(token: str) -> str | None:
    """Whose token it is, by its signature alone: nobody is asked, and a log-out is not seen."""
    try:
        key = key_set().get_signing_key_from_jwt(token)
        decoded = jwt.decode_complete(
            token,
            key,
            # Which algorithm is ours to say, never the token's.
            algorithms=["EdDSA"],
            issuer=settings.SCANLOGIN_TOKEN_ISSUER,
            audience=settings.SCANLOGIN_TOKEN_AUDIENCE,
            leeway=30,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
    except jwt.PyJWKClientConnectionError:
        raise
    except jwt.PyJWTError:
        return None
    # `typ` tells a web token from any other of the same key.
    is_ours = decoded["header"].get("typ") == "scanlogin+jwt" and decoded["payload"].get("platform") == "web"
    return decoded["payload"]["sub"] if is_ours else None


def app_token(user) -> str:
    """What the phone app gets when its user logs in there, and shows when it scans."""
    claims = {"sub": user.get_username(), "exp": int(time.time()) + APP_TOKEN_SECONDS}
    if name := user.get_full_name():
        claims["name"] = name
    return jwt.encode(claims, settings.APP_JWT_SECRET, algorithm="HS256")
