"""People who log in at two instances: enough of every kind that each panel of the dashboards has something to show."""

import asyncio
import contextlib
import json
import random
import time

import aiohttp
import jwt

# Of those who come: what they do. The rest scan and confirm.
DENY, LEAVE, RESUME, RACE, STRANGER, VERIFY = 0.05, 0.08, 0.1, 0.04, 0.05, 0.2


class People:
    """Everybody, for as long as it runs. `sign` makes an app token of claims; seeded, so that two runs are alike."""

    def __init__(self, addresses, sign, rate):
        self.addresses, self.sign, self.rate = addresses, sign, rate
        self.dice = random.Random(7)
        self.number = 0
        self.delivered = 0
        self.refused = 0

    def somewhere(self):
        return self.dice.choice(self.addresses)

    def app_token(self, user, expired=False):
        return self.sign({"sub": user, "exp": int(time.time()) + (-600 if expired else 600), "name": user})

    async def run(self, seconds):
        """Arrivals as independent people have them, whatever became of the others."""
        end = time.monotonic() + seconds
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as self.http:
            async with asyncio.TaskGroup() as group:
                while time.monotonic() < end:
                    self.number += 1
                    group.create_task(self.one(f"user-{self.number}"))
                    if self.dice.random() < 0.05:
                        group.create_task(self.nonsense())
                    await asyncio.sleep(self.dice.expovariate(self.rate))

    async def one(self, user):
        # Whoever is turned away comes back, twice.
        for attempt in range(3):
            try:
                return await self.log_in(user)
            except (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError, EOFError):
                self.refused += 1
                await asyncio.sleep(1 + 2 * attempt + self.dice.random())

    async def call(self, method, path, token, body=None, **headers):
        headers["Authorization"] = f"Bearer {token}"
        async with self.http.request(method, f"http://{self.somewhere()}{path}", json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def connect(self, query="", plain=False):
        protocols = () if plain else ("scanlogin.v1",)
        return await self.http.ws_connect(f"ws://{self.somewhere()}/ws{query}", protocols=protocols)

    async def hear(self, socket, *kinds):
        """The next message of one of these types; a socket that closes first is an error."""
        async for message in socket:
            if message.type == aiohttp.WSMsgType.TEXT:
                said = json.loads(message.data)
                if said["type"] in kinds:
                    return said
        raise EOFError(f"closed with {socket.close_code}")

    async def log_in(self, user):
        dice, plain = self.dice.random(), self.dice.random() < 0.3
        socket = await self.connect(plain=plain)
        try:
            if plain:
                key = await socket.receive_str()
            else:
                said = await self.hear(socket, "key")
                key, resume = said["key"], said["resume"]
            await asyncio.sleep(self.dice.uniform(0.2, 4))
            if dice < LEAVE:
                return
            if not plain and self.dice.random() < RESUME:
                await socket.close(code=1001)
                socket = await self.connect("?resume=1")
                await socket.send_json({"type": "resume", "resume": resume})
                await self.hear(socket, "key")
            token = self.app_token(user)
            if self.dice.random() < STRANGER:
                await self.call("POST", "/scan", self.app_token(user, expired=True), {"key": key})
            status, scanned = await self.call("POST", "/scan", token, {"key": key})
            if status != 200:
                raise EOFError(f"/scan: {status}")
            if self.dice.random() < RACE:
                await self.call("POST", "/scan", self.app_token("another"), {"key": key})
            if not plain:
                await self.hear(socket, "scanned")
            await asyncio.sleep(self.dice.uniform(0.2, 1))
            answer = "deny" if dice > 1 - DENY else "confirm"
            await self.call("POST", f"/scan/{answer}", token, {"claim": scanned["claim"]})
            if plain:
                web = await socket.receive_str()
                # The server's Close, answered at once: that is the acknowledgement.
                await socket.receive()
            elif answer == "deny":
                return await self.hear(socket, "denied") and None
            else:
                web = (await self.hear(socket, "token"))["token"]
                await socket.send_json({"type": "received"})
                # Until the server closes: what was acknowledged is stored by then.
                with contextlib.suppress(EOFError):
                    await self.hear(socket, "nothing more")
            if web == "again":
                return
            self.delivered += 1
            await self.call("GET", "/scan/outcome?wait=2", token, **{"Scanlogin-Claim": scanned["claim"]})
            if self.dice.random() < VERIFY:
                await self.call("GET", "/verify", web)
                await self.call("POST", "/logout", web)
        finally:
            await socket.close()

    async def nonsense(self):
        """What every public service hears."""
        with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError, ConnectionError):
            await self.call("POST", "/scan", self.app_token("guesser"), {"key": "A" * 43})
            await self.call("POST", "/scan", self.app_token("guesser"), ["not what it takes"])
            with contextlib.suppress(aiohttp.WSServerHandshakeError):
                await self.http.ws_connect(f"ws://{self.somewhere()}/ws", origin="https://elsewhere.example")
            socket = await self.connect("?resume=1")
            await socket.send_json({"type": "resume", "resume": "A" * 64})
            await socket.receive()
            await socket.close()


def signer(key):
    """Signs app tokens with the Ed25519 key whose public half is in `key_set`."""
    return lambda claims: jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": "drill"})


def key_set(key):
    public = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {"keys": [{**public, "kid": "drill", "use": "sig", "alg": "EdDSA"}]}
