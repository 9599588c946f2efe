"""The simulated upstream."""

from __future__ import annotations

import asyncio
import random

import orjson

from ezkielyna_simulator.answers import ENDPOINTS, Answer, Document, Refused, models
from ezkielyna_simulator.connection import Connection
from ezkielyna_simulator.script import Script


class SimulatedServer:
    """Answers as an OpenAI-compatible server would, by a script."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.requests = 0
        """How many requests came, refused ones included."""
        self.abandoned = 0
        """How many streams the client left before their end."""
        self.address = ""
        """What precedes an endpoint's path, once the server has started."""
        self._chance = random.Random(self.script.seed)  # noqa: S311  (no secret depends on it)
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()
        self.connections: set[Connection] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen, on a free port unless one is given, and return the address."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), host, port, backlog=1024)
        bound = self._server.sockets[0].getsockname()[1]
        self.address = f"http://{host}:{bound}/v1"
        return self.address

    async def close(self) -> None:
        """Stop listening and close every connection; may be called twice."""
        if self._server is None:
            return
        self._server.close()
        self._empty.clear()
        for connection in list(self.connections):
            connection.abort()
        if self.connections:
            await self._empty.wait()
        await self._server.wait_closed()
        self._server = None

    def left(self, connection: Connection) -> None:
        """Forget a connection that was closed."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    async def __aenter__(self) -> SimulatedServer:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def answer(self, method: str, path: str, body: bytes) -> tuple[Answer, Script]:
        """Return the answer to a request; raises Refused where it is an error."""
        self.requests += 1
        path = path.partition("?")[0]
        if method == "GET" and path.endswith("/models"):
            return Answer(models()), self.script
        endpoint = next((known for known in ENDPOINTS if path.endswith(known)), None)
        if endpoint is None or method != "POST":
            raise Refused(404, f"There is nothing at {method} {path}.")
        if path.endswith("/chat/completions"):
            endpoint = "/chat/completions"
        request = _parsed(body)
        try:
            script = self.script.overlaid(request.get("simulate"))
        except ValueError as error:
            raise Refused(400, f"{error}.", "simulate") from None
        if script.error:
            raise Refused(script.error, f"A simulated error of status {script.error}.")
        if script.error_rate and self._chance.random() < script.error_rate:
            raise Refused(500, "A simulated failure, as the error rate demands.")
        try:
            return ENDPOINTS[endpoint](request, script), script
        except (AttributeError, IndexError, KeyError, TypeError):
            raise Refused(400, "A field of the request has the wrong type.") from None


def _parsed(body: bytes) -> Document:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"The body is not valid JSON: {error}.") from None
    if not isinstance(request, dict) or not isinstance(request.get("model"), str):
        raise Refused(400, "The body must be an object with a 'model'.", "model")
    return request
