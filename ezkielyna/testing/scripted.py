"""An upstream on a real socket that does what a script says, well or badly.

```python
async def script(turn: Turn) -> None:
    await turn.answer(200, {"content-type": "application/json"}, b"{}")

async with ScriptedUpstream(script) as upstream:
    ...  # send requests to upstream.url
    assert upstream.requests[0].method == "POST"
```

With several scripts the first request gets the first one, and so on; the last one repeats. A script
that returns leaves the connection open for the next request, unless it closed it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self, cast

import orjson

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class ReceivedRequest:
    """A request as it came; header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int = -1
    """The number of the connection, from 0: equal numbers mean that it was reused."""


@dataclass(slots=True)
class Turn:
    """One request and the means to answer it; times are those of the event loop's clock."""

    request: ReceivedRequest
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client closed its side."""

    async def answer(
        self, status: int = 200, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        """Send a whole answer with its length."""
        await self.send(head(status, {**(headers or {}), "content-length": str(len(body))}) + body)

    async def begin(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send the head of an answer in chunks."""
        await self.send(head(status, {**(headers or {}), "transfer-encoding": "chunked"}))

    async def chunk(self, data: bytes) -> None:
        """Send one chunk."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        """End an answer in chunks."""
        await self.send(b"0\r\n\r\n")

    async def stream(
        self,
        pieces: Iterable[bytes],
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        delay_s: float = 0.0,
    ) -> None:
        """Send an answer piece by piece, with a pause before every piece."""
        await self.begin(status, {"content-type": "text/event-stream", **(headers or {})})
        for piece in pieces:
            await asyncio.sleep(delay_s)
            await self.chunk(piece)
        await self.end()

    async def trickle(self, data: bytes, *, delay_s: float = 0.001) -> None:
        """Send raw bytes one by one."""
        for position in range(len(data)):
            await self.send(data[position : position + 1])
            await asyncio.sleep(delay_s)

    async def send(self, data: bytes) -> None:
        """Send raw bytes: garbage, half a head, anything. Raises ConnectionError."""
        if self.writer.is_closing():
            raise ConnectionResetError("the client is gone")
        self.writer.write(data)
        await self.writer.drain()

    async def cut(self) -> None:
        """Close the connection in an orderly way once everything sent is on the wire."""
        self.writer.close()
        await self.writer.wait_closed()

    def reset(self) -> None:
        """Close the connection with a TCP reset; what is not yet on the wire is lost."""
        plain = self.writer.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.writer.transport.abort()

    async def stall(self) -> None:
        """Say nothing until the client goes."""
        await self.gone.wait()


Script = Callable[[Turn], Awaitable[None]]


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the head of an answer."""
    phrase = HTTPStatus(status).phrase
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def answering(
    status: int = 200, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Script:
    """Return the script that gives this answer."""

    async def script(turn: Turn) -> None:
        await turn.answer(status, headers, body)

    return script


def streaming(pieces: Iterable[bytes], *, delay_s: float = 0.0) -> Script:
    """Return the script that streams these pieces as server-sent events."""
    kept = list(pieces)

    async def script(turn: Turn) -> None:
        await turn.stream(kept, delay_s=delay_s)

    return script


class ScriptedUpstream:
    """A server that follows scripts; use it with `async with`."""

    def __init__(self, *scripts: Script, ssl_context: ssl.SSLContext | None = None) -> None:
        self.scripts = list(scripts) or [answering()]
        self.requests: list[ReceivedRequest] = []
        self.connections = 0
        """How many brought a request. A stranger does not count: a client of a server that died
        may still knock at its port, which is this one's now."""
        self.bytes_received = 0
        self.port = 0
        """The port on 127.0.0.1."""
        self.gone_at: list[float] = []
        """When clients closed connections, on the event loop's clock."""
        self._ssl = ssl_context
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        if self._ssl is not None:
            return f"https://localhost:{self.port}"
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self, loop), "127.0.0.1", 0, ssl=self._ssl
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._open):
            connection.abort()
        await self._server.wait_closed()

    def close_idle(self) -> None:
        """Close every open connection in an orderly way, as a server does with idle ones."""
        for connection in list(self._open):
            connection.close()

    def serve(self, connection: _Connection) -> None:
        """Answer the requests of a new connection in a task of its own."""
        self._open.add(connection)
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def closed(self, connection: _Connection, at: float) -> None:
        """Note that a client closed its side."""
        self._open.discard(connection)
        self.gone_at.append(at)

    async def _serve(self, connection: _Connection) -> None:
        number: int | None = None
        try:
            while (request := await _received(connection.input)) is not None:
                if number is None:
                    number, self.connections = self.connections, self.connections + 1
                request.connection = number
                script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
                self.requests.append(request)
                await script(Turn(request, connection.output, connection.gone))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # a client may leave at any time
        finally:
            connection.close()


class _Connection(asyncio.StreamReaderProtocol):
    """Asyncio's streams, and beside them the moment when the client goes."""

    def __init__(self, upstream: ScriptedUpstream, loop: asyncio.AbstractEventLoop) -> None:
        self.input = asyncio.StreamReader(loop=loop)
        super().__init__(self.input, self._connected, loop=loop)
        self.gone = asyncio.Event()
        self._clock = loop
        self._upstream = upstream

    def _connected(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.output = writer
        self._upstream.serve(self)

    def data_received(self, data: bytes) -> None:
        self._upstream.bytes_received += len(data)
        super().data_received(data)

    def eof_received(self) -> bool | None:
        self._left()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()
        super().connection_lost(exc)

    def close(self) -> None:
        self.output.close()

    def abort(self) -> None:
        cast(asyncio.Transport, self.output.transport).abort()

    def _left(self) -> None:
        if not self.gone.is_set():
            self.gone.set()
            self._upstream.closed(self, self._clock.time())


async def _received(reader: asyncio.StreamReader) -> ReceivedRequest | None:
    """Return the next request, None where the client left instead."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    pairs = (line.split(":", 1) for line in lines)
    headers = {name.lower(): value.strip() for name, value in pairs}
    body = await _body(reader, headers)
    return ReceivedRequest(method, target, headers, body)


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    pieces: list[bytes] = []
    while size := int(await reader.readline(), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(pieces)


def sse(*documents: Any) -> list[bytes]:
    """Return documents as server-sent events, one piece each, and `[DONE]` as the last one."""
    return [b"data: " + orjson.dumps(document) + b"\n\n" for document in documents] + [
        b"data: [DONE]\n\n"
    ]
